"""Nearest neighbours: a slow reference, and the two ways against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from segspectral.spectral import knn, search


def slowly(
    rows: NDArray[np.float64], k: int, queries: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points = rows if queries is None else queries
    squared = ((points[:, None] - rows[None]) ** 2).sum(axis=2)
    if queries is None:
        np.fill_diagonal(squared, np.inf)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, order, axis=1)), order


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.integers(2, 90),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 30),
    st.sampled_from([0.0, 2.0**27]),
    st.sampled_from([1.0, 2.0**-40, 2.0**60]),
    st.integers(0, 10_000),
)
def test_of_equally_near_rows_the_first_are_taken(
    n: int, dimensions: int, values: int, k: int, shift: float, scale: float, seed: int
) -> None:
    """Whole numbers times a power of two: many copies and ties, and no distance is rounded."""
    rng = np.random.default_rng(seed)
    rows = (rng.integers(0, values, (n, dimensions)) + shift) * scale
    for queries in (None, (rng.integers(0, values, (7, dimensions)) + shift) * scale):
        most = min(k, n - 1 if queries is None else n)
        distance, neighbor = search.nearest(rows, most, queries)
        expected, order = slowly(rows, most, queries)
        assert np.array_equal(neighbor, order)
        assert np.array_equal(distance, expected)


def test_an_outlier_does_not_blur_the_others() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 3))
    rows[17] = 1e12
    distance, neighbor = search.nearest(rows, 6)
    expected, order = slowly(rows, 6, None)
    assert np.array_equal(neighbor, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-14)


@pytest.mark.parametrize(("n", "dimensions", "k"), [(40, 3, 39), (700, 40, 10), (1500, 20, 30), (1500, 5, 1)])
def test_both_ways_find_the_same(n: int, dimensions: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, dimensions))
    for queries in (None, rng.normal(size=(50, dimensions))):
        monkeypatch.setattr(search, "SEARCHED_BELOW", n + 1)
        ours = search.nearest(rows, k, queries)
        monkeypatch.setattr(search, "SEARCHED_BELOW", 0)
        theirs = search.nearest(rows, k, queries)
        assert np.array_equal(ours[1], theirs[1])
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)


def test_parts_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).normal(size=(101, 4))
    whole = search.nearest(rows, 5)
    monkeypatch.setattr(search, "AT_ONCE", 7 * rows.size)
    for ours, expected in zip(search.nearest(rows, 5), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-14)


def sheets(n: int, seed: int = 0) -> NDArray[np.float64]:
    """(n, 20) points near two curved sheets, far from the origin and in small units."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, (n, 2))
    bent = np.column_stack([place, np.sin(3 * place[:, 0]), place[:, 0] * place[:, 1], (np.arange(n) % 2) * 4.0])
    return 1e-4 * (bent @ rng.normal(size=(5, 20)) + rng.normal(size=(n, 20)) * 0.02) + 7


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "LISTS_FROM", 3000)


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("own", [True, False])
def test_lists_find_nearly_all_neighbours_and_tell_how_many(own: bool) -> None:
    rows, queries = sheets(4000), None if own else sheets(300, seed=1)
    by_lists = search.Search(rows)
    distance, neighbor = by_lists.nearest(10, queries)
    points = rows if queries is None else queries
    apart = cdist(points, rows)
    if own:
        np.fill_diagonal(apart, np.inf)
    true = np.argsort(apart, axis=1)[:, :10]
    found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(neighbor, true, strict=True)])
    assert found > 0.97
    assert abs(by_lists.recall - found) < 0.02
    assert (np.diff(distance, axis=1) >= 0).all()
    np.testing.assert_allclose(distance, np.take_along_axis(apart, neighbor, axis=1), rtol=1e-9)


@pytest.mark.usefixtures("lists")
def test_lists_that_miss_neighbours_are_searched_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in many dimensions has no lists: nearly all of them must be searched for a recall of one."""
    rows = np.random.default_rng(0).normal(size=(3000, 30))
    by_lists = search.Search(rows)
    by_lists.nearest(5)
    assert 0.99 <= by_lists.recall <= 1
    monkeypatch.setattr(search, "RECALL", 1.0)
    all_of_them = search.Search(rows)
    all_of_them.nearest(5)
    assert all_of_them.recall == 1


@pytest.mark.usefixtures("lists")
def test_lists_give_equal_neighbours_each_time_and_copies_have_distance_zero() -> None:
    rows = np.repeat(sheets(1500), 3, axis=0)
    distance, neighbor = search.nearest(rows, 4)
    again = search.nearest(rows.copy(), 4)
    assert np.array_equal(distance, again[0])
    assert np.array_equal(neighbor, again[1])
    assert (distance[:, :2] == 0).all()
    assert (distance[:, 2] > 0).all()


@pytest.mark.usefixtures("lists")
def test_points_whose_lists_hold_too_few_rows_get_all_their_neighbours() -> None:
    """A point far away from all others is alone in its list."""
    rows = sheets(3500)
    rows[:3] += np.array([[1e3], [2e3], [4e3]])
    distance, _ = search.nearest(rows, 10)
    true = np.linalg.norm(rows - rows[:3, None], axis=2)
    for i in range(3):
        assert np.isfinite(distance[i]).all()
        np.testing.assert_allclose(distance[i], np.sort(true[i])[1:11], rtol=1e-3)


@pytest.mark.usefixtures("lists")
def test_the_graph_of_many_points_is_connected_and_knows_its_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "PAIRS", 10_000)
    rng = np.random.default_rng(3)
    X = np.repeat(np.eye(6)[:, :5] * 40, 700, axis=0) + rng.normal(size=(4200, 5))
    affinity = knn.knn_affinity(X)
    assert affinity.recall >= 0.99
    assert affinity.components.max() == 0
    # The bridges are short: no longer than twice the exact ones.
    monkeypatch.setattr(knn, "PAIRS", 2**40)
    monkeypatch.setattr(search, "LISTS_FROM", 10**9)
    exact = knn.knn_affinity(X)
    assert exact.recall == 1
    group = np.arange(4200) // 700

    def bridge(graph: knn.Affinity) -> float:
        edges = graph.weights.tocoo()
        return float(np.linalg.norm(X[edges.row] - X[edges.col], axis=1)[group[edges.row] != group[edges.col]].max())

    assert bridge(affinity) < 1.2 * bridge(exact)
