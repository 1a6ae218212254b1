"""A weighted undirected graph and its normalized cut."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import GraphError

__all__ = ["Affinity", "indicator"]


@dataclass(frozen=True, eq=False)
class Affinity:
    """A weighted undirected graph. Its normalized cut is the measure by which all heads are compared.

    Parameters
    ----------
    weights : (N, N) sparse, real numbers of any kind
        Symmetric, finite, non-negative, zero diagonal. They are stored as CSR of float32 or float64 with sorted indices
        and without explicit zeros. Weights have no unit: if the largest one is outside 2^-32..2^32, all are multiplied
        by the power of four that brings it near 1. Weights below 2^-300 of the largest are raised to that value.
    recall : the share of the true nearest neighbours that an approximate search for them found; 1 for exact graphs

    Raises
    ------
    GraphError
        The weights break one of these laws; the message says which one and where.
    """

    weights: sp.csr_array
    recall: float = 1.0

    def __post_init__(self) -> None:
        w = self.weights
        if not sp.issparse(w):
            raise GraphError(f"an affinity must be a scipy sparse array, not {type(w).__name__}")
        if w.ndim != 2 or w.shape[0] != w.shape[1] or w.shape[0] == 0:
            raise GraphError(f"an affinity must be square (N, N), not {w.shape}")
        if w.dtype.kind not in "biuf":
            raise GraphError(f"the weights of an affinity must be real numbers, not {w.dtype}")
        w = sp.csr_array(w, copy=True)
        if w.dtype not in (np.float32, np.float64):
            w = w.astype(np.float64 if w.dtype.itemsize > 8 else np.float32)
        w.sum_duplicates()
        w.eliminate_zeros()
        w.sort_indices()
        if not np.isfinite(w.data).all():
            raise GraphError("the affinity contains NaN or infinity")
        if w.nnz and w.data.min() < 0:
            i, j = (int(index[np.argmin(w.data)]) for index in w.nonzero())
            raise GraphError(f"weights must be non-negative; the weight of nodes {i} and {j} is {w.data.min():g}")
        if w.diagonal().any():
            raise GraphError(
                f"the diagonal must be zero; node {int(np.argmax(w.diagonal() > 0))} has an edge to itself"
            )
        w = _near_one(w)
        skew = abs(w - w.T)
        if skew.nnz and skew.max() > 1e-6 * float(w.max()):
            i, j = (int(index[0]) for index in (skew > 0.5 * skew.max()).nonzero())
            raise GraphError(f"an affinity must be symmetric; the weights of ({i}, {j}) and ({j}, {i}) differ")
        if w.nnz < 2**31 and w.indices.dtype != np.int32:
            # scikit-learn's solvers accept no other index type.
            w = sp.csr_array((w.data, w.indices.astype(np.int32), w.indptr.astype(np.int32)), shape=w.shape)
        object.__setattr__(self, "weights", w)

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    @cached_property
    def degree(self) -> NDArray[np.float64]:
        """(N,) the sum of the weights at each node."""
        return np.asarray(self.weights.sum(axis=1, dtype=np.float64)).ravel()

    @cached_property
    def components(self) -> NDArray[np.int32]:
        """(N,) the connected component of each node, numbered from 0."""
        return sp.csgraph.connected_components(self.weights, directed=False)[1]

    @cached_property
    def normalized(self) -> sp.csr_array:
        """D^-1/2 W D^-1/2 in float64; rows of isolated nodes are zero."""
        scale = np.zeros(len(self))
        np.divide(1.0, np.sqrt(self.degree), out=scale, where=self.degree > 0)
        scaled = self.weights.astype(np.float64)
        scaled.data *= np.repeat(scale, np.diff(scaled.indptr)) * scale[scaled.indices]
        return scaled

    def laplacian(self, kind: Literal["none", "sym", "rw"] = "sym") -> sp.csr_array:
        """D - W (``none``), I - D^-1/2 W D^-1/2 (``sym``) or I - D^-1 W (``rw``); von Luxburg 2007, section 3.

        The rows of isolated nodes are zero.
        """
        if kind not in ("none", "sym", "rw"):
            raise ValueError(f"kind must be 'none', 'sym' or 'rw', not {kind!r}")
        laplacian = sp.csgraph.laplacian(self.weights.astype(np.float64), normed=kind == "sym")
        if kind == "rw":
            laplacian = sp.diags_array(1 / np.where(self.degree > 0, self.degree, 1.0)) @ laplacian
        return sp.csr_array(laplacian)

    def ncut(self, labels: NDArray[np.integer[Any]]) -> float:
        """The normalized cut of a partition, summed over the clusters that occur (Shi and Malik 2000, eq. 2).

        Parameters
        ----------
        labels : (N,) integers

        Notes
        -----
        Compare only partitions with the same number of clusters: the minimum grows with that number.
        """
        _, cluster = np.unique(labels, return_inverse=True)
        one_hot = indicator(cluster)
        volume = one_hot.T @ self.degree
        inside = (one_hot.multiply(self.weights @ one_hot)).sum(axis=0)
        cut = np.maximum(volume - np.asarray(inside).ravel(), 0)
        return float(np.divide(cut, volume, out=np.zeros_like(cut), where=volume > 0).sum())


def indicator(labels: NDArray[np.integer[Any]], clusters: int | None = None) -> sp.csr_array:
    """(N, K) one where a node belongs to a cluster, from labels (N,) in 0..K-1; K is the largest label + 1 by default.

    >>> indicator(np.array([0, 2, 0])).toarray()
    array([[1., 0., 0.],
           [0., 0., 1.],
           [1., 0., 0.]])
    """
    shape = None if clusters is None else (len(labels), clusters)
    return sp.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=shape)


def _near_one(weights: sp.csr_array) -> sp.csr_array:
    """The weights scaled as ``Affinity`` says, so that their sums and products neither overflow nor underflow."""
    largest = float(weights.data.max(initial=0.0))
    exponent = int(np.frexp(largest)[1])
    if abs(exponent) > 32:
        weights = weights.astype(np.float64)
        # A power of four and its square root are both exact in floating point, so scaling loses no digits.
        weights.data = np.ldexp(weights.data, -2 * (exponent // 2))
        largest = float(weights.data.max())
    if weights.nnz and weights.data.min() < (faintest := largest * 2.0**-300):
        weights.data = np.maximum(weights.data, faintest)
    return weights
