"""Boundary precision, recall and F of the Berkeley benchmark.

The definitions are those of Martin, Fowlkes and Malik, PAMI 2004, and Arbelaez, Maire, Fowlkes and Malik, PAMI 2011,
section 2.2, as in the official ``evaluation_bdry_image.m`` and ``collect_eval_bdry.m``:

- The boundary of a label map is ``seg2bdry(labels, 'imageSize')``, thinned to one pixel.
- It is matched one to one with *each* human map within 0.0075 of the image's diagonal (4.3 pixels at 481 x 321).
- A predicted pixel is right if *any* human map matched it; recall counts the pixels of *all* human maps.
- Counts are summed over images and then divided. ODS uses the best scale for the data set, interpolated linearly with
  100 points between neighbouring scales. OIS sums the counts at the best scale of every image. AP is the area under
  the precision-recall curve, sampled at the recalls 0, 0.01, .. 1; it is zero outside the measured range.

The score cannot be compared with a "boundary F1" by dilation (``segspectral.metrics.contour``), which is higher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segspectral.metrics.contingency import same_shape, stack
from segspectral.metrics.correspondence import correspond, thin
from segspectral.metrics.counts import Counts, f_measure

__all__ = ["TOLERANCE", "BoundaryCounts", "boundary_counts", "boundary_map", "drawn_boundaries", "soft_boundary_counts"]

TOLERANCE = 0.0075
"""Share of the image's diagonal within which boundary pixels match (``maxDist`` of the official code)."""

_VERTICES_AT_ONCE = 3_000_000
"""One pass of the matching handles this many boundary pixels, which limits its memory to about 150 MB."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def boundary_map(labels: ArrayLike) -> NDArray[np.bool_]:
    """Return the boundary pixels of label maps (..., H, W): true where the 2 x 2 block below and right has two labels.

    This is the official ``seg2bdry(labels, 'imageSize')``, before thinning.

    >>> boundary_map([[1, 1, 2], [1, 1, 2]]).astype(int)
    array([[0, 1, 0],
           [0, 1, 0]])
    """
    seg = np.asarray(labels)
    below = seg[..., :-1, :] != seg[..., 1:, :]
    right = seg[..., :, :-1] != seg[..., :, 1:]
    edge = np.zeros(seg.shape, dtype=bool)
    edge[..., :-1, :] |= below
    edge[..., :, :-1] |= right
    edge[..., :-1, :-1] |= right[..., 1:, :] | below[..., :, 1:]
    return edge


@dataclass(frozen=True)
class BoundaryCounts(Counts):
    """Matched and total boundary pixels at S scales; counts of disjoint sets of images add up with ``+``.

    ``hits_recall`` of ``sum_recall`` human boundary pixels and ``hits_precision`` of ``sum_precision`` predicted ones
    were matched (all (S,)). ``ois`` (4,) holds the same four numbers, summed at the best scale of every image.
    """

    images: int
    hits_recall: Ints
    sum_recall: Ints
    hits_precision: Ints
    sum_precision: Ints
    ois: Ints

    def curve(self) -> tuple[Floats, Floats]:
        """Return precision (S,) and recall (S,) at every scale; both are 0 where there is nothing to divide by."""
        return (
            self.hits_precision / np.maximum(self.sum_precision, 1),
            self.hits_recall / np.maximum(self.sum_recall, 1),
        )

    def scores(self) -> dict[str, float]:
        """Return ``f_ods`` with its ``precision_ods`` and ``recall_ods``, ``f_ois`` and ``ap``.

        ``ap`` is 0 if there are fewer than two different recalls, as in the official code.
        """
        precision, recall = self.curve()
        best = _interpolated_best(precision, recall)
        hits_r, sum_r, hits_p, sum_p = (float(v) for v in self.ois)
        return {
            "f_ods": best[0],
            "precision_ods": best[1],
            "recall_ods": best[2],
            "f_ois": float(f_measure(np.array(hits_p / max(sum_p, 1)), np.array(hits_r / max(sum_r, 1)))),
            "ap": _average_precision(precision, recall),
        }


def boundary_counts(
    segmentations: ArrayLike,
    truths: ArrayLike,
    *,
    human_boundaries: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
) -> BoundaryCounts:
    """Return the counts of one image from label maps.

    Parameters
    ----------
    segmentations : (H, W) or (S, H, W) integers
        Label maps of the prediction, one per scale.
    truths : (H, W) or (A, H, W) integers
        Label maps of the annotators; their boundaries are computed like those of the prediction. They are not used
        if ``human_boundaries`` (A, H, W) are given, which the official ground truth contains.
    tolerance : float
        Share of the diagonal within which pixels match.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    edges = thin(boundary_map(stack(segmentations)))
    return _count(edges, drawn_boundaries(truths, human_boundaries), tolerance)


def drawn_boundaries(truths: ArrayLike, human_boundaries: ArrayLike | None) -> NDArray[np.bool_]:
    """Return the human boundaries (A, H, W): those given, or else those of label maps (H, W) or (A, H, W)."""
    return thin(boundary_map(stack(truths))) if human_boundaries is None else stack(human_boundaries) > 0


def soft_boundary_counts(
    strength: ArrayLike, human_boundaries: ArrayLike, *, thresholds: int = 99, tolerance: float = TOLERANCE
) -> BoundaryCounts:
    """Return the counts of one image from a soft boundary map (H, W) in [0, 1], at evenly spaced thresholds.

    The boundary at scale s is ``strength >= (s + 1) / (thresholds + 1)``, thinned. Only scores of contour detectors
    need this function; the package scores label maps.
    """
    values = np.asarray(strength, dtype=np.float64)
    levels = np.linspace(1 / (thresholds + 1), 1 - 1 / (thresholds + 1), thresholds)
    return _count(thin(values[None] >= levels[:, None, None]), stack(human_boundaries) > 0, tolerance)


def _count(edges: NDArray[np.bool_], human: NDArray[np.bool_], tolerance: float) -> BoundaryCounts:
    same_shape(edges[0], human[0])
    radius = tolerance * math.hypot(*edges.shape[1:])
    asked = human.sum(axis=(1, 2))
    sum_p = edges.sum(axis=(1, 2)).astype(np.int64)
    hits_r, hits_p = np.zeros_like(sum_p), np.zeros_like(sum_p)
    vertices = len(human) * sum_p + asked.sum()
    part = np.cumsum(vertices) // _VERTICES_AT_ONCE
    for chunk in np.unique(part):
        scales = np.flatnonzero(part == chunk)
        found = correspond(edges[scales], human, radius)
        hits_r[scales] = found.pairs.sum(axis=1)
        hits_p[scales] = [np.logical_or.reduce(row).sum() for row in found.predicted]
    sum_r = np.full_like(sum_p, asked.sum())
    best = int(np.argmax(f_measure(hits_p / np.maximum(sum_p, 1), hits_r / np.maximum(sum_r, 1))))
    ois = np.array([hits_r[best], sum_r[best], hits_p[best], sum_p[best]])
    return BoundaryCounts(1, hits_r, sum_r, hits_p, sum_p, ois)


def _interpolated_best(precision: Floats, recall: Floats) -> tuple[float, float, float]:
    """Return (F, precision, recall) at the best F on the polyline through the scales, with 100 samples per piece."""
    share = np.linspace(0, 1, 100)
    if len(precision) > 1:
        precision = (precision[:-1, None] * (1 - share) + precision[1:, None] * share).ravel()
        recall = (recall[:-1, None] * (1 - share) + recall[1:, None] * share).ravel()
    f = f_measure(precision, recall)
    k = int(f.argmax())
    return float(f[k]), float(precision[k]), float(recall[k])


def _average_precision(precision: Floats, recall: Floats) -> float:
    distinct, first = np.unique(recall, return_index=True)
    if len(distinct) < 2:
        return 0.0
    samples = np.arange(101) / 100
    return float(np.interp(samples, distinct, precision[first], left=0, right=0).sum() / 100)
