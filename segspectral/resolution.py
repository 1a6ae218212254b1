"""Large images are segmented at a smaller size; the label maps return to the pixels of the original."""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.values import Image

__all__ = ["WORKING_PIXELS", "WorkingPixels", "downsampled", "joint_upsampling"]

WORKING_PIXELS = 500_000

WorkingPixels = Annotated[
    int, Field(ge=1000, description="larger images are worked on at this size; label maps come back to theirs")
]
"""A field of settings."""

COLOUR_WIDTH = 0.1
"""Distance in RGB, of range 0..1, that weighs as much as one cell of the small image."""


def downsampled(image: Image, pixels: int) -> Image:
    """The image with at most ``pixels`` pixels, by area averaging; itself if it is small enough.

    A cell is the mean of what is valid in it, and void where nothing is.
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
    """(H, W) label map of ``image`` from one of ``small`` (h, w): borders follow the colours of the large image.

    Void pixels, and they alone, get the label ``void``.

    Each pixel near a border takes the label of that of the nine cells around it which is nearest in position and
    colour: joint bilateral upsampling (Kopf et al. 2007) with the best vote in place of the mean, as labels ask for.
    """
    height, width = image.shape
    rows, cols = _cells(height, labels.shape[0]), _cells(width, labels.shape[1])
    border = np.zeros(labels.shape, np.uint8)
    border[:-1] |= labels[1:] != labels[:-1]
    border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    near_border = cv2.dilate(border, np.ones((3, 3), np.uint8))
    out = labels[np.ix_(rows, cols)]
    for band in np.array_split(np.arange(height), max(1, height * width // 4_000_000)):  # bounds the memory
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
    """(h, w) the pixels (H, W) of each cell, combined."""
    for axis, coarse in enumerate(shape):
        first = -(-np.arange(coarse) * values.shape[axis] // coarse)
        values = combine.reduceat(values, first, axis=axis)
    return values


def _cells(fine: int, coarse: int) -> NDArray[np.int64]:
    """Index of the coarse cell that each fine pixel lies in."""
    return np.arange(fine) * coarse // fine
