"""Classes from a few labels: what is read, what is learned, and what becomes of the model."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

import segspectral
from segspectral.cli import app
from segspectral.errors import ImageError, SettingsError
from segspectral.pipeline import Pipeline
from segspectral.shared.model import Model
from segspectral.shared.taught import Lesson, TaughtModel
from segspectral.teaching import Album, held, read_labels
from segspectral.teaching.labels import names_of
from segspectral.teaching.learn import learn, teach

COLOURS = np.array([[200, 60, 50], [60, 150, 70], [50, 80, 180]], dtype=np.float64)
NAMES = ("brick", "grass", "sky")
SIZE = (64, 80)
QUICK: dict[str, Any] = {"features": {"cnn": None}, "superpixels": {"count": 60}}
OPTIONS = ("--set", "features.cnn=null", "--set", "superpixels.count=60")


def picture(number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(64, 80, 3) three noisy materials in stripes, in another order and of another width in each, and the truth."""
    rng = np.random.default_rng(number)
    truth = np.empty(SIZE, np.int64)
    order = rng.permutation(3)
    first, second = rng.integers(20, 30), rng.integers(45, 60)
    truth[:, :first], truth[:, first:second], truth[:, second:] = order
    noisy = COLOURS[truth] + rng.normal(0, 12, (*SIZE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), truth


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(6):
        PIL.Image.fromarray(picture(number)[0]).save(place / f"p{number}.png")
    return place


def clicks(numbers: tuple[int, ...] = (0, 1), each: int = 2) -> list[str]:
    lines = ["image,row,col,class"]
    rng = np.random.default_rng(5)
    for number in numbers:
        truth = picture(number)[1]
        for material, name in enumerate(NAMES):
            rows, cols = np.nonzero(truth == material)
            chosen = rng.integers(0, len(rows), each)
            lines += [f"p{number}.png,{rows[at]},{cols[at]},{name}" for at in chosen]
    return lines


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(clicks()) + "\n")
    return path


@pytest.fixture
def model(folder: Path, table: Path) -> TaughtModel:
    return teach(folder, table, **QUICK)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def accuracy(model: TaughtModel, numbers: range = range(2, 6)) -> float:
    """Share of the pixels of unlabelled pictures whose segment has the name of their material."""
    right = []
    for number in numbers:
        image, truth = picture(number)
        made = segspectral.segment(image, model=model, refine="none")
        names = np.array(["", *(made.names[s] for s in range(1, model.segments + 1))])
        right.append((names[made.labels] == np.array(NAMES)[truth]).mean())
    return float(np.mean(right))


# --- learning ---


def test_unlabelled_images_get_the_classes(model: TaughtModel) -> None:
    assert sorted(model.classes) == sorted(NAMES)
    assert accuracy(model) > 0.93
    # The pictures differ in the order of the stripes, so that one class everywhere is right for a third.
    assert model.about["labelled"] == 2
    assert model.about["images"] == 6


def test_wrong_labels_give_wrong_classes(folder: Path, table: Path) -> None:
    """The model follows the labels and nothing else: with names exchanged, the classes are exchanged."""
    text = table.read_text().replace("brick", "x").replace("grass", "brick").replace("x", "grass")
    table.write_text(text)
    assert accuracy(teach(folder, table, **QUICK)) < 0.6


def test_the_order_of_the_labels_changes_numbers_and_nothing_else(folder: Path, table: Path) -> None:
    header, *lines = clicks()
    images = sorted(folder.iterdir())
    album = Album.of(images, Lesson.model_validate(QUICK))
    made = []
    for order in (lines, lines[::-1]):
        table.write_text("\n".join([header, *order]))
        made.append(learn(album, read_labels(table, images)))
    assert made[0].classes == made[1].classes[::-1] or set(made[0].classes) == set(made[1].classes)
    column = [made[1].classes.index(name) for name in made[0].classes]
    first, second = (m.weights for m in made)
    assert np.abs(first - second[:, column]).max() < 0.05 * np.abs(first).max()


def test_probabilities_sum_to_one_and_unknown_is_what_no_class_has(model: TaughtModel) -> None:
    from dataclasses import replace

    scene = Pipeline(model=model, refine="none").describe(picture(3)[0])
    P = model.probabilities(scene.features)
    assert P.shape == (len(scene.graph), 3)
    assert np.allclose(P.sum(axis=1), 1, atol=1e-5)
    limit = float(np.sort(P.max(axis=1))[len(P) // 3])
    doubting = replace(model, recipe=model.recipe.model_copy(update={"unknown": limit}))
    assert doubting.segments == 4
    assert doubting.names[4] == "unknown"
    membership = doubting.membership(scene.features)
    assert ((membership.labels == 3) == (P.max(axis=1) < limit)).all()
    sure = P.max(axis=1) >= limit
    assert sure.any()
    assert not sure.all()
    assert (membership.labels[sure] == P.argmax(axis=1)[sure]).all()


def test_contradictory_labels_are_counted_and_shared_out(folder: Path, table: Path) -> None:
    row, col = clicks()[1].split(",")[1:3]
    lines = [*clicks(), *(f"p0.png,{row},{col},sky" for _ in range(9))]
    table.write_text("\n".join(lines))
    result = run("teach", folder, "--labels", table, "-o", table.with_name("m.safetensors"), *OPTIONS)
    assert "1 superpixel has labels of several classes" in result.output
    assert accuracy(Model.load(table.with_name("m.safetensors"))) > 0.8  # type: ignore[arg-type]


def test_equal_seeds_give_equal_files(folder: Path, table: Path, tmp_path: Path) -> None:
    for name in "ab":
        run("teach", folder, "--labels", table, "-o", tmp_path / name, *OPTIONS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_album_is_taught_again_without_describing_it(
    folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sorted(folder.iterdir())
    album = Album.of(images, Lesson.model_validate(QUICK))
    monkeypatch.setattr("segspectral.teaching.album.as_image", None)
    few = learn(album, read_labels(table, images))
    table.write_text("\n".join(clicks((0, 1, 2, 3), 6)))
    more = learn(album, read_labels(table, images))
    assert accuracy(more, range(4, 6)) > 0.93
    assert few.fingerprint != more.fingerprint


def test_labels_on_void_pixels_do_not_count(folder: Path, table: Path) -> None:
    image, _ = picture(0)
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:, :20] = 0
    PIL.Image.fromarray(np.dstack([image, alpha])).save(folder / "p0.png")
    table.write_text("\n".join([*clicks((1, 2)), "p0.png,30,5,sky"]))
    notes = teach(folder, table, **QUICK).about["notes"]
    assert any("1 label lies on void pixels and does not count" in note for note in notes)


def test_very_many_labels_are_drawn_from(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for number in range(2):
        PIL.Image.fromarray((picture(number)[1] + 1).astype(np.uint8)).save(given / f"p{number}.png")
    (given / "names.txt").write_text("\n".join(NAMES))
    images = sorted(folder.iterdir())
    known = read_labels(given, images)
    model = learn(Album.of(images, Lesson.model_validate(QUICK), first=list(known.given)), known, most=50)
    assert model.about["regions"] == 50
    assert any("superpixels with labels beyond 50 are left out" in note for note in model.about["notes"])
    assert accuracy(model) > 0.93


# --- what held-out labels decide ---


@pytest.fixture
def many(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "many.csv"
    path.write_text("\n".join(clicks((0, 1, 2, 3), 6)) + "\n")
    return path


def noisy_refiner(share: float) -> Callable[[], Any]:
    """A refiner that gives this share of the pixels the next class."""

    def refine(image: Any, superpixels: Any, membership: Any) -> NDArray[np.int32]:
        found = superpixels.to_pixels(membership.labels.astype(np.int32), void=-1)
        other = (found + 1) % membership.probabilities.shape[1]
        wrong = np.random.default_rng(0).random(found.shape) < share
        return np.where(wrong, other, found).astype(np.int32)

    return lambda: refine


def test_a_refiner_that_costs_is_left_out_and_said(
    folder: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segspectral.teaching.held.crf_installed", lambda: True)
    monkeypatch.setitem(held.REFINERS, "crf", noisy_refiner(0.4))
    result = run("teach", folder, "--labels", many, "-o", tmp_path / "m", *OPTIONS)
    text = " ".join(result.output.split())
    assert "refiner: none; by 72 held-out labels the mIoU is" in text
    model = Model.load(tmp_path / "m")
    figures = model.about["held_out"]["refine"]
    assert figures["images"] == 4
    assert figures["with"] < figures["without"] - 0.2
    assert isinstance(model, TaughtModel)
    assert model.recipe.refine == "none"
    assert Pipeline(model=tmp_path / "m").refine.name == "none"
    # The user's word goes before the model's.
    assert Pipeline(model=tmp_path / "m", refine="guided").refine.name == "guided"


def test_a_refiner_that_pays_is_asked_for(folder: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Superpixels that are much too large find the wrong class for many labels, and the refiner is always right."""
    images = sorted(folder.iterdir())
    labels = read_labels(many, images)
    number = np.array([labels.classes.index(name) for name in NAMES])
    truths = {path.name: number[picture(n)[1]] for n, path in enumerate(images)}
    monkeypatch.setattr("segspectral.teaching.held.crf_installed", lambda: True)
    monkeypatch.setattr("segspectral.teaching.held.segments_of_pixels", lambda _, image, *__: truths[image.name])
    monkeypatch.setattr("segspectral.teaching.held.ENOUGH", 2)
    model = learn(Album.of(images, Lesson.model_validate(QUICK | {"superpixels": {"count": 2}})), labels)
    figures = model.about["held_out"]["refine"]
    assert figures["images"] == 4
    assert figures["with"] == 1 > figures["without"] + figures["error"]
    assert model.recipe.refine == "crf"
    assert "refiner: crf" in model.about["chosen"][-1]
    assert "refine" not in model.defaults()  # so that another refiner may run where pydensecrf is missing


@pytest.mark.parametrize(("share", "enough", "images"), [(0.4, 2, 2), (0.4, 9, 4), (0.0, 3, 3)])
def test_a_refiner_that_gains_nothing_is_not_tried_on(
    share: float, enough: int, images: int, folder: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segspectral.teaching.held.crf_installed", lambda: True)
    monkeypatch.setattr("segspectral.teaching.held.ENOUGH", enough)
    monkeypatch.setitem(held.REFINERS, "crf", noisy_refiner(share))
    model = teach(folder, many, **QUICK)
    assert model.recipe.refine == "none"
    assert model.about["held_out"]["refine"]["images"] == images
    assert model.about["held_out"]["refine"]["labels"] == 18 * images


def test_classes_that_are_in_one_image_each_choose_what_is_fast_and_say_so(folder: Path, tmp_path: Path) -> None:
    """There are three images, but what is held out of one has no class that the others know."""
    table = tmp_path / "each.csv"
    table.write_text("image,row,col,class\n" + "".join(f"p{n}.png,30,40,class {n}\n" for n in range(3)))
    output = " ".join(run("teach", folder, "--labels", table, "-o", tmp_path / "m", *OPTIONS).output.split())
    assert "labels do not spread, because no class has labels in enough images to tell" in output
    assert "refiner: none, because no class has labels in enough images to tell" in output


def test_labels_of_two_images_choose_what_is_fast_and_say_so(folder: Path, table: Path, tmp_path: Path) -> None:
    output = " ".join(run("teach", folder, "--labels", table, "-o", tmp_path / "m", *OPTIONS).output.split())
    assert "labels do not spread, because labels of fewer than 3 images cannot tell" in output
    assert "refiner: none, because labels of fewer than 3 images cannot tell" in output
    run("teach", folder, "--labels", table, "-o", tmp_path / "n", *OPTIONS, "--refine", "guided")
    model = Model.load(tmp_path / "n")
    assert isinstance(model, TaughtModel)
    assert model.recipe.refine == "guided"
    assert Pipeline(model=model).refine.name == "guided"
    assert not any("refiner" in sentence for sentence in model.about["chosen"])
    for name, refiner in {"m": "none", "n": "guided"}.items():
        run("segment", folder / "p3.png", "-o", tmp_path / f"out-{name}", "--model", tmp_path / name)
        run("segment", folder / "p3.png", "-o", tmp_path / f"by-{name}", "--model", tmp_path / name, "--refine", "none")
        made, plain = (np.asarray(PIL.Image.open(tmp_path / f"{o}-{name}" / "p3_labels.png")) for o in ("out", "by"))
        assert (made == plain).all() == (refiner == "none")


def fold(logits: list[list[float]], image: list[int]) -> held.Fold:
    """Two classes; all superpixels are of class 0, and spreading adds 1 to its logit."""
    rows = np.array(logits, dtype=np.float32)
    shares = np.tile([1.0, 0.0], (len(rows), 1))
    targets = held.Targets(rows, shares, np.ones(len(rows)), np.array(image))
    maps = {False: (np.eye(2), np.zeros(2)), True: (np.eye(2), np.array([1.0, 0.0]))}
    return held.Fold(targets, np.ones(2, np.bool_), maps)


def test_spreading_is_chosen_by_the_probability_of_held_out_labels() -> None:
    folds = [fold([[0.5, 0], [-0.5, 0]], [n, n]) for n in range(3)]
    better = held.choose_spreading(folds, True, np.ones(2))
    assert better.value is True
    assert better.figures["with"] > better.figures["without"] == pytest.approx(0.5, abs=0.02)
    swapped = [held.Fold(one.held, one.known, {False: one.maps[True], True: one.maps[False]}) for one in folds]
    assert held.choose_spreading(swapped, True, np.ones(2)).value is False
    same = [held.Fold(one.held, one.known, dict.fromkeys((False, True), one.maps[True])) for one in folds]
    assert held.choose_spreading(same, True, np.ones(2)).value is False


def test_the_reliability_curve_counts_what_is_right() -> None:
    logit = float(np.log(0.8 / 0.2))
    ten = fold([[logit, 0]] * 8 + [[0, logit]] * 2, [0] * 10)
    ((share, sure, right),) = held.reliability([ten], False, np.ones(2), held.Scale(1.0, np.zeros(2)))
    assert (share, sure, right) == pytest.approx((1, 0.8, 0.8))


def test_features_may_count_more_evenly(folder: Path, many: Path) -> None:
    images = sorted(folder.iterdir())
    labels, made = read_labels(many, images), []
    for settings in ({}, {"even": 1.0}, {"even": 1.0, "nodes": 0}):
        album = Album.of(images, Lesson.model_validate(QUICK | settings), first=list(labels.given))
        made.append(learn(album, labels))
        assert accuracy(made[-1], range(4, 6)) > 0.9
        spread = np.abs(made[-1].weights).max(axis=1)
        made[-1] = spread[-1] / spread[0]
    assert made[1] > 10 * made[0], "the last component of the whole image varies least"
    assert made[2] > 10 * made[0]


def distorted(number: int, temperature: float, bias: NDArray[np.float64]) -> list[held.Fold]:
    """Three folds of superpixels whose classes are drawn from probabilities; their logits are then distorted."""
    rng, folds = np.random.default_rng(3), []
    for image in range(3):
        logits = rng.normal(0, 2, (number, len(bias)))
        P = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        shares = np.stack([rng.multinomial(1, row) for row in P]).astype(np.float64)
        rows = ((logits - bias) * temperature).astype(np.float32)
        targets = held.Targets(rows, shares, np.ones(number), np.full(number, image))
        maps = {False: (np.eye(len(bias)), np.zeros(len(bias)))}
        folds.append(held.Fold(targets, np.ones(len(bias), np.bool_), maps))
    return folds


def test_temperature_and_class_bias_undo_what_was_distorted() -> None:
    bias, names = np.array([0.8, -0.5, -0.3]), ["road", "pole", "sky"]
    choice = held.best_scale(distorted(4000, 2.5, bias), True, False, np.ones(3), names)
    assert choice.value.temperature == pytest.approx(2.5, rel=0.05)
    assert choice.value.bias - choice.value.bias.mean() == pytest.approx(bias, abs=0.06)
    assert choice.said.startswith("class bias: by held-out labels, the odds of 'road' are 2.")
    assert " times those learned, of 'pole' 0." in choice.said


def test_few_labels_give_a_small_class_bias_and_two_images_none() -> None:
    bias = np.array([0.8, -0.5, -0.3])
    few, much = (
        held.best_scale(distorted(n, 1.0, bias), True, False, np.ones(3), ["a", "b", "c"]).value.bias for n in (4, 400)
    )
    assert 0 < np.abs(few).max() < 0.3 < np.abs(much).max()
    folds = distorted(400, 1.0, bias)
    none = held.best_scale(folds, False, False, np.ones(3), ["a", "b", "c"])
    assert none.value.bias.tolist() == [0, 0, 0]
    assert none.value.temperature == held.best_temperature(folds, False, np.ones(3))
    assert not none.said


def test_a_class_without_held_out_labels_has_no_class_bias() -> None:
    folds = distorted(400, 1.0, np.array([0.8, -0.5, -0.3]))
    for one in folds:
        one.held.shares[:, 2] = 0
    assert held.best_scale(folds, True, False, np.ones(3), ["a", "b", "c"]).value.bias[2] == 0


def test_the_class_bias_is_in_the_model(folder: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = sorted(folder.iterdir())
    album, labels = Album.of(images, Lesson.model_validate(QUICK)), read_labels(many, images)
    scale = held.Scale(2.0, np.array([0.3, -0.2, 0.0]))
    made = []
    for value in (scale, held.Scale(2.0, np.zeros(3))):
        monkeypatch.setattr("segspectral.teaching.learn.best_scale", lambda *_, v=value: held.Choice(v, "", {}))
        made.append(learn(album, labels))
    assert made[0].bias - made[1].bias == pytest.approx(scale.bias, abs=1e-5)
    assert (made[0].weights == made[1].weights).all()
    monkeypatch.undo()
    model = learn(album, labels)
    assert set(model.about["held_out"]["class_bias"]) == set(NAMES)
    assert any(sentence.startswith("class bias: by held-out labels") for sentence in model.about["chosen"])


@pytest.mark.parametrize("spreading", ["always", "never"])
def test_spreading_can_be_set(spreading: str, folder: Path, many: Path) -> None:
    model = teach(folder, many, **QUICK, spreading=spreading)
    assert model.recipe.spreading == spreading
    assert not any("spread" in sentence for sentence in model.about["chosen"])
    assert accuracy(model, range(4, 6)) > 0.93


# --- labels ---


def test_label_images_labelme_and_csv_of_one_folder(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    truth = picture(0)[1]
    PIL.Image.fromarray(np.where(np.arange(80) % 7 == 0, truth + 1, 0).astype(np.uint8)).save(given / "p0.png")
    (given / "names.txt").write_text("\n".join(NAMES))
    rows, cols = np.nonzero(picture(1)[1] == 2)
    shape = {"label": "sky", "shape_type": "point", "points": [[int(cols[40]) + 0.5, int(rows[40]) + 0.5]]}
    (given / "p1.json").write_text(json.dumps({"shapes": [shape]}))
    (given / "p2_labels.csv").write_text(f"row,col,label\n{rows[0]},2,brick\n")
    (given / "other.png").write_bytes((given / "p0.png").read_bytes())
    labels = read_labels(given, sorted(folder.iterdir()))
    assert labels.classes == NAMES
    by = {path.name: one for path, one in labels.given.items()}
    assert (by["p1.png"].rows.tolist(), by["p1.png"].cols.tolist()) == ([rows[40]], [cols[40]])
    assert by["p1.png"].classes.tolist() == [2]
    assert by["p2.png"].classes.tolist() == [0]
    one = by["p0.png"]
    assert (one.classes == truth[one.rows, one.cols]).all()
    assert len(one.rows) == 64 * 12
    assert any("other.png" in note for note in labels.notes)
    assert accuracy(teach(folder, given, **QUICK)) > 0.93


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read_as_spreadsheets_save_them(separator: str, encoding: str, folder: Path, tmp_path: Path) -> None:
    """A round of ``suggest`` is filled in there. Columns that once had an empty cell come back as 5.0."""
    lines = ["image,row,col,class,remark", "p0.png,5,6.0,Gebäude,a", "p1.png,7.0,8,grass,b"]
    table = tmp_path / "labels.csv"
    table.write_bytes("\r\n".join(lines).replace(",", separator).encode(encoding))
    labels = read_labels(table, sorted(folder.iterdir()))
    assert labels.classes == ("Gebäude", "grass")
    assert {path.name: (one.rows.tolist(), one.cols.tolist()) for path, one in labels.given.items()} == {
        "p0.png": ([5], [6]),
        "p1.png": ([7], [8]),
    }


@pytest.mark.parametrize(("file", "written"), [("cafe\u0301", "caf\u00e9"), ("caf\u00e9", "cafe\u0301")])
def test_an_accent_is_one_whatever_its_spelling(file: str, written: str, folder: Path, tmp_path: Path) -> None:
    """A Mac writes it as two characters in the names of files, a keyboard as one."""
    (folder / "p0.png").rename(folder / f"{file}.png")
    images = sorted(folder.iterdir())
    given = tmp_path / "given"
    given.mkdir()
    PIL.Image.fromarray(picture(0)[1].astype(np.uint8)).save(given / f"{written}_labels.png")
    table = tmp_path / "labels.csv"
    table.write_text(f"image,row,col,class\n{written}.png,5,6,grass\n{written},7,8,sky\n", encoding="utf-8")
    for source in (given, table):
        assert [path.stem for path in read_labels(source, images).given] == [file]
    (find,) = names_of([folder / f"{file}.png"], images)
    assert find == f"{file}.png"


@pytest.mark.parametrize("cell", ["5.5", "inf", "nan", "five", ""])
def test_a_pixel_is_two_whole_numbers(cell: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(f"image,row,col,class\np0.png,{cell},6,grass\n")
    with pytest.raises(SettingsError, match=r"line 2: the pixel '.*' is not two whole numbers"):
        read_labels(tmp_path / "labels.csv", sorted(folder.iterdir()))


def test_numbers_keep_their_order_whatever_is_labelled(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    truth = picture(0)[1]
    PIL.Image.fromarray(np.where(truth == 0, 0, truth + 1).astype(np.uint8)).save(given / "p0.png")
    result = run("teach", folder, "--labels", given, "--names", "1=brick,2=grass,3=sky", "-o", tmp_path / "m", *OPTIONS)
    assert "no pixel is labelled brick" in result.output
    model = Model.load(tmp_path / "m")
    assert model.names == dict(enumerate(NAMES, 1))
    assert not (segspectral.segment(picture(1)[0], model=model, refine="none").labels == 1).any()


WRONG = {
    "outside": ("p0.png,64,3,sky", "line 3: the pixel (64, 3) is outside the image of 64 rows and 80 columns"),
    "no image": ("q0.png,4,3,sky", "line 3: there is no image 'q0.png' in the folder"),
    "no number": ("p0.png,x,3,sky", "line 3: the pixel 'x,3' is not two whole numbers"),
    "short": ("p0.png,4", "line 3: has no cell for each of image,row,col,class"),
    "no name": ("p0.png,4,3,\x07", "line 3: a class needs a name"),
    "no class": ("p0.png,4,3,", "has only the class 'brick'"),
    "reserved": ("p0.png,4,3,Unknown", "line 3: no class may be called 'Unknown'"),
    "alike": ("p0.png,4,3,Brick ", "line 3: the class 'Brick' is written 'brick' at "),
    "one class": ("p0.png,4,3,brick", "has only the class 'brick'"),
}


@pytest.mark.parametrize(("line", "message"), WRONG.values(), ids=WRONG)
def test_bad_labels_are_one_sentence_before_anything_is_made(
    line: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.csv"
    path.write_text(f"image,row,col,class\np0.png,3,3,brick\n{line}\n")
    monkeypatch.setattr("segspectral.teaching.album.as_image", None)
    output = run("teach", folder, "--labels", path, "-o", tmp_path / "m", code=2).output
    assert message in " ".join(output.split())
    assert str(path) in output
    assert "Traceback" not in output
    assert not (tmp_path / "m").exists()


EMPTY: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda p: None, "there is no such file or folder of labels"),
    "no lines": (lambda p: p.write_text(""), "needs the header image,row,col,class, and has no line"),
    "no labels": (lambda p: p.write_text("image,row,col,class\n"), "has no labels"),
    "an empty folder": (lambda p: p.mkdir(), "has no labels"),
    "other columns": (lambda p: p.write_text("row,col,label\n"), "needs the header image,row,col,class"),
    "bytes": (lambda p: p.write_bytes(b"\xff\xfe\x00"), "is not a CSV file in UTF-8"),
}


@pytest.mark.parametrize(("make", "message"), EMPTY.values(), ids=EMPTY)
def test_empty_labels(make: Callable[[Path], Any], message: str, folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "l")
    output = run("teach", folder, "--labels", tmp_path / "l", "-o", tmp_path / "m", code=2).output
    assert message in " ".join(output.split())


def test_an_image_with_labels_must_be_readable(folder: Path, table: Path) -> None:
    data = (folder / "p0.png").read_bytes()
    (folder / "p0.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"p0\.png"):
        teach(folder, table, **QUICK)
    run("teach", folder, "--labels", table, "-o", folder.parent / "m", *OPTIONS, code=2)
    (folder / "p0.png").write_bytes(data)
    (folder / "p5.png").write_bytes(data[: len(data) // 2])
    run("teach", folder, "--labels", table, "-o", folder.parent / "m", *OPTIONS, code=1)


# --- the model ---


def test_the_file_says_all_and_needs_neither_sklearn_nor_torch(
    model: TaughtModel, folder: Path, tmp_path: Path
) -> None:
    model.save(tmp_path / "m.safetensors")
    read = Model.load(tmp_path / "m.safetensors")
    assert isinstance(read, TaughtModel)
    assert read.classes == model.classes
    assert read.fingerprint == model.fingerprint
    code = f"""
import sys
from importlib.abc import MetaPathFinder
class Without(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("sklearn", "torch"):
            raise ImportError(name)
sys.meta_path.insert(0, Without())
import numpy as np
import segspectral
made = segspectral.segment({str(folder / "p3.png")!r}, model={str(tmp_path / "m.safetensors")!r}, refine="none")
np.save({str(tmp_path / "labels.npy")!r}, made.labels)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    expected = segspectral.segment(folder / "p3.png", model=model, refine="none").labels
    assert (np.load(tmp_path / "labels.npy") == expected).all()


def test_names_travel_into_all_exports(model: TaughtModel, folder: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "m.safetensors", tmp_path / "out"
    model.save(file)
    formats = "coco,cvat,yolo,csv,npz"
    run("segment", folder / "p3.png", folder / "p4.png", "-o", out, "--model", file, "--format", formats)
    coco = json.loads((out / "coco.json").read_text())
    assert [one["name"] for one in coco["categories"]] == list(model.classes)
    with zipfile.ZipFile(out / "cvat.zip") as archive:
        colours = archive.read("labelmap.txt").decode()
    assert all(f"{name}:" in colours for name in model.classes)
    assert all(name in (out / "yolo" / "data.yaml").read_text() for name in model.classes)
    summary = json.loads((out / "p3.json").read_text())
    assert summary["classes"] == {str(s): name for s, name in model.names.items()}
    with np.load(out / "p3.npz") as arrays:
        shares = next(arrays[key] for key in arrays.files if arrays[key].ndim == 2 and arrays[key].shape[1] == 3)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    run("batch", folder, "-o", tmp_path / "b", "--model", file)
    assert json.loads((tmp_path / "b" / "p3.json").read_text())["classes"] == summary["classes"]
    a, b = (np.asarray(PIL.Image.open(place / "p3_labels.png")) for place in (out, tmp_path / "b"))
    assert (a == b).all()


def data_set(place: Path, names: tuple[str, ...]) -> Path:
    for part in ("images", "masks"):
        (place / part).mkdir(parents=True)
    for number in (2, 3):
        image, truth = picture(number)
        PIL.Image.fromarray(image).save(place / "images" / f"p{number}.png")
        PIL.Image.fromarray(truth.astype(np.uint8)).save(place / "masks" / f"p{number}.png")
    (place / "classes.txt").write_text("\n".join(names))
    return place


def test_evaluate_scores_classes_by_name(model: TaughtModel, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    model.save(file)
    root = data_set(tmp_path / "data", ("Brick", "grass", "sky"))
    result = run("evaluate", "folder", root, "-o", tmp_path / "e", "--model", file, "--set", "refine.name=none")
    scores = json.loads((tmp_path / "e" / "results.json").read_text())
    assert scores["semantic"]["protocol"] == "direct"
    assert scores["semantic"]["miou"] > 0.85
    assert "3 classes of the model are scored by name" in result.output
    # The same label maps with other names of the classes are wrong: nothing is matched.
    other = data_set(tmp_path / "other", ("sky", "brick", "water"))
    result = run("evaluate", "folder", other, "-o", tmp_path / "f", "--model", file, "--set", "refine.name=none")
    assert json.loads((tmp_path / "f" / "results.json").read_text())["semantic"]["miou"] < 0.3
    assert "the model knows no water" in result.output
    assert "pixels of grass are misses" in result.output
    strange = data_set(tmp_path / "strange", ("a", "b", "c"))
    run("evaluate", "folder", strange, "-o", tmp_path / "g", "--model", file, "--protocol", "direct", code=2)
    results = segspectral.evaluate(
        segspectral.open_dataset("folder", root), Pipeline(model=file, refine="none"), protocol="direct"
    )
    assert results.data["semantic"]["miou"] == scores["semantic"]["miou"]


def test_a_binary_data_set_is_scored_by_name(folder: Path, table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text().replace("grass", "rest").replace("sky", "rest"))
    root = data_set(tmp_path / "data", ("rest", "brick"))
    for number in (2, 3):
        mask = np.where(picture(number)[1] == 0, 255, 0).astype(np.uint8)
        PIL.Image.fromarray(mask).save(root / "masks" / f"p{number}.png")
    model = teach(folder, table, **QUICK)
    results = segspectral.evaluate(
        segspectral.open_dataset("folder", root), Pipeline(model=model, refine="none"), protocol="direct"
    )
    assert results.data["semantic"]["miou"] > 0.8


@pytest.mark.parametrize("what", ["weights", "classes", "bias"])
def test_a_damaged_model_is_refused(what: str, model: TaughtModel, tmp_path: Path) -> None:
    from dataclasses import replace

    damage: dict[str, Any] = {
        "weights": model.weights[:-1],
        "classes": (*model.classes[:-1], model.classes[0]),
        "bias": model.bias * np.nan,
    }
    replace(model, **{what: damage[what]}).save(tmp_path / "m")
    with pytest.raises(SettingsError, match="damaged"):
        Model.load(tmp_path / "m")


def test_settings_that_contradict_the_model_are_refused(model: TaughtModel) -> None:
    with pytest.raises(SettingsError, match="which was made with"):
        segspectral.segment(picture(2)[0], 7, model=model)


def test_a_card_names_the_classes(model: TaughtModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    run("models", "save", tmp_path / "m.safetensors", tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text()
    assert all(name in text for name in NAMES)
    assert "unsupervised" not in text
    assert "12 labels in 2 of 6 images" in run("models", "load", tmp_path / "card").output
