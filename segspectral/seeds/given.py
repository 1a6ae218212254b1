"""Seeds as arrays and as shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from segspectral.errors import SettingsError
from segspectral.settings import Settings

__all__ = ["MOST_LABELS", "By", "Seeding", "Seeds", "seeds_of_shapes"]

MOST_LABELS = 10_000
"""The largest label of a seed, as for the number of segments."""

By = Literal["walker", "hierarchy"]

LINES, AREAS = ("line", "linestrip"), ("polygon", "rectangle", "circle")

LEAST_POINTS = {"point": 1, "line": 2, "linestrip": 2, "polygon": 3, "rectangle": 2, "circle": 2}

WIDEST = 1000.0
"""The widest brush in pixels."""


class Seeding(Settings):
    """Where the seeds of an image come from, and how they spread."""

    path: Path | None = Field(
        None, description="file with the seeds of the image, or a folder with such a file of each image's name"
    )
    by: By = Field(
        "walker",
        description="walker: the seed that a random walk meets first; hierarchy: the seed that a region meets first "
        "when the weakest borders are removed",
    )


@dataclass(frozen=True, eq=False)
class Seeds:
    """Pixels with labels.

    Parameters
    ----------
    labels : (H, W) integers, at the size of the image: a label from 1, or 0 where it is unknown
    names : label -> name
    source : the file that they come from, in messages
    fewest : how many labels there must be: two to divide an image; one if the others are in other images

    Raises
    ------
    SettingsError
        The labels are not integers from 0 to ``MOST_LABELS``, or there are fewer than ``fewest`` of them.
    """

    labels: NDArray[np.integer]
    names: Mapping[int, str] = field(default_factory=dict)
    source: str = "seeds"
    fewest: int = 2

    def __post_init__(self) -> None:
        values = np.asarray(self.labels)
        if values.ndim != 2 or values.dtype.kind not in "biu":
            raise SettingsError(f"seeds are integers (height, width), not {values.dtype} {values.shape}", self.source)
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low < 0 or high > MOST_LABELS:
            bad = low if low < 0 else high
            raise SettingsError(
                f"{bad} is not a label of seeds; labels are 1 to {MOST_LABELS}, and 0 is unknown", self.source
            )
        known = np.flatnonzero(np.bincount(values.reshape(-1).astype(np.int32))[1:]) + 1
        if not len(known):
            raise SettingsError("no pixel has a label; all are 0, which means unknown", self.source)
        if len(known) < self.fewest:
            raise SettingsError(
                f"all seeds have the label {known[0]}, so that the whole image would have it; give at least two labels",
                self.source,
            )
        object.__setattr__(self, "labels", values.astype(np.int32))

    @classmethod
    def of(cls, value: Seeds | ArrayLike) -> Seeds:
        """Seeds, from an array (H, W) or from themselves."""
        return value if isinstance(value, Seeds) else cls(np.asarray(value))


def seeds_of_shapes(
    shapes: Sequence[Mapping[str, Any]],
    shape: tuple[int, int],
    names: Sequence[str] | None = None,
    source: str = "seeds",
    fewest: int = 2,
) -> Seeds:
    """Seeds from shapes as labelme stores them; later shapes lie above earlier ones.

    Parameters
    ----------
    shapes : each has ``label``, ``shape_type`` and ``points`` [[x, y], ...]. The types are point, line, linestrip,
        polygon, rectangle (two corners) and circle (centre, and a point on it). ``width`` is the width in pixels of the
        brush of points and lines, 1 by default. A shape without a label erases
    shape : (H, W) of the image
    names : the names of the labels 1, 2, ...; by default, labels are numbered in order of appearance

    Raises
    ------
    SettingsError
        A shape has another type, no points, a label that is not among the names, or lies outside the image; or others
        cover all shapes of a label, and none erases.
    """
    import cv2

    from segspectral.values.distances import distances

    number = {name: place for place, name in enumerate(names or (), 1)}
    labels = np.zeros(shape, np.int32)
    for place, one in enumerate(shapes, 1):
        kind, label, points, width = _checked(one, f"shape {place}", shape, source)
        if label and label not in number:
            if names is not None:
                raise SettingsError(f"shape {place}: '{label}' is not among the names", source)
            number[label] = len(number) + 1
        # Pixel (0, 0) covers 0 to 1 in x and y, as in labelme, so a point lies in the pixel below its coordinates.
        cells = np.minimum(np.floor(points), np.array(shape[::-1]) - 1).astype(np.int32)
        mask = np.zeros(shape, np.uint8)
        if kind == "point":
            mask[cells[0, 1], cells[0, 0]] = 1
        elif kind in LINES:
            cv2.polylines(mask, [cells], False, 1)
        elif kind == "polygon":
            cv2.fillPoly(mask, [cells], 1)
        elif kind == "rectangle":
            cv2.rectangle(mask, cells[0].tolist(), cells[1].tolist(), 1, cv2.FILLED)
        else:
            radius = float(np.hypot(*(points[1] - points[0])))
            cv2.circle(mask, cells[0].tolist(), round(min(radius, max(shape) * 2)), 1, cv2.FILLED)
        if width > 1 and kind not in AREAS:
            away = distances(mask == 0)
            mask = (away <= (width - 1) / 2).astype(np.uint8)
        labels[mask > 0] = number[label] if label else 0
    _check_covered(shapes, number, labels, source)
    return Seeds(labels, {place: name for name, place in number.items()}, source, fewest)


def _check_covered(
    shapes: Sequence[Mapping[str, Any]], number: Mapping[str, int], labels: NDArray[np.int32], source: str
) -> None:
    """Raises SettingsError if later shapes cover all pixels of a label; what is erased on purpose may be gone."""
    given = dict.fromkeys(one.get("label") or "" for one in shapes)
    lost = [f"'{name}'" for name in given if name and number[name] not in labels]
    if lost and "" not in given:
        raise SettingsError(f"no pixel of {', '.join(lost)} is left, because later shapes lie above it", source)


def _checked(one: Any, where: str, shape: tuple[int, int], source: str) -> tuple[str, str, NDArray[np.float64], float]:
    """The type, the label, the points (P, 2) and the width of a shape. Raises SettingsError."""
    if not isinstance(one, Mapping):
        raise SettingsError(f"{where} is not an object with label, shape_type and points", source)
    kind, label, width = one.get("shape_type") or "polygon", one.get("label"), one.get("width", 1)
    if kind not in LEAST_POINTS:
        raise SettingsError(f"{where} has the type '{kind}'; seeds are {', '.join(LEAST_POINTS)}", source)
    if not (label is None or isinstance(label, str)):
        raise SettingsError(f"{where}: a label is a text", source)
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= WIDEST:
        raise SettingsError(f"{where}: width is a number of pixels up to {WIDEST:g}", source)
    try:
        points = np.array(one.get("points"), np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise SettingsError(f"{where}: points are pairs of numbers [[x, y], ...]", source) from None
    if len(points) < LEAST_POINTS[kind] or not np.isfinite(points).all():
        raise SettingsError(f"{where}: a {kind} needs {LEAST_POINTS[kind]} points that are finite", source)
    inside = points if kind != "circle" else points[:1]
    if (inside < 0).any() or (inside > np.array(shape[::-1])).any():
        x, y = next(point for point in inside.tolist() if not (0 <= point[0] <= shape[1] and 0 <= point[1] <= shape[0]))
        raise SettingsError(
            f"{where} has the point ({x:g}, {y:g}), outside the image of {shape[1]} x {shape[0]} pixels", source
        )
    return kind, label or "", points, float(width)
