"""Tiny copies of every layout are read as the official ones, and what is wrong is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets import READERS, Dataset, open_dataset, read_label_ids
from segspectral.evaluation.datasets.classes import VOC_CLASSES
from segspectral.registry import DATASETS

SHAPE = (6, 8)


def save(path: Path, labels: np.ndarray, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if palette:
        image = image.convert("P")
        image.putdata(labels.astype(np.uint8).ravel().tolist())
        image.putpalette(list(range(256)) * 3)
    image.save(path)
    return path


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(path)
    return path


def voc(root: Path, ids: tuple[str, ...] = ("a", "b", "c")) -> Path:
    base = root / "VOCdevkit" / "VOC2012"
    for k, i in enumerate(ids):
        photo(base / "JPEGImages" / f"{i}.jpg")
        labels = np.full(SHAPE, k)
        labels[0] = 255
        save(base / "SegmentationClass" / f"{i}.png", labels, palette=True)
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("\n".join(ids) + "\n")
    return root


def cityscapes(root: Path) -> Path:
    photo(root / "leftImg8bit" / "val" / "bonn" / "bonn_0_1_leftImg8bit.png")
    labels = np.array([[0, 6, 7, 8, 11, 33, 9, 255]] * 6)
    save(root / "gtFine" / "val" / "bonn" / "bonn_0_1_gtFine_labelIds.png", labels)
    return root


def camvid(root: Path) -> Path:
    photo(root / "val" / "f1.png")
    save(root / "valannot" / "f1.png", np.array([[0, 10, 11, 3, 3, 3, 3, 3]] * 6))
    return root


def regions() -> tuple[np.ndarray, np.ndarray]:
    segs = np.ones((3, *SHAPE), np.uint16)
    segs[1, :, 4:] = 2
    edges = np.zeros(segs.shape, bool)
    edges[1, :, 3] = True
    return segs, edges


def bsds_mat(root: Path) -> Path:
    segs, edges = regions()
    photo(root / "images" / "val" / "12.jpg")
    cells = np.empty((1, 3), object)
    for k in range(3):
        cells[0, k] = {"Segmentation": segs[k], "Boundaries": edges[k].astype(np.uint8)}
    (root / "groundTruth" / "val").mkdir(parents=True)
    savemat(root / "groundTruth" / "val" / "12.mat", {"groundTruth": cells})
    return root


def bsds_npz(root: Path) -> Path:
    segs, edges = regions()
    photo(root / "val" / "images" / "12.jpg")
    (root / "val" / "gt").mkdir(parents=True)
    np.savez_compressed(root / "val" / "gt" / "12.npz", segs=segs, bdrys=np.packbits(edges, axis=-1))
    return root


def folder(root: Path) -> Path:
    for i, label in (("x", 2), ("y", 0)):
        photo(root / "images" / f"{i}.jpg")
        save(root / "masks" / f"{i}.png", np.full(SHAPE, label))
    return root


def first_labels(dataset: Dataset) -> list[int]:
    return dataset.samples[0].truth().labels[0, 3].tolist()


def test_voc_reads_palette_indices_and_the_split_list(tmp_path: Path) -> None:
    voc(tmp_path)
    dataset = open_dataset("voc", tmp_path)
    assert [s.id for s in dataset.samples] == ["a", "b", "c"]
    assert dataset.classes == VOC_CLASSES
    assert dataset.void == 255
    truth = dataset.samples[2].truth()
    assert truth.size == SHAPE
    assert np.unique(truth.labels).tolist() == [2, 255]
    for other in (tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        assert len(open_dataset("voc", other)) == 3


def test_cityscapes_ids_follow_the_official_table(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    assert first_labels(open_dataset("cityscapes", tmp_path)) == [255, 255, 0, 1, 4, 26, 2, 255]
    assert first_labels(open_dataset("cityscapes19", tmp_path)) == [255, 255, 0, 1, 2, 18, 255, 255]


def test_cityscapes_tables_equal_the_official_ones(tmp_path: Path) -> None:
    official = pytest.importorskip("cityscapesscripts.helpers.labels", reason="cityscapesScripts is not installed")
    photo(tmp_path / "leftImg8bit" / "val" / "u" / "u_leftImg8bit.png")
    save(tmp_path / "gtFine" / "val" / "u" / "u_gtFine_labelIds.png", np.arange(34)[None])
    for name, count in (("cityscapes", 27), ("cityscapes19", 19)):
        dataset = open_dataset(name, tmp_path)
        assert len(dataset.classes) == count
        ours = dataset.samples[0].truth().labels[0, 0]
        for label in official.labels:
            if label.id < 0:
                continue
            expected = (label.id - 7 if label.id >= 7 else 255) if count == 27 else label.trainId
            assert ours[label.id] == (expected if 0 <= expected < 255 else 255)
            if expected < 255:
                assert dataset.classes[expected] == label.name


def test_camvid_is_read_from_its_layout(tmp_path: Path) -> None:
    dataset = open_dataset("camvid", camvid(tmp_path))
    assert first_labels(dataset)[:4] == [0, 10, 11, 3]
    assert dataset.void == 11
    assert len(dataset.classes) == 11


@pytest.mark.parametrize("make", [bsds_mat, bsds_npz])
def test_bsds_is_read_in_the_official_and_the_compact_format(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    segs, edges = regions()
    truth = open_dataset("bsds", make(tmp_path)).samples[0].truth()
    assert (truth.labels == segs).all()
    assert truth.boundaries is not None
    assert (truth.boundaries == edges).all()


def test_folder_takes_names_or_counts_ids(tmp_path: Path) -> None:
    folder(tmp_path)
    assert open_dataset("folder", tmp_path).classes == ("0", "2"), "classes are the ids that occur"
    (tmp_path / "classes.txt").write_text("sky\nsea\nsand\n")
    assert open_dataset("folder", tmp_path).classes == ("sky", "sea", "sand")
    np.save(tmp_path / "masks" / "z.npy", np.ones(SHAPE, np.uint16))
    photo(tmp_path / "images" / "z.png")
    assert len(open_dataset("folder", tmp_path)) == 3


def test_a_data_set_can_be_narrowed(tmp_path: Path) -> None:
    voc(tmp_path)
    assert [s.id for s in open_dataset("voc", tmp_path, limit=2).samples] == ["a", "b"]
    assert [s.id for s in open_dataset("voc", tmp_path, ids=["c", "a"]).samples] == ["a", "c"]
    (tmp_path / "list.txt").write_text("b\n")
    assert [s.id for s in open_dataset("voc", tmp_path, ids=tmp_path / "list.txt").samples] == ["b"]
    assert [s.id for s in open_dataset("voc", tmp_path, with_class="bicycle").samples] == ["c"]


def test_fingerprint_follows_the_truths(tmp_path: Path) -> None:
    voc(tmp_path)
    dataset = open_dataset("voc", tmp_path)
    before = dataset.fingerprint()
    assert open_dataset("voc", tmp_path).fingerprint() == before
    assert open_dataset("voc", tmp_path, limit=2).fingerprint() != before
    save(dataset.samples[0].truth_file, np.full(SHAPE, 7))
    assert dataset.fingerprint() != before


def test_every_name_has_a_reader_and_every_layout_explains_a_wrong_root(tmp_path: Path) -> None:
    assert READERS.keys() == DATASETS.keys()
    (tmp_path / "holiday.jpg").write_bytes(b"")
    for name in DATASETS:
        with pytest.raises(DatasetError, match=r"holiday\.jpg") as caught:
            open_dataset(name, tmp_path)
        assert "expected" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(DatasetError, match="is not a folder"):
            open_dataset(name, tmp_path / "nowhere")


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    for arguments, words in (
        ({"split": "test"}, "found val"),
        ({"limit": 0}, "no image is left"),
        ({"ids": ["zebra"]}, "zebra"),
        ({"ids": tmp_path / "absent.txt"}, "absent.txt"),
        ({"with_class": "zebra"}, "aeroplane"),
        ({"with_class": "train"}, "no image is left"),
    ):
        with pytest.raises(DatasetError, match=words):
            open_dataset("voc", tmp_path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="the known ones are voc"):
        open_dataset("imagenet", tmp_path)


def test_broken_files_are_named(tmp_path: Path) -> None:
    voc(tmp_path)
    dataset = open_dataset("voc", tmp_path)
    path = dataset.samples[0].truth_file
    for labels, words in ((np.full(SHAPE, 21), "unknown label id 21"), (np.full(SHAPE, 255), "only void")):
        save(path, labels)
        with pytest.raises(DatasetError, match=rf"a\.png: .*{words}"):
            dataset.samples[0].truth()
    photo(path)
    with pytest.raises(DatasetError, match="RGB"):
        dataset.samples[0].truth()
    path.write_bytes(b"not a png")
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.samples[0].truth()
    path.unlink()
    with pytest.raises(DatasetError, match=r"a\.png: no such file but .*val\.txt lists it"):
        open_dataset("voc", tmp_path)
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("")
    with pytest.raises(DatasetError, match="empty"):
        open_dataset("voc", tmp_path)


def test_cityscapes_unknown_id_and_missing_truth(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    sample = open_dataset("cityscapes", tmp_path).samples[0]
    save(sample.truth_file, np.full(SHAPE, 77))
    with pytest.raises(DatasetError, match="unknown label id 77"):
        sample.truth()
    sample.truth_file.unlink()
    with pytest.raises(DatasetError, match=r"labelIds\.png: no such file"):
        open_dataset("cityscapes19", tmp_path)


@pytest.mark.parametrize(("make", "suffix"), [(bsds_mat, ".mat"), (bsds_npz, ".npz")])
def test_corrupt_bsds_truths_are_named(tmp_path: Path, make, suffix: str) -> None:  # type: ignore[no-untyped-def]
    sample = open_dataset("bsds", make(tmp_path)).samples[0]
    whole = sample.truth_file.read_bytes()
    for damage in (b"", b"rubbish", whole[: len(whole) // 2], whole[:-9]):
        sample.truth_file.write_bytes(damage)
        with pytest.raises(DatasetError, match=rf"12\{suffix}: cannot be read") as caught:
            sample.truth()
        assert "\n" not in str(caught.value)


def test_images_and_masks_without_partners_are_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "masks" / "y.png").unlink()
    with pytest.raises(DatasetError, match="no mask of the same name for y"):
        open_dataset("folder", tmp_path)


def test_label_maps_must_be_flat_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 2)))
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    for name, words in (("f.npy", "float64"), ("o.npy", "cannot be read"), ("absent.png", "no such file")):
        with pytest.raises(DatasetError, match=words):
            read_label_ids(tmp_path / name)


# --- nothing is left out in silence ---


def appledouble(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0\5\26\7 no picture")


def test_folders_below_are_walked_and_masks_looked_up_in_the_same_place(tmp_path: Path) -> None:
    folder(tmp_path)
    photo(tmp_path / "images" / "day 1" / "x.JPG")
    save(tmp_path / "masks" / "day 1" / "x.PNG", np.ones(SHAPE))
    for name in ("images/._x.jpg", "images/day 1/.DS_Store", "masks/Thumbs.db", "images/__MACOSX/x.jpg"):
        appledouble(tmp_path / name)
    dataset = open_dataset("folder", tmp_path)
    assert [s.id for s in dataset.samples] == ["day 1/x", "x", "y"]
    assert dataset.samples[0].truth().labels.max() == 1
    assert len(dataset.notes) == 1, "hidden files and files of the system are no data"


def test_files_that_are_not_scored_are_counted_and_named(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "images" / "readme.gif").write_bytes(b"GIF89a")
    for k in range(2):
        save(tmp_path / "masks" / f"alone{k}.png", np.zeros(SHAPE))
    _, images, masks = open_dataset("folder", tmp_path).notes
    assert "images: 1 file is left out" in images
    assert "readme.gif" in images
    assert "masks: 2 files are left out because each of them belongs to no image: alone0.png, alone1.png" in masks


def test_images_of_one_name_need_masks_that_tell_them_apart(tmp_path: Path) -> None:
    folder(tmp_path)
    photo(tmp_path / "images" / "x.png")
    with pytest.raises(DatasetError, match=r"x\.jpg and x\.png have the same name"):
        open_dataset("folder", tmp_path)
    save(tmp_path / "masks" / "x.jpg.png", np.full(SHAPE, 1))
    with pytest.raises(DatasetError, match=r"x\.jpg and x\.png have the same name"):
        open_dataset("folder", tmp_path)
    (tmp_path / "masks" / "x.png").rename(tmp_path / "masks" / "x.png.png")
    dataset = open_dataset("folder", tmp_path)
    assert {s.id: int(s.truth().labels.max()) for s in dataset.samples} == {"x.jpg": 1, "x.png": 2, "y": 0}
    np.save(tmp_path / "masks" / "y.npy", np.zeros(SHAPE, int))
    with pytest.raises(DatasetError, match=r"y\.npy and y\.png both belong to y\.jpg"):
        open_dataset("folder", tmp_path)


def test_two_folders_of_masks_are_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "x.txt").write_text("0 0.5 0.5 1 1\n")  # YOLO's boxes are no masks
    assert len(open_dataset("folder", tmp_path)) == 2
    save(tmp_path / "labels" / "x.png", np.zeros(SHAPE))
    with pytest.raises(DatasetError, match="masks and labels both hold pictures"):
        open_dataset("folder", tmp_path)


def test_folders_can_have_splits(tmp_path: Path) -> None:
    folder(tmp_path / "outer" / "val")
    assert open_dataset("folder", tmp_path / "outer").split == "val"
    inner = tmp_path / "inner"
    for part, ids in (("train", "ab"), ("val", "c")):
        for k, i in enumerate(ids + "z"):
            photo(inner / "images" / part / f"{i}.jpg")
            save(inner / "masks" / part / f"{i}.png", np.full(SHAPE, k))
    assert [s.id for s in open_dataset("folder", inner).samples] == ["c", "z"]
    assert [s.id for s in open_dataset("folder", inner, split="train").samples] == ["a", "b", "z"]
    for root in (inner, tmp_path / "outer"):
        with pytest.raises(DatasetError, match="test"):
            open_dataset("folder", root, split="test")
    folder(tmp_path / "plain")
    with pytest.raises(DatasetError, match="has no split test"):
        open_dataset("folder", tmp_path / "plain", split="test")


def test_lists_have_one_id_per_line(tmp_path: Path) -> None:
    ids = ("my cat", "a", "photo 1", "photo 0")
    voc(tmp_path, ids)
    listing = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt"
    asked = tmp_path / "ids.txt"
    text = "\r\n".join(("my cat  ", "", "photo 1", "\tphoto 0", ""))
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16"), text.replace("\r\n", "\r").encode()):
        asked.write_bytes(data)
        assert {s.id for s in open_dataset("voc", tmp_path, ids=asked).samples} == {"my cat", "photo 1", "photo 0"}
        assert len(open_dataset("voc", tmp_path, ids=str(asked))) == 3
        old = listing.read_bytes()
        listing.write_bytes(data)
        assert [s.id for s in open_dataset("voc", tmp_path).samples] == ["my cat", "photo 1", "photo 0"]
        listing.write_bytes(old)
    asked.write_text("a\nmy cat\na\n")
    dataset = open_dataset("voc", tmp_path, ids=asked)
    assert [s.id for s in dataset.samples] == ["my cat", "a"]
    assert dataset.notes == (f"{asked}: these ids are listed more than once but scored once: a",)
    assert len(open_dataset("voc", tmp_path, ids=["a", "a"]).notes) == 1
    asked.write_bytes(b"caf\xe9\n")
    with pytest.raises(DatasetError, match=r"ids\.txt: is not a text in UTF-8"):
        open_dataset("voc", tmp_path, ids=asked)


def test_lists_of_a_class_stand_for_its_images(tmp_path: Path) -> None:
    voc(tmp_path, ("2007_1", "2007_2", "2007_3"))
    lists = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "dog_val.txt").write_text("2007_1 -1\n2007_2  1\n2007_3  0\n")
    dataset = open_dataset("voc", tmp_path, split="dog_val")
    assert [s.id for s in dataset.samples] == ["2007_2", "2007_3"]
    assert dataset.notes == (f"{lists / 'dog_val.txt'}: 1 of 3 images left out because of the flag -1",)


@pytest.mark.parametrize("id", ["../a", "/etc/passwd", "b/../../a", "c\\..\\a", "a\0b"])
def test_ids_stay_inside_of_the_data_set(tmp_path: Path, id: str) -> None:
    voc(tmp_path)
    listing = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt"
    listing.write_text(f"a\n{id}\n")
    with pytest.raises(DatasetError, match=r"val\.txt: .* is not an id"):
        open_dataset("voc", tmp_path)


@pytest.mark.parametrize("name", ["cityscapes", "camvid", "bsds"])
def test_hidden_files_and_capital_suffixes_in_the_other_layouts(tmp_path: Path, name: str) -> None:
    make = {"cityscapes": cityscapes, "camvid": camvid, "bsds": bsds_mat}[name]
    [sample] = open_dataset(name, make(tmp_path)).samples
    appledouble(sample.image.with_name(f"._{sample.image.name}"))
    appledouble(sample.truth_file.with_name(f"._{sample.truth_file.name}"))
    sample.image.rename(sample.image.with_suffix(sample.image.suffix.upper()))
    sample.truth_file.rename(sample.truth_file.with_suffix(sample.truth_file.suffix.upper()))
    (sample.image.parent / "notes.txt").write_text("")
    other = sample.truth_file.with_name(
        sample.truth_file.name.replace("f1", "f9").replace("12", "99").replace("_1_", "_9_")
    )
    other.write_bytes(b"")
    dataset = open_dataset(name, tmp_path)
    assert [s.id for s in dataset.samples] == [sample.id]
    assert np.array_equal(dataset.samples[0].truth().labels, open_dataset(name, tmp_path).samples[0].truth().labels)
    assert len(dataset.notes) == 2
    assert "notes.txt" in dataset.notes[0]
    assert other.name in dataset.notes[1]


def test_two_truths_of_one_image_are_an_error(tmp_path: Path) -> None:
    bsds_mat(tmp_path)
    np.savez(tmp_path / "groundTruth" / "val" / "12.npz", segs=regions()[0])
    with pytest.raises(DatasetError, match=r"12\.mat and 12\.npz both belong to 12\.jpg"):
        open_dataset("bsds", tmp_path)
    (tmp_path / "groundTruth" / "val" / "12.npz").unlink()
    bsds_npz(tmp_path)
    with pytest.raises(DatasetError, match="holds the val split twice"):
        open_dataset("bsds", tmp_path)


def test_one_id_in_two_cities_is_an_error(tmp_path: Path) -> None:
    cityscapes(tmp_path)
    photo(tmp_path / "leftImg8bit" / "val" / "ulm" / "bonn_0_1_leftImg8bit.png")
    save(tmp_path / "gtFine" / "val" / "ulm" / "bonn_0_1_gtFine_labelIds.png", np.full(SHAPE, 7))
    with pytest.raises(DatasetError, match="several images have the id bonn_0_1"):
        open_dataset("cityscapes", tmp_path)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    assert len(open_dataset("folder", tmp_path)) == 2


def test_segmentations_of_fractions_are_refused(tmp_path: Path) -> None:
    sample = open_dataset("bsds", bsds_npz(tmp_path)).samples[0]
    segs, edges = regions()
    np.savez(sample.truth_file, segs=segs + 0.5, bdrys=np.packbits(edges, axis=-1))
    with pytest.raises(DatasetError, match=r"12\.npz: .*expected integers"):
        sample.truth()
