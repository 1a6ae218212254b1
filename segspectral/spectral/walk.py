"""Random walks on a graph, and the diffusion of features over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.values import Affinity

__all__ = ["diffused", "walk_matrix"]


def walk_matrix(weights: sp.csr_array, first: int = 0) -> sp.csr_array:
    """D^-1 W in float64. A walk stays at a node without edges, so that all rows sum to one.

    Parameters
    ----------
    weights : (M, N) some rows of a graph's weights
    first : the node that row 0 belongs to; the other rows follow it

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
    """(N, D) the mean of the features (N, D) over the nodes that a lazy random walk reaches after ``steps`` steps.

    This is ((I + D^-1 W) / 2)^steps X (simplified graph convolutions, Wu et al. 2019, with a lazy walk). A network that
    sees the features alone cannot separate two regions with equal features, even if the graph does; diffused features
    differ between them.
    """
    walk = walk_matrix(affinity.weights)
    rows = np.asarray(X, dtype=np.float64)
    for _ in range(steps):
        rows = (rows + walk @ rows) / 2
    return rows
