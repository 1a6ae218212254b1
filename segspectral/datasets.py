"""Benchmark data sets in their own directory layouts, read-only.

A data set is a list of samples in a fixed order; a sample knows its id, its image file and how to load its
truth. Truths arrive in one form: class ids 0..C-1 and one void label for semantic sets, A label maps for sets
with several annotators. Whatever is not as the layout says is a ``DatasetError`` in one sentence that names
the file; nothing is skipped in silence.

``DATASETS`` lists them all; a new one is one function and one line there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, ImageError

__all__ = ["DATASETS", "Dataset", "Layout", "Sample", "Truth", "open_dataset", "read_label_map"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

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
# Cityscapes ids 7..33 in order; a star: not among the 19 evaluated (``ignoreInEval`` in labels.py)
_CITYSCAPES = (
    "road", "sidewalk", "parking*", "rail track*", "building", "wall", "fence", "guard rail*", "bridge*",
    "tunnel*", "pole", "polegroup*", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "caravan*", "trailer*", "train", "motorcycle", "bicycle",
)
# fmt: on


@dataclass(frozen=True)
class Truth:
    """What humans said of one image: ``labels`` (A, H, W) integers, A = 1 for semantic sets.

    ``boundaries`` (A, H, W) bool are the annotators' boundary maps where the data set ships them, else None.
    """

    labels: NDArray[np.integer]
    boundaries: NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.labels.shape[1], self.labels.shape[2]


@dataclass(frozen=True)
class Sample:
    """One image of a data set; ``truth()`` reads ``truth_file`` or raises ``DatasetError``."""

    id: str
    image: Path
    truth_file: Path
    read: Callable[[Path], Truth] = field(repr=False, compare=False)

    def truth(self) -> Truth:
        return self.read(self.truth_file)


@dataclass(frozen=True)
class Dataset:
    """Samples in order; ``classes`` is empty where truths are regions, ``void`` is the label not scored."""

    name: str
    split: str
    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    void: int | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def fingerprint(self) -> str:
        """SHA-256 over ids and truth files: two results with the same one were taken on the same data."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(sample.id.encode() + b"\0")
            digest.update(hashlib.sha256(sample.truth_file.read_bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Layout:
    """A kind of data set: its name on the command line, what it is, and the function that opens it."""

    name: str
    title: str
    open: Callable[[Path, str], Dataset] = field(repr=False)


def open_dataset(
    name: str,
    root: str | Path,
    *,
    split: str = "val",
    limit: int | None = None,
    ids: Iterable[str] | Path | None = None,
    with_class: str | None = None,
) -> Dataset:
    """Open a data set of ``DATASETS`` and narrow it.

    Parameters
    ----------
    name : str
        A name of ``DATASETS``.
    root : path
        The folder of the data set; a few levels around the official one are understood.
    split : str
        The part; for ``folder`` a subfolder, ignored when there is none.
    limit : int, optional
        Only the first ``limit`` samples.
    ids : list of str, or a file with one id a line, optional
        Only these samples, in the data set's order.
    with_class : str, optional
        Only images whose truth holds this class.

    Raises
    ------
    DatasetError
        If the root is not of this layout, a file is missing, an id or class is unknown, or nothing is left.
    """
    layout = next((layout for layout in DATASETS if layout.name == name), None)
    if layout is None:
        raise DatasetError(f"unknown data set {name!r}: known are {', '.join(d.name for d in DATASETS)}")
    place = Path(root)
    if not place.is_dir():
        raise DatasetError(f"{place}: no such folder, expected the root of {layout.title}")
    dataset = layout.open(place, split)
    if ids is not None:
        if isinstance(ids, Path):
            try:
                ids = ids.read_text().split()
            except OSError as error:
                raise DatasetError(f"{ids}: the list of ids cannot be read ({error.strerror})") from error
        wanted = set(ids)
        unknown = sorted(wanted - {s.id for s in dataset.samples})
        if unknown:
            raise DatasetError(f"{place}: the {split} split of {name} has no image {_few(unknown)}")
        dataset = replace(dataset, samples=tuple(s for s in dataset.samples if s.id in wanted))
    if with_class is not None:
        if with_class not in dataset.classes:
            known = ", ".join(dataset.classes) or "none, its truths are regions"
            raise DatasetError(f"{name} has no class {with_class!r}: known are {known}")
        label = dataset.classes.index(with_class)
        dataset = replace(dataset, samples=tuple(s for s in dataset.samples if (s.truth().labels == label).any()))
    if limit is not None:
        dataset = replace(dataset, samples=dataset.samples[: max(limit, 0)])
    if not dataset.samples:
        raise DatasetError(f"{place}: no image is left in the {split} split of {name} with these restrictions")
    return dataset


def read_label_map(path: Path) -> NDArray[np.integer]:
    """A label map (H, W) of integers from an indexed or grey PNG, TIFF, BMP or GIF, or from .npy.

    Raises
    ------
    DatasetError
        If the file cannot be read, is no label map, or is of a format in which labels do not survive, such as JPEG.
    """
    from segspectral.files import read_npy
    from segspectral.formats import FORMATS, TIFF, format_of, open_picture
    from segspectral.images import MAX_PIXELS, first_page

    if not path.exists():
        raise DatasetError(f"{path}: no such file")
    try:
        if path.suffix == ".npy":
            array = read_npy(path, 8 * MAX_PIXELS)
        else:
            exact = [form for form in FORMATS if not form.lossy]
            if format_of(path, exact) is TIFF:
                with first_page(path, bands=1):
                    pass  # its size is fit
            with open_picture(path, exact) as image:
                if image.mode not in ("P", "L", "I", "I;16", "1"):
                    raise DatasetError(f"{path}: is a {image.mode} image, expected an indexed or grey image of labels")
                if image.width * image.height > MAX_PIXELS:
                    raise DatasetError(f"{path}: has more than {MAX_PIXELS:,} pixels")
                array = np.asarray(image)
    except ImageError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise DatasetError(f"{path}: cannot be read as a label map ({why})") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DatasetError(f"{path}: cannot be read as a label map ({_first_line(error)})") from error
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
        raise DatasetError(f"{path}: holds {array.dtype} {array.shape}, expected integers (height, width)")
    return array


# --- the layouts ---


def _voc(root: Path, split: str) -> Dataset:
    base = _find(root, ("", "VOC2012", "VOCdevkit/VOC2012"), ("SegmentationClass", "JPEGImages"), "PASCAL VOC 2012")
    lists = base / "ImageSets" / "Segmentation"
    listing = lists / f"{split}.txt"
    if not listing.is_file():
        raise DatasetError(f"{listing}: no such split list, found {_few(sorted(p.stem for p in lists.glob('*.txt')))}")
    read = _class_reader(np.arange(256), len(VOC_CLASSES), 255)
    samples = [
        Sample(i, base / "JPEGImages" / f"{i}.jpg", base / "SegmentationClass" / f"{i}.png", read)
        for i in listing.read_text().split()
    ]
    return Dataset("voc", split, base, _existing(samples, listing), VOC_CLASSES, 255)


def _cityscapes(root: Path, split: str, *, classes: int) -> Dataset:
    base = _find(root, ("", "cityscapes"), ("leftImg8bit", "gtFine"), "Cityscapes")
    table = np.full(256, -1)
    table[:34] = table[255] = 255  # 255 is -1, the licence plate, in eight bits
    names: list[str] = []
    for label, name in enumerate(_CITYSCAPES, start=7):
        if classes == 27 or not name.endswith("*"):
            table[label] = len(names)
            names.append(name.rstrip("*"))
    read = _class_reader(table, len(names), 255)
    photos = base / "leftImg8bit"
    samples = []
    for image in sorted((photos / split).glob("*/*_leftImg8bit.png")):
        i = image.name.removesuffix("_leftImg8bit.png")
        truth = base / "gtFine" / split / image.parent.name / f"{i}_gtFine_labelIds.png"
        samples.append(Sample(i, image, truth, read))
    if not samples:
        splits = _few(sorted(p.name for p in photos.iterdir() if p.is_dir()))
        raise DatasetError(f"{photos / split}: no image CITY/*_leftImg8bit.png, splits found: {splits}")
    name = "cityscapes" if classes == 27 else f"cityscapes{classes}"
    return Dataset(name, split, base, _existing(samples), tuple(names), 255)


def _camvid(root: Path, split: str) -> Dataset:
    base = _find(root, ("", "CamVid", "camvid"), (split, f"{split}annot"), "CamVid (SegNet's release)")
    read = _class_reader(np.arange(256), len(CAMVID_CLASSES), len(CAMVID_CLASSES))
    images = _images(base / split)
    samples = [Sample(i, image, base / f"{split}annot" / f"{i}.png", read) for i, image in images.items()]
    return Dataset("camvid", split, base, _existing(samples), CAMVID_CLASSES, len(CAMVID_CLASSES))


def _bsds(root: Path, split: str) -> Dataset:
    for inner in ("", "data", "BSDS500/data", "BSR/BSDS500/data"):
        base = root / inner
        if (base / "images" / split).is_dir() and (base / "groundTruth" / split).is_dir():
            folder, truths, suffix, read = (
                base / "images" / split,
                base / "groundTruth" / split,
                ".mat",
                _read_mat,
            )
            break
        if (base / split / "images").is_dir() and (base / split / "gt").is_dir():
            folder, truths, suffix, read = base / split / "images", base / split / "gt", ".npz", _read_npz
            break
    else:
        raise DatasetError(
            f"{root}: is no BSDS500 root with a {split} split: expected images/{split} and "
            f"groundTruth/{split} (.mat), or {split}/images and {split}/gt (.npz), found {_contents(root)}"
        )
    samples = [Sample(i, image, truths / f"{i}{suffix}", read) for i, image in _images(folder).items()]
    return Dataset("bsds", split, root, _existing(samples))


def _folder(root: Path, split: str) -> Dataset:
    base = root / split if (root / split).is_dir() else root
    pairs = [
        (base / a, base / b)
        for a in ("images", "img", "imgs", "img_dir")
        for b in ("masks", "labels", "truths", "gt", "annotations", "ann_dir")
        if (base / a).is_dir() and (base / b).is_dir()
    ]
    if not pairs:
        raise DatasetError(f"{base}: expected the folders images and masks, found {_contents(base)}")
    images, masks = _images(pairs[0][0]), _images(pairs[0][1], (*IMAGE_SUFFIXES, ".npy"))
    lonely = sorted(set(images) - set(masks))
    if lonely:
        raise DatasetError(f"{pairs[0][1]}: no mask of the same name for {_few(lonely)}")
    void = 255
    names = base / "classes.txt"
    if names.is_file():
        classes = tuple(line.strip() for line in names.read_text().splitlines() if line.strip())
    else:
        # without a list of names, the classes are the ids up to the largest that occurs
        largest = 0
        for i in images:
            labels = read_label_map(masks[i])
            largest = max(largest, int(np.max(labels, initial=0, where=labels != void)))
        classes = tuple(str(k) for k in range(largest + 1))
    read = _class_reader(None, len(classes), void)
    samples = tuple(Sample(i, image, masks[i], read) for i, image in images.items())
    return Dataset("folder", split if base != root else "", base, samples, classes, void)


DATASETS: tuple[Layout, ...] = (
    Layout("voc", "PASCAL VOC 2012, 21 classes", _voc),
    Layout("cityscapes", "Cityscapes, 27 classes", partial(_cityscapes, classes=27)),
    Layout("cityscapes19", "Cityscapes, the 19 evaluated classes", partial(_cityscapes, classes=19)),
    Layout("camvid", "CamVid, 11 classes", _camvid),
    Layout("bsds", "BSDS500, regions by 4 to 9 annotators", _bsds),
    Layout("folder", "a folder with images and masks of the same names", _folder),
)
"""Every data set that can be evaluated, by the name it has on the command line."""


# --- reading ---


def _class_reader(table: NDArray[np.integer] | None, classes: int, void: int) -> Callable[[Path], Truth]:
    """Reader of class maps: ids through ``table`` (-1: unknown), then classes 0.. or void and no other."""

    def read(path: Path) -> Truth:
        raw = read_label_map(path)
        labels = raw if table is None else table[np.clip(raw, 0, 255)]
        bad = (labels != void) & ((labels < 0) | (labels >= classes))
        if table is not None:
            bad |= (raw < 0) | (raw > 255)
        if bad.any():
            raise DatasetError(f"{path}: holds the unknown label id {raw[bad][0]}, it does not belong to this data set")
        if (labels == void).all():
            raise DatasetError(f"{path}: holds only void pixels, there is nothing to score")
        return Truth(labels.astype(np.int32)[None])

    return read


def _read_mat(path: Path) -> Truth:
    from scipy.io import loadmat

    try:
        cells = loadmat(path)["groundTruth"].ravel()
        segmentations = np.stack([cell["Segmentation"][0, 0] for cell in cells])
        boundaries = np.stack([cell["Boundaries"][0, 0] for cell in cells]) > 0
    except Exception as error:  # scipy's reader raises nearly anything on damaged files
        raise DatasetError(
            f"{path}: cannot be read as a BSDS ground truth ({_first_line(error)}), get the file again"
        ) from error
    return _regions(path, segmentations, boundaries)


def _read_npz(path: Path) -> Truth:
    import zipfile
    import zlib

    try:
        with np.load(path, allow_pickle=False) as parts:
            segmentations = parts["segs"]
            boundaries = np.unpackbits(parts["bdrys"], axis=-1)[..., : segmentations.shape[-1]] > 0
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        IndexError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DatasetError(f"{path}: cannot be read as `segs` and `bdrys` of BSDS ({_first_line(error)})") from error
    return _regions(path, segmentations, boundaries)


def _regions(path: Path, segmentations: NDArray[np.integer], boundaries: NDArray[np.bool_]) -> Truth:
    if segmentations.ndim != 3 or 0 in segmentations.shape or boundaries.shape != segmentations.shape:
        raise DatasetError(
            f"{path}: segmentations {segmentations.shape} and boundaries {boundaries.shape} "
            "are not of one shape (A, H, W)"
        )
    return Truth(segmentations.astype(np.int32), boundaries)


# --- files ---


def _find(root: Path, inner: tuple[str, ...], parts: tuple[str, ...], title: str) -> Path:
    """The first of ``root/inner`` that holds all of ``parts``."""
    for candidate in inner:
        if all((root / candidate / part).is_dir() for part in parts):
            return root / candidate
    places = " or ".join(str(root / i) for i in inner[:2])
    raise DatasetError(
        f"{root}: is no {title} root: expected {' and '.join(parts)} in {places}, found {_contents(root)}"
    )


def _images(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes and not p.name.startswith(".")}
    if not found:
        raise DatasetError(f"{folder}: holds no image, found {_contents(folder)}")
    return found


def _existing(samples: list[Sample], listing: Path | None = None) -> tuple[Sample, ...]:
    if not samples:
        raise DatasetError(f"{listing}: the split is empty")
    missing = [p for s in samples for p in (s.image, s.truth_file) if not p.is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no such file"
            + (f" but {listing} lists it" if listing else "")
            + (f", and {len(missing) - 1} more are missing" if len(missing) > 1 else "")
        )
    return tuple(samples)


def _contents(folder: Path) -> str:
    return _few(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir()))


def _few(names: list[str]) -> str:
    return (", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "nothing"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
