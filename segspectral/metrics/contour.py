"""Boundary quality of masks and class maps: four measures that are often confused, each under its own name.

In all of them a boundary pixel is right if the other boundary passes within a tolerance. They do not pair pixels one
to one as BSDS does (``segspectral.metrics.boundary``), so their values are higher and cannot be compared with it.

==================  ========================================================================================
``csurka_bf``       Csurka, Larlus and Perronnin, BMVC 2013: per class and image, F of boundary pixels within
                    0.75 % of the diagonal; averaged over the classes of the image's truth, then over images
``davis_f``         Perazzi et al., CVPR 2016, as the DAVIS 2017 code: dilation by a disk of
                    ceil(0.008 x diagonal) pixels
``boundary_iou``    Cheng et al., CVPR 2021: IoU of the two inner bands of 2 % of the diagonal
``trimap``          Kohli, Ladicky and Torr, IJCV 2009: pixel accuracy in a band around the truth's boundaries
==================  ========================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segspectral.metrics.contingency import same_shape
from segspectral.metrics.counts import Counts
from segspectral.metrics.superpixel import thick_boundary
from segspectral.values.distances import distances

__all__ = ["CONTOUR_KINDS", "Share", "boundary_iou", "contour_counts", "csurka_bf", "davis_f", "trimap"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Share(Counts):
    """``hits`` of ``total`` pixels, or the sum ``hits`` of the scores of ``total`` images."""

    hits: float
    total: int

    @property
    def value(self) -> float:
        return self.hits / self.total if self.total else math.nan

    def scores(self) -> dict[str, float]:
        return {"value": self.value}


CONTOUR_KINDS = ("csurka_bf", "davis_f", "boundary_iou", "trimap")
"""What ``contour_counts`` gives, by name."""


def contour_counts(
    prediction: ArrayLike, truth: ArrayLike, *, width: float, void: int | None = None
) -> dict[str, Share]:
    """Return all scores of this module for one image of class maps (H, W); ``width`` is the width of the trimap.

    DAVIS's F and Boundary IoU are defined for one object. Here they are the mean over the classes in the image's
    truth: each class is scored against the rest, and void pixels belong to neither.
    """
    predicted, labels = np.asarray(prediction), np.asarray(truth)
    same_shape(predicted, labels)
    valid = np.ones(labels.shape, dtype=bool) if void is None else labels != void
    masks = [((predicted == c) & valid, (labels == c) & valid) for c in np.unique(labels[valid])]
    return {
        "csurka_bf": csurka_bf(predicted, labels, void=void),
        "davis_f": _mean([davis_f(*pair).value for pair in masks]),
        "boundary_iou": _mean([boundary_iou(*pair).value for pair in masks]),
        "trimap": trimap(predicted, labels, width=width, void=void),
    }


def csurka_bf(prediction: ArrayLike, truth: ArrayLike, *, void: int | None = None, tolerance: float = 0.0075) -> Share:
    """Return BF of one image of class maps (H, W): the mean F over the classes in its truth.

    The boundary of a class consists of its pixels that have a 4-neighbour outside the class; the border of the image
    is not a boundary. Void pixels belong to no class in either map. A class scores 1 if it has no boundary in both
    maps, and 0 if it has none in exactly one of them. An image whose truth has no class counts as zero images.
    """
    predicted, labels = np.asarray(prediction), np.asarray(truth)
    same_shape(predicted, labels)
    valid = np.ones(labels.shape, dtype=bool) if void is None else labels != void
    radius = tolerance * math.hypot(*labels.shape)
    scores = []
    for c in np.unique(labels[valid]):
        a, b = _inner_boundary((predicted == c) & valid), _inner_boundary((labels == c) & valid)
        scores.append(_f(_share_within(a, b, radius), _share_within(b, a, radius)))
    return _mean(scores)


def davis_f(prediction: ArrayLike, truth: ArrayLike, *, bound: float = 0.008) -> Share:
    """Return DAVIS's F of two binary masks (H, W) of one object, like ``db_eval_boundary``.

    F is 1 if neither mask has a boundary, and 0 if only one has. ``bound`` is a share of the diagonal, which is
    rounded up to pixels; a value of 1 or more is a number of pixels.
    """
    predicted, actual = np.asarray(prediction).astype(bool), np.asarray(truth).astype(bool)
    same_shape(predicted, actual)
    pixels = bound if bound >= 1 else math.ceil(bound * math.hypot(*actual.shape))
    a, b = _davis_boundary(predicted), _davis_boundary(actual)
    return Share(_f(_share_within(a, b, pixels), _share_within(b, a, pixels)), 1)


def boundary_iou(prediction: ArrayLike, truth: ArrayLike, *, ratio: float = 0.02) -> Share:
    """Return Boundary IoU of two binary masks (H, W) as pixel counts: ``hits`` in both bands, ``total`` in either.

    The band holds the pixels that round(``ratio`` x diagonal) erosions by 3 x 3 remove, with at least one erosion.
    Outside the image is background, so the border of the image is a boundary. The paper reports the smaller of this
    score and the IoU of the masks.
    """
    predicted, actual = np.asarray(prediction).astype(bool), np.asarray(truth).astype(bool)
    same_shape(predicted, actual)
    width = max(1, round(ratio * math.hypot(*actual.shape)))

    def band(mask: Mask) -> Mask:
        # d erosions by 3 x 3 equal one erosion by a square of side 2 d + 1.
        inner = ndimage.minimum_filter(mask.astype(np.uint8), size=2 * width + 1, mode="constant", cval=0)
        return mask & (inner == 0)

    a, b = band(predicted), band(actual)
    return Share(int((a & b).sum()), int((a | b).sum()))


def trimap(prediction: ArrayLike, truth: ArrayLike, *, width: float, void: int | None = None) -> Share:
    """Return the pixel accuracy of class maps (H, W) in a band along the truth's boundaries, without void pixels.

    The band is ``width`` pixels wide on each side of every boundary. A border with void is a boundary too, because VOC
    marks the boundaries of objects with void.
    """
    predicted, labels = np.asarray(prediction), np.asarray(truth)
    same_shape(predicted, labels)
    edge = thick_boundary(labels)
    if not edge.any():
        return Share(0, 0)
    band = ndimage.distance_transform_edt(~edge) < width
    if void is not None:
        band &= labels != void
    return Share(int((predicted == labels)[band].sum()), int(band.sum()))


def _mean(scores: list[float]) -> Share:
    """Return the score of an image, the mean over its classes; an image without classes counts as no image."""
    return Share(float(np.mean(scores)), 1) if scores else Share(0.0, 0)


def _share_within(boundary: Mask, other: Mask, radius: float) -> float | None:
    """Return the share of ``boundary`` within ``radius`` of ``other``; None if ``boundary`` has no pixels."""
    if not boundary.any():
        return None
    if not other.any():
        return 0.0
    distance = distances(~other)
    return float((distance[boundary] <= radius).mean())


def _f(precision: float | None, recall: float | None) -> float:
    if precision is None and recall is None:
        return 1.0
    p, r = precision or 0.0, recall or 0.0
    return 2 * p * r / (p + r) if p + r else 0.0


def _inner_boundary(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _davis_boundary(mask: Mask) -> Mask:
    """Return the pixels that differ from the neighbour to the east, south or south-east, like DAVIS's ``seg2bmap``."""
    edge = np.zeros(mask.shape, dtype=bool)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge
