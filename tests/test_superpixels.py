"""Superpixels equal those of scikit-image's public function, which is slower to import."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.measure import label
from skimage.segmentation import slic, watershed

from segspectral.errors import SettingsError
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.superpixels import NEARER, Slic, Watershed, _distance, _flooded, _lab, _off_edges, _seeds
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


# --- the watershed ---


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("count", [2, 60, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_watershed_is_that_of_scikit_image(shape: tuple[int, int], count: int, void: bool) -> None:
    heights = np.random.default_rng(count).random(shape)
    mask = np.indices(shape).sum(axis=0) % 41 > 4 if void else None
    rows, cols = _off_edges(_seeds(shape, count), heights, mask, 0)
    markers = np.zeros(shape, np.int32)
    markers[rows, cols] = np.arange(len(rows)) + 1
    expected = watershed(heights, markers, mask=mask)
    expected = pieces(expected if mask is None else np.where(mask, expected, -1))
    np.testing.assert_array_equal(_flooded(heights, (rows, cols), mask), expected)


@pytest.mark.parametrize("void", [False, True])
def test_basins_merge_across_the_lowest_border(void: bool) -> None:
    """Against a twin that measures all borders anew after each merge."""
    # Smooth, because a basin of one pixel has equal borders with all around it.
    smooth = cv2.GaussianBlur(np.random.default_rng(5).random((48, 64), np.float32), (0, 0), 2)
    mask = np.indices((48, 64)).sum(axis=0) % 41 > 4 if void else None
    method = Watershed(count=20, basin_pixels=48 * 64 / 60, reach=0)
    made = method.along(Image(np.zeros((48, 64, 3), np.uint8), mask=mask), smooth)
    seeds = _off_edges(_seeds((48, 64), 60), smooth, mask, 0)
    heights = smooth + np.float32(method.evenness) * _distance(seeds, (48, 64))
    labels = _flooded(heights, seeds, mask)
    while len(np.unique(labels[labels >= 0])) > method.count:
        lines: dict[tuple[int, int], list[float]] = {}
        for here, there, at in (
            (labels[:-1], labels[1:], np.maximum(heights[:-1], heights[1:])),
            (labels[:, :-1], labels[:, 1:], np.maximum(heights[:, :-1], heights[:, 1:])),
        ):
            border = (here != there) & (here >= 0) & (there >= 0)
            for a, b, height in zip(here[border], there[border], at[border], strict=True):
                lines.setdefault((min(a, b), max(a, b)), []).append(height)
        root = np.sqrt(np.bincount(labels[labels >= 0]))
        a, b = min(lines, key=lambda p: np.mean(lines[p]) * root[p[0]] * root[p[1]] / (root[p[0]] + root[p[1]]))
        labels[labels == b] = a
    np.testing.assert_array_equal(made.labels, pieces(labels))


def test_a_thing_between_the_seeds_of_a_coarse_grid_is_a_superpixel() -> None:
    heights = np.zeros((120, 120), np.float32)
    heights[61:70, 61:70] = 0.8
    heights[62:69, 62:69] = 0
    image = Image(np.full((120, 120, 3), 90, np.uint8))

    def inside(basin_pixels: float) -> int:
        """The area of the superpixel in the middle of the ring."""
        found = Watershed(count=16, basin_pixels=basin_pixels, reach=0).along(image, heights)
        return int(found.area[found.labels[65, 65]])

    assert inside(900) > 200
    assert inside(100) <= 81


def test_where_nothing_is_high_superpixels_are_even() -> None:
    image = Image(np.zeros((120, 160, 3), np.uint8))
    flat = Watershed(count=60, basin_pixels=130).along(image, np.zeros((120, 160), np.float32))
    assert len(flat) == 60
    assert flat.area.max() < 3 * flat.area.min()


def test_basins_are_not_larger_than_superpixels() -> None:
    heights = np.random.default_rng(0).random((90, 120), np.float32)
    many = [
        Watershed(count=400, basin_pixels=size).along(Image(np.zeros((90, 120, 3), np.uint8)), heights)
        for size in (27, 1e5)
    ]
    np.testing.assert_array_equal(many[0].labels, many[1].labels)


@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize("reach", [0, 0.3, 0.49])
@pytest.mark.parametrize("shape", SHAPES)
def test_seeds_move_to_the_lowest_place_in_reach(shape: tuple[int, int], reach: float, void: bool) -> None:
    heights = np.random.default_rng(3).random(shape).astype(np.float32)
    mask = np.indices(shape).sum(axis=0) % 41 > 4 if void else None
    grid = _seeds(shape, 60)
    low = cv2.GaussianBlur(heights, (0, 0), 1)
    far = [int(reach * line.step) for line in grid]
    expected = []
    for row, col in product(*grid):
        best = (np.inf, row, col)
        for r in range(max(0, row - far[0]), min(shape[0], row + far[0] + 1)):
            for c in range(max(0, col - far[1]), min(shape[1], col + far[1] + 1)):
                if mask is None or mask[r, c]:
                    best = min(best, (low[r, c] + NEARER * np.hypot(r - row, c - col), r, c))
        expected.append(best[1:])
    found = list(zip(*_off_edges(grid, heights, mask, reach), strict=True))
    assert found == expected
    assert len(set(found)) == len(found), "no two seeds meet"


def test_a_seed_on_an_edge_leaves_it() -> None:
    heights = np.zeros((60, 60), np.float32)
    heights[:, 29:32] = 0.8
    middle = _seeds(heights.shape, 9)[1][1]
    assert heights[0, middle] > 0
    rows, cols = _off_edges(_seeds(heights.shape, 9), heights, None, 0.3)
    assert (heights[rows, cols] == 0).all()
    still = _off_edges(_seeds(heights.shape, 9), np.zeros((60, 60), np.float32), None, 0.3)
    assert set(still[1]) == set(_seeds(heights.shape, 9)[1]), "where nothing is high, the grid stays"


def test_superpixels_end_at_an_edge_that_colours_do_not_show() -> None:
    ramp = np.broadcast_to(np.linspace(90, 110, 80).astype(np.uint8)[:, None, None], (80, 120, 3))
    edges = np.zeros((80, 120), np.float32)
    edges[:, 49:51] = 0.7

    def crossing(labels: NDArray[np.int32]) -> int:
        """The number of superpixels with at least ten pixels on both sides of the edge."""
        sides = [np.bincount(part.ravel(), minlength=labels.max() + 1) for part in (labels[:, :49], labels[:, 51:])]
        return int(((sides[0] >= 10) & (sides[1] >= 10)).sum())

    image = Image(ramp)
    assert crossing(Watershed(count=40)(image, edges).labels) == 0
    assert crossing(Slic(count=40)(image).labels) > 3


def test_edges_of_the_user_replace_those_of_the_network(cat: NDArray[np.uint8]) -> None:
    rows, cols = np.indices(cat.shape[:2])
    own, network = (rows % 20 == 10).astype(np.float32), (cols % 20 == 10).astype(np.float32)
    method = Watershed(count=60)
    of_user = method(Image(cat, edges=own), network)
    np.testing.assert_array_equal(of_user.labels, method(Image(cat, edges=own)).labels)
    assert not np.array_equal(of_user.labels, method(Image(cat), network).labels)


def test_the_default_follows_the_network_and_slic_does_not(cat: NDArray[np.uint8]) -> None:
    scene = Pipeline().describe(cat)
    image, edges = scene.work, Pipeline().features.see(scene.work)
    assert edges is not None
    np.testing.assert_array_equal(scene.superpixels.labels, Watershed()(image, edges.edges).labels)
    slic_of = Slic()(image).labels
    for settings in ({"superpixels": "slic"}, {"features": {"cnn": None}}, {"features": {"contours": None}}):
        pipeline = Pipeline.model_validate(settings)
        np.testing.assert_array_equal(pipeline.describe(cat).superpixels.labels, slic_of)
        # They are not taken over from a scene that followed the network.
        again = pipeline.describe(cat, known=scene)
        np.testing.assert_array_equal(again.superpixels.labels, slic_of)


def test_settings_of_slic_mean_slic() -> None:
    assert Pipeline.model_validate({"superpixels": {"compactness": 10}}).superpixels == Slic(compactness=10)
    assert with_settings(Pipeline(), {"superpixels": {"count": 50}}).superpixels == Watershed(count=50)
    assert with_settings(Pipeline(), {"superpixels": "slic"}).superpixels == Slic()
    assert with_settings(Pipeline(), {"superpixels": {"compactness": 10}}).superpixels == Slic(compactness=10)
    with pytest.raises(SettingsError, match=r"unknown setting superpixels\.evenness"):
        with_settings(Pipeline(), {"superpixels": {"compactness": 10, "evenness": 0.5}})
