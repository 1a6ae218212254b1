"""Benchmark data sets in their own directory layouts, read-only.

A data set is a list of samples in a fixed order; a sample knows its id, its image file and how to load its
truth. Truths arrive in one form: class ids 0..C-1 and one void label for semantic sets, A label maps for sets
with several annotators. Whatever is not as the layout says is a ``DatasetError`` in one sentence that names
the file; what is left out on purpose is counted and named in ``Dataset.notes``.

``DATASETS`` lists them all; a new one is one function and one line there.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, ImageError
from segspectral.evaluate.masks import Mask, Survey, Void, meaning_of
from segspectral.files import read_file, read_npy, read_npz

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
    """Samples in order; ``classes`` is empty where truths are regions, ``void`` is the label not scored.

    ``ids`` are the numbers that predictions have for the classes, where these are not 0, 1, 2, ...; ``notes`` are
    sentences about what was decided and what was left out; ``known`` are the ids of the whole split, before it was
    narrowed.
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
        """Whether there are two classes, background and object, whichever numbers a mask has for them."""
        return self.void is None and self.ids in ((0, 1), (0, 255), (0, 65535))

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
    """Open a data set of ``DATASETS`` and narrow it.

    Parameters
    ----------
    name : str
        A name of ``DATASETS``.
    root : path
        The folder of the data set; a few levels around the official one are understood.
    split : str, optional
        The part, by default "val"; for ``folder`` a subfolder, by default "val" if there is one, else everything.
    limit : int, optional
        Only the first ``limit`` samples.
    ids : list of str, or a file with one id a line, optional
        Only these samples, in the data set's order.
    with_class : str, optional
        Only images whose truth holds this class.
    void : int or "none", optional
        For ``folder``: the value of mask pixels that are not scored, or that there is none. It must be given where
        masks hold 255 (65535, or a negative number) beside other classes; the other data sets declare theirs.

    Raises
    ------
    DatasetError
        If the root is not of this layout, a file is missing, two files have one name, it is not known what is void, an
        id or class is unknown, or nothing is left.
    """
    layout = next((layout for layout in DATASETS if layout.name == name), None)
    if layout is None:
        raise DatasetError(f"unknown data set {name!r}: known are {', '.join(d.name for d in DATASETS)}")
    place = Path(root)
    if not place.is_dir():
        raise DatasetError(f"no such folder, expected the root of {layout.title}", place)
    if name == "folder":
        dataset = _folder(place, split, void)
    elif void is None:
        dataset = layout.open(place, split or "val")
    else:
        raise DatasetError(f"{name} declares itself what is void: leave out void (--void), which is for folder")
    twice = _twice(s.id for s in dataset.samples)
    if twice:
        raise DatasetError(f"several images have the id {_few(twice)}, rename them", place)
    strange = [s.id for s in dataset.samples if not s.id.isprintable()]
    if strange:
        raise DatasetError(f"the name {strange[0]!a} cannot be printed, rename the image", place)
    known = {s.id for s in dataset.samples}
    dataset = replace(dataset, known=frozenset(known))
    if ids is not None:
        named, notes = _read_ids(Path(ids), known.__contains__) if isinstance(ids, str | Path) else (list(ids), ())
        unknown = sorted(set(named) - known)
        if unknown:
            raise DatasetError(f"the {split or 'val'} split of {name} has no image {_few(unknown)}", place)
        wanted = set(named)
        if len(wanted) < len(named):
            notes += (_listed_twice("ids", named),)
        samples = tuple(s for s in dataset.samples if s.id in wanted)
        dataset = replace(dataset, samples=samples, notes=dataset.notes + notes)
    if with_class is not None:
        if with_class not in dataset.classes:
            names = ", ".join(dataset.classes) or "none, its truths are regions"
            raise DatasetError(f"{name} has no class {with_class!r}: known are {names}")
        label = dataset.classes.index(with_class)
        dataset = replace(dataset, samples=tuple(s for s in dataset.samples if (s.truth().labels == label).any()))
    if limit is not None:
        dataset = replace(dataset, samples=dataset.samples[: max(limit, 0)])
    if not dataset.samples:
        raise DatasetError(f"no image is left in the {split or 'val'} split of {name} with these restrictions", place)
    return dataset


def read_label_ids(path: Path) -> NDArray[np.integer]:
    """A label map (H, W) of integers from an indexed or grey PNG, TIFF, BMP or GIF, or from .npy; True is 1.

    Raises
    ------
    DatasetError
        If the file cannot be read, is no label map, or is of a format in which labels do not survive, such as JPEG.
    """
    values = read_mask(path, rgb=False).values
    return values.astype(np.uint8) if values.dtype == bool else np.asarray(values)


def read_mask(path: Path, *, rgb: bool = True) -> Mask:
    """The values of a mask file as they are stored, with the palette of an indexed picture.

    A picture in colours whose pixels are all grey is read as grey if ``rgb``. The EXIF orientation is applied, as it is
    to photographs.

    Raises
    ------
    DatasetError
        If the file cannot be read, holds no integers, several pages or colours, or was compressed with loss.
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
                    pass  # its size is fit
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
    """(H, W) of a picture (H, W, 2 to 4) whose pixels are all grey and opaque."""
    colours, opacity = (array[..., :-1], array[..., -1]) if array.shape[2] in (2, 4) else (array, None)
    if opacity is not None and (opacity != 255).any():
        raise DatasetError("has transparent pixels, save the mask without an alpha channel", path)
    if (colours != colours[..., :1]).any():
        raise DatasetError(
            "is an RGB image, and which colour is which class is not known: save the id of each pixel's "
            "class, 0, 1, 2, ..., as an indexed or grey PNG",
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
        raise DatasetError(f"no such split list, found {_few(sorted(p.stem for p in lists.glob('*.txt')))}", listing)
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
    table[:34] = table[255] = 255  # 255 is -1, the licence plate, in eight bits
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
        splits = _few(sorted(p.name for p in photos.iterdir() if p.is_dir()))
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
    notes = _left_out(photos / split, sorted(set(files) - set(images)), "is no *_leftImg8bit.png")
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
    places = [
        (base / a, base / b)
        for base in (root / inner for inner in ("", "data", "BSDS500/data", "BSR/BSDS500/data"))
        for a, b in ((f"images/{split}", f"groundTruth/{split}"), (f"{split}/images", f"{split}/gt"))
        if (base / a).is_dir() and (base / b).is_dir()
    ]
    if not places:
        raise DatasetError(
            f"is no BSDS500 root with a {split} split: expected images/{split} and "
            f"groundTruth/{split} (.mat), or {split}/images and {split}/gt (.npz), found {_contents(root)}",
            root,
        )
    if len(places) > 1:
        raise DatasetError(
            f"holds the {split} split twice, in {places[0][0]} and {places[1][0]}: name one of them", root
        )
    pairs, notes = _pairs(*places[0], (".mat", ".npz"))
    samples = tuple(
        Sample(i, image, truth, _read_npz if truth.suffix.lower() == ".npz" else _read_mat) for i, image, truth in pairs
    )
    return Dataset("bsds", split, root, samples, notes=notes)


def _folder(root: Path, split: str | None = None, void: Void | None = None) -> Dataset:
    photo_names = ("images", "img", "imgs", "img_dir")
    mask_names = ("masks", "labels", "truths", "gt", "annotations", "ann_dir")
    suffixes = (*IMAGE_SUFFIXES, ".npy")

    def places(base: Path, names: tuple[str, ...], inner: str, kinds: tuple[str, ...]) -> list[Path]:
        found = [base / name / inner for name in names if (base / name / inner).is_dir()]
        return [p for p in found if len(found) == 1 or any(f.lower().endswith(kinds) for f in files_below(p))]

    # the split is a folder around images and masks, or one inside of each
    wanted = split or "val"
    for base, inner in ((root / wanted, ""), (root, wanted), (root, "")):
        photos, masks = places(base, photo_names, inner, IMAGE_SUFFIXES), places(base, mask_names, inner, suffixes)
        if photos and masks:
            break
    else:
        raise DatasetError(f"expected the folders images and masks, found {_contents(base)}", base)
    whole = base == root and not inner
    if whole and split not in (None, "val", ""):
        raise DatasetError(
            f"has no split {split}, found {_contents(root)}: leave out --split to score all images", root
        )
    for several in (photos, masks):
        if len(several) > 1:
            raise DatasetError(
                f"{several[0].relative_to(base)} and {several[1].relative_to(base)} both hold pictures, keep "
                "the one that is meant",
                base,
            )
    pairs, notes = _pairs(photos[0], masks[0], suffixes)
    names = base / "classes.txt"
    if not names.is_file() and inner:
        names = root / "classes.txt"
    classes = tuple(line for line in _lines(names) if line) if names.is_file() else ()
    if names.is_file() and (not classes or _twice(classes)):
        raise DatasetError(f"expected the name of each class once, found {_few(_twice(classes))}", names)
    survey = Survey()
    for _, _, path in pairs:
        mask = read_mask(path)
        survey.add(path, mask)
        if isinstance(void, int) and (mask.values == void).all():
            raise DatasetError("holds only void pixels, there is nothing to score", path)
    meaning = meaning_of(survey, classes, void, masks[0])

    def read(path: Path) -> Truth:
        labels = meaning.labels(read_mask(path))
        if (labels == -2).any():
            raise DatasetError("holds an id that it did not hold before, it was changed while it was scored", path)
        return Truth(labels[None])

    samples = tuple(Sample(i, image, truth, read) for i, image, truth in pairs)
    return Dataset(
        "folder",
        "" if whole else wanted,
        base,
        samples,
        meaning.classes,
        meaning.void,
        meaning.ids,
        (meaning.said, *notes),
    )


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


def _class_reader(table: NDArray[np.integer], classes: int, void: int) -> Callable[[Path], Truth]:
    """Reader of class maps: ids through ``table`` (-1: unknown), then classes 0.. or void and no other."""

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
    except Exception as error:  # scipy's reader raises nearly anything on damaged files
        raise DatasetError(
            f"cannot be read as a BSDS ground truth ({_first_line(error)}), get the file again", path
        ) from error
    return _regions(path, segmentations, boundaries)


def _read_npz(path: Path) -> Truth:
    import zlib

    try:
        parts = read_npz(path, names=("segs", "bdrys"))
        segmentations = parts["segs"]
        boundaries = np.unpackbits(parts["bdrys"], axis=-1)[..., : segmentations.shape[-1]] > 0
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        IndexError,
        TypeError,
        zlib.error,
    ) as error:
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
    """The first of ``root/inner`` that holds all of ``parts``."""
    for candidate in inner:
        if all((root / candidate / part).is_dir() for part in parts):
            return root / candidate
    places = " or ".join(str(root / i) for i in inner[:2])
    raise DatasetError(f"is no {title} root: expected {' and '.join(parts)} in {places}, found {_contents(root)}", root)


SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")


def files_below(folder: Path) -> list[str]:
    """The files in a folder and below it as relative paths with slashes, in order, hidden and system files left out."""
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if _visible(name)]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in files if _visible(name)]
    return sorted(found)


def without_suffix(name: str) -> str:
    """``sub/a.b`` of ``sub/a.b.png``."""
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def _by_name(files: list[str], suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Files of these suffixes, in small or capital letters, by their path without suffix."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.lower().endswith(suffixes):
            found.setdefault(without_suffix(file), []).append(file)
    return found


def _only(folder: Path, found: dict[str, list[str]], name: str, suffix: str) -> str:
    """The one file of a name; if there is none, its official name, which the caller will miss."""
    files = found.get(name, [f"{name}{suffix}"])
    if len(files) > 1:
        raise DatasetError(f"{files[0]} and {files[1]} have one name, keep the one that is meant", folder)
    return files[0]


def _pairs(
    photos: Path, truths: Path, suffixes: tuple[str, ...]
) -> tuple[list[tuple[str, Path, Path]], tuple[str, ...]]:
    """(id, image, truth) of two folders and the folders below them, and notes about files that were left out.

    The truth of ``sub/a.jpg`` is ``sub/a.png`` (or .npy, ...), or ``sub/a.jpg.png``, which tells it from that of
    ``sub/a.tif``. The id is ``sub/a``, or ``sub/a.jpg`` where two images would have one id.
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
                    f"{files[0]} and {files[1]} have one name, so that it is not known whose the mask "
                    f"{name} is: rename one of them, or put the suffix into the names of the masks: {files[0]}.png",
                    photos,
                )
            if len(found) > 1:
                raise DatasetError(
                    f"{found[0]} and {found[1]} both belong to {file}, keep the one that is meant", truths
                )
            if found:
                used.add(found[0])
                pairs.append((name if len(files) == 1 else file, photos / file, truths / found[0]))
            else:
                lonely.append(file)
    if lonely:
        names = _few([without_suffix(file) for file in lonely])
        raise DatasetError(
            f"no mask of the same name for {names} ({len(lonely)} of {len(pairs) + len(lonely)})", truths
        )
    taken = {file for files in images.values() for file in files}
    notes = _left_out(photos, [file for file in photo_files if file not in taken], "is no image that is read")
    return pairs, notes + _left_out(truths, [file for file in truth_files if file not in used], "belongs to no image")


def _left_out(folder: Path, files: list[str], why: str) -> tuple[str, ...]:
    if not files:
        return ()
    count = f"{len(files)} files are" if len(files) > 1 else "1 file is"
    return (f"{folder}: {count} left out, each {why}: {_few(files)}",)


def _lines(path: Path) -> list[str]:
    """The lines of a text file without blanks around them; UTF-8 with or without a mark, or UTF-16 with one."""
    try:
        data = read_file(path)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise DatasetError(f"the list cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise DatasetError("is no text in UTF-8, save the list as such", path) from error
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


FLAGGED = re.compile(r"(.*\S)\s+(-1|0|1)")


def _read_ids(listing: Path, exists: Callable[[str], bool]) -> tuple[list[str], tuple[str, ...]]:
    """The ids of a list, one a line, each once, and notes about lines that were left out.

    Lists of a class of PASCAL VOC, in which every id is followed by 1 (the image holds the class), 0 (difficult) or -1,
    stand for the images with 1 and 0.
    """
    lines = [line for line in _lines(listing) if line]
    notes: tuple[str, ...] = ()
    flags = [FLAGGED.fullmatch(line) for line in lines]
    if lines and all(flags) and not any(exists(line) for line in lines):
        pairs = [(flag[1], flag[2]) for flag in flags if flag]
        lines = [name for name, flag in pairs if flag != "-1"]
        if len(lines) < len(pairs):
            notes += (f"{listing}: {len(pairs) - len(lines)} of {len(pairs)} images have the flag -1 and are left out",)
    for line in lines:
        if "\0" in line or "\\" in line or ".." in line.split("/") or PurePosixPath(line).is_absolute():
            raise DatasetError(f"{line!r} is no id, ids are names inside of the folder of images", listing)
    if _twice(lines):
        notes += (_listed_twice(listing, lines),)
    return list(dict.fromkeys(lines)), notes


def _listed_twice(where: Path | str, names: list[str]) -> str:
    return f"{where}: listed more than once and scored once: {_few(_twice(names))}"


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
            + (f", and {len(missing) - 1} more are missing" if len(missing) > 1 else "")
        )
    return tuple(samples)


def _contents(folder: Path) -> str:
    return _few(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir()))


def _few(names: list[str]) -> str:
    return (", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "nothing"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
