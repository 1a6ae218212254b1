"""Fitted heads and models as folders that explain themselves, and to and from the Hugging Face hub.

A folder holds ``model.safetensors`` (by ``Head.save`` or ``segspectral fit``), ``config.json`` (the settings in
its header, for who reads no safetensors) and ``README.md`` (a model card). Only the first is read back, and nothing is
unpickled.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import segspectral
from segspectral.errors import OutputError, SettingsError
from segspectral.features.backbones import hub_reachable
from segspectral.files import write_bytes

if TYPE_CHECKING:
    from segspectral.heads.base import Head
    from segspectral.shared.model import Model

__all__ = [
    "CARD",
    "CONFIG",
    "WEIGHTS",
    "config_of",
    "fitted_on",
    "is_model",
    "load",
    "model_card",
    "model_file",
    "pull",
    "push",
    "save",
]

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


def save(model: Head | Model | str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write a fitted head or model, or the file or folder of one, as a folder. A model card that is there is kept.

    Raises
    ------
    SettingsError
        The file does not hold one.
    OutputError
    """
    folder = Path(folder)
    if isinstance(model, str | os.PathLike):
        fitted, data = load(model), model_file(model).read_bytes()
    else:
        fitted = model
        with tempfile.TemporaryDirectory(prefix="segspectral-") as scratch:
            fitted.save(path := Path(scratch) / WEIGHTS)
            data = path.read_bytes()
    weights = write_bytes(folder / WEIGHTS, data)
    config = config_of(weights)
    write_bytes(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    if not (folder / CARD).exists():
        write_bytes(folder / CARD, model_card(fitted, config).encode())
    return folder


def load(model: str | os.PathLike[str]) -> Head | Model:
    """The fitted head of a folder or of a safetensors file, or the model that ``segspectral fit`` made.

    Raises
    ------
    SettingsError
        There is no such file, or it does not hold either.
    """
    from segspectral.heads.storage import load as load_head
    from segspectral.shared.model import Model

    path = model_file(model)
    return Model.load(path) if is_model(path) else load_head(path)


def is_model(model: str | os.PathLike[str]) -> bool:
    """Whether a file or folder says that it holds what ``segspectral fit`` made."""
    try:
        header = config_of(model).get("segspectral")
    except SettingsError:
        return False
    return isinstance(header, dict) and "recipe" in header


def push(model: Head | Model | str | os.PathLike[str], repository: str, *, private: bool = False) -> str:
    """Upload a fitted head or model to the hub, as a folder; returns its address. A new repository is made.

    Parameters
    ----------
    repository : USER/NAME
    private : whether a new repository is

    Raises
    ------
    SettingsError
        The model is none, or the hub is out of reach or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="segspectral-") as scratch:
        if isinstance(model, str | os.PathLike) and (card := Path(model) / CARD).is_file():
            write_bytes(Path(scratch) / CARD, card.read_bytes())  # as its author has written it
        folder = save(model, scratch)
        with _hub(repository, "log in by `hf auth login`, or set HF_TOKEN") as hub:
            address = hub.create_repo(repository, private=private, exist_ok=True)
            hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by segspectral")
    return str(address)


def pull(repository: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Download a fitted head or model from the hub into a folder, and look whether it is one.

    Raises
    ------
    SettingsError
        The hub is out of reach, has no such model, or what it has is none.
    OutputError
    """
    with tempfile.TemporaryDirectory(prefix="segspectral-") as scratch:
        with _hub(repository, "is its name right, and is it public or are you logged in?") as hub:
            hub.snapshot_download(
                repository, revision=revision, local_dir=scratch, allow_patterns=[WEIGHTS, CONFIG, CARD]
            )
        if not (Path(scratch) / WEIGHTS).is_file():
            raise SettingsError(f"holds no {WEIGHTS}", repository)
        try:
            load(scratch)
        except SettingsError as error:
            raise SettingsError(error.message, f"{repository}/{WEIGHTS}") from error
        for name in (WEIGHTS, CONFIG, CARD):
            if (Path(scratch) / name).is_file():
                write_bytes(Path(folder) / name, (Path(scratch) / name).read_bytes())
    return Path(folder)


def model_file(model: str | os.PathLike[str]) -> Path:
    """The safetensors file of a model that is given as that file or as its folder."""
    path = Path(model)
    if path.is_dir() and not (path / WEIGHTS).is_file():
        raise SettingsError(f"the folder holds no {WEIGHTS}", path)
    return path / WEIGHTS if path.is_dir() else path


def config_of(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything in the header of a safetensors file but where its tensors go."""
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
    """The README of a head or model: what it is, how it was made, how to use it. Markdown with the hub's front matter.

    Parameters
    ----------
    config : as ``config_of`` gives it
    """
    from segspectral.shared.model import Model

    kind, title, what, facts, use = _of_model(fitted) if isinstance(fitted, Model) else _of_head(fitted)
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""---
library_name: segspectral
pipeline_tag: image-segmentation
tags:
- unsupervised
- spectral-clustering
- {kind.lower()}
---

# {title}

{what}

| | |
|---|---|
{table}
| segspectral | {segspectral.__version__} |

## Use

`{WEIGHTS}` holds arrays and JSON, no code and no pickle.

{use}

## Settings

```json
{json.dumps(config, indent=2)}
```
"""


def _of_head(head: Head) -> tuple[str, str, str, dict[str, Any], str]:
    kind = type(head).__name__
    facts = {
        "head": kind,
        "clusters": head.n_clusters,
        "features": getattr(head, "n_features_in_", "none, a bare graph"),
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
    return kind, f"{kind}, {head.n_clusters} clusters", what, facts, use


def _of_model(model: Model) -> tuple[str, str, str, dict[str, Any], str]:
    kind, cnn = type(model.head).__name__, model.recipe.features.cnn
    facts = {
        "segments": model.segments,
        "head": kind,
        "backbone": "none" if cnn is None else f"{cnn.backbone}, strides {', '.join(map(str, cnn.strides))}",
        "fitted on": fitted_on(model),
    }
    use = f"""```bash
segspectral segment photo.jpg -o out --model {WEIGHTS}   # also batch and evaluate
```

```python
import segspectral

segspectral.segment("photo.jpg", model="{WEIGHTS}").labels  # (H, W) segments 1..{model.segments}
```"""
    what = "Segments that mean the same in every picture, fitted on many images without labels by `segspectral fit`."
    return kind, f"{model.segments} segments shared by all images", what, facts, use


def fitted_on(model: Model) -> str:
    """Of how many superpixels of how many images, as far as the model's file gives numbers."""
    nodes, images = (value if isinstance(value := model.about.get(name), int) else "?" for name in ("nodes", "images"))
    return f"{nodes} superpixels of {images} images"


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        return text


@contextmanager
def _hub(repository: str, advice: str) -> Iterator[Any]:
    """The hub's client; its many errors as one sentence each."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise SettingsError("the hub needs huggingface_hub: pip install huggingface_hub") from error
    if not hub_reachable():
        raise SettingsError(
            "the hub is out of reach (no network, or HF_HUB_OFFLINE is set); a folder written by "
            "`segspectral models save` can also be handed on as it is",
            repository,
        )
    try:
        yield HfApi(library_name="segspectral", library_version=segspectral.__version__)
    except OutputError:
        raise
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise SettingsError(f"the hub refuses ({why}); {advice}", repository) from error
