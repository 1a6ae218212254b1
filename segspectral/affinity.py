"""Features -> Affinity: a sparse kNN graph with a Gaussian kernel, weakened across object boundaries."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from pydantic import Field

from segspectral.settings import Settings
from segspectral.spectral.knn import FAINTEST, Bandwidth, Symmetrization, knn_affinity
from segspectral.values import Affinity, Features
from segspectral.values.regions import RegionGraph

__all__ = ["KnnAffinity"]

TOUCHING = 0.01
"""The least Gaussian factor of two superpixels that touch. In an image with a uniform background, the median distance
is tiny, and all superpixels of a textured object would be cut off from each other, each a cheap segment of its own."""


class KnnAffinity(Settings):
    """Each superpixel is connected to its k nearest neighbours in feature space and to the superpixels that it touches.

    If boundary probabilities are known, W_ij = exp(-|x_i - x_j|^2 / (2 s^2)) exp(-u_ij / contour), where u_ij in [0, 1]
    is the altitude at which i and j merge in the hierarchy. This is an intervening-contour term (Leung and Malik 1998)
    for pairs at any distance: every path from i to j crosses a border of about this strength or more. A closed boundary
    between two similar regions separates them; a boundary with a gap does not. Where i and j touch, the first factor is
    at least ``TOUCHING``.
    """

    name: Literal["knn"] = "knn"
    neighbors: int = Field(10, ge=1, le=1000, description="number of nearest neighbours of each superpixel")
    bandwidth: Bandwidth = Field(
        "median",
        description="width of the Gaussian: median (of all neighbour distances), self_tuning (per node), or a number",
    )
    scale: float = Field(0.6, gt=0, description="factor on the bandwidth; small factors allow segments of unequal size")
    symmetrize: Symmetrization = Field("max", description="how W_ij and W_ji are combined: mean or max")
    adjacency: bool = Field(True, description="also connect superpixels that touch")
    contour: float | None = Field(
        0.05,
        gt=0,
        description="level of the hierarchy at which affinity falls to 1/e; null: ignore boundary probabilities",
    )

    def __call__(self, features: Features, graph: RegionGraph) -> Affinity:
        affinity = knn_affinity(
            features.nodes,
            neighbors=self.neighbors,
            bandwidth=self.bandwidth,
            scale=self.scale,
            symmetrize=self.symmetrize,
            edges=graph.borders if self.adjacency else None,
        )
        if self.contour is None or graph.boundary is None:
            return affinity
        weights = sp.triu(affinity.weights).tocoo()
        pairs = np.stack(weights.coords, axis=1)
        level = graph.hierarchy.levels_between(pairs)
        alike = weights.data.astype(np.float64)
        if self.adjacency:
            n = len(graph)
            touching = np.isin(pairs @ (n, 1), graph.borders.astype(np.int64) @ (n, 1))
            alike[touching] = np.maximum(alike[touching], TOUCHING)
        half = sp.csr_array(
            (np.maximum(alike * np.exp(-level / self.contour), FAINTEST), weights.coords), shape=weights.shape
        )
        return Affinity(sp.csr_array((half + half.T).astype(np.float32)))
