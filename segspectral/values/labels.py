"""Helpers for label maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["boundaries"]


def boundaries(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """(H, W) True where the label of a pixel differs from that of its right or lower neighbour.

    ``segspectral.metrics`` has other rules, those of the published measures.
    """
    border = np.zeros(labels.shape, dtype=bool)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return border
