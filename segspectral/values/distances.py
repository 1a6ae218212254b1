"""Exact distances of pixels, the same at each call."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["distances"]


def distances(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) how far each pixel inside lies from the nearest one outside, in pixels; 0 outside.

    The last bits of OpenCV's distances depend on where an array lies in memory, and would tell places apart that are
    equally far. Squares are whole numbers, so rounding them makes distances exact, up to about a thousand pixels.
    Beyond that, 32 bits are too few.
    """
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.sqrt(np.rint(distance * distance))
