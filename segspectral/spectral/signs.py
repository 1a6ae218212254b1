"""A rule for the sign of eigenvectors, which have none of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["column_signs"]


def column_signs(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """(K,) +1 or -1 for each column of (N, K): times this, the column's entry of largest magnitude is positive.

    scikit-learn's ``svd_flip`` has the same rule, but it always takes a pair of matrices and returns no signs.

    >>> column_signs(np.array([[1.0, 2.0], [-3.0, 0.0]])).tolist()
    [-1.0, 1.0]
    """
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
