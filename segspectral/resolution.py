"""Large images are segmented at a smaller size; their label maps are upsampled to the original size."""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.values import Image
from segspectral.values.labels import boundaries

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
    if image.mask is None:
        return Image(cv2.resize(image.uint8, size, interpolation=cv2.INTER_AREA), image.name)
    share = cv2.resize(image.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    visible = np.where(image.mask[..., None], image.uint8, np.uint8(0)).astype(np.float32)
    colour = cv2.resize(visible, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-12)
    mask = _of_cells(np.logical_or, image.mask, size[::-1])
    return Image(np.clip(np.rint(colour), 0, 255).astype(np.uint8), image.name, mask=mask)


def joint_upsampling(labels: NDArray[np.int32], small: Image, image: Image, void: int = 0) -> NDArray[np.int32]:
    """(H, W) the label map of ``image`` from a label map (h, w) of ``small``; borders follow the colours of ``image``.

    Void pixels, and no others, get the label ``void``.

    Each pixel near a border takes the label of one of the nine cells around it: the one that is nearest in position and
    colour. This is joint bilateral upsampling (Kopf et al. 2007), but the mean is replaced by the best cell, because
    labels have no mean. opencv-contrib's joint bilateral filter has no mask for void pixels.
    """
    height, width = image.shape
    rows, cols = _cells(height, labels.shape[0]), _cells(width, labels.shape[1])
    near_border = cv2.dilate(boundaries(labels).astype(np.uint8), np.ones((3, 3), np.uint8))
    out = labels[np.ix_(rows, cols)]
    for band in np.array_split(np.arange(height), max(1, height * width // BAND_PIXELS)):
        y, x = np.nonzero(near_border[np.ix_(rows[band], cols)])
        y += band[0]
        colour = image.uint8[y, x].astype(np.float32) / np.float32(255)
        at = (y + 0.5) * (labels.shape[0] / height) - 0.5, (x + 0.5) * (labels.shape[1] / width) - 0.5
        best = np.full(len(y), np.inf, np.float32)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                r = np.clip(rows[y] + down, 0, labels.shape[0] - 1)
                c = np.clip(cols[x] + right, 0, labels.shape[1] - 1)
                cost = ((colour - small.float32[r, c]) ** 2).sum(axis=1) / COLOUR_WIDTH**2
                cost += ((at[0] - r) ** 2 + (at[1] - c) ** 2).astype(np.float32)
                better = cost < best
                if small.mask is not None:
                    better &= small.mask[r, c]
                best[better] = cost[better]
                out[y[better], x[better]] = labels[r[better], c[better]]
    return out if image.mask is None else np.where(image.mask, out, np.int32(void))


def _of_cells(combine: np.ufunc, values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """(h, w) the pixels (H, W) of each cell, combined by ``combine``."""
    for axis, coarse in enumerate(shape):
        first = -(-np.arange(coarse) * values.shape[axis] // coarse)
        values = combine.reduceat(values, first, axis=axis)
    return values


def _cells(fine: int, coarse: int) -> NDArray[np.int64]:
    """(fine,) the coarse cell that contains each fine pixel."""
    return np.arange(fine) * coarse // fine
