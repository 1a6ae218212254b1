"""The region adjacency graph, and the tree that merges its regions one by one.

Everything that merges regions or cuts a tree works on a ``RegionGraph``. ``RegionGraph.hierarchy`` is the only tree of
an image: the segments of a run, the affinity, the automatic number of segments and the contour map all use it. Once the
tree is built, a cut into any number of segments is cheap.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from segspectral.errors import SettingsError
from segspectral.values.merging import LATE, LEAST_PROBABILITY, Looks, Regions, Strength, fitted, late_merges

__all__ = ["SWEEP_LEVELS", "Hierarchy", "RegionGraph", "build_hierarchy", "first_merges", "joined", "seeded_regions"]

SWEEP_LEVELS = tuple(round(0.02 * step, 2) for step in range(1, 27))
"""Levels at which evaluations cut a hierarchy: from nearly all superpixels of a photograph to a few regions."""

NO_BORDER, CHANGED = [0.0, 0.0], -1.0
"""For ``build_hierarchy``: a border of no length, and the strength of a border until it is computed."""


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """The region adjacency graph: N regions, and M borders between those that touch.

    Parameters
    ----------
    area : (N,) area of each region, in pixels or any other unit
    borders : (M, 2) pairs i < j of regions that touch, in lexicographic order
    border_length : (M,) length of each border, in pairs of touching pixels
    boundary : (M,) float64 in [0, 1], the probability that each border is an object boundary; None if it is not known
    looks : the appearance of the regions, which the last merges of the hierarchy compare; None if it is not known
    """

    area: NDArray[np.integer | np.floating]
    borders: NDArray[np.int32]
    border_length: NDArray[np.float64]
    boundary: NDArray[np.float64] | None = None
    looks: Looks | None = None

    def __len__(self) -> int:
        return len(self.area)

    def border_index(self, pairs: NDArray[np.integer]) -> NDArray[np.int64]:
        """(P,) the number of the border between the two regions of each pair (P, 2), i < j; every pair must touch."""
        first, last = np.array([len(self), 1]), pairs.astype(np.int64)
        return np.searchsorted(self.borders.astype(np.int64) @ first, last @ first)

    def with_boundary(self, boundary: NDArray[np.float64], looks: Looks | None = None) -> RegionGraph:
        """A copy of the graph with these boundary probabilities (M,) and looks."""
        return replace(self, boundary=boundary, looks=looks)

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """The tree that merges the regions across their weakest borders; it is built once.

        Raises
        ------
        SettingsError
            The boundary probabilities are not known.
        """
        return build_hierarchy(self)

    def merged(self, region: NDArray[np.integer]) -> RegionGraph:
        """The graph of larger regions; ``region`` (N,) gives the number of the larger region of each region, from 0.

        Areas and lengths are summed; a boundary probability is the mean along the border. Looks are not kept: what
        was merged inside a region is unknown afterwards.
        """
        ends = np.sort(region[self.borders], axis=1)
        outer = ends[:, 0] != ends[:, 1]
        borders, index = np.unique(ends[outer], axis=0, return_inverse=True)
        length = np.bincount(index.ravel(), self.border_length[outer], len(borders)).astype(np.float64)
        boundary = None
        if self.boundary is not None:
            boundary = np.bincount(index.ravel(), (self.border_length * self.boundary)[outer], len(borders)) / length
        return RegionGraph(np.bincount(region, self.area), borders.astype(np.int32).reshape(-1, 2), length, boundary)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A binary tree of regions (Arbelaez 2006): its leaves are the nodes of a region graph, its root is the whole.

    Parameters
    ----------
    graph : the region graph of the N leaves
    merges : (N - 1, 2) two leaves whose regions are merged, for each merge in order
    altitudes : (N - 1,) in [0, 1], ascending: the altitude of each merge
    finest : the largest possible number of segments, if it is less than N; see ``grouped``
    """

    graph: RegionGraph
    merges: NDArray[np.int64]
    altitudes: NDArray[np.float64]
    finest: int | None = None

    def regions(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(N,) the segment of each leaf, from 0 by descending area: K segments, or the horizontal cut at a level.

        Raises
        ------
        SettingsError
            Both or neither are given, there are fewer leaves than segments, or the level is outside [0, 1].
        """
        n = len(self.graph)
        if (segments is None) == (level is None):
            raise SettingsError("a cut of the hierarchy needs either segments=K or level=T")
        if level is not None:
            segments = self.segments_at(level)
        if self.finest is not None and segments is not None:
            segments = min(segments, self.finest)
        if segments is None or not 1 <= segments <= n:
            raise SettingsError(f"the hierarchy can be cut into 1 to {n} segments, not {segments}")
        region = joined(n, self.merges[: n - segments])
        area = np.bincount(region, self.graph.area)
        rank = np.empty(len(area), dtype=np.int32)
        rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
        return rank[region]

    def grouped(self, group: NDArray[np.integer]) -> Hierarchy:
        """The tree in which the leaves of each group are merged first, at altitude 0.

        ``group`` (N,) names one leaf of the group of each leaf.

        The other merges keep their order and altitudes, as far as they still merge two regions. Groups are not divided:
        if more segments are requested than there are groups, each group is one segment.
        """
        n = len(self.graph)
        root = group.tolist()
        inner = np.flatnonzero(group != np.arange(n))

        def find(x: int) -> int:
            while root[x] != x:
                root[x] = root[root[x]]
                x = root[x]
            return x

        kept = []
        for number, (i, j) in enumerate(self.merges.tolist()):
            if (a := find(i)) != (b := find(j)):
                root[b] = a
                kept.append(number)
        merges = np.concatenate([np.stack([group[inner], inner], axis=1), self.merges[kept]])
        altitudes = np.concatenate([np.zeros(len(inner)), self.altitudes[kept]])
        return Hierarchy(self.graph, merges.astype(np.int64), altitudes, n - len(inner))

    def divided(
        self, region: NDArray[np.integer], area: NDArray[np.integer | np.floating], most: float
    ) -> NDArray[np.int32]:
        """(N,) the regions of a cut after those larger than ``most`` have been divided, as far as leaves allow.

        The leaves of each region are merged again in the order of the tree, except for merges that would exceed
        ``most``. The merges within a region do not depend on its surroundings, so cuts stay nested.

        Parameters
        ----------
        region : (N,) a cut
        area : (N,) the area of each leaf, in the unit of ``most``
        """
        size, root = area.tolist(), list(range(len(region)))

        def find(x: int) -> int:
            while root[x] != x:
                root[x] = root[root[x]]
                x = root[x]
            return x

        within = self.merges[region[self.merges[:, 0]] == region[self.merges[:, 1]]]
        for i, j in within.tolist():
            if (a := find(i)) != (b := find(j)) and size[a] + size[b] <= most:
                root[b] = a
                size[a] += size[b]
        return np.unique([find(x) for x in range(len(root))], return_inverse=True)[1].astype(np.int32)

    def segments_at(self, level: float) -> int:
        """The number of segments of the horizontal cut at a level. Raises SettingsError if it is outside [0, 1]."""
        if not 0 <= level <= 1:
            raise SettingsError(f"a level of the hierarchy must be in [0, 1], not {level}")
        return len(self.graph) - int(np.searchsorted(self.altitudes, level, side="right"))

    @cached_property
    def border_levels(self) -> NDArray[np.float64]:
        """(M,) the altitude at which the two sides of each border become one region."""
        return self.levels_between(self.graph.borders)

    def levels_between(self, pairs: NDArray[np.integer]) -> NDArray[np.float64]:
        """(P,) the altitude at which the two leaves of each pair (P, 2) are joined: their ultrametric distance."""
        # In the order of the dendrogram, the leaves of each region are side by side. Where a merge puts two regions
        # together, its altitude stands between them. The highest one between two leaves is that of the merge which
        # joined them, because altitudes never fall. Higra has the same as a lowest common ancestor; it is not a
        # dependency, because its linkages lack the factor for size in ``build_hierarchy``.
        place, between = self._dendrogram
        low, high = np.sort(place[pairs], axis=1).T
        # The highest of each run of 1, 2, 4, ... altitudes. Two runs that overlap cover any other length.
        highest = [between]
        while (half := 1 << (len(highest) - 1)) < len(between):
            highest.append(np.maximum(highest[-1], np.append(highest[-1][half:], np.zeros(half))))
        power = np.frexp(np.maximum(high - low, 1))[1] - 1
        table = np.stack(highest)
        return np.where(low < high, np.maximum(table[power, low], table[power, high - (1 << power)]), 0.0)

    @cached_property
    def _dendrogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(N,) the place of each leaf in the order of the dendrogram, and the altitude (N,) between it and the next."""
        n = len(self.graph)
        root, last, following, gap = list(range(n)), list(range(n)), [-1] * n, [0.0] * n

        def find(x: int) -> int:
            while root[x] != x:
                root[x] = root[root[x]]
                x = root[x]
            return x

        # The root of a region is its first leaf; the leaves of the second region follow those of the first one.
        for (i, j), altitude in zip(self.merges.tolist(), self.altitudes.tolist(), strict=True):
            a, b = find(i), find(j)
            following[last[a]], gap[last[a]] = b, altitude
            last[a], root[b] = last[b], a
        order = [find(0)]
        while (leaf := following[order[-1]]) >= 0:
            order.append(leaf)
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        return place, np.array(gap)[order]


def build_hierarchy(graph: RegionGraph, damping: float = 0.1, late: Strength | None = None) -> Hierarchy:
    """Repeatedly merge the two regions with the weakest border, until one region is left.

    The strength of a border is the mean boundary probability along it (average linkage), times the smaller region's
    share of the area to the power ``damping``. The second factor merges small regions first. If the looks of regions
    are known, the last ``LATE`` regions have the learned strength of ``segspectral.values.merging``.

    Parameters
    ----------
    graph : a graph with boundary probabilities
    damping : 0 ignores the size of regions
    late : the learned strength; None means the packaged one

    Raises
    ------
    SettingsError
        The boundary probabilities are not known.
    """
    merges, altitudes, rest = _merged(graph, damping, late=late)
    # Regions that void pixels separate do not touch; they are merged last, at altitude 1.
    merges += [(rest[0], other) for other in rest[1:]]
    altitudes += [1.0] * (len(rest) - 1)
    # A merge can make the next one cheaper, but the altitudes of a tree must not fall.
    rising = np.maximum.accumulate(np.array(altitudes)) if altitudes else np.empty(0)
    return Hierarchy(graph, np.array(merges, dtype=np.int64).reshape(-1, 2), np.minimum(rising, 1.0))


def seeded_regions(graph: RegionGraph, seeds: NDArray[np.integer], damping: float = 0.1) -> NDArray[np.int32]:
    """(N,) the label of the seed that each region meets first; 0 if no seed is connected with the region.

    Regions are merged as by ``build_hierarchy``, except that two regions with different labels are never merged. So the
    merges are those of the hierarchy, up to the first one that would join two labels.

    Parameters
    ----------
    seeds : (N,) the label of each region with a seed, 0 elsewhere

    Raises
    ------
    SettingsError
        As ``build_hierarchy``.
    """
    label = seeds.tolist()
    merges = _merged(graph, damping, label)[0]
    region = joined(len(graph), merges)
    out = np.zeros(len(graph), np.int32)
    np.maximum.at(out, region, seeds)
    return out[region]


def joined(n: int, merges: ArrayLike) -> NDArray[np.int32]:
    """(N,) the region of each of n leaves after merges (K, 2), numbered from 0 by its first leaf."""
    i, j = np.asarray(merges, np.int64).reshape(-1, 2).T
    return sp.csgraph.connected_components(sp.csr_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)[1]


class FirstMerges(NamedTuple):
    """Merges by the strength of ``build_hierarchy`` until few regions are left."""

    merges: list[tuple[int, int]]
    altitudes: list[float]
    left: list[int]
    """(R,) one leaf of each region that is left, ascending."""
    label: list[int]
    """(R,) the label of each region that is left, or 0."""
    inner: list[float]
    """(R,) the largest mean boundary probability that a border had when it disappeared inside the region."""

    def regions(self, graph: RegionGraph) -> Regions:
        """What is left of the graph of the leaves."""
        region = joined(len(graph), self.merges)
        place = np.empty(len(self.left), np.int64)
        place[region[self.left]] = np.arange(len(self.left))
        return Regions(graph, place[region], np.array(self.inner))


def _merged(
    graph: RegionGraph, damping: float, label: list[int] | None = None, late: Strength | None = None
) -> tuple[list[tuple[int, int]], list[float], list[int]]:
    """The merges of ``build_hierarchy``, their altitudes, and one leaf of each region that is left.

    Parameters
    ----------
    label : the label of each region, or 0: regions with different labels are not merged. None means that there are none
    """
    first = first_merges(graph, damping, label, 0 if graph.looks is None else LATE)
    if graph.looks is None:
        return first.merges, first.altitudes, first.left
    strength = fitted() if late is None else late
    last, strengths, rest = late_merges(first.regions(graph), first.label, strength)
    merges = [(first.left[i], first.left[j]) for i, j in last]
    return first.merges + merges, first.altitudes + strengths, [first.left[i] for i in rest]


def both_count(one: float, other: float) -> float:
    """Half the harmonic mean: for ``first_merges``, two small regions are merged before a small and a large one."""
    return one * other / (one + other)


def first_merges(
    graph: RegionGraph,
    damping: float = 0.1,
    label: list[int] | None = None,
    fewest: int = 0,
    size: Callable[[float, float], float] = min,
) -> FirstMerges:
    """Merge across the weakest border until ``fewest`` regions are left; see ``build_hierarchy``.

    Parameters
    ----------
    label : the label of each region, or 0; it becomes that of the merged regions. None means that there are no labels
    size : by what a border's mean is multiplied, given the shares of both regions to the power ``damping``
    """
    if graph.boundary is None:
        raise SettingsError("a hierarchy needs boundary probabilities; do not set features.contours to null")
    n = len(graph)
    label = [0] * n if label is None else label
    area = graph.area.astype(np.float64)
    share = (area / area.sum()).tolist()
    factor = [part**damping for part in share]
    # The strongest border, by its mean boundary probability, that has disappeared inside each region.
    inner = [LEAST_PROBABILITY] * n
    # The length of each border, its sum of boundary probabilities, and its strength; both regions hold the same list.
    near: list[dict[int, list[float]]] = [{} for _ in range(n)]
    queue = []
    for (i, j), length, p in zip(
        graph.borders.tolist(), graph.border_length.tolist(), graph.boundary.tolist(), strict=True
    ):
        total = length * p
        near[i][j] = near[j][i] = [length, total, strength := total / length * size(factor[i], factor[j])]
        queue.append((strength, i, j))
    heapq.heapify(queue)
    alive = set(range(n))
    merges, altitudes = [], []
    while queue and len(alive) > fewest:
        altitude, i, j = heapq.heappop(queue)
        if j not in near[i] or near[i][j][2] != altitude:
            continue  # this border has changed since the entry was made
        if label[i] != label[j] and label[i] and label[j]:
            continue
        merges.append((i, j))
        altitudes.append(altitude)
        if len(near[i]) < len(near[j]):
            i, j = j, i
        inner[i] = max(inner[i], inner[j], near[i][j][1] / near[i][j][0])
        del near[i][j], near[j][i]
        alive.remove(j)
        label[i] = label[i] or label[j]
        share[i] += share[j]
        before, now = factor[i], share[i] ** damping
        factor[i] = now
        for k, border in near[j].items():
            del near[k][j]
            old = near[i].get(k, NO_BORDER)
            near[i][k] = near[k][i] = [old[0] + border[0], old[1] + border[1], CHANGED]
        near[j] = {}
        for k, border in near[i].items():
            # If only the smaller region counts, a neighbour that was and is smaller keeps its strength, unless its
            # border has become longer.
            if border[2] == CHANGED or factor[k] > before or size is not min:
                border[2] = strength = border[1] / border[0] * size(now, factor[k])
                heapq.heappush(queue, (strength, i, k) if i < k else (strength, k, i))
    left = sorted(alive)
    return FirstMerges(merges, altitudes, left, [label[i] for i in left], [inner[i] for i in left])
