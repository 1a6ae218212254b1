"""The smallest eigenpairs of graph Laplacians, and spectral coordinates of nodes."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.spectral.multilevel import smallest_by_levels
from segspectral.values import Affinity

__all__ = ["EXACT_BELOW", "positions", "regularized_spectrum", "spectral_embedding"]

DENSE_BELOW = 200
"""Up to so many nodes a dense eigh is as fast as any, and always right."""

EXACT_BELOW = 5000
"""Up to so many nodes eigenvectors are exact to machine precision; above, eigenvalues to about a thousandth in a
fraction of the time: of 17 000 superpixels in 1 s against 4, of 154 000 in 8 s against 54."""

FACTORS_BELOW, FACTORS_DEGREE, SHIFT = 3000, 50, 1e-3
"""Up to so many nodes, of so many neighbours in the mean, Lanczos on the inverse of I - M + SHIFT takes half the time:
for 1000 superpixels 22 ms against 35, and no more where parts hardly hold together, against 360."""

SPARE = 4
"""Eigenvectors beyond one for each cluster that ``positions`` has."""


def spectral_embedding(
    affinity: Affinity, k: int, *, seed: int = 0, exact_below: int = EXACT_BELOW
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of the rw-Laplacian I - D^-1 W.

    Parameters
    ----------
    k : pairs asked for; at most N are returned
    exact_below : components of more nodes are solved over levels of merged nodes (``smallest_by_levels``), which gives
        Ritz pairs: V' D V = I and V' (D - W) V = diag(eigenvalues) still hold, and each value is at least that of its
        rank, by about a thousandth

    Returns
    -------
    vectors : (N, k) float64, V' D V = I (each component of the graph by its own degrees); the entry of largest size
        in each column is positive
    eigenvalues : (k,) float64, rising

    Notes
    -----
    Each connected component is solved by itself and the spectra are merged: Lanczos with a single start vector can
    miss copies of a repeated eigenvalue, and 0 is repeated once per component.
    """
    k = min(k, len(affinity))
    by_component = np.argsort(affinity.components, kind="stable")
    parts = np.split(by_component, np.cumsum(np.bincount(affinity.components))[:-1])
    vectors, values = [], []
    for nodes in parts:
        if len(nodes) == 1:
            value, vector = np.zeros(1), np.ones((1, 1))
        elif len(nodes) > max(exact_below, 8 * k):
            value, vector = smallest_by_levels(affinity.weights[nodes][:, nodes], k)
        else:
            value, vector = _smallest(affinity.normalized[nodes][:, nodes], min(k, len(nodes)), seed)
        vectors.append(vector)
        values.append(value)
    value = np.concatenate(values)
    order = np.argsort(value, kind="stable")[:k]
    # Only the vectors that are wanted get room for all nodes: components may be as many as nodes.
    part = np.repeat(np.arange(len(parts)), [len(each) for each in values])
    rank = np.concatenate([np.arange(len(each)) for each in values])
    vector = np.zeros((len(affinity), len(order)))
    for column, i in enumerate(order):
        vector[parts[part[i]], column] = vectors[part[i]][:, rank[i]]
    vector /= np.sqrt(np.where(affinity.degree > 0, affinity.degree, 1.0))[:, None]
    sign = np.sign(vector[np.abs(vector).argmax(axis=0), np.arange(len(order))])
    return vector * sign, np.maximum(value[order], 0.0)


def _smallest(normalized: sp.csr_array, k: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """k smallest eigenpairs of I - M, of a connected component."""
    n = normalized.shape[0]
    if n == 1:
        return np.zeros(1), np.ones((1, 1))
    if n <= DENSE_BELOW or k >= n // 2:
        value, vector = _dense(normalized, k)
    else:
        random = np.random.default_rng(seed)
        # A tolerance of 0 is machine precision; random vectors come in where an invariant subspace is exhausted.
        options = {"k": k, "tol": 0, "v0": random.uniform(0.5, 1.5, n), "ncv": min(n - 1, max(2 * k + 1, 32))}
        options["rng"] = random

        def by_factors() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            shifted = sp.csc_array((1 + SHIFT) * sp.eye_array(n) - normalized)
            value, vector = sp.linalg.eigsh(shifted, sigma=0, which="LM", **options)
            return 1 + SHIFT - value, vector

        if n <= FACTORS_BELOW and normalized.nnz <= FACTORS_DEGREE * n:
            value, vector = by_factors()
        else:
            try:
                # The largest of M are the smallest of I - M, and Lanczos finds that end fast.
                value, vector = sp.linalg.eigsh(normalized, which="LA", maxiter=500, **options)
            except sp.linalg.ArpackNoConvergence:
                # Parts that hardly hold together: the wanted eigenvalues are all but equal.
                value, vector = _dense(normalized, k) if n <= FACTORS_BELOW else by_factors()
    order = np.argsort(-value)
    return 1 - value[order], vector[:, order]


def _dense(normalized: sp.csr_array, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = normalized.shape[0]
    return scipy.linalg.eigh(normalized.toarray(), subset_by_index=[n - k, n - 1])


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
