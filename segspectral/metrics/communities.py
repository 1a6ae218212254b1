"""Scores of communities that need only the graph and no known classes.

>>> import scipy.sparse as sp
>>> two_edges = Affinity(sp.csr_array([[0., 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]))
>>> modularity(two_edges, np.array([0, 0, 1, 1])), coverage(two_edges, np.array([0, 0, 1, 1]))
(0.5, 1.0)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.values import Affinity

__all__ = ["conductance", "coverage", "modularity"]


def modularity(affinity: Affinity, labels: NDArray[np.integer[Any]]) -> float:
    """Return the modularity sum_c (inside_c / 2m - (vol_c / 2m)^2) (Newman 2006); 0 for a graph without edges.

    Each graph edge counts twice, once from each end.
    """
    inside, volume = _inside_and_volume(affinity, labels)
    total = max(float(volume.sum()), 1e-300)
    return float((inside / total - (volume / total) ** 2).sum())


def coverage(affinity: Affinity, labels: NDArray[np.integer[Any]]) -> float:
    """Return the share of the edge weight that lies inside communities; 1 for a graph without edges."""
    inside, volume = _inside_and_volume(affinity, labels)
    return float(inside.sum() / volume.sum()) if volume.sum() > 0 else 1.0


def conductance(affinity: Affinity, labels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return cut_c / min(vol_c, 2m - vol_c) of each community (C,) that has nodes, in ascending order of the labels.

    The value is 0 if the community, or the rest of the graph, has no edges.
    """
    inside, volume = _inside_and_volume(affinity, labels)
    cut, side = np.maximum(volume - inside, 0), np.minimum(volume, volume.sum() - volume)
    return np.divide(cut, side, out=np.zeros_like(cut), where=side > 0)


def _inside_and_volume(
    affinity: Affinity, labels: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edge weight inside each community (C,), counted from both ends, and the volume (C,)."""
    _, community = np.unique(labels, return_inverse=True)
    volume = np.bincount(community, affinity.degree)
    weights = affinity.weights
    row = np.repeat(community, np.diff(weights.indptr))
    same = row == community[weights.indices]
    inside = np.bincount(row[same], weights.data[same].astype(np.float64), len(volume))
    return inside.astype(np.float64), volume.astype(np.float64)
