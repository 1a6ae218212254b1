"""Tables of segments, and a summary of how a segmentation was made."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

import segspectral
from segspectral.export.labelmap import LabelMap
from segspectral.export.regions import RegionSums, perimeters
from segspectral.values import Bands, Image, Segmentation

__all__ = ["csv_bytes", "csv_cell", "levels", "region_table", "segment_table", "summary", "versions"]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Text with one of these characters in front is a formula to spreadsheets (OWASP, "CSV injection").

The last four are the full-width forms of the first four, which East Asian spreadsheets treat alike.
"""

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "opencv-python-headless",
    "onnxruntime",
    "torch",
    "timm",
    "pydensecrf2",
)


def segment_table(segmentation: Segmentation) -> list[dict[str, Any]]:
    """Return a row per segment: area in pixels, share of the valid pixels, bounding box, centroid, mean colour.

    The box is top, left, bottom, right; bottom and right are exclusive. The mean colour is red, green, blue in 0..255,
    as the image is shown. If the image does not show all that its file holds, ``band1_mean``, ``band1_std`` and so on
    follow: mean and standard deviation of each band in the units of the file, and of each index (``ndvi_mean``).
    """
    image = segmentation.image
    return list(_rows(segmentation.labels, _levels(image), image.bands))


def region_table(label_map: LabelMap, quick: bool = False) -> list[dict[str, Any]]:
    """Return ``segment_table`` with names, perimeters in pixels (Benkrid and Crookes 2000) and the segments' colours.

    Mean colours and bands are omitted if there is no photograph; ``quick`` omits them and the perimeters.
    """
    pixels = None if quick else levels(label_map)
    if not quick:
        labels = label_map.labels
        perimeter = perimeters(lambda rows, cols: labels[slice(*rows), slice(*cols)], labels.shape, int(labels.max()))
    table = []
    for row in _rows(label_map.labels, pixels, None if quick else label_map.bands):
        segment = row.pop("segment")
        colour = "#{:02x}{:02x}{:02x}".format(*label_map.colour(segment))
        whole = {"segment": segment, "name": label_map.name(segment), "colour": colour, **row}
        if not quick:
            whole["perimeter"] = round(float(perimeter[segment]), 2)
        table.append(whole)
    return table


def levels(label_map: LabelMap) -> NDArray[Any] | None:
    """(H, W, 3) the colours of the photograph in 0..255, or None."""
    return _levels(label_map.segmentation.image) if label_map.segmentation is not None else label_map.pixels


def _levels(image: Image) -> NDArray[Any]:
    """(H, W, 3) RGB in 0..255."""
    return image.rgb if image.rgb.dtype == np.uint8 else image.float32 * 255


def _rows(labels: NDArray[np.int32], rgb: NDArray[Any] | None, bands: Bands | None) -> Iterator[dict[str, Any]]:
    """Yield a row per segment that has pixels; ``rgb`` is (H, W, 3) in 0..255."""
    sums = RegionSums(int(labels.max()), rgb is not None, () if bands is None else bands.keys)
    sums.add(labels, rgb=rgb, bands=bands)
    yield from sums.rows()


def summary(segmentation: Segmentation) -> dict[str, Any]:
    """Return everything that is known about a segmentation except its pixels, in JSON types."""
    membership, image = segmentation.membership, segmentation.image
    eigenvalues = membership.eigenvalues
    return {
        "image": image.name,
        "height": image.shape[0],
        "width": image.shape[1],
        "read": dict(image.read),
        "void_pixels": int((segmentation.labels == 0).sum()),
        "segments": segmentation.segments,
        "classes": {str(segment): name for segment, name in sorted(segmentation.names.items())},
        "superpixels": len(segmentation.scene.graph),
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
    """Return the versions of segspectral, Python and the packages that results depend on; None if not installed."""
    own = {"segspectral": segspectral.__version__, "python": platform.python_version()}
    return own | {package: _installed(package) for package in PACKAGES}


def csv_cell(value: Any) -> Any:
    """Return the value as a cell that spreadsheets display and never run as a formula.

    Spreadsheets run text that begins with a character of ``FORMULA``. An apostrophe in front turns it into plain text.
    Numbers are unchanged, even if they are given as text.

    >>> csv_cell("=1+1"), csv_cell("-5"), csv_cell("-x"), csv_cell(-5)
    ("'=1+1", '-5', "'-x", -5)
    """
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value if value.strip() == value else f"'{value}"


def csv_bytes(table: list[dict[str, Any]]) -> bytes:
    """Return rows with equal keys as a UTF-8 CSV file with a header; ``csv_cell`` makes formulas harmless."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in table)
    return text.getvalue().encode("utf-8", "backslashreplace")
