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

from segspectral.datasets import Dataset, Sample, Truth, read_label_map
from segspectral.errors import DatasetError, OutputError, SettingsError
from segspectral.evaluate.results import Results
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
        From ``segspectral.datasets.open_dataset``.
    predictor : path or callable
        A folder with ``ID.png``, ``ID.npy`` or ``ID.npz`` for every id (label maps (H, W); .npz may hold
        ``segs`` (S, H, W)), or a function from an image's path to a label map, a stack (S, H, W), or a
        ``Prediction``. Label maps have the truth's own size.
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
        If a prediction is missing, unreadable, of another size or another number of scales, or a truth is
        bad.
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
    made = "" if isinstance(predict, _Folder) else json.dumps(settings or {}, sort_keys=True, default=str)
    store = _Store(Path(resume)) if resume is not None else None
    scores: list[ImageScore] = []
    for sample in dataset.samples:
        stamp = _stamp(sample, plan, predict.file(sample.id) if isinstance(predict, _Folder) else made)
        score = store.find(sample.id, stamp) if store else None
        if score is None:
            score = _score(dataset, sample, predict, plan, stamp)
            if store:
                store.add(score)
        if scores and len(score.segments) != len(scores[0].segments):
            first = scores[0]
            raise DatasetError(
                f"{sample.id}: has {len(score.segments)} scales but {first.id} has {len(first.segments)}, "
                "every image needs the same scales"
            )
        scores.append(score)
        if on_image:
            on_image(score, len(scores), len(dataset))
    return Results.of(dataset, plan, scores, settings=settings or {}, command=command, seed=seed, bootstrap=bootstrap)


def _score(dataset: Dataset, sample: Sample, predict: Predictor | _Folder, plan: Plan, stamp: str) -> ImageScore:
    truth = sample.truth()
    start = time.perf_counter()
    made = predict.load(sample.id) if isinstance(predict, _Folder) else predict(sample.image)
    seconds = time.perf_counter() - start
    prediction = made if isinstance(made, Prediction) else Prediction(np.asarray(made))
    labels = prediction.labels[None] if prediction.labels.ndim == 2 else prediction.labels
    where = predict.file(sample.id) if isinstance(predict, _Folder) else sample.id
    if labels.ndim != 3 or labels.dtype.kind not in "iu" or len(labels) == 0:
        raise DatasetError(f"{where}: holds {labels.dtype} {prediction.labels.shape}, expected integer label maps")
    if labels.shape[1:] != truth.size:
        raise DatasetError(
            f"{where}: is {labels.shape[1]} high and {labels.shape[2]} wide but the truth {truth.size[0]} "
            f"high and {truth.size[1]} wide, predictions are scored at the truth's own resolution"
        )
    if {"semantic", "contour"} & set(plan.measures) and len(labels) > 1:
        raise DatasetError(f"{where}: has {len(labels)} scales but semantic scores need one label map")
    try:
        counts = dict(_counts(dataset, truth, labels, prediction.superpixels, plan))
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error
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
    """Predictions of others: ``ID.png``, ``ID.npy`` or ``ID.npz`` in one folder, all there or an error."""

    SUFFIXES = (".png", ".npy", ".npz")

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of predictions")
        self._files: dict[str, Path] = {}
        missing = []
        for sample in dataset.samples:
            found = [p for s in self.SUFFIXES if (p := folder / f"{sample.id}{s}").is_file()]
            if len(found) > 1:
                raise DatasetError(f"{found[0]}: {found[1].name} lies beside it, keep the one to be scored")
            if found:
                self._files[sample.id] = found[0]
            else:
                missing.append(sample.id)
        if missing:
            names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise DatasetError(f"{folder}: no prediction for {names}, expected ID.png, ID.npy or ID.npz")

    def file(self, id: str) -> Path:
        return self._files[id]

    def load(self, id: str) -> NDArray[np.integer]:
        path = self._files[id]
        if path.suffix == ".npz":
            import zipfile

            try:
                with np.load(path, allow_pickle=False) as parts:
                    names = parts.files
                    name = "segs" if "segs" in names else names[0] if len(names) == 1 else ""
                    if not name:
                        raise DatasetError(f"{path}: holds {', '.join(names) or 'nothing'}, expected `segs`")
                    return parts[name]
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise DatasetError(f"{path}: cannot be read as label maps ({error})") from error
        if path.suffix == ".npy":
            try:
                return np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DatasetError(f"{path}: cannot be read as label maps ({error})") from error
        return read_label_map(path)


class _Store:
    """Finished images in a folder: one JSON and one picture each, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: finished images cannot be kept there ({error.strerror})") from error
        self._folder = folder

    def _path(self, id: str, suffix: str) -> Path:
        return self._folder / (hashlib.sha256(id.encode()).hexdigest()[:24] + suffix)

    def find(self, id: str, stamp: str) -> ImageScore | None:
        try:
            data = json.loads(self._path(id, ".json").read_text())
            if data["stamp"] != stamp or data["id"] != id:
                return None
            return ImageScore.from_json(data, self._path(id, ".jpg").read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: score it again

    def add(self, score: ImageScore) -> None:
        try:
            self._path(score.id, ".jpg").write_bytes(score.picture)
            part = self._path(score.id, ".part")
            part.write_text(json.dumps(score.to_json()))
            part.replace(self._path(score.id, ".json"))
        except OSError as error:
            raise OutputError(f"{self._folder}: cannot be written to ({error.strerror})") from error


def _stamp(sample: Sample, plan: Plan, made: Path | str) -> str:
    digest = hashlib.sha256(repr((sample.id, plan, TRIMAP_WIDTH)).encode())
    digest.update(sample.truth_file.read_bytes())
    digest.update(made.read_bytes() if isinstance(made, Path) else made.encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _picture(sample: Sample, truth: Truth, labels: NDArray[np.integer], dataset: Dataset, width: int = 200) -> bytes:
    """A small JPEG: image (blank if unreadable), truth and prediction side by side; void is white."""
    from PIL import Image

    from segspectral.formats import open_picture

    H, W = truth.size
    height = max(1, round(width * H / W))
    rows = np.linspace(0, H - 1, height).round().astype(int)
    columns = np.linspace(0, W - 1, width).round().astype(int)
    panels = []
    try:
        with open_picture(sample.image) as image:
            panels.append(np.asarray(image.convert("RGB").resize((width, height))))
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
