"""The laws of ``segspectral.heads.contract.Head``, each as a function of one head that raises AssertionError.

A law is given a head ready to be cloned; it fits clones of it on small graphs whose answer is known. ``LAWS`` is run
over every head of ``HEADS``, and over heads with a planted defect, which it must reject.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from segspectral.affinity import knn_affinity
from segspectral.errors import CollapseError, SettingsError
from segspectral.heads.contract import Head
from segspectral.types import Affinity, Outcome

SIZES = (60, 40, 24)


def planted(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Three unequal groups in the plane, of unequal density: X (124, 2) and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), SIZES)
    centre = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    spread = np.array([1.0, 0.6, 0.8])
    return centre[truth] + rng.normal(size=(len(truth), 2)) * spread[truth, None], truth


def block_graph(truth: NDArray[np.int64], seed: int = 0, inside: float = 0.4, across: float = 0.03) -> Affinity:
    """A planted partition whose degrees differ tenfold: edges with probability ``inside`` or ``across``."""
    rng = np.random.default_rng(seed)
    n = len(truth)
    popularity = rng.uniform(0.1, 1.0, n)
    same = truth[:, None] == truth[None, :]
    upper = np.triu(rng.random((n, n)) < np.where(same, inside, across), 1) * np.outer(popularity, popularity)
    ring = np.roll(np.eye(n), 1, axis=1) * 0.01  # connected whatever the draw
    return Affinity(sp.csr_array(upper + upper.T + ring + ring.T))


def fitted(head: Head, X: NDArray[np.float64], affinity: Affinity | None = None, **parameters: Any) -> Head:
    return clone(head).set_params(**({"n_clusters": 3, "random_state": 0} | parameters)).fit(X, affinity=affinity)


def exact_eigenvalues(affinity: Affinity) -> NDArray[np.float64]:
    return scipy.linalg.eigvalsh(affinity.laplacian("sym").toarray())


def uses_every_cluster(head: Head) -> None:
    """Law 1."""
    X, _ = planted()
    for k in (1, 2, 5):
        h = fitted(head, X, n_clusters=k)
        assert h.n_clusters == k, "n_clusters was changed"
        assert h.membership_.probabilities.shape == (len(X), k), "not one column per cluster"
        assert set(np.unique(h.labels_)) == set(range(k)) or h.outcome_ is Outcome.FEWER, "clusters are missing"
    with pytest.raises(SettingsError, match=str(len(X))):
        fitted(head, X, n_clusters=len(X) + 1)
    few = np.repeat([[0.0, 0.0], [1.0, 3.0]], 10, axis=0)
    with suppress(CollapseError):
        h = fitted(head, few, n_clusters=4)
        assert len(np.unique(h.labels_)) == 4 or h.outcome_ is Outcome.FEWER, "too few clusters, and nothing said"


def is_a_membership(head: Head) -> None:
    """Law 2."""
    X, _ = planted()
    h = fitted(head, X)
    P = h.membership_.probabilities
    assert P.dtype == np.float32
    assert np.isfinite(P).all()
    assert (P >= 0).all()
    assert np.abs(P.sum(axis=1) - 1).max() < 1e-4
    assert np.array_equal(h.labels_, P.argmax(axis=1)), "labels are not the argmax"
    unseen = h.predict_proba(X[:7] + 0.01)
    assert unseen.shape == (7, 3)
    assert np.abs(unseen.sum(axis=1) - 1).max() < 1e-4
    assert np.array_equal(h.predict(X[:7]), h.predict_proba(X[:7]).argmax(axis=1))


def leaves_inputs_alone(head: Head) -> None:
    """Law 3, inputs."""
    X, _ = planted()
    affinity = knn_affinity(X)
    weights = affinity.weights
    before = [a.copy() for a in (X, weights.data, weights.indices, weights.indptr)]
    h = fitted(head, X, affinity)
    h.predict(X)
    for old, new in zip(before, (X, weights.data, weights.indices, weights.indptr), strict=True):
        assert np.array_equal(old, new), "an input was changed"


def keeps_off_global_state(head: Head) -> None:
    """Law 3, random state. "Same seed twice" alone would not notice a global generator: hence several global seeds."""
    import torch

    X, _ = planted()
    results = []
    for seed in (0, 1, 12345, 2**31):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 the global state is what is looked at
        torch.manual_seed(seed)
        states = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())  # noqa: NPY002
        h = fitted(head, X)
        assert random.getstate() == states[0], "random's global state was touched"
        assert np.random.get_state()[1].tobytes() == states[1], "numpy's global state was touched"  # noqa: NPY002
        assert torch.get_rng_state().numpy().tobytes() == states[2], "torch's global state was touched"
        results.append(h.membership_.probabilities.tobytes())
    assert len(set(results)) == 1, "the result depends on a global seed"


def same_seed_same_bytes(head: Head) -> None:
    """Law 5."""
    X, _ = planted()
    a, b = (fitted(head, X, random_state=3) for _ in range(2))
    assert a.membership_.probabilities.tobytes() == b.membership_.probabilities.tobytes()
    assert a.loss_curve_.tobytes() == b.loss_curve_.tobytes()
    assert a.predict_proba(X[:5] + 0.1).tobytes() == b.predict_proba(X[:5] + 0.1).tobytes()


def weights_have_no_unit(head: Head) -> None:
    """Law 4, scale."""
    X, _ = planted()
    affinity = knn_affinity(X)
    a = fitted(head, X, affinity)
    for factor in (1e-3, 250.0):
        b = fitted(head, X, Affinity(affinity.weights * factor))
        assert adjusted_rand_score(a.labels_, b.labels_) == 1, "the labels depend on the unit of the weights"
        assert a.ncut_ == pytest.approx(b.ncut_, rel=1e-4)
        if a.eigenvalues_ is not None:
            assert np.allclose(a.eigenvalues_, b.eigenvalues_, atol=2e-3)


def nodes_have_no_order(head: Head) -> None:
    """Law 4, order."""
    X, _ = planted()
    a = fitted(head, X)
    order = np.random.default_rng(5).permutation(len(X))
    b = fitted(head, X[order])
    assert adjusted_rand_score(a.labels_[order], b.labels_) == 1, "the labels depend on the order of the nodes"
    assert a.ncut_ == pytest.approx(b.ncut_, rel=1e-5)


def a_duplicate_joins_its_original(head: Head) -> None:
    """Duplicating a node puts the copy into the same cluster, and moves no other node."""
    X, _ = planted()
    a = fitted(head, X)
    for node in (0, 70, 110):
        b = fitted(head, np.concatenate([X, X[node : node + 1]]))
        assert b.labels_[node] == b.labels_[-1], "a copy is not where its original is"
        # Not 1: a point between two groups of an autoencoder's code may fall to either side.
        assert adjusted_rand_score(a.labels_, b.labels_[:-1]) > 0.95, "a copy moved other nodes"


def finds_the_planted_groups(head: Head) -> None:
    X, truth = planted()
    h = fitted(head, X)
    assert adjusted_rand_score(truth, h.labels_) > 0.95
    assert adjusted_rand_score(truth, h.predict(planted(seed=1)[0])) > 0.9


def is_true_to_its_graph(head: Head) -> None:
    """Law 6, and what eigenvalues and embedding promise."""
    X, truth = planted()
    block = block_graph(truth)
    for affinity in (knn_affinity(X), block):
        h = fitted(head, X, affinity)
        exact = exact_eigenvalues(affinity)
        assert h.ncut_ == pytest.approx(affinity.ncut(h.labels_), rel=1e-6)
        assert h.ncut_ >= exact[:3].sum() - 1e-6, "an Ncut below what is possible (Ky Fan)"
        if h.eigenvalues_ is not None:
            values = h.eigenvalues_[:3]
            assert len(values) == 3
            assert (np.diff(h.eigenvalues_) >= -1e-9).all(), "eigenvalues fall"
            assert (values >= exact[:3] - 1e-6).all(), "below the exact eigenvalues: not a subspace's (Courant-Fischer)"
        if h.membership_.embedding is not None:
            V = h.membership_.embedding
            assert V.shape == (len(X), 3), "not one column of the embedding per cluster"
            gram = V.T @ (affinity.degree[:, None] * V)
            assert np.abs(gram - np.eye(3)).max() < 1e-4, "the embedding is not orthonormal under the degrees"
            ritz = np.trace(V.T @ (affinity.laplacian("none") @ V))
            assert ritz >= exact[:3].sum() - 1e-6
            # A random subspace has the mean of the spectrum, about 3; the wrong end up to 6.
            limit = 2 * exact[:3].sum() + 0.1 if affinity is not block else 2.5
            assert ritz < limit, "not the small end of the spectrum"


LAWS = (
    uses_every_cluster,
    is_a_membership,
    leaves_inputs_alone,
    keeps_off_global_state,
    same_seed_same_bytes,
    weights_have_no_unit,
    nodes_have_no_order,
    a_duplicate_joins_its_original,
    finds_the_planted_groups,
    is_true_to_its_graph,
)
