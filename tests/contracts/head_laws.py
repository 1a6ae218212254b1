"""The laws of ``segspectral.heads.base.Head``, each as a function of one head that raises AssertionError.

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
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from segspectral.errors import CollapseError, SegspectralError, SettingsError
from segspectral.heads.base import Head
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity, Outcome

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


_PLAIN: dict[str, Head] = {}


def plainly_fitted(head: Head) -> Head:
    """A head fitted to the planted groups, for laws that compare others with it; each is fitted once."""
    name = f"{type(head)} {head.get_params()}"
    if name not in _PLAIN:
        _PLAIN[name] = fitted(head, planted()[0])
    return _PLAIN[name]


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
    h = plainly_fitted(head)
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
    for factor in (1e-3, 250.0, 1e-310, 1e300):
        b = fitted(head, X, Affinity(affinity.weights.astype(np.float64) * factor))
        assert adjusted_rand_score(a.labels_, b.labels_) == 1, "the labels depend on the unit of the weights"
        assert a.ncut_ == pytest.approx(b.ncut_, rel=1e-4)
        if a.eigenvalues_ is not None:
            assert np.allclose(a.eigenvalues_, b.eigenvalues_, atol=2e-3)


def nodes_have_no_order(head: Head) -> None:
    """Law 4, order."""
    X, _ = planted()
    a = plainly_fitted(head)
    order = np.random.default_rng(5).permutation(len(X))
    b = fitted(head, X[order])
    assert adjusted_rand_score(a.labels_[order], b.labels_) == 1, "the labels depend on the order of the nodes"
    assert a.ncut_ == pytest.approx(b.ncut_, rel=1e-5)


def a_duplicate_joins_its_original(head: Head) -> None:
    """Duplicating a node puts the copy into the same cluster, and moves no other node."""
    X, _ = planted()
    a = plainly_fitted(head)
    for node in (0, 70, 110):
        b = fitted(head, np.concatenate([X, X[node : node + 1]]))
        assert b.labels_[node] == b.labels_[-1], "a copy is not where its original is"
        # Not 1: a point between two groups of an autoencoder's code may fall to either side.
        assert adjusted_rand_score(a.labels_, b.labels_[:-1]) > 0.95, "a copy moved other nodes"


def finds_the_planted_groups(head: Head) -> None:
    _, truth = planted()
    h = plainly_fitted(head)
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


def copies_are_one(head: Head) -> None:
    """Laws 1 and 4: no more clusters than there are distinct nodes, and then each of these is one."""
    three = np.array([[0.0, 1.0], [2.0, 0.0], [2.0, 3.0]])
    cases = [
        (np.ones((50, 2)), None, 2, 1),
        (three[np.arange(24) % 3], None, 5, 3),
        (three[np.arange(24) % 3], None, 3, 3),
    ]
    if not head._needs_features():
        bipartite = np.kron([[0.0, 1.0], [1.0, 0.0]], np.ones((4, 4)))
        many = clone(head).set_params(n_clusters=2).fit(None, affinity=sp.csr_array((3000, 3000)))
        assert len(np.unique(many.labels_)) == 1, "nodes without edges are copies of each other"
        assert many.outcome_ is Outcome.FEWER, "the wrong outcome"
        cases += [(None, np.zeros((6, 6)), 2, 1), (None, 1.0 - np.eye(6), 2, 1), (None, bipartite, 3, 2)]
    for X, weights, k, distinct in cases:
        h = clone(head).set_params(n_clusters=k).fit(X, affinity=weights)
        assert len(np.unique(h.labels_)) == distinct, "copies are in different clusters, or distinct nodes in one"
        assert h.outcome_ is (Outcome.SOLVED if k == distinct else Outcome.FEWER), "the wrong outcome"
        assert no_copies_apart(h.labels_, X, weights), "copies are in different clusters"


def refuses_what_is_no_data(head: Head) -> None:
    """What cannot be computed with is a SegspectralError of one sentence; a boolean graph is a graph."""
    X, truth = planted()
    graph = block_graph(truth).weights
    bad: list[tuple[Any, Any]] = [
        (np.where(X > 5, np.nan, X), None),
        (np.where(X > 5, np.inf, X), None),
        (X * 1e200, None),
        (X * 1e-200, None),
        (X + 1j, None),
        (X[:1], None),
        (X[:, 0], None),
        (X[:, :0], None),
        (X.astype(str).astype(object) + "x", None),
        (sp.csr_array(X), None),
        (X, graph * np.nan),
        (X, -graph),
        (X, graph * 1j),
        (X, graph[:, :9]),
        (X, graph[:9, :9]),
        (X, sp.triu(graph)),
        (X, "precomputed"),
        (X, graph.toarray().astype(str)),
    ]
    for features, affinity in bad:
        with pytest.raises(SegspectralError) as told:
            fitted(head, features, affinity)
        assert "\n" not in str(told.value)
    of_booleans = fitted(head, X, graph.astype(bool))
    assert np.array_equal(of_booleans.labels_, fitted(head, X, graph.astype(bool).astype(np.float64)).labels_)
    assert np.array_equal(
        fitted(head, X.astype(np.float16)).labels_, fitted(head, X.astype(np.float16).astype(float)).labels_
    )


NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.25, 3.0, 7.5])
WEIGHTS = st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.5, 2.0, 1e-9])
SEARCH = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@st.composite
def odd_features(draw: st.DrawFn, nodes: int | None = None) -> NDArray[np.float64]:
    """(1..12, 1..3) few distinct values: copies, constant columns, any scale, far from 0."""
    shape = (draw(st.integers(1, 12)) if nodes is None else nodes, draw(st.integers(1, 3)))
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1e-12, 1e12, 1e200, 1e-200]))
    return scale * (draw(arrays(np.float64, shape, elements=NUMBERS)) + draw(st.sampled_from([0.0, 0.0, 1e8])))


@st.composite
def odd_graphs(draw: st.DrawFn) -> NDArray[np.float64]:
    """(1..12, 1..12) without edges, with isolated nodes, in parts, complete, with copies, of any scale."""
    n = draw(st.integers(1, 12))
    kind = draw(st.sampled_from(["any", "any", "any", "none", "complete", "star", "path"]))
    upper = np.triu(draw(arrays(np.float64, (n, n), elements=WEIGHTS)), 1)
    if kind == "none":
        upper[:] = 0
    elif kind == "complete":
        upper = np.triu(np.ones((n, n)), 1)
    elif kind == "star":
        upper[1:] = 0
    elif kind == "path":
        upper = np.eye(n, k=1)
    isolated = draw(st.sets(st.integers(0, n - 1), max_size=n // 2))
    upper[list(isolated)] = upper[:, list(isolated)] = 0
    return (upper + upper.T) * draw(st.sampled_from([1.0, 1.0, 1e-150, 1e150, 1e-310, 1e308 / 2]))


def keeps_its_word_on_odd_features(head: Head) -> None:
    """Laws 1, 2 and 4 on whatever the features are."""

    @SEARCH
    @given(odd_features(), st.data())
    def search(X: NDArray[np.float64], data: st.DataObject) -> None:
        keeps_its_word(head, X, None, data.draw(st.integers(1, len(X))))

    search()


def keeps_its_word_on_odd_graphs(head: Head) -> None:
    """Laws 1, 2 and 4 on whatever the graph is, with features and without."""

    @SEARCH
    @given(odd_graphs(), st.booleans(), st.data())
    def search(weights: NDArray[np.float64], bare: bool, data: st.DataObject) -> None:
        n = len(weights)
        X = None if bare and not head._needs_features() else data.draw(odd_features(n))
        keeps_its_word(head, X, weights, data.draw(st.integers(1, n)))

    search()


def keeps_its_word(head: Head, X: NDArray[np.float64] | None, weights: NDArray[np.float64] | None, k: int) -> None:
    """A result that keeps the laws, or a refusal in one sentence where there is a reason for one."""
    refused: SegspectralError | None = None
    try:
        h = clone(head).set_params(n_clusters=k).fit(X, affinity=weights)
    except SegspectralError as error:
        refused = error
    if refused is not None:
        assert "\n" not in str(refused)
        spread = 0.0 if X is None else float(np.ptp(X, axis=0).max())
        single = len(X if X is not None else weights) == 1  # type: ignore[arg-type]
        out_of_range = X is not None and (np.abs(X).max() > 1e30 or 0 < spread < 1e-30)
        collapsed = isinstance(refused, CollapseError) and hasattr(head, "encoder")
        assert single or out_of_range or collapsed, f"refused for no reason: {refused}"
        return
    P = h.membership_.probabilities
    assert h.n_clusters == k
    assert P.shape == (len(h.affinity_), k)
    assert np.isfinite(P).all()
    assert np.abs(P.sum(axis=1) - 1).max() < 1e-4
    assert np.array_equal(h.labels_, P.argmax(axis=1))
    assert len(np.unique(h.labels_)) == k or h.outcome_ is Outcome.FEWER, "clusters are missing, and nothing is said"
    assert h.ncut_ == pytest.approx(h.affinity_.ncut(h.labels_), abs=1e-6)
    assert no_copies_apart(h.labels_, X, weights), "copies are in different clusters"
    if X is not None:
        assert np.isfinite(h.predict_proba(X[:2])).all()


def no_copies_apart(labels: NDArray[np.int64], X: NDArray[Any] | None, weights: NDArray[Any] | None) -> bool:
    """Whether nodes with equal features and equal weights to all others share a cluster; by a loop over all pairs."""
    for i, j in zip(*np.triu_indices(len(labels), 1), strict=True):
        others = np.setdiff1d(np.arange(len(labels)), (i, j))
        alike = X is None or np.array_equal(X[i], X[j])
        tied_alike = weights is None or np.array_equal(weights[i, others], weights[j, others])
        if alike and tied_alike and labels[i] != labels[j]:
            return False
    return True


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

FORMAL_LAWS = (leaves_inputs_alone, keeps_off_global_state, same_seed_same_bytes)
"""Those of the laws that a head keeps or breaks after few steps of training as after many."""

ODD_LAWS = (
    copies_are_one,
    refuses_what_is_no_data,
    keeps_its_word_on_odd_features,
    keeps_its_word_on_odd_graphs,
)
"""Laws about what hardly anybody clusters on purpose; they need no good training."""
