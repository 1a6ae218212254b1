"""Region scores of BSDS500: covering, Probabilistic Rand index, Variation of Information, objects and parts.

The definitions are those of Arbelaez, Maire, Fowlkes and Malik, "Contour detection and hierarchical image
segmentation", PAMI 2011, section 2.3. A segmentation is compared with every human map of its image. A stack of
segmentations (a sweep over the number of segments, or over the levels of a hierarchy) has three scores, as in the
official ``collect_eval_reg.m``:

- ODS, optimal data-set scale: the one scale that is best for the total over all images, chosen for each measure.
- OIS, optimal image scale: the best scale of every image, an oracle.
- best (covering only): the best segment over all scales for every human region, an oracle.

Covering is weighted by area over all human maps of all images, so an image with more maps counts more. The Rand index
and VI are means over the maps of an image and then over images. Both follow the official code. F of objects and parts
(``segspectral.metrics.objects``) comes from the mean precision and the mean recall over images, at one scale (ODS) or
at the scale with each image's best F (OIS), as its authors report it.

>>> import numpy as np
>>> truth = np.array([[1, 1, 2, 2]])
>>> region_counts(np.array([[3, 3, 9, 9]]), truth).scores()["covering_ods"]
1.0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segspectral.metrics.contingency import Contingency, Runs, same_shape, stack
from segspectral.metrics.counts import Counts, f_measure
from segspectral.metrics.objects import candidates, objects_and_parts

__all__ = ["RegionCounts", "covering", "rand_index", "region_counts", "variation_of_information"]

Floats = NDArray[np.float64]


def rand_index(table: Contingency) -> float:
    """Return the Rand index: the share of pixel pairs that both maps join, or both separate (Rand 1971).

    The mean over the human maps of an image is the Probabilistic Rand index (Unnikrishnan et al. 2007).
    """
    n = table.total
    pairs = n * (n - 1) / 2
    if pairs == 0:
        return 1.0
    apart = ((table.rows**2).sum() + (table.columns**2).sum()) / 2 - (table.count**2).sum()
    return float(1 - apart / pairs)


def variation_of_information(table: Contingency) -> float:
    """Return the Variation of Information in bits, H(row | column) + H(column | row) (Meila 2005); 0 for equal maps."""
    ratio = table.count**2 / (table.rows[table.row] * table.columns[table.column])
    return float(-(table.count * np.log2(ratio)).sum() / table.total) + 0.0


def covering(table: Contingency) -> Floats:
    """Return for every column (human) region the IoU with the row segment that covers it best.

    The covering of a map is the mean of these values, weighted by ``table.columns`` (Arbelaez et al. 2011, eq. 3).
    """
    iou = table.count / (table.rows[table.row] + table.columns[table.column] - table.count)
    best = np.zeros(table.shape[1])
    np.maximum.at(best, table.column, iou)
    return best


@dataclass(frozen=True)
class RegionCounts(Counts):
    """Region scores before division; counts of disjoint sets of images add up with ``+``.

    S is the number of scales. ``covered`` (S,) sums the pixels of human regions times their best IoU;
    ``covered_ois`` and ``covered_best`` are the same under the two oracles. ``area`` is the number of pixels of all
    human maps. ``rand`` and ``vi`` (S,) are sums over images; ``rand_ois`` and ``vi_ois`` sum the best value of each.
    ``parts_precision`` and ``parts_recall`` (S,) sum those of objects and parts; ``parts_ois`` (2,) sums both at the
    scale with each image's best F.
    """

    images: int
    area: float
    covered: Floats
    covered_ois: float
    covered_best: float
    rand: Floats
    rand_ois: float
    vi: Floats
    vi_ois: float
    parts_precision: Floats
    parts_recall: Floats
    parts_ois: Floats

    def scores(self) -> dict[str, float]:
        """Return ``covering_ods``, ``_ois``, ``_best``; ``_ods`` and ``_ois`` of ``pri``, ``vi`` (bits) and ``fop``."""
        return {
            "covering_ods": float(self.covered.max() / self.area),
            "covering_ois": self.covered_ois / self.area,
            "covering_best": self.covered_best / self.area,
            "pri_ods": float(self.rand.max() / self.images),
            "pri_ois": self.rand_ois / self.images,
            "vi_ods": float(self.vi.min() / self.images),
            "vi_ois": self.vi_ois / self.images,
            "fop_ods": float(self._fop().max()),
            "fop_ois": float(f_measure(*(self.parts_ois[:, None] / self.images))[0]),
        }

    def _fop(self) -> Floats:
        return f_measure(self.parts_precision / self.images, self.parts_recall / self.images)

    def best_scales(self) -> dict[str, int]:
        """Return the scale (index from 0) that ODS chose for each measure; for users of the Python API."""
        best = {"covering": self.covered.argmax(), "pri": self.rand.argmax(), "vi": self.vi.argmin()}
        return {name: int(scale) for name, scale in best.items()} | {"fop": int(self._fop().argmax())}


def region_counts(segmentations: ArrayLike, truths: ArrayLike, *, void: int | None = None) -> RegionCounts:
    """Counts of one image.

    Parameters
    ----------
    segmentations : (H, W) or (S, H, W) integers
        Label maps of the prediction, one per scale; any ids.
    truths : (H, W) or (A, H, W) integers
        Label maps of the A annotators.
    void : int, optional
        Label of truth pixels that are not scored. They are removed from both maps, separately for each annotator.

    Raises
    ------
    ValueError
        If shapes disagree or a truth has only void.
    """
    predicted, human = stack(segmentations), stack(truths)
    same_shape(predicted[0], human[0])
    S, A = len(predicted), len(human)
    kind = np.result_type(predicted, human)
    runs = Runs.of(np.concatenate([predicted.astype(kind, copy=False), human.astype(kind, copy=False)]))
    tables = [[runs.table(s, S + a, _without(runs, S + a, void)) for a in range(A)] for s in range(S)]
    area = sum(table.total for table in tables[0])
    covers = [[covering(table) for table in row] for row in tables]
    areas = [table.columns for table in tables[0]]
    covered = np.array([sum(map(np.dot, row, areas)) for row in covers])
    best = [np.maximum.reduce(column) for column in zip(*covers, strict=True)]
    rand = np.array([np.mean([rand_index(table) for table in row]) for row in tables])
    vi = np.array([np.mean([variation_of_information(table) for table in row]) for row in tables])
    regions = [candidates(areas[a], runs.first(S + a)) for a in range(A)]
    segments = [
        candidates(np.sum([table.rows for table in row], axis=0), runs.first(s)) for s, row in enumerate(tables)
    ]
    parts = np.array([objects_and_parts(row, segments[s], regions) for s, row in enumerate(tables)])
    return RegionCounts(
        images=1,
        area=area,
        covered=covered,
        covered_ois=float(covered.max()),
        covered_best=float(sum(map(np.dot, best, areas))),
        rand=rand,
        rand_ois=float(rand.max()),
        vi=vi,
        vi_ois=float(vi.min()),
        parts_precision=parts[:, 0],
        parts_recall=parts[:, 1],
        parts_ois=parts[f_measure(parts[:, 0], parts[:, 1]).argmax()],
    )


def _without(runs: Runs, truth: int, void: int | None) -> NDArray[np.bool_] | None:
    """Return the runs that are void in map ``truth``."""
    if void is None:
        return None
    without = np.isin(runs.labels[truth], np.flatnonzero(runs.values[truth] == void))
    if without.all():
        raise ValueError("no pixel is left to compare: the truth has only void")
    return without
