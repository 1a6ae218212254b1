"""Eigenvectors of large graphs: solved on a small graph of merged nodes, carried back level by level."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

__all__ = ["coarsened", "improved", "normalized", "ritz", "smallest_by_levels"]

COARSEST = 1000
"""Nodes that a dense eigensolver takes in a fifth of a second."""

SPARE = 16
"""Vectors beyond those asked for: the filter parts the wanted ones from what comes after all of them, and a small part
that merging has hidden is found among them."""

DEGREE = 32
"""Products with the matrix between two Rayleigh-Ritz steps."""

ROUNDS = 50


def smallest_by_levels(
    weights: sp.csr_array, k: int, *, tolerance: float = 0.003
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The k smallest eigenpairs of I - D^-1/2 W D^-1/2 of a large connected graph, nearly.

    Nodes are merged in pairs until about 1000 are left (``coarsened``), the eigenvectors of that graph are spread over
    the nodes of the next finer one, and there a Chebyshev filter of the matrix and Rayleigh-Ritz bring them closer
    (Zhou, Saad, Tiago and Chelikowsky 2006, algorithm 4.3), once on each level, and on the last one until the sum of
    the values hardly falls any more (``improved``). Each is at least the eigenvalue of its rank.

    Lanczos builds its space from one vector, and with many eigenvalues near 0 needs thousands of products for it.

    Parameters
    ----------
    weights : (N, N) symmetric, no node without edges
    k : well below N

    Returns
    -------
    values : (k,) rising
    vectors : (N, k), orthonormal
    """
    block = k + SPARE
    graphs, groups = coarsened(weights.astype(np.float64), fewest=2 * block)
    matrix, root = normalized(graphs[-1])
    if len(root) <= 2 * COARSEST:
        values, vectors = scipy.linalg.eigh(np.eye(len(root)) - matrix.toarray(), subset_by_index=[0, block - 1])
    else:  # a star, or many: few nodes found a partner, and Lanczos has an easy spectrum
        random = np.random.default_rng(0)
        start, memory = random.uniform(0.5, 1.5, len(root)), min(4 * block, len(root) - 1)
        values, vectors = sp.linalg.eigsh(matrix, block, which="LA", v0=start, ncv=memory, rng=random)
        values, vectors = 1 - values[::-1], vectors[:, ::-1]
    # ``root`` holds the roots of the degrees: V' D V is the identity for the rw-vectors, which carry over as they are.
    for graph, group in zip(graphs[-2::-1], groups[::-1], strict=True):
        coarse = root
        matrix, root = normalized(graph)
        vectors = vectors[group] * (root / coarse[group])[:, None]
        rounds = ROUNDS if graph is graphs[0] else 1
        values, vectors = improved(matrix, vectors, 1 - values[-1], k, rounds=rounds, tolerance=tolerance)
    return np.maximum(values[:k], 0.0), vectors[:, :k]


def improved(
    matrix: sp.csr_array, vectors: NDArray[np.float64], upper: float, k: int, *, rounds: int, tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Subspace iteration with a Chebyshev filter: Ritz pairs of I - matrix, better than the vectors' own.

    Parameters
    ----------
    matrix : (N, N) symmetric, eigenvalues in [-1, 1]
    vectors : (N, M), linearly independent
    upper : the filter of the first round damps eigenvalues of ``matrix`` below it
    rounds : at most so many; it ends after two in which the sum of the first k values falls by less than ``tolerance``
        of itself. After one it may still wait for a vector that the start has hardly anything of

    Returns
    -------
    values : (M,) rising
    vectors : (N, M), orthonormal
    """
    products = matrix.astype(np.float32)
    last, calm = np.inf, 0
    for _ in range(rounds):
        rough = _filtered(products, vectors.astype(np.float32), upper)
        values, vectors = ritz(matrix, rough.astype(np.float64))
        total, upper = float(values[:k].sum()), 1 - float(values[-1])
        calm = calm + 1 if last - total <= tolerance * total else 0
        if calm == 2:
            break
        last = total
    return values, vectors


def coarsened(
    weights: sp.csr_array, *, coarsest: int = COARSEST, fewest: int = 2
) -> tuple[list[sp.csr_array], list[NDArray[np.int64]]]:
    """Ever smaller graphs, each of pairs of nodes of the one before, joined where W_ij / sqrt(d_i d_j) is largest.

    Heavy-edge matching by normalized weights (Dhillon, Guan and Kulis 2007, section 4.1).

    Parameters
    ----------
    coarsest : a graph of at most so many nodes is the last
    fewest : none has fewer

    Returns
    -------
    graphs : the given one first; W of the next is the sum of W over the nodes that each of its nodes stands for
    groups : of each graph but the last, (N,) which node of the next one each node is part of
    """
    graphs, groups = [weights], []
    while graphs[-1].shape[0] > coarsest:
        group = _matched(graphs[-1])
        size = int(group.max()) + 1
        if size < fewest or size > 0.95 * len(group):
            break
        one_hot = sp.csr_array((np.ones(len(group)), (np.arange(len(group)), group)), shape=(len(group), size))
        graphs.append(sp.csr_array(one_hot.T @ graphs[-1] @ one_hot))
        groups.append(group)
    return graphs, groups


def _matched(weights: sp.csr_array) -> NDArray[np.int64]:
    """(N,) from 0: the pair of each node; one left over joins the node that it is tied to most."""
    n = weights.shape[0]
    matrix = normalized(weights)[0]
    i, j = np.repeat(np.arange(n), np.diff(matrix.indptr)), matrix.indices.astype(np.int64)
    matrix.data[i == j] = 0.0  # what is within a node already
    # Edges from the heaviest to the lightest; of equally heavy ones a hash decides, or long rows would wait in turn.
    half = i < j
    i, j, weight = i[half], j[half], matrix.data[half]
    order = np.lexsort(((i * 2654435761 + j * 40503) % 2**32, -weight))
    i, j = i[order], j[order]
    pair = np.arange(n)
    free = np.ones(n, dtype=bool)
    for _ in range(4):
        # Both of an edge whose two nodes have no heavier one are a pair.
        first = np.full(n, len(i), dtype=np.int64)
        place = np.arange(len(i))
        np.minimum.at(first, i, place)
        np.minimum.at(first, j, place)
        chosen = (first[i] == place) & (first[j] == place)
        pair[j[chosen]] = i[chosen]
        free[i[chosen]] = free[j[chosen]] = False
        left = free[i] & free[j]
        i, j = i[left], j[left]
    alone = np.flatnonzero(free)
    if len(alone) < n and len(alone):
        nearest = np.asarray(matrix[alone].argmax(axis=1)).ravel()
        taken = ~free[nearest]  # chains of two that are left over stay as they are
        pair[alone[taken]] = pair[nearest[taken]]
    return np.unique(pair, return_inverse=True)[1].astype(np.int64)


def normalized(weights: sp.csr_array) -> tuple[sp.csr_array, NDArray[np.float64]]:
    """D^-1/2 W D^-1/2, and the roots of the degrees (N,)."""
    root = np.sqrt(np.asarray(weights.sum(axis=1)).ravel())
    matrix = sp.csr_array(weights, copy=True)
    matrix.data /= np.repeat(root, np.diff(matrix.indptr)) * root[matrix.indices]
    return matrix, root


def _filtered(matrix: sp.csr_array, vectors: NDArray[np.float32], upper: float) -> NDArray[np.float32]:
    """A Chebyshev polynomial of the matrix, which is below 1 on [-1, upper] and grows beyond, times the vectors.

    Scaled to 1 at 1, the largest eigenvalue, so that nothing overflows (Zhou et al. 2006, section 4.2).
    """
    upper = min(max(upper, -0.5), 1 - 1e-6)
    half, centre = np.float32((upper + 1) / 2), np.float32((upper - 1) / 2)
    first = scale = half / (1 - centre)
    before, now = vectors, (matrix @ vectors - centre * vectors) * (scale / half)
    for _ in range(DEGREE - 1):
        following = 1 / (2 / first - scale)
        before, now = now, (matrix @ now - centre * now) * (2 * following / half) - (scale * following) * before
        scale = following
    return now


def ritz(matrix: sp.csr_array, vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rayleigh-Ritz of I - matrix in the span of the vectors: values, rising, and orthonormal vectors."""
    basis = np.linalg.qr(vectors)[0]
    within = basis.T @ (matrix @ basis)
    value, turn = np.linalg.eigh((within + within.T) / 2)
    return 1 - value[::-1], basis @ turn[:, ::-1]
