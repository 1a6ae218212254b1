"""Limits on the sizes of segments: small pieces join a neighbour, holes are filled, large and touching parts divided.

A *piece* is a connected part of a segment; pixels are connected by their sides. All limits are about pieces. All but
the split decide on a graph, so images and rasters in tiles share them. The graph is that of the *fragments* of a label
map: what lies in one superpixel and one segment (``values.fragments``). The level of a border between two pieces is the
mean altitude along it at which the hierarchy joins its two sides. Without one it is the mean difference of colour.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from segspectral.errors import SettingsError
from segspectral.registry import size_parts
from segspectral.resolution import joint_upsampling
from segspectral.settings import Settings
from segspectral.spectral.discretise import soft_membership
from segspectral.values import Affinity, Image, Membership, Scene
from segspectral.values.fragments import Fragments, connected
from segspectral.values.labels import LARGEST, pieces
from segspectral.values.regions import Hierarchy, RegionGraph
from segspectral.wording import plural

__all__ = ["Between", "LargeLeaves", "Limits", "Pieces", "Sizes", "level_between", "work_leaves"]

DEPTHS = 1000
"""Distances in a piece are whole numbers up to this when it is split."""

Between = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""Pairs (P, 2) of different leaves -> (P,) the level of the border between them; lower means more alike."""


def _size(value: object) -> object:
    """A size as text: ``200``, ``0.5%``, ``400m2``. Raises ValueError if it is none."""
    if value is None or isinstance(value, bool):
        return value
    number, unit = size_parts(str(value))
    return "all" if number == float("inf") else f"{number:.12g}{unit}"


def _finite(size: str) -> str:
    if size == "all":
        raise ValueError("'all' is a size of holes; write pixels such as 200, a share such as 0.5%, or 400m2")
    return size


Size = Annotated[str, BeforeValidator(_size)]
FiniteSize = Annotated[Size, AfterValidator(_finite)]


class Limits(NamedTuple):
    """The limits of ``Sizes`` in pixels; those that are not set have no effect."""

    least: float = 0.0
    most: float = float("inf")
    holes: float = 0.0


class Sizes(Settings):
    """What sizes the pieces of segments may have. Sizes are pixels, ``0.5%`` of the valid pixels, or ``400m2``."""

    min: FiniteSize | None = Field(None, description="smaller pieces join the neighbour that the hierarchy joins first")
    max: FiniteSize | None = Field(None, description="larger pieces are divided, along the strongest borders in them")
    holes: Size | None = Field(
        None, description="holes up to this size take the segment around them; all: holes of any size"
    )
    pieces: bool = Field(False, description="each piece becomes a segment of its own")
    split: bool = Field(False, description="touching convex parts of a piece become segments of their own")
    neck: float = Field(
        0.15,
        gt=0,
        le=1,
        description="how much narrower the neck between two parts must be than the narrower part, to split them: a "
        "share of the width of the widest part of the piece",
    )
    background: Literal["none", "largest", "darkest", "brightest"] = Field(
        "none",
        description="the segment behind the objects; max, pieces and split leave it whole",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None:
            (least, one), (most, other) = size_parts(self.min), size_parts(self.max)
            if one == other and least > most:
                raise ValueError(f"min={self.min} is larger than max={self.max}; no piece can have both")
        return self

    @property
    def wanted(self) -> bool:
        """Whether any limit is set."""
        return self != Sizes()

    @property
    def renumbers(self) -> tuple[str, ...]:
        """The settings that make new segments, which the numbers of a model cannot name."""
        return tuple(name for name in ("max", "pieces", "split") if getattr(self, name))

    def limits(self, valid: int, ground: float | None, source: str = "the image") -> Limits:
        """The limits in pixels.

        Parameters
        ----------
        valid : the number of valid pixels
        ground : area of a pixel in square metres; None if it is not known
        source : the image, in the message

        Raises
        ------
        SettingsError
            A size is in square metres, and the area of a pixel is not known; or the minimum is larger than the maximum.
        """
        given = {"least": self.min, "most": self.max, "holes": self.holes}
        limits = Limits(
            **{name: _pixels(size, valid, ground, source) for name, size in given.items() if size is not None}
        )
        if valid and limits.least > limits.most:
            raise SettingsError(
                f"the minimum size {self.min} is {limits.least:.0f} pixels here, which is larger than the maximum "
                f"{self.max}, {limits.most:.0f} pixels",
                source,
            )
        return limits

    def of_image(self, image: Image) -> Limits:
        """``limits`` for an image."""
        valid = image.shape[0] * image.shape[1] if image.mask is None else int(image.mask.sum())
        return self.limits(valid, image.ground, image.name)

    def __call__(
        self,
        labels: NDArray[np.int32],
        leaves: NDArray[np.int32],
        between: Between,
        limits: Limits,
        background: int = 0,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """The label map within the limits, and sentences about what they could not be kept for.

        Law: afterwards no piece is smaller than ``limits.least``, except one that has no neighbour because void pixels
        surround it, and those with held pixels. Void pixels and held pixels stay. A pixel that is neither in a small
        piece nor in a hole keeps its segment, unless pieces are divided, split or numbered.

        Parameters
        ----------
        labels : (H, W) segments from 1, 0 on void
        leaves : (H, W) the leaf of the hierarchy at each pixel, -1 on void
        between : the level of the border between two leaves
        background : the segment that is never divided; 0 for none
        held : (H, W) pixels that keep their segments unless pieces are divided, split or numbered; None for none
        """

        if self.split:
            fragments, at = Fragments.of(labels, leaves)
            fine = Pieces.of(fragments, between)
            labels = _split(_painted(fine.cleaned(fragments.label, limits), at), background, self.neck)
        fragments, at = Fragments.of(labels, leaves)
        inside = None if held is None else np.isin(np.arange(len(fragments.label)), at[held])
        label, notes = self.of_fragments(fragments, between, limits, background, inside)
        return _painted(label, at), notes

    def of_fragments(
        self,
        fragments: Fragments,
        between: Between,
        limits: Limits,
        background: int = 0,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], tuple[str, ...]]:
        """(F,) the segments of fragments within the limits, and sentences about what they could not be kept for.

        All that ``__call__`` does but to split, which looks at pixels. ``held`` (F,) are those with held pixels.
        """
        fine, label = Pieces.of(fragments, between, held), fragments.label
        if np.isfinite(limits.most):
            label = fine.divided(label, limits.most, background)
        label = fine.cleaned(label, limits)
        whole, piece = fine.united(label)
        notes = _kept(whole, limits, background)
        if self.pieces:
            objects = whole.label != background
            number = np.cumsum(objects, dtype=np.int32) + np.int32(background)
            label = np.where(objects, number, whole.label)[piece]
        return label, notes

    def of_scene(
        self,
        scene: Scene,
        labels: NDArray[np.int32],
        membership: Membership,
        leaves: NDArray[np.int32],
        free: bool,
        before: int | None = None,
        tree: Hierarchy | None = None,
        held: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int32], Membership, tuple[str, ...]]:
        """The label map of a scene within the limits, its membership, and sentences for the user.

        Parameters
        ----------
        labels : (H, W) segments from 1, 0 on void
        leaves : (H, W) the superpixel at each pixel, -1 on void
        free : whether the segments may be numbered anew: 1..K by descending area, if there are others than before
        before : how many segments there are without limits; None means those of ``labels``
        tree : the hierarchy of the leaves, if it is not that of the scene
        held : (H, W) pixels that keep their segments; None for none
        """
        colours = scene.work_superpixels.pool(scene.work.lab)
        background = self.behind(labels, scene.image.float32.mean(axis=2))
        between = level_between(scene.graph, colours, tree)
        made, notes = self(labels, leaves, between, self.of_image(scene.image), background, held)
        before = len(np.unique(labels[labels > 0])) if before is None else before
        leaf = scene.superpixels.labels
        made, membership, said = self.settled(made, leaf, None, membership, scene.affinity, free, before)
        return made, membership, (*said, *notes)

    def settled(
        self,
        label: NDArray[np.int32],
        leaf: NDArray[np.int32],
        area: NDArray[np.integer | np.floating] | None,
        membership: Membership,
        affinity: Affinity,
        free: bool,
        before: int,
    ) -> tuple[NDArray[np.int32], Membership, tuple[str, ...]]:
        """The segments of pixels or fragments with their final numbers, the membership of the leaves, and sentences.

        Parameters
        ----------
        label : the segment of each pixel or fragment, 0 on void
        leaf : the superpixel of each, -1 on void
        area : the area of each; None means 1
        free, before : as for ``of_scene``

        Raises
        ------
        SettingsError
            There are more segments than files of labels can hold.
        """
        areas = np.bincount(label.reshape(-1), area)
        after = np.flatnonzero(areas[1:])
        if len(after) > LARGEST:
            raise SettingsError(
                f"the limits on sizes give {len(after)} segments, and a label map holds {LARGEST}; ask for larger "
                "pieces (sizes.min)"
            )
        said = f"the limits on sizes give {plural(len(after), 'segment')} instead of {before}"
        notes = (said,) if len(after) != before else ()
        k = membership.probabilities.shape[1]
        if free and (len(after) != k or (after != np.arange(k)).any()):
            label = _number_by_area(areas)[label]
            n = len(membership.probabilities)
            of_leaf = _majority(leaf, label - np.int32(1), area, n)
            membership = replace(membership, probabilities=soft_membership(affinity, of_leaf, len(after)))
        return label, membership, notes

    def behind(
        self,
        label: NDArray[np.int32],
        brightness: NDArray[np.floating],
        area: NDArray[np.integer | np.floating] | None = None,
    ) -> int:
        """The segment that is the background; 0 for none.

        Parameters
        ----------
        label, brightness : of each pixel or fragment; label 0 is void
        area : of each; None means 1
        """
        if self.background == "none":
            return 0
        areas = np.bincount(label.reshape(-1), area)
        areas[0] = 0
        if self.background == "largest":
            return int(areas.argmax())
        weight = brightness.reshape(-1) * (1 if area is None else area)
        mean = np.bincount(label.reshape(-1), weight) / np.maximum(areas, 1)
        present = np.flatnonzero(areas)
        order = present[np.argsort(mean[present], kind="stable")]
        return int(order[0 if self.background == "darkest" else -1])


def _pixels(size: str, valid: int, ground: float | None, source: str) -> float:
    number, unit = size_parts(size)
    if unit == "m2" and ground is None:
        raise SettingsError(
            f"{size} is a size on the ground, which needs an image with a coordinate reference system, and rasterio "
            "(extra 'geo'); give pixels, or a share such as 0.5%",
            source,
        )
    return number * (valid / 100 if unit == "%" else 1 / ground if unit == "m2" and ground else 1.0)


def _kept(pieces: Pieces, limits: Limits, background: int) -> tuple[str, ...]:
    """Sentences about pieces outside the limits."""
    area, notes = pieces.graph.area, []
    if limits.least > 1 and (kept := int(((area < limits.least) & pieces.held).sum())):
        many = plural(kept, "piece is", "pieces are")
        notes.append(f"{many} smaller than the minimum, because seeds hold the segment there")
    if limits.least > 1 and (small := int(((area < limits.least) & ~pieces.held).sum())):
        many = plural(small, "piece is", "pieces are")
        notes.append(f"{many} smaller than the minimum, because void pixels or the edges of the image surround them")
    if large := int(((area > limits.most) & (pieces.label != background)).sum()):
        many = plural(large, "piece is", "pieces are")
        notes.append(
            f"{many} larger than the maximum, because superpixels are not divided, or small pieces had to join "
            "(more superpixels: superpixels.count)"
        )
    return tuple(notes)


def _painted(label: NDArray[np.int32], at: NDArray[np.int32]) -> NDArray[np.int32]:
    """(H, W) the label of each pixel's fragment ``at``, 0 on void."""
    return np.append(label, np.int32(0))[at]


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


def _split(labels: NDArray[np.int32], background: int, neck: float) -> NDArray[np.int32]:
    """The label map after touching convex parts of a piece have been separated; new segments have new numbers.

    A part is a maximum of the distance to the outline of the piece that is deeper than ``neck`` times the largest
    distance (Vincent 1993, h-maxima). The watershed of the distance from these maxima separates the parts (Beucher and
    Lantuejoul 1979). The edges of the image and void count as outside only if they are void.
    """
    import cv2
    from scipy.ndimage import find_objects, label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    out, fresh = labels.copy(), int(labels.max())
    piece = pieces(np.where((labels > 0) & (labels != background), labels, -1)) + np.int32(1)
    for number, place in enumerate(find_objects(piece), start=1):
        # One more pixel on each side, so that all of the outline is seen, except the edges of the image.
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in place)
        inside = piece[around] == number
        if inside.all():
            continue  # it fills the image
        distance = np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
        # Whole numbers, because h_maxima rounds others in a way of its own.
        depth = np.round(distance * (DEPTHS / distance.max())).astype(np.uint16)
        seeds, count = label(h_maxima(depth, round(neck * DEPTHS)), np.ones((3, 3)))
        if count < 2:
            continue
        parts = watershed(-distance, seeds, mask=inside)
        order = np.argsort(-np.bincount(parts.reshape(-1), minlength=count + 1)[1:], kind="stable")
        numbers = np.empty(count + 1, np.int32)
        numbers[1 + order] = [labels[around][inside][0], *range(fresh + 1, fresh + count)]
        fresh += count - 1
        out[around][inside] = numbers[parts[inside]]
    return out


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


class LargeLeaves(NamedTuple):
    """The leaves of a hierarchy after small ones have joined others, so that no cut has a small piece.

    Regions of the hierarchy that are large enough stay regions, so all cuts are nested as before.

    Parameters
    ----------
    leaf : (F,) the leaf that each fragment belongs to now
    area : (N,) the area of each leaf now
    tree : the hierarchy, in which leaves that have joined are one leaf
    """

    leaf: NDArray[np.int32]
    area: NDArray[np.integer | np.floating]
    tree: Hierarchy

    @classmethod
    def of(cls, fragments: Fragments, tree: Hierarchy, least: float) -> LargeLeaves:
        """From the fragments of the leaves, each a segment of its own; no piece of them is smaller than ``least``."""
        pieces, n = Pieces.of(fragments, tree.levels_between), len(tree.graph)
        leaf = pieces.cleaned(fragments.label, Limits(least)) - np.int32(1)
        group = _majority(fragments.leaf, leaf, fragments.graph.area, n)
        return cls(leaf, np.bincount(leaf, fragments.graph.area, n), tree.grouped(group))

    def within(self, most: float, membership: Membership, affinity: Affinity) -> Membership:
        """The membership of a cut of ``tree`` after regions larger than ``most`` have been divided."""
        region = self.tree.divided(membership.labels, self.area, most)
        k = int(region.max()) + 1
        if k == membership.probabilities.shape[1]:
            return membership
        return replace(membership, probabilities=soft_membership(affinity, region.astype(np.int64), k))


def work_leaves(scene: Scene) -> NDArray[np.int32]:
    """(H, W) the superpixels of a scene at the size of its image; their borders follow the colours of the image."""
    leaves = scene.work_superpixels.labels
    return leaves if scene.work is scene.image else joint_upsampling(leaves, scene.work, scene.image, void=-1)


def _majority(
    leaf: NDArray[np.int32],
    value: NDArray[np.int32],
    area: NDArray[np.integer | np.floating] | None,
    count: int,
) -> NDArray[np.int64]:
    """(N,) the value, from 0, that has most of each of N leaves; a leaf without pixels has its own number.

    Parameters
    ----------
    leaf, value : of each pixel or fragment; leaves below 0 are void
    area : of each; None means 1
    """
    known = leaf >= 0
    width = max(int(value.max()) + 1, count)
    keys = leaf[known].astype(np.int64) * width + value[known]
    pairs, index = np.unique(keys, return_inverse=True)
    order = np.argsort(np.bincount(index, None if area is None else area[known]), kind="stable")
    out = np.arange(count)
    out[pairs[order] // width] = pairs[order] % width
    return out


def _number_by_area(areas: NDArray[np.integer | np.floating]) -> NDArray[np.int32]:
    """The new number of each segment: 1..K by descending area, 0 for void and for those without pixels."""
    areas = areas.copy()
    areas[0] = 0
    order = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
    number = np.zeros(len(areas), np.int32)
    number[order] = np.arange(1, len(order) + 1)
    return number
