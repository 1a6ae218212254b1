#!/usr/bin/env python3
"""Fit the strength of the last merges on BSDS500 train, and write it to segspectral/features/weights/merging.json.

    tools/fit_merging.py RUN0 RUN1 --data DATA [--limit 200] [--rounds 3]

RUN0 and RUN1 are folders of ``tools/fit_network.py --fold 0`` and ``--fold 1``, as for ``tools/fit_contours.py``; run
it after that program, and ``tools/fit_level.py`` after it.

Each round merges the regions of every image, first by the boundary probabilities alone and then by the weights of the
round before. The regression learns from all merges of all rounds, as in GALA (Nunez-Iglesias et al. 2013): the target
is the share of people who put most of the two regions into different ones, and a merge has the weight of the root of
the smaller region's share of the image.

The weights are then scaled so that a level leaves about as many regions as one by the boundary probabilities alone.

Two columns are printed: the covering at the best level for all images, and at the best level of each. The weights of
the learned rows come from the other half of the images.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fit_contours import Network
from fit_level import Coverings, best_level, covered_at, coverings, oracle, votes
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.values.merging import CUES, LATE, Logistic, Strength, late_merges
from segspectral.values.regions import SWEEP_LEVELS, RegionGraph, build_hierarchy, first_merges

Floats = NDArray[np.float64]


class Drawn(NamedTuple):
    """A region graph, and for each human map how many pixels each leaf (rows) has of each region (columns)."""

    graph: RegionGraph
    people: list[Floats]


def by_boundary(cues: Floats) -> Floats:
    """The strength of ``build_hierarchy`` for graphs without looks, from the cues."""
    mean, area = cues[:, CUES.index("boundary")], cues[:, CUES.index("area_smaller")]
    return np.asarray(np.exp(0.1 * area) / (1 + np.exp(-mean)))


def merged_by(strength: Strength, image: Drawn) -> tuple[Floats, Floats, Floats]:
    """The cues of the last merges by a strength, the shares of people who would not do them, and the weights."""
    first = first_merges(image.graph, fewest=LATE)
    merges, *_ = late_merges(first.regions(image.graph), first.label, strength)
    regions = first.regions(image.graph)
    people = [np.zeros((len(first.left), table.shape[1])) for table in image.people]
    for total, table in zip(people, image.people, strict=True):
        np.add.at(total, regions.region, table)
    cues, apart, weights = [], [], []
    for i, j in merges:
        cues.append(regions.cues(np.array([i]), np.array([j]))[0])
        apart.append(np.mean([total[i].argmax() != total[j].argmax() for total in people]))
        weights.append(np.sqrt(min(regions.area[i], regions.area[j]) / regions.whole))
        regions.join(i, j)
        for total in people:
            total[i] += total[j]
    return np.array(cues), np.array(apart), np.array(weights)


def fit(images: list[Drawn], rounds: int) -> Logistic:
    """Merge by boundaries, then by what was learnt from all merges before."""
    strength: Strength = by_boundary
    rows: list[tuple[Floats, Floats, Floats]] = []
    for _ in range(rounds):
        rows += [merged_by(strength, image) for image in images]
        cues, apart, weight = (np.concatenate(part) for part in zip(*rows, strict=True))
        mean, scale = cues.mean(axis=0), cues.std(axis=0)
        scaled = (cues - mean) / scale
        weight = weight / weight.mean()
        # A merge that a share y of people would not do counts y times as a border and 1 - y times as none.
        model = LogisticRegression(max_iter=1000).fit(
            np.concatenate([scaled, scaled]),
            np.repeat([1, 0], len(scaled)),
            sample_weight=np.concatenate([apart * weight, (1 - apart) * weight]),
        )
        weights = np.round(model.coef_[0] / scale, 5)
        strength = Logistic(round(float(model.intercept_[0] - weights @ mean), 5), weights)
    assert isinstance(strength, Logistic)
    return on_scale(strength, images)


def on_scale(strength: Logistic, images: list[Drawn]) -> Logistic:
    """The same order of merges, on the scale of ``by_boundary``: at a level, images have about as many regions.

    So levels keep their meaning for users, and where the package cuts at levels of its own.
    """
    grid = np.concatenate([np.linspace(0.002, 0.998, 250), SWEEP_LEVELS])
    counts = []
    for one in (by_boundary, strength):
        trees = [build_hierarchy(image.graph, late=one) for image in images]
        counts.append([np.mean([np.log(tree.segments_at(level)) for tree in trees]) for level in grid])
    # Levels below 0.04 are those of merges before the last ones.
    wanted = np.array(SWEEP_LEVELS[1:])
    of_wanted = np.array(counts[0])[250 + 1 :]
    equal = np.interp(-of_wanted, -np.array(counts[1])[:250], grid[:250])
    slope, shift = np.polyfit(np.log(equal / (1 - equal)), np.log(wanted / (1 - wanted)), 1)
    return Logistic(round(float(slope * strength.bias + shift), 5), np.round(slope * strength.weights, 5))


def covered(image: Drawn, strength: Strength) -> Coverings:
    """The coverings of the cuts at each of ``SWEEP_LEVELS``."""
    tree = build_hierarchy(image.graph, late=strength)
    return np.array([coverings(tree.regions(level=level), image.people) for level in SWEEP_LEVELS])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "segspectral/features/weights")
    arguments = parser.parse_args()
    root = arguments.data / "bsds500/train"
    paths = sorted((root / "images").glob("*.jpg"))
    if not paths:
        parser.error(f"{root / 'images'} has no images; --data is the folder of data sets")
    networks, pipeline = Network.of_runs(arguments.runs), Pipeline()
    images: list[Drawn] = []
    # The place in the whole split says which run left an image out.
    for index, path in list(enumerate(paths))[:: max(1, len(paths) // arguments.limit)][: arguments.limit]:
        image = read_image(path)
        seen = networks[index % 2].see(image)
        superpixels = pipeline.superpixels(image, seen.edges)
        _, graph = pipeline.features(image, superpixels, seen)
        people = np.load(root / "gt" / f"{path.stem}.npz")["segs"]
        images.append(Drawn(graph, votes(superpixels.labels, people)))
        if len(images) % 20 == 0:
            print(f"{len(images)} images", flush=True)
    halves = [fit(images[fold::2], arguments.rounds) for fold in (0, 1)]
    for name, of in (("by boundaries", [by_boundary] * 2), ("learned", halves[::-1])):
        scores = [covered(image, of[number % 2]) for number, image in enumerate(images)]
        print(f"{name}: covering {covered_at(scores, best_level(scores)):.4f}, {oracle(scores):.4f}", flush=True)
    made = fit(images, arguments.rounds)
    text = json.dumps({"bias": made.bias, "weights": made.weights.tolist()}, indent=1)
    (arguments.out / "merging.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
