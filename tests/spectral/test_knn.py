"""Nearest neighbours: a slow reference, and the two ways against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segspectral.spectral import knn


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
        distance, neighbor = knn.nearest(rows, most, queries)
        expected, order = slowly(rows, most, queries)
        assert np.array_equal(neighbor, order)
        assert np.array_equal(distance, expected)


def test_an_outlier_does_not_blur_the_others() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 3))
    rows[17] = 1e12
    distance, neighbor = knn.nearest(rows, 6)
    expected, order = slowly(rows, 6, None)
    assert np.array_equal(neighbor, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-14)


@pytest.mark.parametrize(("n", "dimensions", "k"), [(40, 3, 39), (700, 40, 10), (1500, 20, 30), (1500, 5, 1)])
def test_both_ways_find_the_same(n: int, dimensions: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, dimensions))
    for queries in (None, rng.normal(size=(50, dimensions))):
        monkeypatch.setattr(knn, "SEARCHED_BELOW", n + 1)
        ours = knn.nearest(rows, k, queries)
        monkeypatch.setattr(knn, "SEARCHED_BELOW", 0)
        theirs = knn.nearest(rows, k, queries)
        assert np.array_equal(ours[1], theirs[1])
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)


def test_parts_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).normal(size=(101, 4))
    whole = knn.nearest(rows, 5)
    monkeypatch.setattr(knn, "AT_ONCE", 7 * rows.size)
    for ours, expected in zip(knn.nearest(rows, 5), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-14)
