"""From a data set and a predictor to counts per image."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segspectral import __version__
from segspectral.errors import DatasetError, OutputError, SettingsError
from segspectral.evaluate.datasets import Dataset, Sample, Truth, files_below, read_mask, without_suffix
from segspectral.evaluate.masks import FULL, Mask, Survey, translated
from segspectral.evaluate.results import Results
from segspectral.files import read_file, read_npy, read_npz, write_bytes
from segspectral.metrics.boundary import BoundaryCounts, boundary_counts
from segspectral.metrics.contour import CONTOUR_KINDS, contour_counts
from segspectral.metrics.region import RegionCounts, region_counts
from segspectral.metrics.semantic import (
    Agreement,
    ClassCounts,
    ClusterCounts,
    cluster_counts,
    image_hungarian,
    image_majority,
    named_map,
)
from segspectral.metrics.superpixel import SuperpixelCounts, superpixel_counts

__all__ = ["MEASURES", "PROTOCOLS", "ImageScore", "Plan", "Prediction", "evaluate"]

MEASURES = ("semantic", "contour", "region", "boundary")
PROTOCOLS = ("direct", "P1", "P2", "P3", "P4")
TRIMAP_WIDTH = 5.0  # pixels on each side

Protocol = Literal["direct", "P1", "P2", "P3", "P4"]

KINDS: dict[str, type[Any]] = {
    "clusters": ClusterCounts,
    "P3": ClassCounts,
    "P4": ClassCounts,
    "ceiling": ClassCounts,
    "region": RegionCounts,
    "boundary": BoundaryCounts,
    "superpixel": SuperpixelCounts,
    **CONTOUR_KINDS,
}
"""The counts an image may have, by name."""


@dataclass(frozen=True)
class Prediction:
    """Label maps of one image, (H, W) or (S, H, W), and the superpixels (H, W) beneath them, if known."""

    labels: NDArray[np.integer]
    superpixels: NDArray[np.integer] | None = None


Predictor = Callable[[Path], "ArrayLike | Prediction"]


@dataclass(frozen=True)
class Plan:
    """What is scored and how.

    ``measures`` are some of ``MEASURES``. ``protocol`` names clusters (see ``segspectral.metrics.semantic``);
    "direct", "P1" and "P2" take the ids of the label maps as shared by the whole data set, "P3" and "P4" do
    not. ``agreement`` is what a matching maximises.
    """

    measures: tuple[str, ...]
    protocol: Protocol = "P3"
    agreement: Agreement = "iou"

    def __post_init__(self) -> None:
        for value, known in ((self.protocol, PROTOCOLS), (self.agreement, ("iou", "pixels"))):
            if value not in known:
                raise SettingsError(f"unknown protocol {value!r}: known are {', '.join(known)}")
        unknown = [m for m in self.measures if m not in MEASURES]
        if unknown or not self.measures:
            raise SettingsError(f"measures must be some of {', '.join(MEASURES)}, not {', '.join(unknown) or 'none'}")
        if "contour" in self.measures and self.protocol in ("P1", "P2"):
            raise SettingsError(
                f"contour scores name the segments of each image by itself, {self.protocol} those of all at the end: "
                "leave contour out of the measures, or take protocol direct, P3 or P4"
            )


@dataclass(frozen=True)
class ImageScore:
    """The counts of one image by the names of ``KINDS``; ``stamp`` is a hash of what they came from."""

    id: str
    size: tuple[int, int]
    segments: tuple[int, ...]
    seconds: float
    stamp: str
    counts: Mapping[str, Any]
    picture: bytes = field(default=b"", repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """All but the picture, as plain lists and numbers, exactly."""
        counts = {
            name: {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            for name, value in self.counts.items()
        }
        return {
            "id": self.id,
            "size": list(self.size),
            "segments": list(self.segments),
            "seconds": self.seconds,
            "stamp": self.stamp,
            "counts": counts,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], picture: bytes = b"") -> ImageScore:
        counts = {
            name: KINDS[name](**{k: np.asarray(v) if isinstance(v, list) else v for k, v in fields.items()})
            for name, fields in data["counts"].items()
        }
        size, segments = data["size"], tuple(data["segments"])
        return cls(data["id"], (size[0], size[1]), segments, data["seconds"], data["stamp"], counts, picture)


def evaluate(
    dataset: Dataset,
    predictor: str | Path | Predictor,
    *,
    measures: Sequence[str] | None = None,
    protocol: Protocol = "P3",
    agreement: Agreement = "iou",
    settings: Mapping[str, Any] | None = None,
    command: str = "",
    seed: int = 0,
    bootstrap: int = 1000,
    resume: str | Path | None = None,
    on_image: Callable[[ImageScore, int, int], None] | None = None,
) -> Results:
    """Score predictions on a data set.

    Parameters
    ----------
    dataset : Dataset
        From ``segspectral.evaluate.datasets.open_dataset``.
    predictor : path or callable
        A folder with ``ID.png``, ``ID.npy`` or ``ID.npz`` for every id (label maps (H, W); .npz may hold
        ``segs`` (S, H, W)), or with the ``ID_labels.png`` of segspectral; or a function from an image's path to a
        label map, a stack (S, H, W), or a ``Prediction``. Label maps have the truth's own size. Under "direct" they
        hold the numbers that the masks have for the classes; binary predictions go with binary masks in any encoding.
    measures : sequence of str, optional
        Some of "semantic", "contour", "region", "boundary"; by default the first two where the data set has classes
        (the first alone for P1 and P2, whose names are known at the end), else the other two.
    protocol, agreement
        See ``Plan``. "P3" and "P4" are always reported, the protocols of the whole data set only when asked
        for, because they need ids that mean the same in every image.
    settings : mapping, optional
        What made the predictions, in JSON's types; goes into the results, and a resumed run must have the
        same.
    seed, bootstrap
        For the 95 % intervals over images: seed and number of resamples; 0 leaves them out.
    resume : path, optional
        A folder for finished images. Those found there, computed from the same files and settings, are not
        computed again; others are added one by one.
    on_image : callable, optional
        Called with (score, number done, number of images).

    Raises
    ------
    DatasetError
        If a prediction is missing, unreadable, of another size or another number of scales, a truth is bad, or the
        orientation of an image does not tell whether its truth is turned as well.
    SettingsError
        If measures, protocol and data set do not go together.
    """
    if measures is None:
        of_classes = ("semantic",) if protocol in ("P1", "P2") else ("semantic", "contour")
        measures = of_classes if dataset.classes else ("region", "boundary")
    plan = Plan(tuple(measures), protocol, agreement)
    if {"semantic", "contour"} & set(plan.measures) and not dataset.classes:
        raise SettingsError(f"{dataset.name} has no classes, semantic scores cannot be computed: take region, boundary")
    predict = predictor if callable(predictor) else _Folder(Path(predictor), dataset)
    reading = _Reading(dataset, protocol)
    if isinstance(predict, _Folder):
        reading.survey(predict)
        turned = [sample.id for sample, _ in _turned(dataset)]
        if turned:
            predict.notes += (
                f"{len(turned)} images are turned by their EXIF orientation and their masks may not be, so predictions "
                f"and masks must both be turned, or neither: {_few(turned)}",
            )
    else:
        for sample, why in _turned(dataset):
            raise DatasetError(f"its EXIF orientation turns or mirrors it, and {why}", sample.image)
    made = json.dumps(settings or {}, sort_keys=True, default=str)
    store = _Store(Path(resume)) if resume is not None else None
    scores: list[ImageScore] = []
    for sample in dataset.samples:
        files = (sample.truth_file, predict.file(sample.id) if isinstance(predict, _Folder) else sample.image)
        stamp = _stamp((sample.id, plan, dataset.classes, dataset.void, dataset.ids, reading.decided, made), files)
        score = store.find(sample.id, stamp) if store else None
        if score is None:
            score = _score(dataset, sample, predict, plan, reading, stamp)
            if store:
                store.add(score)
        if scores and len(score.segments) != len(scores[0].segments):
            first = scores[0]
            raise DatasetError(
                f"has {len(score.segments)} scales but {first.id} has {len(first.segments)}, "
                "every image needs the same scales",
                sample.id,
            )
        scores.append(score)
        if on_image:
            on_image(score, len(scores), len(dataset))
    notes = predict.notes if isinstance(predict, _Folder) else ()
    return Results.of(
        dataset, plan, scores, settings=settings or {}, command=command, seed=seed, bootstrap=bootstrap, notes=notes
    )


def _score(
    dataset: Dataset, sample: Sample, predict: Predictor | _Folder, plan: Plan, reading: _Reading, stamp: str
) -> ImageScore:
    truth = sample.truth()
    start = time.perf_counter()
    made = predict.load(sample.id) if isinstance(predict, _Folder) else predict(sample.image)
    seconds = time.perf_counter() - start
    where = predict.file(sample.id) if isinstance(predict, _Folder) else sample.id
    superpixels = made.superpixels if isinstance(made, Prediction) else None
    mask = made if isinstance(made, Mask) else Mask(made.labels if isinstance(made, Prediction) else np.asarray(made))
    if mask.values.ndim not in (2, 3) or mask.values.dtype.kind not in "iub" or mask.values.size == 0:
        raise DatasetError(f"holds {mask.values.dtype} {mask.values.shape}, expected integer label maps", where)
    labels = reading.labels(where, mask)
    labels = labels[None] if labels.ndim == 2 else labels
    if labels.shape[1:] != truth.size:
        raise DatasetError(
            f"is {labels.shape[1]} high and {labels.shape[2]} wide but the truth {truth.size[0]} "
            f"high and {truth.size[1]} wide, predictions are scored at the truth's own resolution",
            where,
        )
    if {"semantic", "contour"} & set(plan.measures) and len(labels) > 1:
        raise DatasetError(f"has {len(labels)} scales but semantic scores need one label map", where)
    try:
        counts = dict(_counts(dataset, truth, labels, superpixels, plan))
    except ValueError as error:
        raise DatasetError(error, where) from error
    segments = tuple(len(np.unique(one)) for one in labels)
    picture = _picture(sample, truth, labels, dataset)
    return ImageScore(sample.id, truth.size, segments, seconds, stamp, counts, picture)


def _counts(
    dataset: Dataset,
    truth: Truth,
    labels: NDArray[np.integer],
    superpixels: NDArray[np.integer] | None,
    plan: Plan,
) -> Iterator[tuple[str, Any]]:
    void = dataset.void
    if "semantic" in plan.measures:
        C, actual = len(dataset.classes), truth.labels[0]
        yield "P3", image_hungarian(labels[0], actual, C, void=void, by=plan.agreement)
        yield "P4", image_majority(labels[0], actual, C, void=void)
        if plan.protocol not in ("P3", "P4"):
            yield "clusters", cluster_counts(labels[0], actual, C, void=void)
        if superpixels is not None:
            yield "ceiling", image_majority(superpixels, actual, C, void=void)
    if "contour" in plan.measures:
        C, actual, named = len(dataset.classes), truth.labels[0], labels[0]
        if plan.protocol in ("P3", "P4"):
            named = named_map(labels[0], actual, C, plan.protocol, void=void, by=plan.agreement)
        yield from contour_counts(named, actual, width=TRIMAP_WIDTH, void=void).items()
    if superpixels is not None:
        yield "superpixel", superpixel_counts(superpixels, truth.labels, void=void)
    if "region" in plan.measures:
        yield "region", region_counts(labels, truth.labels, void=void)
    if "boundary" in plan.measures:
        yield "boundary", boundary_counts(labels, truth.labels, human_boundaries=truth.boundaries)


class _Folder:
    """Predictions of others in one folder and those below it, all there or an error.

    The prediction of ID is ``ID.png``, ``ID.npy`` or ``ID.npz``, or what segspectral writes: ``ID_labels.png``, also
    with the suffix of the image, ``ID.jpg_labels.png``. ``notes`` name the files that belong to no image.
    """

    SUFFIXES = (".png", ".npy", ".npz")
    PICTURES = ("_overlay", "_figure", "_ucm")
    """What stands beside the label maps of segspectral and is none."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        if not folder.is_dir():
            raise DatasetError("no such folder of predictions", folder)
        named: dict[str, list[str]] = {}
        for file in files_below(folder):
            if file.lower().endswith(self.SUFFIXES):
                named.setdefault(without_suffix(file), []).append(file)
        self._files: dict[str, Path] = {}
        missing = []
        for sample in dataset.samples:
            found = [file for name in _names(sample.id, sample.image.suffix) for file in named.get(name, [])]
            if len(found) > 1:
                raise DatasetError(f"{found[1]} lies beside it, keep the one to be scored", folder / found[0])
            if found:
                self._files[sample.id] = folder / found[0]
            else:
                missing.append(sample.id)
        if missing:
            raise DatasetError(f"no prediction for {_few(missing)}, expected ID.png, ID.npy or ID.npz", folder)
        suffixes = {s.image.suffix for s in dataset.samples}
        ids = dataset.known or {s.id for s in dataset.samples}
        known = {name for i in ids for suffix in suffixes for name in _names(i, suffix)}
        known |= {name + picture for name in known for picture in self.PICTURES}
        strangers = [file for name, files in named.items() if name not in known for file in files]
        self.notes: tuple[str, ...] = ()
        if strangers:
            self.notes = (f"{folder}: {len(strangers)} of the predictions belong to no image: {_few(strangers)}",)

    def file(self, id: str) -> Path:
        return self._files[id]

    def items(self) -> Iterator[tuple[Path, Mask]]:
        for id, path in self._files.items():
            yield path, self.load(id)

    def load(self, id: str) -> Mask:
        path = self._files[id]
        if path.suffix.lower() == ".png":
            return read_mask(path)
        import zlib

        try:
            if path.suffix.lower() == ".npy":
                return Mask(read_npy(path))
            parts = read_npz(path)
            name = "segs" if "segs" in parts else next(iter(parts)) if len(parts) == 1 else ""
            if not name:
                raise DatasetError(f"holds {', '.join(parts) or 'nothing'}, expected `segs`", path)
            return Mask(parts[name])
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise DatasetError(f"cannot be read as label maps ({error})", path) from error


def _numbered_by_itself(path: Path) -> bool:
    """Whether the summary beside a label map of segspectral says that no model was shared by the images."""
    try:
        summary = json.loads(read_file(path.with_name(f"{path.stem.removesuffix('_labels')}.json")))
        return path.stem.endswith("_labels") and summary["pipeline"]["model"] is None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _names(id: str, suffix: str) -> tuple[str, ...]:
    """Names (without .png) that the prediction of an image may have."""
    return tuple(dict.fromkeys((id, f"{id}_labels", f"{id}{suffix}", f"{id}{suffix}_labels")))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class _Reading:
    """What the numbers in predictions mean, where they mean the same in all images ("direct", P1 and P2).

    ``object`` is the number of the object, if the predictions are binary masks (see ``masks``). Those of a folder are
    looked at together, before the first one is scored; those of a function as they come.
    """

    def __init__(self, dataset: Dataset, protocol: Protocol) -> None:
        self._dataset, self._direct = dataset, protocol == "direct"
        self._shared = bool(dataset.classes) and protocol in ("direct", "P1", "P2")
        self._as_they_come = self._direct and dataset.binary
        self._survey = Survey()
        self.object: int | None = None

    def survey(self, predictions: _Folder) -> None:
        """Look at all predictions of a folder."""
        self._as_they_come = False
        for path, mask in predictions.items() if self._shared else ():
            if _numbered_by_itself(path):
                raise DatasetError(
                    "was segmented without a model, so its numbers mean nothing in other images: score it "
                    "with --protocol P3 or P4, or segment with --model of `segspectral fit`",
                    path,
                )
            self._add(path, mask)

    @property
    def decided(self) -> tuple[int | None, bool]:
        """What holds for all images, for their stamps."""
        return (None, False) if self._as_they_come else (self.object, self._survey.black_and_white)

    def labels(self, where: Path | str, mask: Mask) -> NDArray[np.integer]:
        """(H, W) or (S, H, W): class indices under "direct" (C, and more, for what is no class), else segment ids."""
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
            return  # said where it is scored
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
    """Images that EXIF turns or mirrors while it is not known whether their truths are turned as well, and why.

    The size of a truth tells it, if the photograph is not square and is turned by 90 degrees, or an equal tag of the
    truth itself.
    """
    for sample in dataset.samples:
        orientation, stored = _orientation(sample.image)
        if orientation == 1 or _orientation(sample.truth_file)[0] == orientation:
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


def _orientation(path: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of a picture and its size (H, W) as stored; 1 (upright) if the file is no picture."""
    import PIL.Image

    try:
        with PIL.Image.open(path, formats=("JPEG", "PNG", "TIFF", "WEBP")) as image:
            orientation = image.getexif().get(0x0112, 1)
            return (orientation if orientation in range(1, 9) else 1), (image.height, image.width)
    except (OSError, ValueError, SyntaxError):
        return 1, (0, 0)  # what is wrong with it is said where it is read


class _Store:
    """Finished images in a folder: one JSON and one picture each, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"finished images cannot be kept there ({error.strerror})", folder) from error
        self._folder = folder

    def _path(self, id: str, suffix: str) -> Path:
        return self._folder / (hashlib.sha256(id.encode()).hexdigest()[:24] + suffix)

    def find(self, id: str, stamp: str) -> ImageScore | None:
        try:
            data = json.loads(read_file(self._path(id, ".json")))
            if data["stamp"] != stamp or data["id"] != id:
                return None
            return ImageScore.from_json(data, self._path(id, ".jpg").read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: score it again

    def add(self, score: ImageScore) -> None:
        write_bytes(self._path(score.id, ".jpg"), score.picture)
        write_bytes(self._path(score.id, ".json"), json.dumps(score.to_json()).encode())


def _stamp(settings: tuple[Any, ...], files: Sequence[Path]) -> str:
    """A hash of all that the counts of an image come from: the settings and the contents of the files."""
    digest = hashlib.sha256(repr((settings, TRIMAP_WIDTH, __version__)).encode())
    for file in files:
        digest.update(hashlib.sha256(read_file(file)).digest())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _picture(sample: Sample, truth: Truth, labels: NDArray[np.integer], dataset: Dataset, width: int = 200) -> bytes:
    """A small JPEG: image (blank if unreadable), truth and prediction side by side; void is white."""
    from PIL import Image, ImageOps

    from segspectral.images.formats import open_picture

    H, W = truth.size
    height = max(1, round(width * H / W))
    rows = np.linspace(0, H - 1, height).round().astype(int)
    columns = np.linspace(0, W - 1, width).round().astype(int)
    panels = []
    try:
        with open_picture(sample.image) as image:
            upright = ImageOps.exif_transpose(image) if _orientation(sample.image)[0] > 1 else image
            panels.append(np.asarray(upright.convert("RGB").resize((width, height))))
    except (OSError, ValueError):
        panels.append(np.full((height, width, 3), 255, np.uint8))
    shown = ((truth.labels[0], dataset.void), (labels[len(labels) // 2], None))
    panels += [_colours(one[np.ix_(rows, columns)], void) for one, void in shown]
    canvas = io.BytesIO()
    gap = np.full((height, 4, 3), 255, np.uint8)
    strip = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    Image.fromarray(strip).save(canvas, "JPEG", quality=80)
    return canvas.getvalue()


def _colours(labels: NDArray[np.integer], void: int | None) -> NDArray[np.uint8]:
    """Hues by the golden ratio, so that neighbouring ids differ: (H, W, 3)."""
    ids = labels.astype(np.int64)
    hue = (ids * 0.61803398875) % 1.0
    bright = 0.55 + 0.4 * ((ids * 0.7548776662) % 1.0)
    rgb = np.abs((hue[..., None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    rgb = (bright[..., None] * (1 - 0.65 * (1 - np.clip(rgb, 0, 1))) * 255).astype(np.uint8)
    if void is not None:
        rgb[labels == void] = 255
    return rgb
