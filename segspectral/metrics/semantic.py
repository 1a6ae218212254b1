"""Semantic scores: mIoU, per-class IoU and pixel accuracy, under the matching protocols of the field.

The clusters of an unsupervised method have no names. How they are named changes the score more than the method does,
so every score here has the name of its protocol, and scores of different protocols are never mixed:

======  ===================================================================  ===========================
name    how clusters become classes                                          call
======  ===================================================================  ===========================
direct  ids are class ids already (supervised predictions)                   ``ClusterCounts.direct``
P1      one Hungarian matching for the data set, one cluster per class       ``ClusterCounts.hungarian``
P2      every cluster takes the class it holds most of, in the data set      ``ClusterCounts.majority``
P3      one Hungarian matching per image                                     ``image_hungarian``
P4      every segment of an image takes its majority class: an upper bound   ``image_majority``
diffcut P3 as DiffCut and DiffSeg count it                                   ``image_diffcut``
======  ===================================================================  ===========================

P2, P3 and P4 use the labels of the images that they score. P4 of the superpixels is the upper bound of every
segmentation made of them. Void pixels are removed from both maps before anything is counted. Clusters without a class
(P1 and P3 with more clusters than classes) are never dropped: their pixels are misses of the true class.

References: P1 follows Van Gansbeke et al. (ICCV 2021) and Melas-Kyriazi et al. (CVPR 2022) by IoU, or Cho et al. (CVPR
2021) and Hamilton et al. (ICLR 2022) by pixels; P2 follows Deng and Luo (ICCV 2023); P3 follows Tian et al. (CVPR
2024); ``diffcut`` follows Couairon et al. (NeurIPS 2024).

>>> truth = np.array([[0, 0, 1, 1, 255]])
>>> counts = cluster_counts(np.array([[7, 7, 7, 3, 3]]), truth, classes=2, void=255)
>>> counts.hungarian("iou").scores()["pixel_accuracy"]
0.75
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from segspectral.metrics.contingency import compact
from segspectral.metrics.counts import Counts

__all__ = [
    "Agreement",
    "ClassCounts",
    "ClusterCounts",
    "cluster_counts",
    "image_diffcut",
    "image_hungarian",
    "image_majority",
]

Agreement = Literal["iou", "pixels"]
"""What a matching maximises: the sum of the IoU of the pairs, or the number of pixels they share."""

Table = NDArray[np.int64]

_MOST_CLUSTERS = 1 << 20
"""Larger cluster ids are refused: with 21 classes, the table of 2^20 clusters takes 168 MiB."""


@dataclass(frozen=True)
class ClassCounts(Counts):
    """Pixels by assigned and true class, (C + 1, C); the last row holds pixels of clusters without a class."""

    axis = "classes"

    pixels: Table
    images: int

    def iou(self) -> NDArray[np.float64]:
        """Return TP / (TP + FP + FN) per class (C,); NaN for a class that occurs in neither truth nor prediction."""
        square = self.pixels[:-1]
        hits = np.diagonal(square).astype(np.float64)
        union = square.sum(axis=1) + self.pixels.sum(axis=0) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def scores(self) -> dict[str, Any]:
        """Return the scores.

        ``miou`` is the mean over all classes; absent classes count as 0. ``miou_present`` is the mean over the
        ``classes_present`` that occur in the truth. ``miou_seen`` is the mean over the classes that occur in truth or
        prediction, which is what cityscapesScripts, torchmetrics and a nan-mean report. ``per_class`` is a list with
        None for classes that occur in neither. ``pixel_accuracy`` and ``pixels`` count all pixels except void.
        """
        iou = self.iou()
        present = self.pixels.sum(axis=0) > 0
        total = int(self.pixels.sum())
        if total == 0:
            raise ValueError("no pixel is left to score: the truth has only void")
        return {
            "miou": float(np.nan_to_num(iou).mean()),
            "miou_present": float(iou[present].mean()),
            "miou_seen": float(np.nanmean(iou)),
            "classes": len(iou),
            "classes_present": int(present.sum()),
            "pixel_accuracy": float(np.trace(self.pixels[:-1]) / total),
            "per_class": [None if np.isnan(v) else float(v) for v in iou],
            "pixels": total,
        }


@dataclass(frozen=True)
class ClusterCounts:
    """Pixels by predicted cluster and true class, (K, C), over a data set whose images share the cluster ids.

    Counts of disjoint sets of images add up with ``+``; K becomes the larger of the two.
    """

    pixels: Table
    images: int

    def __add__(self, other: ClusterCounts) -> ClusterCounts:
        if self.pixels.shape[1] != other.pixels.shape[1]:
            raise ValueError("counts over different numbers of classes cannot be added")
        total = np.zeros((max(len(self.pixels), len(other.pixels)), self.pixels.shape[1]), dtype=np.int64)
        total[: len(self.pixels)] += self.pixels
        total[: len(other.pixels)] += other.pixels
        return ClusterCounts(total, self.images + other.images)

    def direct(self) -> ClassCounts:
        """Name cluster k as class k; ids beyond the classes are misses."""
        return self.named(self.naming("direct"))

    def hungarian(self, by: Agreement = "iou") -> ClassCounts:
        """P1: give each cluster at most one class and each class at most one cluster, with the largest agreement."""
        return self.named(self.naming("P1", by))

    def majority(self, by: Agreement = "pixels") -> ClassCounts:
        """P2: give every cluster the class with which it agrees most; of equal classes it gets the lower one."""
        return self.named(self.naming("P2", by))

    def naming(self, protocol: str, by: Agreement = "iou") -> NDArray[np.intp]:
        """Return the class of every cluster (K,) under "direct", "P1" or "P2"; -1 for none."""
        if protocol == "direct":
            ids = np.arange(len(self.pixels))
            return np.where(ids < self.pixels.shape[1], ids, -1)
        if protocol == "P1":
            return hungarian(self.pixels, by)
        if protocol == "P2":
            return _agreement(self.pixels, by).argmax(axis=1)
        raise ValueError(f"clusters of a data set are named by 'direct', 'P1' or 'P2', not {protocol!r}")

    def named(self, classes: NDArray[np.intp]) -> ClassCounts:
        """Return the counts by class under a naming (K or more,), for instance the naming of the whole data set."""
        return ClassCounts(_regroup(self.pixels, classes[: len(self.pixels)]), self.images)


def cluster_counts(prediction: ArrayLike, truth: ArrayLike, classes: int, *, void: int | None = None) -> ClusterCounts:
    """Counts of one image.

    Parameters
    ----------
    prediction : (H, W) integers
        Cluster ids from 0, the same for the whole data set.
    truth : (H, W) integers
        Class ids 0..classes-1, or ``void``.
    classes : int
        C, the number of classes.
    void : int, optional
        Label of pixels that are not scored; the prediction may have any value there.

    Raises
    ------
    ValueError
        If shapes disagree, a label is unknown, a cluster id is negative, or the truth has only void.
    """
    clusters, labels = _valid_pixels(prediction, truth, classes, void)
    if int(clusters.min()) < 0 or int(clusters.max()) >= _MOST_CLUSTERS:
        raise ValueError(f"cluster ids must be 0..{_MOST_CLUSTERS - 1}, found {clusters.min()}..{clusters.max()}")
    return ClusterCounts(_table(clusters, labels, int(clusters.max()) + 1, classes), 1)


def image_hungarian(
    prediction: ArrayLike, truth: ArrayLike, classes: int, *, void: int | None = None, by: Agreement = "iou"
) -> ClassCounts:
    """P3: name the segments of one image by a Hungarian matching; segment ids may be any integers.

    The arguments are those of ``cluster_counts``.
    """
    return _of_image(prediction, truth, classes, void, lambda pixels: hungarian(pixels, by))


def image_majority(prediction: ArrayLike, truth: ArrayLike, classes: int, *, void: int | None = None) -> ClassCounts:
    """P4: name every segment of one image by its majority class; of equal classes it gets the lower one.

    The arguments are those of ``cluster_counts``.
    """
    return _of_image(prediction, truth, classes, void, lambda pixels: pixels.argmax(axis=1))


DIFFCUT_SIDES = (1024, 128)
"""DiffCut scales the truth to a square of the first side, and counts pixels at one of the second."""


def image_diffcut(
    prediction: ArrayLike, truth: ArrayLike, classes: int, *, void: int | None = None, background: int | None = None
) -> ClassCounts:
    """P3 as the published figures of DiffCut, DiffSeg and MaskCut are counted (Couairon et al. 2024, released code).

    Pixels are those of a central square, one pixel smaller than the image, scaled to 128 x 128 without smoothing.
    A matching shares as many pixels as possible. If there is a background, void pixels belong to it, and segments are
    matched with the other classes first; all segments that get none are joined, and then a second matching is with all
    classes. A class that is not in the image may get a segment that is left, whose pixels are then false positives.

    Parameters
    ----------
    background : the class that many segments may belong to
    prediction, truth, classes, void : those of ``cluster_counts``
    """
    predicted, labels = (_central_square(np.asarray(values)) for values in (prediction, truth))
    if background is None:
        return _of_image(predicted, labels, classes, void, lambda pixels: _matched_by_pixels(pixels, classes))
    if void is not None:
        labels = np.where(labels == void, background, labels)
    _, pixels = _by_segment(predicted, labels, classes, None)
    others = np.delete(np.arange(classes), background)
    first = _matched_by_pixels(pixels[:, others], classes - 1)
    # A class counts as found if any segment that was matched, not only its own, holds some of its pixels.
    found = pixels[first >= 0][:, others].any(axis=0)
    kept = (first >= 0) & np.append(found, False)[first]
    joined = pixels[~kept].sum(axis=0, keepdims=True)
    rows = np.concatenate([pixels[kept], joined[joined.any(axis=1)]])  # not more than classes
    order = np.append(others, background)
    return ClassCounts(_regroup(rows, order[_matched_by_pixels(rows[:, order], classes)]), 1)


def _central_square(values: NDArray[Any]) -> NDArray[Any]:
    side = max(min(values.shape) - 1, 1)
    top, left = (round((length - side) / 2) for length in values.shape)
    large, small = DIFFCUT_SIDES
    at = ((np.arange(small) * (large // small) + 0.5) * (side / large)).astype(int)
    return values[np.ix_(top + at, left + at)]


def _matched_by_pixels(pixels: Table, classes: int) -> NDArray[np.intp]:
    """The class of each segment (K,) of a table (K, C), or -1; a class without pixels may get a segment, too."""
    square = np.zeros((classes, max(classes, len(pixels))), np.int64)
    square[:, : len(pixels)] = pixels.T
    matched, column = linear_sum_assignment(square, maximize=True)
    found = np.full(square.shape[1], -1, np.intp)
    found[column] = matched
    return found[: len(pixels)]


def named_map(
    prediction: ArrayLike,
    truth: ArrayLike,
    classes: int,
    protocol: Literal["P3", "P4"],
    *,
    void: int | None = None,
    by: Agreement = "iou",
) -> NDArray[np.intp]:
    """Return the class of each pixel (H, W) under P3 or P4 of its image; -1 for none.

    The arguments are those of ``cluster_counts``.
    """
    values, pixels = _by_segment(prediction, truth, classes, void)
    naming = hungarian(pixels, by) if protocol == "P3" else pixels.argmax(axis=1)
    everywhere = np.asarray(prediction)
    index = np.minimum(np.searchsorted(values, everywhere), len(values) - 1)
    return np.where(values[index] == everywhere, naming[index], -1)


def hungarian(pixels: Table, by: Agreement) -> NDArray[np.intp]:
    """Return the class of every cluster (K,) of a table (K, C), or -1 for none (Kuhn 1955).

    A cluster never gets a class with which it shares no pixel: that would only add false positives to a class that
    other images may have.
    """
    row, column = linear_sum_assignment(_agreement(pixels, by), maximize=True)
    classes = np.full(len(pixels), -1, dtype=np.intp)
    classes[row] = np.where(pixels[row, column] > 0, column, -1)
    return classes


def _agreement(pixels: Table, by: Agreement) -> NDArray[np.float64]:
    if by == "pixels":
        return pixels.astype(np.float64)
    if by != "iou":
        raise ValueError(f"agreement must be 'iou' or 'pixels', not {by!r}")
    union = pixels.sum(axis=1, keepdims=True) + pixels.sum(axis=0, keepdims=True) - pixels
    return pixels / np.maximum(union, 1)


def _by_segment(
    prediction: ArrayLike, truth: ArrayLike, classes: int, void: int | None
) -> tuple[NDArray[np.integer[Any]], Table]:
    """Return the segments of one image (K,) in ascending order, and their pixels of each class (K, C)."""
    segments, labels = _valid_pixels(prediction, truth, classes, void)
    ids, values = compact(segments)
    return values, _table(ids, labels, len(values), classes)


def _of_image(prediction: ArrayLike, truth: ArrayLike, classes: int, void: int | None, name: Any) -> ClassCounts:
    _, pixels = _by_segment(prediction, truth, classes, void)
    return ClassCounts(_regroup(pixels, name(pixels)), 1)


def _regroup(pixels: Table, classes: NDArray[np.intp]) -> Table:
    """Add up the rows of (K, C) by class into (C + 1, C); class -1 goes to the last row."""
    total = np.zeros((pixels.shape[1] + 1, pixels.shape[1]), dtype=np.int64)
    np.add.at(total, classes, pixels)
    return total


def _table(rows: NDArray[np.integer], columns: NDArray[np.integer], K: int, C: int) -> Table:
    code = rows.astype(np.int64) * C + columns
    return np.bincount(code, minlength=K * C).reshape(K, C).astype(np.int64, copy=False)


def _valid_pixels(
    prediction: ArrayLike, truth: ArrayLike, classes: int, void: int | None
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    predicted: NDArray[np.integer] = np.asarray(prediction)
    labels: NDArray[np.integer] = np.asarray(truth)
    if predicted.shape != labels.shape:
        raise ValueError(f"the prediction has {_size(predicted)} pixels, but the truth has {_size(labels)}")
    for array, name in ((predicted, "prediction"), (labels, "truth")):
        if array.dtype.kind not in "iub":
            raise ValueError(f"the {name} must hold integers, not {array.dtype}")
    if void is not None:
        valid = labels != void
        predicted, labels = predicted[valid], labels[valid]
    if labels.size == 0:
        raise ValueError("no pixel is left to score: the truth has only void")
    predicted, labels = predicted.ravel(), labels.ravel()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"the truth has the unknown label id {low if low < 0 else high}: "
            f"the known ids are 0..{classes - 1}" + (f" and {void} for void" if void is not None else "")
        )
    return predicted, labels


def _size(array: NDArray[np.integer]) -> str:
    return " x ".join(str(n) for n in array.shape)
