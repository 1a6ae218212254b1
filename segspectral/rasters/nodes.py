"""The superpixels, features and region graph of a raster that is read in tiles.

The seeds of the superpixels are on one grid over the whole raster, which does not depend on the tiles. Each tile is
read with a margin, so that its superpixels take the same shape as in the whole image. A superpixel that lies in two
tiles is one node; its pixels, features and boundary probabilities come from both of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.features.parts import Colour, Means
from segspectral.features.stack import Measured
from segspectral.rasters.raster import DiskMap, Raster, Window, windows
from segspectral.values import Features, Image, Superpixels
from segspectral.values.regions import RegionGraph

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

__all__ = ["Grid", "Nodes", "compacted", "describe_raster"]

SIDE_OF_PIXELS = 500
"""``superpixels.count`` is meant for photographs of about 500 x 500 pixels. The number for a larger raster is
proportional to its area; a smaller one has as many as a photograph, down to superpixels of LEAST_SIDE."""

MARGIN_SUPERPIXELS = 4
"""Width of the margin for superpixels, in sides of a superpixel. With 2, 4 and 8, about 5, 1 and 0.05 % of the pixels
are in another superpixel than without tiles. Ten iterations of k-means propagate little over such a distance."""

MARGIN_FEATURES = 128
"""Width of the margin for features, in cells, a multiple of STRIDE. Over this distance, the influence of the zeros with
which a network pads its image becomes negligible."""

STRIDE = 128
"""Tiles begin at multiples of this. The default backbone sees them 1.25 times as large, with a largest stride of 32: so
four cells of the raster are five of its pixels, and the cells of its maps have the same position in all tiles."""

LEAST_TILE = 256
"""Smallest side of a tile in cells. Much smaller tiles would be mostly margin. ``raster.READ_PIXELS`` bounds the memory
that reading a tile takes."""

LEAST_SIDE = 4
"""Smallest side of a superpixel in cells. All sides are multiples of this, so that the least common multiple of a side
and STRIDE, at whose multiples tiles begin, stays small."""

STRAY_SHARE = 1 / 8
"""A connected piece of a superpixel that is smaller than this share of a grid square goes to its neighbours."""


class Grid(NamedTuple):
    """The grid of a raster: cells of ``factor`` x ``factor`` pixels, seeds of superpixels, and tiles."""

    factor: int
    side: int
    """Number of cells between two seeds."""
    tile: int
    """Side of a tile in cells, a multiple of ``side`` and of STRIDE."""

    @classmethod
    def of(cls, shape: tuple[int, int], count: int, tile: int, max_nodes: int) -> Grid:
        """The grid for a raster of this shape.

        Parameters
        ----------
        count : number of superpixels of a photograph
        tile : side of a tile in pixels
        max_nodes : maximum number of superpixels of the raster
        """
        least = min(SIDE_OF_PIXELS, (shape[0] * shape[1]) ** 0.5) / count**0.5
        due = (shape[0] * shape[1] / max_nodes) ** 0.5
        factor = max(1, round(due / least))
        # The side is rounded up to a multiple of LEAST_SIDE, or down if it is larger by at most 1/8 of LEAST_SIDE.
        steps = math.ceil(max(least, due / factor) / LEAST_SIDE - 1 / 8)
        side = LEAST_SIDE * max(1, steps)
        step = math.lcm(side, STRIDE)
        cells = max(tile // factor, min(tile, LEAST_TILE))
        return cls(factor, side, max(1, cells // step) * step)


@dataclass(frozen=True, eq=False)
class Nodes:
    """The N superpixels of a raster, their features and their region graph.

    Parameters
    ----------
    seeds : (h, w) the seed of the grid that each cell belongs to, -1 on void
    number : (seeds,) int32, the superpixel of each seed of the grid; -1 if the seed has no valid cell
    features : one feature vector per superpixel
    graph : the region graph of the superpixels
    colours : (N, 3) mean colours in CIELAB
    """

    seeds: DiskMap

    number: NDArray[np.int32]
    features: Features
    graph: RegionGraph
    colours: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.graph)


def describe_raster(raster: Raster, seed_map: DiskMap, pipeline: Pipeline, grid: Grid) -> Nodes:
    """Superpixels, features and region graph of a raster; ``seed_map`` receives the seed of each cell, -1 on void."""
    height, width = raster.cells
    across = -(-width // grid.side)
    sums = _Sums(-(-height // grid.side) * across)
    stack = pipeline.features
    margin = STRIDE * math.ceil(max(MARGIN_SUPERPIXELS * grid.side, MARGIN_FEATURES) / STRIDE)
    for window in windows(raster.cells, grid.tile, margin):
        rgb, valid = raster.read_cells(window.rows, window.cols)
        if not valid[window.inner].any():
            seed_map[window.outer] = np.int32(-1)  # type: ignore[assignment]
            continue
        seeds = _seeds_of_cells(rgb, valid, window, pipeline, grid, across)
        seed_map[window.outer] = seeds[window.inner]
        sums.count(seeds[window.inner])
        # One row and one column of the next tiles belong to this view, for the borders between the tiles.
        grown = tuple(slice(s.start, s.stop + 1) for s in window.inner)
        inside = np.full(seeds.shape, -1, np.int32)
        inside[grown] = seeds[grown]
        crop = _with_margin(window.inner, MARGIN_FEATURES, valid.shape)
        here, compact = compacted(inside[crop])
        superpixels = Superpixels(compact)
        # Void cells already have the mean colour of the raster. So the view needs no mask, whose filling would depend
        # on the tile.
        bands = None
        if stack.bands is not None and raster.no_pixels.unseen:
            rows, cols = (
                (at[0] + part.start, at[0] + part.stop)
                for at, part in zip((window.rows, window.cols), crop, strict=True)
            )
            bands = raster.bands_of_cells(rows, cols)
        view = Image(rgb[crop], raster.path.name, bands=bands)
        corner = (window.rows[0] + crop[0].start, window.cols[0] + crop[1].start)
        measured = dict(stack.measure(view, superpixels, corner))
        if "colour" not in measured:
            measured["colour"] = Colour().measure(view, superpixels)
        sums.add(here, superpixels, measured)
    number, graph, total = sums.total()
    features, graph = stack.finish(total, graph, raster.cells)
    return Nodes(seed_map, number, features, graph, total["colour"].nodes["mean"].astype(np.float64))


class _Sums:
    """Sums over all tiles: areas and means of superpixels, and lengths and means of borders."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self._area = np.zeros(seeds, np.int64)
        self._weight = np.zeros((seeds, 1))
        self._nodes: dict[tuple[str, Any], NDArray[np.float64]] = {}
        self._keys: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.float64]] = []
        self._along: dict[tuple[str, Any], list[NDArray[np.floating]]] = {}

    def count(self, seeds: NDArray[np.int32]) -> None:
        """Count the cells of a tile without its margin."""
        self._area += np.bincount(seeds[seeds >= 0], minlength=self.seeds)

    def add(self, here: NDArray[np.int32], superpixels: Superpixels, measured: Measured) -> None:
        """Add the means over the superpixels of a tile; ``here`` (n,) are the seeds of these superpixels."""
        i, j = here[superpixels.borders].astype(np.int64).T
        self._keys.append(i * self.seeds + j)
        self._lengths.append(superpixels.border_length)
        self._weight[here] += superpixels.area[:, None]
        for name, means in measured.items():
            for key, values in means.nodes.items():
                total = self._nodes.setdefault((name, key), np.zeros((self.seeds, values.shape[1])))
                total[here] += superpixels.area[:, None] * values
            for key, values in means.borders.items():
                self._along.setdefault((name, key), []).append(values)

    def total(self) -> tuple[NDArray[np.int32], RegionGraph, Measured]:
        """The superpixel of each seed (seeds,), the region graph, and the means over the whole raster."""
        used = np.flatnonzero(self._area)
        number = np.full(self.seeds, -1, np.int32)
        number[used] = np.arange(len(used))
        pairs = number[np.stack(np.divmod(np.concatenate(self._keys), self.seeds), axis=1)]
        # A seed may have cells in the margin of a tile only, and none in any tile; it has no superpixel.
        known = (pairs >= 0).all(axis=1)
        borders, index = np.unique(pairs[known], axis=0, return_inverse=True)
        lengths = np.concatenate(self._lengths)[known]
        length = np.bincount(index, lengths, len(borders)).astype(np.float64)
        measured = {name: Means({}, {}) for name, _ in self._nodes}
        for (name, key), total in self._nodes.items():
            measured[name].nodes[key] = total[used] / self._weight[used]  # type: ignore[index]
        for (name, key), parts in self._along.items():
            values = np.concatenate(parts)[known]
            sums = [np.bincount(index, lengths * column, len(borders)) for column in values.T]
            measured[name].borders[key] = np.stack(sums, axis=-1) / length[:, None]  # type: ignore[index]
        return number, RegionGraph(self._area[used], borders, length), measured


def _seeds_of_cells(
    rgb: NDArray[np.float32], valid: NDArray[np.bool_], window: Window, pipeline: Pipeline, grid: Grid, across: int
) -> NDArray[np.int32]:
    """(h, w) the seed of each cell of a window, numbered in rows of ``across`` seeds; -1 on void."""
    near = _with_margin(window.inner, MARGIN_SUPERPIXELS * grid.side, valid.shape)
    local = _grid_slic(rgb[near], grid.side, pipeline)
    first_row, first_col = (
        (at[0] + part.start) // grid.side for at, part in zip((window.rows, window.cols), near, strict=True)
    )
    across_here = -(-local.shape[1] // grid.side)
    seeds = np.full(valid.shape, -1, np.int32)
    seeds[near] = (first_row + local // across_here) * across + first_col + local % across_here
    seeds[~valid] = -1
    return seeds


def _with_margin(inner: tuple[slice, slice], margin: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of a window within a margin around ``inner``; it ends at the edges of the window."""
    rows, cols = (
        slice(max(span.start - margin, 0), min(span.stop + margin, length))
        for span, length in zip(inner, shape, strict=True)
    )
    return rows, cols


def _grid_slic(rgb: NDArray[np.float32], side: int, pipeline: Pipeline) -> NDArray[np.int64]:
    """(h, w) the seed of each cell by SLIC; its seeds are the centres of a grid of squares, numbered row by row.

    Small pieces that are not connected to the rest of their superpixel are added to the nearest other superpixel.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.measure import label
    from skimage.segmentation import slic

    height, width = rgb.shape[:2]
    down, across = -(-height // side), -(-width // side)
    # scikit-image rescales colours by their range, which must be the same in all tiles. So there is one more row of
    # squares, with a black and a white pixel. Because all squares are whole, the seeds of scikit-image are their
    # centres.
    padded = np.pad(rgb, ((0, (down + 1) * side - height), (0, across * side - width), (0, 0)), mode="edge")
    padded[-1, 0], padded[-1, -1] = 0, 1
    method = pipeline.superpixels.plain
    labels = slic(
        padded,
        n_segments=(down + 1) * across,
        compactness=method.compactness,
        max_num_iter=method.iterations,
        sigma=method.sigma,
        start_label=0,
        enforce_connectivity=False,
        channel_axis=-1,
    )
    labels = np.minimum(labels[:height, :width], down * across - 1)
    pieces = label(labels, connectivity=1, background=-1)
    stray = np.bincount(pieces.ravel())[pieces] < side * side * STRAY_SHARE
    if stray.any() and not stray.all():
        nearest = distance_transform_edt(stray, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    return labels.astype(np.int64)


def compacted(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ids that occur (n,), ascending, and the map with each id replaced by its index among them; -1 stays."""
    here, rank = np.unique(ids, return_inverse=True)
    first = int(here[0] < 0)
    return here[first:], (rank.reshape(ids.shape) - first).astype(np.int32)
