"""Nearest neighbours, and the affinity of vectors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import GraphError, SettingsError
from segspectral.spectral.search import AT_ONCE, Search, nearest
from segspectral.values import Affinity

__all__ = ["FAINTEST", "Bandwidth", "Neighbors", "Symmetrization", "knn_affinity", "nearest_neighbors"]

FAINTEST = 1e-6
"""The smallest weight of a graph edge. Without it, edges that round to zero would be lost, and the graph could
fall apart."""

PAIRS = 2**27
"""At most this many pairs of nodes are compared to find the closest two of two components, within half a second."""

SOME = 2000
"""So many nodes of each of two components are compared where all pairs would be too many."""

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
    search = Search(X)
    distance, neighbor = nearest_neighbors(search, min(neighbors, n - 1), groups)
    pairs = [np.stack([np.repeat(np.arange(n), neighbor.shape[1]), neighbor.ravel()], axis=1)]
    if edges is not None and len(edges):
        pairs += [np.asarray(edges), np.asarray(edges)[:, ::-1]]
    if (bridges := _bridges(X, np.concatenate(pairs))).size:
        pairs += [bridges, bridges[:, ::-1]]
    # Each pair once, by its number in a matrix of N x N: tenfold faster than by rows.
    unique = np.unique(np.concatenate([i * n + j for i, j in (part.T.astype(np.int64) for part in pairs)]))
    graph = _gaussian(X, np.divmod(unique, n), scale * _widths(distance, bandwidth))
    graph = graph.maximum(graph.T) if symmetrize == "max" else (graph + graph.T) / 2
    return Affinity(sp.csr_array(graph.astype(np.float32)), recall=search.recall)


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
    search: Search, k: int, groups: NDArray[np.integer[Any]] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ascending distances (N, k) and indices (N, k) of the k nearest other rows, or of those in other groups."""
    largest = 0 if groups is None or len(np.unique(groups)) == 1 else int(np.bincount(groups).max())
    distance, neighbor = search.nearest(min(k + largest, len(search) - 1))
    if groups is None or largest == 0:
        return distance, neighbor
    # At most ``largest - 1`` neighbours belong to the node's own group. They are moved behind the others.
    order = np.argsort(groups[neighbor] == groups[:, None], axis=1, kind="stable")[:, : min(k, len(search) - largest)]
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(neighbor, order, axis=1)


def _gaussian(
    X: NDArray[np.float64], pairs: tuple[NDArray[np.int64], NDArray[np.int64]], width: NDArray[np.float64]
) -> sp.csr_array:
    other = pairs[0] != pairs[1]
    i, j = pairs[0][other], pairs[1][other]
    weights, step = np.empty(len(i)), max(1, AT_ONCE // X.shape[1])
    for part in (slice(start, start + step) for start in range(0, len(i), step)):
        squared = ((X[i[part]] - X[j[part]]) ** 2).sum(axis=1)
        weights[part] = np.exp(-squared / (2 * width[i[part]] * width[j[part]]))
    return sp.csr_array((np.maximum(weights, FAINTEST), (i, j)), shape=(len(X), len(X)))


def _bridges(X: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, 2) edges between the closest nodes of components, which make the graph connected."""
    n = len(X)
    graph = sp.csr_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    count, component = sp.csgraph.connected_components(graph, directed=False)
    bridges = []
    # Each round joins the smallest component to the nearest node outside it.
    for left in range(count, 1, -1):
        small = component == np.bincount(component, minlength=left).argmin()
        inside, outside = np.flatnonzero(small), np.flatnonzero(~small)
        i, j = _closest(X, inside, outside)
        bridges.append((i, j))
        # The components stay numbered in the order of their first nodes.
        first, last = sorted((component[i], component[j]))
        component[component == last] = first
        component[component > last] -= 1
    return np.array(bridges, dtype=np.int64).reshape(-1, 2)


def _closest(X: NDArray[np.float64], inside: NDArray[np.int64], outside: NDArray[np.int64]) -> tuple[int, int]:
    """The closest pair of a node inside and one outside.

    Where there are too many pairs to compare, the search begins at some nodes of both and goes from the best of them to
    the nearest on the other side, to and fro, until none is nearer.
    """
    if len(inside) * len(outside) <= PAIRS:
        return _nearest_pair(X, inside, outside)
    rng = np.random.default_rng(0)
    i, j = _nearest_pair(X, *(rng.choice(side, min(len(side), SOME), replace=False) for side in (inside, outside)))
    found = np.inf
    while (distance := float(((X[i] - X[j]) ** 2).sum())) < found:
        found = distance
        j = int(outside[((X[outside] - X[i]) ** 2).sum(axis=1).argmin()])
        i = int(inside[((X[inside] - X[j]) ** 2).sum(axis=1).argmin()])
    return i, j


def _nearest_pair(X: NDArray[np.float64], inside: NDArray[np.int64], outside: NDArray[np.int64]) -> tuple[int, int]:
    distance, place = nearest(X[outside], 1, X[inside], exact=True)
    closest = int(distance.argmin())
    return int(inside[closest]), int(outside[place[closest, 0]])
