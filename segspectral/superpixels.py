"""Image -> Superpixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from segspectral.settings import Settings
from segspectral.values import Image, Superpixels
from segspectral.values.distances import distances
from segspectral.values.labels import pieces
from segspectral.values.regions import both_count, first_merges, joined

__all__ = ["AnySuperpixels", "Slic", "Watershed"]

XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""The matrix from linear RGB with the primaries of sRGB to CIE XYZ."""

WHITE = (0.95047, 1.0, 1.08883)
"""CIE XYZ of the white point D65."""

Count = Annotated[
    int, Field(ge=2, le=100_000, description="requested number of superpixels; approximately as many are made")
]

NEARER = 2e-4
"""The weight of a pixel of distance relative to a height, when a seed moves."""

DAMPING = 0.5
"""The power of a basin's share of the area with which its borders count when basins are merged: small ones go first."""

SMALLEST, LARGEST = 0.5, 3.0
"""Pieces below this share of the mean area of a superpixel are added to a neighbour; pieces above are cut."""


class Slic(Settings):
    """Simple linear iterative clustering: k-means on CIELAB and position within a window (Achanta et al. 2012).

    This is scikit-image's implementation. Superpixels that it leaves in several pieces are split, so that each is
    connected.
    """

    count: Count = 600
    name: Literal["slic"] = "slic"
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

    @property
    def plain(self) -> Slic:
        """Itself, because it uses no edge map."""
        return self

    def __call__(self, image: Image, edges: NDArray[np.float32] | None = None) -> Superpixels:
        """The superpixels of an image (H, W); its edges are ignored."""
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


class Watershed(Settings):
    """Basins of a watershed of an edge map, merged across their lowest borders; SLIC if there is no edge map.

    SLIC knows colours alone, and its superpixels miss borders that the network, or the user, knows of.

    Water rises from a grid of seeds. A seed on an edge would give a basin on both sides of it; so each seed first moves
    to the lowest place near it. Heights rise a little with the distance from the nearest seed, so that basins are even
    where there are no edges. This does nearly what the compact watershed of Neubert and Protzel (2014) does, in half
    the time.

    If there were only as many seeds as superpixels, a small thing between two seeds would have no superpixel. So basins
    are small, and those that the lowest borders separate are merged.
    """

    count: Count = 600
    name: Literal["watershed"] = "watershed"
    basin_pixels: float = Field(
        128,
        ge=16,
        le=1e6,
        description="mean area of the basins that are merged until ``count`` are left; not above that of a superpixel",
    )
    evenness: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="how much heights rise with each pixel from the nearest seed: without edges, basins are even",
    )
    gradient: float = Field(1.0, ge=0, le=100, description="weight of the gradient of CIELAB relative to the edges")
    reach: float = Field(
        0.3, ge=0, lt=0.5, description="how far a seed moves to leave an edge, as a share of the distance between seeds"
    )

    @property
    def plain(self) -> Slic:
        """The superpixels of images without an edge map, and of rasters in tiles."""
        return Slic(count=self.count)

    def __call__(self, image: Image, edges: NDArray[np.float32] | None = None) -> Superpixels:
        """The superpixels of an image (H, W).

        Parameters
        ----------
        edges : (H, W) the edge map of a network; that of the user, if the image has one, replaces it
        """
        if image.edges is not None:
            return self.along(image, image.edges)
        if edges is None or image.flat:
            return self.plain(image)
        return self.along(image, edges + np.float32(self.gradient) * _gradient(image))

    def along(self, image: Image, heights: NDArray[np.floating[Any]]) -> Superpixels:
        """The superpixels of heights (H, W)."""
        grid = _seeds(image.shape, max(self.count, round(heights.size / self.basin_pixels)))
        seeds = _off_edges(grid, heights, image.mask, self.reach)
        risen = heights + np.float32(self.evenness) * _distance(seeds, image.shape)
        basins = Superpixels(_flooded(risen, seeds, image.mask))
        if len(basins) <= self.count:
            return basins
        height = basins.along_borders(risen[..., None])[:, 0] / max(risen.max(), 1)
        lowest = first_merges(basins.region_graph.with_boundary(height), DAMPING, fewest=self.count, size=both_count)
        return basins.merged(joined(len(basins), lowest.merges))


def _of_name(value: Any) -> Any:
    """Settings with the name of their method. Settings that only SLIC has choose SLIC, even on top of the default."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping):
        return value
    method = {"name": "watershed", **value}
    if method["name"] == "watershed" and set(method) - set(Watershed.model_fields) & set(Slic.model_fields):
        default = {name: field.default for name, field in Watershed.model_fields.items() if name != "count"}
        return {name: given for name, given in value.items() if default.get(name) != given} | {"name": "slic"}
    return method


AnySuperpixels = Annotated[
    Annotated[Slic | Watershed, Field(discriminator="name")],
    BeforeValidator(_of_name),
]


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


def _off_edges(
    seeds: tuple[range, range], heights: NDArray[np.floating[Any]], mask: NDArray[np.bool_] | None, reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows and the columns of seeds that have moved from a grid to the lowest heights (H, W) near them.

    Heights are smoothed first, or noise would decide. Of equal places the nearest is taken, and void pixels are none.
    """
    far = [int(reach * line.step) for line in seeds]
    low = cv2.GaussianBlur(heights.astype(np.float32), (0, 0), 1)
    if mask is not None:
        low = np.where(mask, low, np.float32(np.inf))
    framed = np.pad(low, [(steps, steps) for steps in far], constant_values=np.inf)
    sides = tuple(2 * steps + 1 for steps in far)
    near = np.lib.stride_tricks.sliding_window_view(framed, sides)[np.ix_(*seeds)]
    row, col = np.indices(sides) - np.array(far)[:, None, None]
    lowest = (near + NEARER * np.hypot(row, col).astype(np.float32)).reshape(*near.shape[:2], -1).argmin(axis=2)
    rows, cols = np.meshgrid(*seeds, indexing="ij")
    # Where all is void, a seed stays where it is.
    lost = ~np.isfinite(near).any(axis=(2, 3))
    rows, cols = rows + np.where(lost, 0, row.ravel()[lowest]), cols + np.where(lost, 0, col.ravel()[lowest])
    return rows.ravel(), cols.ravel()


def _flooded(
    heights: NDArray[np.floating[Any]], seeds: tuple[NDArray[np.intp], NDArray[np.intp]], mask: NDArray[np.bool_] | None
) -> NDArray[np.int32]:
    """(H, W) the basins of heights (H, W), each of which begins at a seed.

    The compiled function of scikit-image is called directly; the rest of ``skimage.segmentation.watershed`` would only
    import many packages.
    """
    from skimage.segmentation._watershed_cy import watershed_raveled

    # A frame of void pixels, at which every flood stops.
    shape = (heights.shape[0] + 2, heights.shape[1] + 2)
    framed, valid, labels = np.zeros(shape), np.zeros(shape, np.int8), np.zeros(shape, np.int32)
    inside = np.s_[1:-1, 1:-1]
    framed[inside] = heights
    valid[inside] = 1 if mask is None else mask
    labels[inside][seeds] = np.arange(1, len(seeds[0]) + 1)
    labels *= valid
    watershed_raveled(
        framed.ravel(),
        np.flatnonzero(labels),
        np.array([-shape[1], -1, 1, shape[1]]),
        valid.ravel(),
        np.array([shape[1], 1]),
        0.0,
        labels.ravel(),
        False,
    )
    # Parts that void pixels cut off from all seeds become basins of their own.
    return pieces(labels[inside] if mask is None else np.where(mask, labels[inside], -1))


def _distance(seeds: tuple[NDArray[np.intp], NDArray[np.intp]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) the distance of each pixel from the nearest seed."""
    free = np.ones(shape, bool)
    free[seeds] = False
    return distances(free)


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


def _gradient(image: Image) -> NDArray[np.float32]:
    """(H, W) the length of the gradient of CIELAB per pixel, by Sobel's filters; L* is scaled to 0..1."""
    lab = image.filled(image.lab) / np.float32(100)
    rows, columns = (cv2.Sobel(lab, cv2.CV_32F, dx, dy, scale=1 / 8) for dx, dy in ((0, 1), (1, 0)))
    # By numpy, the sum over three channels would take most of the time.
    squares = [cv2.transform(part**2, np.ones((1, 3), np.float32)) for part in (columns, rows)]
    return np.asarray(np.sqrt(squares[0] + squares[1]), np.float32)
