"""Statistics of the segments of a label map: shape, neighbours, and what each band has inside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.export.labelmap import LabelMap
from segspectral.values import Image

__all__ = ["PixelSize", "measured", "planes_of"]

QUANTILES = {"q10": 0.1, "median": 0.5, "q90": 0.9}

SHAPE = {
    "perimeter": "perimeter",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "orientation": "orientation",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
"""Names of scikit-image -> those of our columns."""

LENGTHS = ("perimeter", "major_axis", "minor_axis", "longest_border")
"""Columns in pixels that are lengths."""


class PixelSize(NamedTuple):
    """The side of a square pixel, and its unit."""

    side: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> PixelSize:
        """From ``0.25um``.

        Raises
        ------
        SettingsError
            It is not a number above 0 and a unit.

        >>> PixelSize.parse("0.25 µm")
        PixelSize(side=0.25, unit='um')
        """
        found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(nm|um|µm|μm|mm|cm|m|km|ft)", text.strip())
        if found is None or float(found[1]) == 0:
            raise SettingsError(
                f"'{text}' is not the size of a pixel; write a number and nm, um, mm, cm, m, km or ft, such as 0.25um",
                "--pixel-size",
            )
        return cls(float(found[1]), found[2].replace("µ", "u").replace("μ", "u"))


def planes_of(image: Image, prefix: str = "") -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
    """Name and (H, W) values of each band, NaN where there is no measurement.

    They are the bands of the file in its units; for a photograph red, green and blue in 0..255, or grey.

    Parameters
    ----------
    prefix : of all names, such as "dem"; a single band has just this name
    """
    if image.bands is not None:
        named = list(zip(image.bands.keys, image.bands.planes(), strict=True))
    else:
        rgb = image.rgb if image.rgb.dtype == np.uint8 else image.float32 * np.float32(255)
        grey = (rgb == rgb[..., :1]).all()
        named = [(name, rgb[..., k].astype(np.float64)) for k, name in enumerate(["grey"] if grey else RGB)]
    for name, plane in named:
        values = plane if image.mask is None else np.where(image.mask, plane, np.nan)
        yield (name if not prefix else prefix if len(named) == 1 else f"{prefix}_{name}"), values


RGB = ("red", "green", "blue")


def measured(
    item: LabelMap, planes: Iterable[tuple[str, NDArray[Any]]] = (), size: PixelSize | None = None
) -> list[dict[str, Any]]:
    """A row per segment, in the order of their numbers.

    Parameters
    ----------
    planes : name and values (H, W) of each band; NaN means no measurement
    size : the side of a pixel; columns in this unit follow those in pixels

    Returns
    -------
    Rows with these columns: segment, name; area, top, left, bottom, right, row, column, perimeter (Benkrid and Crookes
    2000), major_axis, minor_axis, orientation (radians between the rows' axis and the major axis), eccentricity,
    solidity, compactness (4 pi area / perimeter^2, at most 1), pieces (that touch by their sides), holes, edge (whether
    it touches the edge of the image), neighbours, longest_neighbour and longest_border (in sides of pixels). Of each
    band NAME: NAME_mean, NAME_std, NAME_q10, NAME_median, NAME_q90, and NAME_texture, the mean of the local standard
    deviation in 3 x 3 pixels. A segment that a band has no measurement in has None there.
    """
    labels = item.labels
    segments = np.array(item.segments)
    columns: dict[str, list[Any]] = {"segment": segments.tolist(), "name": [item.name(s) for s in item.segments]}
    columns |= _shapes(labels)
    columns |= _neighbours(labels, segments)
    if size is not None:
        columns[f"area_{size.unit}2"] = [value * size.side**2 for value in columns["area"]]
        columns |= {f"{name}_{size.unit}": [value * size.side for value in columns[name]] for name in LENGTHS}
    flat = labels.reshape(-1)
    order = np.argsort(flat, kind="stable")
    for name, plane in planes:
        if plane.shape != labels.shape:
            raise SettingsError(f"band {name} has another size than the label map", item.image)
        columns |= _statistics(name, plane, flat, order, segments)
    return [dict(zip(columns, map(_rounded, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def _rounded(value: Any) -> Any:
    """Numbers to seven digits: more would be noise."""
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.7g}")
    return value


def _shapes(labels: NDArray[np.int32]) -> Mapping[str, list[Any]]:
    import warnings

    from skimage.measure import label, regionprops_table

    def pieces(mask: NDArray[np.bool_]) -> int:
        return int(label(mask, connectivity=1).max())

    def holes(mask: NDArray[np.bool_]) -> int:
        # Pieces touch by their sides, so what they enclose may touch by corners as well.
        return int(label(np.pad(~mask, 1, constant_values=True), connectivity=2).max()) - 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of segments of a few pixels, whose hull is a line
        table = regionprops_table(
            labels,
            properties=("area", "bbox", "centroid", *SHAPE),
            extra_properties=(pieces, holes),
        )
    area, perimeter = table["area"].astype(np.int64), table["perimeter"]
    box = dict(zip(("top", "left", "bottom", "right"), (table[f"bbox-{k}"] for k in range(4)), strict=True))
    touches = (box["top"] == 0) | (box["left"] == 0)
    touches |= (box["bottom"] == labels.shape[0]) | (box["right"] == labels.shape[1])
    # A single pixel has no perimeter by this measure; it is as compact as can be.
    round_ = np.where(perimeter > 0, 4 * np.pi * area / np.maximum(perimeter, 1e-9) ** 2, 1.0)
    made = {"area": area, **box, "row": table["centroid-0"], "column": table["centroid-1"]}
    made |= {ours: table[theirs] for theirs, ours in SHAPE.items()}
    made |= {"compactness": np.minimum(round_, 1.0), "pieces": table["pieces"].astype(np.int64)}
    made |= {"holes": table["holes"].astype(np.int64), "edge": touches}
    return {name: values.tolist() for name, values in made.items()}


def _neighbours(labels: NDArray[np.int32], segments: NDArray[np.int64]) -> Mapping[str, list[Any]]:
    """How many other segments touch each by a side, which one longest, and how long."""
    pairs = np.concatenate(
        [
            np.stack([one.reshape(-1), other.reshape(-1)], axis=1)
            for one, other in ((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:]))
        ]
    )
    pairs = pairs[(pairs > 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])]
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    key, length = np.unique(both @ np.array([1 << 20, 1]), return_counts=True)
    of, other = key >> 20, key & ((1 << 20) - 1)
    count = np.bincount(of, minlength=int(segments.max()) + 1)[segments]
    # The longest border of each comes last; of equal ones that of the smaller number.
    order = np.lexsort((-other, length, of))
    last = order[np.searchsorted(of[order], segments, side="right") - 1] if len(order) else np.zeros(0, np.int64)
    alone = count == 0
    if not len(order):
        return {
            "neighbours": count.tolist(),
            "longest_neighbour": [None] * len(count),
            "longest_border": [0] * len(count),
        }
    longest = np.where(alone, 0, length[last])
    name = [None if single else int(number) for single, number in zip(alone, other[last], strict=True)]
    return {"neighbours": count.tolist(), "longest_neighbour": name, "longest_border": longest.tolist()}


def _statistics(
    name: str,
    plane: NDArray[Any],
    flat: NDArray[np.int32],
    order: NDArray[np.int64],
    segments: NDArray[np.int64],
) -> Mapping[str, list[Any]]:
    """The columns of one band."""
    values = plane.reshape(-1).astype(np.float64)[order]
    known = np.isfinite(values) & (flat[order] > 0)
    values, of = values[known], flat[order][known]
    size = int(segments.max()) + 1
    count = np.bincount(of, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(of, values, size) / count
        deviation = np.sqrt(np.bincount(of, (values - mean[of]) ** 2, size) / count)
        local = _local_deviation(plane).reshape(-1)[order][known]
        texture = np.bincount(of, local, size) / count
    rank = np.lexsort((values, of))
    ordered, first = values[rank], np.concatenate([[0], np.cumsum(count)])[:-1]
    made = {"mean": mean, "std": deviation}
    for quantile, share in QUANTILES.items():
        place = first + share * np.maximum(count - 1, 0)
        low = np.minimum(np.floor(place).astype(np.int64), max(len(ordered) - 1, 0))
        high = np.minimum(np.ceil(place).astype(np.int64), max(len(ordered) - 1, 0))
        if len(ordered):
            found = ordered[low] + (place - np.floor(place)) * (ordered[high] - ordered[low])
            made[quantile] = np.where(count > 0, found, np.nan)
        else:
            made[quantile] = np.full(size, np.nan)
    made["texture"] = texture
    return {f"{name}_{statistic}": found[segments].tolist() for statistic, found in made.items()}


def _local_deviation(plane: NDArray[Any]) -> NDArray[np.float64]:
    """(H, W) the standard deviation in 3 x 3 pixels around each; pixels without a measurement are left out."""
    import cv2

    known = np.isfinite(plane).astype(np.float64)
    values = np.where(known > 0, plane, 0).astype(np.float64)
    shift = values.sum() / max(known.sum(), 1)  # so that squares of large numbers keep their digits
    values = np.where(known > 0, values - shift, 0)

    def total(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.boxFilter(of, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT))

    n = np.maximum(total(known), 1)
    return np.sqrt(np.maximum(total(values**2) / n - (total(values) / n) ** 2, 0))
