"""Helpers for label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "boundaries", "pieces"]

LARGEST = 65_535
"""The largest number of a segment: files of labels have 16 bits at most."""


def boundaries(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """(H, W) True where the label of a pixel differs from that of its right or lower neighbour.

    ``segspectral.metrics`` has other rules, those of the published measures.
    """
    border = np.zeros(labels.shape, dtype=bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return border


def pieces(labels: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """(H, W) the connected pieces of 4-neighbours with equal labels, numbered from 0 row by row; below 0 is void, -1.

    >>> pieces(np.array([[7, 7, 2], [2, -5, 2]])).tolist()
    [[0, 0, 1], [2, -1, 1]]
    """
    import cv2

    height, width = labels.shape
    # Pixels are at even places of a finer grid; the places between them are set where neighbours are equal.
    joined = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    known = np.greater_equal(labels, 0, out=joined[::2, ::2].view(np.bool_))
    np.logical_and(labels[1:] == labels[:-1], known[1:], out=joined[1::2, ::2].view(np.bool_))
    np.logical_and(labels[:, 1:] == labels[:, :-1], known[:, 1:], out=joined[::2, 1::2].view(np.bool_))
    found = cv2.connectedComponents(joined, connectivity=4, ltype=cv2.CV_32S)[1]
    return found[::2, ::2].astype(np.int32) - np.int32(1)
