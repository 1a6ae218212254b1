"""Random walks that end at seeds."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

__all__ = ["FAINTEST_WALK", "first_seed"]

FAINTEST_WALK = 1e-12
"""Weights below this share of the largest are raised to it. Otherwise a region behind certain boundaries would make the
equations singular in floating point."""


def first_seed(weights: sp.csr_array, seeds: NDArray[np.integer], labels: int) -> NDArray[np.float64]:
    """(N, L) the probability that a random walk from each node meets a seed of each label first.

    This is the Dirichlet problem on the graph (Grady 2006, eq. 8): the Laplacian of the nodes without a seed is
    factorised once, and solved exactly for all labels.

    Parameters
    ----------
    weights : (N, N) symmetric and non-negative
    seeds : (N,) the label 1..L of each node with a seed, 0 elsewhere
    labels : L

    Returns
    -------
    Rows sum to one; those of nodes that no walk leads from to a seed are zero.
    """
    out = np.zeros((len(seeds), labels))
    known = seeds > 0
    out[np.flatnonzero(known), seeds[known] - 1] = 1
    component = sp.csgraph.connected_components(weights, directed=False)[1]
    free = np.flatnonzero(~known & np.isin(component, component[known]))
    if not len(free):
        return out
    weights = sp.csr_array(weights, dtype=np.float64)
    weights.data = np.maximum(weights.data, FAINTEST_WALK * weights.data.max())
    laplacian = sp.csc_array(sp.csgraph.laplacian(weights))
    fixed = np.flatnonzero(known)
    rows = laplacian[free]
    solver = sp.linalg.splu(
        sp.csc_array(rows[:, free]), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    found = np.clip(solver.solve(-(rows[:, fixed] @ out[fixed])), 0, 1)
    out[free] = found / found.sum(axis=1, keepdims=True)
    return out
