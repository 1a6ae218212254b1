"""A partition of an image into small connected pieces, and means over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.values.image import Image
from segspectral.values.regions import RegionGraph

__all__ = ["Superpixels"]


class Touching(NamedTuple):
    """Pairs of touching pixels, whose places are numbered row by row.

    Parameters
    ----------
    here, there : (P,) places of the two pixels; the second one is below the first one, or to the right of it
    pairs : (P, 2) the two superpixels i < j
    """

    here: NDArray[np.int64]
    there: NDArray[np.int64]
    pairs: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A partition of the valid pixels into N connected pieces.

    Parameters
    ----------
    labels : (H, W) int32
        Ids 0..N-1, each of which occurs; -1 on void pixels.

    Raises
    ------
    ImageError
        An id does not occur, or there is no superpixel at all.
    """

    labels: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.int32:
            raise ImageError(f"superpixel labels must be (H, W) int32, not {self.labels.dtype} {self.labels.shape}")
        if self.labels.size == 0 or self.labels.min() < -1 or len(self.area) == 0 or (self.area == 0).any():
            raise ImageError("superpixel ids must be 0..N-1 without gaps, and -1 on void pixels")

    @property
    def shape(self) -> tuple[int, int]:
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) False on void pixels."""
        return self.labels >= 0

    def __len__(self) -> int:
        return len(self.area)

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """(N,) the number of pixels of each superpixel."""
        flat = self.labels.ravel()
        return np.bincount(flat[flat >= 0])

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """(N, 2) the mean row and column of each superpixel."""
        row, first, last, superpixel = self._runs
        length = last - first + 1
        sums = [np.bincount(superpixel, length * at, len(self)) for at in (row, (first + last) / 2)]
        return np.stack(sums, axis=1) / self.area[:, None]

    @cached_property
    def touching(self) -> Touching:
        """The pairs of 4-neighbours in different superpixels: first one above the other, then side by side."""
        flat, width = self.labels.reshape(-1), self.shape[1]
        differ = self.labels[:, :-1] != self.labels[:, 1:]
        below = np.flatnonzero(flat[:-width] != flat[width:])
        beside = np.flatnonzero(np.pad(differ, ((0, 0), (0, 1))))
        here, there = np.concatenate([below, beside]), np.concatenate([below + width, beside + 1])
        a, b = flat[here], flat[there]
        pairs = np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1)
        known = pairs[:, 0] >= 0
        return Touching(here[known], there[known], pairs[known])

    @cached_property
    def _adjacency(self) -> sp.csr_array:
        """(N, N) upper triangle: how many pairs of touching pixels the superpixels i < j have."""
        i, j = self.touching.pairs.T
        graph = sp.coo_array((np.ones(len(i), dtype=np.float64), (i, j)), shape=(len(self), len(self))).tocsr()
        graph.sort_indices()
        return graph

    @cached_property
    def _border_of_pair(self) -> NDArray[np.int64]:
        """(P,) the number of the border of each pair of touching pixels."""
        return self.region_graph.border_index(self.touching.pairs)

    @cached_property
    def borders(self) -> NDArray[np.int32]:
        """(M, 2) the pairs i < j of superpixels that touch, in lexicographic order."""
        return np.stack(self._adjacency.nonzero(), axis=1).astype(np.int32)

    @cached_property
    def border_length(self) -> NDArray[np.float64]:
        """(M,) the length of each border, in pairs of touching pixels."""
        return self._adjacency.data.copy()

    @cached_property
    def region_graph(self) -> RegionGraph:
        """The region adjacency graph of the superpixels, without boundary probabilities."""
        return RegionGraph(self.area, self.borders, self.border_length)

    def along_borders(self, values: NDArray[Any]) -> NDArray[Any]:
        """(M, D) the mean of ``values`` (H, W, D) along each border; each pair of touching pixels gives its maximum."""
        flat = values.reshape(-1, values.shape[2])
        larger = np.maximum(flat.take(self.touching.here, axis=0), flat.take(self.touching.there, axis=0))
        sums = [np.bincount(self._border_of_pair, column, len(self.borders)) for column in larger.T]
        return np.stack(sums, axis=-1) / self.border_length[:, None]

    @cached_property
    def _indicator(self) -> sp.csc_array:
        """(N, H W) one where the pixel belongs to the superpixel. Void pixels belong to none."""
        flat = self.labels.reshape(-1)
        known = flat >= 0
        indptr = np.concatenate([[0], np.cumsum(known)])
        return sp.csc_array((np.ones(indptr[-1], np.float32), flat[known], indptr), shape=(len(self), flat.size))

    def pool(self, values: NDArray[Any]) -> NDArray[Any]:
        """(N, D) or (N,) the mean over each superpixel of ``values`` (H, W, D) or (H, W)."""
        flat = values.reshape(self.labels.size, -1)
        means = (self._indicator @ flat) / self.area[:, None]
        means = means.astype(np.result_type(values.dtype, np.float32), copy=False)
        return means.reshape((len(self), *values.shape[2:]))

    def pool_grid(self, values: NDArray[Any], stride: float, offset: float = 0.0) -> NDArray[Any]:
        """(N, D) the mean over each superpixel of a coarse grid that is upsampled bilinearly.

        The upsampled array (H, W, D) is never made.

        Parameters
        ----------
        values : (h, w, D)
            Cell (r, c) covers the pixels from ``offset + r * stride`` to ``offset + (r + 1) * stride``, and its value
            is that of the cell's centre. Beyond the outermost centres, the value of the outermost cell is used.
        stride : pixels per cell
        offset : position of the grid's first pixel relative to the image's first pixel; may be negative
        """
        height, width = values.shape[:2]
        return self._grid_operator(height, width, stride, offset) @ values.reshape(height * width, -1)

    @cached_property
    def _runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """The runs of pixels of one superpixel in a row: row, first and last column, superpixel, which is ascending."""
        begins = np.ones(self.shape, np.bool_)
        np.not_equal(self.labels[:, 1:], self.labels[:, :-1], out=begins[:, 1:])
        first = np.flatnonzero(begins)
        length = np.diff(first, append=self.labels.size)
        superpixel = self.labels.reshape(-1)[first]
        order = np.argsort(superpixel, kind="stable")[np.count_nonzero(superpixel < 0) :]
        row, column = np.divmod(first[order], self.shape[1])
        return row, column, column + length[order] - 1, superpixel[order]

    def _grid_operator(self, height: int, width: int, stride: float, offset: float) -> sp.csr_array:
        """(N, height width) the weights of the cells of a grid in the mean of each superpixel.

        Bilinear upsampling and averaging are both linear, so their product is one sparse matrix. A run of pixels adds a
        few entries to it: for each column of cells that it touches, the sum of the pixels' weights, which is a
        difference of two sums from the left edge, and this in two rows of cells.
        """

        def axis(size: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
            at = np.clip((np.arange(size) + 0.5 - offset) / stride - 0.5, 0, cells - 1)
            low = np.minimum(at.astype(np.int64), max(cells - 2, 0))
            return low, np.minimum(low + 1, cells - 1), at - low

        row, first, last, superpixel = self._runs
        low, high, part = axis(self.shape[1], width)
        sums = np.zeros((len(low) + 1, width))
        pixel = np.arange(1, len(sums))
        sums[pixel, low] = 1 - part
        sums[pixel, high] += part
        np.cumsum(sums, axis=0, out=sums)
        touched = high[last] - low[first] + 1
        run = np.repeat(np.arange(len(row)), touched)
        column = np.arange(len(run)) + np.repeat(low[first] - np.cumsum(touched) + touched, touched)
        weight = (sums[last[run] + 1, column] - sums[first[run], column]) / self.area[superpixel[run]]
        at = row[run]
        up, down, below = (values[at] for values in axis(self.shape[0], height))
        weights, cells = np.empty((len(run), 2)), np.empty((len(run), 2), np.int64)
        np.multiply(weight, below, out=weights[:, 1])
        np.multiply(weight, 1 - below, out=weights[:, 0])
        for side, cell in enumerate((up, down)):
            np.add(cell * width, column, out=cells[:, side])
        ends = 2 * np.cumsum(np.bincount(superpixel, touched, len(self))).astype(np.int64)
        return sp.csr_array((weights.ravel(), cells.ravel(), np.append(0, ends)), shape=(len(self), height * width))

    def merged(self, region: NDArray[np.integer[Any]]) -> Superpixels:
        """Larger superpixels; ``region`` (N,) gives the number of each one's larger one, whose parts must touch."""
        return Superpixels(self.to_pixels(region.astype(np.int32), void=-1))

    def upsampled(self, image: Image) -> Superpixels:
        """The superpixels at the size of a larger image, by nearest-neighbour upsampling; its void pixels become -1.

        Two superpixels that touch here may be separated there by void pixels.
        """
        rows, cols = (np.arange(fine) * coarse // fine for fine, coarse in zip(image.shape, self.shape, strict=True))
        labels = self.labels[np.ix_(rows, cols)]
        if image.mask is not None:
            labels = np.where(image.mask, labels, np.int32(-1))
        return Superpixels(np.ascontiguousarray(labels))

    def to_pixels(self, values: NDArray[Any], void: Any = 0) -> NDArray[Any]:
        """(H, W, ...) the value (N, ...) of each pixel's superpixel; void pixels get the value ``void``."""
        pixels = np.asarray(values).take(self.labels, axis=0)
        if not self.valid.all():
            pixels[~self.valid] = void
        return pixels
