"""Eigenvectors -> partitions: several discretisations, greedy improvement, and merging of clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from segspectral.spectral.kmeans import kmeans
from segspectral.values import Affinity
from segspectral.values.affinity import indicator

__all__ = [
    "WORTHWHILE_OF_VECTORS",
    "agglomerate",
    "greedy_moves",
    "merged",
    "most_eigenvectors",
    "partition",
    "soft_membership",
]

SEARCHED_BELOW = 10_000
"""Up to this many nodes, several discretisations compete and the one with the smallest normalized cut is used. Above
it, k-means alone decides. In large graphs, very different partitions have nearly the same normalized cut, so the best
of them is arbitrary. The partition of k-means changes little when the graph changes a little, for example when a raster
is read in tiles of another size."""

WORTHWHILE = 0.1
"""A merged partition is accepted only if its Ncut is at least this fraction lower. Smaller gains are usually an
artefact: the minimum cuts off a tiny, weakly attached group, or picks one of many nearly equal partitions at random."""

WORTHWHILE_OF_VECTORS = 0.03
"""The same in graphs of neighbours among vectors, which have no tiny groups of odd nodes. In such graphs of MNIST the
merged partitions that split no digit are 5 to 13 % lower, and those of Fashion-MNIST that are worse than k-means at
most 2 % lower."""

VECTORS_SEARCHED_BELOW = 200_000
"""As ``SEARCHED_BELOW``, in graphs of neighbours among vectors, which are not read in tiles."""

TINY = 1e-300
"""A divisor in place of a zero volume. The smallest normal number of float64 is about 2e-308."""

LEAST_GAIN = 1e-9
"""A move must lower the Ncut, which is at most K, by more than this. Smaller gains are rounding errors
that would keep nodes moving to and fro."""


def most_eigenvectors(k: int) -> int:
    """How many eigenvectors ``partition`` can use for k clusters: up to 2 k. The 16 bounds the time for large k."""
    return max(k + 2, min(2 * k, k + 16))


def partition(
    affinity: Affinity,
    embedding: NDArray[np.float64],
    k: int,
    *,
    n_init: int = 10,
    greedy: bool = True,
    vectors: bool = False,
    seed: int = 0,
) -> NDArray[np.int64]:
    """(N,) labels 0..k-1: the discretisation of eigenvectors (N, k or more) with the smallest normalized cut.

    At most the first ``most_eigenvectors(k)`` columns are used. There are fewer than k clusters only if the graph has
    fewer than k distinct nodes.

    Parameters
    ----------
    vectors : whether the graph is one of neighbours among vectors; see ``WORTHWHILE`` and ``SEARCHED_BELOW``
    """
    if k == 1:
        return np.zeros(len(affinity), dtype=np.int64)
    ends = []
    for handicap, labels in _discretised(affinity, embedding, k, n_init, vectors, seed):
        labels = _fill(affinity, labels, k)
        if greedy:  # Every start is improved: the best start does not always lead to the best end.
            labels = greedy_moves(affinity, labels, k)
        ends.append((-len(np.unique(labels)), handicap * affinity.ncut(labels), labels))
    best = min(ends, key=lambda end: end[:2])[2]
    return np.unique(best, return_inverse=True)[1].astype(np.int64)


def _discretised(
    affinity: Affinity, embedding: NDArray[np.float64], k: int, n_init: int, vectors: bool, seed: int
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield each discretisation, and the factor by which its Ncut is multiplied before it is compared."""
    first = embedding[:, :k]
    yield 1.0, kmeans(first, k, n_init=n_init, seed=seed).labels
    if len(affinity) > (VECTORS_SEARCHED_BELOW if vectors else SEARCHED_BELOW):
        return
    yield 1.0, _pivoted_qr(first * np.sqrt(affinity.degree)[:, None])
    for fine in sorted({min(m, embedding.shape[1]) for m in (k + 2, most_eigenvectors(k))} - {k}):
        # k-means on the first k eigenvectors favours clusters of equal size. More eigenvectors give more and smaller
        # clusters, and merging them allows unequal sizes. The degrees are the weights of k-means, because in loosely
        # connected graphs, nodes of low degree are outliers that would attract centres of their own.
        found = kmeans(embedding[:, :fine], fine, n_init=3, seed=seed, weight=affinity.degree).labels
        pieces = np.unique(found, return_inverse=True)[1]
        yield (
            1 / (1 - (WORTHWHILE_OF_VECTORS if vectors else WORTHWHILE)),
            merged(affinity, pieces, int(pieces.max()) + 1, k)[pieces],
        )


def _pivoted_qr(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pivoted QR (Damle, Minden and Ying 2019, algorithm 1): the vectors are rotated to the axes of K pivot nodes.

    scikit-learn has it as ``cluster_qr``, but in a private module.
    """
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
    """Repeatedly merge the two clusters with the largest linkage, until ``groups`` are left.

    Parameters
    ----------
    labels : (N,) in 0..clusters-1
    linkage : (M, M) sums of the affinity within and between M clusters -> (M, M) linkages, symmetric

    Returns
    -------
    (clusters,) the group 0..groups-1 of each cluster.
    """
    one_hot = indicator(labels, clusters)
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


def merged(affinity: Affinity, labels: NDArray[np.integer[Any]], clusters: int, k: int) -> NDArray[np.int64]:
    """(clusters,) the group 0..k-1 of each cluster, where the two whose union has the lowest Ncut are merged first."""
    return agglomerate(affinity, labels, clusters, k, _kept_by_merging)


def _kept_by_merging(between: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, M) the gain of K - Ncut = sum_c a_c / v_c when two clusters are merged; see ``greedy_moves``."""
    inside, volume = between.diagonal(), np.maximum(between.sum(axis=1), TINY)
    share = inside / volume
    united = (inside[:, None] + inside + 2 * between) / (volume[:, None] + volume)
    return united - share[:, None] - share


def _fill(affinity: Affinity, labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Give each empty cluster the node with the smallest share of its edge weight in its own cluster."""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    for empty in range(labels.max() + 1, k):
        size = np.bincount(labels)
        within = (affinity.weights @ indicator(labels))[np.arange(len(labels)), labels]
        share = within / np.maximum(affinity.degree, TINY)
        labels[np.where(size[labels] > 1, share, np.inf).argmin()] = empty
    return labels


def greedy_moves(affinity: Affinity, labels: NDArray[np.int64], k: int, *, rounds: int = 50) -> NDArray[np.int64]:
    """Move single nodes to other clusters as long as that lowers the normalized cut; no cluster becomes empty.

    With a_c the weight inside cluster c and v_c its volume, Ncut = K - sum_c a_c / v_c. A node i with degree d_i and
    weight t_ic into cluster c changes a_c by 2 t_ic and v_c by d_i, in the cluster it leaves and in the one it joins.
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
        """(len(nodes), K) decrease of the Ncut when a node moves to a cluster; -inf if it must not move there."""
        own, d, t = labels[nodes], degree[nodes], ties[nodes]
        old = inside / np.maximum(volume, TINY)
        joined = (inside + 2 * t) / np.maximum(volume + d[:, None], TINY) - old
        rest = np.where(volume[own] > d, volume[own] - d, np.inf)
        left = (inside[own] - 2 * t[np.arange(len(nodes)), own]) / rest - old[own]
        gain = joined + left[:, None]
        gain[np.arange(len(nodes)), own] = -np.inf
        gain[(size[own] == 1) | (d <= 0)] = -np.inf
        return gain

    everyone = np.arange(n)
    for _ in range(rounds):
        best = gains(everyone).max(axis=1)
        candidates = np.flatnonzero(best > LEAST_GAIN)
        if candidates.size == 0:
            break
        for node in candidates[np.argsort(-best[candidates], kind="stable")]:
            gain = gains(np.array([node]))[0]
            to = int(gain.argmax())
            if gain[to] <= LEAST_GAIN:
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
    """(N, K) membership of a hard partition: the mean of the label and of the node's share of edge weight per cluster.

    The share is the probability that a random walk goes to that cluster in one step (Meila and Shi 2001). The mean is
    one step of a lazy walk, which stays with probability 1/2, so the label remains the most likely cluster.
    """
    one_hot = np.zeros((len(labels), k))
    one_hot[np.arange(len(labels)), labels] = 1
    share = (affinity.weights @ one_hot) / np.maximum(affinity.degree, TINY)[:, None]
    share[affinity.degree <= 0] = one_hot[affinity.degree <= 0]
    # The 1e-6 breaks the tie of a node whose edges all lead to one other cluster.
    mixed = 0.5 * one_hot * (1 + 1e-6) + 0.5 * share
    return (mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float32)
