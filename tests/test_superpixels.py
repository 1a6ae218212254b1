"""Superpixels equal those of scikit-image's public function, which is slower to import."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.measure import label
from skimage.segmentation import slic

from segspectral.superpixels import Slic, _lab, _seeds
from segspectral.values import Image
from segspectral.values.labels import pieces

SHAPES = [(72, 108), (8, 8), (9, 108), (72, 8), (37, 53), (8, 100)]


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("count", [2, 7, 60, 1000, 100_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_superpixels_are_those_of_scikit_image(
    cat: NDArray[np.uint8], shape: tuple[int, int], count: int, floats: bool
) -> None:
    rgb = cat[: shape[0], : shape[1]]
    image = Image(rgb / np.float32(255) if floats else rgb)
    reference = slic(
        image.float32, n_segments=min(count, rgb[..., 0].size), compactness=20.0, max_num_iter=10, start_label=1
    )
    expected = label(reference + 1, connectivity=1, background=0) - 1
    np.testing.assert_array_equal(Slic(count=count)(image).labels, expected)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 60, 599, 10_000])
@pytest.mark.parametrize("shape", [*SHAPES, (321, 481), (481, 321), (300, 7), (1, 40)])
def test_seeds_are_those_of_scikit_image(shape: tuple[int, int], count: int) -> None:
    from skimage.util import regular_grid

    rows, cols = _seeds(shape, count)
    expected = [np.arange(n)[part] for n, part in zip(shape, regular_grid((1, *shape), count)[1:], strict=True)]
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(cols, expected[1])


@pytest.mark.parametrize("dark", [0.0, 0.3])
def test_lab_is_that_of_the_stretched_image(cat: NDArray[np.uint8], dark: float) -> None:
    for rgb in (np.maximum(cat, np.uint8(255 * dark)), np.maximum(cat / np.float32(255), np.float32(dark))):
        image = Image(rgb)
        low, high = image.float32.min(), image.float32.max()
        np.testing.assert_allclose(_lab(image), rgb2lab((image.float32 - low) / (high - low)), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (8, 8), (30, 41)])
@pytest.mark.parametrize("void", [0.0, 0.2])
def test_pieces_are_connected_components_in_order(shape: tuple[int, int], void: float) -> None:
    rng = np.random.default_rng(shape[1])
    labels = rng.integers(0, 3, shape)
    labels[rng.random(shape) < void] = -1
    found = pieces(labels)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, label(labels + 1, connectivity=1, background=0) - 1)
