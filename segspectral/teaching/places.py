"""What to label next: places of a folder that say the most about the others.

The regions of all images, at one level of their hierarchies, are compared by their features. A set of places is worth
the sum, over all regions, of how like the region is to the place that is most like it (facility location; Nemhauser,
Wolsey and Fisher 1978). A region counts by the square root of its area, and, once there are classes, by how unsure its
class is. Places are chosen one by one, each with the largest gain over those before it and over all labels. That joins
uncertainty, density and diversity in one sum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segspectral.errors import SettingsError
from segspectral.shared.model import area_means, unit
from segspectral.shared.taught import TaughtModel, softmax
from segspectral.teaching.album import Album, Page
from segspectral.teaching.labels import Labels

__all__ = ["CLICKS", "IMAGES", "Place", "suggest"]

IMAGES, CLICKS = 5, 20
"""The defaults of a round: the number of images, and the number of places in all of them."""

LEVEL = 0.1
"""Regions are those of this level of the hierarchy; a place stands for one of them."""

MOST = 4000
"""Places are chosen among at most this many regions, whose similarities take 64 MB."""

NEAREST = 20
"""The scale of similarities is the median distance of a region to its neighbour of this rank; of a tenth if few."""

ALIKE = 0.5
"""A place stands for the regions whose similarity to it is at least this."""


class Place(NamedTuple):
    """A place to label.

    Parameters
    ----------
    image : its file
    row, col : the pixel, from 0
    guess : the class that the model gives it; "" without a model
    confidence : the probability of the guess; NaN without a model
    speaks_for : how many regions of all images are more like this place than like any other place or label
    """

    image: Path
    row: int
    col: int
    guess: str
    confidence: float
    speaks_for: int


class _Candidates(NamedTuple):
    """C regions.

    Parameters
    ----------
    image : (C,) the number of the image
    superpixel : (C,) the superpixel in their midst
    area : (C,)
    rows : (C, D') what a model sees of them
    own : (C, D) their components, without what surrounds them, as vectors of length 1; by these they are compared
    labelled : (C,) whether they have labels
    """

    image: NDArray[np.int64]
    superpixel: NDArray[np.int64]
    area: NDArray[np.float64]
    rows: NDArray[np.float32]
    own: NDArray[np.float32]
    labelled: NDArray[np.bool_]

    def part(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> _Candidates:
        columns: list[Any] = [column[chosen] for column in self]
        return _Candidates(*columns)


def suggest(
    album: Album,
    labels: Labels | None = None,
    model: TaughtModel | None = None,
    *,
    images: int = IMAGES,
    clicks: int = CLICKS,
    closed: Collection[Path] = (),
) -> list[Place]:
    """The places to label next, image by image, the image with the largest gain first.

    Parameters
    ----------
    album : the images; with a model, described by its projection
    labels : what is labelled already; the places are unlike these
    model : says which classes are unsure; without one, all regions count by their area alone
    images : the largest number of images with places
    clicks : the number of places, if there are as many regions
    closed : images without places

    Raises
    ------
    SettingsError
        ``images`` or ``clicks`` is not at least 1, or all regions have labels, or are in images that are closed.
    """
    if images < 1 or clicks < 1:
        raise SettingsError("a round has one image and one place at least")
    with threadpool_limits(1, user_api="blas"):
        every = _candidates(album, {} if labels is None else _labelled(album, labels))
        asked = ~np.isin(every.image, [number for number, path in enumerate(album.pages) if path in closed])
        known, free = every.part(every.labelled), every.part(~every.labelled & asked)
        if not len(free.area):
            raise SettingsError("every region of these images has a label")
        rng = np.random.default_rng(album.lesson.seed)
        share = min(1.0, MOST / len(free.area))
        free = free.part(np.sort(rng.choice(len(free.area), round(share * len(free.area)), replace=False)))
        P = None if model is None else softmax(free.rows @ model.weights + model.bias)
        worth = np.sqrt(free.area) * (1.0 if P is None else _entropy(P))
        distances = _distances(free.own, free.own)
        rank = min(NEAREST, len(distances) // 10 + 1, len(distances) - 1)
        scale = float(np.median(np.partition(distances, rank, axis=1)[:, rank])) or 1.0
        alike = _alike(distances, scale)
        covered = np.zeros(len(alike), np.float32)
        for start in range(0, len(known.area), MOST):
            near = _alike(_distances(free.own, known.own[start : start + MOST]), scale)
            covered = np.maximum(covered, near.max(axis=1))
        chosen = _chosen(alike, covered, worth, free.image, images, clicks)
    spoken = _spoken(alike, covered, chosen)
    pages = list(album.pages.values())
    places = []
    for at, count in zip(chosen, spoken, strict=True):
        page = pages[free.image[at]]
        row, col = _midst(page, int(free.superpixel[at]))
        guess, sure = ("", math.nan) if P is None or model is None else _guess(P[at], model)
        places.append(Place(page.path, row, col, guess, sure, max(1, round(count / share))))
    return places


def _guess(probabilities: NDArray[np.float32], model: TaughtModel) -> tuple[str, float]:
    best = int(probabilities.argmax())
    return model.classes[best], float(probabilities[best])


def _labelled(album: Album, labels: Labels) -> dict[Path, NDArray[np.int64]]:
    """Image -> the numbers of its superpixels that have labels."""
    found = {}
    for path, given in labels.given.items():
        of = album.page_of(path, given).superpixels_of(given)
        found[path] = np.unique(of[of >= 0]).astype(np.int64)
    return found


def _candidates(album: Album, labelled: Mapping[Path, NDArray[np.int64]]) -> _Candidates:
    """The regions of all images. In the midst of a region is the superpixel whose features are nearest to its mean."""
    parts = []
    for number, page in enumerate(album.pages.values()):
        graph = page.graph
        rows = album.lesson.surroundings(graph, page.components)
        region = np.arange(len(graph)) if graph.boundary is None else graph.hierarchy.regions(level=LEVEL)
        means = area_means(region.astype(np.int32), graph.area, rows)
        order = np.lexsort((((rows - means[region]) ** 2).sum(axis=1), region))
        first = order[np.searchsorted(region[order], np.arange(len(means)))]
        known = np.zeros(len(means), np.bool_)
        known[region[labelled.get(page.path, np.empty(0, np.int64))]] = True
        area = np.bincount(region, graph.area, len(means)).astype(np.float64)
        own = unit(means[:, : page.components.shape[1]])
        parts.append(_Candidates(np.full(len(means), number), first, area, means, own, known))
    return _Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _entropy(P: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) the entropy of rows that sum to one, from 0 (certain) to 1."""
    p = P.astype(np.float64)
    return np.asarray(-(p * np.log(np.maximum(p, 1e-12))).sum(axis=1) / np.log(P.shape[1]))


def _distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) squared Euclidean distances of vectors of length 1."""
    return np.maximum(2 - 2 * (one @ other.T), 0)


def _alike(distances: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Similarities, from 0 to 1."""
    return np.exp(distances / np.float32(-2 * scale))


def _chosen(
    alike: NDArray[np.float32],
    covered: NDArray[np.float32],
    worth: NDArray[np.float64],
    image: NDArray[np.int64],
    images: int,
    clicks: int,
) -> list[int]:
    """The greedy places, at most so many, in at most ``images`` images with about as many each; sorted by image.

    The gain of a place never rises when another one is chosen, so it is recomputed only for the one that seems best.
    """
    weight = worth.astype(np.float32)
    quota = math.ceil(clicks / min(images, len(np.unique(image))))
    chosen: list[int] = []
    used: dict[int, int] = {}
    free = np.ones(len(image), np.bool_)
    most = weight @ np.maximum(alike - covered[:, None], 0)
    while len(chosen) < clicks and free.any():
        at, best = -1, int(np.where(free, most, -1).argmax())
        while best != at:
            at = best
            most[at] = weight @ np.maximum(alike[at] - covered, 0)
            best = int(np.where(free, most, -1).argmax())
        chosen.append(at)
        covered = np.maximum(covered, alike[:, at])
        of = int(image[at])
        used[of] = used.get(of, 0) + 1
        free[at] = False
        if used[of] >= quota:
            free[image == of] = False
        if len(used) >= images:
            free &= np.isin(image, list(used))
    opened = list(used)
    return sorted(chosen, key=lambda at: opened.index(int(image[at])))


def _spoken(alike: NDArray[np.float32], covered: NDArray[np.float32], chosen: list[int]) -> NDArray[np.int64]:
    """How many regions each chosen place speaks for."""
    near = alike[:, chosen]
    best = near.argmax(axis=1)
    counts = (near.max(axis=1) >= ALIKE) & (near.max(axis=1) > covered)
    return np.bincount(best[counts], minlength=len(chosen))


def _midst(page: Page, superpixel: int) -> tuple[int, int]:
    """The pixel of the image that is deepest inside a superpixel."""
    from scipy.ndimage import distance_transform_edt

    inside = page.superpixels.labels == superpixel
    rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = np.pad(inside[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], 1)
    row, col = np.unravel_index(int(distance_transform_edt(box).argmax()), box.shape)
    place = (int(row) - 1 + int(rows[0]), int(col) - 1 + int(cols[0]))
    return page.pixel(*place)
