"""The fragments of a label map: all decisions about the sizes of segments are made on fragments instead of pixels.

A *fragment* is a connected part of a superpixel within a segment; pixels are connected by their sides. A label map may
come in blocks, so it may be larger than memory: memory grows with the number of fragments, not of pixels. Fragments are
numbered by their first pixels, row by row, so the numbers do not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segspectral.values.labels import pieces
from segspectral.values.regions import RegionGraph
from segspectral.values.superpixels import Superpixels

__all__ = ["Blocks", "Fragments", "connected"]

Span = tuple[int, int]
"""The first index, and one after the last."""


T = TypeVar("T", bound=np.generic)


class Store(Protocol):
    """An array (H, W) int32 in memory or on disk."""

    def __setitem__(self, window: tuple[slice, slice], values: NDArray[np.int32], /) -> None: ...
    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[np.int32]: ...


@dataclass(frozen=True, eq=False)
class Fragments:
    """The F fragments of a label map.

    Parameters
    ----------
    graph : areas in pixels, borders and their lengths; without boundary probabilities
    label : (F,) the segment of each, from 1
    leaf : (F,) the superpixel of each, which is a leaf of the hierarchy
    outer : (F,) whether the fragment touches the edge of the image, or void
    """

    graph: RegionGraph
    label: NDArray[np.int32]
    leaf: NDArray[np.int32]
    outer: NDArray[np.bool_]

    @classmethod
    def of(cls, labels: NDArray[np.int32], leaves: NDArray[np.int32]) -> tuple[Fragments, NDArray[np.int32]]:
        """The fragments of a label map in memory, and the fragment of each pixel (H, W), -1 on void.

        Parameters
        ----------
        labels : (H, W) segments from 1, 0 on void
        leaves : (H, W) the superpixel at each pixel, -1 on void
        """
        at = np.empty(labels.shape, np.int32)
        blocks = Blocks(at, (labels.shape[0], labels.shape[1]))
        blocks.add((0, labels.shape[0]), (0, labels.shape[1]), labels, leaves)
        return blocks.fragments()[0], at

    def regrouped(self, label: NDArray[np.int32], leaf: NDArray[np.int32]) -> tuple[Fragments, NDArray[np.int32]]:
        """The fragments after segments and leaves have changed, and the new fragment of each (F,).

        Parameters
        ----------
        label, leaf : (F,) the new ones, none of which divides a fragment
        """
        here, there = self.graph.borders.T
        same = (label[here] == label[there]) & (leaf[here] == leaf[there])
        number = connected(self.graph.borders[same], np.arange(len(label)))
        return Fragments(
            self.graph.merged(number), _of_groups(label, number), _of_groups(leaf, number), _any(self.outer, number)
        ), number


class Blocks:
    """Collects the fragments of a label map (H, W) that comes in blocks; ``at`` receives the part of each pixel.

    A *part* is what of a fragment lies in one block. Blocks may come in any order in which the blocks above a block and
    to the left of it come before it.

    Parameters
    ----------
    at : (H, W) the part of each pixel, -1 on void
    """

    def __init__(self, at: Store, shape: tuple[int, int]) -> None:
        self.at, self.shape, self.count = at, shape, 0
        self._label: list[NDArray[np.int32]] = []
        self._leaf: list[NDArray[np.int32]] = []
        self._first: list[NDArray[np.int64]] = []
        self._area: list[NDArray[np.int64]] = []
        self._outer: list[NDArray[np.int32]] = []
        self._borders: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.float64]] = []

    def add(self, rows: Span, cols: Span, labels: NDArray[np.int32], leaves: NDArray[np.int32]) -> None:
        """Add the block of these rows and columns.

        Parameters
        ----------
        labels : (h, w) segments from 1, 0 on void
        leaves : (h, w) the superpixel at each pixel, -1 on void
        """
        part = pieces(_keys(labels, leaves))
        here = part + np.int32(self.count)
        here[part < 0] = -1
        self.at[slice(*rows), slice(*cols)] = here
        if (part >= 0).any():
            self._add_inside(rows, cols, part, labels, leaves)
        if rows[0] > 0:
            self._add_seam(here[0], self.at[slice(rows[0] - 1, rows[0]), slice(*cols)][0])
        if cols[0] > 0:
            self._add_seam(here[:, 0], self.at[slice(*rows), slice(cols[0] - 1, cols[0])][:, 0])
        self.count += len(self._area[-1]) if (part >= 0).any() else 0

    def _add_inside(
        self,
        rows: Span,
        cols: Span,
        part: NDArray[np.int32],
        labels: NDArray[np.int32],
        leaves: NDArray[np.int32],
    ) -> None:
        regions = Superpixels(part)
        known = part >= 0
        for values, parts in ((labels, self._label), (leaves, self._leaf)):
            parts.append(_of_groups(values[known], part[known]))
        self._area.append(regions.area)
        pixel = np.flatnonzero(known)
        row, column = np.divmod(pixel, part.shape[1])
        place = (row + rows[0]) * self.shape[1] + column + cols[0]
        self._first.append(_of_groups(place[::-1], part[known][::-1]))  # the last value is kept: the first pixel's
        self._borders.append(regions.borders.astype(np.int64) + self.count)
        self._lengths.append(regions.border_length)
        around = np.pad(part, 1)
        for edge, of_image in (
            (np.s_[0], rows[0] == 0),
            (np.s_[-1], rows[1] == self.shape[0]),
            (np.s_[:, 0], cols[0] == 0),
            (np.s_[:, -1], cols[1] == self.shape[1]),
        ):
            around[edge] = -1 if of_image else 0
        void = around < 0
        beside = (void[:-2, 1:-1] | void[2:, 1:-1] | void[1:-1, :-2] | void[1:-1, 2:]) & known
        self._outer.append(np.unique(part[beside]) + np.int32(self.count))

    def _add_seam(self, here: NDArray[np.int32], there: NDArray[np.int32]) -> None:
        """Add the pairs of pixels on both sides of an edge of a block."""
        self._outer += [here[(here >= 0) & (there < 0)], there[(there >= 0) & (here < 0)]]
        both = (here >= 0) & (there >= 0)
        pairs, length = np.unique(np.stack([there[both], here[both]], axis=1), axis=0, return_counts=True)
        self._borders.append(pairs.astype(np.int64))
        self._lengths.append(length.astype(np.float64))

    def fragments(self) -> tuple[Fragments, NDArray[np.int32]]:
        """The fragments of all blocks, and the fragment of each part."""
        label, leaf = _all(self._label, np.int32), _all(self._leaf, np.int32)
        first, area = _all(self._first, np.int64), _all(self._area, np.int64)
        outer = np.zeros(self.count, np.bool_)
        outer[_all(self._outer, np.int32)] = True
        borders = np.concatenate([np.zeros((0, 2), np.int64), *self._borders])
        here, there = borders.T
        same = (label[here] == label[there]) & (leaf[here] == leaf[there])
        number = connected(borders[same], first)
        graph = RegionGraph(area, borders.astype(np.int32), _all(self._lengths, np.float64)).merged(number)
        return Fragments(graph, _of_groups(label, number), _of_groups(leaf, number), _any(outer, number)), number


def connected(pairs: NDArray[np.integer], place: NDArray[np.integer]) -> NDArray[np.int32]:
    """(n,) the number, from 0, of the group of each of n things, in the order of the least place in each group.

    Parameters
    ----------
    pairs : (P, 2) two that are in one group
    place : (n,) where each is
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(place)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    count, group = connected_components(graph, directed=False)
    order = np.argsort(place, kind="stable")[::-1]
    least = _of_groups(place[order], group[order])
    number = np.empty(count, np.int32)
    number[np.argsort(least, kind="stable")] = np.arange(count, dtype=np.int32)
    return number[group]


def _keys(labels: NDArray[np.int32], leaves: NDArray[np.int32]) -> NDArray[np.integer[Any]]:
    """(h, w) equal where both are equal, -1 on void."""
    width = int(leaves.max(initial=0)) + 1
    wide = labels if (int(labels.max(initial=0)) + 1) * width < 2**31 else labels.astype(np.int64)
    return np.where(labels > 0, wide * width + leaves, -1)


def _of_groups(values: NDArray[T], number: NDArray[np.integer]) -> NDArray[T]:
    """(groups,) the last value in each group; ``number`` is the group of each value."""
    out = np.empty(int(number.max(initial=-1)) + 1, values.dtype)
    out[number] = values
    return out


def _any(flags: NDArray[np.bool_], number: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(groups,) whether one of each group has the flag."""
    out = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
    out[number[flags]] = True
    return out


def _all(arrays: Sequence[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    return np.concatenate([np.zeros(0, dtype), *arrays])
