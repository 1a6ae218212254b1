"""Tiny copies of every layout are read as the official ones, and what is wrong is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segspectral.datasets import DATASETS, VOC_CLASSES, Dataset, open_dataset, read_label_map
from segspectral.errors import DatasetError

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


def test_camvid(tmp_path: Path) -> None:
    dataset = open_dataset("camvid", camvid(tmp_path))
    assert first_labels(dataset)[:4] == [0, 10, 11, 3]
    assert dataset.void == 11
    assert len(dataset.classes) == 11


@pytest.mark.parametrize("make", [bsds_mat, bsds_npz])
def test_bsds_official_and_compact(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
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


def test_subsets(tmp_path: Path) -> None:
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


def test_names_are_unique_and_every_layout_explains_a_wrong_root(tmp_path: Path) -> None:
    names = [d.name for d in DATASETS]
    assert len(set(names)) == len(names)
    (tmp_path / "holiday.jpg").write_bytes(b"")
    for layout in DATASETS:
        with pytest.raises(DatasetError, match=r"holiday\.jpg") as caught:
            open_dataset(layout.name, tmp_path)
        assert "expected" in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(DatasetError, match="no such folder"):
            open_dataset(layout.name, tmp_path / "nowhere")


def test_bad_requests(tmp_path: Path) -> None:
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
    with pytest.raises(DatasetError, match="known are voc"):
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
def test_corrupt_bsds_truths(tmp_path: Path, make, suffix: str) -> None:  # type: ignore[no-untyped-def]
    sample = open_dataset("bsds", make(tmp_path)).samples[0]
    whole = sample.truth_file.read_bytes()
    for damage in (b"", b"rubbish", whole[: len(whole) // 2], whole[:-9]):
        sample.truth_file.write_bytes(damage)
        with pytest.raises(DatasetError, match=rf"12\{suffix}: cannot be read") as caught:
            sample.truth()
        assert "\n" not in str(caught.value)


def test_folder_without_partners(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "masks" / "y.png").unlink()
    with pytest.raises(DatasetError, match="no mask of the same name for y"):
        open_dataset("folder", tmp_path)


def test_label_maps_must_be_flat_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros((2, 2)))
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    for name, words in (("f.npy", "float64"), ("o.npy", "cannot be read"), ("absent.png", "no such file")):
        with pytest.raises(DatasetError, match=words):
            read_label_map(tmp_path / name)
