"""One nested family of segmentations: superpixels merged one by one, cut anywhere at no further cost."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.types import Features, Superpixels

__all__ = ["SWEEP_LEVELS", "Hierarchy", "build_hierarchy"]

SWEEP_LEVELS = tuple(round(0.02 * step, 2) for step in range(1, 27))
"""Levels at which evaluations cut a hierarchy, from nearly all superpixels to a few regions."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """An ultrametric contour map (Arbelaez 2006) over superpixels.

    Parameters
    ----------
    superpixels : the N leaves
    merges : (N - 1, 2) superpixels whose regions were merged, in order
    heights : (N - 1,) in [0, 1], rising: the level at which each merge happens
    """

    superpixels: Superpixels
    merges: NDArray[np.int64]
    heights: NDArray[np.float64]

    def labels(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(H, W) label map 1..K in order of falling area, 0 on void: K segments, or all merges up to a level done.

        Raises
        ------
        SettingsError
            Not exactly one of the two, or more segments than superpixels, or a level outside [0, 1].
        """
        return self.superpixels.spread(self.nodes(segments, level) + np.int32(1), void=0)

    def nodes(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(N,) segment of each superpixel, from 0 in order of falling area."""
        n = len(self.superpixels)
        if (segments is None) == (level is None):
            raise SettingsError("a cut of the hierarchy takes either segments=K or level=T")
        if segments is not None and not 1 <= segments <= n:
            raise SettingsError(f"the hierarchy has 1 to {n} segments, not {segments}")
        if level is not None and not 0 <= level <= 1:
            raise SettingsError(f"a level of the hierarchy lies in [0, 1], not {level}")
        done = n - segments if segments is not None else int(np.searchsorted(self.heights, level or 0.0, side="right"))
        i, j = self.merges[:done].T
        region = sp.csgraph.connected_components(sp.csr_array((np.ones(done), (i, j)), shape=(n, n)), False)[1]
        area = np.bincount(region, self.superpixels.area)
        rank = np.empty(len(area), dtype=np.int32)
        rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
        return rank[region]

    def segments_at(self, level: float) -> int:
        """How many segments the cut at a level has."""
        return len(self.superpixels) - int(np.searchsorted(self.heights, level or 0.0, side="right"))

    @cached_property
    def border_heights(self) -> NDArray[np.float64]:
        """(M,) level at which the two sides of each border of the superpixels become one region."""
        return self.levels_between(self.superpixels.borders)

    def levels_between(self, pairs: NDArray[np.integer]) -> NDArray[np.float64]:
        """(P,) level at which the two superpixels of each pair (P, 2) become one region: their ultrametric distance."""
        # The merges are the edges of a tree whose heights rise: the level of a pair is the highest on the path between
        # its ends, found at the moment in which the two first share a region.
        n = len(self.superpixels)
        open_pairs: list[set[int]] = [set() for _ in range(n)]
        for pair, (i, j) in enumerate(pairs.tolist()):
            open_pairs[i].add(pair)
            open_pairs[j].add(pair)
        root = list(range(n))

        def find(x: int) -> int:
            while root[x] != x:
                root[x] = root[root[x]]
                x = root[x]
            return x

        level = np.zeros(len(pairs))
        for (i, j), height in zip(self.merges.tolist(), self.heights.tolist(), strict=True):
            a, b = find(i), find(j)
            if len(open_pairs[a]) < len(open_pairs[b]):
                a, b = b, a
            root[b] = a
            joined = open_pairs[a] & open_pairs[b]
            level[list(joined)] = height
            open_pairs[a] ^= open_pairs[b]
            open_pairs[b] = set()
        return level

    @cached_property
    def contour_map(self) -> NDArray[np.float32]:
        """(H, W) the ultrametric contour map: at each pixel the highest border to its right or lower neighbour."""
        labels, n = self.superpixels.labels, len(self.superpixels)
        borders = self.superpixels.borders.astype(np.int64)
        keys = borders[:, 0] * n + borders[:, 1]
        out = np.zeros(labels.shape, dtype=np.float32)
        here = (slice(None, -1), slice(None)), (slice(None), slice(None, -1))
        there = (slice(1, None), slice(None)), (slice(None), slice(1, None))
        for at, to in zip(here, there, strict=True):
            a, b = labels[at].astype(np.int64), labels[to].astype(np.int64)
            cut = (a != b) & (a >= 0) & (b >= 0)
            key = np.minimum(a, b)[cut] * n + np.maximum(a, b)[cut]
            values = np.zeros(a.shape, dtype=np.float32)
            values[cut] = self.border_heights[np.searchsorted(keys, key)]
            out[at] = np.maximum(out[at], values)
        return out


def build_hierarchy(superpixels: Superpixels, features: Features, damping: float = 0.1) -> Hierarchy:
    """Merge the two regions with the weakest border, again and again, until one is left.

    The strength of a border between regions is the mean of its superpixels' boundary probabilities, weighted by length
    (average linkage), times (the smaller region's share of the area) ^ damping: small regions are swallowed first.

    Parameters
    ----------
    features : with ``boundary`` (M,), the probability of a boundary at each border of the superpixels
    damping : 0 ignores size

    Raises
    ------
    SettingsError
        The features know no boundaries.
    """
    if features.boundary is None:
        raise SettingsError("a hierarchy needs contours: leave features.contours at its default, not null")
    n = len(superpixels)
    near: list[dict[int, tuple[float, float]]] = [{} for _ in range(n)]
    for (i, j), length, p in zip(
        superpixels.borders.tolist(), superpixels.border_length.tolist(), features.boundary.tolist(), strict=True
    ):
        near[i][j] = near[j][i] = (length, length * p)
    area = superpixels.area.astype(np.float64)
    share = (area / area.sum()).tolist()
    version = [0] * n

    def strength(i: int, j: int) -> float:
        length, weighted = near[i][j]
        return weighted / length * min(share[i], share[j]) ** damping

    queue = [(strength(i, j), i, j, 0, 0) for i in range(n) for j in near[i] if i < j]
    heapq.heapify(queue)
    merges, heights = [], []
    while queue:
        height, i, j, version_i, version_j = heapq.heappop(queue)
        if version[i] != version_i or version[j] != version_j:
            continue  # one of the two has changed since
        merges.append((i, j))
        heights.append(height)
        if len(near[i]) < len(near[j]):
            i, j = j, i
        version[i] += 1
        version[j] = -1
        share[i] += share[j]
        for k, (length, weighted) in near[j].items():
            del near[k][j]
            if k != i:
                old_length, old_weighted = near[i].get(k, (0.0, 0.0))
                near[i][k] = near[k][i] = (old_length + length, old_weighted + weighted)
        near[j] = {}
        for k in near[i]:
            a, b = (i, k) if i < k else (k, i)
            heapq.heappush(queue, (strength(i, k), a, b, version[a], version[b]))
    # Parts that void pixels separate never touch: they are joined last.
    rest = [i for i in range(n) if version[i] >= 0]
    merges += [(rest[0], other) for other in rest[1:]]
    heights += [1.0] * (len(rest) - 1)
    # A merge may make the next one cheaper; an ultrametric rises.
    rising = np.maximum.accumulate(np.array(heights)) if heights else np.empty(0)
    return Hierarchy(superpixels, np.array(merges, dtype=np.int64).reshape(-1, 2), np.minimum(rising, 1.0))
