"""Figures: the panels show what their titles say, and unusual images can be drawn, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral import Pipeline, Segmentation
from segspectral.cli import app
from segspectral.figures import (
    CUTS,
    PANEL,
    before_refinement,
    contact_sheet,
    eigengap_curve,
    eigenvector_pictures,
    entropy,
    figure,
    followed,
)
from segspectral.images.reader import as_image
from segspectral.settings import with_settings
from segspectral.values.later import Later

QUICK = {"features": {"cnn": None}, "head": "exact", "refine": "guided", "superpixels": {"count": 80}}


@pytest.fixture(scope="module")
def result(quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> Segmentation:
    image = np.dstack([quadrants[0], np.full(quadrants[0].shape[:2], 255, np.uint8)])
    image[:9, :9, 3] = 0  # a corner of void
    return with_settings(Pipeline(segments=4), QUICK)(as_image(image, "quadrants.png"))


def test_before_refinement_keeps_void_and_numbers(result: Segmentation) -> None:
    before = before_refinement(result)
    assert ((before == 0) == (result.labels == 0)).all()
    assert (before == result.labels).mean() > 0.9
    assert result.labels[0, 0] == 0


def test_entropy_is_between_0_and_1(result: Segmentation) -> None:
    from dataclasses import replace

    nodes = len(result.superpixels)
    sure = replace(result.membership, probabilities=np.eye(4, dtype=np.float32)[np.zeros(nodes, int)])
    torn = replace(result.membership, probabilities=np.full((nodes, 4), 0.25, np.float32))
    assert entropy(replace(result, later_membership=Later(lambda: sure))).max() == 0
    torn_map = entropy(replace(result, later_membership=Later(lambda: torn)))
    assert np.allclose(torn_map[result.labels > 0], 1)
    assert (torn_map[result.labels == 0] == 0).all()


def test_eigenvectors_are_constant_on_superpixels_and_have_both_signs(result: Segmentation) -> None:
    pictures = eigenvector_pictures(result)
    assert len(pictures) == 4
    for picture in pictures:
        assert picture.shape == (*result.image.shape, 3)
        assert (picture[result.labels == 0] == 170).all()
        where = result.superpixels.labels == 5
        assert len(np.unique(picture[where], axis=0)) == 1
    blue = pictures[0][..., 2].astype(int) - pictures[0][..., 0]
    assert blue.min() < -3
    assert blue.max() > 3, "the second eigenvector has both signs"


def test_the_curve_marks_the_chosen_gap(result: Segmentation) -> None:
    from dataclasses import replace

    marked = (253, 232, 214)
    curve = eigengap_curve(result, 200, 400)
    columns = np.flatnonzero((np.abs(curve.astype(int) - marked).max(axis=2) < 8).any(axis=0))
    values = len(result.membership.eigenvalues)  # type: ignore[arg-type]
    at = 52 + (np.array([3, 4]) / (values - 1)) * (400 - 14 - 52)  # of the 4th and the 5th
    assert columns.min() == pytest.approx(at[0], abs=3)
    assert columns.max() == pytest.approx(at[1], abs=3)
    unknown = replace(result.membership, eigenvalues=None)
    none = eigengap_curve(replace(result, later_membership=Later(lambda: unknown)))
    assert none.min() < 100, "says that there are none"


def test_a_figure_has_three_rows_of_four_panels(result: Segmentation) -> None:
    picture = figure(result)
    height = round(PANEL * 96 / 112)
    assert picture.shape == (3 * (height + 38) + 12, 4 * (PANEL + 12) + 12, 3)


def test_a_figure_of_the_hierarchy_has_two_rows(cat: NDArray[np.uint8]) -> None:
    made = with_settings(Pipeline(hierarchy=True), {"superpixels": {"count": 20}})(as_image(cat, "cat.png"))
    assert len(made.superpixels) < CUTS[-1], "fewer than the finest cut asks for"
    assert figure(made).shape == (2 * (round(PANEL * cat.shape[0] / cat.shape[1]) + 38) + 12, 4 * (PANEL + 12) + 12, 3)


@pytest.mark.parametrize("shape", [(20, 300), (300, 20)])
def test_narrow_images_and_few_superpixels_can_be_drawn(shape: tuple[int, int]) -> None:
    ramp = (np.indices(shape).sum(axis=0) // 80 * 70).astype(np.uint8)
    image = as_image(np.dstack([ramp, 255 - ramp, ramp]), "a" * 200)
    result = with_settings(Pipeline(segments=2), {**QUICK, "superpixels": {"count": 6}})(image)
    assert figure(result).shape[1] > 800


def test_the_command_line_writes_a_contact_sheet(samples: Path, tmp_path: Path) -> None:
    quick = ["--set", "features.cnn=null", "--refine", "none", "--head", "exact", "--figure"]
    result = CliRunner().invoke(app, ["segment", str(samples / "cat.jpg"), "-o", str(tmp_path), "-k", "2,3", *quick])
    assert result.exit_code == 0, result.output
    for k in (2, 3):
        assert np.asarray(PIL.Image.open(tmp_path / f"cat_k{k}_labels.png")).max() == k
        assert PIL.Image.open(tmp_path / f"cat_k{k}_figure.png").width > 1000
    assert PIL.Image.open(tmp_path / "cat_sheet.png").width == 3 * (PANEL + 12) + 12
    refused = CliRunner().invoke(app, ["segment", str(samples / "cat.jpg"), "-o", str(tmp_path), "-k", "4,x"])
    assert refused.exit_code == 2
    assert "'x' is neither a whole number" in refused.output


def test_the_sheet_begins_with_the_photograph(result: Segmentation) -> None:
    sheet = contact_sheet([result, result.pipeline.solve(result.scene, 2)])
    assert sheet.shape[1] == 3 * (PANEL + 12) + 12
    middle = sheet[12 + 26 + 40, 12 + 60]
    assert np.abs(middle.astype(int) - result.image.rgb[12, 18]).max() < 40


def test_a_region_keeps_its_colour_from_panel_to_panel() -> None:
    coarse = np.ones((40, 40), np.int32)
    coarse[:, 25:] = 2
    fine = np.full((40, 40), 3, np.int32)  # the numbers change, and the left half is divided
    fine[:15, :25], fine[:, 25:] = 2, 1
    finest = fine.copy()
    finest[30:, 30:] = 4
    one, two, three = followed([coarse, fine, finest])
    assert (two[3] == one[1]).all()
    assert (two[1] == one[2]).all()
    assert (three[1:4] == two[1:]).all()
    assert len({tuple(colour) for colour in three[1:].tolist()}) == 4
    assert not {tuple(two[2]), tuple(three[4])} & {tuple(colour) for colour in one.tolist()}
