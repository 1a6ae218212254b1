"""The last merges of a hierarchy: a learned strength of borders that compares whole regions.

While regions are small, the boundary probability along a border says nearly all there is to know about it. Once only a
few regions are left, it also matters how strong a border is compared with the other borders of its two regions, how
strong the borders were that have disappeared inside them, and how different the two look as a whole. Logistic
regression turns these cues into the probability that people separate two regions. The pair with the lowest probability
is merged next, as GALA (Nunez-Iglesias et al. 2013) does for cells in microscopy. ``tools/fit_merging.py`` fitted the
weights on BSDS500 train.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segspectral.values.regions import RegionGraph

__all__ = ["LATE", "Logistic", "Looks", "Regions", "Strength", "fitted", "late_merges", "log_odds"]

LATE = 150
"""The number of regions at which the learned strength takes over. Earlier it gained nothing, and it costs time."""

LEAST_PROBABILITY = 1e-3
"""Probabilities are clipped by this much before their log odds are taken."""

ROUNDING = 1e-9
"""Differences below this share of a sum are rounding errors of a subtraction of equal numbers."""

CUES = (
    "boundary",
    "odds",
    "length",
    *(f"{cue}_{of}" for of in ("smaller", "larger") for cue in ("area", "others", "inner")),
)
"""Cues of two regions that touch: log odds of the mean boundary probability; mean log odds along the border; log of its
length relative to the root of the smaller area; then, for the smaller region and for the larger one, the log of its
share of the image, the log odds of the mean boundary probability of its other borders, and those of the strongest
border that has disappeared inside it. For each group of looks, the roots of distances and of both spreads follow."""

ODDS_CUES, LOGS_CUES = [0, 4, 7, 5, 8], [2, 3, 6]
"""The places in ``CUES`` of what ``Regions.cues`` computes by one call: of both regions, before what is of one."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Looks:
    """The appearance of N regions: G groups of D features.

    Parameters
    ----------
    mean : (N, G, D) the mean of each feature over a region
    square : (N, G) the mean squared length of the vector of each group; with the mean it gives how far the region's
        parts are spread
    """

    mean: Floats
    square: Floats

    @classmethod
    def of(cls, groups: Sequence[Floats]) -> Looks:
        """The looks of regions without parts, from G arrays (N, D)."""
        mean = np.stack(groups, axis=1)
        return cls(mean, (mean**2).sum(axis=2))

    def merged(self, region: NDArray[np.integer], area: NDArray[np.integer | np.floating]) -> Looks:
        """The looks of larger regions; ``region`` (N,) gives the number of the larger region of each region, from 0."""
        n = len(region)
        weights = area / np.bincount(region, area)[region]
        mean = sp.csr_array((weights, (region, np.arange(n))), shape=(int(region.max(initial=-1)) + 1, n))
        return Looks((mean @ self.mean.reshape(n, -1)).reshape(-1, *self.mean.shape[1:]), mean @ self.square)


class Regions:
    """Regions that are merged one by one, with all that the cues compare. There must be few, as tables are dense.

    Parameters
    ----------
    graph : of the leaves, with boundary probabilities and looks
    region : (N,) the region of each leaf, from 0
    inner : (R,) the strongest mean boundary probability across which a region was merged
    """

    def __init__(self, graph: RegionGraph, region: NDArray[np.integer], inner: Floats) -> None:
        assert graph.boundary is not None
        assert graph.looks is not None
        n = len(inner)
        self.region = region
        i, j = region[graph.borders].T.astype(np.int64)
        outer = i != j

        def table(values: Floats) -> Floats:
            half = np.bincount((i * n + j)[outer], values[outer], n * n).reshape(n, n)
            return np.asarray(half + half.T)

        self.length = table(graph.border_length)
        self.sum = table(graph.border_length * graph.boundary)
        self.odds = table(graph.border_length * log_odds(graph.boundary))
        self.around, self.sum_around = self.length.sum(axis=1), self.sum.sum(axis=1)
        self.area = np.bincount(region, graph.area, n).astype(np.float64)
        self.whole = self.area.sum()
        self.inner = inner.copy()
        looks = graph.looks.merged(region, graph.area)
        self.mean, self.square = looks.mean, looks.square
        self.spread = self._spread(slice(None))

    def cues(self, i: NDArray[np.integer], j: NDArray[np.integer]) -> Floats:
        """(K, C) the cues of K pairs of regions that touch, in the order of ``CUES``."""
        pairs = np.array([i, j])
        sides = np.where(self.area[i] <= self.area[j], pairs, pairs[::-1])
        length, total, area = self.length[i, j], self.sum[i, j], self.area[sides]
        mean = total / length
        rest = self.around[sides] - length
        further = rest > ROUNDING * length
        others = np.where(further, (self.sum_around[sides] - total) / np.where(further, rest, 1), mean)
        # One call for many logarithms, because there are few pairs at a time.
        odds = log_odds(np.concatenate([mean[None], others, self.inner[sides]]))
        logs = np.log(np.concatenate([(length / np.sqrt(area[0]))[None], area / self.whole]))
        groups = self.spread.shape[1]
        cues = np.empty((len(i), len(CUES) + 3 * groups))
        cues[:, ODDS_CUES], cues[:, LOGS_CUES] = odds.T, logs.T
        np.divide(self.odds[i, j], length, out=cues[:, 1])
        looks = cues[:, len(CUES) :].reshape(len(i), 3, groups)
        np.sqrt(((self.mean[i] - self.mean[j]) ** 2).sum(axis=2), out=looks[:, 0])
        looks[:, 1:] = self.spread[sides].transpose(1, 0, 2)
        np.sqrt(looks, out=looks)
        return cues

    def join(self, i: int, j: int) -> None:
        """Merge region j into region i."""
        self.inner[i] = max(self.inner[i], self.inner[j], self.sum[i, j] / self.length[i, j])
        for around, table in ((self.around, self.length), (self.sum_around, self.sum)):
            around[i] += around[j] - 2 * table[i, j]
        for table in (self.length, self.sum, self.odds):
            table[i] += table[j]
            table[i, i] = table[i, j] = 0
            table[:, i] = table[i]
            table[j] = table[:, j] = 0
        share = self.area[j] / (self.area[i] + self.area[j])
        self.mean[i] += share * (self.mean[j] - self.mean[i])
        self.square[i] += share * (self.square[j] - self.square[i])
        self.spread[i] = self._spread(i)
        self.area[i] += self.area[j]

    def _spread(self, which: slice | int) -> Floats:
        """The root mean squared distance of a region's parts from its mean, for each group."""
        square = self.square[which]
        variance = square - (self.mean[which] ** 2).sum(axis=-1)
        return np.asarray(np.sqrt(np.where(variance > ROUNDING * square, variance, 0)))


Strength = Callable[[Floats], Floats]
"""Cues (K, C) of K pairs of regions -> (K,) in [0, 1]: the pair with the least is merged next."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """P(people separate two regions) = 1 / (1 + exp(-(bias + weights . cues)))."""

    bias: float
    weights: Floats

    def __call__(self, cues: Floats) -> Floats:
        return np.asarray(1 / (1 + np.exp(-(self.bias + cues @ self.weights))))


@cache
def fitted() -> Logistic:
    """The packaged weights."""
    data = json.loads(files("segspectral").joinpath("features/weights/merging.json").read_text())
    return Logistic(data["bias"], np.array(data["weights"]))


def late_merges(
    regions: Regions, label: Sequence[int], strength: Strength
) -> tuple[list[tuple[int, int]], list[float], list[int]]:
    """Merge the pair of touching regions with the least strength, until none touch.

    Parameters
    ----------
    regions : they are changed
    label : the label of each region, or 0: regions with different labels are not merged

    Returns
    -------
    The merges (the region that stays, and the one that it takes), their strengths, and the regions that are left.
    """
    labels, alive, free_of_labels = np.array(label), set(range(len(label))), not any(label)
    table = np.full(regions.length.shape, np.inf)

    def update(i: NDArray[np.integer], j: NDArray[np.integer]) -> None:
        if not free_of_labels:
            free = (labels[i] == labels[j]) | (labels[i] == 0) | (labels[j] == 0)
            i, j = i[free], j[free]
        table[i, j] = table[j, i] = strength(regions.cues(i, j))

    update(*np.nonzero(np.triu(regions.length)))
    merges, strengths = [], []
    while len(alive) > 1:
        i, j = divmod(int(table.argmin()), len(table))
        if table[i, j] == np.inf:
            break
        merges.append((i, j))
        strengths.append(float(table[i, j]))
        regions.join(i, j)
        labels[i] = max(labels[i], labels[j])
        alive.remove(j)
        table[i] = table[j] = table[:, i] = table[:, j] = np.inf
        near = np.flatnonzero(regions.length[i])
        update(np.full(len(near), i), near)
    return merges, strengths, sorted(alive)


def log_odds(p: Floats) -> Floats:
    """The log odds of clipped probabilities."""
    p = np.minimum(np.maximum(p, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(p / (1 - p)))
