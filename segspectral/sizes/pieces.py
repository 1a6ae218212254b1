"""The pieces of a label map as a graph: small ones join a neighbour, holes are filled, large ones are divided."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.values.fragments import Fragments, connected
from segspectral.values.regions import Hierarchy, RegionGraph

__all__ = ["Between", "Limits", "Pieces", "level_between"]

Between = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""Pairs (P, 2) of different leaves -> (P,) the level of the border between them; lower means more alike."""


class Limits(NamedTuple):
    """The limits of ``Sizes`` in pixels; those that are not set have no effect."""

    least: float = 0.0
    most: float = float("inf")
    holes: float = 0.0


@dataclass(frozen=True, eq=False)
class Pieces:
    """The region graph of P pieces, or of the fragments that they consist of.

    Parameters
    ----------
    graph : areas in pixels, borders, their lengths, and as ``boundary`` the level of each border
    label : (P,) the segment of each piece
    outer : (P,) whether the piece touches the edge of the image, or void
    held : (P,) whether it keeps its segment, whatever its size
    """

    graph: RegionGraph
    label: NDArray[np.int32]
    outer: NDArray[np.bool_]
    held: NDArray[np.bool_]

    @classmethod
    def of(cls, fragments: Fragments, between: Between, held: NDArray[np.bool_] | None = None) -> Pieces:
        """The graph of fragments with the levels of their borders, which ``united`` makes pieces of."""
        pairs, index = np.unique(np.sort(fragments.leaf[fragments.graph.borders], axis=1), axis=0, return_inverse=True)
        level = np.zeros(len(pairs))
        differ = pairs[:, 0] != pairs[:, 1]
        level[differ] = between(pairs[differ])
        graph = fragments.graph.with_boundary(level[index.reshape(-1)])
        held = np.zeros(len(fragments.label), np.bool_) if held is None else held
        return cls(graph, fragments.label, fragments.outer, held)

    def united(self, label: NDArray[np.int32]) -> tuple[Pieces, NDArray[np.int32]]:
        """The pieces after neighbours of one segment have been joined, and the piece of each of these (P,).

        Parameters
        ----------
        label : (P,) the segment of each of these now
        """
        here, there = label[self.graph.borders.T]
        number = connected(self.graph.borders[here == there], np.arange(len(label)))
        segment = np.zeros(int(number.max(initial=-1)) + 1, np.int32)
        segment[number] = label
        outer, held = (np.bincount(number, flags) > 0 for flags in (self.outer, self.held))
        return Pieces(self.graph.merged(number), segment, outer, held), number

    def cleaned(self, label: NDArray[np.int32], limits: Limits) -> NDArray[np.int32]:
        """(P,) the segments after small pieces have joined others, and then holes have been filled."""
        if limits.least > 1:
            pieces, number = self.united(label)
            label = pieces.without_small(limits.least, limits.most)[number]
        if limits.holes:
            pieces, number = self.united(label)
            label = pieces.without_holes(limits.holes)[number]
        return label

    def divided(self, label: NDArray[np.int32], most: float, background: int) -> NDArray[np.int32]:
        """(P,) the segments after pieces larger than ``most`` have been divided; new segments have new numbers.

        The fragments in a piece are joined again, across the lowest levels first, as long as their union is not too
        large (Kruskal's algorithm with a limit). Cuts of a hierarchy stay nested, because a coarser cut joins in the
        same order.
        """
        pieces, piece = self.united(label)
        large = ((pieces.graph.area > most) & (pieces.label != background))[piece]
        graph = self.graph
        assert graph.boundary is not None
        size, root = graph.area.tolist(), list(range(len(label)))

        def find(x: int) -> int:
            while root[x] != x:
                root[x] = root[root[x]]
                x = root[x]
            return x

        here, there = graph.borders.T
        inside = np.flatnonzero((piece[here] == piece[there]) & large[here])
        for border in inside[np.lexsort((-graph.border_length[inside], graph.boundary[inside]))]:
            a, b = (find(int(end)) for end in graph.borders[border])
            if a != b and size[a] + size[b] <= most:
                root[b] = a
                size[a] += size[b]
        ends = np.array([find(x) for x in range(len(label))])
        number, fresh = label.copy(), int(label.max())
        seen: set[int] = set()
        for end in sorted(set(ends[large].tolist()), key=lambda end: (-size[end], end)):
            if piece[end] in seen:  # the largest part keeps the number
                fresh += 1
                number[end] = fresh
            seen.add(int(piece[end]))
        return np.where(large, number[ends], label)

    def without_small(self, least: float, most: float = float("inf")) -> NDArray[np.int32]:
        """(P,) the segments after every piece smaller than ``least`` has joined a neighbour, the smallest piece first.

        It takes the segment of the neighbour at the lowest level; of several, of that with the longest border. A
        neighbour with which it would be larger than ``most`` is taken only if there is no other.
        """
        merging = _Merging(self)
        queue = [(size, piece) for piece, size in enumerate(merging.area) if size < least and not merging.held[piece]]
        heapq.heapify(queue)
        while queue:
            size, piece = heapq.heappop(queue)
            if not merging.near[piece] or merging.area[piece] != size:
                continue  # it has joined another one, has no neighbour, or has grown
            piece = merging.into_segment_of(piece, merging.best(piece, most))
            if merging.area[piece] < least and not merging.held[piece]:
                heapq.heappush(queue, (merging.area[piece], piece))
        return merging.labels()

    def without_holes(self, most: float) -> NDArray[np.int32]:
        """(P,) the segments after holes of at most ``most`` pixels have been filled.

        A hole of a piece is whatever this piece alone separates from the edges of the image and from void. These are
        the biconnected components beyond an articulation point (Hopcroft and Tarjan 1973), as seen from outside.
        """
        near, outside = [list(neighbours) for neighbours in _Merging(self).near], len(self.label)
        near.append(np.flatnonzero(self.outer).tolist())
        for piece in near[outside]:
            near[piece].append(outside)
        order, parent, low = _depth_first(near, outside)
        # What holds a piece that is held is as good as too large.
        beneath = [*np.where(self.held, np.inf, self.graph.area).tolist(), 0.0]
        for piece in reversed(order[1:]):
            beneath[parent[piece]] += beneath[piece]
        label, filled, limit = self.label.copy(), [False] * len(near), min(most, float(self.graph.area.sum()))
        rank = {piece: number for number, piece in enumerate(order)}
        for piece in order[1:]:
            around = parent[piece]
            if around == outside:
                continue
            if filled[around] or (low[piece] >= rank[around] and beneath[piece] <= limit):
                filled[piece], label[piece] = True, label[around]
        return label


class _Merging:
    """Pieces that join each other. ``near`` has the neighbours of each, with the length of the border and its sum of
    levels; both sides hold the same list. A piece that has joined another one has no neighbours."""

    def __init__(self, pieces: Pieces) -> None:
        graph = pieces.graph
        assert graph.boundary is not None
        self.area: list[float] = graph.area.tolist()
        self.label: list[int] = pieces.label.tolist()
        self.held: list[bool] = pieces.held.tolist()
        self.root = list(range(len(self.area)))
        self.near: list[dict[int, list[float]]] = [{} for _ in self.area]
        sums = graph.border_length * graph.boundary
        for (i, j), border in zip(
            graph.borders.tolist(), np.stack([graph.border_length, sums], axis=1).tolist(), strict=True
        ):
            self.near[i][j] = self.near[j][i] = border

    def best(self, piece: int, most: float) -> int:
        """The neighbour that a piece joins."""

        def order(other: int) -> tuple[bool, float, float, int]:
            length, total = self.near[piece][other]
            return self.area[piece] + self.area[other] > most, total / length, -length, other

        return min(self.near[piece], key=order)

    def into_segment_of(self, piece: int, other: int) -> int:
        """Join a piece to another, and to all its neighbours of the same segment; returns the piece that is left."""
        segment = self.label[other]
        piece = self._join(piece, other)
        for same in [same for same in self.near[piece] if self.label[same] == segment]:
            piece = self._join(piece, same)
        self.label[piece] = segment
        return piece

    def _join(self, a: int, b: int) -> int:
        """Join two pieces that touch. The one with more neighbours is left, because this is faster."""
        near = self.near
        if len(near[a]) < len(near[b]):
            a, b = b, a
        del near[a][b], near[b][a]
        for other, border in near[b].items():
            del near[other][b]
            old = near[a].get(other, (0.0, 0.0))
            near[a][other] = near[other][a] = [old[0] + border[0], old[1] + border[1]]
        near[b], self.root[b] = {}, a
        self.area[a] += self.area[b]
        self.held[a] |= self.held[b]
        return a

    def labels(self) -> NDArray[np.int32]:
        """(P,) the segment of each piece now."""
        root = np.array(self.root)
        while (root[root] != root).any():
            root = root[root]
        return np.array(self.label, np.int32)[root]


def _depth_first(near: list[list[int]], first: int) -> tuple[list[int], list[int], list[int]]:
    """The nodes in the order of a depth-first search, the parent of each, and the first in order that each can reach.

    A node reaches others through its descendants and one edge that is not of the tree.
    """
    parent, rank, low = [-1] * len(near), [-1] * len(near), [0] * len(near)
    order, stack = [first], [(first, iter(near[first]))]
    rank[first] = 0
    while stack:
        node, others = stack[-1]
        for other in others:
            if rank[other] < 0:
                parent[other], rank[other] = node, len(order)
                low[other] = len(order)
                order.append(other)
                stack.append((other, iter(near[other])))
                break
            low[node] = min(low[node], rank[other])
        else:
            stack.pop()
            if stack:
                low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
    return order, parent, low


def level_between(graph: RegionGraph, colours: NDArray[np.floating], tree: Hierarchy | None = None) -> Between:
    """The level between two leaves: the altitude at which the hierarchy joins them.

    Parameters
    ----------
    graph : the region graph of the N leaves
    colours : (N, D) their mean colours, whose distance is the level if there are no boundary probabilities
    tree : the hierarchy, if it is not that of the graph
    """
    if tree is not None:
        return tree.levels_between
    if graph.boundary is None:
        return lambda pairs: np.linalg.norm(np.diff(colours[pairs], axis=1)[:, 0], axis=1).astype(np.float64)
    return graph.hierarchy.levels_between
