"""Features -> Affinity: a sparse kNN graph with a Gaussian kernel, held back by contours."""

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


class KnnAffinity(Settings):
    """k nearest neighbours in feature space united with the superpixels that touch.

    Where the features know of contours, W_ij = exp(-|x_i - x_j|^2 / (2 s^2)) exp(-u_ij / contour), with u_ij in [0, 1]
    the level of the hierarchy at which i and j become one region. It is an intervening-contour term (Leung and Malik
    1998) for pairs at any distance: u_ij is the weakest of the strongest contours on all paths from i to j, so that one
    closed contour between two alike regions parts them, and a gap in it does not.
    """

    name: Literal["knn"] = "knn"
    neighbors: int = Field(10, ge=1, le=1000, description="nearest neighbours of each superpixel")
    bandwidth: Bandwidth = Field(
        "median", description="of the Gaussian: self_tuning (per node), median (of all), or a number"
    )
    scale: float = Field(0.6, gt=0, description="factor on the bandwidth: small ones let regions be of unequal size")
    symmetrize: Symmetrization = Field("max", description="how W_ij and W_ji become one: mean or max")
    adjacency: bool = Field(True, description="also connect superpixels that touch")
    contour: float | None = Field(
        0.05, gt=0, description="level of the hierarchy across which affinity falls to 1/e; null: contours do not count"
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
        half = sp.csr_array(
            (np.maximum(weights.data * np.exp(-level / self.contour), FAINTEST), weights.coords), shape=weights.shape
        )
        return Affinity(sp.csr_array((half + half.T).astype(np.float32)))
