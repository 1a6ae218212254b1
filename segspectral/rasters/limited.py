"""Limits on sizes in a raster that is read in tiles: pieces are collected tile by tile, and decided on one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.rasters.nodes import Nodes
from segspectral.rasters.raster import DiskMap, Raster, Window
from segspectral.sizes import LargeLeaves, Limits, Sizes, level_between
from segspectral.values import Affinity, Hierarchy, Membership
from segspectral.values.fragments import Blocks, Fragments

__all__ = ["Drawing", "Limited", "RasterSizes"]

Drawing = Callable[[Window], NDArray[np.int32]]
"""A tile -> (h, w) the segments of its pixels, from 1, and 0 on void."""


class Limited(NamedTuple):
    """What limits on sizes make of a raster: its segments, the membership of its superpixels, and sentences."""

    draw: Drawing
    membership: Membership
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RasterSizes:
    """Limits on sizes in one raster. The law is that of ``Sizes``, and memory grows with fragments and not with pixels.

    Parameters
    ----------
    tiles : the tiles in which it is drawn, row by row
    at : (H, W) receives what is drawn in the first pass
    """

    sizes: Sizes
    raster: Raster
    nodes: Nodes
    affinity: Affinity
    tiles: Sequence[Window]
    at: DiskMap

    def of_segments(self, draw: Drawing, membership: Membership) -> Limited:
        """The segments that ``draw`` draws, within the limits."""
        fragments, part = self._collected(draw, self._leaves)
        return self._decided(fragments, fragments, np.arange(len(fragments.label)), part, membership)

    def of_cuts(self, draw: Drawing, cut: Callable[[Hierarchy], Membership]) -> Limited:
        """The segments of a cut of the hierarchy within the limits, so that cuts stay nested.

        Parameters
        ----------
        draw : draws the leaves of the hierarchy, from 1
        cut : the membership of the superpixels by a hierarchy
        """
        fragments, part = self._collected(draw, lambda window: draw(window) - np.int32(1))
        tree = self.nodes.graph.hierarchy
        before = cut(tree).probabilities.shape[1]
        limits = self._limits(fragments)
        large = LargeLeaves.of(fragments, tree, limits.least)
        membership = large.within(limits.most, cut(large.tree), self.affinity)
        label = membership.labels.astype(np.int32)[large.leaf] + np.int32(1)
        larger, number = fragments.regrouped(label, large.leaf)
        return self._decided(fragments, larger, number, part, membership, before, large.tree)

    def _collected(self, draw: Drawing, leaves: Drawing) -> tuple[Fragments, NDArray[np.int32]]:
        """The fragments of what is drawn, and the fragment of each part; ``at`` receives the parts."""
        blocks = Blocks(self.at, self.raster.shape)
        for window in self.tiles:
            labels = draw(window)
            blocks.add(*self.raster.pixels(*window.core), labels, np.where(labels > 0, leaves(window), np.int32(-1)))
        return blocks.fragments()

    def _leaves(self, window: Window) -> NDArray[np.int32]:
        """(h, w) the superpixel of the cell of each pixel."""
        cells = np.append(self.nodes.number, np.int32(-1))[self.nodes.seeds[window.outer]]
        rows, cols = self.raster.pixels(*window.core)
        large = np.repeat(np.repeat(cells, self.raster.factor, axis=0), self.raster.factor, axis=1)
        return large[: rows[1] - rows[0], : cols[1] - cols[0]]

    def _limits(self, fragments: Fragments) -> Limits:
        return self.sizes.limits(int(fragments.graph.area.sum()), self.raster.ground, str(self.raster.path))

    def _decided(
        self,
        fragments: Fragments,
        segments: Fragments,
        number: NDArray[np.integer],
        part: NDArray[np.int32],
        membership: Membership,
        before: int | None = None,
        tree: Hierarchy | None = None,
    ) -> Limited:
        """
        Parameters
        ----------
        fragments : of the superpixels
        segments : of the segments on which the limits decide
        number : (F,) which of these each of ``fragments`` is in
        part : the fragment of each part
        before : how many segments there are without limits; None means those of ``segments``
        tree : the hierarchy of the leaves, if it is not that of the raster
        """
        colours = self.nodes.colours
        behind = self.sizes.behind(segments.label, colours[segments.leaf, 0], segments.graph.area)
        between = level_between(self.nodes.graph, colours, tree)
        label, notes = self.sizes.of_fragments(segments, between, self._limits(segments), behind)
        before = len(np.unique(segments.label)) if before is None else before
        label, membership, said = self.sizes.settled(
            label[number], fragments.leaf, fragments.graph.area, membership, self.affinity, True, before
        )
        table = np.append(label[part], np.int32(0))

        def draw(window: Window) -> NDArray[np.int32]:
            rows, cols = self.raster.pixels(*window.core)
            return table[self.at[slice(*rows), slice(*cols)]]

        return Limited(draw, membership, (*said, *notes))
