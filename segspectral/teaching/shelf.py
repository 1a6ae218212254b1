"""Images that have been described, kept in a folder, so that teaching again reads what it would have to compute."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segspectral.files import write_bytes
from segspectral.images.reader import as_image
from segspectral.shared.model import Block, Parts
from segspectral.shared.taught import Lesson
from segspectral.teaching.album import Described, describe
from segspectral.values import Superpixels
from segspectral.values.regions import Hierarchy, RegionGraph

__all__ = ["Shelf", "guess_of", "thumb_of"]

THUMB = 160
"""The longer side of the small picture of an image, in pixels."""

ALL = Block("all", 1)
"""The name under which features of all extractors lie side by side."""


class Shelf:
    """A folder of described images, of one process or several; a file of it is safetensors, numbers without code.

    Parameters
    ----------
    folder : is made when it is needed
    lesson : how images are described
    """

    def __init__(self, folder: Path, lesson: Lesson) -> None:
        self.folder, self.lesson = folder, lesson
        self._how = lesson.model_dump_json(include={"reading", "working_pixels", "superpixels", "features", "levels"})

    def place(self, path: Path) -> Path:
        """The file that an image has here, whether it is there or not; a changed image has another. Raises OSError."""
        stat = os.stat(path)
        key = f"{os.path.abspath(path)}\0{stat.st_mtime_ns}\0{stat.st_size}\0{self._how}"
        return self.folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}.safetensors"

    def __call__(self, path: Path) -> Described:
        """The image, described now or before. Raises as ``describe``, OSError, OutputError."""
        place = self.place(path)
        return self._read(path, place) or self._made(path, place)

    def _read(self, path: Path, place: Path) -> Described | None:
        """The image as it lies here; None if it is not here, or is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            kept = load(place.read_bytes())
            os.utime(place)  # marks it as recently used, for ``prune``
            boundary = kept.get("boundary")
            graph = RegionGraph(kept["area"], kept["borders"], kept["border_length"], boundary)
            if boundary is not None:
                # The tree takes longer than all else; a graph makes it only if it has none.
                graph.__dict__["hierarchy"] = Hierarchy(graph, kept["merges"], kept["altitudes"])
            bands = tuple(json.loads(kept["bands"].tobytes()))
            height, width = kept["shape"].tolist()
            parts = Parts({ALL: kept["rows"]}, graph, bands)
            return Described(path, (height, width), Superpixels(kept["superpixels"]), parts)
        except (OSError, SafetensorError, ValueError, KeyError):
            return None

    def _made(self, path: Path, place: Path) -> Described:
        from safetensors.numpy import save

        image = as_image(path, reading=self.lesson.reading)
        one = describe(path, self.lesson, image=image)
        graph = one.parts.graph
        kept: dict[str, NDArray[Any]] = {
            "shape": np.array(one.shape),
            "superpixels": one.superpixels.labels,
            "rows": one.parts.rows,
            "area": graph.area,
            "borders": graph.borders,
            "border_length": graph.border_length,
            "bands": np.frombuffer(json.dumps(one.parts.bands).encode(), np.uint8),
            "thumb": _small(image.uint8),
        }
        if graph.boundary is not None:
            tree = graph.hierarchy
            kept |= {"boundary": graph.boundary, "merges": tree.merges, "altitudes": tree.altitudes}
        write_bytes(place, save({name: np.ascontiguousarray(array) for name, array in kept.items()}))
        return one


def guess_of(place: Path, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) the class of each pixel of an image on a shelf, from those of its superpixels (N,); void pixels get 0.

    Raises
    ------
    OSError
        The image does not lie there any more.
    """
    shape, superpixels = _arrays(place, "shape", "superpixels")
    at = (np.arange(fine) * coarse // fine for fine, coarse in zip(shape.tolist(), superpixels.shape, strict=True))
    return np.append(classes, np.uint8(0))[superpixels[np.ix_(*at)]]


def thumb_of(place: Path, classes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A small picture (h, w, 3) of an image on a shelf, and the class of each of its pixels; raises as ``guess_of``."""
    thumb, superpixels = _arrays(place, "thumb", "superpixels")
    at = (np.arange(small) * large // small for small, large in zip(thumb.shape[:2], superpixels.shape, strict=True))
    return thumb, np.append(classes, np.uint8(0))[superpixels[np.ix_(*at)]]


def _arrays(place: Path, *names: str) -> list[NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place, framework="numpy") as kept:
            return [kept.get_tensor(name) for name in names]
    except SafetensorError as error:
        raise OSError("is damaged") from error


def _small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with at most ``THUMB`` pixels on its longer side."""
    factor = min(1.0, THUMB / max(rgb.shape[:2]))
    size = tuple(max(1, round(side * factor)) for side in rgb.shape[1::-1])
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
