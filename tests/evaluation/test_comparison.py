"""Evaluations side by side: paired resamples, what is left out, and what cannot be compared."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from segspectral.cli import app
from segspectral.errors import DatasetError
from segspectral.evaluation import compare

SHAPE = (24, 30)
IMAGES = 12


def truth_of(k: int) -> np.ndarray:
    return np.kron(np.random.default_rng(k).integers(0, 3, (4, 5)), np.ones((6, 6), int)).astype(np.uint8)


def segspectral(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def scored(root: Path, name: str, noise: float, *options: object, images: int = IMAGES) -> Path:
    """Score predictions of which ``noise`` of the pixels are wrong; the harder images have ten times as many."""
    data, predictions = root / "data", root / "predictions" / name
    for folder in (data / "images", data / "masks", predictions):
        folder.mkdir(parents=True, exist_ok=True)
    for k in range(images):
        rng = np.random.default_rng(100 + k)
        wrong = rng.random(SHAPE) < noise * (1 + 9 * (k % 2))
        Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(data / "images" / f"i{k}.png")
        Image.fromarray(truth_of(k)).save(data / "masks" / f"i{k}.png")
        Image.fromarray(np.where(wrong, 2, truth_of(k)).astype(np.uint8)).save(predictions / f"i{k}.png")
    out = root / f"out-{name}"
    result = segspectral("evaluate", "folder", data, "-o", out, "--predictions", predictions, *options)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {"good": scored(root, "good", 0.02), "bad": scored(root, "bad", 0.025), "same": scored(root, "same", 0.02)}


def test_equal_runs_differ_by_nothing(runs: dict[str, Path]) -> None:
    comparison = compare([runs["good"], runs["same"]])
    assert {(d.difference, d.low, d.high, d.better, d.verdict) for d in comparison.differences} == {
        (0.0, 0.0, 0.0, 0.5, "undecided")
    }
    assert {"miou", "pixel_accuracy", "trimap"} <= {d.score for d in comparison.differences}


def test_a_small_difference_on_every_image_is_found_though_the_images_differ_much_more(runs: dict[str, Path]) -> None:
    accuracy = next(d for d in compare([runs["good"], runs["bad"]]).differences if d.score == "pixel_accuracy")
    low, high = json.loads((runs["good"] / "results.json").read_text())["interval_95"]["semantic"]["pixel_accuracy"]
    assert low < accuracy.value < high  # the intervals of the two runs overlap
    assert accuracy.verdict == "worse"
    assert accuracy.low <= accuracy.difference <= accuracy.high < 0
    assert accuracy.better == 0


def test_what_a_mac_stores_beside_files_is_no_score(runs: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(next(iter(runs.values())), copy)
    part = next(copy.rglob("images/*.json"))
    part.with_name(f"._{part.name}").write_bytes(b"\0\5\26\7\0\2")
    result = CliRunner().invoke(app, ["compare", str(next(iter(runs.values()))), str(copy)])
    assert result.exit_code == 0, result.output


def test_exchanging_the_runs_changes_the_signs(runs: dict[str, Path]) -> None:
    there = compare([runs["good"], runs["bad"]]).differences
    back = compare([runs["bad"], runs["good"]]).differences
    for one, other in zip(there, back, strict=True):
        assert (one.first, one.value) == (other.value, other.first)
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
        assert one.better == pytest.approx(1 - other.better)


def test_less_variation_of_information_is_better(tmp_path: Path) -> None:
    options = ("--measures", "semantic,region")
    good, bad = scored(tmp_path, "good", 0.01, *options), scored(tmp_path, "bad", 0.05, *options)
    verdicts = {d.score: d.verdict for d in compare([good, bad]).differences}
    assert verdicts["vi_ods"] == verdicts["covering_ods"] == verdicts["miou"] == "worse"


def test_images_and_settings_that_differ_are_reported(tmp_path: Path) -> None:
    first, second = scored(tmp_path, "a", 0.02), scored(tmp_path, "b", 0.02, "--limit", 9, "--matching", "pixels")
    comparison = compare([first, second])
    assert comparison.images == 9
    assert any("3 images of out-a not compared" in text for text in comparison.notes)
    assert any("matching was iou and is pixels" in text for text in comparison.notes)


def test_the_command_prints_a_table_and_writes_a_page(runs: dict[str, Path], tmp_path: Path) -> None:
    result = segspectral("compare", runs["good"], runs["bad"], runs["same"], "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "12 images, differences from out-good" in result.output
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").open()))
    assert {row["run"] for row in rows} == {"out-bad", "out-same"}
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert page.count("<svg") == len(rows)
    assert "out-bad" in page


def damaged(runs: dict[str, Path], tmp_path: Path, what: str) -> list[Path]:
    copy = tmp_path / "copy"
    shutil.copytree(runs["bad"], copy)
    if what == "unfinished":
        next((copy / "images").glob("*.json")).unlink()
    elif what == "no results":
        (copy / "results.json").unlink()
    elif what == "no JSON":
        (copy / "results.json").write_text("[" * 5000)
    elif what == "odd counts":
        next((copy / "images").glob("*.json")).write_text('{"id": 3, "counts": {"region": {"images": "x"}}}')
    elif what == "another data set":
        data = json.loads((copy / "results.json").read_text())
        data["dataset"]["name"] = "voc"
        (copy / "results.json").write_text(json.dumps(data))
    elif what == "another protocol":
        return [runs["good"], scored(tmp_path, "p1", 0.02, "--protocol", "direct")]
    return {"one folder": [copy], "twice": [copy, copy]}.get(what, [runs["good"], copy])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("one folder", "at least two folders"),
        ("twice", "given twice"),
        ("unfinished", "keeps 11 of 12 images: run the same evaluate command again"),
        ("no results", "has no results.json"),
        ("no JSON", "cannot be read as results"),
        ("odd counts", "cannot be read as results"),
        ("another data set", "is about voc"),
        ("another protocol", "names segments by direct, but .* by P3"),
    ],
)
def test_what_cannot_be_compared_is_reported(runs: dict[str, Path], tmp_path: Path, what: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        compare(damaged(runs, tmp_path, what))
