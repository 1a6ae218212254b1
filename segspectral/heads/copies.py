"""Nodes that are copies of each other, and memberships that keep copies together (law 4 of all heads).

A head cannot tell copies apart, so a solver may put them into different clusters by chance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.values import Affinity, Membership, Outcome

__all__ = ["equal_rows", "one_each", "together", "twins"]


def equal_rows(X: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) a number from 0 for each distinct row of (N, D); equal rows have the same one.

    >>> equal_rows(np.array([[1.0, 2], [0, 2], [1, 2]])).tolist()
    [0, 1, 0]
    """
    # Sums of hashes are compared, not the rows themselves: linear in time, and wrong once in 2^64 pairs.
    hashes = np.zeros(len(X), dtype=np.uint64)
    for column, factor in zip(X.T, _factors(X.shape[1]), strict=True):
        hashes += _scrambled(column + 0.0) * factor  # -0.0 becomes 0.0
    return _numbered(hashes)


def twins(affinity: Affinity) -> NDArray[np.int64]:
    """(N,) a number from 0 for each distinct node of a graph; nodes with equal weights to all others have the same one.

    An edge between the two themselves does not matter: a copy of a node may be tied to its original or not.

    >>> path = sp.csr_array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> twins(Affinity(path)).tolist(), twins(Affinity(sp.csr_array(1.0 - np.eye(3)))).tolist()
    ([0, 1, 0], [0, 0, 0])
    """
    weights = affinity.weights
    n = len(affinity)
    factor = _factors(n)
    rows, columns = np.repeat(np.arange(n), np.diff(weights.indptr)), weights.indices
    weight = _scrambled(weights.data)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(weight * factor[columns], dtype=np.uint64)])
    row = total[weights.indptr[1:]] - total[weights.indptr[:-1]]
    # Of two nodes with an edge, the rows are compared without that edge.
    tied = row[rows] - weight * factor[columns] == row[columns] - weight * factor[rows]
    apart = _numbered(row)
    first = np.unique(apart, return_index=True)[1][apart]
    i, j = np.concatenate([rows[tied], np.arange(n)]), np.concatenate([columns[tied], first])
    return _by_first(sp.csgraph.connected_components(sp.csr_array((np.ones(len(i)), (i, j)), shape=(n, n)))[1])


def one_each(copies: NDArray[np.int64], clusters: int) -> Membership:
    """The membership in which each distinct node is a cluster, where there are no more of them than clusters.

    Parameters
    ----------
    copies : (N,) numbers 0..M-1 of the distinct nodes
    clusters : K >= M
    """
    outcome = Outcome.SOLVED if copies.max() + 1 == clusters else Outcome.FEWER
    probabilities = np.zeros((len(copies), clusters), dtype=np.float32)
    probabilities[np.arange(len(copies)), copies] = 1
    return Membership(probabilities, outcome=outcome)


def together(membership: Membership, copies: NDArray[np.int64]) -> Membership:
    """The membership in which copies that are in different clusters get the mean of their rows.

    A cluster that becomes empty gets the distinct node that belongs to it most, among those whose cluster has others.

    Parameters
    ----------
    copies : (N,) numbers 0..M-1 of the distinct nodes, of which there are more than clusters
    """
    P, labels = membership.probabilities.astype(np.float64), membership.labels
    distinct = int(copies.max()) + 1
    least, most = np.full(distinct, P.shape[1]), np.zeros(distinct, dtype=np.int64)
    np.minimum.at(least, copies, labels)
    np.maximum.at(most, copies, labels)
    changed = least != most
    if not changed.any():
        return membership
    groups = sp.csr_array((np.ones(len(copies)), (copies, np.arange(len(copies)))), shape=(distinct, len(copies)))
    mean = (groups @ P) / np.bincount(copies)[:, None]
    cluster = mean.argmax(axis=1)
    for empty in np.setdiff1d(labels, cluster):
        others = np.bincount(cluster)[cluster] > 1
        node = int(np.where(others, mean[:, empty], -1.0).argmax())
        mean[node] = 0.4 * mean[node] + 0.6 * (np.arange(P.shape[1]) == empty)
        cluster[node], changed[node] = empty, True
    probabilities = np.where(changed[copies][:, None], mean[copies].astype(np.float32), membership.probabilities)
    return replace(membership, probabilities=probabilities)


def _factors(count: int) -> NDArray[np.uint64]:
    """(count,) odd numbers of 64 bits, always the same."""
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64) | np.uint64(1)


def _scrambled(values: NDArray[Any]) -> NDArray[np.uint64]:
    """The bits of float64 values, mixed so that all 64 depend on all (the last steps of SplitMix64)."""
    bits = values.astype(np.float64).view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _numbered(values: NDArray[Any]) -> NDArray[np.int64]:
    """(N,) a number for each distinct value, from 0, in the order in which they first occur."""
    return _by_first(np.unique(values, return_inverse=True)[1])


def _by_first(numbers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The numbers 0..M-1 (N,) renumbered in the order in which they first occur."""
    first = np.unique(numbers, return_index=True)[1]
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[numbers]
