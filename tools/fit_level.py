#!/usr/bin/env python3
"""Fit the two levels of ``segspectral.levels`` on BSDS500 train; write segspectral/features/weights/level.json.

    tools/fit_level.py --data DATA [--limit 200] [--levels cut count] [--folds RUN0 RUN1]
    tools/fit_level.py --data DATA --score val --levels cut

1. ``cut``: the level with the best covering of the cuts.
2. ``count``: the level whose regions, counted, are the number of segments with the best covering of the default head,
   before refinement.

With ``--folds``, two folders of ``tools/fit_network.py --fold 0`` and ``--fold 1``, each image is described by the
network that was not trained on it, as in ``tools/fit_contours.py``; run it after that program. Without, the boundaries
are those of the network that comes with segspectral, which knows these images: its trees are better than on others.

With ``--score``, nothing is fitted or written: the levels that come with segspectral are scored on that split.

What is printed has two oracles beside it: the best level of each image, and the best level by the *other* people who
drew the image. No rule that sees the image alone can be expected to be better than the second.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from fit_contours import Network
from numpy.typing import NDArray

from segspectral.images.reader import read_image
from segspectral.levels import count_regions, fitted
from segspectral.metrics.contingency import Contingency
from segspectral.metrics.region import covering
from segspectral.pipeline import Pipeline
from segspectral.values import Image, Scene
from segspectral.values.later import Later
from segspectral.values.regions import SWEEP_LEVELS

Coverings = NDArray[np.float64]
"""(L, P) the coverings of the human maps of one image, as shares of the image, at each of ``SWEEP_LEVELS``."""


def described(pipeline: Pipeline, image: Image, network: Network | None) -> Scene:
    """The scene of an image, as another network sees it if there is one."""
    if network is None:
        return pipeline.describe(image)
    seen = network.see(image)
    superpixels = pipeline.superpixels(image, seen.edges)
    features, graph = pipeline.features(image, superpixels, seen)
    affinity = Later(lambda: pipeline.affinity(features, graph))
    return Scene(image, image, superpixels, graph, Later(lambda: features), affinity, pipeline)


def votes(labels: NDArray[np.integer], people: NDArray[np.integer]) -> list[NDArray[np.float64]]:
    """For each of the human maps (P, H, W), how many pixels each superpixel (rows) has of each region (columns)."""
    n = int(labels.max()) + 1
    tables = []
    for regions in people.astype(np.int64):
        width = int(regions.max()) + 1
        counts = np.bincount(labels.ravel() * width + regions.ravel(), minlength=n * width)
        tables.append(counts.reshape(n, width).astype(np.float64))
    return tables


def coverings(region: NDArray[np.integer], tables: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(P,) the covering of each human map by segments; ``region`` (N,) is the segment of each superpixel."""
    found = []
    for table in tables:
        dense = np.zeros((int(region.max()) + 1, table.shape[1]))
        np.add.at(dense, region, table)
        row, column = np.nonzero(dense)
        contingency = Contingency(row, column, dense[row, column], (dense.shape[0], dense.shape[1]))
        found.append(float(covering(contingency) @ contingency.columns) / contingency.total)
    return np.array(found)


def cut_coverings(scene: Scene, people: NDArray[np.integer]) -> Coverings:
    """The coverings of the cuts at each level."""
    tree, tables = scene.graph.hierarchy, votes(scene.work_superpixels.labels, people)
    return np.array([coverings(tree.regions(level=level), tables) for level in SWEEP_LEVELS])


def count_coverings(scene: Scene, people: NDArray[np.integer]) -> Coverings:
    """The coverings of the head with the number of segments that is counted at each level."""
    tree, tables = scene.graph.hierarchy, votes(scene.work_superpixels.labels, people)
    most = min(scene.pipeline.max_segments, len(scene.graph))
    numbers = [int(np.clip(count_regions(tree, level), min(2, most), most)) for level in SWEEP_LEVELS]
    of_number = {}
    for number in set(numbers):
        membership = scene.pipeline.partition(scene.features, scene.graph, scene.affinity, number)
        of_number[number] = coverings(membership.labels, tables)
    return np.array([of_number[number] for number in numbers])


MEASURES = {"cut": cut_coverings, "count": count_coverings}


def covered_at(images: Sequence[Coverings], level: float) -> float:
    """The mean covering over all human maps at one of ``SWEEP_LEVELS``."""
    return float(np.concatenate([values[SWEEP_LEVELS.index(level)] for values in images]).mean())


def best_level(images: Sequence[Coverings]) -> float:
    """The level with the best mean covering over all human maps."""
    return SWEEP_LEVELS[int(np.concatenate(images, axis=1).mean(axis=1).argmax())]


def cross_fitted(images: Sequence[Coverings], folds: int = 5) -> float:
    """The mean covering if the level of each part of the images is the best one of the other parts."""
    found = []
    for fold in range(min(folds, len(images))):
        level = best_level([values for k, values in enumerate(images) if k % folds != fold] or images)
        found += [values[SWEEP_LEVELS.index(level)] for values in images[fold::folds]]
    return float(np.concatenate(found).mean())


def oracle(images: Sequence[Coverings]) -> float:
    """The mean covering if each image has its own best level."""
    return float(np.concatenate([values[values.mean(axis=1).argmax()] for values in images]).mean())


def of_the_others(images: Sequence[Coverings]) -> float:
    """The mean covering of each human map at the level that is best for the other maps of its image."""
    found = []
    for values in images:
        for person in range(values.shape[1]):
            others = np.delete(values, person, axis=1)
            if others.shape[1]:
                found.append(values[others.mean(axis=1).argmax(), person])
    return float(np.mean(found))


def read(root: Path, limit: int, runs: Sequence[Path], names: Sequence[str]) -> dict[str, list[Coverings]]:
    """The coverings of each image for each name of ``MEASURES``; the networks take turns, as in ``fit_contours``."""
    pipeline, networks = Pipeline(), Network.of_runs(runs)
    paths = sorted((root / "images").glob("*.jpg"))
    # The place in the whole split says which run left an image out.
    chosen = list(enumerate(paths))[:: max(1, len(paths) // limit)][:limit]
    found: dict[str, list[Coverings]] = {name: [] for name in names}
    for done, (index, path) in enumerate(chosen, 1):
        scene = described(pipeline, read_image(path), networks[index % len(networks)] if networks else None)
        people = np.load(root / "gt" / f"{path.stem}.npz")["segs"]
        for name in names:
            found[name].append(MEASURES[name](scene, people))
        if done % 20 == 0:
            print(f"{done} of {len(chosen)} images", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--levels", nargs="+", choices=tuple(MEASURES), default=tuple(MEASURES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "segspectral/features/weights")
    parser.add_argument("--score", metavar="SPLIT")
    parser.add_argument("--folds", type=Path, nargs=2, metavar="RUN", default=())
    arguments = parser.parse_args()
    root = arguments.data / "bsds500" / (arguments.score or "train")
    if not any((root / "images").glob("*.jpg")):
        parser.error(f"{root / 'images'} has no images; --data is the folder of data sets")
    levels = fitted()
    for name, images in read(root, arguments.limit, arguments.folds, arguments.levels).items():
        if arguments.score is None:
            levels = replace(levels, **{name: best_level(images)})
            print(f"{name}: covering {cross_fitted(images):.4f} with the levels of five parts, each from the others")
        level = getattr(levels, name)
        print(f"{name}: level {level} has covering {covered_at(images, level):.4f} on {len(images)} images")
        best, others = oracle(images), of_the_others(images)
        print(f"  oracles: the best level of each image {best:.4f}, the best for its other people {others:.4f}")
    if arguments.score is None:
        (arguments.out / "level.json").write_text(json.dumps(asdict(levels)) + "\n")


if __name__ == "__main__":
    main()
