"""The kNN affinity: comparisons with a dense kernel, and changes of the input that must not change it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.config import make_pipeline
from segspectral.errors import GraphError
from segspectral.spectral.knn import Bandwidth, Symmetrization, knn_affinity, nearest_neighbors
from segspectral.spectral.search import Search

BANDWIDTHS: tuple[Bandwidth, ...] = ("self_tuning", "median", 1.7)


def points(n: int = 60, d: int = 4, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, d))


def dense(
    X: NDArray[np.float64],
    k: int,
    bandwidth: Bandwidth,
    scale: float,
    symmetrize: Symmetrization,
    edges: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    """The definition, evaluated entry by entry."""
    n = len(X)
    distance = np.sqrt(((X[:, None] - X[None]) ** 2).sum(axis=-1))
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argsort(axis=1)[:, :k]
    reach = np.take_along_axis(distance, nearest, axis=1)
    width = {"self_tuning": reach[:, -1], "median": np.full(n, np.median(reach))}.get(
        bandwidth, np.full(n, bandwidth if isinstance(bandwidth, float) else 0)
    )
    chosen = np.zeros((n, n), bool)
    for i in range(n):
        chosen[i, nearest[i]] = True
    for i, j in [] if edges is None else edges:
        chosen[i, j] = chosen[j, i] = True
    W = np.zeros((n, n))
    for i, j in zip(*chosen.nonzero(), strict=True):
        W[i, j] = np.exp(-(distance[i, j] ** 2) / (2 * scale**2 * width[i] * width[j]))
    return np.maximum(W, W.T) if symmetrize == "max" else (W + W.T) / 2


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("symmetrize", ["max", "mean"])
@pytest.mark.parametrize("scale", [0.45, 1.0])
@pytest.mark.parametrize("d", [4, 20])
def test_it_equals_the_dense_kernel_on_the_graph_edges(
    bandwidth: Bandwidth, symmetrize: Symmetrization, scale: float, d: int
) -> None:
    X = points(d=d)
    edges = np.random.default_rng(1).integers(0, len(X), (30, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    affinity = knn_affinity(X, neighbors=7, bandwidth=bandwidth, scale=scale, symmetrize=symmetrize, edges=edges)
    expected = dense(X, 7, bandwidth, scale, symmetrize, edges)
    np.testing.assert_allclose(affinity.weights.toarray(), expected, atol=2e-6)
    assert affinity.weights.nnz == np.count_nonzero(expected)


@pytest.mark.parametrize("n", [1, 2, 3, 60])
@pytest.mark.parametrize("k", [1, 10, 1000])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_every_graph_is_symmetric_connected_and_without_loops(n: int, k: int, bandwidth: Bandwidth) -> None:
    affinity = knn_affinity(points(n), neighbors=k, bandwidth=bandwidth)
    W = affinity.weights.toarray()
    assert W.shape == (n, n)
    np.testing.assert_array_equal(W, W.T)
    assert not W.diagonal().any()
    assert (W >= 0).all()
    assert W.max(initial=0) <= 1
    assert affinity.components.max() == 0


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("gap", [10, 1e3, 1e6])
def test_distant_clusters_are_joined_by_an_edge_between_their_closest_nodes(bandwidth: Bandwidth, gap: float) -> None:
    X = points(20, 2)
    X = np.concatenate([X, X + np.array([gap, 0])])
    affinity = knn_affinity(X, neighbors=19, bandwidth=bandwidth)
    assert affinity.components.max() == 0
    between = affinity.weights.toarray()[:20, 20:]
    assert np.count_nonzero(between) == 1
    distance = np.linalg.norm(X[:20, None] - X[None, 20:], axis=-1)
    assert between[np.unravel_index(distance.argmin(), distance.shape)] > 0


def test_n_components_are_joined_by_n_minus_one_edges() -> None:
    corners = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(-1, 2) * 100.0
    X = (corners[:, None] + np.random.default_rng(0).normal(0, 0.1, (20, 3, 2))).reshape(-1, 2)
    affinity = knn_affinity(X, neighbors=2)
    piece = np.arange(60) // 3
    rows, cols = affinity.weights.nonzero()
    assert affinity.components.max() == 0
    assert (piece[rows] != piece[cols]).sum() == 2 * 19


@pytest.mark.parametrize("bandwidth", ["self_tuning", "median"])
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e6])
def test_the_unit_of_the_features_does_not_matter(bandwidth: Bandwidth, factor: float) -> None:
    X = points()
    np.testing.assert_allclose(
        knn_affinity(factor * X, bandwidth=bandwidth).weights.toarray(),
        knn_affinity(X, bandwidth=bandwidth).weights.toarray(),
        atol=1e-5,
    )


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_translation_rotation_and_renumbering_do_not_change_the_weights(bandwidth: Bandwidth) -> None:
    X = points()
    expected = knn_affinity(X, bandwidth=bandwidth).weights.toarray()
    turn, _ = np.linalg.qr(points(4, 4, seed=9))
    np.testing.assert_allclose(knn_affinity(X @ turn + 100, bandwidth=bandwidth).weights.toarray(), expected, atol=1e-5)
    order = np.random.default_rng(3).permutation(len(X))
    np.testing.assert_allclose(
        knn_affinity(X[order], bandwidth=bandwidth).weights.toarray(), expected[np.ix_(order, order)], atol=1e-6
    )


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("d", [2, 40])
def test_duplicates_have_weight_one_and_keep_edges_to_other_nodes(bandwidth: Bandwidth, offset: float, d: int) -> None:
    X = points(50, d)
    X[:15] = X[0]
    edges = np.array([[0, 40], [3, 41]])
    W = knn_affinity(X + offset, neighbors=10, bandwidth=bandwidth, edges=edges).weights.toarray()
    assert np.isfinite(W).all()
    assert (W[:15, :15].sum(axis=1) >= 9.99).all()
    # A width of zero, or of the size of rounding errors, would reduce these edges to the smallest weight.
    expected = knn_affinity(X, neighbors=10, bandwidth=bandwidth, edges=edges).weights.toarray()
    typical = np.linalg.norm(X[0] - X[40])
    assert W[0, 40] == pytest.approx(expected[0, 40], rel=1e-2)
    if bandwidth == "self_tuning":
        reach = np.sort(np.linalg.norm(X[15:, None] - X[None], axis=-1), axis=1)[:, 10]
        assert W[0, 40] > max(1e-4, 0.5 * np.exp(-(typical**2) / (2 * reach.min() ** 2)))


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
def test_constant_features_give_a_connected_graph_of_equal_weights(bandwidth: Bandwidth, value: float) -> None:
    affinity = knn_affinity(np.full((30, 6), value), neighbors=5, bandwidth=bandwidth)
    assert affinity.components.max() == 0
    np.testing.assert_allclose(affinity.weights.data, 1)


def test_mean_halves_an_edge_that_only_one_node_has_chosen() -> None:
    X = np.array([[0.0], [1.0], [2.1], [3.3]])
    one_way = knn_affinity(X, neighbors=1, symmetrize="max", bandwidth=1.0).weights.toarray()
    mean = knn_affinity(X, neighbors=1, symmetrize="mean", bandwidth=1.0).weights.toarray()
    assert mean[0, 1] == pytest.approx(one_way[0, 1])  # each is the other's nearest neighbour
    assert mean[1, 2] == pytest.approx(one_way[1, 2] / 2)
    assert mean[2, 3] == pytest.approx(one_way[2, 3] / 2)


def test_faint_and_repeated_edges_are_kept() -> None:
    X = np.concatenate([points(20, 2), points(20, 2, seed=1) + 1000])
    edges = np.array([[2, 30], [30, 2], [2, 30], [5, 35]])
    W = knn_affinity(X, neighbors=3, edges=edges).weights.toarray()
    once = knn_affinity(X, neighbors=3, edges=edges[[0, 3]]).weights.toarray()
    np.testing.assert_array_equal(W, once)
    assert W[2, 30] > 0
    assert W[35, 5] > 0


def test_nearest_neighbours_are_other_nodes_in_ascending_distance() -> None:
    X = points(40)
    distance, neighbor = nearest_neighbors(Search(X), 6)
    assert (neighbor != np.arange(40)[:, None]).all()
    assert all((a <= b).all() for a, b in pairwise(distance.T))
    np.testing.assert_allclose(distance, np.linalg.norm(X[:, None] - X[neighbor], axis=-1), atol=1e-9)


@pytest.mark.parametrize(
    "X", [np.zeros(5), np.zeros((0, 3)), np.zeros((2, 3, 4)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)]
)
def test_features_that_are_not_a_finite_table_are_refused(X: NDArray[np.float64]) -> None:
    with pytest.raises(GraphError, match="features"):
        knn_affinity(X)


def test_the_features_are_not_changed_and_may_be_read_only() -> None:
    X = points()
    X.setflags(write=False)
    before = X.copy()
    knn_affinity(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("count", [80, 200, 600])
@pytest.mark.parametrize("head", ["exact", "neuncut"])
def test_two_segments_are_a_block_and_its_uniform_ground(head: str, count: int) -> None:
    """The ground is so uniform that the superpixels of the block are far apart, by the measure of the ground."""
    random = np.random.default_rng(0)
    block = np.zeros((120, 160), bool)
    block[10:40, 10:60] = True
    levels = np.where(block, 222, 62)[..., None] + random.normal(0, 1.7, (120, 160, 3))
    pipeline = make_pipeline({"head": head, "refine": "none", "superpixels": {"count": count}})
    found = pipeline.solve(pipeline.describe(levels.astype(np.uint8)), 2).labels == 2
    assert (found & block).sum() > 0.9 * (found | block).sum()
