"""Rayleigh-Ritz: the best eigenpairs within the span of given vectors."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from segspectral.spectral.signs import column_signs
from segspectral.values import Affinity

__all__ = ["rayleigh_ritz"]


def rayleigh_ritz(
    raw: NDArray[np.float64], affinity: Affinity, k: int, *, tolerance: float = 1e-11
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The best k eigenpairs of the normalized Laplacian within the span of the columns of ``raw`` (N, M).

    Parameters
    ----------
    tolerance : directions are left out if their eigenvalue of the columns' Gram matrix is below this fraction of the
        largest one

    Returns
    -------
    rotation : (M, k), such that V = raw @ rotation has V' D V = I and V' (D - W) V = diag(values)
    values : (k,) Ritz values, ascending; none is smaller than the exact eigenvalue

    The result is None if the columns span fewer than k dimensions.
    """
    size = np.sqrt((affinity.degree[:, None] * raw**2).sum(axis=0))
    if not np.isfinite(size).all() or (size > 0).sum() < k:
        return None
    unit = raw / np.where(size > 0, size, 1.0)
    gram = unit.T @ (affinity.degree[:, None] * unit)
    value, vector = scipy.linalg.eigh(gram)
    kept = value > tolerance * value[-1]
    if kept.sum() < k:
        return None
    white = vector[:, kept] / np.sqrt(value[kept])
    laplacian = gram - unit.T @ (affinity.weights.astype(np.float64) @ unit)
    ritz, turn = scipy.linalg.eigh(white.T @ (laplacian + laplacian.T) @ white / 2)
    rotation = (white @ turn[:, :k]) / np.where(size > 0, size, 1.0)[:, None]
    vectors = raw @ rotation
    return rotation * column_signs(vectors), np.maximum(ritz[:k], 0.0)
