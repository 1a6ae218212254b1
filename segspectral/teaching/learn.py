"""Regions of many images and labels of a few -> a ``TaughtModel``.

Labels train a first logistic regression. What it says about regions without labels spreads over the graph of nearest
neighbours in all images (Zhou et al. 2004); from that and from the labels a second one learns, if it then finds more
labels of images that it has not seen. By these its probabilities are calibrated with one temperature (Guo et al. 2017)
and a bias of each class, and the refiner is chosen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from segspectral.teaching.held import (
    Fold,
    Linear,
    Scale,
    Targets,
    best_scale,
    choose_refiner,
    choose_spreading,
    groups,
    reliability,
)
from segspectral.teaching.labels import Labels, read_labels
from segspectral.wording import plural

__all__ = ["learn", "teach"]

STEPS = 20
"""Steps of the spreading. Its influence on later ones is below ``spread`` to this power."""

WAYS = {"auto": (False, True), "always": (True,), "never": (False,)}
"""``Lesson.spreading`` -> whether labels spread, in the ways that are tried."""

MOST = 20_000
"""At most this many superpixels with labels teach: more take minutes and bring little."""

ENOUGH = 1500
"""With labels in this many superpixels, spreading is not tried: on CamVid it gains nothing and takes most of the
time."""

NEVER = -40.0
"""The logit of a class without labels."""


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


def learn(album: Album, labels: Labels, most: int = MOST) -> TaughtModel:
    """Teach an album, whose images have been described; it takes seconds.

    Parameters
    ----------
    most : superpixels with labels; if there are more, they are drawn at random, as many of each image

    Raises
    ------
    SettingsError
        An image with labels is not in the album, or a pixel lies outside its image, or too few labels lie on pixels
        that are not void.
    """
    lesson, said, figures = album.lesson, [], {}
    ways = WAYS[lesson.spreading] if lesson.nodes and lesson.trust else (False,)
    with threadpool_limits(1, user_api="blas"):
        targets, notes = _targets(album, labels, most)
        if len(ways) > 1 and len(targets.rows) > ENOUGH:
            ways = (False,)
            said.append(f"labels do not spread, because they lie in {len(targets.rows)} superpixels")
        folds, whole = _folds(album, targets, ways)
        maps = _taught(album, targets, ways)
        spread = ways[0]
        if len(ways) > 1:
            choice = choose_spreading(folds, whole, _often(album, targets, maps[False]))
            spread, figures["spreading"] = choice.value, choice.figures
            said.append(choice.said)
        weights, bias = maps[spread]
        often = _often(album, targets, maps[spread])
        choice = best_scale(folds, whole, spread, often, labels.classes)
        scale: Scale = choice.value
        if choice.said:
            figures["class_bias"] = choice.figures
            said.append(choice.said)
        refine = lesson.refine
        if refine == "auto":
            choice = choose_refiner(album, labels, folds, whole, spread, often, scale)
            refine, figures["refine"] = choice.value, choice.figures
            said.append(choice.said)
    about = {
        "images": len(album.pages),
        "labelled": len(labels.given),
        "pixels": labels.pixels,
        "regions": len(targets.rows),
        "temperature": scale.temperature,
        "reliability": reliability(folds, spread, often, scale),
        "held_out": figures,
        "chosen": said,
        "notes": notes,
    }
    used = targets.shares.any(axis=0)
    return TaughtModel(
        recipe=lesson.model_copy(update={"refine": refine, "spreading": "always" if spread else "never"}),
        classes=labels.classes,
        projection=album.projection,
        weights=(weights / scale.temperature).astype(np.float32),
        bias=np.where(used, scale(bias), NEVER).astype(np.float32),
        backbone=album.backbone,
        about=about,
        bands=album.bands,
    )


def _targets(album: Album, labels: Labels, most: int) -> tuple[Targets, list[str]]:
    """The superpixels with labels, and sentences about labels that contradict each other or lie on void pixels."""
    K, parts, mixed, void, left = len(labels.classes), [], 0, 0, 0
    rng, quota = np.random.default_rng(album.lesson.seed), max(1, most // len(labels.given))
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
        notes.append(f"{plural(left, 'superpixel')} with labels beyond {most} are left out, drawn at random")
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
    return Targets(rows, shares, weight, image), notes


def _folds(album: Album, targets: Targets, ways: Sequence[bool]) -> tuple[list[Fold], bool]:
    """What is learned without each part of the labels, and whether parts are whole images."""
    group, whole = groups(targets, album.lesson.seed)
    folds = []
    for number in np.unique(group):
        held, rest = targets.part(group == number), targets.part(group != number)
        known = np.asarray(rest.shares.any(axis=0))
        if int(np.count_nonzero(known)) >= 2 and bool((held.shares * known).any()):
            folds.append(Fold(held, known, _taught(album, rest, ways)))
    return folds, whole


def _taught(album: Album, targets: Targets, ways: Sequence[bool]) -> dict[bool, Linear]:
    """Whether labels spread -> the logits, for each of ``ways``: the first pass, the spreading, and the second pass."""
    lesson = album.lesson
    balanced = _balanced(targets.shares * targets.weight[:, None], lesson.balance)
    scale = _evened(album.drawn if len(album.drawn) else targets.rows, lesson.even)
    first = weights, bias = _regression(targets.rows, balanced, lesson.penalty, scale)
    found = {False: first}
    if True in ways:
        start = softmax(album.drawn @ weights + bias).astype(np.float64)
        spread = start
        for _ in range(STEPS):
            spread = lesson.spread * (album.spreading @ spread) + (1 - lesson.spread) * start
        # Each region counts for its most likely class, with more weight the more certain that class is.
        sure = np.zeros_like(spread)
        best = spread.argmax(axis=1)
        sure[np.arange(len(sure)), best] = lesson.trust * spread.max(axis=1) ** 2
        rows = np.concatenate([targets.rows, album.drawn])
        found[True] = _regression(rows, np.concatenate([balanced, sure]), lesson.penalty, scale)
    return found


def _often(album: Album, targets: Targets, map_: Linear) -> NDArray[np.float64]:
    """(K,) how many superpixels of the album are found to be of each class, for each label that it has."""
    weights, bias = map_
    labelled = (targets.shares * targets.weight[:, None]).sum(axis=0)
    found = np.bincount((album.drawn @ weights + bias).argmax(axis=1), minlength=len(labelled))
    return np.asarray(np.maximum(found, 1) / np.maximum(labelled, 1e-12))


def _balanced(shares: NDArray[np.float64], balance: float) -> NDArray[np.float64]:
    """(N, K) weights of the superpixels for each class, in which rare classes count more; their sum stays N."""
    total = shares.sum(axis=0)
    more = shares * np.where(total > 0, total.sum() / np.maximum(total, 1e-12), 0.0) ** balance
    return np.asarray(more * (shares.sum() / more.sum()))


def _evened(rows: NDArray[np.float32], even: float) -> NDArray[np.float32]:
    """(D',) by what each column is multiplied before a regression; the mean squared length of the rows stays.

    >>> rows = np.array([[3, 0.03], [-3, -0.03]], np.float32)
    >>> for even in (0, 0.5, 1):
    ...     print((np.ptp(rows, axis=0) * _evened(rows, even)).round(2))
    [6.   0.06]
    [5.97 0.6 ]
    [4.24 4.24]
    """
    wide = rows.astype(np.float64)
    deviation = wide.std(axis=0) / max(wide.std(axis=0).max(), 1e-12)
    # What never changes, as the mean over the whole of a single image, is left as it is.
    factor = np.where(deviation > 1e-6, deviation, 1.0) ** -even
    return (factor * np.sqrt((wide**2).sum() / max(((wide * factor) ** 2).sum(), 1e-12))).astype(np.float32)


def _regression(
    rows: NDArray[np.float32], weight: NDArray[np.float64], penalty: float, scale: NDArray[np.float32]
) -> Linear:
    """The weights (D', K) and bias (K,) of a logistic regression; row i is of class k with the weight (i, k).

    Columns are multiplied by ``scale`` (D',) first: the penalty bears less on those that have become larger.
    """
    from sklearn.linear_model import LogisticRegression

    row, of = np.nonzero(weight)
    used, target = np.unique(of, return_inverse=True)
    if len(used) < 2:
        raise SettingsError("labels of two classes are needed")
    found = LogisticRegression(C=1 / penalty, max_iter=200, tol=1e-3)
    found.fit((rows[row] * scale).astype(np.float64), target, sample_weight=weight[row, of])
    # Of two classes scikit-learn keeps one row, the logit of the second against the first.
    coefficients, intercept = (
        (value if len(used) > 2 else np.concatenate([-value / 2, value / 2]))
        for value in (found.coef_, found.intercept_)
    )
    weights, bias = np.zeros((rows.shape[1], weight.shape[1])), np.full(weight.shape[1], NEVER)
    weights[:, used], bias[used] = coefficients.T * scale[:, None], intercept
    return weights, bias
