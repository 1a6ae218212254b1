"""Large images are worked on small: what must not change, and what must come back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.config import with_settings
from segspectral.figures import with_stages_of
from segspectral.pipeline import Pipeline
from segspectral.refine import DenseCrf, crf_installed
from segspectral.resolution import joint_upsampling, lifted, lowered, reduced
from segspectral.superpixels import Slic
from segspectral.types import Image

Quadrants = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.mark.parametrize("shape", [(96, 112), (97, 113), (31, 200)])
def test_lifting_keeps_superpixels_and_what_touches_what(shape: tuple[int, int]) -> None:
    image = Image(np.random.default_rng(0).integers(0, 255, (31, 40, 3), dtype=np.uint8))
    small = Slic(count=20)(image)
    large = lifted(small, shape)
    assert large.labels.shape == shape
    assert len(large) == len(small)
    np.testing.assert_array_equal(large.borders, small.borders)
    np.testing.assert_array_equal(lowered(large, small.shape).labels, small.labels)


def test_an_image_that_is_small_enough_or_has_void_pixels_stays_as_it_is(cat: NDArray[np.uint8]) -> None:
    image = Image(cat)
    assert reduced(image, cat.shape[0] * cat.shape[1]) is image
    assert reduced(Image(cat, mask=np.ones(cat.shape[:2], bool)), 1000).shape == cat.shape[:2]
    half = reduced(image, cat.shape[0] * cat.shape[1] // 4)
    assert half.shape == (cat.shape[0] // 2, cat.shape[1] // 2)


def test_a_slanted_border_comes_back_to_the_pixel() -> None:
    rows, cols = np.indices((240, 320))
    truth = (cols > 100 + rows // 3).astype(np.int32) + 1
    image = Image(np.where(truth[..., None] == 1, np.uint8(40), np.uint8([200, 120, 90])).astype(np.uint8))
    small = reduced(image, 240 * 320 // 16)
    cells = truth[2::4, 2::4]
    joint = joint_upsampling(np.ascontiguousarray(cells), small, image)
    blocky = np.kron(cells, np.ones((4, 4), np.int32))
    assert (joint != truth).mean() < 0.2 * (blocky != truth).mean()
    assert set(np.unique(joint)) == {1, 2}


def test_bands_leave_no_trace(cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(cat)
    small = reduced(image, 1200)
    labels = np.random.default_rng(0).integers(1, 5, small.shape).astype(np.int32)
    whole = joint_upsampling(labels, small, image)
    split = np.array_split
    monkeypatch.setattr("segspectral.resolution.np.array_split", lambda rows, _: split(rows, 7))
    np.testing.assert_array_equal(joint_upsampling(labels, small, image), whole)


@pytest.mark.parametrize("hierarchy", [False, True])
def test_a_large_image_gets_labels_of_its_own_size(quadrants: Quadrants, hierarchy: bool) -> None:
    rgb = np.kron(quadrants[0], np.ones((3, 3, 1), np.uint8))
    pipeline = Pipeline(segments=4, hierarchy=hierarchy, working_pixels=96 * 112, features={"cnn": None})
    result = pipeline(Image(rgb))
    assert result.labels.shape == rgb.shape[:2]
    assert result.superpixels.labels.shape == rgb.shape[:2]
    truth = np.kron(quadrants[1], np.ones((3, 3), np.int64))
    counts = np.zeros((5, 5))
    np.add.at(counts, (truth.ravel(), result.labels.ravel()), 1)
    assert counts.max(axis=0).sum() > 0.9 * truth.size
    assert result.hierarchy.labels(segments=4).shape == rgb.shape[:2]
    assert result.hierarchy.contour_map.shape == rgb.shape[:2]


@pytest.mark.skipif(not crf_installed(), reason="pydensecrf is not installed")
def test_a_crf_on_a_coarser_grid_says_nearly_the_same(cat: NDArray[np.uint8]) -> None:
    image = Image(np.ascontiguousarray(np.kron(cat, np.ones((2, 2, 1), np.uint8))))
    result = Pipeline(segments=4, superpixels={"count": 150}, refine="none")(image)
    fine, coarse = (
        DenseCrf(pixels=pixels)(image, result.superpixels, result.membership) for pixels in (30_000, 144 * 192 // 4)
    )
    unrefined = result.labels - 1
    assert coarse.shape == image.shape
    assert (coarse != fine).mean() < 0.5 * (unrefined != fine).mean()


@pytest.mark.parametrize("change", [{"segments": 3}, {"segments": 4, "hierarchy": True}, {"working_pixels": 60 * 70}])
def test_the_stages_of_a_large_image_are_used_again(quadrants: Quadrants, change: dict[str, int]) -> None:
    image = Image(np.kron(quadrants[0], np.ones((3, 3, 1), np.uint8))[:-1, :-2])
    pipeline = Pipeline(segments=4, working_pixels=96 * 112, features={"cnn": None}, refine="guided", head="exact")
    other = with_settings(pipeline, change)
    again = with_stages_of(pipeline(image), other)(image)
    np.testing.assert_array_equal(again.labels, other(image).labels)
