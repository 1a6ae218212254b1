"""Large images are segmented at a smaller size: what must not change, and what must be restored."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.pipeline import Pipeline
from segspectral.refine import DenseCrf, crf_installed
from segspectral.resolution import COLOUR_WIDTH, downsampled, joint_upsampling
from segspectral.settings import with_settings
from segspectral.superpixels import Slic
from segspectral.values import Image

Quadrants = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.mark.parametrize("shape", [(96, 112), (97, 113), (31, 200)])
def test_upsampled_superpixels_keep_their_numbers_and_borders(shape: tuple[int, int]) -> None:
    image = Image(np.random.default_rng(0).integers(0, 255, (31, 40, 3), dtype=np.uint8))
    small = Slic(count=20)(image)
    large = small.upsampled(Image(np.zeros((*shape, 3), np.uint8)))
    assert large.labels.shape == shape
    assert len(large) == len(small)
    np.testing.assert_array_equal(large.borders, small.borders)


def test_an_image_that_is_small_enough_is_not_changed(cat: NDArray[np.uint8]) -> None:
    image = Image(cat)
    assert downsampled(image, cat.shape[0] * cat.shape[1]) is image
    half = downsampled(image, cat.shape[0] * cat.shape[1] // 4)
    assert half.shape == (cat.shape[0] // 2, cat.shape[1] // 2)


def holed(cat: NDArray[np.uint8]) -> Image:
    """An image with single void pixels and a void disc, whose own colours must have no influence."""
    rows, cols = np.indices(cat.shape[:2])
    mask = np.random.default_rng(0).random(cat.shape[:2]) > 0.05
    mask &= (rows - 60) ** 2 + (cols - 90) ** 2 > 30**2
    return Image(np.where(mask[..., None], cat, np.uint8([255, 0, 255])), mask=mask)


def test_cells_are_means_of_their_valid_pixels(cat: NDArray[np.uint8]) -> None:
    height, width = cat.shape[:2]
    image = holed(cat)
    assert image.mask is not None
    small = downsampled(image, height * width // 4)
    assert small.mask is not None
    cells = (height // 2, 2, width // 2, 2)
    count = image.mask.reshape(cells).sum(axis=(1, 3))
    np.testing.assert_array_equal(small.mask, count > 0)
    sums = np.where(image.mask[..., None], cat, 0).reshape(*cells, 3).sum(axis=(1, 3))
    means = sums / np.maximum(count, 1)[..., None]
    assert np.abs(small.uint8 - means)[small.mask].max() <= 0.51
    other = Image(np.where(image.mask[..., None], cat, np.uint8(7)), mask=image.mask)
    np.testing.assert_array_equal(downsampled(other, height * width // 4).uint8, small.uint8)
    opaque = downsampled(Image(cat, mask=np.ones((height, width), bool)), height * width // 5)
    assert np.abs(opaque.uint8.astype(int) - downsampled(Image(cat), height * width // 5).uint8).max() <= 1


@pytest.mark.parametrize("refine", ["none", "guided", *(["crf"] if crf_installed() else [])])
@pytest.mark.parametrize("hierarchy", [False, True])
def test_a_large_image_with_void_pixels_keeps_its_void(cat: NDArray[np.uint8], refine: str, hierarchy: bool) -> None:
    image = holed(cat)
    assert image.mask is not None
    settings = {"superpixels": {"count": 60}, "features": {"cnn": None}, "refine": refine, "head": "exact"}
    pipeline = Pipeline(segments=4, hierarchy=hierarchy, working_pixels=3000, **settings)
    result = pipeline(image)
    np.testing.assert_array_equal(result.labels > 0, image.mask)
    np.testing.assert_array_equal(result.superpixels.labels >= 0, image.mask)
    assert result.segments == 4
    np.testing.assert_array_equal(result.hierarchy.labels(segments=3) > 0, image.mask)
    fewer = with_settings(pipeline, {"segments": 3})
    np.testing.assert_array_equal(fewer.solve(result.scene).labels, fewer(image).labels)


def test_a_slanted_border_is_restored_to_the_pixel() -> None:
    rows, cols = np.indices((240, 320))
    truth = (cols > 100 + rows // 3).astype(np.int32) + 1
    image = Image(np.where(truth[..., None] == 1, np.uint8(40), np.uint8([200, 120, 90])).astype(np.uint8))
    small = downsampled(image, 240 * 320 // 16)
    cells = truth[2::4, 2::4]
    joint = joint_upsampling(np.ascontiguousarray(cells), small, image)
    blocky = np.kron(cells, np.ones((4, 4), np.int32))
    assert (joint != truth).mean() < 0.2 * (blocky != truth).mean()
    assert set(np.unique(joint)) == {1, 2}


@pytest.mark.parametrize("void", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(30, 41), (8, 60), (9, 9)])
def test_each_pixel_has_the_label_of_the_best_of_nine_cells(
    cat: NDArray[np.uint8], shape: tuple[int, int], void: float
) -> None:
    rng = np.random.default_rng(shape[1])
    image = Image(cat[: shape[0], : shape[1]], mask=rng.random(shape) >= void if void else None)
    small = downsampled(image, image.mask.size // 7 if image.mask is not None else shape[0] * shape[1] // 7)
    labels = np.kron(rng.integers(1, 4, (9, 9)), np.ones((4, 4))).astype(np.int32)[: small.shape[0], : small.shape[1]]
    expected = np.zeros(shape, np.int32)
    for y, x in np.ndindex(shape):
        own = np.array([y, x]) * labels.shape // shape
        at = (np.array([y, x]) + 0.5) * labels.shape / shape - 0.5
        least = np.inf
        for cell in np.ndindex(labels.shape):
            if np.abs(cell - own).max() > 1 or not (small.mask is None or small.mask[cell]):
                continue
            colour = (image.float32[y, x] - small.float32[cell]).astype(np.float64)
            cost = (colour**2).sum() / COLOUR_WIDTH**2 + ((at - cell) ** 2).sum()
            if cost < least:
                least, expected[y, x] = cost, labels[cell]
    if image.mask is not None:
        expected[~image.mask] = 0
    np.testing.assert_array_equal(joint_upsampling(np.ascontiguousarray(labels), small, image), expected)


def test_the_bands_of_upsampling_do_not_change_the_result(
    cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(cat)
    small = downsampled(image, 1200)
    labels = np.random.default_rng(0).integers(1, 5, small.shape).astype(np.int32)
    whole = joint_upsampling(labels, small, image)
    split = np.array_split
    monkeypatch.setattr("segspectral.resolution.np.array_split", lambda rows, _: split(rows, 7))
    np.testing.assert_array_equal(joint_upsampling(labels, small, image), whole)


@pytest.mark.parametrize("hierarchy", [False, True])
@pytest.mark.parametrize("void", [0.0, 0.05])
def test_a_large_image_gets_labels_of_its_own_size(quadrants: Quadrants, hierarchy: bool, void: float) -> None:
    rgb = np.kron(quadrants[0], np.ones((3, 3, 1), np.uint8))
    mask = np.random.default_rng(0).random(rgb.shape[:2]) >= void
    pipeline = Pipeline(segments=4, hierarchy=hierarchy, working_pixels=96 * 112, features={"cnn": None})
    result = pipeline(Image(np.where(mask[..., None], rgb, np.uint8(99)), mask=mask if void else None))
    assert result.labels.shape == rgb.shape[:2]
    assert result.superpixels.labels.shape == rgb.shape[:2]
    truth = np.kron(quadrants[1], np.ones((3, 3), np.int64))
    counts = np.zeros((5, 5))
    np.add.at(counts, (truth[mask], result.labels[mask]), 1)
    assert counts.max(axis=0).sum() > 0.9 * mask.sum()
    assert result.hierarchy.labels(segments=4).shape == rgb.shape[:2]
    assert result.hierarchy.contour_map.shape == rgb.shape[:2]


@pytest.mark.skipif(not crf_installed(), reason="pydensecrf is not installed")
def test_a_crf_at_a_smaller_size_gives_nearly_the_same_labels(cat: NDArray[np.uint8]) -> None:
    image = Image(np.ascontiguousarray(np.kron(cat, np.ones((2, 2, 1), np.uint8))))
    result = Pipeline(segments=4, superpixels={"count": 150}, refine="none")(image)
    fine, coarse = (
        DenseCrf(pixels=pixels)(image, result.superpixels, result.membership) for pixels in (30_000, 144 * 192 // 4)
    )
    unrefined = result.labels - 1
    assert coarse.shape == image.shape
    assert (coarse != fine).mean() < 0.5 * (unrefined != fine).mean()


@pytest.mark.parametrize("change", [{"segments": 3}, {"segments": 4, "hierarchy": True}, {"working_pixels": 60 * 70}])
def test_a_known_scene_gives_the_same_result_as_a_new_one(quadrants: Quadrants, change: dict[str, int]) -> None:
    image = Image(np.kron(quadrants[0], np.ones((3, 3, 1), np.uint8))[:-1, :-2])
    pipeline = Pipeline(segments=4, working_pixels=96 * 112, features={"cnn": None}, refine="guided", head="exact")
    other = with_settings(pipeline, change)
    again = other.describe(image, known=pipeline.describe(image))
    np.testing.assert_array_equal(other.solve(again).labels, other(image).labels)
