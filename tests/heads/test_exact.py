"""The reference solver against dense linear algebra and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from segspectral.errors import GraphError, SettingsError
from segspectral.heads.exact import Exact
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.spectralnet import SpectralNet
from segspectral.spectral.discretise import agglomerate, greedy_moves, most_eigenvectors, partition
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity, Outcome
from tests.heads.data import accuracy, block_model, circles, digits, grid, moons, ring, subspace_distance


def test_a_knn_graph_is_symmetric_without_loops_or_isolated_nodes_and_has_no_unit() -> None:
    X = np.random.default_rng(0).normal(size=(300, 5))
    affinity = knn_affinity(X, neighbors=7)
    W = affinity.weights
    assert abs(W - W.T).max() == 0
    assert not W.diagonal().any()
    assert (np.diff(W.indptr) >= 7).all()
    assert np.allclose(W.toarray(), knn_affinity(X * 37.0, neighbors=7).weights.toarray(), atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_lanczos_finds_what_dense_algebra_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(210, 500))
    X = rng.normal(size=(n, 3)) + 4 * rng.integers(0, 3, (n, 1))
    affinity = knn_affinity(X)
    vectors, values = spectral_embedding(affinity, 6, seed=seed)
    exact_values, exact = scipy.linalg.eigh(affinity.laplacian("sym").toarray())
    assert np.allclose(values, exact_values[:6], atol=1e-8)
    assert values[0] < 1e-8
    exact_rw = exact[:, :6] / np.sqrt(affinity.degree)[:, None]
    assert subspace_distance(affinity, vectors, exact_rw) < 1e-6


def test_spectra_in_closed_form() -> None:
    n = 300
    _, values = spectral_embedding(ring(n), 7)
    wave = 1 - np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2, 3, 3]) / n)
    assert np.allclose(values, wave, atol=1e-9)
    labels = Exact(4).fit(None, affinity=ring(n)).labels_
    assert (np.bincount(labels) == n // 4).all(), "four equal arcs are the best cut of a ring"
    h = Exact(2).fit(None, affinity=grid(12, 30))
    assert np.ptp(h.labels_.reshape(12, 30), axis=0).max() == 0, "a grid is cut across its longer side"


def test_components_are_the_clusters_of_a_disconnected_graph() -> None:
    blocks = [ring(40).weights, ring(60).weights, ring(25).weights]
    affinity = Affinity(sp.csr_array(sp.block_diag(blocks)))
    for head in (Exact(3), NeuNcut(3)):
        head.fit(None, affinity=affinity)
        assert adjusted_rand_score(affinity.components, head.labels_) == 1
        assert head.ncut_ < 1e-9
        assert (head.eigenvalues_[:3] < 1e-9).all()
        assert head.eigenvalues_[3] > 1e-3


def test_an_isolated_node_belongs_somewhere() -> None:
    affinity = Affinity(sp.csr_array(sp.block_diag([ring(30).weights, np.zeros((1, 1)), ring(30).weights])))
    for head in (Exact(3), NeuNcut(3)):
        h = head.fit(None, affinity=affinity)
        assert np.isfinite(h.membership_.probabilities).all()
        assert np.isin(h.labels_, range(3)).all()
        assert h.ncut_ < 1e-9


def test_the_relaxation_is_a_lower_bound_and_names_do_not_matter() -> None:
    d = digits()
    affinity, values = d["affinity"], d["values"]
    rng = np.random.default_rng(0)
    for labels in (d["y"], rng.integers(0, 10, len(d["y"])), Exact(10).fit(d["X"], affinity=affinity).labels_):
        cut = affinity.ncut(labels)
        assert cut >= values[:10].sum()
        assert affinity.ncut(rng.permutation(10)[labels]) == pytest.approx(cut, rel=1e-9)
        assert Affinity(affinity.weights * 7).ncut(labels) == pytest.approx(cut, rel=1e-5)


def test_greedy_moves_never_raise_the_cut_and_lower_it_on_digits() -> None:
    d = digits()
    affinity, k = d["affinity"], 10
    plain = partition(affinity, d["vectors"], k, greedy=False)
    moved = greedy_moves(affinity, plain, k)
    assert affinity.ncut(moved) <= 0.95 * affinity.ncut(plain)
    rng = np.random.default_rng(0)
    for _ in range(5):
        labels = rng.integers(0, k, len(affinity))
        assert affinity.ncut(greedy_moves(affinity, labels, k)) <= affinity.ncut(labels)
        assert len(np.unique(greedy_moves(affinity, labels, k))) == k


def test_merged_clusters_find_cuts_that_k_means_on_as_many_eigenvectors_does_not() -> None:
    """Two moons that touch: the cut between them is not in the second eigenvector alone."""
    X, y = moons(0, n=1000, noise=0.1)
    affinity = Exact(2).fit(X).affinity_
    vectors, _ = spectral_embedding(affinity, most_eigenvectors(2))
    few, many = (partition(affinity, vectors[:, :m], 2, greedy=False) for m in (2, 4))
    assert affinity.ncut(many) < affinity.ncut(few)
    assert accuracy(y, many) > accuracy(y, few) + 0.05


def test_a_little_noise_does_not_make_another_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many cuts cost nearly the same, the one of k-means is not given up for one that is lower by a hair."""
    rng = np.random.default_rng(1)
    smooth = [gaussian_filter(rng.normal(size=(80, 80)), width, mode="wrap") for width in (3, 3, 5, 5, 8)]
    land = np.stack([values.ravel() for values in smooth], axis=1)
    land /= land.std(axis=0)
    noisy = [land + np.random.default_rng(seed).normal(0, 0.02, land.shape) for seed in (0, 1)]
    graphs = [knn_affinity(X, bandwidth="median", scale=2) for X in noisy]
    vectors = [spectral_embedding(affinity, 16)[0] for affinity in graphs]

    def agreement(k: int) -> float:
        return adjusted_rand_score(*(partition(A, V, k) for A, V in zip(graphs, vectors, strict=True)))

    assert min(agreement(7), agreement(8)) > 0.9
    assert agreement(4) < 0.88
    monkeypatch.setattr("segspectral.spectral.discretise.SEARCHED_BELOW", len(land) - 1)
    assert min(agreement(k) for k in (4, 7, 8)) > 0.9
    monkeypatch.setattr("segspectral.spectral.discretise.SEARCHED_BELOW", len(land))
    monkeypatch.setattr("segspectral.spectral.discretise.WORTHWHILE", 0.0)
    assert max(agreement(7), agreement(8)) < 0.8


def test_of_vectors_a_merged_partition_is_taken_for_less_and_in_larger_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    d = digits()
    X, y = d["X"][:600], d["y"][:600]
    made = Exact(10).fit(X)
    given = Exact(10).fit(X, affinity=made.affinity_)
    assert made.ncut_ < given.ncut_ * 0.97
    assert accuracy(y, made.labels_) > accuracy(y, given.labels_)
    assert NeuNcut(10).fit(X).ncut_ <= made.ncut_ + 1e-9
    monkeypatch.setattr("segspectral.spectral.discretise.SEARCHED_BELOW", 599)
    assert Exact(10).fit(X).ncut_ == made.ncut_
    monkeypatch.setattr("segspectral.spectral.discretise.VECTORS_SEARCHED_BELOW", 599)
    assert Exact(10).fit(X).ncut_ > made.ncut_


def test_agglomeration_takes_the_two_of_the_largest_linkage_first() -> None:
    weights = np.array([[0, 5, 1, 0], [5, 0, 1, 0], [1, 1, 0, 3], [0, 0, 3, 0]], dtype=np.float64)
    affinity = Affinity(sp.csr_array(weights))
    alone = np.arange(4)
    assert agglomerate(affinity, alone, 4, 3, lambda between: between).tolist() == [0, 0, 1, 2]
    assert agglomerate(affinity, alone, 4, 2, lambda between: between).tolist() == [0, 0, 1, 1]
    assert agglomerate(affinity, alone, 4, 4, lambda between: between).tolist() == [0, 1, 2, 3]
    # A cluster without nodes has its group, too.
    assert len(agglomerate(affinity, alone, 6, 3, lambda between: between)) == 6


def test_unequal_blocks_are_found() -> None:
    affinity, truth = block_model((400, 120, 60, 20), 0.15, 0.01, seed=0)
    assert accuracy(truth, Exact(4).fit(None, affinity=affinity).labels_) >= 0.99


@pytest.mark.parametrize("make", [moons, circles])
def test_curved_clusters(make) -> None:  # type: ignore[no-untyped-def]
    for seed in range(10):
        X, y = make(seed)
        Z, z = make(seed + 100)
        h = Exact(2).fit(X)
        assert accuracy(y, h.labels_) >= 0.99
        assert accuracy(z, h.predict(Z)) >= 0.98


def test_the_extension_gives_the_fitted_nodes_nearly_their_own_embedding() -> None:
    d = digits()
    h = Exact(10, greedy=False).fit(d["X"], affinity=d["affinity"])
    assert (h.predict(d["X"]) == h.labels_).mean() > 0.98
    V, extended = h.membership_.embedding, h.transform(d["X"])
    similar = (V * extended).sum(axis=0) / np.linalg.norm(V, axis=0) / np.linalg.norm(extended, axis=0)
    assert (similar > 0.9).all()


def test_bad_graphs_and_bad_counts_are_refused_in_a_sentence() -> None:
    X = np.random.default_rng(0).normal(size=(12, 2))
    W = knn_affinity(X, neighbors=3).weights.toarray()
    for spoil, sentence in (
        (lambda A: A * -1, "non-negative"),
        (lambda A: np.triu(A), "symmetric"),
        (lambda A: A * np.nan, "NaN"),
        (lambda A: A[:-1, :-1], "11 nodes, the features have 12 rows"),
        (lambda A: A[:-1], "square"),
        (lambda A: A + np.eye(12), "edge to itself"),
    ):
        with pytest.raises(GraphError, match=sentence):
            Exact(2).fit(X, affinity=spoil(W))
    for k in (0, -1, 2.5, True, 13):
        with pytest.raises(SettingsError, match="n_clusters"):
            Exact(k).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        Exact(2).fit(np.where(X > 1, np.nan, X))
    with pytest.raises(ValueError, match="1 sample"):
        Exact(1).fit(X[:1])
    with pytest.raises(SettingsError, match="bandwidth"):
        Exact(2, bandwidth=-1.0).fit(X)
    for wrong in ({"bandwidth": 0}, {"bandwidth": "narrow"}, {"scale": -1.0}, {"neighbors": 0}):
        with pytest.raises(SettingsError, match=f"{next(iter(wrong))} must be .* above 0"):
            knn_affinity(X, **wrong)
    for n_neighbors in (0, 2.5, "5", True):
        for head in (Exact(2), NeuNcut(2), SpectralNet(2)):
            with pytest.raises(SettingsError, match="n_neighbors"):
                head.set_params(n_neighbors=n_neighbors).fit(X)
    with pytest.raises(SettingsError, match="no place for new points"):
        Exact(2).fit(None, affinity=ring(20)).predict(X)


def test_constant_features_have_a_defined_result() -> None:
    h = Exact(3).fit(np.ones((30, 2)))
    assert len(np.unique(h.labels_)) == 3 or h.outcome_ is Outcome.FEWER
    assert len(np.unique(Exact(30).fit(np.random.default_rng(0).normal(size=(30, 2))).labels_)) == 30
