"""The folder of results belongs to one evaluation: an evaluation with other settings does not write into it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segspectral.errors import OutputError
from segspectral.evaluation.datasets import Dataset
from segspectral.evaluation.plan import ImageScore
from segspectral.files import read_file, whole_set, write_bytes
from segspectral.wording import plural

__all__ = ["IMAGES", "Finished", "claim", "differences", "images_of", "settings_of"]

NAME = "evaluation.json"
RESULTS = ("results.json", "scores.csv", "report.html")
IMAGES = "images"
"""Subfolder in which finished images are kept, for runs that are stopped, and for comparisons."""

_PART = re.compile(r"[0-9a-f]{24}\.(json|jpg|part)")


def images_of(dataset: Dataset) -> str:
    """Return the number of scored images and a short hash of their ids."""
    digest = hashlib.sha256("\0".join(s.id for s in dataset.samples).encode("utf-8", "surrogateescape"))
    return f"{len(dataset)} ({digest.hexdigest()[:8]})"


def claim(out: Path, dataset: Dataset, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Create the folder of an evaluation with these settings (in JSON types), or check that an existing one fits.

    The results and finished images of an evaluation with equal settings are kept. With ``overwrite``, those of any
    evaluation are deleted.

    Raises
    ------
    OutputError
        The folder has results with other or unknown settings, finished images would be stored among the images of the
        data set, or the folder cannot be written to.
    """
    images = (out / IMAGES).resolve()
    for folder in {file.parent for sample in dataset.samples for file in (sample.image, sample.truth_file)}:
        if images == folder.resolve() or images in folder.resolve().parents:
            raise OutputError(
                f"its folder {IMAGES} is that of the data set; choose another folder for the results", out
            )
    new = dict(_flat(json.loads(json.dumps(settings, default=str))))
    record = out / NAME
    try:
        if overwrite:
            _clear(out)
        elif any((out / name).exists() for name in RESULTS) or any(True for _ in _parts(out)):
            differing = differences(settings_of(out), new)
            if differing:
                raise OutputError(
                    f"holds results of another evaluation: {differing}; choose another folder, or replace them "
                    "with --overwrite",
                    out,
                )
        write_bytes(record, (json.dumps(new, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"results cannot be written there ({error.strerror})", out) from error


def differences(old: dict[str, Any] | None, new: dict[str, Any]) -> str:
    """Return ``protocol was P3 and is P1`` for at most four settings; empty if all are equal."""
    if old is None:
        return "its settings are unknown"
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    described = [f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))}" for name in names[:4]]
    more = f" and {plural(len(names) - 4, 'more setting differs', 'more settings differ')}" if len(names) > 4 else ""
    return ", ".join(described) + more


def _shown(value: Any) -> str:
    text = "not given" if value is None else str(value)
    # Paths differ at their ends.
    return text if len(text) < 80 else f"... {text[-76:]}"


def settings_of(out: Path) -> dict[str, Any] | None:
    """Return the settings of the evaluation whose results a folder holds, by dotted name; None if they are unknown."""
    try:
        data = json.loads(read_file(out / NAME))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _parts(out: Path) -> Iterator[Path]:
    """Yield the files of finished images, of one run or of several seeds."""
    images = out / IMAGES
    if images.is_dir():
        for path in (*images.iterdir(), *images.glob("[0-9]*/*")):
            if _PART.fullmatch(path.name) and path.is_file():
                yield path


def _clear(out: Path) -> None:
    for path in (*(out / name for name in (*RESULTS, NAME)), *list(_parts(out))):
        path.unlink(missing_ok=True)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings as (dotted name, value); a list is one value."""
    if isinstance(value, dict) and (value or not name):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


class Finished:
    """Finished images in a folder, each with one JSON file and one picture. Raises OutputError."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"finished images cannot be written there ({error.strerror})", folder) from error
        self._folder = folder

    def _path(self, id: str, suffix: str) -> Path:
        return self._folder / (hashlib.sha256(id.encode()).hexdigest()[:24] + suffix)

    def find(self, id: str, stamp: str) -> ImageScore | None:
        try:
            data = json.loads(read_file(self._path(id, ".json")))
            if data["stamp"] != stamp or data["id"] != id:
                return None
            return ImageScore.from_json(data, self._path(id, ".jpg").read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the file is missing or damaged, so the image is scored again

    @whole_set()
    def add(self, score: ImageScore) -> None:
        write_bytes(self._path(score.id, ".jpg"), score.picture)
        write_bytes(self._path(score.id, ".json"), json.dumps(score.to_json()).encode())
