"""What labels of images that were held out decide: whether labels spread, the refiner, and how logits are scaled.

Each part of the images is held out once, and a model that has not seen its labels is asked for them. Labels count by
how often their class is found, so that they stand for the pixels of an image. What costs time has to gain more than one
standard error over the images; pixels of one image are too alike to count one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.images.reader import as_image
from segspectral.refine import REFINERS, crf_installed, segments_of_pixels
from segspectral.resolution import downsampled
from segspectral.shared.taught import softmax
from segspectral.teaching.album import Album
from segspectral.teaching.labels import Given, Labels
from segspectral.values import Membership
from segspectral.wording import plural

__all__ = [
    "Choice",
    "Fold",
    "Linear",
    "Scale",
    "Targets",
    "best_scale",
    "best_temperature",
    "choose_refiner",
    "choose_spreading",
    "groups",
    "reliability",
]

FOLDS = 3
"""Parts of the images with labels, each of which is held out once."""

TEMPERATURES = np.geomspace(0.25, 8, 61)

SHRINK = 10.0
"""Penalty on the squares of the class bias, relative to a superpixel that was held out; chosen on CamVid's train."""

REFINED = 20
"""So many images at most, drawn at random, decide on the refiner, because each takes a fraction of a second."""

ENOUGH = 10
"""If the refiner gains nothing in this many of them, the others are not tried: it would be left out anyway."""

POINTS = 500
"""So many labels of an image at most, drawn at random, decide on the refiner."""

BINS = 5
"""Bins of the reliability curve, of equal width."""

Linear = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(D', K) weights and (K,) bias."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The superpixels with labels.

    Parameters
    ----------
    rows : (N, D') features
    shares : (N, K) the shares of the classes in the labels of each
    weight : (N,)
    image : (N,) the number of the image
    """

    rows: NDArray[np.float32]
    shares: NDArray[np.float64]
    weight: NDArray[np.float64]
    image: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> Targets:
        return Targets(self.rows[chosen], self.shares[chosen], self.weight[chosen], self.image[chosen])


@dataclass(frozen=True, eq=False)
class Fold:
    """Superpixels that were held out, and what was learned without them.

    Parameters
    ----------
    held : the superpixels
    known : (K,) the classes that others have
    maps : whether labels spread -> the logits
    """

    held: Targets
    known: NDArray[np.bool_]
    maps: dict[bool, Linear]

    def logits(self, spread: bool) -> NDArray[np.float64]:
        weights, bias = self.maps[spread]
        return np.asarray(self.held.rows @ weights + bias)


class Scale(NamedTuple):
    """How logits become those of probabilities that are right for labels that were held out.

    Parameters
    ----------
    temperature : by which they are divided
    bias : (K,) which is then added
    """

    temperature: float
    bias: NDArray[np.float64]

    def __call__(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(logits / self.temperature + self.bias)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and by what figures, for people.

    Parameters
    ----------
    value : what was chosen
    said : a sentence
    figures : what was counted
    """

    value: Any
    said: str
    figures: dict[str, Any]


def groups(targets: Targets, seed: int) -> tuple[NDArray[np.int64], bool]:
    """(N,) the part of each superpixel, and whether parts are whole images: there must be one for each."""
    images = np.unique(targets.image)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    if len(images) < FOLDS:
        return rng.permutation(len(targets.rows)) % FOLDS, False
    return order[np.searchsorted(images, targets.image)] % FOLDS, True


def miou(counts: NDArray[np.float64]) -> float:
    """The mean IoU over classes that are labelled, from weights (..., K, K) of label and found class."""
    table = counts.reshape(-1, *counts.shape[-2:]).sum(axis=0)
    true, right = table.sum(axis=1), np.diag(table)
    labelled = true > 0
    return (
        float((right / np.maximum(true + table.sum(axis=0) - right, 1e-12))[labelled].mean()) if labelled.any() else 0.0
    )


def gain(without: NDArray[np.float64], with_: NDArray[np.float64]) -> tuple[float, float]:
    """How much the mean IoU of images, (I, K, K) twice, gains, and the standard error of this by the jackknife.

    >>> right, wrong = np.tile(np.eye(2), (3, 1, 1)), np.tile(1 - np.eye(2), (3, 1, 1))
    >>> gain(wrong, right), gain(right, right)
    ((1.0, 0.0), (0.0, 0.0))
    """
    n = len(without)
    others = ~np.eye(n, dtype=bool)
    each = np.array([miou(with_[kept]) - miou(without[kept]) for kept in others])
    error = np.sqrt((n - 1) / n * ((each - each.mean()) ** 2).sum())
    return miou(with_) - miou(without), float(error)


def choose_spreading(folds: Sequence[Fold], whole: bool, often: NDArray[np.float64]) -> Choice:
    """Whether labels spread: by the probabilities that held-out labels get, because many stay right or wrong.

    Parameters
    ----------
    whole : whether folds are whole images
    often : (K,) as of ``best_temperature``
    """
    if not whole or not folds:
        said = f"labels do not spread, because {_silent(whole)} whether it pays (--set spreading=always)"
        return Choice(False, said, {})
    losses, weight = {}, 0.0
    for spread in (False, True):
        temperature = best_temperature(folds, spread, often)
        parts = []
        for fold in folds:
            counted = _counted(fold, often)
            loss = -(counted * _logarithm(fold.logits(spread) / temperature)).sum(axis=1)
            image = fold.held.image
            parts += [(loss[image == number].sum(), counted[image == number].sum()) for number in np.unique(image)]
        sums = np.array(parts)
        losses[spread], weight = sums[:, 0], sums[:, 1].sum()
    gains = (losses[False] - losses[True]) / weight
    error = float(np.sqrt(len(gains)) * gains.std(ddof=1))
    pays = bool(gains.sum() > error)
    before, after = (float(np.exp(-losses[spread].sum() / weight)) for spread in (False, True))
    said = (
        f"labels {'spread' if pays else 'do not spread'}: held-out labels get a probability of {before:.3f} without it "
        f"and {after:.3f} with it{_unclear(pays, after - before)}"
    )
    return Choice(pays, said, {"without": before, "with": after, "error": error})


def _silent(whole: bool) -> str:
    """Why nothing could be held out: there are too few images to divide, or each class is in a single part."""
    return (
        "no class has labels in enough images to tell" if whole else f"labels of fewer than {FOLDS} images cannot tell"
    )


def _unclear(pays: bool, more: float) -> str:
    return ", which is not a clear gain" if not pays and more > 0 else ""


def _logarithm(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(softmax(logits), 1e-12)))


def choose_refiner(
    album: Album,
    labels: Labels,
    folds: Sequence[Fold],
    whole: bool,
    spread: bool,
    often: NDArray[np.float64],
    scale: Scale,
) -> Choice:
    """``none``, or the CRF (the guided filter where pydensecrf is not installed) if it is clearly better.

    Parameters
    ----------
    whole, often : as of ``choose_spreading``
    spread, scale : of the model

    Raises
    ------
    ImageError
        An image cannot be read any more.
    """
    if not whole or not folds:
        return Choice("none", f"refiner: none, because {_silent(whole)} whether one pays (--refine crf)", {})
    other = "crf" if crf_installed() else "guided"
    refiner, called = REFINERS[other](), "the CRF" if other == "crf" else "the guided filter"
    lesson, K = album.lesson, len(labels.classes)
    rng = np.random.default_rng(lesson.seed)
    given = list(labels.given.items())
    pairs = [(fold, int(number)) for fold in folds for number in np.unique(fold.held.image)]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))[:REFINED].tolist()]
    tables = np.zeros((2, len(pairs), K, K))
    total = 0
    for place, (fold, number) in enumerate(pairs):
        path, of = given[number]
        page = album.page_of(path, of)
        rows, cols, classes = _some(of, fold.known, rng)
        at = tuple(
            one * small // large
            for one, small, large in zip((rows, cols), page.superpixels.shape, page.shape, strict=True)
        )
        valid = page.superpixels.labels[at] >= 0
        total += int(valid.sum())
        weights, bias = fold.maps[spread]
        logits = lesson.surroundings(page.graph, page.components) @ weights + bias
        membership = Membership(softmax(scale(logits)))
        work = downsampled(as_image(path, reading=lesson.reading), lesson.working_pixels)
        plain = page.superpixels.to_pixels(membership.labels.astype(np.int32), void=-1)
        refined = segments_of_pixels(refiner, work, page.superpixels, membership)
        for table, found in zip(tables[:, place], (plain, refined), strict=True):
            np.add.at(table, (classes[valid], found[at][valid]), often[classes[valid]])
        if place + 1 == ENOUGH and miou(tables[1]) <= miou(tables[0]):
            tables = tables[:, :ENOUGH]
            break
    more, error = gain(tables[0], tables[1])
    pays = more > error
    before, after = miou(tables[0]), miou(tables[1])
    chosen = other if pays else "none"
    said = (
        f"refiner: {chosen}; by {plural(total, 'held-out label')} the mIoU is {before:.3f} without "
        f"and {after:.3f} with {called}{_unclear(pays, more)}"
    )
    figures = {"labels": total, "images": tables.shape[1], "without": before, "with": after, "error": error}
    return Choice(chosen, said, figures)


def _some(
    given: Given, known: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and classes of at most ``POINTS`` labels of classes that are known."""
    at = np.flatnonzero(known[given.classes])
    at = np.sort(rng.choice(at, min(POINTS, len(at)), replace=False))
    return given.rows[at], given.cols[at], given.classes[at]


def _counted(fold: Fold, often: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) how much each superpixel of a fold counts for each class."""
    held = fold.held
    return np.asarray(held.shares * fold.known * held.weight[:, None] * often)


def best_temperature(folds: Sequence[Fold], spread: bool, often: NDArray[np.float64]) -> float:
    """By what logits are divided so that probabilities are right for labels that were held out, 1 if there are few.

    People label small and large things alike, but most of an image is large things, which are easier. So a label counts
    by how often its class is found for each label that it has, ``often`` (K,), and not by how often it was labelled.
    """
    losses, total = np.zeros(len(TEMPERATURES)), 0.0
    for fold in folds:
        counted, logits = _counted(fold, often), fold.logits(spread)
        for place, temperature in enumerate(TEMPERATURES):
            losses[place] -= (counted * _logarithm(logits / temperature)).sum()
        total += counted.sum()
    return float(TEMPERATURES[losses.argmin()]) if total else 1.0


def best_scale(
    folds: Sequence[Fold], whole: bool, spread: bool, often: NDArray[np.float64], classes: Sequence[str]
) -> Choice:
    """The temperature, and a bias of each class, by which held-out labels together get the highest probability.

    What is labelled most is said too often by a model that was taught by it, and what is easily mistaken for it too
    seldom. The bias (logit adjustment, Menon et al. 2021) is measured and not taken from frequencies, and shrunk, so
    that it is small where few labels speak for it. A class without labels that are held out keeps a bias of 0.

    Parameters
    ----------
    whole, often : as of ``choose_spreading``
    """
    from scipy.optimize import minimize

    plain = Scale(best_temperature(folds, spread, often), np.zeros(len(classes)))
    if not whole or not folds:
        return Choice(plain, "", {})
    logits = np.concatenate([np.where(fold.known, fold.logits(spread), -np.inf) for fold in folds])
    known = np.isfinite(logits)
    logits = np.where(known, logits, 0.0)
    counted = np.concatenate([_counted(fold, often) for fold in folds])
    counted *= len(counted) / counted.sum()
    each, free = counted.sum(axis=1, keepdims=True), counted.any(axis=0)

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        bias = at[1:] * free
        scaled = np.where(known, logits * np.exp(at[0]) + bias, -np.inf)
        scaled -= scaled.max(axis=1, keepdims=True)
        powers = np.exp(scaled)
        sums = powers.sum(axis=1, keepdims=True)
        loss = -(counted * np.where(known, scaled - np.log(sums), 0.0)).sum() + SHRINK * (bias**2).sum()
        slope = each * powers / sums - counted
        slopes = [[(slope * logits).sum() * np.exp(at[0])], (slope.sum(axis=0) + 2 * SHRINK * bias) * free]
        return float(loss), np.concatenate(slopes)

    start = np.concatenate([[-np.log(plain.temperature)], plain.bias])
    # As of ``TEMPERATURES``: labels that are all found would make it as sure as one likes.
    bounds = [(-np.log(TEMPERATURES[-1]), -np.log(TEMPERATURES[0])), *[(None, None)] * len(classes)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    scale = Scale(float(np.exp(-found[0])), found[1:] * free)
    order = np.argsort(scale.bias)
    (low, less), (high, more) = ((classes[at], np.exp(scale.bias[at])) for at in (order[0], order[-1]))
    said = f"the odds of '{high}' are {more:.2f} times those learned, of '{low}' {less:.2f} times"
    figures = {name: round(float(value), 4) for name, value in zip(classes, scale.bias, strict=True)}
    return Choice(scale, f"class bias: by held-out labels, {said}", figures)


def reliability(
    folds: Sequence[Fold], spread: bool, often: NDArray[np.float64], scale: Scale
) -> list[tuple[float, float, float]]:
    """For each bin of probabilities that occurs: its share, the mean probability, and how much of it is right.

    Temperature and bias were chosen by the same labels, so that the curve is a little too good.
    """
    sums = np.zeros((3, BINS))
    for fold in folds:
        counted = _counted(fold, often)
        P = softmax(scale(fold.logits(spread)))
        best, sure, weight = P.argmax(axis=1), P.max(axis=1), counted.sum(axis=1)
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        hit = counted[np.arange(len(best)), best]
        for row, values in enumerate((weight, weight * sure, hit)):
            sums[row] += np.bincount(place, values, BINS)
    occurs = sums[0] > 0
    weight, sure, hit = sums[:, occurs]
    return [
        (float(w), float(s), float(h))
        for w, s, h in zip(weight / weight.sum(), sure / weight, hit / weight, strict=True)
    ]
