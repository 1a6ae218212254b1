"""Distances are exact, so equal places are equal at each call."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from segspectral.values.distances import distances


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (57, 43), (240, 320)])
def test_they_are_the_roots_of_whole_numbers(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    inside = np.ones(shape, bool)
    inside.ravel()[random.integers(0, inside.size, 3)] = False
    expected = ndimage.distance_transform_edt(inside).astype(np.float32)
    np.testing.assert_array_equal(distances(inside), expected)


def test_they_do_not_depend_on_where_an_array_lies_in_memory() -> None:
    random = np.random.default_rng(0)
    inside = random.random((240, 320)) > 1e-3
    room, once = np.empty(inside.size + 64, bool), distances(inside)
    for start in range(64):
        moved = room[start : start + inside.size].reshape(inside.shape)
        moved[:] = inside
        kept = np.empty(int(random.integers(1, 100_000)))  # so that results lie elsewhere, too
        np.testing.assert_array_equal(distances(moved), once)
        del kept
