"""k-means: laws of its result, and comparisons with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from segspectral.spectral import kmeans as module
from segspectral.spectral.kmeans import Clusters, kmeans


def blobs(seed: int, spread: float = 1.0, n: int = 400, k: int = 6) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return make_blobs(n, 4, centers=k, cluster_std=spread, random_state=seed)


def objective(X: NDArray[np.float64], found: Clusters, weight: NDArray[np.float64] | None = None) -> float:
    squared = ((X[:, None] - found.centres[None]) ** 2).sum(axis=2)
    assert np.array_equal(squared.argmin(axis=1), found.labels), "a label is not the nearest centre"
    return float(np.average(squared.min(axis=1), weights=weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_centres_are_the_means_of_their_points(seed: int, weighted: bool) -> None:
    X, _ = blobs(seed, spread=4.0)
    weight = np.random.default_rng(seed).uniform(0.1, 5, len(X)) if weighted else None
    found = kmeans(X, 6, seed=seed, weight=weight)
    objective(X, found, weight)
    for c in range(6):
        inside = found.labels == c
        mean = np.average(X[inside], axis=0, weights=None if weight is None else weight[inside])
        # The last move of all centres is at most a hundredth of a standard deviation.
        assert np.linalg.norm(mean - found.centres[c]) <= 0.011 * np.sqrt(X.var(axis=0).mean())


def test_clear_groups_are_found() -> None:
    for seed in range(10):
        X, truth = blobs(seed, spread=0.2)
        assert adjusted_rand_score(truth, kmeans(X, 6, seed=seed).labels) == 1


@pytest.mark.parametrize(("n_init", "limit"), [(10, 1.002), (1, 1.05)])
def test_it_is_as_good_as_that_of_scikit_learn(n_init: int, limit: float) -> None:
    """Of groups that overlap neither finds the best partition always."""
    ours, theirs = [], []
    for seed in range(30):
        X, _ = blobs(seed, spread=3.0, k=12)
        ours.append(objective(X, kmeans(X, 12, n_init=n_init, seed=seed)))
        theirs.append(KMeans(12, n_init=n_init, random_state=seed).fit(X).inertia_ / len(X))
    assert np.mean(np.array(ours) / theirs) < limit


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_it_is_the_same_by_scikit_learn(spread: float, weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10):
        X, _ = blobs(seed, spread)
        weight = np.random.default_rng(seed).uniform(0.1, 5, len(X)) if weighted else None
        monkeypatch.setattr(module, "TOGETHER", 4_000_000)
        ours = kmeans(X, 7, n_init=3, seed=seed, weight=weight)
        monkeypatch.setattr(module, "TOGETHER", 0)
        theirs = kmeans(X, 7, n_init=3, seed=seed, weight=weight)
        assert np.array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.centres, theirs.centres, rtol=0, atol=1e-9)


def test_a_weight_of_n_counts_as_n_copies() -> None:
    X, truth = blobs(1, spread=0.2)
    copies = np.random.default_rng(0).integers(1, 4, len(X))
    weighted = kmeans(X, 6, seed=0, weight=copies)
    copied = kmeans(np.repeat(X, copies, axis=0), 6, seed=0)
    assert adjusted_rand_score(truth, weighted.labels) == 1
    order = np.argsort(weighted.centres[:, 0]), np.argsort(copied.centres[:, 0])
    np.testing.assert_allclose(weighted.centres[order[0]], copied.centres[order[1]], atol=1e-9)


def test_points_without_weight_do_not_matter() -> None:
    X, _ = blobs(1, spread=0.2)
    far = np.concatenate([X, [[1e6, 0, 0, 0]]])
    weight = np.append(np.ones(len(X)), 0.0)
    assert np.abs(kmeans(far, 6, seed=0, weight=weight).centres).max() < 100
    nothing = kmeans(X, 6, seed=0, weight=np.zeros(len(X)))
    assert np.array_equal(nothing.centres, kmeans(X, 6, seed=0).centres)


@pytest.mark.parametrize(("factor", "shift"), [(1e-12, 0.0), (1e12, 0.0), (1.0, 1e8), (-3.0, 2.0)])
def test_units_and_places_do_not_matter(factor: float, shift: float) -> None:
    X, _ = blobs(2, spread=0.5)
    moved = kmeans(factor * X + shift, 6, seed=5)
    assert adjusted_rand_score(kmeans(X, 6, seed=5).labels, moved.labels) == 1


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_runs() -> None:
    X, _ = blobs(3, spread=4.0)
    results = [kmeans(X, 9, n_init=1, seed=seed).centres.tobytes() for seed in (0, 0, 1, 2)]
    assert results[0] == results[1]
    assert len(set(results)) == 3


def test_fewer_distinct_points_than_clusters_are_all_centres() -> None:
    distinct = np.array([[0.0, 1.0], [5.0, 5.0], [1.0, 0.0]])
    found = kmeans(distinct[np.arange(12) % 3], 5, seed=0)
    assert np.array_equal(found.centres[found.labels], distinct[np.arange(12) % 3])
    assert len(np.unique(found.labels)) == 3


def test_one_cluster_has_the_mean() -> None:
    X, _ = blobs(4)
    found = kmeans(X, 1, seed=0)
    np.testing.assert_allclose(found.centres[0], X.mean(axis=0), atol=1e-12)
    assert not found.labels.any()
