"""Small data with known answers, made here: nothing is downloaded."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.decomposition import PCA

from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity


def moons(seed: int, n: int = 2000, noise: float = 0.05) -> tuple[NDArray[Any], NDArray[Any]]:
    return make_moons(n, noise=noise, random_state=seed)


def circles(seed: int, n: int = 2000) -> tuple[NDArray[Any], NDArray[Any]]:
    return make_circles(n, noise=0.05, factor=0.5, random_state=seed)


@cache
def digits() -> dict[str, Any]:
    """The digits in 40 principal components, 80 % to train on, with the exact spectrum of their graph."""
    X, y = load_digits(return_X_y=True)
    X = PCA(40, random_state=0).fit_transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1437], order[1437:]
    affinity = knn_affinity(X[train])
    vectors, values = spectral_embedding(affinity, 11)
    return {
        "X": X[train], "y": y[train], "unseen": X[test], "unseen_y": y[test],
        "affinity": affinity, "vectors": vectors, "values": values,
    }  # fmt: skip


def accuracy(truth: NDArray[Any], labels: NDArray[Any]) -> float:
    """Best agreement over all ways to name the clusters."""
    count = np.zeros((max(truth.max(), labels.max()) + 1,) * 2)
    np.add.at(count, (truth, labels), 1)
    rows, cols = linear_sum_assignment(-count)
    return float(count[rows, cols].sum() / len(truth))


def subspace_distance(affinity: Affinity, A: NDArray[Any], B: NDArray[Any]) -> float:
    """Sum of squared sines between two K-dimensional spaces whose bases are orthonormal under the degrees."""
    return float(A.shape[1] - ((A.T * affinity.degree) @ B).__pow__(2).sum())


def squared_sines(A: NDArray[Any], B: NDArray[Any], weight: NDArray[Any] | float = 1.0) -> NDArray[Any]:
    """(K,) squared sines of the angles between each column of A (N, K) and that of B, under weights (N,)."""
    weight = np.broadcast_to(weight, len(A))[:, None]
    return np.asarray(
        1 - (weight * A * B).sum(axis=0) ** 2 / ((weight * A**2).sum(axis=0) * (weight * B**2).sum(axis=0))
    )


def ring(n: int) -> Affinity:
    return Affinity(sp.csr_array(np.roll(np.eye(n), 1, 1) + np.roll(np.eye(n), -1, 1)))


def grid(rows: int, cols: int) -> Affinity:
    def path(n: int) -> NDArray[Any]:
        return np.eye(n, k=1) + np.eye(n, k=-1)

    return Affinity(sp.csr_array(np.kron(path(rows), np.eye(cols)) + np.kron(np.eye(rows), path(cols))))


def block_model(sizes: tuple[int, ...], inside: float, across: float, seed: int) -> tuple[Affinity, NDArray[Any]]:
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    n = len(truth)
    upper = np.triu(rng.random((n, n)) < np.where(truth[:, None] == truth, inside, across), 1).astype(float)
    return Affinity(sp.csr_array(upper + upper.T)), truth
