"""Nearest neighbours, and the affinity of vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import GraphError, SettingsError
from segspectral.values import Affinity

__all__ = ["FAINTEST", "Bandwidth", "Neighbors", "Symmetrization", "knn_affinity", "nearest", "nearest_neighbors"]

FAINTEST = 1e-6
"""The smallest weight of a graph edge. Without it, edges that round to zero would be lost, and the graph could
fall apart."""

SEARCHED_BELOW = 2000
"""Up to this many rows, those that are nearest are searched here. For more, scikit-learn is faster, whose import takes
a second."""

AT_ONCE = 2**24
"""So many numbers at most, 128 MB, are compared at once."""

Bandwidth = Literal["self_tuning", "median"] | Annotated[float, Field(gt=0)]
"""The width of the Gaussian: a number in units of the features, the median distance, or a width per node."""

Symmetrization = Literal["mean", "max"]

Neighbors = Annotated[int, Field(ge=1, strict=True)]


def knn_affinity(
    X: NDArray[Any],
    *,
    neighbors: int = 10,
    bandwidth: Bandwidth = "self_tuning",
    scale: float = 1.0,
    symmetrize: Symmetrization = "max",
    edges: NDArray[np.integer[Any]] | None = None,
    groups: NDArray[np.integer[Any]] | None = None,
) -> Affinity:
    """A connected sparse affinity of vectors.

    W_ij = exp(-|x_i - x_j|^2 / (2 scale^2 s_i s_j)) if j is one of the k nearest neighbours of i, or if (i, j) is in
    ``edges``. With ``self_tuning``, s_i is the distance from i to its k-th neighbour (Zelnik-Manor and Perona 2004,
    eq. 2); with ``median``, it is the median of all neighbour distances; otherwise it is the given number. If the graph
    has several components, edges between their closest nodes connect them.

    Parameters
    ----------
    X : (N, D)
    neighbors : k, at most N - 1
    symmetrize : an edge that only one of its two nodes chose keeps its weight with ``max``, and half of it with
        ``mean``
    edges : (M, 2) further pairs of nodes
    groups : (N,) from 0; if there are several groups, the neighbours of a node are in other groups than its own

    Raises
    ------
    GraphError
        X is not (N, D), or not finite.
    SettingsError
        A parameter is not above 0.
    """
    numbers: dict[str, Any] = {"neighbors": neighbors, "scale": scale}
    if bandwidth not in ("self_tuning", "median"):
        numbers["bandwidth"] = bandwidth
    for name, number in numbers.items():
        if isinstance(number, str) or not 0 < number < np.inf:
            words = "self_tuning, median or " if name == "bandwidth" else ""
            raise SettingsError(f"{name} must be {words}a number above 0, not {number!r}")
    X = np.asarray(X, dtype=np.float64)
    if X.ndim != 2 or X.shape[0] == 0:
        raise GraphError(f"features must be (N, D), not {X.shape}")
    if not np.isfinite(X).all():
        raise GraphError("the features contain NaN or infinity")
    n = len(X)
    if n == 1:
        return Affinity(sp.csr_array((1, 1), dtype=np.float32))
    distance, neighbor = nearest_neighbors(X, min(neighbors, n - 1), groups)
    pairs = [np.stack([np.repeat(np.arange(n), neighbor.shape[1]), neighbor.ravel()], axis=1)]
    if edges is not None and len(edges):
        pairs += [np.asarray(edges), np.asarray(edges)[:, ::-1]]
    if (bridges := _bridges(X, np.concatenate(pairs))).size:
        pairs += [bridges, bridges[:, ::-1]]
    graph = _gaussian(X, np.unique(np.concatenate(pairs), axis=0), scale * _widths(distance, bandwidth))
    graph = graph.maximum(graph.T) if symmetrize == "max" else (graph + graph.T) / 2
    return Affinity(sp.csr_array(graph.astype(np.float32)))


def _widths(distance: NDArray[np.float64], bandwidth: Bandwidth) -> NDArray[np.float64]:
    """(N,) widths of the Gaussian, from the distances (N, k) to the nearest neighbours."""
    if bandwidth == "self_tuning":
        width = distance[:, -1]
        # A node with k duplicates would have the width 0. It gets the median width instead.
        return np.where(width > 0, width, np.median(width[width > 0]) if (width > 0).any() else 1.0)
    if bandwidth == "median":
        positive = distance[distance > 0]
        return np.full(len(distance), np.median(positive) if positive.size else 1.0)
    return np.full(len(distance), float(bandwidth))


def nearest_neighbors(
    X: NDArray[np.float64], k: int, groups: NDArray[np.integer[Any]] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ascending distances (N, k) and indices (N, k) of the k nearest other rows, or of those in other groups."""
    largest = 0 if groups is None or len(np.unique(groups)) == 1 else int(np.bincount(groups).max())
    distance, neighbor = nearest(X, min(k + largest, len(X) - 1))
    if groups is None or largest == 0:
        return distance, neighbor
    # At most ``largest - 1`` neighbours belong to the node's own group. They are moved behind the others.
    order = np.argsort(groups[neighbor] == groups[:, None], axis=1, kind="stable")[:, : min(k, len(X) - largest)]
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(neighbor, order, axis=1)


def nearest(
    rows: NDArray[np.float64], k: int, queries: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ascending distances (M, k) and indices (M, k) of the rows (N, D) that are nearest to queries (M, D).

    Without queries, they are the other rows that are nearest to each row. Of equally near rows, the first ones are
    taken if there are fewer than ``SEARCHED_BELOW``.
    """
    if len(rows) < SEARCHED_BELOW:
        return _searched(rows, k, queries)
    from sklearn.neighbors import NearestNeighbors

    # In more than about 15 dimensions, brute force is faster than a tree.
    algorithm = "brute" if rows.shape[1] > 15 else "auto"
    return NearestNeighbors(n_neighbors=k, algorithm=algorithm).fit(rows).kneighbors(queries)


def _searched(
    rows: NDArray[np.float64], k: int, queries: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``nearest`` by brute force.

    |x|^2 + |y|^2 - 2 x'y is fast, but rounded. It finds the candidates, whose distances are then computed exactly.
    """
    n, middle, points = len(rows), rows.mean(axis=0), rows if queries is None else queries
    near = rows - middle
    square = np.einsum("ij,ij->i", near, near)
    # Twice the largest rounding error, as a share of |x|^2 + |y|^2 (Higham 2002, section 3.1).
    rounding = 2 * (rows.shape[1] + 8) * np.finfo(np.float64).eps
    group = max(1, n // (8 * k))
    distance, neighbor = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
    step = max(1, AT_ONCE // rows.size)
    for start in range(0, len(points), step):
        some = points[start : start + step]
        here = np.arange(len(some))
        centred = some - middle
        own = np.einsum("ij,ij->i", centred, centred)
        rough = centred @ near.T
        rough *= -2
        rough += square
        rough += own[:, None]
        if queries is None:
            rough[here, start + here] = np.inf
        # k groups of rows have a row within the k-th smallest minimum of a group. It costs less than that of all rows.
        least = rough[:, : n - n % group].reshape(len(some), group, -1).min(axis=1)
        largest = np.partition(least, k - 1, axis=1)[:, k - 1] + rounding * (own + square.max())
        i, j = np.divmod(np.flatnonzero(rough <= largest[:, None]), n)
        apart = some[i] - rows[j]
        exact = np.einsum("ij,ij->i", apart, apart)
        chosen = np.lexsort((j, exact, i))[np.searchsorted(i, here)[:, None] + np.arange(k)]
        distance[start + here], neighbor[start + here] = np.sqrt(exact[chosen]), j[chosen]
    return distance, neighbor


def _gaussian(X: NDArray[np.float64], pairs: NDArray[np.int64], width: NDArray[np.float64]) -> sp.csr_array:
    i, j = pairs[pairs[:, 0] != pairs[:, 1]].T
    squared = ((X[i] - X[j]) ** 2).sum(axis=1)
    weights = np.exp(-squared / (2 * width[i] * width[j]))
    return sp.csr_array((np.maximum(weights, FAINTEST), (i, j)), shape=(len(X), len(X)))


def _bridges(X: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, 2) edges between the closest nodes of components, which make the graph connected."""
    n = len(X)
    graph = sp.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    bridges: list[tuple[int, int]] = []
    while True:
        count, component = sp.csgraph.connected_components(graph, directed=False)
        if count == 1:
            return np.array(bridges, dtype=np.int64).reshape(-1, 2)
        # Each round joins the smallest component to the nearest node outside it, so there are count - 1 rounds.
        small = component == np.bincount(component).argmin()
        distance, outside = nearest(X[~small], 1, X[small])
        closest = int(distance.argmin())
        i, j = int(np.flatnonzero(small)[closest]), int(np.flatnonzero(~small)[outside[closest, 0]])
        bridges.append((i, j))
        graph = graph + sp.csr_array(([1.0], ([i], [j])), shape=(n, n))
