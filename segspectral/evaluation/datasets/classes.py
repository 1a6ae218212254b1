"""Data sets of classes: PASCAL VOC, Cityscapes and CamVid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets.files import (
    IMAGE_SUFFIXES,
    by_name,
    files_below,
    find,
    left_out,
    only,
    pairs_of,
    read_ids,
)
from segspectral.evaluation.datasets.samples import Dataset, Sample, Truth
from segspectral.evaluation.maskfiles import read_label_ids
from segspectral.wording import few, plural

__all__ = ["read_camvid", "read_cityscapes", "read_voc"]

# fmt: off
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car", "pedestrian",
    "bicyclist",
)
# Cityscapes ids 7..33 in order; a star marks classes that are not among the 19 evaluated ones (``ignoreInEval`` in
# the official labels.py).
_CITYSCAPES = (
    "road", "sidewalk", "parking*", "rail track*", "building", "wall", "fence", "guard rail*", "bridge*",
    "tunnel*", "pole", "polegroup*", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "caravan*", "trailer*", "train", "motorcycle", "bicycle",
)
# fmt: on


def read_voc(root: Path, split: str) -> Dataset:
    base = find(root, ("", "VOC2012", "VOCdevkit/VOC2012"), ("SegmentationClass", "JPEGImages"), "PASCAL VOC 2012")
    lists = base / "ImageSets" / "Segmentation"
    listing = lists / f"{split}.txt"
    if not listing.is_file():
        raise DatasetError(f"no such split list, found {few(sorted(p.stem for p in lists.glob('*.txt')))}", listing)
    read = _class_reader(np.arange(256), len(VOC_CLASSES), 255)
    photos, masks = base / "JPEGImages", base / "SegmentationClass"
    images, truths = by_name(files_below(photos), IMAGE_SUFFIXES), by_name(files_below(masks), (".png",))
    ids, notes = read_ids(listing, images.__contains__)
    samples = [
        Sample(i, photos / only(photos, images, i, ".jpg"), masks / only(masks, truths, i, ".png"), read) for i in ids
    ]
    return Dataset("voc", split, base, _existing(samples, listing), VOC_CLASSES, 255, notes=notes)


def read_cityscapes(root: Path, split: str, *, classes: int) -> Dataset:
    base = find(root, ("", "cityscapes"), ("leftImg8bit", "gtFine"), "Cityscapes")
    table = np.full(256, -1)
    table[:34] = table[255] = 255  # the licence plate has the id -1, which is 255 in eight bits
    names: list[str] = []
    for label, name in enumerate(_CITYSCAPES, start=7):
        if classes == 27 or not name.endswith("*"):
            table[label] = len(names)
            names.append(name.rstrip("*"))
    read = _class_reader(table, len(names), 255)
    photos, masks = base / "leftImg8bit", base / "gtFine" / split
    tail, truth_tail = "_leftimg8bit.png", "_gtfine_labelids.png"
    files = files_below(photos / split)
    images = [file for file in files if file.lower().endswith(tail)]
    if not images:
        splits = few(sorted(p.name for p in photos.iterdir() if p.is_dir()))
        raise DatasetError(f"no image CITY/*_leftImg8bit.png, splits found: {splits}", photos / split)
    truths = {file[: -len(truth_tail)]: file for file in files_below(masks) if file.lower().endswith(truth_tail)}
    samples = [
        Sample(
            PurePosixPath(file).name[: -len(tail)],
            photos / split / file,
            masks / truths.get(file[: -len(tail)], f"{file[: -len(tail)]}_gtFine_labelIds.png"),
            read,
        )
        for file in images
    ]
    lonely = sorted(set(truths) - {file[: -len(tail)] for file in images})
    notes = left_out(photos / split, sorted(set(files) - set(images)), "is not called *_leftImg8bit.png")
    notes += left_out(masks, [truths[name] for name in lonely], "has no image")
    name = "cityscapes" if classes == 27 else f"cityscapes{classes}"
    return Dataset(name, split, base, _existing(samples), tuple(names), 255, notes=notes)


def read_camvid(root: Path, split: str) -> Dataset:
    base = find(root, ("", "CamVid", "camvid"), (split, f"{split}annot"), "CamVid (SegNet's release)")
    read = _class_reader(np.arange(256), len(CAMVID_CLASSES), len(CAMVID_CLASSES))
    pairs, notes = pairs_of(base / split, base / f"{split}annot", (".png",))
    samples = tuple(Sample(i, image, truth, read) for i, image, truth in pairs)
    return Dataset("camvid", split, base, samples, CAMVID_CLASSES, len(CAMVID_CLASSES), notes=notes)


def _class_reader(table: NDArray[np.integer], classes: int, void: int) -> Callable[[Path], Truth]:
    """Return a reader of class maps that translates ids by ``table`` (-1: unknown) and refuses all other values."""

    def read(path: Path) -> Truth:
        raw = read_label_ids(path)
        labels = table[np.clip(raw, 0, 255)]
        bad = (labels != void) & ((labels < 0) | (labels >= classes))
        bad |= (raw < 0) | (raw > 255)
        if bad.any():
            raise DatasetError(f"holds the unknown label id {raw[bad][0]}, it does not belong to this data set", path)
        if (labels == void).all():
            raise DatasetError("holds only void pixels, there is nothing to score", path)
        return Truth(labels.astype(np.int32)[None])

    return read


def _existing(samples: list[Sample], listing: Path | None = None) -> tuple[Sample, ...]:
    if not samples:
        raise DatasetError("the split is empty", listing)
    missing = [p for s in samples for p in (s.image, s.truth_file) if not p.is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no such file"
            + (f" but {listing} lists it" if listing else "")
            + (f", and {plural(len(missing) - 1, 'more is', 'more are')} missing" if len(missing) > 1 else "")
        )
    return tuple(samples)
