"""A data set that is a folder of images and masks."""

from __future__ import annotations

from pathlib import Path

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets.files import IMAGE_SUFFIXES, contents, files_below, lines_of, pairs_of, repeated
from segspectral.evaluation.datasets.samples import Dataset, Sample, Truth
from segspectral.evaluation.maskfiles import read_mask
from segspectral.evaluation.masks import Survey, Void, meaning_of
from segspectral.wording import few

__all__ = ["read_folder"]


def read_folder(root: Path, split: str | None = None, void: Void | None = None) -> Dataset:
    base, inner, photos, masks = _photos_and_masks(root, split or "val")
    whole = base == root and not inner
    if whole and split not in (None, "val", ""):
        raise DatasetError(f"has no split {split}, found {contents(root)}: leave out --split to score all images", root)
    pairs, notes = pairs_of(photos, masks, _MASK_SUFFIXES)
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
        raise DatasetError(f"expected the folders images and masks, found {contents(base)}", base)
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
            classes = tuple(line for line in lines_of(names) if line)
            if not classes or repeated(classes):
                raise DatasetError(f"expected each class name once, found {few(repeated(classes))}", names)
            return classes
    return ()
