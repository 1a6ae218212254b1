"""Segmentation -> files. ``save`` writes all that a user gets for one image; each file by a function of its own.

Files are written beside their place and renamed, so that a half-written one never stands under its name.
"""

from __future__ import annotations

import colorsys
import csv
import io
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segspectral
from segspectral.errors import OutputError
from segspectral.types import Segmentation

__all__ = ["boundaries", "colour_table", "label_png", "overlay", "save", "segment_table", "summary", "versions"]

PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-image", "opencv-python-headless", "torch", "timm", "pydensecrf2")


def save(segmentation: Segmentation, folder: str | os.PathLike[str], stem: str) -> dict[str, Path]:
    """Write the label map, the overlay, the table of segments and the summary of one image.

    Returns
    -------
    What -> path: ``labels`` (STEM_labels.png), ``overlay`` (STEM_overlay.png), ``segments`` (STEM_segments.csv) and
    ``summary`` (STEM.json).

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    folder = Path(folder)
    contents = {
        "labels": (f"{stem}_labels.png", label_png(segmentation.labels)),
        "overlay": (f"{stem}_overlay.png", _png(overlay(segmentation))),
        "segments": (f"{stem}_segments.csv", _csv(segment_table(segmentation))),
        "summary": (f"{stem}.json", (json.dumps(summary(segmentation), indent=2) + "\n").encode()),
    }
    return {what: write_bytes(folder / name, data) for what, (name, data) in contents.items()}


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as a whole or not at all."""
    # Cut, because a name that is just short enough must not become too long.
    partial = path.with_name(f".{path.name[-40:]}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def label_png(labels: NDArray[np.int32]) -> bytes:
    """An indexed PNG with a palette, pixel value = segment, 0 = void; 16-bit grey above 255 segments."""
    from PIL import Image

    buffer = io.BytesIO()
    if labels.max() > 255:
        Image.fromarray(labels.astype(np.uint16)).save(buffer, "PNG")
    else:
        picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
        picture.putpalette(colour_table(256).astype(np.uint8).tobytes())
        picture.save(buffer, "PNG")
    return buffer.getvalue()


def overlay(segmentation: Segmentation, opacity: float = 0.45) -> NDArray[np.uint8]:
    """(H, W, 3) the photograph, tinted by segment, with white borders edged in black; void is checkered grey."""
    import cv2

    labels = segmentation.labels
    table = colour_table(int(labels.max()) + 1).astype(np.float32)
    photograph = segmentation.image.uint8.astype(np.float32)
    picture = (1 - opacity) * photograph + opacity * table[labels]
    rows, cols = np.indices(labels.shape)
    void = labels == 0
    picture[void] = np.where((rows // 8 + cols // 8) % 2, 200, 150)[void][:, None]
    width = max(1, round(max(labels.shape) / 1000))
    border = boundaries(labels).astype(np.uint8)
    dark = cv2.dilate(border, np.ones((2 * width + 1,) * 2, np.uint8)).astype(bool)
    light = border.astype(bool) if width == 1 else cv2.dilate(border, np.ones((width,) * 2, np.uint8)).astype(bool)
    picture[dark] *= 0.55
    picture[light] = 255
    return np.round(picture).astype(np.uint8)


def boundaries(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """(H, W) True where the label differs from the pixel's right or lower neighbour."""
    border = np.zeros(labels.shape, dtype=bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return border


@cache
def colour_table(size: int) -> NDArray[np.uint8]:
    """(size, 3) RGB: black for void, then colours that stay apart for colour-blind people (Okabe and Ito 2008).

    After these, hues advance by the golden ratio at three lightnesses. Colour c never depends on how many there are.

    >>> colour_table(2).tolist()
    [[0, 0, 0], [0, 114, 178]]
    """
    okabe_ito = ["0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442"]
    colours = [(0, 0, 0), *(tuple(bytes.fromhex(colour)) for colour in okabe_ito)]
    for index in range(size - len(colours)):
        lightness = (0.45, 0.65, 0.3)[index % 3]
        hue = (0.31 + index * 0.618033988749895) % 1
        colours.append(tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue, lightness, 0.7)))
    table = np.array(colours[:size], dtype=np.uint8)
    table.setflags(write=False)  # it is kept for the next caller
    return table


def segment_table(segmentation: Segmentation) -> list[dict[str, Any]]:
    """One row per segment: area in pixels, share of the valid pixels, bounding box, centroid, mean colour.

    The box is top, left, bottom, right, the last two excluded; the mean colour is red, green, blue in 0..255.
    """
    labels = segmentation.labels
    count = segmentation.segments
    area = np.bincount(labels.ravel(), minlength=count + 1)
    rgb = segmentation.image.float32.reshape(-1, 3) * 255
    rows, cols = (index.ravel() for index in np.indices(labels.shape))

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(labels.ravel(), values, count + 1) / np.maximum(area, 1)

    centre = np.stack([mean(rows), mean(cols)], axis=1)
    colour = np.stack([mean(channel) for channel in rgb.T], axis=1)
    from scipy.ndimage import find_objects

    table = []
    for segment, box in enumerate(find_objects(labels, count), start=1):
        table.append(
            {
                "segment": segment,
                "area": int(area[segment]),
                "share": round(float(area[segment] / area[1:].sum()), 6),
                "top": box[0].start,
                "left": box[1].start,
                "bottom": box[0].stop,
                "right": box[1].stop,
                "row": round(float(centre[segment, 0]), 2),
                "column": round(float(centre[segment, 1]), 2),
                "red": round(float(colour[segment, 0]), 1),
                "green": round(float(colour[segment, 1]), 1),
                "blue": round(float(colour[segment, 2]), 1),
            }
        )
    return table


def summary(segmentation: Segmentation) -> dict[str, Any]:
    """What was done and how it ended: everything but the pixels."""
    membership, image = segmentation.membership, segmentation.image
    eigenvalues = membership.eigenvalues
    return {
        "image": image.name,
        "height": image.shape[0],
        "width": image.shape[1],
        "void_pixels": int((segmentation.labels == 0).sum()),
        "segments": segmentation.segments,
        "superpixels": len(segmentation.superpixels),
        "ncut": segmentation.ncut,
        "outcome": {"name": membership.outcome.name.lower(), "sentence": membership.outcome.sentence},
        "notes": list(segmentation.notes),
        "eigenvalues": None if eigenvalues is None else [float(value) for value in eigenvalues],
        "seconds": {stage: round(seconds, 4) for stage, seconds in segmentation.seconds.items()},
        "pipeline": segmentation.pipeline.model_dump(mode="json"),
        "versions": versions(),
    }


@cache
def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> Mapping[str, str | None]:
    """Versions of segspectral, Python and what the result depends on; None where a package is not installed."""
    own = {"segspectral": segspectral.__version__, "python": platform.python_version()}
    return own | {package: _installed(package) for package in PACKAGES}


def _png(rgb: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def _csv(table: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()
