"""Scoring: from a data set and a predictor to counts per image."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral import __version__
from segspectral.errors import DatasetError, SettingsError
from segspectral.evaluation.datasets import Dataset, Sample, Truth
from segspectral.evaluation.folder import Finished
from segspectral.evaluation.plan import ImageScore, Plan, Protocol
from segspectral.evaluation.predictions import Called, Folder, Prediction, Predictor, Reading, orientation_of
from segspectral.evaluation.results import TRIMAP_WIDTH, Results
from segspectral.evaluation.segmenting import Scales, Segmenting, check_edges, default_scales
from segspectral.export.pictures import colour_table, jpeg
from segspectral.files import read_file
from segspectral.metrics.boundary import boundary_counts, drawn_boundaries
from segspectral.metrics.contour import contour_counts
from segspectral.metrics.edges import edge_counts
from segspectral.metrics.region import region_counts
from segspectral.metrics.semantic import (
    Agreement,
    cluster_counts,
    image_diffcut,
    image_hungarian,
    image_majority,
    named_map,
)
from segspectral.metrics.superpixel import superpixel_counts
from segspectral.pipeline import Pipeline

__all__ = ["evaluate"]


def evaluate(
    dataset: Dataset,
    predictor: str | Path | Predictor | Pipeline,
    *,
    scales: Scales | None = None,
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
        From ``segspectral.evaluation.datasets.open_dataset``.
    predictor : Pipeline, path or callable
        A pipeline, which is run as ``segspectral evaluate`` runs it. Or a folder with ``ID.png``, ``ID.npy`` or
        ``ID.npz`` for every id (label maps (H, W); .npz may have ``segs`` (S, H, W)), or with the ``ID_labels.png`` of
        segspectral. Or a function from an image's path to a label map, a stack (S, H, W), or a ``Prediction``. Label
        maps must have the size of the truth. Under "direct" their values are those that the masks have for the
        classes; binary predictions fit binary masks in any encoding.
    scales : numbers of segments or "levels", optional
        For a pipeline only: what each image is segmented into. The default is that of the pipeline, and the levels of
        the hierarchy for BSDS500.
    measures : sequence of str, optional
        Some of "semantic", "contour", "region", "boundary", "edges". The default for data sets with classes is the
        first two (only the first for P1 and P2, whose class names are known only at the end), and else the next two.
        "edges" scores the pixel edge map, which a pipeline or the ``edges`` of a ``Prediction`` gives.
    protocol, agreement
        See ``Plan``. "P3" and "P4" are always reported. The protocols of the whole data set are reported only on
        request, because they need ids that mean the same in every image.
    settings : mapping, optional
        The settings behind the predictions, in JSON types; those of a pipeline by default. They are stored in the
        results, and a resumed run must have the same settings.
    seed, bootstrap
        Seed and number of resamples of the 95 % intervals over images; with 0 resamples there are no intervals.
    resume : path, optional
        A folder for finished images. An image that was finished with the same files and settings is not scored again.
    on_image : callable, optional
        Called with (score, number of finished images, number of images).

    Raises
    ------
    DatasetError
        A prediction is missing, cannot be read, or has another size or number of scales; a truth is wrong; or an image
        has an EXIF orientation, and it is unclear whether its truth is rotated as well.
    SettingsError
        The measures, the protocol and the data set do not fit together.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"a data set comes from segspectral.open_dataset(...), not {type(dataset).__name__}")
    plan = Plan.of(dataset, measures, protocol, agreement)
    if isinstance(predictor, Pipeline):
        scales = default_scales(dataset, predictor) if scales is None else scales
        predictor = Segmenting(
            predictor, scales, direct=dataset if protocol == "direct" else None, edges="edges" in plan.measures
        )
        settings = predictor.settings if settings is None else settings
        predictor.pipeline.prepare()
    elif scales is not None:
        raise SettingsError("scales are for a pipeline; label maps are scored as they are")
    if "edges" in plan.measures and not callable(predictor):
        check_edges(predictor)
    predictions = Called(predictor, dataset) if callable(predictor) else Folder(Path(predictor), dataset)
    reading = Reading(dataset, protocol, predictions)
    made = json.dumps(settings or {}, sort_keys=True, default=str)
    store = Finished(Path(resume)) if resume is not None else None
    scores: list[ImageScore] = []
    for sample in dataset.samples:
        settled = (sample.id, plan, dataset.classes, dataset.void, dataset.ids, reading.decided, made)
        stamp = _stamp(settled, (sample.truth_file, predictions.file(sample)))
        score = store.find(sample.id, stamp) if store else None
        if score is None:
            score = _score(dataset, sample, predictions, plan, reading, stamp)
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
    return Results.of(
        dataset,
        plan,
        scores,
        settings=settings or {},
        command=command,
        seed=seed,
        bootstrap=bootstrap,
        notes=predictions.notes,
    )


def _score(
    dataset: Dataset, sample: Sample, predictions: Called | Folder, plan: Plan, reading: Reading, stamp: str
) -> ImageScore:
    truth = sample.truth()
    start = time.perf_counter()
    mask, made = predictions.load(sample)
    seconds = time.perf_counter() - start
    where = predictions.file(sample) if predictions.together else sample.id
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
    if plan.of_classes and len(labels) > 1:
        raise DatasetError(f"has {len(labels)} scales but semantic scores need one label map", where)
    try:
        counts = dict(_counts(dataset, truth, labels, made, plan))
    except ValueError as error:
        raise DatasetError(error, where) from error
    segments = tuple(len(np.unique(one)) for one in labels)
    picture = _picture(sample, truth, labels, dataset)
    return ImageScore(sample.id, truth.size, segments, seconds, stamp, counts, picture)


def _counts(
    dataset: Dataset, truth: Truth, labels: NDArray[np.integer], made: Prediction, plan: Plan
) -> Iterator[tuple[str, Any]]:
    void, superpixels = dataset.void, made.superpixels
    if "semantic" in plan.measures:
        C, actual = len(dataset.classes), truth.labels[0]
        yield "P3", image_hungarian(labels[0], actual, C, void=void, by=plan.agreement)
        yield "P4", image_majority(labels[0], actual, C, void=void)
        if plan.protocol == "diffcut":
            background = dataset.classes.index("background") if "background" in dataset.classes else None
            yield "diffcut", image_diffcut(labels[0], actual, C, void=void, background=background)
        elif plan.protocol not in ("P3", "P4"):
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
    yield from _counts_of_regions(truth, labels, made.edges, plan, void)


def _counts_of_regions(
    truth: Truth,
    labels: NDArray[np.integer],
    edges: NDArray[np.floating] | None,
    plan: Plan,
    void: int | None,
) -> Iterator[tuple[str, Any]]:
    if "region" in plan.measures:
        yield "region", region_counts(labels, truth.labels, void=void)
    if "boundary" in plan.measures:
        yield "boundary", boundary_counts(labels, truth.labels, human_boundaries=truth.boundaries)
    if "edges" in plan.measures:
        if edges is None:
            raise ValueError("has no edge map: give the edges of its Prediction, or leave edges out of the measures")
        yield "edges", edge_counts(edges, drawn_boundaries(truth.labels, truth.boundaries))


def _stamp(settings: tuple[Any, ...], files: Sequence[Path]) -> str:
    """Return a hash of the settings and of the contents of the files from which the counts of an image come."""
    digest = hashlib.sha256(repr((settings, TRIMAP_WIDTH, __version__)).encode())
    for file in files:
        digest.update(hashlib.sha256(read_file(file)).digest())
    return digest.hexdigest()


def _picture(sample: Sample, truth: Truth, labels: NDArray[np.integer], dataset: Dataset, width: int = 200) -> bytes:
    """Return a small JPEG with image (blank if unreadable), truth and prediction side by side; void is white."""
    from PIL import ImageOps

    from segspectral.images.formats import open_picture

    H, W = truth.size
    height = max(1, round(width * H / W))
    rows = np.linspace(0, H - 1, height).round().astype(int)
    columns = np.linspace(0, W - 1, width).round().astype(int)
    panels = []
    try:
        with open_picture(sample.image) as image:
            upright = ImageOps.exif_transpose(image) if orientation_of(sample.image)[0] > 1 else image
            panels.append(np.asarray(upright.convert("RGB").resize((width, height))))
    except (OSError, ValueError):
        panels.append(np.full((height, width, 3), 255, np.uint8))
    shown = ((truth.labels[0], dataset.void), (labels[len(labels) // 2], None))
    panels += [_colours(one[np.ix_(rows, columns)], void) for one, void in shown]
    gap = np.full((height, 4, 3), 255, np.uint8)
    strip = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
    return jpeg(strip, 80)


def _colours(labels: NDArray[np.integer], void: int | None) -> NDArray[np.uint8]:
    """Return the colours (H, W, 3) of labels; equal labels have equal colours in the truth and in the prediction."""
    rgb = colour_table(256)[labels % 256]
    if void is not None:
        rgb[labels == void] = 255
    return rgb
