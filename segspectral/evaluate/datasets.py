"""Benchmark data sets, read from their official folder layouts.

A data set is a list of samples in a fixed order. A sample knows its id, its image file and how to load its truth. All
truths have one form: class ids 0..C-1 and one void label for semantic sets, or A label maps for sets with several
annotators. A file that does not fit the layout raises a ``DatasetError``, whose sentence names the file. Files that are
left out on purpose are counted and named in ``Dataset.notes``.

``DATASETS`` lists them all; to add one, write a function and add it to ``_READERS``, and
its title to ``segspectral.registry.DATASETS``.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segspectral import registry
from segspectral.errors import DatasetError, ImageError
from segspectral.evaluate.masks import Mask, Survey, Void, meaning_of
from segspectral.files import read_file, read_npy, read_npz
from segspectral.wording import few, plural

__all__ = [
    "DATASETS",
    "Dataset",
    "Layout",
    "Sample",
    "Truth",
    "files_below",
    "open_dataset",
    "read_label_ids",
    "read_mask",
    "without_suffix",
]

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
# Cityscapes ids 7..33 in order; a star marks classes that are not among the 19 evaluated ones (``ignoreInEval`` in
# the official labels.py).
_CITYSCAPES = (
    "road", "sidewalk", "parking*", "rail track*", "building", "wall", "fence", "guard rail*", "bridge*",
    "tunnel*", "pole", "polegroup*", "traffic light", "traffic sign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "caravan*", "trailer*", "train", "motorcycle", "bicycle",
)
# fmt: on


@dataclass(frozen=True)
class Truth:
    """The annotations of one image: ``labels`` (A, H, W) integers by A annotators; A = 1 for semantic sets.

    ``boundaries`` (A, H, W) bool are the annotators' boundary maps if the data set has them, else None.
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
    """The samples of a data set, in order.

    Parameters
    ----------
    classes : names of the classes; empty if truths are regions without classes
    void : label of the pixels that are not scored, or None
    ids : pixel values that stand for the classes in predictions, if they are not 0, 1, 2, ...
    notes : sentences about decisions that were made and files that were left out
    known : ids of all samples of the split, including those that ``open_dataset`` was told to leave out
    """

    name: str
    split: str
    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    void: int | None = None
    ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()

    @property
    def binary(self) -> bool:
        """Whether there are two classes, background and object, whatever numbers a mask stores for them."""
        return self.void is None and self.ids in ((0, 1), (0, 255), (0, 65535))

    def __len__(self) -> int:
        return len(self.samples)

    def fingerprint(self) -> str:
        """Return a SHA-256 over ids and truth files. Results with the same fingerprint come from the same data."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(sample.id.encode() + b"\0")
            digest.update(hashlib.sha256(sample.truth_file.read_bytes()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Layout:
    """A kind of data set: its name on the command line, its title, and the function that opens it."""

    name: str
    title: str
    open: Callable[..., Dataset] = field(repr=False)


def open_dataset(
    name: str,
    root: str | Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    ids: Iterable[str] | str | Path | None = None,
    with_class: str | None = None,
    void: Void | None = None,
) -> Dataset:
    """Open a data set of ``DATASETS``, or a part of it.

    Parameters
    ----------
    name : str
        A name of ``DATASETS``.
    root : path
        The folder of the data set; the official folder or one a few levels above it.
    split : str, optional
        The part; the default is "val". For ``folder`` it is a subfolder; the default is "val" if it exists, else all.
    limit : int, optional
        Keep only the first ``limit`` samples.
    ids : list of str, or a file with one id per line, optional
        Keep only these samples, in the order of the data set.
    with_class : str, optional
        Keep only images whose truth has this class.
    void : int or "none", optional
        For ``folder`` only: the value of mask pixels that are not scored, or "none" if all pixels are scored. It is
        required if masks have the value 255 (or 65535, or a negative number) beside other classes. The other data sets
        define their void value themselves.

    Raises
    ------
    DatasetError
        The root does not have this layout, a file is missing, two files have the same name, the void value is unknown,
        an id or class is unknown, or no sample is left.
    """
    layout = next((layout for layout in DATASETS if layout.name == name), None)
    if layout is None:
        raise DatasetError(f"unknown data set {name!r}: the known ones are {', '.join(d.name for d in DATASETS)}")
    base = Path(root)
    if not base.is_dir():
        raise DatasetError(f"no such folder, expected the root of {layout.title}", base)
    if name == "folder":
        dataset = _folder(base, split, void)
    elif void is None:
        dataset = layout.open(base, split or "val")
    else:
        raise DatasetError(f"{name} defines its void label itself: leave out void (--void), which is only for folder")
    twice = _twice(s.id for s in dataset.samples)
    if twice:
        raise DatasetError(f"several images have the id {few(twice)}, rename them", base)
    strange = [s.id for s in dataset.samples if not s.id.isprintable()]
    if strange:
        raise DatasetError(f"the name {strange[0]!a} cannot be printed, rename the image", base)
    known = {s.id for s in dataset.samples}
    dataset = replace(dataset, known=frozenset(known))
    if ids is not None:
        named, notes = _read_ids(Path(ids), known.__contains__) if isinstance(ids, str | Path) else (list(ids), ())
        unknown = sorted(set(named) - known)
        if unknown:
            raise DatasetError(f"the {split or 'val'} split of {name} has no image {few(unknown)}", base)
        wanted = set(named)
        if len(wanted) < len(named):
            notes += (_listed_twice("ids", named),)
        samples = tuple(s for s in dataset.samples if s.id in wanted)
        dataset = replace(dataset, samples=samples, notes=dataset.notes + notes)
    if with_class is not None:
        if with_class not in dataset.classes:
            names = ", ".join(dataset.classes) or "none, because its truths are regions"
            raise DatasetError(f"{name} has no class {with_class!r}: its classes are {names}")
        label = dataset.classes.index(with_class)
        dataset = replace(dataset, samples=tuple(s for s in dataset.samples if (s.truth().labels == label).any()))
    if limit is not None:
        dataset = replace(dataset, samples=dataset.samples[: max(limit, 0)])
    if not dataset.samples:
        raise DatasetError(f"no image is left in the {split or 'val'} split of {name} with these restrictions", base)
    return dataset


def read_label_ids(path: Path) -> NDArray[np.integer]:
    """Return the label ids (H, W) of an indexed or grey PNG, TIFF, BMP or GIF, or of an .npy file; True becomes 1.

    Use this function for masks of data sets and for predictions, whose ids may be any integers.
    ``segspectral.export.read_label_map`` reads the label maps of segspectral together with names and colours.

    Raises
    ------
    DatasetError
        The file cannot be read, is not a label map, or has a format that changes labels, such as JPEG.
    """
    values = read_mask(path, rgb=False).values
    return values.astype(np.uint8) if values.dtype == bool else np.asarray(values)


def read_mask(path: Path, *, rgb: bool = True) -> Mask:
    """Return the values of a mask file as they are stored, with the palette of an indexed picture.

    With ``rgb``, a colour picture whose pixels are all grey is read as a grey one. The EXIF orientation is applied, as
    for photographs.

    Raises
    ------
    DatasetError
        The file cannot be read, does not store integers, has several pages or colours, or is compressed with loss.
    """
    from PIL import ImageOps

    from segspectral.images.formats import FORMATS, TIFF, format_of, open_picture
    from segspectral.images.reader import MAX_PIXELS, first_page

    if not path.exists():
        raise DatasetError("no such file", path)
    palette = None
    try:
        if path.suffix.lower() == ".npy":
            array = read_npy(path, 8 * MAX_PIXELS)
        else:
            form = format_of(path)
            if form is TIFF:
                with first_page(path, bands=4 if rgb else 1):
                    pass  # opening the page checks its size
            with open_picture(path, FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DatasetError(f"has more than {MAX_PIXELS:,} pixels", path)
                if image.format == "WEBP" and b"VP8 " in path.read_bytes()[:64]:
                    raise _lossy(path, "WebP with loss")
                if (form.lossy and image.format != "WEBP") or image.info.get("compression") in ("jpeg", "webp"):
                    raise _lossy(path, "JPEG" if form is TIFF else str(image.format))
                if (pages := getattr(image, "n_frames", 1)) > 1:
                    raise DatasetError(f"holds {pages} pages, expected one mask in a file", path)
                known = ("1", "L", "P", "I", "F") + (("LA", "PA", "RGB", "RGBA") if rgb else ())
                if image.mode not in known and not image.mode.startswith("I;16"):
                    raise DatasetError(f"is a {image.mode} image, expected an indexed or grey image of labels", path)
                if image.mode in ("P", "PA"):
                    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
                array = np.asarray(ImageOps.exif_transpose(image))
    except DatasetError:
        raise
    except ImageError as error:
        raise DatasetError(f"cannot be read as a label map ({error.message})", path) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DatasetError(f"cannot be read as a label map ({_first_line(error)})", path) from error
    if array.dtype == np.uint8 and array.ndim == 3:
        array = _grey(path, array)
    if array.ndim != 2 or array.dtype.kind not in "iub" or array.size == 0:
        raise DatasetError(
            f"holds {array.dtype} {array.shape}, expected integers (height, width), an id for each pixel", path
        )
    return Mask(array, palette)


def _grey(path: Path, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return one band (H, W) of a picture (H, W, 2 to 4) whose pixels are all grey and opaque."""
    colours, opacity = (array[..., :-1], array[..., -1]) if array.shape[2] in (2, 4) else (array, None)
    if opacity is not None and (opacity != 255).any():
        raise DatasetError("has transparent pixels, save the mask without an alpha channel", path)
    if (colours != colours[..., :1]).any():
        raise DatasetError(
            "is an RGB image, and it is not known which colour is which class: save the id of each pixel's class, 0, "
            "1, 2, ..., as an indexed or grey PNG",
            path,
        )
    return colours[..., 0]


def _lossy(path: Path, how: str) -> DatasetError:
    return DatasetError(f"is stored as {how}, which changes the values of a mask: save it as PNG", path)


# --- the layouts ---


def _voc(root: Path, split: str) -> Dataset:
    base = _find(root, ("", "VOC2012", "VOCdevkit/VOC2012"), ("SegmentationClass", "JPEGImages"), "PASCAL VOC 2012")
    lists = base / "ImageSets" / "Segmentation"
    listing = lists / f"{split}.txt"
    if not listing.is_file():
        raise DatasetError(f"no such split list, found {few(sorted(p.stem for p in lists.glob('*.txt')))}", listing)
    read = _class_reader(np.arange(256), len(VOC_CLASSES), 255)
    photos, masks = base / "JPEGImages", base / "SegmentationClass"
    images, truths = _by_name(files_below(photos), IMAGE_SUFFIXES), _by_name(files_below(masks), (".png",))
    ids, notes = _read_ids(listing, images.__contains__)
    samples = [
        Sample(i, photos / _only(photos, images, i, ".jpg"), masks / _only(masks, truths, i, ".png"), read) for i in ids
    ]
    return Dataset("voc", split, base, _existing(samples, listing), VOC_CLASSES, 255, notes=notes)


def _cityscapes(root: Path, split: str, *, classes: int) -> Dataset:
    base = _find(root, ("", "cityscapes"), ("leftImg8bit", "gtFine"), "Cityscapes")
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
    notes = _left_out(photos / split, sorted(set(files) - set(images)), "is not called *_leftImg8bit.png")
    notes += _left_out(masks, [truths[name] for name in lonely], "has no image")
    name = "cityscapes" if classes == 27 else f"cityscapes{classes}"
    return Dataset(name, split, base, _existing(samples), tuple(names), 255, notes=notes)


def _camvid(root: Path, split: str) -> Dataset:
    base = _find(root, ("", "CamVid", "camvid"), (split, f"{split}annot"), "CamVid (SegNet's release)")
    read = _class_reader(np.arange(256), len(CAMVID_CLASSES), len(CAMVID_CLASSES))
    pairs, notes = _pairs(base / split, base / f"{split}annot", (".png",))
    samples = tuple(Sample(i, image, truth, read) for i, image, truth in pairs)
    return Dataset("camvid", split, base, samples, CAMVID_CLASSES, len(CAMVID_CLASSES), notes=notes)


def _bsds(root: Path, split: str) -> Dataset:
    folders = [
        (base / a, base / b)
        for base in (root / inner for inner in ("", "data", "BSDS500/data", "BSR/BSDS500/data"))
        for a, b in ((f"images/{split}", f"groundTruth/{split}"), (f"{split}/images", f"{split}/gt"))
        if (base / a).is_dir() and (base / b).is_dir()
    ]
    if not folders:
        raise DatasetError(
            f"is not a BSDS500 root with a {split} split: expected images/{split} and "
            f"groundTruth/{split} (.mat), or {split}/images and {split}/gt (.npz), found {_contents(root)}",
            root,
        )
    if len(folders) > 1:
        raise DatasetError(
            f"holds the {split} split twice, in {folders[0][0]} and {folders[1][0]}: name one of them", root
        )
    pairs, notes = _pairs(*folders[0], (".mat", ".npz"))
    samples = tuple(
        Sample(i, image, truth, _read_npz if truth.suffix.lower() == ".npz" else _read_mat) for i, image, truth in pairs
    )
    return Dataset("bsds", split, root, samples, notes=notes)


def _folder(root: Path, split: str | None = None, void: Void | None = None) -> Dataset:
    base, inner, photos, masks = _photos_and_masks(root, split or "val")
    whole = base == root and not inner
    if whole and split not in (None, "val", ""):
        raise DatasetError(
            f"has no split {split}, found {_contents(root)}: leave out --split to score all images", root
        )
    pairs, notes = _pairs(photos, masks, _MASK_SUFFIXES)
    survey = Survey()
    for _, _, path in pairs:
        mask = read_mask(path)
        survey.add(path, mask)
        if isinstance(void, int) and (mask.values == void).all():
            raise DatasetError("holds only void pixels, there is nothing to score", path)
    meaning = meaning_of(survey, _class_names(base, root if inner else base), void, masks)

    def read(path: Path) -> Truth:
        labels = meaning.labels(read_mask(path))
        if (labels == -2).any():
            raise DatasetError("holds an id that it did not hold before, it was changed while it was scored", path)
        return Truth(labels[None])

    samples = tuple(Sample(i, image, truth, read) for i, image, truth in pairs)
    part = "" if whole else split or "val"
    notes = (meaning.said, *notes)
    return Dataset("folder", part, base, samples, meaning.classes, meaning.void, meaning.ids, notes)


_MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")


def _photos_and_masks(root: Path, split: str) -> tuple[Path, str, Path, Path]:
    """Return the folder around images and masks, the split folder inside each ("" if none), and the two folders.

    A split is a folder around the images and masks, or a folder inside each of them; else all images belong to it.
    """
    photo_names = ("images", "img", "imgs", "img_dir")
    mask_names = ("masks", "labels", "truths", "gt", "annotations", "ann_dir")

    def folders(base: Path, names: tuple[str, ...], inner: str, kinds: tuple[str, ...]) -> list[Path]:
        found = [base / name / inner for name in names if (base / name / inner).is_dir()]
        return [p for p in found if len(found) == 1 or any(f.lower().endswith(kinds) for f in files_below(p))]

    for base, inner in ((root / split, ""), (root, split), (root, "")):
        photos, masks = (
            folders(base, photo_names, inner, IMAGE_SUFFIXES),
            folders(base, mask_names, inner, _MASK_SUFFIXES),
        )
        if photos and masks:
            break
    else:
        raise DatasetError(f"expected the folders images and masks, found {_contents(base)}", base)
    for several in (photos, masks):
        if len(several) > 1:
            first, second = (path.relative_to(base) for path in several[:2])
            raise DatasetError(f"{first} and {second} both hold pictures, keep only the right one", base)
    return base, inner, photos[0], masks[0]


def _class_names(*folders: Path) -> tuple[str, ...]:
    """Return the names in classes.txt of the first folder that has this file; empty if none has it."""
    for folder in folders:
        names = folder / "classes.txt"
        if names.is_file():
            classes = tuple(line for line in _lines(names) if line)
            if not classes or _twice(classes):
                raise DatasetError(f"expected each class name once, found {few(_twice(classes))}", names)
            return classes
    return ()


_READERS: Mapping[str, Callable[..., Dataset]] = {
    "voc": _voc,
    "cityscapes": partial(_cityscapes, classes=27),
    "cityscapes19": partial(_cityscapes, classes=19),
    "camvid": _camvid,
    "bsds": _bsds,
    "folder": _folder,
}

DATASETS = tuple(Layout(name, title, _READERS[name]) for name, title in registry.DATASETS.items())
"""Every data set that can be evaluated, under its name on the command line."""


# --- reading ---


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


def _read_mat(path: Path) -> Truth:
    from scipy.io import loadmat

    try:
        cells = loadmat(path)["groundTruth"].ravel()
        segmentations = np.stack([cell["Segmentation"][0, 0] for cell in cells])
        boundaries = np.stack([cell["Boundaries"][0, 0] for cell in cells]) > 0
    except Exception as error:  # scipy's reader can raise any kind of error for damaged files
        raise DatasetError(
            f"cannot be read as a BSDS ground truth ({_first_line(error)}), get the file again", path
        ) from error
    return _regions(path, segmentations, boundaries)


def _read_npz(path: Path) -> Truth:
    try:
        parts = read_npz(path, names=("segs", "bdrys"))
        segmentations = parts["segs"]
        boundaries = np.unpackbits(parts["bdrys"], axis=-1)[..., : segmentations.shape[-1]] > 0
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DatasetError(f"cannot be read as `segs` and `bdrys` of BSDS ({_first_line(error)})", path) from error
    return _regions(path, segmentations, boundaries)


def _regions(path: Path, segmentations: NDArray[np.integer], boundaries: NDArray[np.bool_]) -> Truth:
    if segmentations.ndim != 3 or 0 in segmentations.shape or boundaries.shape != segmentations.shape:
        raise DatasetError(
            f"segmentations {segmentations.shape} and boundaries {boundaries.shape} are not of one shape (A, H, W)",
            path,
        )
    if segmentations.dtype.kind not in "iub":
        raise DatasetError(f"segmentations are {segmentations.dtype}, expected integers", path)
    return Truth(segmentations.astype(np.int32), boundaries)


# --- files ---


def _find(root: Path, inner: tuple[str, ...], parts: tuple[str, ...], title: str) -> Path:
    """Return the first of ``root/inner`` that has all of ``parts``."""
    for candidate in inner:
        if all((root / candidate / part).is_dir() for part in parts):
            return root / candidate
    where = " or ".join(str(root / i) for i in inner[:2])
    raise DatasetError(
        f"is not a {title} root: expected {' and '.join(parts)} in {where}, found {_contents(root)}", root
    )


SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")
"""Files and folders that Windows and macOS create by themselves, in lower case."""


def files_below(folder: Path) -> list[str]:
    """Return the files in a folder and below it as sorted relative paths with slashes; skip hidden and system files."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if _visible(name)]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if _visible(name)]
    return sorted(found)


def without_suffix(name: str) -> str:
    """Return ``sub/a.b`` for ``sub/a.b.png``."""
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def _by_name(files: list[str], suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the files with these suffixes, in lower or upper case, by their path without suffix."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.lower().endswith(suffixes):
            found.setdefault(without_suffix(file), []).append(file)
    return found


def _only(folder: Path, found: dict[str, list[str]], name: str, suffix: str) -> str:
    """Return the only file of a name; if there is none, its official name, which the caller then reports as missing."""
    files = found.get(name, [f"{name}{suffix}"])
    if len(files) > 1:
        raise DatasetError(f"{files[0]} and {files[1]} have the same name, keep only the right one", folder)
    return files[0]


def _pairs(
    photos: Path, truths: Path, suffixes: tuple[str, ...]
) -> tuple[list[tuple[str, Path, Path]], tuple[str, ...]]:
    """Return (id, image, truth) of two folders and the folders below them, and notes about files that were left out.

    The truth of ``sub/a.jpg`` is ``sub/a.png`` (or .npy, ...), or ``sub/a.jpg.png`` if there also is a ``sub/a.tif``.
    The id is ``sub/a``, or ``sub/a.jpg`` if two images would otherwise have the same id.
    """
    photo_files, truth_files = files_below(photos), files_below(truths)
    images, masks = _by_name(photo_files, IMAGE_SUFFIXES), _by_name(truth_files, suffixes)
    if not images:
        raise DatasetError(f"holds no image, found {_contents(photos)}", photos)
    pairs, lonely, used = [], [], set()
    for name, files in images.items():
        for file in files:
            found = masks.get(file, []) + (masks.get(name, []) if len(files) == 1 else [])
            if not found and len(files) > 1:
                raise DatasetError(
                    f"{files[0]} and {files[1]} have the same name, so it is not known to which of them the mask "
                    f"{name} belongs: rename one of them, or add the suffix to the names of the masks: {files[0]}.png",
                    photos,
                )
            if len(found) > 1:
                raise DatasetError(f"{found[0]} and {found[1]} both belong to {file}, keep only the right one", truths)
            if found:
                used.add(found[0])
                pairs.append((name if len(files) == 1 else file, photos / file, truths / found[0]))
            else:
                lonely.append(file)
    if lonely:
        names = few([without_suffix(file) for file in lonely])
        raise DatasetError(
            f"no mask of the same name for {names} ({len(lonely)} of {len(pairs) + len(lonely)})", truths
        )
    taken = {file for files in images.values() for file in files}
    notes = _left_out(
        photos, [file for file in photo_files if file not in taken], "is not an image in a supported format"
    )
    return pairs, notes + _left_out(truths, [file for file in truth_files if file not in used], "belongs to no image")


def _left_out(folder: Path, files: list[str], why: str) -> tuple[str, ...]:
    if not files:
        return ()
    count, each = (f"{len(files)} files are", "each of them") if len(files) > 1 else ("1 file is", "it")
    return (f"{folder}: {count} left out because {each} {why}: {few(files)}",)


def _lines(path: Path) -> list[str]:
    """Return the stripped lines of a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one."""
    try:
        data = read_file(path)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise DatasetError(f"the list cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise DatasetError("is not a text in UTF-8, save the list as such", path) from error
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


FLAGGED = re.compile(r"(.*\S)\s+(-1|0|1)")
"""A line of a class list of PASCAL VOC: an id and a flag."""


def _read_ids(listing: Path, exists: Callable[[str], bool]) -> tuple[list[str], tuple[str, ...]]:
    """Return the ids of a list with one id per line, each once, and notes about lines that were left out.

    In the class lists of PASCAL VOC, every id is followed by 1 (the image has the class), 0 (the class is difficult to
    see) or -1. Such a list selects the images with 1 or 0.
    """
    lines = [line for line in _lines(listing) if line]
    notes: tuple[str, ...] = ()
    flags = [FLAGGED.fullmatch(line) for line in lines]
    if lines and all(flags) and not any(exists(line) for line in lines):
        pairs = [(flag[1], flag[2]) for flag in flags if flag]
        lines = [name for name, flag in pairs if flag != "-1"]
        if len(lines) < len(pairs):
            left_out = f"{len(pairs) - len(lines)} of {plural(len(pairs), 'image')} left out"
            notes += (f"{listing}: {left_out} because of the flag -1",)
    for line in lines:
        if "\0" in line or "\\" in line or ".." in line.split("/") or PurePosixPath(line).is_absolute():
            raise DatasetError(f"{line!r} is not an id, ids are names inside the folder of images", listing)
    if _twice(lines):
        notes += (_listed_twice(listing, lines),)
    return list(dict.fromkeys(lines)), notes


def _listed_twice(where: Path | str, names: list[str]) -> str:
    return f"{where}: these ids are listed more than once but scored once: {few(_twice(names))}"


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


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


def _contents(folder: Path) -> str:
    return few(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir()))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
