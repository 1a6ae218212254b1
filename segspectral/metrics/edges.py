"""Precision, recall and F of a pixel edge map, as edge detectors are scored.

The map is first thinned to its ridges by non-maximum suppression, like the public evaluations of structured edges
(Dollar and Zitnick, "Fast edge detection using structured forests", PAMI 2015), HED (Xie and Tu 2015) and PiDiNet (Su
et al. 2021). Then it is cut at 99 thresholds, and each cut is scored as a boundary of the Berkeley benchmark
(``segspectral.metrics.boundary``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segspectral.metrics.boundary import BoundaryCounts, soft_boundary_counts

__all__ = ["EdgeCounts", "edge_counts", "ridges"]

RADIUS = 4
"""The map is smoothed by a triangle of this radius in pixels before its orientation is taken."""

MARGIN = 5
"""Edges fade over this many pixels towards the sides of the image, where networks see their own padding."""

FAVOUR = 1.01
"""A pixel stays if this times its strength reaches both neighbours, so that plateaus are not erased."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EdgeCounts(BoundaryCounts):
    """Counts as those of a boundary, at thresholds instead of scales."""

    axis = "thresholds"

    def scores(self) -> dict[str, float]:
        """Return ``edges_ods``, ``edges_ois`` and ``edges_ap``, and the ``precision_ods`` and ``recall_ods``."""
        scores = super().scores()
        named = {"edges_ods": "f_ods", "edges_ois": "f_ois", "edges_ap": "ap"}
        return {new: scores[old] for new, old in named.items()} | {
            k: scores[k] for k in ("precision_ods", "recall_ods")
        }


def edge_counts(strength: ArrayLike, human_boundaries: ArrayLike) -> EdgeCounts:
    """Return the counts of one image.

    Parameters
    ----------
    strength : (H, W) in [0, 1]
        The edge map, as the detector gives it.
    human_boundaries : (H, W) or (A, H, W)
        One thin map per annotator; pixels other than 0 are boundaries.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    counts = soft_boundary_counts(ridges(strength), human_boundaries)
    return EdgeCounts(**vars(counts))


def ridges(strength: ArrayLike) -> Floats:
    """Return an edge map (H, W) with zeros where it is not a ridge.

    The normal of an edge comes from the second derivatives of the smoothed map. A pixel is compared with the bilinear
    interpolations one pixel away on both sides.
    """
    edges = np.asarray(strength, dtype=np.float64)
    across = _normals(edges)
    place = np.indices(edges.shape)
    kept = edges.copy()
    for side in (-1, 1):
        beside = ndimage.map_coordinates(edges, place + side * across, order=1, mode="nearest")
        kept[edges * FAVOUR < beside] = 0
    for axis, size in enumerate(edges.shape):
        to_side = np.minimum(np.arange(size), np.arange(size)[::-1])
        fade = np.minimum(to_side / min(MARGIN, size / 2), 1)
        kept *= fade[:, None] if axis == 0 else fade
    return kept


def _normals(edges: Floats) -> Floats:
    """Return the unit vectors (2, H, W), down and right, across the edges."""
    triangle = np.minimum(np.arange(1, 2 * RADIUS + 2), np.arange(2 * RADIUS + 1, 0, -1)) / (RADIUS + 1) ** 2
    smooth = edges
    for axis in (0, 1):
        smooth = ndimage.correlate1d(smooth, triangle, axis=axis, mode="reflect")
    down, right = _gradient(smooth)
    both, down_down, right_right = _gradient(right)[0], _gradient(down)[0], _gradient(right)[1]
    # As in the public code, but a mixed derivative of exactly 0 has a sign, too: else no level edge would be thinned.
    angle = np.arctan(np.where(both > 0, -1, 1) * down_down / (right_right + 1e-5))
    return np.stack([np.sin(angle), np.cos(angle)])


def _gradient(values: Floats) -> tuple[Floats, Floats]:
    """Return the differences per pixel down and to the right; they are 0 along an axis of one pixel."""
    down, right = (np.gradient(values, axis=k) if values.shape[k] > 1 else np.zeros_like(values) for k in (0, 1))
    return down, right
