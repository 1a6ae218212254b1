"""``segspectral evaluate --predictions``: which files are scored, and whose results a folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import DatasetError
from segspectral.evaluation import evaluate
from segspectral.evaluation.datasets import Dataset, open_dataset
from segspectral.evaluation.plan import Protocol

SHAPE = (10, 12)
IDS = ("a", "b", "day 1/a")


def labels_of(k: int) -> np.ndarray:
    return (np.indices(SHAPE).sum(axis=0) // (3 + k) % 2).astype(np.uint8)


def save(path: Path, labels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k, i in enumerate(IDS):
        save(tmp_path / "set" / "images" / f"{i}.jpg", np.zeros((*SHAPE, 3), np.uint8))
        save(tmp_path / "set" / "masks" / f"{i}.png", labels_of(k))
    return tmp_path / "set"


@pytest.fixture
def dataset(root: Path) -> Dataset:
    return open_dataset("folder", root)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    for k, i in enumerate(IDS):
        save(tmp_path / "predictions" / f"{i}.png", labels_of(k))
    return tmp_path / "predictions"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def miou(out: Path) -> float:
    return float(json.loads((out / "results.json").read_text())["semantic"]["miou"])


@pytest.mark.parametrize("form", ["{}.png", "{}.PNG", "{}_labels.png", "{}.jpg_labels.png", "{}.jpg.png"])
def test_predictions_have_the_names_that_programs_give_them(dataset: Dataset, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "results"
    for k, i in enumerate(IDS):
        save(folder / form.format(i), labels_of(k))
        save(folder / f"{i}_overlay.png", np.zeros((*SHAPE, 3), np.uint8))
    data = evaluate(dataset, folder, protocol="direct", bootstrap=0).data
    assert data["semantic"]["miou"] == 1.0
    assert not any("belong to no image" in note for note in data["notes"])


def test_predictions_of_no_image_are_counted_and_named(dataset: Dataset, predictions: Path) -> None:
    for name in ("c.png", "day 2/a.png", "._a.png"):
        save(predictions / name, labels_of(0))
    notes = evaluate(dataset, predictions, bootstrap=0).data["notes"]
    assert f"{predictions}: 2 predictions belong to no image: c.png, day 2/a.png" in notes
    part = open_dataset("folder", dataset.root, ids=["b"])
    notes = evaluate(part, predictions, bootstrap=0).data["notes"]
    assert f"{predictions}: 2 predictions belong to no image: c.png, day 2/a.png" in notes, (
        "those of images that are left out of a part are not strange"
    )


def test_two_predictions_of_one_image_are_an_error(dataset: Dataset, predictions: Path) -> None:
    save(predictions / "day 1" / "a_labels.png", labels_of(0))
    with pytest.raises(DatasetError, match=r"day 1/a\.png: day 1/a_labels\.png belongs to the same image"):
        evaluate(dataset, predictions)


def test_predictions_of_other_sizes_and_kinds_are_named(dataset: Dataset, predictions: Path) -> None:
    path = predictions / "b.png"
    for labels, words in (
        (labels_of(1).T, "is 12 high and 10 wide but the truth 10 high and 12 wide"),
        (np.stack([labels_of(1)] * 3, axis=2) * np.array([1, 2, 3], np.uint8), "RGB"),
    ):
        save(path, labels)
        for protocol in ("direct", "P3"):
            with pytest.raises(DatasetError, match=rf"b\.png: .*{words}"):
                evaluate(dataset, predictions, protocol=protocol)  # type: ignore[arg-type]
    path.unlink()
    for array, words in (
        (labels_of(1).astype(float), "float64"),
        (np.full(SHAPE, 2**64 - 1, np.uint64), "18446744073709551615"),
        (np.zeros(SHAPE[:1], int), "expected integer label maps"),
        (np.zeros((0, 0), int), "expected integer label maps"),
    ):
        np.save(path.with_suffix(".npy"), array)
        with pytest.raises(DatasetError, match=rf"b\.npy: .*{words}"):
            evaluate(dataset, predictions)
    np.save(path.with_suffix(".npy"), labels_of(1) == 1)
    assert evaluate(dataset, predictions, protocol="direct", bootstrap=0).data["semantic"]["miou"] == 1.0


def test_predictions_outside_the_classes_are_noted(dataset: Dataset, predictions: Path) -> None:
    missed = labels_of(0)
    missed[:2] = 255
    missed[-1] = 7
    save(predictions / "a.png", missed)
    data = evaluate(dataset, predictions, protocol="direct", bootstrap=0).data
    share = 3 * SHAPE[1] / (len(IDS) * labels_of(0).size)
    assert data["semantic"]["pixel_accuracy"] == pytest.approx(1 - share)
    assert f"{share:.1%} of the pixels are predicted as no class and count as misses" in data["notes"]


def test_one_folder_of_results_holds_one_evaluation(root: Path, predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run("folder", root, "-o", out, "--predictions", predictions, "--protocol", "direct")
    assert first.exit_code == 0, first.output
    assert "masks: 2 classes, 0 and 1, none void" in first.stdout
    before = (out / "results.json").read_bytes()
    other = tmp_path / "other"
    predictions.rename(other)
    other.joinpath("c.png").write_bytes((other / "a.png").read_bytes())
    for arguments, words in (
        (("--predictions", other, "--protocol", "direct"), f"{str(predictions)[-70:]} and is"),
        (("--predictions", other, "--protocol", "P3"), "protocol was direct and is P3"),
        (("--predictions", other, "--protocol", "direct", "--limit", 2), "images was 3 "),
        (("--predictions", other, "--protocol", "direct", "--void", "none"), "void was not given and is none"),
        (("--predictions", other, "--protocol", "direct", "--matching", "pixels"), "matching was iou and is pixels"),
    ):
        refused = run("folder", root, "-o", out, *arguments)
        assert refused.exit_code == 2
        assert words in refused.stderr
        assert "another folder" in refused.stderr
        assert "--overwrite" in refused.stderr
        assert (out / "results.json").read_bytes() == before
    replaced = run("folder", root, "-o", out, "--predictions", other, "--protocol", "direct", "--overwrite")
    assert replaced.exit_code == 0
    assert "1 prediction belongs to no image: c.png" in replaced.stdout
    assert str(other) in (out / "evaluation.json").read_text()


def test_the_same_settings_go_on_and_changed_predictions_are_scored_again(
    root: Path, predictions: Path, tmp_path: Path
) -> None:
    arguments = ("folder", root, "-o", tmp_path / "out", "--predictions", predictions, "--protocol", "direct")
    assert run(*arguments).exit_code == 0
    assert miou(tmp_path / "out") == 1.0
    assert run(*arguments).exit_code == 0
    save(predictions / "a.png", 1 - labels_of(0))
    assert run(*arguments).exit_code == 0
    assert miou(tmp_path / "out") < 1.0


def test_results_of_unknown_settings_are_not_replaced(root: Path, predictions: Path, tmp_path: Path) -> None:
    arguments = ("folder", root, "-o", tmp_path / "out", "--predictions", predictions)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.csv").write_text("mine\n")
    for record in (None, "[[", '["P3"]'):
        if record:
            (tmp_path / "out" / "evaluation.json").write_text(record)
        refused = run(*arguments)
        assert refused.exit_code == 2
        assert "its settings are unknown" in refused.stderr
        assert (tmp_path / "out" / "scores.csv").read_text() == "mine\n"


def test_a_run_that_scored_nothing_claims_nothing(root: Path, predictions: Path, tmp_path: Path) -> None:
    (predictions / "a.png").rename(predictions / "lost.png")
    arguments = ("folder", root, "-o", tmp_path / "out", "--predictions", predictions)
    assert run(*arguments).exit_code == 2
    (predictions / "lost.png").rename(predictions / "a.png")
    assert run(*arguments, "--protocol", "P4").exit_code == 0


def test_void_and_classes_are_part_of_a_finished_image(tmp_path: Path, root: Path) -> None:
    truth = labels_of(0)
    truth[:3] = 255
    save(root / "masks" / "a.png", truth)
    scores = [
        evaluate(
            open_dataset("folder", root, void=void),
            lambda path: np.zeros(SHAPE, int),
            protocol="direct",
            resume=tmp_path / "parts",
            bootstrap=0,
        ).data["semantic"]
        for void in (255, "none", 255)
    ]
    assert scores[0] == scores[2]
    assert scores[0]["classes"] == 2
    assert scores[1]["classes"] == 3
    assert scores[0]["pixels"] < scores[1]["pixels"]


def test_changed_photographs_are_segmented_again(dataset: Dataset, tmp_path: Path) -> None:
    calls: list[str] = []

    def predict(path: Path) -> np.ndarray:
        calls.append(path.stem)
        return labels_of(0)

    for _ in range(2):
        evaluate(dataset, predict, resume=tmp_path / "parts", bootstrap=0)
    assert len(calls) == 3
    save(dataset.samples[1].image, np.full((*SHAPE, 3), 9, np.uint8))
    evaluate(dataset, predict, resume=tmp_path / "parts", bootstrap=0)
    assert calls[3:] == ["b"]


@pytest.mark.parametrize("void", ["white", " ", "2.5"])
def test_void_is_a_number_or_none(root: Path, tmp_path: Path, void: str) -> None:
    refused = run("folder", root, "-o", tmp_path / "out", "--void", void)
    assert refused.exit_code == 2
    assert f"--void {void}: give a number" in refused.stderr


@pytest.mark.parametrize("protocol", ["direct", "P1", "P2"])
def test_segments_that_are_numbered_image_by_image_have_no_shared_names(
    dataset: Dataset, tmp_path: Path, protocol: Protocol
) -> None:
    folder = tmp_path / "results"
    for k, i in enumerate(IDS):
        save(folder / f"{i}_labels.png", labels_of(k) + np.uint8(1))
        (folder / f"{i}.json").write_text(json.dumps({"image": i, "pipeline": {"model": None}}))
    with pytest.raises(DatasetError, match=r"a_labels\.png: .* --protocol P3"):
        evaluate(dataset, folder, protocol=protocol, measures=["semantic"])
    assert evaluate(dataset, folder, protocol="P3", bootstrap=0).data["semantic"]["miou"] == 1.0
    for i in IDS:
        (folder / f"{i}.json").write_text(json.dumps({"image": i, "pipeline": {"model": {"file": "m"}}}))
    evaluate(dataset, folder, protocol=protocol, measures=["semantic"], bootstrap=0)


def test_results_do_not_lie_among_the_photographs(root: Path, predictions: Path) -> None:
    refused = run("folder", root, "-o", root, "--predictions", predictions)
    assert refused.exit_code == 2
    assert "choose another folder for the results" in refused.stderr
    assert sorted(p.name for p in root.iterdir()) == ["images", "masks"]


def test_names_that_cannot_be_printed_are_refused(root: Path) -> None:
    for name in ("line\nbreak", "\udcff"):
        image, mask = root / "images" / f"{name}.jpg", root / "masks" / f"{name}.png"
        image.write_bytes((root / "images" / "a.jpg").read_bytes())
        mask.write_bytes((root / "masks" / "a.png").read_bytes())
        with pytest.raises(DatasetError, match="cannot be printed") as caught:
            open_dataset("folder", root)
        assert str(caught.value).isprintable()
        image.unlink()
        mask.unlink()


def test_an_accent_is_one_whatever_its_spelling(tmp_path: Path) -> None:
    """A Mac writes it as two characters in the names of files, a keyboard as one."""
    mac, keyboard, root = "cafe\u0301", "caf\u00e9", tmp_path / "set"
    save(root / "images" / f"{mac}.jpg", np.zeros((*SHAPE, 3), np.uint8))
    save(root / "images" / "b.jpg", np.zeros((*SHAPE, 3), np.uint8))
    save(root / "masks" / f"{keyboard}.png", labels_of(0))
    save(root / "masks" / "b.png", labels_of(1))
    save(tmp_path / "predictions" / f"{mac}.png", labels_of(0))
    save(tmp_path / "predictions" / "b.png", labels_of(1))
    for spelling in (mac, keyboard):
        (tmp_path / "ids.txt").write_text(f"{spelling}\n", encoding="utf-8")
        for ids in (tmp_path / "ids.txt", [spelling]):
            assert len(open_dataset("folder", root, ids=ids).samples) == 1
    result = run("folder", root, "-o", tmp_path / "out", "--predictions", tmp_path / "predictions")
    assert result.exit_code == 0, result.output
    assert miou(tmp_path / "out") == 1
