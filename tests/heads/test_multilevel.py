"""Eigenvectors by coarsening: comparisons with dense solvers, Lanczos and formulas."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from segspectral.heads.exact import Exact
from segspectral.spectral import multilevel
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.knn import knn_affinity
from segspectral.spectral.multilevel import coarsened, smallest_by_levels
from segspectral.values import Affinity
from tests.heads.data import accuracy, block_model, moons


def lattice() -> Affinity:
    return Affinity(sp.csr_array(nx.to_scipy_sparse_array(nx.grid_2d_graph(50, 80)).astype(np.float32)))


def star() -> Affinity:
    return Affinity(sp.csr_array(nx.to_scipy_sparse_array(nx.star_graph(3000)).astype(np.float32)))


def hubs() -> Affinity:
    graph = nx.barabasi_albert_graph(1500, 4, seed=0)
    return Affinity(sp.csr_array(nx.to_scipy_sparse_array(graph).astype(np.float32)))


def curved() -> Affinity:
    return knn_affinity(moons(0, n=3000)[0])


GRAPHS = {make.__name__: make for make in (lattice, star, hubs, curved)}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("k", [3, 12])
def test_ritz_pairs_are_nearly_as_good_as_eigenpairs(name: str, k: int) -> None:
    affinity = GRAPHS[name]()
    exact = spectral_embedding(affinity, k)[1]
    V, values = spectral_embedding(affinity, k, exact_below=1000)
    # The exact ones are those of single-precision weights.
    assert (values >= exact - 1e-7).all()
    assert values.sum() <= 1.01 * exact.sum() + 1e-9
    assert (np.diff(values) >= 0).all()
    degree = affinity.degree[:, None]
    assert np.allclose(V.T @ (degree * V), np.eye(k), atol=1e-6)
    laplacian = V.T @ (degree * V) - V.T @ (affinity.weights.astype(np.float64) @ V)
    assert np.allclose(laplacian, np.diag(values), atol=1e-6)
    again = spectral_embedding(affinity, k, exact_below=1000)[0]
    assert np.array_equal(V, again)


def test_the_eigenvalues_of_a_ring_agree_with_their_formula() -> None:
    """Eigenvalues of about 1e-6 occur in pairs, and Lanczos does not converge on this ring of 20 000 nodes."""
    n = 6000
    ring = Affinity(sp.csr_array(nx.to_scipy_sparse_array(nx.cycle_graph(n)).astype(np.float32)))
    values = smallest_by_levels(ring.weights, 9)[0]
    assert values.sum() <= 1.05 * (1 - np.cos(2 * np.pi * np.array([0, 1, 1, 2, 2, 3, 3, 4, 4]) / n)).sum()


def test_too_little_filtering_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds above are tight enough: with fewer products or rounds they do not hold."""
    affinity = lattice()
    exact = spectral_embedding(affinity, 12)[1].sum()
    monkeypatch.setattr(multilevel, "DEGREE", 2)
    monkeypatch.setattr(multilevel, "ROUNDS", 1)
    assert smallest_by_levels(affinity.weights, 12)[0].sum() > 1.05 * exact


def test_each_component_is_solved_separately() -> None:
    one, two = curved().weights, lattice().weights
    both = Affinity(sp.csr_array(sp.block_diag([one, two])))
    values = spectral_embedding(both, 6, exact_below=1000)[1]
    assert values[:2] == pytest.approx([0, 0], abs=1e-7)
    assert values.sum() <= 1.01 * spectral_embedding(both, 6)[1].sum()


def test_coarse_graphs_keep_all_weight_and_have_half_the_nodes() -> None:
    graphs, groups = coarsened(curved().weights.astype(np.float64), coarsest=200)
    assert graphs[-1].shape[0] <= 200
    for fine, coarse, group in zip(graphs, graphs[1:], groups, strict=False):
        assert coarse.sum() == pytest.approx(fine.sum(), rel=1e-9)
        assert (np.unique(group) == np.arange(coarse.shape[0])).all()
        assert coarse.shape[0] < 0.7 * fine.shape[0]
        assert abs(coarse - coarse.T).max() < 1e-9
        assert sp.csgraph.connected_components(coarse)[0] == 1
    assert len(coarsened(star().weights.astype(np.float64), fewest=10)[0]) == 1
    assert coarsened(curved().weights, coarsest=10, fewest=500)[0][-1].shape[0] >= 500


def test_planted_blocks_are_found_by_coarsening() -> None:
    affinity, truth = block_model((2700, 1500, 600, 400), 0.015, 0.001, seed=0)
    assert accuracy(truth, Exact(4, exact_below=400).fit(None, affinity=affinity).labels_) >= 0.98
