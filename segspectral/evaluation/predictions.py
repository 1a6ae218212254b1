"""Predictions that are scored: those of a folder or of a function, and what their numbers mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets import Dataset, Sample, read_mask
from segspectral.evaluation.datasets.files import by_name, files_below
from segspectral.evaluation.masks import FULL, Mask, Survey, translated
from segspectral.evaluation.plan import Protocol
from segspectral.files import is_npy, read_file, read_npy, read_npz
from segspectral.wording import few, plural

__all__ = ["Called", "Folder", "Prediction", "Predictor", "Reading", "orientation_of"]


@dataclass(frozen=True)
class Prediction:
    """Label maps of one image, (H, W) or (S, H, W), its superpixels (H, W), and its edge map (H, W) in [0, 1]."""

    labels: ArrayLike
    superpixels: NDArray[np.integer] | None = None
    edges: NDArray[np.floating] | None = None


Predictor = Callable[[Path], "ArrayLike | Prediction"]


class Called:
    """Predictions of a function, each made when its image is scored.

    Raises
    ------
    DatasetError
        The EXIF orientation of an image leaves it open whether its truth is turned as well.
    """

    together = False
    notes: tuple[str, ...] = ()

    def __init__(self, predict: Predictor, dataset: Dataset) -> None:
        for sample, why in _turned(dataset):
            raise DatasetError(f"the EXIF orientation turns or mirrors this image, and {why}", sample.image)
        self._predict = predict

    def file(self, sample: Sample) -> Path:
        """Return the file from which the prediction comes."""
        return sample.image

    def items(self) -> Iterator[tuple[Path, Mask]]:
        """Yield the predictions that can be examined before they are scored: none."""
        yield from ()

    def load(self, sample: Sample) -> tuple[Mask, Prediction]:
        """Return the label maps of an image, and the prediction with everything else that it holds."""
        made = self._predict(sample.image)
        made = made if isinstance(made, Prediction) else Prediction(made)
        return Mask(np.asarray(made.labels)), made


class Folder:
    """Predictions in a folder and the folders below it; every image must have one.

    The prediction of ID is ``ID.png``, ``ID.npy`` or ``ID.npz``, or ``ID_labels.png`` as segspectral writes it, also
    with the suffix of the image: ``ID.jpg_labels.png``. ``notes`` name the files that belong to no image, and images
    that may be turned although their masks are not.

    Raises
    ------
    DatasetError
        An image has no prediction, or several.
    """

    SUFFIXES = (".png", ".npy", ".npz")
    PICTURES = ("_overlay", "_figure", "_ucm")
    """Endings of pictures that segspectral writes beside its label maps."""

    together = True

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        if not folder.is_dir():
            raise DatasetError("is not a folder of predictions", folder)
        named = by_name(files_below(folder), self.SUFFIXES)
        self._files: dict[str, Path] = {}
        for sample in dataset.samples:
            found = [file for name in _names(sample.id, sample.image.suffix) for file in named.get(name, [])]
            if len(found) > 1:
                raise DatasetError(f"{found[1]} belongs to the same image, keep only one of them", folder / found[0])
            if found:
                self._files[sample.id] = folder / found[0]
        if missing := [sample.id for sample in dataset.samples if sample.id not in self._files]:
            raise DatasetError(f"no prediction for {few(missing)}, expected ID.png, ID.npy or ID.npz", folder)
        suffixes = {sample.image.suffix for sample in dataset.samples}
        known = {name for id in dataset.known for suffix in suffixes for name in _names(id, suffix)}
        known |= {name + picture for name in known for picture in self.PICTURES}
        self.notes: tuple[str, ...] = ()
        if strangers := [file for name, files in named.items() if name not in known for file in files]:
            count = plural(len(strangers), "prediction belongs", "predictions belong")
            self.notes += (f"{folder}: {count} to no image: {few(strangers)}",)
        if turned := [sample.id for sample, _ in _turned(dataset)]:
            self.notes += (
                f"{plural(len(turned), 'image is', 'images are')} turned by EXIF orientation, and the masks may not be "
                f"turned; predictions and masks must both be turned, or neither: {few(turned)}",
            )

    def file(self, sample: Sample) -> Path:
        """Return the file of a prediction."""
        return self._files[sample.id]

    def items(self) -> Iterator[tuple[Path, Mask]]:
        """Yield the files and the label maps of all images."""
        for path in self._files.values():
            yield path, _read(path)

    def load(self, sample: Sample) -> tuple[Mask, Prediction]:
        """Return the label maps of an image; a file has nothing else."""
        mask = _read(self._files[sample.id])
        return mask, Prediction(mask.values)


def _read(path: Path) -> Mask:
    if path.suffix.lower() == ".png":
        return read_mask(path)
    try:
        if is_npy(path):
            return Mask(read_npy(path))
        arrays = read_npz(path, names=("segs",)) or read_npz(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read as label maps ({error})", path) from error
    if len(arrays) != 1:
        raise DatasetError(f"holds {', '.join(arrays) or 'nothing'}, expected `segs`", path)
    return Mask(*arrays.values())


def _numbered_by_itself(path: Path) -> bool:
    """Return whether the summary beside a label map of segspectral says that it was made without a shared model."""
    try:
        summary = json.loads(read_file(path.with_name(f"{path.stem.removesuffix('_labels')}.json")))
        return path.stem.endswith("_labels") and summary["pipeline"]["model"] is None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _names(id: str, suffix: str) -> tuple[str, ...]:
    """Return the names, without .png, that the prediction of an image may have."""
    return tuple(dict.fromkeys((id, f"{id}_labels", f"{id}{suffix}", f"{id}{suffix}_labels")))


class Reading:
    """The meaning of the numbers in predictions if they mean the same in all images ("direct", P1 and P2).

    ``object`` is the number of the object if the predictions are binary masks (see ``masks``). The predictions of a
    folder are examined together before the first one is scored, those of a function one by one.
    """

    def __init__(self, dataset: Dataset, protocol: Protocol, predictions: Called | Folder) -> None:
        self._dataset, self._direct = dataset, protocol == "direct"
        self._as_they_come = self._direct and dataset.binary and not predictions.together
        self._survey = Survey()
        self.object: int | None = None
        shared = bool(dataset.classes) and protocol in ("direct", "P1", "P2")
        for path, mask in predictions.items() if shared else ():
            if _numbered_by_itself(path):
                raise DatasetError(
                    "was segmented without a model, so its numbers mean nothing in other images: score it "
                    "with --protocol P3 or P4, or segment with --model of `segspectral fit`",
                    path,
                )
            self._add(path, mask)

    @property
    def decided(self) -> tuple[int | None, bool]:
        """The decisions that hold for all images; they are part of the stamps."""
        return (None, False) if self._as_they_come else (self.object, self._survey.black_and_white)

    def labels(self, where: Path | str, mask: Mask) -> NDArray[np.integer]:
        """Return class indices under "direct" (C or more for pixels without a class), else segment ids.

        The shape is (H, W) or (S, H, W).
        """
        if self._as_they_come:
            self._add(where, mask)
        if self.object is not None and (self._dataset.binary or not self._direct):
            return mask.object(self._survey.black_and_white).astype(np.int64)
        if mask.values.dtype.kind == "u" and mask.values.max() > np.iinfo(np.int64).max:
            raise DatasetError(f"holds the id {mask.values.max()}, ids go up to 2^63 - 1", where)
        if self._direct and self._dataset.ids:
            table = {value: k for k, value in enumerate(self._dataset.ids)}
            return translated(mask.values, table, len(self._dataset.classes))
        return mask.values.astype(np.int64)

    def _add(self, where: Path | str, mask: Mask) -> None:
        if mask.values.dtype.kind not in "iub" or mask.values.size == 0:
            return  # an error is raised when the mask is scored
        self._survey.add(where, mask)
        self.object = self._survey.object()
        if self.object is None:
            values = set(self._survey.values())
            if self._dataset.binary and self._direct and values <= {0, 1, *FULL}:
                raise DatasetError(
                    f"the predictions hold {' and '.join(str(v) for v in sorted(values))}, and which of them "
                    "is the object is not known: save all predictions with the same two values",
                    where,
                )


def _turned(dataset: Dataset) -> Iterator[tuple[Sample, str]]:
    """Yield the images that EXIF rotates or mirrors although it is unknown whether their truths are, too, and why.

    It is known if the truth has the same tag, or if the photograph is not square, is turned by 90 degrees, and the size
    of the truth fits.
    """
    for sample in dataset.samples:
        orientation, stored = orientation_of(sample.image)
        if orientation == 1 or orientation_of(sample.truth_file)[0] == orientation:
            continue
        upright = stored[::-1] if orientation > 4 else stored
        size = sample.truth().size
        if size != upright:
            yield sample, f"{sample.truth_file} does not have the size of the turned picture: turn the mask as well"
        elif upright == stored:
            yield (
                sample,
                f"the size of {sample.truth_file} does not tell whether it belongs to the turned picture: save the "
                "image upright, without the tag, as the mask is",
            )


def orientation_of(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the EXIF orientation of a picture and its stored size (H, W); 1 (upright) if the file is not a picture."""
    from segspectral.images.formats import JPEG, PNG, TIFF, WEBP, open_picture

    try:
        with open_picture(path, (JPEG, PNG, TIFF, WEBP)) as image:
            orientation = image.getexif().get(0x0112, 1)
            return (orientation if orientation in range(1, 9) else 1), (image.height, image.width)
    except (OSError, ValueError, SyntaxError):
        return 1, (0, 0)  # the error is raised when the image is read
