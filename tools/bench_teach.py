#!/usr/bin/env python3
"""Classes from a few labels, against what people build by hand: mIoU, calibration, and seconds of process time.

    tools/bench_teach.py clicks  [--data DATA] [--draws 5] [--images 10] [--each 20]
    tools/bench_teach.py all     [--draws 5] [--images 10]
    tools/bench_teach.py voc     [--draws 5]
    tools/bench_teach.py aerial  [--draws 5] [--each 30]
    tools/bench_teach.py suggest [--draws 5]
    tools/bench_teach.py time

DATA holds camvid, voc2012 and aerial; default: $SEGSPECTRAL_DATA, else ../shared/data. Labels are taken from the
truths as a person would give them: a click is at a random pixel of a class that is drawn at random among those of the
image. All methods of a draw get the same clicks, and are scored on pixels without a refiner; the rows "with the
CRF" are of the first draw alone.

clicks: the peers are scikit-image's recipe for trainable segmentation, a random forest on multiscale_basic_features at
the clicked pixels, and the same forest on the statistics of our superpixels (colour, texture, position, CNN).
all: all labels of the images; the peer is a linear model on the CNN's maps, upsampled to pixels.
voc: every second image of VOC 2012's list; up to 20 images for each class, one click in each object and one in the
background; the other images are scored.
aerial: each tile of LoveDA is scored by clicks in the others; the peer is a forest on the means of the bands of our
superpixels.
suggest: a draw is a folder of 34 images of CamVid, all of which are scored. Rounds of five images end at 10, 20, 40 and
80 clicks at random, and at 6, 12, 24 and 48 that `suggest` chose; a click on void is spent. The peers are random places
of five random images, random places of any images, and places of classes that are drawn at random among those of five
random images, as somebody would choose them who knows the classes.
time: 96 images with 2000 clicks, and teaching again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segspectral.cli.teach import said_of_reliability
from segspectral.evaluation.datasets import open_dataset
from segspectral.evaluation.datasets.samples import Sample
from segspectral.images.reader import read_image
from segspectral.metrics.semantic import ClassCounts
from segspectral.pipeline import Pipeline
from segspectral.resolution import downsampled
from segspectral.shared.model import Parts
from segspectral.shared.taught import Lesson, TaughtModel
from segspectral.superpixels import Slic
from segspectral.teaching import Album, Labels
from segspectral.teaching.album import Described, describe
from segspectral.teaching.labels import Given
from segspectral.teaching.learn import learn
from segspectral.teaching.places import IMAGES, suggest
from segspectral.teaching.shelf import Shelf
from segspectral.values import Superpixels

Clicks = dict[int, NDArray[np.int64]]
"""Number of an image -> (P, 3) row, column, class."""

BINS = 15

SHELF: list[Callable[[Path], Described]] = []
"""What describes images, set by ``main``."""


@dataclass(eq=False)
class Item:
    """An image with its truth; ``void`` is 255."""

    path: Path
    truth: NDArray[np.int64]

    @cached_property
    def described(self) -> tuple[Parts, Superpixels, NDArray[np.int64]]:
        """Features, superpixels, and the superpixel of each pixel of the truth."""
        one = SHELF[0](self.path)
        at = (np.arange(f) * c // f for f, c in zip(self.truth.shape, one.superpixels.shape, strict=True))
        return one.parts, one.superpixels, one.superpixels.labels[np.ix_(*at)].astype(np.int64)

    @cached_property
    def maps(self) -> NDArray[np.float32]:
        """(H, W, C) the CNN's maps, upsampled to pixels."""
        import cv2

        cnn = Lesson().features.cnn
        assert cnn is not None
        image = read_image(self.path)
        maps, _ = cnn.load().activations(image.float32)
        deepest = {one.stride: one.values for one in maps}
        size = image.shape[::-1]
        found = [deepest[s] for s in cnn.strides if s in deepest]
        return np.concatenate([np.stack([cv2.resize(m, size) for m in _channels(one)], -1) for one in found], -1)


def _channels(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, h, w) from a map (h, w, C)."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def draw(items: Sequence[Item], chosen: Sequence[int], each: int, rng: np.random.Generator) -> Clicks:
    """Clicks in some images: a class of the image at random, then a pixel of it at random."""
    clicks = {}
    for number in chosen:
        truth = items[number].truth
        present = [c for c in np.unique(truth).tolist() if c != 255]
        found = []
        for _ in range(each):
            of = int(rng.choice(present))
            at = int(rng.choice(np.flatnonzero(truth == of)))
            found.append((*divmod(at, truth.shape[1]), of))
        clicks[number] = np.array(found)
    return clicks


def as_labels(items: Sequence[Item], clicks: Clicks, classes: int) -> Labels:
    given = {items[n].path: Given(*(c.T.astype(np.int64)), source="drawn") for n, c in clicks.items()}  # type: ignore[misc]
    return Labels(tuple(f"class {c}" for c in range(classes)), given)


def scored(
    items: Sequence[Item], classes: int, predict: Callable[[Item], NDArray[np.int64]]
) -> tuple[float, list[float]]:
    """mIoU over classes that occur in the truths, and the IoU of each class."""
    pixels = np.zeros((classes + 1, classes), np.int64)
    for item in items:
        known = item.truth != 255
        np.add.at(pixels, (predict(item)[known], item.truth[known]), 1)
    counts = ClassCounts(pixels, len(items))
    return counts.scores()["miou_present"], np.round(counts.iou(), 3).tolist()


def taught(model: TaughtModel) -> Callable[[Item], NDArray[np.int64]]:
    def predict(item: Item) -> NDArray[np.int64]:
        parts, _, pixels = item.described
        return model.probabilities(model.described(parts)).argmax(axis=1)[pixels]

    return predict


def refined(model: TaughtModel) -> Callable[[Item], NDArray[np.int64]]:
    pipeline = Pipeline(model=model, refine="crf")
    return lambda item: pipeline(item.path).labels.astype(np.int64) - 1


def calibration(model: TaughtModel, items: Sequence[Item]) -> float:
    """The expected calibration error of pixels, in ``BINS`` bins (Guo et al. 2017)."""
    sums = np.zeros((3, BINS))
    for item in items:
        parts, _, of = item.described
        P = model.probabilities(model.described(parts))
        known = item.truth != 255
        sure, hit = P.max(axis=1)[of[known]], P.argmax(axis=1)[of[known]] == item.truth[known]
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        for row, values in enumerate((np.ones(len(sure)), sure, hit)):
            sums[row] += np.bincount(place, values, BINS)
    return float(np.abs(sums[1] - sums[2]).sum() / sums[0].sum())


def forest(rows: NDArray[Any], of: NDArray[np.int64], trees: int = 200, **settings: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, random_state=0, n_jobs=1, **settings).fit(rows, of)


def pixel_forest(items: Sequence[Item], clicks: Clicks) -> Callable[[Item], NDArray[np.int64]]:
    """scikit-image's recipe: its features at the clicked pixels, and its forest, which sees all of these few clicks."""
    from skimage.feature import multiscale_basic_features

    def features(item: Item) -> NDArray[np.float32]:
        return multiscale_basic_features(
            read_image(item.path).uint8,
            intensity=True,
            edges=False,
            texture=True,
            sigma_min=1,
            sigma_max=16,
            channel_axis=-1,
        )

    rows = [features(items[n])[c[:, 0], c[:, 1]] for n, c in clicks.items()]
    made = forest(np.concatenate(rows), np.concatenate([c[:, 2] for c in clicks.values()]), 50, max_depth=10)

    def predict(item: Item) -> NDArray[np.int64]:
        found = features(item)
        return np.asarray(made.predict(found.reshape(-1, found.shape[-1])).reshape(item.truth.shape), np.int64)

    return predict


def region_forest(
    items: Sequence[Item], clicks: Clicks, rows: Callable[[Item], NDArray[np.float32]]
) -> Callable[[Item], NDArray[np.int64]]:
    """A forest on statistics of the superpixels that are clicked."""
    found = [rows(items[n])[items[n].described[2][c[:, 0], c[:, 1]]] for n, c in clicks.items()]
    made = forest(np.concatenate(found), np.concatenate([c[:, 2] for c in clicks.values()]))
    return lambda item: made.predict(rows(item)).astype(np.int64)[item.described[2]]


def statistics(item: Item) -> NDArray[np.float32]:
    return item.described[0].rows


def band_means(item: Item) -> NDArray[np.float32]:
    image = downsampled(read_image(item.path), Lesson().working_pixels)
    return np.asarray(item.described[1].pool(image.float32), np.float32)


def linear(
    items: Sequence[Item], chosen: Sequence[int], rng: np.random.Generator
) -> Callable[[Item], NDArray[np.int64]]:
    """A logistic regression on the CNN's upsampled maps at 20 000 pixels."""
    from sklearn.linear_model import LogisticRegression

    rows, of = [], []
    for n in chosen:
        at = rng.choice(np.flatnonzero(items[n].truth != 255), 20_000 // len(chosen), replace=False)
        maps = items[n].maps
        rows.append(maps.reshape(-1, maps.shape[-1])[at])
        of.append(items[n].truth.reshape(-1)[at])
        del items[n].maps
    X = np.concatenate(rows)
    shift, scale = X.mean(axis=0), X.std(axis=0) + 1e-6
    made = LogisticRegression(C=0.01, max_iter=200).fit((X - shift) / scale, np.concatenate(of))

    def predict(item: Item) -> NDArray[np.int64]:
        maps = item.maps
        del item.maps
        found = made.predict((maps.reshape(-1, maps.shape[-1]) - shift) / scale)
        return np.asarray(found.reshape(item.truth.shape), np.int64)

    return predict


class Table:
    """Rows of a method's numbers over the draws."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.rows.setdefault(name, []).append(value)
        print(f"  {name}: {value:.4f}", flush=True)

    def end(self) -> None:
        for name, values in self.rows.items():
            print(f"{name:45s} {np.mean(values):.3f} +- {np.std(values):.3f}  {np.round(values, 3).tolist()}")


def data_set(name: str, root: Path, split: str) -> tuple[list[Item], int]:
    data = open_dataset(name, root, split=split)
    return [_item(sample, data.void) for sample in data.samples], len(data.classes)


def _item(sample: Sample, void: int | None) -> Item:
    truth = sample.truth().labels[0].astype(np.int64)
    return Item(sample.image, np.where(truth == void, 255, truth))


def album_of(items: Sequence[Item], settings: dict[str, Any]) -> Album:
    """The folder, described once; labels are drawn later, so all images are kept."""
    paths = [item.path for item in items]
    return Album.of(paths, Lesson.model_validate(settings), first=paths, described=SHELF[0])


def clicks_or_all(arguments: argparse.Namespace, everything: bool) -> None:
    root = arguments.data / "camvid"
    (train, classes), (val, _) = data_set("camvid", root, "train"), data_set("camvid", root, "val")
    if arguments.within:
        train = val
    begin = time.process_time()
    album = album_of(train, arguments.settings)
    print(f"describing: {(time.process_time() - begin) / len(train):.2f} s of process time an image", flush=True)
    table = Table()
    for number in range(arguments.draws):
        rng = np.random.default_rng(100 + number)
        chosen = rng.choice(len(train), arguments.images, replace=False).tolist()
        if arguments.within:
            val = [item for n, item in enumerate(train) if n not in chosen]
        clicks = draw(train, chosen, arguments.each, rng)
        if everything:
            clicks = {n: np.argwhere(train[n].truth != 255) for n in chosen}
            clicks = {n: np.c_[at, train[n].truth[at[:, 0], at[:, 1]]] for n, at in clicks.items()}
        begin = time.process_time()
        model = learn(album, as_labels(train, clicks, classes))
        table.add("seconds of process time to teach", time.process_time() - begin)
        print("   ", *model.about["chosen"], said_of_reliability(model.about["reliability"]), sep="\n    ")
        value, each = scored(val, classes, taught(model))
        table.add("taught", value)
        print("   ", each)
        table.add("calibration error", calibration(model, val))
        bias = model.about["held_out"].get("class_bias", {})
        shift = np.array([bias.get(name, 0) for name in model.classes], np.float32)
        plain = replace(model, bias=model.bias - shift)
        table.add("without the class bias", scored(val, classes, taught(plain))[0])
        table.add("calibration error without the class bias", calibration(plain, val))
        if number == 0 and not arguments.quick:
            begin = time.process_time()
            table.add("taught, with the CRF", scored(val, classes, refined(model))[0])
            table.add("seconds of process time an image, with the CRF", (time.process_time() - begin) / len(val))
        if everything:
            table.add("linear model on upsampled CNN maps", scored(val, classes, linear(train, chosen, rng))[0])
        else:
            table.add(
                "forest on statistics of superpixels", scored(val, classes, region_forest(train, clicks, statistics))[0]
            )
            if not arguments.quick:
                pixels = scored(val, classes, pixel_forest(train, clicks))[0]
                table.add("forest on pixel features (scikit-image)", pixels)
    table.end()


def voc(arguments: argparse.Namespace) -> None:
    items, classes = data_set("voc", arguments.data / "voc2012", "train")
    train, held = items[::2], items[1::2]
    album = album_of(train, arguments.settings)
    table = Table()
    for number in range(arguments.draws):
        rng = np.random.default_rng(100 + number)
        chosen: set[int] = set()
        for of in range(1, classes):
            having = [n for n, item in enumerate(train) if (item.truth == of).any()]
            chosen |= set(rng.permutation(having)[:20].tolist())
        clicks = {}
        for n in sorted(chosen):
            truth, found = train[n].truth, []
            for of in np.unique(truth[truth != 255]).tolist():
                pieces, count = ndimage.label(truth == of) if of else ((truth == 0).astype(int), 1)
                for piece in range(1, count + 1):
                    inside = np.flatnonzero(pieces == piece)
                    if len(inside) >= 100:
                        found.append((*divmod(int(rng.choice(inside)), truth.shape[1]), of))
            clicks[n] = np.array(found)
        print(f"{len(chosen)} images, {sum(map(len, clicks.values()))} clicks", flush=True)
        model = learn(album, as_labels(train, clicks, classes))
        value, each = scored(held, classes, taught(model))
        table.add("taught", value)
        print("   ", each)
        table.add("calibration error", calibration(model, held))
    table.end()


def aerial(arguments: argparse.Namespace) -> None:
    root = arguments.data / "aerial" / "loveda"
    items = []
    for path in sorted((root / "img_dir").rglob("*.png")):
        mask = next((root / "ann_dir").rglob(path.name))
        truth = _plain_mask(mask)
        items.append(Item(path, np.where(truth == 0, 255, truth - 1)))
    table = Table()
    for number in range(arguments.draws):
        rng = np.random.default_rng(100 + number)
        for left, item in enumerate(items):
            others = [i for i in range(len(items)) if i != left]
            places = [(n, at, int(items[n].truth.reshape(-1)[at])) for n in others for at in _some(items[n].truth, rng)]
            clicks: Clicks = {}
            for of in range(7):
                here = [place for place in places if place[2] == of]
                for k in rng.permutation(len(here))[: arguments.each].tolist():
                    n, at, _ = here[k]
                    row = np.array([[*divmod(at, items[n].truth.shape[1]), of]])
                    clicks[n] = np.concatenate([clicks.get(n, np.empty((0, 3), np.int64)), row])
            paths = [one.path for one in items]
            lesson = Lesson.model_validate(arguments.settings)
            album = Album.of(paths, lesson, first=[items[n].path for n in clicks], described=SHELF[0])
            model = learn(album, as_labels(items, clicks, 7))
            table.add(f"taught, without {item.path.stem}", scored([item], 7, taught(model))[0])
            forest_of = region_forest(items, clicks, band_means)
            table.add(f"forest on band means, without {item.path.stem}", scored([item], 7, forest_of)[0])
    table.end()


PLACES = (10, 20, 40, 80)
"""Clicks at random after each round."""

SHARE = 0.6
"""So many of them are suggested."""

FOLDER = 34
"""Images of a draw."""


def suggestions(arguments: argparse.Namespace) -> None:
    root = arguments.data / "camvid"
    (train, classes), (val, _) = data_set("camvid", root, "train"), data_set("camvid", root, "val")
    items = [*train, *val]
    # Each folder of a draw has as many regions in its graph as the default would give it.
    settings = {**arguments.settings, "nodes": Lesson().nodes * len(items) // FOLDER}
    whole = album_of(items, settings)
    print(f"{len(items)} images are described", flush=True)
    table = Table()
    for number in range(arguments.draws):
        rng = np.random.default_rng(100 + number)
        part = [items[n] for n in np.sort(rng.choice(len(items), FOLDER, replace=False))]
        album = replace(whole, pages={item.path: whole.pages[item.path] for item in part})
        for name, choose in WAYS.items():
            _rounds(table, name, choose, _Draw(part, album, classes, rng))
    table.end()


class _Draw(NamedTuple):
    """A folder whose images are labelled."""

    items: Sequence[Item]
    album: Album
    classes: int
    rng: np.random.Generator


Places = list[tuple[int, int, int]]
"""The number of the image, the row and the column of each."""


def _rounds(
    table: Table,
    name: str,
    choose: Callable[[_Draw, Labels | None, TaughtModel | None, int], Places],
    draw: _Draw,
) -> None:
    """mIoU after each round; ``choose`` gives this many further places."""
    given: Clicks = {}
    labels, model, done = None, None, 0
    for count in PLACES:
        end = round(SHARE * count) if choose is _suggested else count
        for n, row, col in choose(draw, labels, model, end - done):
            of = int(draw.items[n].truth[row, col])
            if of != 255:
                given[n] = np.concatenate([given.get(n, np.empty((0, 3), np.int64)), [[row, col, of]]])
        done = end
        labels = as_labels(draw.items, given, draw.classes)
        model = learn(draw.album, labels)
        table.add(f"{name}, {end}", scored(draw.items, draw.classes, of_album(model, draw.album))[0])


def of_album(model: TaughtModel, album: Album) -> Callable[[Item], NDArray[np.int64]]:
    """What the model says of an image of an album, whose features are known."""

    def predict(item: Item) -> NDArray[np.int64]:
        page = album.pages[item.path]
        rows = album.lesson.surroundings(page.graph, page.components)
        height, width = item.truth.shape
        places = (np.arange(height)[:, None], np.arange(width)[None])
        return (rows @ model.weights + model.bias).argmax(axis=1)[page.superpixel(*places)]

    return predict


def _suggested(draw: _Draw, labels: Labels | None, model: TaughtModel | None, count: int) -> Places:
    number = {item.path: n for n, item in enumerate(draw.items)}
    return [(number[p.image], p.row, p.col) for p in suggest(draw.album, labels, model, clicks=count)]


def _random_places(draw: _Draw, _: Labels | None, __: TaughtModel | None, count: int) -> Places:
    opened = draw.rng.choice(len(draw.items), IMAGES, replace=False)
    return [_place(draw, int(opened[place % IMAGES])) for place in range(count)]


def _random_anywhere(draw: _Draw, _: Labels | None, __: TaughtModel | None, count: int) -> Places:
    return [_place(draw, int(draw.rng.integers(len(draw.items)))) for ___ in range(count)]


def _random_classes(drawn: _Draw, _: Labels | None, __: TaughtModel | None, count: int) -> Places:
    opened = drawn.rng.choice(len(drawn.items), IMAGES, replace=False).tolist()
    each = draw(drawn.items, opened, -(-count // IMAGES), drawn.rng)
    return [(n, int(found[k, 0]), int(found[k, 1])) for k in range(-(-count // IMAGES)) for n, found in each.items()][
        :count
    ]


WAYS = {
    "suggested": _suggested,
    "random places of five images": _random_places,
    "random places of any images": _random_anywhere,
    "random classes of five images": _random_classes,
}


def _place(draw: _Draw, image: int) -> tuple[int, int, int]:
    height, width = draw.items[image].truth.shape
    return image, int(draw.rng.integers(height)), int(draw.rng.integers(width))


def _some(truth: NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Up to 1000 pixels of each class."""
    found: list[int] = []
    for of in np.unique(truth[truth != 255]).tolist():
        found += rng.permutation(np.flatnonzero(truth == of))[:1000].tolist()
    return found


def _plain_mask(path: Path) -> NDArray[np.int64]:
    import PIL.Image

    with PIL.Image.open(path) as picture:
        return np.asarray(picture).astype(np.int64)


def seconds(arguments: argparse.Namespace) -> None:
    root = arguments.data / "camvid"
    (train, classes), (val, _) = data_set("camvid", root, "train"), data_set("camvid", root, "val")
    items = [*train, *val]
    begin, clock = time.process_time(), time.perf_counter()
    album = album_of(items, arguments.settings)
    print(f"describing {len(items)} images: {time.process_time() - begin:.1f} s of process time")
    labels = as_labels(items, draw(items, range(len(items)), 21, np.random.default_rng(0)), classes)
    for what in ("teaching", "teaching again"):
        begin, clock = time.process_time(), time.perf_counter()
        learn(album, labels)
        spent = time.process_time() - begin
        print(f"{what}, {labels.pixels} clicks: {spent:.1f} s of process time, {time.perf_counter() - clock:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["clicks", "all", "voc", "aerial", "suggest", "time"])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--within", action="store_true", help="the folder is CamVid's val; its other images are scored")
    parser.add_argument("--quick", action="store_true", help="clicks: without the CRF, and without the pixel forest")
    parser.add_argument("--spreading", choices=["auto", "always", "never"], default="auto")
    parser.add_argument("--superpixels", type=int, default=Lesson().superpixels.count)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting of the lesson")
    parser.add_argument("--shelf", type=Path, help="a folder that keeps described images for the next run")
    arguments = parser.parse_args()
    arguments.settings = {"superpixels": Slic(count=arguments.superpixels), "spreading": arguments.spreading}
    for name, value in (one.split("=", 1) for one in arguments.set):
        arguments.settings[name] = json.loads(value)
    if arguments.what not in ("clicks", "time"):
        arguments.settings["refine"] = "none"  # all is scored without one, and to choose takes time
    lesson = Lesson(superpixels=arguments.settings["superpixels"])  # nothing else changes what is described
    SHELF.append(Shelf(arguments.shelf, lesson) if arguments.shelf else partial(describe, lesson=lesson))
    if arguments.what in ("clicks", "all"):
        clicks_or_all(arguments, arguments.what == "all")
    else:
        {"voc": voc, "aerial": aerial, "suggest": suggestions, "time": seconds}[arguments.what](arguments)


if __name__ == "__main__":
    main()
