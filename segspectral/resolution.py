"""Large images are segmented at a smaller size; their label maps are upsampled to the original size."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.values import Bands, Image

__all__ = ["WORKING_PIXELS", "WorkingPixels", "downsampled", "joint_upsampling"]

WORKING_PIXELS = 500_000
"""Default of the working size. It bounds time and memory; photographs of test sets such as BSDS500 are smaller."""

WorkingPixels = Annotated[
    int,
    Field(
        ge=1000,
        description="images with more pixels are segmented at this size; their label maps are upsampled",
    ),
]
"""The type of the field ``working_pixels`` of settings."""

COLOUR_WIDTH = 0.1
"""A distance in RGB (each channel in 0..1) that counts as much as a distance of one cell of the small image."""

BAND_PIXELS = 4_000_000
"""``joint_upsampling`` works on bands of at most this many pixels. This bounds its memory."""


def downsampled(image: Image, pixels: int) -> Image:
    """The image with at most ``pixels`` pixels, by area averaging; the image itself if it is small enough.

    A cell gets the mean of its valid pixels; it is void if it has none.
    """
    height, width = image.shape
    if height * width <= pixels:
        return image
    factor = (pixels / (height * width)) ** 0.5
    size = max(1, int(width * factor)), max(1, int(height * factor))
    bands = None if image.bands is None else _bands_of_cells(image.bands, image.mask, size)
    # The mean would weaken thin edges.
    edges = None if image.edges is None else _of_cells(np.maximum, image.edges, size[::-1])
    if image.mask is None:
        small = cv2.resize(image.uint8, size, interpolation=cv2.INTER_AREA)
        return Image(small, image.name, bands=bands, edges=edges)
    share = cv2.resize(image.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    visible = np.where(image.mask[..., None], image.uint8, np.uint8(0)).astype(np.float32)
    colour = cv2.resize(visible, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-12)
    mask = _of_cells(np.logical_or, image.mask, size[::-1])
    return Image(np.clip(np.rint(colour), 0, 255).astype(np.uint8), image.name, mask=mask, bands=bands, edges=edges)


def _bands_of_cells(bands: Bands, mask: NDArray[np.bool_] | None, size: tuple[int, int]) -> Bands:
    """The mean of the measurements in each cell; NaN where there is none. Indices are those of the means."""
    planes = []
    for number in range(bands.values.shape[2]):
        plane = bands.plane(number + 1)
        known = np.isfinite(plane) if mask is None else np.isfinite(plane) & mask
        mean = cv2.resize(np.where(known, plane, plane.dtype.type(0)), size, interpolation=cv2.INTER_AREA)
        if not known.all():
            share = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            mean = np.where(share > 0, mean / np.maximum(share, np.float32(1e-12)), np.nan)
        planes.append(mean)
    return replace(bands, values=np.stack(planes, axis=-1), nodata=None)


def joint_upsampling(labels: NDArray[np.int32], small: Image, image: Image, void: int = 0) -> NDArray[np.int32]:
    """(H, W) the label map of ``image`` from a label map (h, w) of ``small``; borders follow the colours of ``image``.

    Void pixels, and no others, get the label ``void``.

    Each pixel near a border takes the label of one of the nine cells around it: the one that is nearest in position and
    colour. This is joint bilateral upsampling (Kopf et al. 2007), but the mean is replaced by the best cell, because
    labels have no mean. opencv-contrib's joint bilateral filter has no mask for void pixels.
    """
    height, width = image.shape
    rows, cols = _cells(height, labels.shape[0]), _cells(width, labels.shape[1])
    # Where all nine cells have one label, there is nothing to choose.
    square = np.ones((3, 3), np.uint8)
    exact = labels.astype(np.float32)
    wide = (cv2.dilate(exact, square) != cv2.erode(exact, square))[:, cols]
    out = labels[:, cols][rows]
    for band in np.array_split(np.arange(height), max(1, height * width // BAND_PIXELS)):
        y, x = np.divmod(np.flatnonzero(wide[rows[band]]), width)
        y += band[0]
        out[y, x] = _best_label(labels, small, image, (y, x), (rows[y], cols[x]))
    return out if image.mask is None else np.where(image.mask, out, np.int32(void))


def _best_label(
    labels: NDArray[np.int32],
    small: Image,
    image: Image,
    pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.int32]:
    """(P,) the label of the nearest of the nine cells around each pixel, in position and colour.

    Parameters
    ----------
    pixels : the rows and the columns (P,) of the pixels
    cells : the rows and the columns (P,) of the cells that contain them
    """
    height, width = labels.shape
    colour = image.uint8[pixels].astype(np.float32) / np.float32(255)
    at = [
        ((place + 0.5) * (coarse / fine) - 0.5).astype(np.float32)
        for place, coarse, fine in zip(pixels, labels.shape, image.shape, strict=True)
    ]
    colours, known = small.float32.reshape(-1, 3), None if small.mask is None else small.mask.reshape(-1)
    chosen = cells[0] * width + cells[1]
    least = np.full(len(chosen), np.inf, np.float32)
    for down in (-1, 0, 1):
        row = np.clip(cells[0] + down, 0, height - 1)
        above = (at[0] - row.astype(np.float32)) ** 2
        for right in (-1, 0, 1):
            column = np.clip(cells[1] + right, 0, width - 1)
            cell = row * width + column
            difference = np.take(colours, cell, axis=0)
            difference -= colour
            cost = np.einsum("ij,ij->i", difference, difference)
            cost *= np.float32(1 / COLOUR_WIDTH**2)
            cost += above
            cost += (at[1] - column.astype(np.float32)) ** 2
            better = cost < least
            if known is not None:
                better &= known[cell]
            np.copyto(least, cost, where=better)
            np.copyto(chosen, cell, where=better)
    return labels.reshape(-1)[chosen]


def _of_cells(combine: np.ufunc, values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """(h, w) the pixels (H, W) of each cell, combined by ``combine``."""
    for axis, coarse in enumerate(shape):
        first = -(-np.arange(coarse) * values.shape[axis] // coarse)
        values = combine.reduceat(values, first, axis=axis)
    return values


def _cells(fine: int, coarse: int) -> NDArray[np.int64]:
    """(fine,) the coarse cell that contains each fine pixel."""
    return np.arange(fine) * coarse // fine
