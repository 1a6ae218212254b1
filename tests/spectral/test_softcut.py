"""The soft normalized cut in numpy against its form in torch, and descents on it against training in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segspectral.heads.neuncut import NeuNcut, ncut_loss
from segspectral.heads.training.loop import Subgraphs, train
from segspectral.spectral.knn import knn_affinity
from segspectral.spectral.softcut import LogitDescent, soft_ncut
from segspectral.values import Affinity


def random_graph(n: int, seed: int) -> sp.csr_array:
    """(N, N) symmetric; about a third of the pairs have edges, and some nodes may have none."""
    upper = sp.triu(sp.random_array((n, n), density=0.3, rng=np.random.default_rng(seed)), 1)
    return sp.csr_array(upper + upper.T)


def by_torch(
    P: NDArray[np.float64], weights: sp.csr_array, hardness: float, penalty: float
) -> tuple[float, NDArray[np.float64]]:
    """``ncut_loss`` and its gradient as torch computes it."""
    given = torch.from_numpy(P.copy()).requires_grad_(True)
    degree = torch.from_numpy(np.asarray(weights.sum(axis=1)).ravel())
    value = ncut_loss(given, torch.from_numpy(weights.toarray()).to_sparse_csr(), degree, hardness, penalty)
    value.backward()
    assert given.grad is not None
    return float(value.detach()), given.grad.numpy()


def agree(P: NDArray[np.float64], weights: sp.csr_array, hardness: float, penalty: float) -> None:
    value, gradient = soft_ncut(P, weights, np.asarray(weights.sum(axis=1)).ravel(), hardness, penalty)
    expected, slope = by_torch(P, weights, hardness, penalty)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(slope).max())))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.integers(2, 30),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    st.sampled_from([0.0, 1.0, 80.0]),
    st.sampled_from([0.0, 1.0, 8.0]),
    st.integers(0, 10_000),
)
def test_value_and_gradient_are_those_of_torch(
    n: int, k: int, hardness: float, penalty: float, sharpness: float, seed: int
) -> None:
    logits = sharpness * np.random.default_rng(seed).normal(size=(n, k))
    P = np.exp(logits - logits.max(axis=1, keepdims=True))
    # Of a single cluster H' D H is 1 but for rounding, whose direction the norm would follow.
    agree(P / P.sum(axis=1, keepdims=True), random_graph(n, seed), hardness, penalty if k > 1 else 0.0)


@pytest.mark.parametrize("penalty", [0.0, 80.0])
@pytest.mark.parametrize("hardness", [0.0, 1.0])
def test_a_cluster_without_nodes_has_the_gradient_of_torch(hardness: float, penalty: float) -> None:
    agree(np.eye(3)[np.arange(12) % 2], random_graph(12, 3), hardness, penalty)


def test_the_norm_of_orthogonal_columns_has_no_gradient() -> None:
    pairs = sp.csr_array(np.kron(np.eye(4), [[0.0, 1.0], [1.0, 0.0]]))
    P = np.eye(2)[np.arange(8) // 4]  # of volume 4, so that no rounding hides that H' D H = I
    agree(P, pairs, 0.0, 80.0)
    without, with_penalty = (soft_ncut(P, pairs, np.ones(8), 0.0, penalty) for penalty in (0.0, 80.0))
    assert without[0] == with_penalty[0] == 0
    assert np.array_equal(without[1], with_penalty[1])


def test_a_hard_partition_has_its_normalized_cut() -> None:
    affinity = Affinity(random_graph(40, 1))
    labels = np.random.default_rng(0).integers(0, 4, 40)
    for hardness in (0.0, 1.0):
        value, _ = soft_ncut(np.eye(4)[labels], affinity.weights, affinity.degree, hardness)
        assert value == pytest.approx(affinity.ncut(labels), rel=1e-6)


def trained_by_torch(affinity: Affinity, start: NDArray[np.float64], **settings: Any) -> tuple[Any, Any]:
    """A table of logits that torch trains, as ``NeuNcut`` trains networks: logits and losses."""
    table = torch.from_numpy(start.astype(np.float32)).requires_grad_(True)
    batches = Subgraphs(affinity, len(start), rank=start.shape[1], seed=0)
    hardness, penalty = settings.pop("hardness"), settings.pop("penalty")

    def loss(batch: Any, done: float) -> torch.Tensor:
        P = torch.softmax(table.double(), dim=1)
        return ncut_loss(P, batch.weights, batch.degree, hardness, penalty(done))

    run = train([table], loss, batches.draw, **settings)
    return table.detach().double().numpy(), run


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_clusters": 7, "steps": 200},
        {"hardness": 0.0, "penalty": 80.0, "penalty_start": 0.1, "steps": 100},
        {"hardness": 0.5, "learning_rate": 0.5},
        {"patience": 5, "steps": 400},
        {"steps": 1},
        {"steps": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("cold", [False, True])
def test_a_training_is_that_of_torch(parameters: dict[str, Any], cold: bool) -> None:
    X = np.random.default_rng(4).normal(size=(300, 5))
    affinity = knn_affinity(X)
    head = NeuNcut(**({"n_clusters": 4} | parameters))
    start = np.random.default_rng(head.random_state).normal(size=(len(X), head.n_clusters)) * 0.1
    if not cold:
        start += 3.5 * np.eye(head.n_clusters)[(X[:, 0] > 0) + 2 * (X[:, 1] > 0)]
    seen: list[tuple[int, dict[str, float]]] = []
    logits, run = head._train_table(affinity, None if cold else start, lambda *told: seen.append(told))
    expected, reference = trained_by_torch(
        affinity,
        start,
        hardness=head.hardness,
        penalty=head._penalty,
        steps=head.steps,
        learning_rate=head.learning_rate or 0.1,
        patience=head.patience,
    )
    assert (len(run.losses), run.finished) == (len(reference.losses), reference.finished)
    assert [step for step, _ in seen] == list(range(len(run.losses)))
    np.testing.assert_allclose(run.losses, reference.losses, rtol=1e-4)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)
    assert np.array_equal(logits.argmax(axis=1), expected.argmax(axis=1))


def test_the_rate_falls_along_half_a_cosine() -> None:
    descent = LogitDescent(np.zeros((6, 2)), random_graph(6, 0), hardness=1.0, learning_rate=0.4, steps=4)
    rates = []
    for _ in range(4):
        descent.measure()
        rates.append(descent.move())
    assert rates == pytest.approx(0.2 * (1 + np.cos(np.pi * np.arange(4) / 4)))


def test_a_training_stops_when_the_time_is_up() -> None:
    affinity = knn_affinity(np.random.default_rng(4).normal(size=(300, 5)))
    _, run = NeuNcut(4, steps=10_000, time_limit=0.05)._train_table(affinity, None, None)
    assert 0 < len(run.losses) < 10_000
    assert not run.finished
