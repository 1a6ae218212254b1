"""The contingency table of two label maps: how many pixels each pair of segments shares. All region scores use it.

Label maps are compared run by run: a run of neighbouring pixels that have the same label in every map is counted once,
with its length as weight. Segment ids may be any integers, and the scores do not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Contingency", "Runs", "compact", "contingency", "same_shape", "stack"]

_DENSE_CELLS = 1 << 20
"""A table with more cells than this is counted by sorting. A dense table of this size takes 8 MiB."""


@dataclass(frozen=True)
class Contingency:
    """The non-empty cells of a table: ``count[k]`` pixels have the labels ``row[k]`` and ``column[k]``.

    Rows and columns are numbered from 0 in ascending order of the labels; ``shape`` is (rows, columns).
    """

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    count: NDArray[np.float64]
    shape: tuple[int, int]

    @cached_property
    def rows(self) -> NDArray[np.float64]:
        """Pixels per row label."""
        return _weighted(self.row, self.count, self.shape[0])

    @cached_property
    def columns(self) -> NDArray[np.float64]:
        """Pixels per column label."""
        return _weighted(self.column, self.count, self.shape[1])

    @cached_property
    def total(self) -> float:
        return float(self.count.sum())


@dataclass(frozen=True)
class Runs:
    """M label maps as R common runs: ``labels`` (M, R) with ids 0..K-1 for each map, and ``length`` (R,) in pixels.

    ``values[m]`` (K,) holds the original labels of map m in ascending order.
    """

    labels: NDArray[np.intp]
    length: NDArray[np.float64]
    values: tuple[NDArray[np.integer], ...]

    @classmethod
    def of(cls, maps: NDArray[np.integer]) -> Runs:
        """Return the runs of a stack of label maps (M, H, W) of any integer type."""
        flat = maps.reshape(len(maps), -1)
        change = np.zeros(flat.shape[1], dtype=bool)
        change[0] = True
        for one in flat:
            change[1:] |= one[1:] != one[:-1]
        starts = np.flatnonzero(change)
        length = np.diff(starts, append=flat.shape[1]).astype(np.float64)
        parts = [compact(one[starts]) for one in flat]
        return cls(np.stack([ids for ids, _ in parts]), length, tuple(values for _, values in parts))

    def first(self, m: int) -> NDArray[np.intp]:
        """Return the number of the first run of each label of map ``m`` (K,): the order of their first pixels."""
        first = np.empty(len(self.values[m]), dtype=np.intp)
        first[self.labels[m][::-1]] = np.arange(self.labels.shape[1])[::-1]  # of several values the last one stays
        return first

    def table(self, row: int, column: int, without: NDArray[np.bool_] | None = None) -> Contingency:
        """Return the table of map ``row`` against map ``column``; the runs in ``without`` (R,) are not counted."""
        shape = len(self.values[row]), len(self.values[column])
        code = self.labels[row] * shape[1] + self.labels[column]
        length = self.length
        if without is not None:
            code, length = code[~without], length[~without]
        if shape[0] * shape[1] <= _DENSE_CELLS:
            dense = _weighted(code, length, shape[0] * shape[1])
            cells = np.flatnonzero(dense)
            count = dense[cells]
        else:
            cells, inverse = np.unique(code, return_inverse=True)
            count = _weighted(inverse, length, len(cells))
        return Contingency(cells // shape[1], cells % shape[1], count, shape)


def _weighted(ids: NDArray[np.intp], weights: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    return np.bincount(ids, weights, size).astype(np.float64, copy=False)


def compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.integer]]:
    """Return labels (n,) renumbered to 0..K-1 in ascending order, and the K labels that occur.

    >>> compact(np.array([7, -1, 7]))
    (array([1, 0, 1]), array([-1,  7]))
    """
    low, high = int(labels.min()), int(labels.max())
    span = high - low + 1
    if span > 4 * labels.size + 4096:  # the ids are sparse, so sorting takes less memory than an array of all ids
        values, inverse = np.unique(labels, return_inverse=True)
        return inverse.astype(np.intp), values
    shifted = labels.astype(np.intp) - low
    present = np.zeros(span, dtype=bool)
    present[shifted] = True
    values = (np.flatnonzero(present) + low).astype(labels.dtype)
    return (np.cumsum(present) - 1)[shifted], values


def contingency(a: ArrayLike, b: ArrayLike, *, void: int | None = None) -> Contingency:
    """Return the contingency table of two label maps of equal shape, without the pixels where ``b`` is ``void``.

    >>> table = contingency([[0, 0], [1, 1]], [[5, 5], [5, 6]])
    >>> table.count
    array([2., 1., 1.])
    """
    first, second = np.asarray(a), np.asarray(b)
    same_shape(first, second)
    if void is not None:
        valid = second != void
        first, second = first[valid], second[valid]
    if first.size == 0:
        raise ValueError("no pixel is left to compare: the truth has only void")
    kind = np.result_type(first, second)
    return Runs.of(np.stack([first.ravel().astype(kind), second.ravel().astype(kind)])).table(0, 1)


def same_shape(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Raise ValueError if two maps cannot be compared."""
    if a.shape != b.shape:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape} cannot be compared")


def stack(maps: ArrayLike) -> NDArray[np.integer]:
    """Return one map (H, W) or several (S, H, W) as several. Raises ValueError if they do not hold integers."""
    array = np.asarray(maps)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "iub":
        raise ValueError(f"label maps must be integers of shape (H, W) or (S, H, W), not {array.dtype} {array.shape}")
    return cast("NDArray[np.integer]", array.astype(np.uint8) if array.dtype.kind == "b" else array)
