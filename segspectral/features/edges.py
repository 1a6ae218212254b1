"""The pixel edge map: the probability that a person would draw an edge at each pixel.

The default backbone has a small decoder (about 50 000 weights, ``backbones.edge_decoder``) on its maps. Both were
trained on the human edges of BSDS500 train by ``tools/fit_network.py``, similarly to holistically-nested edge detection
(Xie and Tu 2015): every stride contributes through one linear map, so that only a few channels must be upsampled. The
decoder works at half the image's resolution.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from segspectral.values import Superpixels

__all__ = ["edges_along", "full_size", "half_lab"]

CLIP = 1e-3
"""Probabilities are clipped by this much before their log odds are taken. log(0.999 / 0.001) is 6.9, so the log odds
are between -7 and 7, and ``contours.ODDS_SHIFT`` makes them non-negative."""

LAB_SCALE, LAB_SHIFT = (50, 30, 30), (1, 0, 0)
"""CIELAB / LAB_SCALE - LAB_SHIFT: lightness, which is in 0..100, becomes -1..1. a* and b* become about -1..1 for most
colours of photographs."""


def half_lab(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, 3, ceil(H / 2), ceil(W / 2)) CIELAB, scaled to about -1..1, as means over two by two pixels."""
    height, width = rgb.shape[:2]
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    lab = cv2.copyMakeBorder(lab, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    half = cv2.resize(lab, (lab.shape[1] // 2, lab.shape[0] // 2), interpolation=cv2.INTER_AREA)
    channels = zip(cv2.split(half), LAB_SCALE, LAB_SHIFT, strict=True)
    return np.stack([channel / np.float32(scale) - np.float32(shift) for channel, scale, shift in channels])[None]


def full_size(half: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W) a map of half the size, interpolated to an image of ``shape`` (H, W)."""
    full = cv2.resize(half, (2 * half.shape[1], 2 * half.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(full[: shape[0], : shape[1]])


def edges_along(superpixels: Superpixels, probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 2) means along each border of the probability (H, W) of an edge, and of its log odds."""
    p = np.clip(probability, CLIP, 1 - CLIP)
    return superpixels.along_borders(np.stack([probability, np.log(p / (1 - p))], axis=-1)).astype(np.float32)
