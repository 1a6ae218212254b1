"""The reference: normalized-cut eigenvectors, the best of several discretisations, greedy moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.affinity import Bandwidth, Neighbors, Symmetrization
from segspectral.heads.contract import Head
from segspectral.heads.multilevel import smallest_by_levels
from segspectral.types import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training import Progress

__all__ = [
    "Exact",
    "agglomerate",
    "greedy_moves",
    "membership_of",
    "most_eigenvectors",
    "partition",
    "spectral_embedding",
]

DENSE_BELOW = 200
"""Up to so many nodes a dense eigh is as fast as any, and always right."""

EXACT_BELOW = 5000
"""Up to so many nodes eigenvectors are exact to machine precision; above, eigenvalues to about a thousandth in a
fraction of the time: of 17 000 superpixels in 1 s against 4, of 154 000 in 8 s against 54."""

SEARCHED_BELOW = 10_000
"""Up to so many nodes the least normalized cut is sought among several discretisations. Among the very many partitions
of larger graphs quite different ones cost nearly the same, and which is the least is chance: the one of k-means stays
what it is when the graph changes a little, as rasters do with the size of their tiles."""

FACTORS_BELOW, FACTORS_DEGREE, SHIFT = 3000, 50, 1e-3
"""Up to so many nodes, of so many neighbours in the mean, Lanczos on the inverse of I - M + SHIFT takes half the time:
for 1000 superpixels 22 ms against 35, and no more where parts hardly hold together, against 360."""

WORTHWHILE = 0.1
"""Share by which the Ncut of merged clusters must be lower for them to be taken: the lowest cuts are off what is small
and hangs by little, and where many cost nearly the same they, too, are chance."""


class Exact(Head):
    """Spectral clustering by the normalized cut, as good as its discretisation can be made.

    minimise  Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                          (Shi and Malik 2000, eq. 2)

    by its relaxation, the K smallest eigenvectors of I - D^-1/2 W D^-1/2.

    Parameters
    ----------
    greedy : finish with moves of single nodes (``greedy_moves``)
    n_init : starts of the k-means among the discretisations
    exact_below : nodes up to which the eigenvectors are exact; of larger graphs see ``spectral_embedding``

    Differs from the paper
    ----------------------
    1. K-way from the start, not by recursive bisection.
    2. Four discretisations: k-means on the K rw-eigenvectors; pivoted QR (Damle, Minden and Ying 2019); and k-means
       weighted by the degrees (Dhillon, Guan and Kulis 2004) into K + 2 and into 2 K clusters, on as many
       eigenvectors, from which the two whose union has the least Ncut are merged until K are left. The one with the
       least Ncut is taken, of the latter two only where it is lower by a tenth. Above 10000 nodes k-means alone.
    3. Greedy single-node moves from there, until no move of one node lowers the Ncut (``greedy``).
    4. The membership of a node is its share of edge weight into each cluster, sharpened until its argmax is the label.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        greedy: bool = True,
        n_init: Annotated[int, Field(ge=1, le=100)] = 10,
        exact_below: Annotated[int, Field(ge=1)] = EXACT_BELOW,
        n_neighbors: Neighbors = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.greedy = greedy
        self.n_init = n_init
        self.exact_below = exact_below
        self.n_neighbors = n_neighbors
        self.bandwidth = bandwidth
        self.symmetrize = symmetrize
        self.random_state = random_state

    def _solve(
        self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None
    ) -> tuple[Membership, NDArray[np.float64]]:
        k, seed = self.n_clusters, self.random_state
        embedding, eigenvalues = spectral_embedding(
            affinity, most_eigenvectors(k), seed=seed, exact_below=self.exact_below
        )
        labels = partition(affinity, embedding, k, n_init=self.n_init, greedy=self.greedy, seed=seed)
        outcome = Outcome.SOLVED if labels.max() + 1 == k else Outcome.FEWER
        probabilities = membership_of(affinity, labels, k)
        return Membership(probabilities, embedding[:, :k], eigenvalues[: k + 1], outcome), np.empty(0)


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


def membership_of(affinity: Affinity, labels: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """(N, K) membership of a hard partition: half the label, half the node's share of edge weight into each cluster.

    The share is the probability that a random walk goes there in one step (Meila and Shi 2001); the lazy walk, which
    stays with probability 1/2, keeps the label as the argmax.
    """
    one_hot = np.eye(k)[labels]
    share = (affinity.weights @ one_hot) / np.maximum(affinity.degree, 1e-300)[:, None]
    share[affinity.degree <= 0] = one_hot[affinity.degree <= 0]
    mixed = 0.5 * one_hot * (1 + 1e-6) + 0.5 * share
    return (mixed / mixed.sum(axis=1, keepdims=True)).astype(np.float32)
