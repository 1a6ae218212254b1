"""Random walks on a graph: one step, and features that diffuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.values import Affinity

__all__ = ["diffused", "walk_matrix"]


def walk_matrix(weights: sp.csr_array, first: int = 0) -> sp.csr_array:
    """D^-1 W in float64; a node without edges stays where it is, so that all rows sum to one.

    Parameters
    ----------
    weights : (M, N) rows of a graph
    first : the number of the node of row 0

    >>> walk_matrix(sp.csr_array([[0, 3, 1], [0, 0, 0]])).toarray()
    array([[0.  , 0.75, 0.25],
           [0.  , 1.  , 0.  ]])
    """
    degree = np.asarray(weights.sum(axis=1, dtype=np.float64)).ravel()
    alone = np.flatnonzero(degree <= 0)
    walk = sp.csr_array(weights, dtype=np.float64, copy=True)
    walk.data /= np.repeat(np.where(degree > 0, degree, 1.0), np.diff(walk.indptr))
    if len(alone):
        walk = walk + sp.csr_array((np.ones(len(alone)), (alone, first + alone)), shape=walk.shape)
    return sp.csr_array(walk)


def diffused(X: NDArray[Any], affinity: Affinity, steps: int = 64) -> NDArray[np.float64]:
    """(N, D) the mean of the features (N, D) where a lazy random walk from each node is after ``steps`` steps.

    ((I + D^-1 W) / 2)^steps X (Wu et al. 2019, simplified graph convolutions, with a lazy walk). A network of the
    features themselves cannot part what they do not, though a contour in the graph does.
    """
    walk = walk_matrix(affinity.weights)
    rows = np.asarray(X, dtype=np.float64)
    for _ in range(steps):
        rows = (rows + walk @ rows) / 2
    return rows
