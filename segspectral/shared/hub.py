"""Fitted heads and models as folders with a model card, and their exchange with the Hugging Face hub.

A folder contains ``model.safetensors`` (from ``Head.save``, ``segspectral fit`` or ``teach``), ``config.json`` (the
settings in its header, for programs that cannot read safetensors) and ``README.md`` (a model card). Only the first file
is read back, and nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segspectral
from segspectral.errors import OutputError, SettingsError
from segspectral.features.backbones.timm_models import hub_reachable
from segspectral.files import scratch_folder, unfinished, whole_set, write_bytes
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.heads.base import Head
    from segspectral.shared.model import Model

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "config_of",
    "is_model",
    "load",
    "model_card",
    "model_file",
    "pull",
    "push",
    "save",
]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


UNSUPERVISED = ["unsupervised", "spectral-clustering"]
"""Tags on the cards of what is fitted without labels."""


def save(model: Head | Model | str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write a fitted head or model as a folder. It may be given as its file or folder. An existing model card is kept.

    Raises
    ------
    SettingsError
        The file does not contain a head or model.
    OutputError
    """
    folder = Path(folder)
    if isinstance(model, str | os.PathLike):
        fitted, data = load(model), model_file(model).read_bytes()
    else:
        fitted = model
        with scratch_folder() as scratch:
            fitted.save(path := scratch / WEIGHTS)
            data = path.read_bytes()
    with whole_set():
        config = config_of(unfinished(write_bytes(folder / WEIGHTS, data)))
        write_bytes(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
        if not (folder / CARD).exists():
            write_bytes(folder / CARD, model_card(fitted, config).encode())
    return folder


def load(model: str | os.PathLike[str]) -> Head | Model:
    """Load a fitted head, or a model, from a folder or a safetensors file.

    Raises
    ------
    SettingsError
        There is no such file, or it contains neither a head nor a model.
    """
    from segspectral.heads.storage import load as load_head
    from segspectral.shared.model import Model

    path = model_file(model)
    return Model.load(path) if is_model(path) else load_head(path)


def is_model(model: str | os.PathLike[str]) -> bool:
    """Whether a file or folder declares that it contains a model."""
    try:
        header = config_of(model).get("segspectral")
    except SettingsError:
        return False
    return isinstance(header, dict) and "recipe" in header


def push(model: Head | Model | str | os.PathLike[str], repository: str, *, private: bool = False) -> str:
    """Upload a fitted head or model to the hub and return its address. The repository is created if necessary.

    Parameters
    ----------
    repository : USER/NAME
    private : whether a new repository is private

    Raises
    ------
    SettingsError
        The file is not a head or model, or the hub cannot be reached, or it refuses.
    """
    with scratch_folder() as scratch:
        if isinstance(model, str | os.PathLike) and (card := Path(model) / CARD).is_file():
            write_bytes(scratch / CARD, card.read_bytes())  # the card that its author has written
        folder = save(model, scratch)
        with _hub(repository, "log in by `hf auth login`, or set HF_TOKEN") as hub:
            address = hub.create_repo(repository, private=private, exist_ok=True)
            hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by segspectral")
    return str(address)


def pull(repository: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Download a fitted head or model from the hub into a folder, after a check that it is one.

    Raises
    ------
    SettingsError
        The hub cannot be reached, it has no such repository, or the repository does not contain a head or model.
    OutputError
    """
    with scratch_folder() as scratch:
        with _hub(repository, "check its name, and log in if it is private") as hub:
            hub.snapshot_download(
                repository, revision=revision, local_dir=scratch, allow_patterns=[WEIGHTS, CONFIG, CARD]
            )
        if not (scratch / WEIGHTS).is_file():
            raise SettingsError(f"contains no {WEIGHTS}", repository)
        try:
            load(scratch)
        except SettingsError as error:
            raise SettingsError(error.message, f"{repository}/{WEIGHTS}") from error
        with whole_set():
            for name in (WEIGHTS, CONFIG, CARD):
                if (scratch / name).is_file():
                    write_bytes(Path(folder) / name, (scratch / name).read_bytes())
    return Path(folder)


def model_file(model: str | os.PathLike[str]) -> Path:
    """The safetensors file of a head or model that is given as a file or folder."""
    path = Path(model)
    if path.is_dir() and not (path / WEIGHTS).is_file():
        raise SettingsError(f"the folder contains no {WEIGHTS}", path)
    return path / WEIGHTS if path.is_dir() else path


def config_of(model: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a safetensors file, without the description of its tensors."""
    from segspectral.heads.storage import read_header, whole

    path = model_file(model)
    with whole(path, "a safetensors file"):
        header = read_header(path)
    config = {name: _plain(text) for name, text in sorted(header.items())}
    for part in config.values():
        if isinstance(part, dict):
            for holder in (part, part.get("fitted")):  # a head, the head of a model
                if isinstance(holder, dict):
                    holder.pop("state", None)
    return config


def model_card(fitted: Head | Model, config: Mapping[str, Any]) -> str:
    """The README of a head or model, in Markdown with the hub's front matter: what it is, its settings, and its use.

    Parameters
    ----------
    config : the result of ``config_of``
    """
    from segspectral.shared.model import Model

    tags, title, what, facts, use = _of_model(fitted) if isinstance(fitted, Model) else _of_head(fitted)
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""---
library_name: segspectral
pipeline_tag: image-segmentation
tags:
{chr(10).join(f"- {tag}" for tag in tags)}
---

# {title}

{what}

| | |
|---|---|
{table}
| segspectral | {segspectral.__version__} |

## Use

`{WEIGHTS}` contains arrays and JSON, but no code and no pickle.

{use}

## Settings

```json
{json.dumps(config, indent=2)}
```
"""


def _of_head(head: Head) -> tuple[list[str], str, str, dict[str, Any], str]:
    kind = type(head).__name__
    facts = {
        "head": kind,
        "clusters": head.n_clusters,
        "features": head.n_features_in_ if head.extension_.needs_features else "none, a bare graph",
        "fitted on": f"{len(head.labels_)} nodes",
        "normalized cut": f"{head.ncut_:.4f}",
        "outcome": head.outcome_.sentence,
    }
    use = f"""```python
from segspectral.shared import hub

head = hub.load(".")  # this folder
head.predict(X)  # (N, {facts["features"]}) features -> (N,) clusters 0..{head.n_clusters - 1}
head.predict_proba(X)  # (N, {head.n_clusters}) memberships
```"""
    what = "A spectral clustering head, fitted without labels by segspectral."
    return [*UNSUPERVISED, kind.lower()], f"{kind}, {head.n_clusters} clusters", what, facts, use


def _of_model(model: Model) -> tuple[list[str], str, str, dict[str, Any], str]:
    cnn = model.recipe.features.cnn
    facts = {
        "segments": model.segments,
        "made by": model.made_by,
        "backbone": "none" if cnn is None else f"{cnn.backbone}, strides {', '.join(map(str, cnn.strides))}",
    }
    use = f"""```bash
segspectral segment photo.jpg -o out --model {WEIGHTS}   # also batch and evaluate
```

```python
import segspectral

segspectral.segment("photo.jpg", model="{WEIGHTS}").labels  # (H, W) segments 1..{model.segments}
```"""
    if model.names:
        listing = ", ".join(f"{segment} {name}" for segment, name in model.names.items())
        what = f"Classes with names, taught by a few labels with `segspectral teach`: {listing}."
        return ["semantic-segmentation"], plural(model.segments, "class", "classes"), what, facts, use
    what = "Segments that mean the same in every image, fitted on many images without labels by `segspectral fit`."
    return UNSUPERVISED, f"{plural(model.segments, 'segment')} shared by all images", what, facts, use


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        return text


@contextmanager
def _hub(repository: str, advice: str) -> Iterator[Any]:
    """The hub's client; each of its errors becomes one sentence."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise SettingsError("the hub needs huggingface_hub: pip install huggingface_hub") from error
    if not hub_reachable():
        raise SettingsError(
            "the hub cannot be reached (no network, or HF_HUB_OFFLINE is set); a folder written by "
            "`segspectral models save` can also be copied as it is",
            repository,
        )
    try:
        yield HfApi(library_name="segspectral", library_version=segspectral.__version__)
    except OutputError:
        raise
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise SettingsError(f"the hub refuses ({why}); {advice}", repository) from error
