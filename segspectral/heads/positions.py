"""Where a node is in its graph, as a vector: features for graphs that have none or more than they know, and a start
for communities."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.heads.exact import DENSE_BELOW, EXACT_BELOW
from segspectral.heads.gcn import walk_matrix
from segspectral.types import Affinity

__all__ = ["averaged", "positions", "regularized_spectrum"]

SPARE = 4
"""Eigenvectors beyond one for each cluster that ``positions`` has."""


def regularized_spectrum(
    affinity: Affinity, k: int, *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of I - (D + t)^-1/2 W (D + t)^-1/2 with t the mean degree (Qin and Rohe 2013, eq. 2).

    Real networks come with small groups that hang on by an edge or none; each is an eigenvector of the plain Laplacian
    with an eigenvalue near 0, and the communities come after all of them. The t makes groups of few edges expensive.

    Returns
    -------
    vectors : (N, k) float64, orthonormal; the entry of largest size in each column is positive
    eigenvalues : (k,) float64, rising
    """
    n = len(affinity)
    k = min(k, n)
    scale = 1 / np.sqrt(affinity.degree + max(float(affinity.degree.mean()), 1e-300))
    weights = affinity.weights.astype(np.float64)
    weights.data *= np.repeat(scale, np.diff(weights.indptr)) * scale[weights.indices]
    if n <= DENSE_BELOW or k >= n // 2:
        value, vector = np.linalg.eigh(weights.toarray())
    else:
        random = np.random.default_rng(seed)
        tolerance = 0.0 if n <= EXACT_BELOW else 1e-3  # a twentieth of the time
        value, vector = sp.linalg.eigsh(
            weights,
            k,
            which="LA",
            tol=tolerance,
            v0=random.uniform(0.5, 1.5, n),
            ncv=min(n - 1, 2 * k + 20),
            rng=random,
        )
    order = np.argsort(-value, kind="stable")[:k]
    vector = vector[:, order]
    sign = np.sign(vector[np.abs(vector).argmax(axis=0), np.arange(k)])
    return vector * sign, 1 - value[order]


def positions(affinity: Affinity, k: int, *, seed: int = 0) -> NDArray[np.float64]:
    """(N, about k) regularized eigenvectors, those of large communities first, as features of the nodes."""
    return regularized_spectrum(affinity, k + SPARE, seed=seed)[0] * np.sqrt(len(affinity))


def averaged(X: NDArray[Any], affinity: Affinity, steps: int = 64) -> NDArray[np.float64]:
    """(N, D) the mean of the features (N, D) where a lazy random walk from each node is after ``steps`` steps.

    ((I + D^-1 W) / 2)^steps X (Wu et al. 2019, simplified graph convolutions, with a lazy walk). A network of the
    features themselves cannot part what they do not, though a contour in the graph does.
    """
    walk = walk_matrix(affinity.weights)
    rows = np.asarray(X, dtype=np.float64)
    for _ in range(steps):
        rows = (rows + walk @ rows) / 2
    return rows
