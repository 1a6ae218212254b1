"""Statistics of the regions of a label map that is read in windows: areas, boxes, centroids, colours, perimeters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export.zones import OUTSIDE, Labels
from segspectral.values import Bands, BandSums

__all__ = ["RegionSums", "perimeters"]

STRIP_PIXELS = 4_000_000
"""About how many pixels perimeters are counted in at once. This bounds their memory."""

LENGTHS = {
    **dict.fromkeys((5, 7, 15, 17, 25, 27), 1.0),
    **dict.fromkeys((21, 33), 2**0.5),
    **dict.fromkeys((13, 23), (1 + 2**0.5) / 2),
}
"""Benkrid and Crookes (2000), as scikit-image counts: 10 for each diagonal neighbour in the border, 2 for each other
one, 1 for the pixel itself -> the length of the border there."""

CODES = 50
"""One more than the largest of these sums."""


class RegionSums:
    """Areas, boxes, centroids and mean colours of regions. Windows of an image add up to the whole.

    Parameters
    ----------
    largest : the largest number of a region
    colours : whether each window comes with its colours
    keys : ``Bands.keys``, if each window comes with its bands

    >>> sums = RegionSums(2, colours=False)
    >>> sums.add(np.array([[1, 1, 2]], np.int32), (5, 0))
    >>> [(row["segment"], row["area"], row["top"], row["column"]) for row in sums.rows()]
    [(1, 2, 5, 0.5), (2, 1, 5, 2.0)]
    """

    def __init__(self, largest: int, colours: bool = True, keys: Sequence[str] = ()) -> None:
        count = largest + 1
        self.area = np.zeros(count, np.int64)
        self._bands = BandSums(keys, largest)
        self._sums = np.zeros((5 if colours else 2, count))
        self._least, self._most = np.full((2, count), np.iinfo(np.int64).max), np.zeros((2, count), np.int64)

    def add(
        self,
        labels: NDArray[np.int32],
        corner: tuple[int, int] = (0, 0),
        rgb: NDArray[Any] | None = None,
        bands: Bands | None = None,
    ) -> None:
        """Add a window.

        Parameters
        ----------
        labels : (h, w) the region of each pixel, 0 on void
        corner : row and column of its first pixel in the image
        rgb : (h, w, 3) in 0..255; None without colours
        bands : all bands of the window; None without bands
        """
        if bands is not None:
            self._bands.add(labels, bands)
        # A run is a row's stretch of pixels of one region. There are far fewer runs than pixels.
        begins = np.ones(labels.shape, np.bool_)
        np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
        first = np.flatnonzero(begins)
        length = np.diff(first, append=labels.size)
        of, (row, left) = labels.reshape(-1)[first], np.divmod(first, labels.shape[1])
        row, left = row + corner[0], left + corner[1]

        def total(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(of, values, len(self.area)).astype(np.float64)

        self.area += total(length).astype(np.int64)
        for axis, (low, end) in enumerate(((row, row + 1), (left, left + length))):
            np.minimum.at(self._least[axis], of, low)
            np.maximum.at(self._most[axis], of, end)
        self._sums[0] += total(row * length)
        self._sums[1] += total((left + (length - 1) / 2) * length)
        if rgb is not None:
            for band in range(3):
                values = np.add.reduceat(rgb[..., band].reshape(-1), first, dtype=np.float64)
                self._sums[2 + band] += total(values)

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row per region that has pixels: number, area in pixels, share of all valid pixels, box, centroid, colour.

        The box is top, left, bottom, right; bottom and right are exclusive. The colour is red, green, blue in 0..255.
        The columns of ``BandSums`` follow.
        """
        means, valid = self._sums / np.maximum(self.area, 1), int(self.area[1:].sum())
        for region in (np.flatnonzero(self.area[1:]) + 1).tolist():
            top, left = self._least[:, region].tolist()
            bottom, right = self._most[:, region].tolist()
            mean = means[:, region].tolist()
            cells = {
                "segment": region,
                "area": int(self.area[region]),
                "share": round(int(self.area[region]) / valid, 6),
                "top": top,
                "left": left,
                "bottom": bottom,
                "right": right,
                "row": round(mean[0], 2),
                "column": round(mean[1], 2),
            }
            colour = zip(("red", "green", "blue"), mean[2:], strict=False)
            cells |= {band: round(value, 1) for band, value in colour}
            yield cells | self._bands.columns(region)


def perimeters(labels: Labels, shape: tuple[int, int], largest: int) -> NDArray[np.float64]:
    """(largest + 1,) the perimeter in pixels of each region of a label map of this shape (Benkrid and Crookes 2000).

    A pixel is in the border of its region if one of its four neighbours is not in the region.
    """
    counts = np.zeros((largest + 1, CODES), np.int64)
    step = max(1, STRIP_PIXELS // shape[1])
    for top in range(0, shape[0], step):
        rows = max(top - 2, 0), min(top + step + 2, shape[0])
        around = np.pad(labels(rows, (0, shape[1])), 2, constant_values=OUTSIDE)
        centre = around[1:-1, 1:-1]
        border = np.zeros(centre.shape, np.bool_)
        for side in (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]):
            border |= side != centre
        edge = np.where(border, centre, OUTSIDE)
        inner = slice(top - rows[0], min(top + step, shape[0]) - rows[0])
        row, col = np.nonzero(border[1:-1, 1:-1][inner])
        row += inner.start + 1
        col += 1
        own = centre[row, col]
        code = np.ones(len(own), np.int64)
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                if down or across:
                    code += np.where(edge[row + down, col + across] == own, 10 if down and across else 2, 0)
        inside = own > 0
        counts += np.bincount(own[inside] * CODES + code[inside], minlength=counts.size).reshape(counts.shape)
    weights = np.zeros(CODES)
    weights[list(LENGTHS)] = list(LENGTHS.values())
    return np.asarray(counts @ weights)
