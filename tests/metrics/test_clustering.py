"""NMI, ARI and Hungarian accuracy against scikit-learn and all permutations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from segspectral.metrics.clustering import clustering_scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clusters", [1, 3, 6])
def test_equals_scikit_learn(seed: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 200)
    predicted = np.where(rng.random(200) < 0.5, truth % clusters, rng.integers(0, clusters, 200))
    scores = clustering_scores(predicted, truth)
    assert scores["nmi"] == pytest.approx(normalized_mutual_info_score(truth, predicted), abs=1e-12)
    assert scores["ari"] == pytest.approx(adjusted_rand_score(truth, predicted), abs=1e-12)


def test_accuracy_is_the_best_permutation() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    best = max((np.array(p)[predicted] == truth).mean() for p in itertools.permutations(range(4)))
    assert clustering_scores(predicted, truth)["accuracy"] == pytest.approx(best)


def test_extra_clusters_are_wrong_not_dropped() -> None:
    assert clustering_scores([0, 0, 1, 2], [0, 0, 1, 1])["accuracy"] == 0.75


def test_relabelling_and_edges() -> None:
    truth = np.array(["cat", "dog", "dog", "cow"])
    assert clustering_scores([-5, 900, 900, 3], truth) == {"nmi": 1.0, "ari": 1.0, "accuracy": 1.0}
    assert clustering_scores([1, 1], [2, 2]) == {"nmi": 1.0, "ari": 1.0, "accuracy": 1.0}
    with pytest.raises(ValueError, match="no pixel"):
        clustering_scores([], [])
    with pytest.raises(ValueError, match="cannot be compared"):
        clustering_scores([1, 2], [1, 2, 3])
