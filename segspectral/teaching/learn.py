"""Regions of many images and labels of a few -> a ``TaughtModel``.

Labels train a first logistic regression. What it says about regions without labels spreads over the graph of nearest
neighbours in all images (Zhou et al. 2004); from that and from the labels a second one learns. Its probabilities are
calibrated by one temperature (Guo et al. 2017) on labels of images that it has not seen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segspectral.errors import SettingsError
from segspectral.images.finding import find_images
from segspectral.settings import with_settings
from segspectral.shared.taught import Lesson, TaughtModel, softmax
from segspectral.teaching.album import Album
from segspectral.teaching.labels import Labels, read_labels
from segspectral.wording import plural

__all__ = ["learn", "teach"]

STEPS = 20
"""Steps of the spreading. Its influence on later ones is below ``spread`` to this power."""

FOLDS = 3
"""Parts of the labels, each of which is held out once for the temperature."""

TEMPERATURES = np.geomspace(0.25, 8, 61)

MOST = 20_000
"""From so many superpixels with labels at most is learned: more take minutes and bring little."""

NEVER = -40.0
"""The logit of a class of which nothing is labelled."""


def teach(
    folder: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Labels,
    *,
    names: Mapping[int, str] | None = None,
    recursive: bool = False,
    **settings: Any,
) -> TaughtModel:
    """Learn classes from labels of a few pixels of a folder's images.

    Parameters
    ----------
    folder : a folder of images, or a list of images
    labels : what ``read_labels`` reads, one or several, or ``Labels``
    names : number -> class, for label images
    recursive : whether subfolders are searched
    settings : fields of ``Lesson``, such as ``unknown=0.5``

    Returns
    -------
    A model: ``model.save("classes.safetensors")`` writes it, ``segspectral.segment(image, model=model)`` applies it.

    Raises
    ------
    ImageError, SettingsError, BackboneError
    """
    images = find_images([folder] if isinstance(folder, str | os.PathLike) else folder, recursive=recursive)
    lesson = with_settings(Lesson(), settings) if settings else Lesson()
    if isinstance(labels, str | os.PathLike):
        labels = [labels]
    known = labels if isinstance(labels, Labels) else read_labels([Path(one) for one in labels], images, names)
    return learn(Album.of(images, lesson, first=list(known.given)), known)


@dataclass(frozen=True, eq=False)
class _Targets:
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

    def part(self, chosen: NDArray[np.bool_]) -> _Targets:
        return _Targets(self.rows[chosen], self.shares[chosen], self.weight[chosen], self.image[chosen])


def learn(album: Album, labels: Labels) -> TaughtModel:
    """Teach an album, whose images have been described; it takes seconds.

    Raises
    ------
    SettingsError
        An image with labels is not in the album, or a pixel lies outside its image, or too few labels lie on pixels
        that are not void.
    """
    with threadpool_limits(1, user_api="blas"):
        targets, notes = _targets(album, labels)
        weights, bias = _taught(album, targets)
        found = np.bincount((album.drawn @ weights + bias).argmax(axis=1), minlength=len(labels.classes))
        temperature = _temperature(album, targets, found)
    about = {
        "images": len(album.pages),
        "labelled": len(labels.given),
        "pixels": labels.pixels,
        "regions": len(targets.rows),
        "temperature": temperature,
        "notes": notes,
    }
    used = targets.shares.any(axis=0)
    return TaughtModel(
        recipe=album.lesson,
        classes=labels.classes,
        projection=album.projection,
        weights=(weights / temperature).astype(np.float32),
        bias=np.where(used, bias / temperature, NEVER).astype(np.float32),
        backbone=album.backbone,
        about=about,
        bands=album.bands,
    )


def _targets(album: Album, labels: Labels) -> tuple[_Targets, list[str]]:
    """The superpixels with labels, and sentences about labels that contradict each other or lie on void pixels."""
    K, parts, mixed, void, left = len(labels.classes), [], 0, 0, 0
    rng, quota = np.random.default_rng(album.lesson.seed), max(1, MOST // len(labels.given))
    for number, (path, given) in enumerate(labels.given.items()):
        page = album.page_of(path, given)
        of = page.superpixels_of(given)
        void += int((of < 0).sum())
        counts = np.zeros((len(page.graph), K))
        np.add.at(counts, (of[of >= 0], given.classes[of >= 0]), 1)
        node = np.flatnonzero(counts.any(axis=1))
        if not len(node):
            continue
        left += max(0, len(node) - quota)
        node = np.sort(rng.choice(node, min(quota, len(node)), replace=False))
        counts = counts[node]
        mixed += int(((counts > 0).sum(axis=1) > 1).sum())
        total = counts.sum(axis=1)
        # A few pixels that a stroke or polygon has beyond its border count less than superpixels that it fills.
        weight = np.minimum(total / np.median(total), 1)
        rows = album.lesson.surroundings(page.graph, page.components)[node]
        parts.append((rows, counts / total[:, None], weight, np.full(len(node), number)))
    notes = []
    if left:
        notes.append(f"{plural(left, 'superpixel')} with labels beyond {MOST} are left out, drawn at random")
    if mixed:
        count = plural(mixed, "superpixel has", "superpixels have")
        notes.append(f"{count} labels of several classes, which count in proportion to their pixels")
    if void:
        notes.append(
            f"{plural(void, 'label lies', 'labels lie')} on void pixels and {'does' if void == 1 else 'do'} not count"
        )
    if not parts or np.count_nonzero(sum(shares.sum(axis=0) for _, shares, *_ in parts)) < 2:
        raise SettingsError("fewer than two classes are left of the labels, because the others lie on void pixels")
    rows, shares, weight, image = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Targets(rows, shares, weight, image), notes


def _taught(album: Album, targets: _Targets) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(D', K) weights and (K,) bias: the first pass, the spreading, and the second pass."""
    lesson = album.lesson
    balanced = _balanced(targets.shares * targets.weight[:, None], lesson.balance)
    weights, bias = _regression(targets.rows, balanced, lesson.penalty)
    if not lesson.nodes or not lesson.trust:
        return weights, bias
    start = softmax(album.drawn @ weights + bias).astype(np.float64)
    spread = start
    for _ in range(STEPS):
        spread = lesson.spread * (album.spreading @ spread) + (1 - lesson.spread) * start
    # Each region counts for the class that it most likely has, the more the surer that is.
    sure = np.zeros_like(spread)
    best = spread.argmax(axis=1)
    sure[np.arange(len(sure)), best] = lesson.trust * spread.max(axis=1) ** 2
    rows = np.concatenate([targets.rows, album.drawn])
    return _regression(rows, np.concatenate([balanced, sure]), lesson.penalty)


def _balanced(shares: NDArray[np.float64], balance: float) -> NDArray[np.float64]:
    """(N, K) weights of the superpixels for each class, in which rare classes count more; their sum stays N."""
    total = shares.sum(axis=0)
    more = shares * np.where(total > 0, total.sum() / np.maximum(total, 1e-12), 0.0) ** balance
    return np.asarray(more * (shares.sum() / more.sum()))


def _regression(
    rows: NDArray[np.float32], weight: NDArray[np.float64], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights (D', K) and bias (K,) of a logistic regression; row i is of class k with the weight (i, k)."""
    from sklearn.linear_model import LogisticRegression

    row, of = np.nonzero(weight)
    used, target = np.unique(of, return_inverse=True)
    if len(used) < 2:
        raise SettingsError("labels of two classes are needed")
    found = LogisticRegression(C=1 / penalty, max_iter=200, tol=1e-3)
    found.fit(rows[row].astype(np.float64), target, sample_weight=weight[row, of])
    # Of two classes scikit-learn keeps one row, the logit of the second against the first.
    coefficients, intercept = (
        (value if len(used) > 2 else np.concatenate([-value / 2, value / 2]))
        for value in (found.coef_, found.intercept_)
    )
    weights, bias = np.zeros((rows.shape[1], weight.shape[1])), np.full(weight.shape[1], NEVER)
    weights[:, used], bias[used] = coefficients.T, intercept
    return weights, bias


def _temperature(album: Album, targets: _Targets, found: NDArray[np.int64]) -> float:
    """By what logits are divided so that probabilities are right for labels that were held out, 1 if there are few.

    People label small and large things alike, but most of an image is large things, which are easier. So a label counts
    by how often its class is found, ``found`` (K,), and not by how often it was labelled.
    """
    labelled = (targets.shares * targets.weight[:, None]).sum(axis=0)
    often = np.maximum(found, 1) / np.maximum(labelled, 1e-12)
    images = np.unique(targets.image)
    rng = np.random.default_rng(album.lesson.seed)
    # Superpixels of one image are alike, so whole images are held out if there are enough.
    group = rng.permutation(len(images))[np.searchsorted(images, targets.image)] % FOLDS
    if len(images) < FOLDS:
        group = rng.permutation(len(targets.rows)) % FOLDS
    losses, total = np.zeros(len(TEMPERATURES)), 0.0
    for fold in range(FOLDS):
        held, rest = targets.part(group == fold), targets.part(group != fold)
        known = rest.shares.any(axis=0)
        shares = held.shares * known * held.weight[:, None] * often
        if np.count_nonzero(known) < 2 or not shares.any():
            continue
        weights, bias = _taught(album, rest)
        logits = held.rows @ weights + bias
        for place, temperature in enumerate(TEMPERATURES):
            losses[place] -= (shares * np.log(np.maximum(softmax(logits / temperature), 1e-12))).sum()
        total += shares.sum()
    return float(TEMPERATURES[losses.argmin()]) if total else 1.0
