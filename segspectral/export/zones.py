"""The zones of a label map as polygons that share their borders: segments, or their connected pieces.

The label map is read in windows, so it may be larger than memory; what grows with it are borders and not pixels. Within
a window all borders are simplified together (Visvalingam and Whyatt 1993 on a coverage), and void is one of the parts.
Polygons that meet where two windows do are united. Points where a border crosses from one window to the next stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export.outlines import outlines
from segspectral.registry import Shapes

__all__ = ["SIDE", "Labels", "Span", "Zones", "windows_of", "zones_of"]

Span = tuple[int, int]
"""The first index, and one after the last."""

Labels = Callable[[Span, Span], NDArray[np.int32]]
"""Rows and columns to the segments (h, w) there, 0 on void."""

SIDE = 2048
"""Side of a window in pixels; outlines take about 150 bytes per pixel where there are many borders."""

OUTSIDE = -1
"""What lies beside the image."""


@dataclass(frozen=True, eq=False)
class Zones:
    """The n zones of a label map.

    Parameters
    ----------
    segment : (n,) the segment of each, ascending
    shapes : (n,) polygons or multipolygons of pixel corners, x and y, without gaps between neighbours
    kept : share of the pixels that the simplified polygons keep
    pieces : window -> (pieces,) the zone, from 1, of each piece in it, if zones are pieces
    """

    segment: NDArray[np.int32]
    shapes: NDArray[Any]
    kept: float
    pieces: dict[tuple[Span, Span], NDArray[np.int32]]

    def numbers(self, labels: NDArray[np.int32], window: tuple[Span, Span]) -> NDArray[np.int32]:
        """(h, w) the zone, from 1, of each pixel of a window of ``windows_of``; 0 on void."""
        if self.pieces:
            return np.concatenate([[np.int32(0)], self.pieces[window]])[_pieces(labels)].astype(np.int32)
        number = np.zeros(int(self.segment.max()) + 1, np.int32)
        number[self.segment] = np.arange(1, len(self.segment) + 1)
        return number[labels]


def windows_of(shape: tuple[int, int]) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of windows that cover an image, row by row."""
    for top in range(0, shape[0], SIDE):
        for left in range(0, shape[1], SIDE):
            yield (top, min(top + SIDE, shape[0])), (left, min(left + SIDE, shape[1]))


def zones_of(labels: Labels, shape: tuple[int, int], wanted: Shapes = Shapes()) -> Zones:
    """The segments of a label map of this shape, or their pieces, as polygons. shapely is imported here."""
    import shapely

    seams = _Seams()
    polygons: list[Any] = []
    owners: list[int] = []
    offsets: dict[tuple[Span, Span], tuple[int, int]] = {}
    equal = 0
    for window in windows_of(shape):
        here = _Window.read(labels, window, shape)
        first = len(owners)
        made, same = here.polygons(wanted.tolerance)
        equal += same
        polygons += made
        owners += here.segments.tolist()
        offsets[window] = first, len(owners)
        seams.add(window, here, first)
    group = seams.groups(len(owners))
    united = _united(np.array(polygons), group)
    segment = np.zeros(len(united), np.int32)
    segment[group] = owners
    kept = equal / (shape[0] * shape[1])
    if wanted.single:
        order = np.argsort(segment, kind="stable")
        number = np.empty(len(order), np.int32)
        number[order] = np.arange(1, len(order) + 1)
        pieces = {window: number[group[first:last]] for window, (first, last) in offsets.items()}
        return Zones(segment[order], united[order], kept, pieces)
    segments = np.unique(segment)
    parts = [shapely.get_parts(united[segment == one]) for one in segments]
    shapes = np.array([shapely.MultiPolygon(list(part)) for part in parts])
    return Zones(segments.astype(np.int32), shapes, kept, {})


def _pieces(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """(h, w) the number, from 1, of the 4-connected piece of each pixel in the order of ``outlines``; 0 on void."""
    from skimage.measure import label

    return np.asarray(label(labels, connectivity=1, background=0), np.int32)


@dataclass(frozen=True, eq=False)
class _Window:
    """A window of a label map, and the row or column of pixels beside each of its sides.

    Parameters
    ----------
    around : (h + 2, w + 2) segments, 0 on void, OUTSIDE beside the image
    pieces : (h, w) as ``_pieces`` gives them
    corner : (left, top) of the window in the image
    """

    around: NDArray[np.int32]
    pieces: NDArray[np.int32]
    corner: tuple[int, int]

    @classmethod
    def read(cls, labels: Labels, window: tuple[Span, Span], shape: tuple[int, int]) -> _Window:
        (top, bottom), (left, right) = window
        rows, cols = (max(top - 1, 0), min(bottom + 1, shape[0])), (max(left - 1, 0), min(right + 1, shape[1]))
        beside = ((rows[0] - top + 1, bottom + 1 - rows[1]), (cols[0] - left + 1, right + 1 - cols[1]))
        around = np.pad(labels(rows, cols), beside, constant_values=OUTSIDE)
        return cls(around, _pieces(around[1:-1, 1:-1]), (left, top))

    @property
    def inner(self) -> NDArray[np.int32]:
        return self.around[1:-1, 1:-1]

    @property
    def segments(self) -> NDArray[np.int32]:
        """(pieces,) the segment of each piece."""
        number, first = np.unique(self.pieces, return_index=True)
        return np.asarray(self.inner.reshape(-1)[first[number > 0]])

    def polygons(self, tolerance: float) -> tuple[list[Any], int]:
        """The simplified polygon of each piece, and the number of pixels whose centres lie in that of their segment."""
        import shapely
        from rasterio.features import rasterize

        vertex = self._vertices
        # Void has outlines, too: its border to segments is simplified like those between segments.
        pieces = outlines(self.inner + np.int32(1), every_corner=True)
        polygons = np.array(
            [shapely.Polygon(_at(p.outer, vertex), [_at(hole, vertex) for hole in p.holes]) for p in pieces]
        )
        if tolerance > 0:
            polygons = shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False)
        segment = np.array([p.segment - 1 for p in pieces])
        back = rasterize(zip(polygons, segment.tolist(), strict=True), self.inner.shape, fill=OUTSIDE, dtype="int32")
        moved = shapely.transform(polygons[segment > 0], lambda xy: xy + self.corner)
        return list(moved), int((back == self.inner).sum())

    @property
    def _vertices(self) -> NDArray[np.bool_]:
        """(h + 1, w + 1) the corners of pixels at which borders turn or meet, also those of the windows beside it."""
        a, b, c, d = self.around[:-1, :-1], self.around[:-1, 1:], self.around[1:, :-1], self.around[1:, 1:]
        straight = ((a == b) & (c == d)) | ((a == c) & (b == d))
        vertex = ~straight
        # The window itself has corners, where nothing else may have one.
        vertex[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        return vertex


def _at(ring: NDArray[np.int64], vertex: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The points of a ring at which there is a vertex, or at which it turns."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    turns = ((after - ring) != (ring - before)).any(axis=1)
    return ring[vertex[ring[:, 1], ring[:, 0]] | turns]


class _Seams:
    """Which pieces of windows that lie beside each other are one."""

    def __init__(self) -> None:
        self._below: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
        self._right: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None
        self._pairs: list[NDArray[np.int64]] = []

    def add(self, window: tuple[Span, Span], here: _Window, first: int) -> None:
        """Add the next window of ``windows_of``, whose pieces are numbered from ``first``."""
        segments, pieces = here.inner, here.pieces + np.int32(first - 1)
        left = window[1][0]
        if left > 0 and self._right is not None:
            self._join(self._right, (segments[:, 0], pieces[:, 0]))
        if left in self._below:
            self._join(self._below[left], (segments[0], pieces[0]))
        self._right = segments[:, -1].copy(), pieces[:, -1].copy()
        self._below[left] = segments[-1].copy(), pieces[-1].copy()

    def _join(
        self, one: tuple[NDArray[np.int32], NDArray[np.int32]], other: tuple[NDArray[np.int32], NDArray[np.int32]]
    ) -> None:
        same = (one[0] == other[0]) & (one[0] > 0)
        self._pairs.append(np.unique(np.stack([one[1][same], other[1][same]], axis=1), axis=0).astype(np.int64))

    def groups(self, count: int) -> NDArray[np.int32]:
        """(count,) the number, from 0, of what each piece belongs to, in the order of their first pieces."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        found = connected_components(graph, directed=False)[1]
        _, first, index = np.unique(found, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int32)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[index]


def _united(polygons: NDArray[Any], group: NDArray[np.int32]) -> NDArray[Any]:
    """(groups,) the union of the polygons of each group."""
    import shapely

    order = np.argsort(group, kind="stable")
    parts = np.split(polygons[order], np.cumsum(np.bincount(group))[:-1])
    return np.array([part[0] if len(part) == 1 else shapely.union_all(part) for part in parts])
