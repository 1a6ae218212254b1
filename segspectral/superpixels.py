"""Image -> Superpixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.settings import Settings
from segspectral.values import Image, Superpixels
from segspectral.values.labels import pieces

__all__ = ["Slic", "along_edges"]

XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""The matrix from linear RGB with the primaries of sRGB to CIE XYZ."""

WHITE = (0.95047, 1.0, 1.08883)
"""CIE XYZ of the white point D65."""

EVENNESS = 1e-4
"""Compactness of the watershed of ``along_edges``: where there are no edges, superpixels are even cells."""

SMALLEST, LARGEST = 0.5, 3.0
"""Pieces below this share of the mean area of a superpixel are added to a neighbour; pieces above are cut."""


class Slic(Settings):
    """Simple linear iterative clustering: k-means on CIELAB and position within a window (Achanta et al. 2012).

    This is scikit-image's implementation. Superpixels that it leaves in several pieces are split, so that each is
    connected.
    """

    name: Literal["slic"] = "slic"
    count: int = Field(
        600, ge=2, le=100_000, description="requested number of superpixels; SLIC returns approximately as many"
    )
    compactness: float = Field(
        20.0,
        gt=0,
        description="weight of position against colour; higher: rounder; lower: closer to the edges of the image",
    )
    iterations: int = Field(10, ge=1, le=100, description="number of iterations of k-means")
    sigma: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="standard deviation in pixels of the Gaussian that smooths the image first; 0: no smoothing",
    )

    def __call__(self, image: Image) -> Superpixels:
        height, width = image.shape
        colours = image.float32.reshape(-1, 3) if image.mask is None else image.float32[image.mask]
        if (colours == colours[0]).all():
            # In an image of one colour, SLIC's rescaling would divide by zero. A regular grid is as good as any
            # partition.
            side = max(1, round((height * width / self.count) ** 0.5))
            rows, cols = np.indices(image.shape) // side
            labels = rows * (cols.max() + 1) + cols
        elif image.mask is None and self.sigma == 0:
            labels = self._plain(image)
        else:
            labels = self._any(image)
        return Superpixels(pieces(labels if image.mask is None else np.where(image.mask, labels, -1)))

    def _any(self, image: Image) -> NDArray[np.integer[Any]]:
        """(H, W) the superpixels of an image that may have void pixels or need smoothing."""
        from skimage.segmentation import slic

        # Void pixels get the mean colour, so that their own values are not blurred into valid pixels.
        return slic(
            image.filled(image.float32),
            n_segments=min(self.count, image.rgb[..., 0].size),
            compactness=self.compactness,
            max_num_iter=self.iterations,
            sigma=self.sigma,
            start_label=1,
            mask=None if image.mask is None else image.mask.copy(),  # scikit-image needs a writable array
            min_size_factor=SMALLEST,
            max_size_factor=LARGEST,
            channel_axis=-1,
        )

    def _plain(self, image: Image) -> NDArray[np.integer[Any]]:
        """(H, W) the superpixels as ``_any`` makes them, of an image without void pixels that needs no smoothing.

        The compiled functions of scikit-image are called directly. The rest of ``skimage.segmentation.slic`` would
        only import many packages and convert colours, which takes longer than the superpixels of a small photograph.
        """
        from skimage.segmentation._slic import _enforce_label_connectivity_cython, _slic_cython

        rows, cols = _seeds(image.shape, self.count)
        centres = np.zeros((len(rows) * len(cols), 6), np.float32)  # depth, row, column, L*, a*, b*
        centres[:, 1], centres[:, 2] = np.repeat(rows, len(cols)), np.tile(cols, len(rows))
        labels = _slic_cython(
            (_lab(image) * (1.0 / self.compactness))[None],
            None,
            centres,
            float(max(rows.step, cols.step)),
            self.iterations,
            np.ones(3, np.float32),
            False,
            ignore_color=False,
            start_label=1,
        )
        area = labels.size / len(centres)
        smallest, largest = int(SMALLEST * area), int(LARGEST * area)
        return np.asarray(_enforce_label_connectivity_cython(labels, smallest, largest, start_label=1))[0]


def along_edges(count: int) -> Callable[[Image], Superpixels]:
    """Superpixels of an image with an edge map: a compact watershed of the map from a grid (Neubert and Protzel 2014).

    SLIC does not know the map, and its superpixels miss thin edges. With one person's borders on BSDS500 train as the
    map, the regions built on SLIC have a covering of .41, and those built on these of .98 (soft borders: .80, .96).
    """

    def superpixels(image: Image) -> Superpixels:
        from skimage.segmentation import watershed

        assert image.edges is not None
        rows, cols = _seeds(image.shape, count)
        markers = np.zeros(image.shape, np.int32)
        markers[np.ix_(rows, cols)] = np.arange(1, len(rows) * len(cols) + 1).reshape(len(rows), len(cols))
        mask = None
        if image.mask is not None:
            mask, markers = image.mask.copy(), np.where(image.mask, markers, 0)
        labels = watershed(image.edges, markers, mask=mask, compactness=EVENNESS)
        # What void pixels cut off has no place of the grid; it becomes superpixels of its own.
        return Superpixels(pieces(labels if mask is None else np.where(mask, labels, -1)))

    return superpixels


def _seeds(shape: tuple[int, int], count: int) -> tuple[range, range]:
    """The rows and the columns of a regular grid of about ``count`` seeds."""
    if shape[0] * shape[1] <= count:
        return range(shape[0]), range(shape[1])
    sides = [(shape[0] * shape[1] / count) ** 0.5] * 2
    if min(shape) < sides[0]:  # The image is too narrow for two rows of seeds.
        narrow = int(shape[1] < shape[0])
        sides[narrow], sides[1 - narrow] = float(shape[narrow]), max(shape) / count
    rows, cols = (range(int(side // 2), length, round(side)) for side, length in zip(sides, shape, strict=True))
    return rows, cols


def _lab(image: Image) -> NDArray[np.float32]:
    """(H, W, 3) CIELAB of the image, whose RGB is first stretched to the range 0..1."""
    # The 256 levels of most images are converted to linear RGB only once.
    levels = np.arange(256, dtype=np.float32) / np.float32(255) if image.rgb.dtype == np.uint8 else image.float32
    low, high = image.float32.min(), image.float32.max()
    stretched = np.maximum(levels - low, 0) / (high - low)
    linear = np.where(stretched > 0.04045, ((stretched + 0.055) / 1.055) ** 2.4, stretched / 12.92)
    if image.rgb.dtype == np.uint8:
        linear = np.take(linear, image.rgb)
    xyz = linear @ np.array(XYZ_OF_RGB, np.float32).T
    xyz /= np.array(WHITE, np.float32)
    x, y, z = cv2.split(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0))
    return np.asarray(cv2.merge([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]))
