"""The choice of the number of communities by the eigengap, the modularity and the silhouette."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segspectral.heads.readout import unit_rows
from segspectral.metrics.communities import modularity
from segspectral.spectral.eigen import regularized_spectrum
from segspectral.spectral.kmeans import kmeans
from segspectral.values import Affinity

__all__ = ["Choice", "choose_number"]

SAMPLE = 2000
"""The silhouette is computed on a sample of 2000 nodes, because it needs all distances (32 MB of float64)."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The criteria at each number of communities; larger values are better.

    Parameters
    ----------
    numbers : (C,) 2, 3, ...
    eigengap : (C,) lambda_{k+1} - lambda_k of the regularized Laplacian
    modularity : (C,) modularity of spectral communities
    silhouette : (C,) silhouette of the same communities, on the rows that k-means clusters
    number : the number with the largest mean of the three criteria, each scaled to [0, 1] over the numbers
    """

    numbers: NDArray[np.int64]
    eigengap: NDArray[np.float64]
    modularity: NDArray[np.float64]
    silhouette: NDArray[np.float64]
    number: int

    def curves(self) -> dict[str, NDArray[np.float64]]:
        return {"eigengap": self.eigengap, "modularity": self.modularity, "silhouette": self.silhouette}


def choose_number(affinity: Affinity, most: int = 20, *, seed: int = 0) -> Choice:
    """Try 2 to ``most`` communities, but fewer than nodes, by k-means on regularized eigenvectors."""
    from sklearn.metrics import silhouette_score

    most = max(min(most, len(affinity) - 1), 2)
    vectors, values = regularized_spectrum(affinity, most + 1, seed=seed)
    values = np.append(values, [1.0] * (most + 1 - len(values)))
    some = np.random.default_rng(seed).permutation(len(affinity))[:SAMPLE]
    numbers, q, s = np.arange(2, most + 1), [], []
    for k in numbers:
        rows = unit_rows(vectors[:, :k])
        labels = kmeans(rows, int(k), n_init=5, seed=seed).labels
        q.append(modularity(affinity, labels))
        used = len(np.unique(labels[some]))
        s.append(float(silhouette_score(rows[some], labels[some])) if 2 <= used < len(some) else -1.0)
    gap, quality, silhouette = np.diff(values)[1:most], np.array(q), np.array(s)
    best = int((_unit(gap) + _unit(quality) + _unit(silhouette)).argmax())
    return Choice(numbers, gap, quality, silhouette, int(numbers[best]))


def _unit(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = float(np.ptp(curve))
    return (curve - curve.min()) / spread if spread > 0 else np.zeros_like(curve)
