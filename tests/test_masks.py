"""Masks mean the same however their files store them, and what cannot be known is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segspectral.errors import DatasetError
from segspectral.evaluation import evaluate
from segspectral.evaluation.datasets import Dataset, open_dataset

SHAPE = (12, 16)


def object_of(k: int) -> np.ndarray:
    """Return the object of image k, (H, W) bool; most of image 1 is object."""
    labels = np.zeros(SHAPE, bool)
    labels[2 : 5 + 3 * k, 3:10] = True
    return ~labels if k == 1 else labels


def grey(labels: np.ndarray, path: Path) -> None:
    Image.fromarray(labels).save(path)


def indexed(labels: np.ndarray, path: Path, *colours: tuple[int, int, int]) -> None:
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(sum(colours, ()))
    image.save(path)


def by_frequency(labels: np.ndarray, path: Path) -> None:
    """With an adaptive palette, index 0 is the more frequent colour: white in one file and black in another."""
    if labels.mean() > 0.5:
        indexed(~labels, path, (255, 255, 255), (0, 0, 0))
    else:
        indexed(labels, path, (0, 0, 0), (255, 255, 255))


ENCODINGS: dict[str, Callable[[np.ndarray, Path], None]] = {
    "0 and 1": lambda labels, path: grey(labels.astype(np.uint8), path),
    "0 and 255": lambda labels, path: grey(labels.astype(np.uint8) * 255, path),
    "16 bits": lambda labels, path: grey(labels.astype(np.uint16) * 65535, path),
    "boolean": grey,
    "indices 0 and 1": lambda labels, path: indexed(labels, path, (0, 0, 0), (255, 0, 0)),
    "indices 0 and 255": lambda labels, path: indexed(labels * np.uint8(255), path, *((i, i, i) for i in range(256))),
    "adaptive palette": by_frequency,
    "grey in colours": lambda labels, path: grey(np.repeat(labels[..., None] * np.uint8(255), 3, 2), path),
    "grey with alpha": lambda labels, path: grey(
        np.stack([labels * np.uint8(255), np.full(SHAPE, 255, np.uint8)], 2), path
    ),
}


def photograph(path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(path, **options)  # type: ignore[arg-type]


def make(root: Path, *masks: np.ndarray, save: Callable[[np.ndarray, Path], None] = grey) -> Path:
    (root / "masks").mkdir(parents=True, exist_ok=True)
    for k, labels in enumerate(masks):
        photograph(root / "images" / f"{k}.png")
        save(labels, root / "masks" / f"{k}.png")
    return root


def opened(root: Path, *masks: np.ndarray, **options: object) -> Dataset:
    return open_dataset("folder", make(root, *masks), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("truth", ENCODINGS)
@pytest.mark.parametrize("protocol", ["direct", "P1", "P3"])
def test_binary_masks_in_any_encoding_give_one_score(tmp_path: Path, truth: str, protocol: str) -> None:
    objects = [object_of(k) for k in range(3)]
    dataset = open_dataset("folder", make(tmp_path / "set", *objects, save=ENCODINGS[truth]))
    assert dataset.classes == ("background", "object")
    assert dataset.void is None
    assert "2 classes" in dataset.notes[0]
    assert "none void" in dataset.notes[0]
    for sample, labels in zip(dataset.samples, objects, strict=True):
        assert np.array_equal(sample.truth().labels[0], labels)
    wrong = [np.roll(labels, 2, axis=1) for labels in objects]
    hits = np.mean([a == b for a, b in zip(objects, wrong, strict=True)])
    for name, save in ENCODINGS.items():
        folder = tmp_path / name
        folder.mkdir()
        for k, labels in enumerate(wrong):
            save(labels, folder / f"{k}.png")
        scores = evaluate(dataset, folder, protocol=protocol, measures=["semantic"], bootstrap=0).data["semantic"]
        assert scores["pixel_accuracy"] == pytest.approx(hits), name


def test_a_prediction_of_nothing_does_not_score_one(tmp_path: Path) -> None:
    dataset = opened(tmp_path, *(object_of(k) * np.uint8(255) for k in range(3)))
    scores = evaluate(dataset, lambda path: np.zeros(SHAPE, int), protocol="direct", bootstrap=0).data["semantic"]
    assert scores["per_class"][1] == 0.0
    assert scores["pixel_accuracy"] == pytest.approx(1 - np.mean([object_of(k) for k in range(3)]))


def test_booleans_beside_numbers_are_binary_too(tmp_path: Path) -> None:
    make(tmp_path, object_of(0) * np.uint8(255), object_of(1), object_of(2) * np.uint8(255))
    dataset = open_dataset("folder", tmp_path)
    assert dataset.classes == ("background", "object")
    assert np.array_equal(dataset.samples[1].truth().labels[0], object_of(1))


@pytest.mark.parametrize("high", [255, 65535])
def test_the_highest_value_beside_classes_must_be_declared(tmp_path: Path, high: int) -> None:
    kind = np.uint8 if high == 255 else np.uint16
    few = np.where(object_of(0), high, 0).astype(kind)  # alone it looks like a binary mask
    many = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE) % 3
    many = np.where(object_of(2), high, many).astype(kind)
    make(tmp_path, few, many)
    share = np.mean([few == high, many == high])
    with pytest.raises(DatasetError, match=rf"{high} \({share:.1%} .*0\.png.*--void {high}.*--void none"):
        open_dataset("folder", tmp_path)
    declared = open_dataset("folder", tmp_path, void=high)
    assert declared.classes == ("0", "1", "2")
    assert f"void {high} ({share:.1%} of the pixels)" in declared.notes[0]
    assert (declared.samples[0].truth().labels[0] == declared.void).sum() == (few == high).sum()
    nothing = open_dataset("folder", tmp_path, void="none")
    assert nothing.classes == ("0", "1", "2", str(high))
    assert nothing.void is None
    assert nothing.samples[0].truth().labels.max() == 3


def test_classes_are_of_the_whole_set_whatever_is_scored(tmp_path: Path) -> None:
    make(tmp_path, np.full(SHAPE, 7, np.uint8), np.full(SHAPE, 3, np.uint8), np.eye(*SHAPE, dtype=np.uint8))
    for options in ({}, {"limit": 1}, {"ids": ["1"]}):
        assert open_dataset("folder", tmp_path, **options).classes == ("0", "1", "3", "7")  # type: ignore[arg-type]


def test_ids_with_gaps_are_scored_as_the_masks_have_them(tmp_path: Path) -> None:
    truth = [np.where(object_of(k), 15, 4).astype(np.uint8) for k in range(2)]
    dataset = opened(tmp_path / "set", *truth)
    perfect = evaluate(dataset, lambda path: truth[int(path.stem)], protocol="direct", bootstrap=0).data
    assert perfect["semantic"]["miou"] == 1.0
    assert perfect["trimap"]["value"] == 1.0
    other = evaluate(dataset, lambda path: np.full(SHAPE, 1), protocol="direct", bootstrap=0).data
    assert other["semantic"]["pixel_accuracy"] == 0.0
    assert "100.0% of the pixels are predicted as no class" in other["notes"][-1]


def test_two_classes_with_declared_void_take_no_other_encoding(tmp_path: Path) -> None:
    truth = [np.where(object_of(k), 1, 0).astype(np.uint8) for k in range(2)]
    truth[0][0] = 255
    dataset = opened(tmp_path, *truth, void=255)
    scores = evaluate(dataset, lambda path: object_of(int(path.stem)) * 255, protocol="direct", bootstrap=0).data
    assert scores["semantic"]["per_class"][1] == 0.0, "255 is void in this set, not the object"


def test_predictions_in_two_encodings_are_refused(tmp_path: Path) -> None:
    dataset = opened(tmp_path / "set", *(object_of(k) * np.uint8(255) for k in range(2)))
    folder = tmp_path / "predictions"
    folder.mkdir()
    grey(object_of(0) * np.uint8(255), folder / "0.png")
    grey(object_of(1).astype(np.uint8), folder / "1.png")
    with pytest.raises(DatasetError, match=r"1\.png: .*0 and 1 and 255.*same two values"):
        evaluate(dataset, folder, protocol="direct")


def soft(labels: np.ndarray) -> np.ndarray:
    small = Image.fromarray(labels * np.uint8(255)).resize((9, 7), Image.Resampling.BILINEAR)
    return np.asarray(small.resize(SHAPE[::-1], Image.Resampling.BILINEAR))


def near(labels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 2, SHAPE)
    return np.where(labels, 255 - noise, noise).astype(np.uint8)


@pytest.mark.parametrize("spoil", [soft, near, lambda _: np.arange(192, dtype=np.uint8).reshape(SHAPE)])
@pytest.mark.parametrize("void", [None, "none"])
def test_grey_pictures_and_soft_edges_are_refused(tmp_path: Path, spoil, void) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DatasetError, match=r"soft edges") as caught:
        opened(tmp_path, *(spoil(object_of(k)) for k in range(3)), void=void)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 85, 170, 255), (0, 1, 2, 255), (0, 64, 128, 191, 255)])
def test_classes_in_steps_of_grey_are_classes(tmp_path: Path, values: tuple[int, ...]) -> None:
    labels = np.kron(np.arange(12).reshape(3, 4) % len(values), np.ones((4, 4), int))
    assert len(opened(tmp_path, np.array(values, np.uint8)[labels], void="none").classes) == len(values)


@pytest.mark.parametrize("name", ["0.jpg", "0.webp", "0.tif", "0.png"])
def test_masks_that_were_compressed_with_loss_are_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, object_of(0) * np.uint8(255), object_of(2) * np.uint8(255))
    (tmp_path / "masks" / "0.png").unlink()
    options = {"webp": {"format": "WEBP"}, "tif": {"format": "TIFF", "compression": "jpeg"}}
    Image.fromarray(object_of(0) * np.uint8(255)).save(
        tmp_path / "masks" / name, **options.get(name[2:], {"format": "JPEG"})
    )
    with pytest.raises(DatasetError, match=rf"{name}: "):
        open_dataset("folder", tmp_path)


def test_pictures_that_are_not_masks_are_refused(tmp_path: Path) -> None:
    coloured = np.zeros((*SHAPE, 3), np.uint8)
    coloured[:4, :, 0] = 128
    see_through = np.full((*SHAPE, 4), 255, np.uint8)
    see_through[0, 0, 3] = 0
    for labels, words in (
        (coloured, "RGB image, .* indexed or grey PNG"),
        (see_through, "transparent"),
        (np.zeros(SHAPE, np.float32), "float32"),
    ):
        make(tmp_path, object_of(0))
        path = tmp_path / "masks" / ("0.tif" if labels.dtype == np.float32 else "0.png")
        (tmp_path / "masks" / "0.png").unlink()
        grey(labels, path)
        with pytest.raises(DatasetError, match=rf"{path.name}: .*{words}"):
            open_dataset("folder", tmp_path)
    first, *rest = (Image.fromarray(object_of(k)) for k in range(2))
    first.save(path, save_all=True, append_images=rest)
    with pytest.raises(DatasetError, match="2 pages"):
        open_dataset("folder", tmp_path)


def test_a_set_of_one_class_is_refused_unless_all_are_named(tmp_path: Path) -> None:
    for value in (0, 1, 255, 9):
        with pytest.raises(DatasetError, match=f"only the class {value}"):
            opened(tmp_path / str(value), np.full(SHAPE, value, np.uint8))
    with pytest.raises(DatasetError, match="only the class 0"):
        opened(tmp_path / "void", object_of(0) * np.uint8(255), void=255)
    with pytest.raises(DatasetError, match="only void"):
        opened(tmp_path / "all", object_of(0) * np.uint8(1), np.full(SHAPE, 255, np.uint8), void=255)
    (tmp_path / "0" / "classes.txt").write_bytes("\ufeffbackground\r\n\r\nobject\r\n".encode())
    dataset = open_dataset("folder", tmp_path / "0")
    assert dataset.classes == ("background", "object")
    results = evaluate(dataset, lambda path: np.zeros(SHAPE, int), protocol="direct", bootstrap=0)
    assert results.data["notes"][-1].endswith("object")
    assert "1 of 2 classes occurs in no truth" in results.data["notes"][-1]
    assert all(value is not None for _, _, value, _ in results.table()), "no contour, and no trimap, is no line"


def test_ids_beyond_the_named_classes_are_refused(tmp_path: Path) -> None:
    make(tmp_path, np.eye(*SHAPE, dtype=np.uint8) * 3)
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    with pytest.raises(DatasetError, match=r"0\.png: .*unknown label id 3, .* 0 to 1"):
        open_dataset("folder", tmp_path)
    make(tmp_path, object_of(0) * np.uint8(255))
    assert open_dataset("folder", tmp_path).samples[0].truth().labels.max() == 1
    (tmp_path / "classes.txt").write_text("sky\nsea\nsand\n")
    with pytest.raises(DatasetError, match="--void 255"):
        open_dataset("folder", tmp_path)


def test_palettes_that_disagree_are_refused(tmp_path: Path) -> None:
    make(tmp_path, object_of(0), object_of(1))
    indexed(object_of(0), tmp_path / "masks" / "0.png", (0, 0, 0), (255, 0, 0))
    indexed(~object_of(1), tmp_path / "masks" / "1.png", (255, 0, 0), (0, 0, 0))
    with pytest.raises(DatasetError, match=r"index 0 is the colour .* one palette"):
        open_dataset("folder", tmp_path)


def test_negative_numbers_are_void_only_if_declared(tmp_path: Path) -> None:
    make(tmp_path, object_of(0))
    (tmp_path / "masks" / "0.png").unlink()
    np.save(tmp_path / "masks" / "0.npy", np.where(object_of(0), 1, np.eye(*SHAPE, dtype=int) - 1))
    with pytest.raises(DatasetError, match="--void -1"):
        open_dataset("folder", tmp_path)
    assert open_dataset("folder", tmp_path, void=-1).classes == ("0", "1")


def test_only_folders_accept_a_void_value(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="voc defines"):
        open_dataset("voc", tmp_path, void=255)


def test_turned_photographs_need_truths_that_show_their_orientation(tmp_path: Path) -> None:
    """Orientation 3 turns by 180 degrees and keeps the size, so it is not known whether the mask is turned."""
    for orientation, turned in itertools.product(range(1, 9), (False, True)):
        root = tmp_path / f"{orientation}{turned}"
        labels = object_of(0).astype(np.uint8)
        make(root, labels.T if turned else labels)
        exif = Image.Exif()
        exif[0x0112] = orientation
        photograph(root / "images" / "0.png", exif=exif)
        dataset = open_dataset("folder", root)
        predict = lambda path, size=dataset.samples[0].truth().size: np.zeros(size, int)  # noqa: E731
        if orientation == 1 or (orientation > 4 and turned):
            evaluate(dataset, predict, bootstrap=0)
            continue
        words = "does not tell" if orientation < 5 and not turned else "turn the mask as well"
        with pytest.raises(DatasetError, match=rf"0\.png: the EXIF orientation .*{words}"):
            evaluate(dataset, predict, bootstrap=0)
        np.save(root / "0.npy", predict(Path()))
        assert "must both be turned, or neither: 0" in evaluate(dataset, root, bootstrap=0).data["notes"][-1]
        if not turned:  # a mask with the same tag is turned with its photograph
            Image.fromarray(labels).save(root / "masks" / "0.png", exif=exif)
            same = open_dataset("folder", root)
            expected = labels.T.shape if orientation > 4 else labels.shape
            assert same.samples[0].truth().size == expected
            evaluate(same, lambda path, size=expected: np.zeros(size, int), bootstrap=0)
