"""Graph convolutions and the heads of communities against networkx, dense algebra and planted blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from segspectral.errors import CollapseError, GraphError, SettingsError
from segspectral.heads.exact import Exact
from segspectral.heads.gcn import Gcn, GraphConvolution
from segspectral.heads.mincut import MinCut, mincut_loss
from segspectral.heads.modularity import Modularity, modularity_loss
from segspectral.heads.network_head import effective_rank
from segspectral.heads.networks import Mlp
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.neuralef import NeuralEF
from segspectral.heads.rsm import RSM
from segspectral.heads.spectralnet import SpectralNet
from segspectral.heads.training.learner import Learner, Neighborhoods
from segspectral.heads.training.loop import Subgraphs
from segspectral.metrics.communities import conductance, coverage, modularity
from segspectral.spectral.eigen import regularized_spectrum
from segspectral.spectral.knn import knn_affinity
from segspectral.spectral.walk import diffused, walk_matrix
from segspectral.values import Affinity, Outcome
from tests.contracts.head_laws import block_graph, planted
from tests.heads.data import accuracy, block_model, digits


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weighted(n: int = 80, seed: int = 0) -> tuple[Affinity, Any]:
    truth = np.random.default_rng(seed).integers(0, 4, n)
    return block_graph(truth, seed), truth


def one_hot(labels: Any, k: int) -> torch.Tensor:
    return torch.eye(k, dtype=torch.float64)[labels]


def test_hard_memberships_lose_what_networkx_says() -> None:
    affinity, labels = weighted()
    network = nx.from_scipy_sparse_array(affinity.weights)
    parts = [set(np.flatnonzero(labels == c).tolist()) for c in range(4)]
    expected = nx.community.modularity(network, parts)
    batch = Subgraphs(affinity, 1000, rank=1, seed=0).draw()
    assert float(modularity_loss(one_hot(labels, 4), batch.weights, batch.degree)) == pytest.approx(-expected, abs=1e-6)
    assert modularity(affinity, labels) == pytest.approx(expected, abs=1e-6)
    each = [nx.conductance(network, part, weight="weight") for part in parts]
    assert conductance(affinity, labels) == pytest.approx(each, abs=1e-6)
    inside = sum(network.subgraph(part).size("weight") for part in parts) / network.size("weight")
    assert coverage(affinity, labels) == pytest.approx(inside, abs=1e-6)
    assert float(mincut_loss(one_hot(labels, 4), batch.weights, batch.degree)) == pytest.approx(-inside, abs=1e-6)


def test_the_terms_against_collapse() -> None:
    head, sizes = Modularity(4), np.array([40, 30, 20, 10])
    P, seeds = one_hot(np.repeat(np.arange(4), sizes), 4), torch.ones(100, dtype=torch.float64)
    assert float(head._balance(P, seeds)) == pytest.approx(2 * np.linalg.norm(sizes) / 100 - 1)
    equal, single = one_hot(np.arange(100) % 4, 4), one_hot(np.zeros(100, int), 4)
    for each, collapsed in ((head, 1.0), (MinCut(4), np.sqrt(2 - 2 / np.sqrt(4)))):
        assert float(each._balance(equal, seeds)) == pytest.approx(0, abs=1e-9)
        assert float(each._balance(single, seeds)) == pytest.approx(collapsed)


def test_batches_estimate_the_modularity_of_the_whole() -> None:
    d = digits()
    P = torch.softmax(torch.from_numpy(d["X"][:, :6]) / 5, dim=1)
    whole = Subgraphs(d["affinity"], 10_000, rank=1, seed=0).draw()
    parts = Subgraphs(d["affinity"], 512, rank=6, seed=0)
    estimates = [float(modularity_loss(P[b.nodes], b.weights, b.degree)) for b in (parts.draw() for _ in range(200))]
    assert np.mean(estimates) == pytest.approx(float(modularity_loss(P, whole.weights, whole.degree)), abs=0.01)


@pytest.mark.parametrize(("head", "least", "seeds"), [(Modularity, 0.99, range(3)), (MinCut, 0.95, range(1))])
def test_a_planted_partition_is_found(head: Any, least: float, seeds: Any) -> None:
    for seed in seeds:
        affinity, truth = block_model((150, 150, 150, 150), 0.15, 0.01, seed)
        assert accuracy(truth, head(4, random_state=seed).fit(None, affinity=affinity).labels_) >= least


def test_a_cold_start_finds_it_too() -> None:
    affinity, truth = block_model((100, 100, 100), 0.2, 0.01, 0)
    for head in (Modularity(3, warm_start=False, collapse=1.0), MinCut(3, warm_start=False)):
        assert accuracy(truth, head.fit(None, affinity=affinity).labels_) >= 0.99


def test_modularity_prefers_to_split_a_large_loose_block() -> None:
    """Why its accuracy is low on blocks of unequal size: it finds more modularity than the truth has."""
    affinity, truth = block_model((400, 120, 60, 20), 0.15, 0.01, 0)
    found = Modularity(4).fit(None, affinity=affinity)
    assert modularity(affinity, found.labels_) > modularity(affinity, truth)


@pytest.mark.parametrize(
    "head",
    [
        SpectralNet(3, encoder="gcn", steps=100),
        NeuralEF(3, encoder="gcn", hidden=(32, 16), steps=100, power=8),
        RSM(3, encoder="gcn", hidden=(32, 16), steps=100),
        NeuNcut(3, encoder="gcn", hidden=(32, 16), steps=20),
        NeuNcut(3, encoder=GraphConvolution(neighbors=4, dropout=0.0), hidden=(32,), steps=20, batch_size=96),
        Modularity(3, encoder=GraphConvolution(neighbors=4), steps=40, batch_size=96),
    ],
    ids=lambda head: f"{type(head).__name__}-{head.batch_size}",
)
def test_every_head_with_a_network_takes_graph_convolutions(head: Any) -> None:
    """On a bare graph and on features, whole and in batches of sampled neighbours."""
    affinity, truth = block_model((60, 50, 40), 0.4, 0.02, 0)
    assert accuracy(truth, head.fit(None, affinity=affinity).labels_) >= 0.95
    X, groups = planted()
    assert accuracy(groups, head.fit(X).labels_) >= 0.95
    assert accuracy(groups, head.predict(planted(1)[0])) >= 0.95


def test_what_does_not_go_with_graph_convolutions_is_reported() -> None:
    X, _ = planted()
    with pytest.raises(SettingsError, match="at least one width"):
        Modularity(3, hidden=()).fit(X)
    with pytest.raises(SettingsError, match="encoder"):
        Modularity(3, encoder="gat").fit(X)
    with pytest.raises(SettingsError, match="a graph alone has none"):
        Modularity(3, encoder="mlp").fit(None, affinity=knn_affinity(X))


def test_the_trained_network_is_the_one_in_training() -> None:
    """Numpy on the features themselves against torch on standardised or projected inputs."""
    rng = np.random.default_rng(0)
    affinity, _ = weighted()
    for columns, settings in ((5, "gcn"), (30, GraphConvolution(components=8)), (5, "mlp")):
        X = rng.normal(size=(80, columns)) * rng.uniform(0.1, 10, columns) + 3
        if isinstance(settings, GraphConvolution) or settings == "gcn":
            settings = GraphConvolution(dropout=0.0, components=8)
        learner = Learner(settings, (16, 6), 3, X, affinity, seed=0)
        nodes = torch.randperm(80, generator=torch.Generator().manual_seed(0))
        outputs = learner(nodes).detach().numpy()
        network = learner.trained()
        assert isinstance(network, Mlp if settings == "mlp" else Gcn)
        walk = walk_matrix(affinity.weights)
        assert np.allclose(outputs, network(X, walk)[nodes.numpy()], atol=2e-3)
        assert network.hidden(X, walk).shape == (80, 6)


def test_a_graph_convolution_in_dense_algebra() -> None:
    affinity, _ = weighted(30)
    X = np.random.default_rng(1).normal(size=(30, 4))
    network = Gcn.random((4, 5, 2), seed=0)
    T = affinity.weights.toarray() / affinity.degree[:, None]
    h = np.concatenate([T @ X, X], axis=1) @ network.weights[0].T + network.biases[0]
    expected = np.where(h > 0, h, 0.01 * h) @ network.last.weights[0].T + network.last.biases[0]
    assert np.allclose(network(X, walk_matrix(affinity.weights)), expected, atol=1e-6)


def test_sampled_neighbours_have_the_mean_of_all() -> None:
    affinity, _ = weighted(60)
    walk = walk_matrix(affinity.weights)
    values = np.random.default_rng(0).normal(size=60)
    size = np.diff(walk.indptr)
    near = Neighborhoods(walk, int(np.median(size)), seed=0)
    nodes = np.array([50, 3, 17, 8, 29])
    draws = []
    for _ in range(2000):
        rows, sources = near.rows(nodes)
        assert set(nodes) <= set(sources)
        assert np.allclose(rows.sum(axis=1), 1)
        draws.append(rows @ values[sources])
    exact = walk[nodes] @ values
    assert np.allclose(np.mean(draws, axis=0), exact, atol=0.04)
    few = size[nodes] <= np.median(size)
    assert 0 < few.sum() < 5
    assert np.allclose(np.std(draws, axis=0)[few], 0)
    assert (np.std(draws, axis=0)[~few] > 0).all()


def test_a_degenerate_embedding_is_reported_and_refused() -> None:
    assert effective_rank(np.full((50, 4), 3.0)) == 0
    assert effective_rank(np.outer(np.arange(50.0), [1, 2])) == pytest.approx(1)
    X, _ = planted()
    head = Modularity(3, steps=50).fit(X)
    assert 1 < head.effective_rank_ <= 3

    class Constant(Modularity):
        def _learn(self, X, affinity, seed, progress):  # type: ignore[no-untyped-def]
            network, run = super()._learn(X, affinity, seed, progress)
            zero = Mlp((0 * network.last.weights[0],), network.last.biases, network.last.slopes)
            return Gcn(network.weights, network.biases, zero), run

    with pytest.raises(CollapseError, match="nearly one embedding"):
        Constant(3, steps=1, warm_start=False).fit(X)


def test_fewer_communities_than_asked_are_reported() -> None:
    affinity, _ = block_model((60, 60), 0.5, 0.01, 0)
    head = Modularity(6, collapse=0.0).fit(None, affinity=affinity)
    assert len(np.unique(head.labels_)) < 6
    assert head.outcome_ is Outcome.FEWER


def test_reconstruction_keeps_the_attributes_in_the_embedding() -> None:
    affinity, _ = block_model((60, 60), 0.3, 0.02, 0)
    X = np.random.default_rng(0).normal(size=(120, 3))  # says nothing about the blocks
    missed = []
    for weight in (0.0, 1.0):
        h = Modularity(2, reconstruction=weight, hidden=(32, 16), steps=100).fit(X, affinity=affinity)
        H = np.column_stack([h.transform(X, affinity=affinity), np.ones(120)])
        wrong = X - H @ np.linalg.lstsq(H, X, rcond=None)[0]
        missed.append((wrong**2).sum() / ((X - X.mean(axis=0)) ** 2).sum())
        assert len(np.unique(h.labels_)) == 2
    assert missed[1] < 0.7 * missed[0]


def test_regularized_eigenvectors_against_dense_algebra() -> None:
    affinity, _ = block_model((120, 90, 60), 0.2, 0.02, 1)
    scale = 1 / np.sqrt(affinity.degree + affinity.degree.mean())
    dense = np.linalg.eigvalsh(np.eye(270) - scale[:, None] * affinity.weights.toarray() * scale)
    vectors, values = regularized_spectrum(affinity, 5)
    assert np.allclose(values, dense[:5], atol=1e-6)
    assert np.allclose(vectors.T @ vectors, np.eye(5), atol=1e-6)


class TestNodesThatArriveLater:
    def split(self) -> tuple[Any, ...]:
        affinity, truth = block_model((100, 80, 60), 0.25, 0.02, 3)
        order = np.random.default_rng(0).permutation(240)
        old, new = np.sort(order[24:]), np.sort(order[:24])
        W = affinity.weights
        links = sp.csr_array(sp.hstack([W[new][:, old], W[new][:, new]]))
        X = np.eye(3)[truth] + np.random.default_rng(1).normal(0, 1.0, (240, 3))
        return Affinity(sp.csr_array(W[old][:, old])), links, X[old], X[new], truth[old], truth[new]

    @pytest.mark.parametrize(
        "head", [Modularity(3, steps=50), Exact(3), NeuNcut(3)], ids=lambda head: type(head).__name__
    )
    def test_they_join_by_their_edges(self, head: Any) -> None:
        affinity, links, X, Z, truth, later = self.split()
        head.fit(X, affinity=affinity)
        both = np.append(head.labels_, head.predict(Z, affinity=links))
        assert accuracy(np.append(truth, later), both) >= 0.97
        # The edges matter: by features alone, which are noisy, it is worse.
        alone = (np.append(head.labels_, head.predict(Z))[-24:] == both[-24:]).mean()
        assert alone < 1
        bare = head.fit(None, affinity=affinity)
        joined = bare.predict(None, affinity=links)
        assert accuracy(np.append(truth, later), np.append(bare.labels_, joined)) >= 0.97

    def test_walks_first_arrive_where_dense_algebra_says(self) -> None:
        affinity, links, *_ = self.split()
        head = Exact(3).fit(None, affinity=affinity)
        n = len(affinity)
        step = links.toarray() / links.sum(axis=1)[:, None]
        expected = np.linalg.solve(np.eye(24) - step[:, n:], step[:, :n] @ head.membership_.probabilities)
        assert np.allclose(head.predict_proba(None, affinity=links), expected, atol=1e-5)

    def test_a_node_without_edges_may_belong_anywhere(self) -> None:
        affinity, links, *_ = self.split()
        head = Exact(3).fit(None, affinity=affinity)
        assert np.allclose(head.predict_proba(None, affinity=sp.csr_array(links.shape)), 1 / 3)

    def test_a_network_is_carried_to_another_graph(self) -> None:
        affinity, _, X, *_ = self.split()
        head = Modularity(3, steps=100).fit(X, affinity=affinity)
        other, names = block_model((70, 50, 90), 0.25, 0.02, 9)
        Y = np.eye(3)[names] + np.random.default_rng(2).normal(0, 1.0, (210, 3))
        assert accuracy(names, head.predict(Y, affinity=other)) >= 0.9
        assert accuracy(names, head.predict(Y)) < 0.9, "the edges of the other graph are not looked at"
        assert head.transform(Y, affinity=other.weights).shape == (210, 16)

    def test_what_does_not_fit_is_reported(self) -> None:
        affinity, links, X, Z, *_ = self.split()
        head = Modularity(3, steps=5).fit(X, affinity=affinity)
        with pytest.raises(GraphError, match=r"is \(24, 240\), not \(24, 239\)"):
            head.predict(Z, affinity=links[:, :-1])
        with pytest.raises(GraphError, match="non-negative"):
            head.predict(Z, affinity=-links)
        with pytest.raises(SettingsError, match="give those of the new nodes"):
            head.predict(None, affinity=links)
        bare = Modularity(3, steps=5).fit(None, affinity=affinity)
        with pytest.raises(SettingsError, match="no place for new points"):
            bare.predict(Z)
        with pytest.raises(SettingsError, match="no network that could embed new nodes"):
            bare.transform(None, affinity=links)


def test_averaged_features_are_those_at_the_end_of_a_lazy_walk() -> None:
    affinity, _ = block_model((20, 15), 0.5, 0.1, 0)
    X = np.random.default_rng(0).normal(size=(35, 3))
    step = (np.eye(35) + affinity.weights.toarray() / affinity.degree[:, None]) / 2
    np.testing.assert_allclose(diffused(X, affinity, 7), np.linalg.matrix_power(step, 7) @ X, atol=1e-6)


def test_networks_see_a_contour_in_the_graph_by_averaged_features() -> None:
    """Two regions of the same features, parted by the graph alone."""
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(800, 12)), np.arange(800) % 2
    weights = knn_affinity(X).weights.tocoo()
    across = truth[weights.row] != truth[weights.col]
    affinity = Affinity(sp.csr_array((np.where(across, 1e-3, 1) * weights.data, (weights.row, weights.col))))
    # Larger networks learn 800 nodes by heart.
    small = SpectralNet(2, hidden=(16,))
    for head in (small, NeuNcut(2, hidden=(16,), greedy=False)):
        assert head.learns_map
        assert accuracy(truth, head.fit(diffused(X, affinity), affinity=affinity).labels_) >= 0.99
    assert accuracy(truth, small.fit(X, affinity=affinity).labels_) < 0.9
    assert not NeuNcut(2).learns_map
    assert not SpectralNet(2, encoder="gcn").learns_map
