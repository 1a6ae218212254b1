"""Touching convex parts of a piece become segments of their own; this looks at pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segspectral.values.distances import distances
from segspectral.values.labels import pieces

__all__ = ["without_touching"]

DEPTHS = 1000
"""Distances in a piece are whole numbers up to this when it is split."""


def without_touching(labels: NDArray[np.int32], background: int, neck: float) -> NDArray[np.int32]:
    """The label map after touching convex parts of a piece have been separated; new segments have new numbers.

    A part is a maximum of the distance to the outline of the piece that is deeper than ``neck`` times the largest
    distance (Vincent 1993, h-maxima). The watershed of the distance from these maxima separates the parts (Beucher and
    Lantuejoul 1979). The edges of the image and void count as outside only if they are void.
    """
    from scipy.ndimage import find_objects, label
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    out, fresh = labels.copy(), int(labels.max())
    piece = pieces(np.where((labels > 0) & (labels != background), labels, -1)) + np.int32(1)
    for number, place in enumerate(find_objects(piece), start=1):
        # One more pixel on each side, so that all of the outline is seen, except the edges of the image.
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in place)
        inside = piece[around] == number
        if inside.all():
            continue  # it fills the image
        distance = distances(inside)
        # Whole numbers, because h_maxima rounds others in a way of its own.
        depth = np.round(distance * (DEPTHS / distance.max())).astype(np.uint16)
        seeds, count = label(h_maxima(depth, round(neck * DEPTHS)), np.ones((3, 3)))
        if count < 2:
            continue
        parts = watershed(-distance, seeds, mask=inside)
        order = np.argsort(-np.bincount(parts.reshape(-1), minlength=count + 1)[1:], kind="stable")
        numbers = np.empty(count + 1, np.int32)
        numbers[1 + order] = [labels[around][inside][0], *range(fresh + 1, fresh + count)]
        fresh += count - 1
        out[around][inside] = numbers[parts[inside]]
    return out
