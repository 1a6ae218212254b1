"""Objects and parts: how many human regions a segmentation finds whole, in parts or in fragments.

The definition is that of Pont-Tuset and Marques, "Supervised evaluation of image segmentation and object proposal
techniques", PAMI 2016, with the values of their code: a share of .9 makes an object and .25 a part, a part counts .1,
and the smallest regions, which cover 1 % of the image, are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segspectral.metrics.contingency import Contingency

__all__ = ["candidates", "objects_and_parts"]

OBJECT, PART, PART_WEIGHT, COUNTED = 0.9, 0.25, 0.1, 0.99

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def candidates(area: Floats, first: NDArray[np.intp]) -> Mask:
    """Return which regions are large enough to count: those before which larger ones cover less than 99 % of all.

    ``area`` (K,) is in pixels and ``first`` (K,) the place of the first pixel of each region in row-major order. Of
    equally large regions the one that begins later comes first, as in the authors' code.
    """
    order = np.lexsort((-first, -area))
    before = np.cumsum(area[order]) - area[order]
    counted = np.zeros(len(area), dtype=bool)
    counted[order] = before < COUNTED * area.sum()
    return counted


def objects_and_parts(tables: Sequence[Contingency], segments: Mask, regions: Sequence[Mask]) -> tuple[float, float]:
    """Return precision and recall of objects and parts of one segmentation.

    Parameters
    ----------
    tables : sequence of Contingency
        The segmentation (rows) against each human map (columns).
    segments : (R,) bool
        Which segments are candidates.
    regions : sequence of (C,) bool
        Which regions of each human map are candidates.

    A segment and a human region that share 90 % of both are *objects*. A segment with 90 % of its pixels in a region,
    of which it covers 25 %, is a *part*, unless it is an object with another map; a region can be a part of a segment
    in the same way. A candidate that is neither counts by how far it is made of fragments: a region by the share that
    segments inside it cover, a segment by the share that regions inside it cover, on average over the maps.
    """
    shape = tables[0].shape[0]
    segment_object, segment_part, fragments = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    recalled = counted = 0.0
    for table, region in zip(tables, regions, strict=True):
        recall = table.count / table.columns[table.column]
        precision = table.count / table.rows[table.row]
        both = segments[table.row] & region[table.column]
        inside, around = precision >= OBJECT, recall >= OBJECT
        region_object, region_part = np.zeros(len(region), bool), np.zeros(len(region), bool)
        region_object[table.column[both & inside & around]] = True
        region_part[table.column[both & ~inside & around & (precision >= PART)]] = True
        segment_object[table.row[both & inside & around]] = True
        segment_part[table.row[both & inside & ~around & (recall >= PART)]] = True
        pieces = np.bincount(table.column, recall * (inside & ~around), len(region)).astype(np.float64)
        fragments += np.bincount(table.row, precision * (around & ~inside), shape) / len(tables)
        recalled += _total(region, region_object, region_part, pieces)
        counted += float(region.sum())
    precise = _total(segments, segment_object, segment_part & ~segment_object, fragments)
    return float(precise / segments.sum()), float(recalled / counted)


def _total(candidate: Mask, is_object: Mask, is_part: Mask, fragments: Floats) -> float:
    rest = candidate & ~is_object & ~is_part
    return float(is_object.sum() + PART_WEIGHT * is_part.sum() + fragments[rest].sum())
