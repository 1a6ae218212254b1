"""Large images are worked on at a smaller size; label maps come back to the pixels of the original."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.types import Image, Superpixels

__all__ = ["WORKING_PIXELS", "WorkingPixels", "joint_upsampling", "lifted", "lowered", "reduced"]

WORKING_PIXELS = 500_000

WorkingPixels = Annotated[
    int, Field(ge=1000, description="larger images are worked on at this size; label maps come back to theirs")
]
"""A field of settings."""

COLOUR_WIDTH = 0.1
"""Distance in RGB, of range 0..1, that weighs as much as one cell of the small image."""


def reduced(image: Image, pixels: int) -> Image:
    """The image with at most ``pixels`` pixels, by area averaging; itself if it is small enough.

    Images with void pixels stay as they are: a cell that is partly void would mix with what lies under the mask.
    """
    height, width = image.shape
    if height * width <= pixels or image.mask is not None:
        return image
    factor = (pixels / (height * width)) ** 0.5
    size = max(1, int(width * factor)), max(1, int(height * factor))
    return Image(cv2.resize(image.uint8, size, interpolation=cv2.INTER_AREA), image.name)


def lifted(superpixels: Superpixels, shape: tuple[int, int]) -> Superpixels:
    """The same superpixels on a finer grid (H, W): each pixel belongs to the cell that it lies in."""
    rows, cols = (_cells(fine, coarse) for fine, coarse in zip(shape, superpixels.labels.shape, strict=True))
    return Superpixels(np.ascontiguousarray(superpixels.labels[np.ix_(rows, cols)]))


def lowered(superpixels: Superpixels, shape: tuple[int, int]) -> Superpixels:
    """``lifted`` undone: the superpixels of the coarser grid (h, w) that they were lifted from."""
    if superpixels.shape == shape:
        return superpixels
    rows, cols = (-(-np.arange(coarse) * fine // coarse) for fine, coarse in zip(superpixels.shape, shape, strict=True))
    return Superpixels(np.ascontiguousarray(superpixels.labels[np.ix_(rows, cols)]))


def joint_upsampling(labels: NDArray[np.int32], small: Image, image: Image) -> NDArray[np.int32]:
    """(H, W) label map of ``image`` from one of ``small`` (h, w): borders follow the colours of the large image.

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
                best[better] = cost[better]
                out[y[better], x[better]] = labels[r[better], c[better]]
    return out


def _cells(fine: int, coarse: int) -> NDArray[np.int64]:
    """Index of the coarse cell that each fine pixel lies in."""
    return np.arange(fine) * coarse // fine
