"""The smallest eigenpairs of graph Laplacians, and spectral coordinates of nodes."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.spectral.multilevel import smallest_by_levels
from segspectral.spectral.signs import column_signs
from segspectral.values import Affinity

__all__ = ["EXACT_BELOW", "positions", "regularized_spectrum", "spectral_embedding"]

DENSE_BELOW = 200
"""Up to this many nodes, a dense ``eigh`` is as fast as any other method, and it never fails to converge."""

EXACT_BELOW = 5000
"""Up to this many nodes, eigenpairs are exact to machine precision. Above it they are approximate and take a fraction
of the time: 1 s instead of 4 s for 17 000 superpixels, 8 s instead of 54 s for 154 000. The eigenvalues are never too
small. They are often within a thousandth of the exact ones, but not always: on a graph of 12 568 superpixels without
CNN features, the sum of the first 8 was 3 % too large."""

FACTORS_BELOW, FACTORS_DEGREE, SHIFT = 3000, 50, 1e-3
"""Lanczos uses a sparse factorisation of I - M + SHIFT, with M = D^-1/2 W D^-1/2, for graphs of at most FACTORS_BELOW
nodes and FACTORS_DEGREE neighbours per node on average. For 1000 superpixels this takes 22 ms instead of 35 ms. If the
parts of the graph are nearly disconnected, it still takes 22 ms, where Lanczos on M takes 360 ms. SHIFT keeps the
matrix regular, because I - M is singular."""

SPARE = 4
"""How many eigenvectors ``positions`` returns beyond one per cluster."""


def spectral_embedding(
    affinity: Affinity, k: int, *, seed: int = 0, exact_below: int = EXACT_BELOW
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of the rw-Laplacian I - D^-1 W.

    Parameters
    ----------
    k : number of pairs; at most N are returned
    exact_below : larger components are solved approximately, by coarsening (``smallest_by_levels``). The results are
        Ritz pairs: V' D V = I and V' (D - W) V = diag(eigenvalues) still hold, and no value is smaller than the exact
        one. See ``EXACT_BELOW`` for the accuracy

    Returns
    -------
    vectors : (N, k) float64, V' D V = I; each column is zero outside one component of the graph, and its entry of
        largest magnitude is positive
    eigenvalues : (k,) float64, ascending

    Notes
    -----
    Each connected component is solved separately and the spectra are merged. Lanczos with a single start vector can
    miss copies of a repeated eigenvalue, and the eigenvalue 0 occurs once per component.
    """
    k = min(k, len(affinity))
    by_component = np.argsort(affinity.components, kind="stable")
    parts = np.split(by_component, np.cumsum(np.bincount(affinity.components))[:-1])
    vectors, values = [], []
    for nodes in parts:
        if len(nodes) == 1:
            value, vector = np.zeros(1), np.ones((1, 1))
        elif len(nodes) > max(exact_below, 8 * k):  # Coarse graphs must have many more nodes than k.
            value, vector = smallest_by_levels(affinity.weights[nodes][:, nodes], k)
        else:
            value, vector = _smallest(affinity.normalized[nodes][:, nodes], min(k, len(nodes)), seed)
        vectors.append(vector)
        values.append(value)
    value = np.concatenate(values)
    order = np.argsort(value, kind="stable")[:k]
    # Only the k vectors that are returned are extended to all nodes, because there may be as many components as nodes.
    part = np.repeat(np.arange(len(parts)), [len(each) for each in values])
    rank = np.concatenate([np.arange(len(each)) for each in values])
    vector = np.zeros((len(affinity), len(order)))
    for column, i in enumerate(order):
        vector[parts[part[i]], column] = vectors[part[i]][:, rank[i]]
    vector /= np.sqrt(np.where(affinity.degree > 0, affinity.degree, 1.0))[:, None]
    return vector * column_signs(vector), np.maximum(value[order], 0.0)


def _smallest(normalized: sp.csr_array, k: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of I - M for a connected component with the matrix M = ``normalized``."""
    n = normalized.shape[0]
    if n == 1:
        return np.zeros(1), np.ones((1, 1))
    if n <= DENSE_BELOW or k >= n // 2:
        value, vector = _dense(normalized, k)
    else:
        random = np.random.default_rng(seed)
        # A positive start vector cannot be orthogonal to the first eigenvector, which is positive, too. ARPACK
        # recommends at least 2 k + 1 Lanczos vectors (ncv); with fewer than 32 it converges slowly for small k.
        # A tolerance of 0 means machine precision. ARPACK draws random vectors when an invariant subspace is exhausted.
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
                # The largest eigenvalues of M are the smallest of I - M, and Lanczos converges to them fast.
                value, vector = sp.linalg.eigsh(normalized, which="LA", maxiter=500, **options)
            except sp.linalg.ArpackNoConvergence:
                # The parts of the graph are nearly disconnected, so the wanted eigenvalues are almost equal.
                value, vector = _dense(normalized, k) if n <= FACTORS_BELOW else by_factors()
    order = np.argsort(-value)
    return 1 - value[order], vector[:, order]


def _dense(normalized: sp.csr_array, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k largest eigenpairs of M, in ascending order."""
    n = normalized.shape[0]
    return scipy.linalg.eigh(normalized.toarray(), subset_by_index=[n - k, n - 1])


def regularized_spectrum(
    affinity: Affinity, k: int, *, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of I - (D + t)^-1/2 W (D + t)^-1/2, with the mean degree t (Qin and Rohe 2013, eq. 2).

    Real networks have small groups that are attached by one edge or none. Each of them adds an eigenvalue near 0 to the
    plain Laplacian, before those of the communities. The t raises the cost of cutting off groups with few edges.

    Returns
    -------
    vectors : (N, k) float64, orthonormal; the entry of largest magnitude in each column is positive
    eigenvalues : (k,) float64, ascending
    """
    n = len(affinity)
    k = min(k, n)
    scale = 1 / np.sqrt(affinity.degree + max(float(affinity.degree.mean()), 1e-300))
    weights = affinity.weights.astype(np.float64)
    weights.data *= np.repeat(scale, np.diff(weights.indptr)) * scale[weights.indices]
    if not weights.data.any():  # without edges, all vectors are eigenvectors, and ARPACK would refuse
        value, vector = np.zeros(k), np.eye(n, k)
    elif n <= DENSE_BELOW or k >= n // 2:
        value, vector = np.linalg.eigh(weights.toarray())
    else:
        random = np.random.default_rng(seed)
        # In large graphs, the tolerance of 1e-3 takes a twentieth of the time of machine precision.
        tolerance = 0.0 if n <= EXACT_BELOW else 1e-3
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
    return vector * column_signs(vector), 1 - value[order]


def positions(affinity: Affinity, k: int, *, seed: int = 0) -> NDArray[np.float64]:
    """(N, k + SPARE or N) the first regularized eigenvectors, of mean square one, as features of the nodes."""
    return regularized_spectrum(affinity, k + SPARE, seed=seed)[0] * np.sqrt(len(affinity))
