"""NMI, ARI and Hungarian accuracy against their definitions: entropies, pairs of samples, all permutations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.metrics.clustering import clustering_scores


def entropy(*labels: NDArray[np.int64]) -> float:
    """The joint entropy of one or several labellings, in nats."""
    share = np.unique(np.stack(labels), axis=1, return_counts=True)[1] / len(labels[0])
    return float(-(share * np.log(share)).sum())


def adjusted_rand(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """ARI by looking at every pair of samples."""
    first, second = np.triu_indices(len(a), 1)
    in_a, in_b = a[first] == a[second], b[first] == b[second]
    expected, most = in_a.mean() * in_b.mean(), (in_a.mean() + in_b.mean()) / 2
    return 1.0 if most == expected else float(((in_a & in_b).mean() - expected) / (most - expected))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clusters", [1, 3, 6])
def test_nmi_and_ari_follow_their_definitions(seed: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 200)
    predicted = np.where(rng.random(200) < 0.5, truth % clusters, rng.integers(0, clusters, 200))
    scores = clustering_scores(predicted, truth)
    mutual = entropy(truth) + entropy(predicted) - entropy(truth, predicted)
    assert scores["nmi"] == pytest.approx(2 * mutual / (entropy(truth) + entropy(predicted)), abs=1e-12)
    assert scores["ari"] == pytest.approx(adjusted_rand(truth, predicted), abs=1e-12)


def test_accuracy_is_that_of_the_best_permutation() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    best = max((np.array(p)[predicted] == truth).mean() for p in itertools.permutations(range(4)))
    assert clustering_scores(predicted, truth)["accuracy"] == pytest.approx(best)


def test_samples_in_extra_clusters_are_wrong() -> None:
    assert clustering_scores([0, 0, 1, 2], [0, 0, 1, 1])["accuracy"] == 0.75


def test_scores_do_not_depend_on_the_names_of_clusters() -> None:
    truth = np.array(["cat", "dog", "dog", "cow"])
    assert clustering_scores([-5, 900, 900, 3], truth) == {"nmi": 1.0, "ari": 1.0, "accuracy": 1.0}
    assert clustering_scores([1, 1], [2, 2]) == {"nmi": 1.0, "ari": 1.0, "accuracy": 1.0}


def test_nothing_to_score_and_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        clustering_scores([], [])
    with pytest.raises(ValueError, match="cannot be compared"):
        clustering_scores([1, 2], [1, 2, 3])
