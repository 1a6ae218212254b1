"""Eigenvectors -> partitions: several discretisations, greedy moves, merged clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.values import Affinity

__all__ = ["agglomerate", "greedy_moves", "most_eigenvectors", "partition", "soft_membership"]

SEARCHED_BELOW = 10_000
"""Up to so many nodes the least normalized cut is sought among several discretisations. Among the very many partitions
of larger graphs quite different ones cost nearly the same, and which is the least is chance: the one of k-means stays
what it is when the graph changes a little, as rasters do with the size of their tiles."""

WORTHWHILE = 0.1
"""Share by which the Ncut of merged clusters must be lower for them to be taken: the lowest cuts are off what is small
and hangs by little, and where many cost nearly the same they, too, are chance."""


def most_eigenvectors(k: int) -> int:
    """How many eigenvectors ``partition`` makes use of for k clusters."""
    return max(k + 2, min(2 * k, k + 16))


def partition(
    affinity: Affinity, embedding: NDArray[np.float64], k: int, *, n_init: int = 10, greedy: bool = True, seed: int = 0
) -> NDArray[np.int64]:
    """(N,) labels 0..k-1 of the discretisation of eigenvectors (N, k or more) that has the least normalized cut.

    Of more than ``most_eigenvectors(k)`` the first are used. Fewer than k clusters come back only when the graph has
    no k distinct nodes.
    """
    if k == 1:
        return np.zeros(len(affinity), dtype=np.int64)
    ends = []
    for handicap, labels in _discretised(affinity, embedding, k, n_init, seed):
        labels = _fill(affinity, labels, k)
        if greedy:  # the best start is not always the best end
            labels = greedy_moves(affinity, labels, k)
        ends.append((-len(np.unique(labels)), handicap * affinity.ncut(labels), labels))
    best = min(ends, key=lambda end: end[:2])[2]
    return np.unique(best, return_inverse=True)[1].astype(np.int64)


def _discretised(
    affinity: Affinity, embedding: NDArray[np.float64], k: int, n_init: int, seed: int
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Each discretisation with the factor by which its Ncut counts; see ``Exact``."""
    first = embedding[:, :k]
    yield 1.0, _kmeans(first, k, n_init, seed)
    if len(affinity) > SEARCHED_BELOW:
        return
    yield 1.0, _pivoted_qr(first * np.sqrt(affinity.degree)[:, None])
    for fine in sorted({min(m, embedding.shape[1]) for m in (k + 2, most_eigenvectors(k))} - {k}):
        # Normalized cuts of unequal parts lie beyond the first k eigenvectors, and k-means alone makes equal parts.
        # Where parts hardly hang together, nodes of low degree are outliers that would take centres without weights.
        pieces = np.unique(_kmeans(embedding[:, :fine], fine, 1, seed, affinity.degree), return_inverse=True)[1]
        yield 1 / (1 - WORTHWHILE), agglomerate(affinity, pieces, int(pieces.max()) + 1, k, _kept_by_merging)[pieces]


def _kmeans(
    rows: NDArray[np.float64], k: int, n_init: int, seed: int, weight: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if weight is not None and not weight.any():
        weight = None  # a graph without edges
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: _fill sees to it
        return KMeans(k, n_init=n_init, random_state=seed).fit(rows, sample_weight=weight).labels_.astype(np.int64)


def _pivoted_qr(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Damle, Minden and Ying 2019, algorithm 1: K pivots of U' as the clusters' axes, the polar factor as rotation."""
    k = vectors.shape[1]
    _, pivots = scipy.linalg.qr(vectors.T, mode="r", pivoting=True)
    left, _, right = np.linalg.svd(vectors[pivots[:k]].T)
    return np.abs(vectors @ (left @ right)).argmax(axis=1)


def agglomerate(
    affinity: Affinity,
    labels: NDArray[np.integer[Any]],
    clusters: int,
    groups: int,
    linkage: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """Merge clusters, each time the two of the largest linkage, until ``groups`` are left.

    Parameters
    ----------
    labels : (N,) in 0..clusters-1
    linkage : of (M, M) sums of the affinity within and between M clusters -> (M, M), symmetric

    Returns
    -------
    (clusters,) which of the groups 0.. each cluster belongs to.
    """
    one_hot = sp.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), clusters))
    between = (one_hot.T @ (affinity.weights.astype(np.float64) @ one_hot)).toarray()
    group = np.arange(clusters)
    for _ in range(clusters - groups):
        close = linkage(between)
        np.fill_diagonal(close, -np.inf)
        i, j = np.sort(np.unravel_index(close.argmax(), close.shape))
        between[i] += between[j]
        between[:, i] += between[:, j]
        between = np.delete(np.delete(between, j, axis=0), j, axis=1)
        group[group == j] = i
        group[group > j] -= 1
    return group


def _kept_by_merging(between: NDArray[np.float64]) -> NDArray[np.float64]:
    """What sum_c a_c / v_c, which is K - Ncut, gains by each union; see ``greedy_moves``."""
    inside, volume = between.diagonal(), np.maximum(between.sum(axis=1), 1e-300)
    share = inside / volume
    united = (inside[:, None] + inside + 2 * between) / (volume[:, None] + volume)
    return united - share[:, None] - share


def _fill(affinity: Affinity, labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Give each empty cluster the node that is least tied to its own cluster."""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    for empty in range(labels.max() + 1, k):
        size = np.bincount(labels)
        own = sp.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)))
        tied = (affinity.weights @ own)[np.arange(len(labels)), labels] / np.maximum(affinity.degree, 1e-300)
        labels[np.where(size[labels] > 1, tied, np.inf).argmin()] = empty
    return labels


def greedy_moves(affinity: Affinity, labels: NDArray[np.int64], k: int, *, rounds: int = 50) -> NDArray[np.int64]:
    """Move single nodes between clusters while that lowers the normalized cut; no cluster is emptied.

    With a_c the weight inside cluster c and v_c its volume, Ncut = K - sum_c a_c / v_c. A node i with degree d_i and
    weight t_ic into cluster c changes a by 2 t_ic and v by d_i, in the cluster it leaves and in the one it joins.
    """
    weights, degree = affinity.weights, affinity.degree
    n = len(labels)
    labels = labels.copy()
    ties = (weights @ np.eye(k)[labels]).astype(np.float64)
    inside = np.bincount(labels, ties[np.arange(n), labels], k)
    volume = np.bincount(labels, degree, k)
    size = np.bincount(labels, minlength=k)
    indptr, indices, data = weights.indptr, weights.indices, weights.data

    def gains(nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """(len(nodes), K) fall of the Ncut when a node moves to a cluster; -inf where it must not."""
        own, d, t = labels[nodes], degree[nodes], ties[nodes]
        old = inside / np.maximum(volume, 1e-300)
        joined = (inside + 2 * t) / np.maximum(volume + d[:, None], 1e-300) - old
        rest = np.where(volume[own] > d, volume[own] - d, np.inf)
        left = (inside[own] - 2 * t[np.arange(len(nodes)), own]) / rest - old[own]
        gain = joined + left[:, None]
        gain[np.arange(len(nodes)), own] = -np.inf
        gain[(size[own] == 1) | (d <= 0)] = -np.inf
        return gain

    everyone = np.arange(n)
    for _ in range(rounds):
        best = gains(everyone).max(axis=1)
        candidates = np.flatnonzero(best > 1e-9)
        if candidates.size == 0:
            break
        for node in candidates[np.argsort(-best[candidates], kind="stable")]:
            gain = gains(np.array([node]))[0]
            to = int(gain.argmax())
            if gain[to] <= 1e-9:
                continue
            own = labels[node]
            inside[own] -= 2 * ties[node, own]
            inside[to] += 2 * ties[node, to]
            volume[own] -= degree[node]
            volume[to] += degree[node]
            size[own] -= 1
            size[to] += 1
            near = slice(indptr[node], indptr[node + 1])
            ties[indices[near], own] -= data[near]
            ties[indices[near], to] += data[near]
            labels[node] = to
    return labels


def soft_membership(affinity: Affinity, labels: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """(N, K) membership of a hard partition: half the label, half the node's share of edge weight into each cluster.

    The share is the probability that a random walk goes there in one step (Meila and Shi 2001); the lazy walk, which
    stays with probability 1/2, keeps the label as the argmax.
    """
    one_hot = np.eye(k)[labels]
    share = (affinity.weights @ one_hot) / np.maximum(affinity.degree, 1e-300)[:, None]
    share[affinity.degree <= 0] = one_hot[affinity.degree <= 0]
    mixed = 0.5 * one_hot * (1 + 1e-6) + 0.5 * share
    return (mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float32)
