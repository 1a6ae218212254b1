"""The automatic levels: what comes with segspectral, and how ``tools/fit_level.py`` chooses them."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from segspectral.errors import SettingsError
from segspectral.levels import COUNT_SHARE, count_regions, fitted
from segspectral.metrics.region import region_counts
from segspectral.pipeline import Pipeline
from segspectral.values import Image
from segspectral.values.regions import SWEEP_LEVELS, Hierarchy, RegionGraph

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("torch")  # the decoder of a fold needs it
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("fit_level")
    finally:
        sys.path.pop(0)


def striped() -> tuple[Image, np.ndarray]:
    """(120, 180) three stripes, of which the first two are alike, and two people: one joins these two."""
    regions = np.repeat([1, 2, 3], 60)[None].repeat(120, axis=0).astype(np.uint16)
    grey = np.array([0, 90, 110, 220])[regions][..., None] + np.random.default_rng(0).normal(0, 12, (120, 180, 3))
    return Image(np.clip(grey, 0, 255).astype(np.uint8)), np.stack([regions, np.maximum(regions, 2)])


def chain(*altitudes: float, area: tuple[int, ...]) -> Hierarchy:
    """A tree of regions in a row, which are joined from the left."""
    n = len(area)
    borders = np.array([(i, i + 1) for i in range(n - 1)], np.int32)
    graph = RegionGraph(np.array(area), borders, np.ones(n - 1), np.array(altitudes))
    return Hierarchy(graph, np.array([(0, i + 1) for i in range(n - 1)], np.int64), np.array(altitudes))


def test_small_regions_are_not_counted_and_a_whole_image_is_none() -> None:
    tree = chain(0.1, 0.3, 0.5, area=(60, 1, 40, 3))
    assert 1 / 104 < COUNT_SHARE < 3 / 104
    assert [count_regions(tree, level) for level in (0.0, 0.1, 0.3, 0.5)] == [3, 3, 2, 0]
    with pytest.raises(SettingsError, match=r"in \[0, 1\]"):
        count_regions(tree, 1.5)


def test_a_run_without_a_level_is_the_cut_at_the_fitted_level() -> None:
    image, _ = striped()
    pipeline = Pipeline(features={"cnn": None}, superpixels={"count": 60}, hierarchy=True)
    scene = pipeline.describe(image)
    np.testing.assert_array_equal(pipeline.solve(scene).labels, scene.hierarchy.labels(level=fitted().cut))


def test_the_documentation_says_the_fitted_levels() -> None:
    """Who fits the levels anew is told here what to write."""
    levels = fitted()
    for page, wanted in {
        "concepts/index.md": (
            f"regions at level {levels.count} that",
            f"regions of the hierarchy at level {levels.cut},",
        ),
        "concepts/hierarchy.md": (f"| {levels.cut} (automatic) |", f"cuts at level {levels.cut},"),
        "howto/photographs.md": (f"cut at level {levels.cut}.",),
        "faq.md": (f"{levels.cut} is the level that",),
    }.items():
        text = " ".join((ROOT / "docs" / page).read_text().split())
        assert [phrase for phrase in wanted if phrase not in text] == [], page


def test_coverings_are_those_of_label_maps(tool: ModuleType) -> None:
    """Counting superpixels instead of pixels changes nothing."""
    image, people = striped()
    scene = Pipeline(features={"cnn": None}, superpixels={"count": 60}).describe(image)
    labels = scene.work_superpixels.labels
    for level in (0.1, 0.3):
        region = scene.graph.hierarchy.regions(level=level)
        found = tool.coverings(region, tool.votes(labels, people))
        slow = [region_counts(region[labels], person).scores()["covering_ods"] for person in people]
        np.testing.assert_allclose(found, slow)


def test_the_best_level_its_oracles_and_what_cross_fitting_hides(tool: ModuleType) -> None:
    """Two images, with one and two people, of which each has another best level: all by hand."""
    levels = len(SWEEP_LEVELS)
    one, two = np.zeros((levels, 1)), np.zeros((levels, 2))
    one[3], one[7] = 0.9, 0.6
    two[7], two[9] = (0.5, 0.8), (0.9, 0.2)
    assert tool.best_level([one, two]) == SWEEP_LEVELS[7]
    assert tool.covered_at([one, two], SWEEP_LEVELS[7]) == pytest.approx((0.6 + 0.5 + 0.8) / 3)
    assert tool.oracle([one, two]) == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert tool.of_the_others([one, two]) == pytest.approx((0.5 + 0.2) / 2)  # person 1 by 2, person 2 by 1
    assert tool.cross_fitted([one, two]) == pytest.approx((0.6 + 0 + 0) / 3)


def test_the_program_writes_levels_that_the_pipeline_reads(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data" / "bsds500" / "train"
    for folder in ("images", "gt"):
        (root / folder).mkdir(parents=True)
    image, people = striped()
    cv2.imwrite(str(root / "images" / "1.jpg"), image.uint8)
    np.savez(root / "gt" / "1.npz", segs=people)
    monkeypatch.setattr(sys, "argv", ["fit_level.py", "--data", str(tmp_path / "data"), "--out", str(tmp_path)])
    tool.main()
    written = json.loads((tmp_path / "level.json").read_text())
    assert set(written) == set(asdict(fitted()))
    assert set(written.values()) <= set(SWEEP_LEVELS)
    assert capsys.readouterr().out.count("oracles") == len(written)
    (tmp_path / "level.json").unlink()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--score", "train", "--levels", "cut"])
    tool.main()
    assert f"cut: level {fitted().cut} has covering" in capsys.readouterr().out
    assert not (tmp_path / "level.json").exists()
    monkeypatch.setattr(sys, "argv", ["fit_level.py", "--data", str(tmp_path / "nothing"), "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        tool.main()
    assert "no images" in capsys.readouterr().err


def test_scenes_of_a_fold_have_its_edges(tool: ModuleType) -> None:
    """With the network that comes with segspectral, the scene is the usual one; with another it is not."""
    pytest.importorskip("onnx")
    from segspectral.features.backbones.edge_decoder import EdgeDecoder
    from segspectral.features.backbones.packaged_torch import load_in_torch

    shipped = load_in_torch()

    image, _ = striped()
    pipeline = Pipeline(superpixels={"count": 60})
    usual = pipeline.describe(image).graph.boundary
    same = tool.described(pipeline, image, tool.Network(shipped, shipped.decoder)).graph.boundary
    other = tool.described(pipeline, image, tool.Network(shipped, EdgeDecoder().eval())).graph.boundary
    assert usual is not None
    np.testing.assert_allclose(same, usual, atol=1e-4)
    assert not np.array_equal(other, usual)
