#!/usr/bin/env python3
"""Score models whose segments all images share: P1 and P2 on VOC 2012 and CamVid, and k-means on the same features.

    tools/bench_model.py --data DATA --cache FOLDER [--sets camvid voc] [--seeds 5] [--only NAME ...] [--many]

Models are fitted without labels on CamVid's train images and on every second image of VOC's list; they are scored on
CamVid's val images and on VOC's other images (``--part fit``: on the images of the fit, where ideas are compared).
Superpixels are scored without a refiner, with exact counts of pixels. FOLDER keeps the data that do not change between
trials.

    tools/bench_model.py --data DATA --speed MODEL      # applying it against solving, on five images of CamVid val
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from segspectral.evaluation.datasets import Dataset, Sample, open_dataset
from segspectral.heads import DEFAULT_HEAD
from segspectral.images.reader import read_image
from segspectral.metrics.semantic import ClusterCounts
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.shared.fit import fit_described
from segspectral.shared.model import Block, Model, Parts, Recipe, Regions
from segspectral.values import Superpixels
from segspectral.values.merging import Looks

KMEANS = {"head": {"name": "kmeans", "n_init": 3}, "fine": 1}
SUPERPIXELS = {"regions": {"level": 0.0}}
POOLED = {"features": {"cnn": {"strides": [16, 32]}}, "coarseness": 0.0}
OF_BORDERS = {"features": {"cnn": {"backbone": "segspectral_lite0"}}}

TRIALS: dict[str, dict[str, Any]] = {
    "k-means on pooled features, strides 16 and 32": KMEANS | SUPERPIXELS | POOLED,
    "k-means on pooled features, all strides, coarse ones weigh more": KMEANS | SUPERPIXELS,
    "k-means on regions": KMEANS,
    "default": {},
    "default, network of borders": OF_BORDERS,
    "k-means on regions, network of borders": KMEANS | OF_BORDERS,
    "k-means on regions, 3 clusters a segment merged": KMEANS | {"fine": 3},
    "default on superpixels": SUPERPIXELS,
    "default, strides 16 and 32 alike": POOLED,
    "default, strides 16 and 32": {"features": {"cnn": {"strides": [16, 32]}}},
    "default without the larger region": {"regions": {"context": 0.0}},
    "default, larger region 0.3": {"regions": {"context": 0.3}},
    "default, regions 0.15 and 0.3": {"regions": {"level": 0.15, "context": 0.3}},
    "default, no merging": {"fine": 1},
    "default, 2 clusters a segment": {"fine": 2},
    "default, 6 clusters a segment, damping 0.7": {"fine": 6, "damping": 0.7},
    "default, damping 0.7": {"damping": 0.7},
    "default, nearest in all images": {"across": False},
    "default, no adjacency": {"affinity": {"adjacency": False}},
    "default, 30 neighbours": {"affinity": {"neighbors": 30}},
    "default, network only distilled": {"head": {"steps": 0}},
    "spectralnet": {"head": "spectralnet"},
    "exact": {"head": "exact"},
}


@dataclass
class Scene:
    """The features of the superpixels of one image, and the pixels by superpixel and class (N, C)."""

    parts: Parts
    pixels: NDArray[np.int64]


def scene(sample: Sample, dataset: Dataset, recipe: Recipe, cache: Path) -> Scene:
    # All strides are kept, from which a trial takes its own.
    assert recipe.features.cnn is not None
    everything = with_settings(Recipe(), {"features": {"cnn": {"backbone": recipe.features.cnn.backbone}}})
    key = hashlib.sha256(repr((recipe.superpixels, everything.features)).encode()).hexdigest()[:12]
    path = cache / f"{dataset.name}_{sample.id}_{key}.npz"
    if not path.exists():
        image = read_image(sample.image)
        superpixels = recipe.superpixels(image)
        truth = sample.truth().labels[0]
        known = truth != dataset.void
        code = superpixels.labels[known].astype(np.int64) * len(dataset.classes) + truth[known]
        pixels = np.bincount(code, minlength=len(superpixels) * len(dataset.classes)).reshape(len(superpixels), -1)
        partial = path.with_suffix(".part.npz")
        parts = everything.parts(image, superpixels)
        nodes = {f"{block.extractor}_{block.stride}": part.astype(np.float16) for block, part in parts.nodes.items()}
        borders = {"boundary": parts.graph.boundary}
        if (looks := parts.graph.looks) is not None:
            borders |= {"looks": looks.mean, "square": looks.square}
        np.savez(partial, labels=superpixels.labels, pixels=pixels, **borders, **nodes)  # type: ignore[arg-type]
        partial.replace(path)
    strides = recipe.features.cnn.strides
    with np.load(path) as file:
        nodes = {Block("cnn", stride): file[f"cnn_{stride}"].astype(np.float32) for stride in strides}
        looks = Looks(file["looks"], file["square"]) if "looks" in file else None
        graph = Superpixels(file["labels"]).region_graph.with_boundary(file["boundary"], looks)
        return Scene(Parts(nodes, graph), file["pixels"])


def averaged(s: Scene, regions: Regions) -> Scene:
    """Return the image with its regions as superpixels, so that a model without regions works on regions."""
    rows, region = regions(s.parts.graph, s.parts.rows)
    ends = np.cumsum([part.shape[1] for part in s.parts.nodes.values()])
    graph = replace(s.parts.graph.merged(region), boundary=None)
    parts = Parts(dict(zip(s.parts.nodes, np.split(rows, ends[:-1], axis=1), strict=True)), graph)
    pixels = np.zeros((len(rows), s.pixels.shape[1]), dtype=np.int64)
    np.add.at(pixels, region, s.pixels)
    return Scene(parts, pixels)


def score(recipe: Recipe, fit: list[Scene], held: list[Scene]) -> ClusterCounts:
    order = np.random.default_rng(recipe.seed).permutation(len(fit))
    model = fit_described((fit[i].parts for i in order), len(fit), recipe)
    total = np.zeros((recipe.segments, held[0].pixels.shape[1]), dtype=np.int64)
    for s in held:
        np.add.at(total, model.membership(model.described(s.parts)).labels, s.pixels)
    return ClusterCounts(total, len(held))


def speed(file: Path, samples: tuple[Sample, ...]) -> None:
    """Measure the CPU time after pooling: affinity and head of the default pipeline, map and head of a model."""
    model = Model.load(file)
    solve = Pipeline(segments=model.segments, head=DEFAULT_HEAD)
    rows = []
    with threadpool_limits(1):
        for sample in samples:
            image = read_image(sample.image)
            superpixels = solve.superpixels(image)
            features, graph = solve.features(image, superpixels)
            affinity = solve.affinity(features, graph)
            parts = model.recipe.parts(image, superpixels)
            known = model.described(parts)
            head = clone(solve.head).set_params(n_clusters=model.segments, random_state=0)
            stages: tuple[Callable[[], object], ...] = (
                partial(solve.affinity, features, graph),
                partial(head.fit, features.nodes, affinity=affinity),
                partial(model.described, parts),
                partial(model.membership, known),
            )
            rows.append([min(_seconds(stage) for _ in range(3)) for stage in stages])
    affine, fitted, described, applied = 1000 * np.median(rows, axis=0)
    print(f"{model.segments} segments, ms of process time, median of {len(rows)} images, one thread")
    print(f"solving:  affinity {affine:.1f}, head {fitted:.1f}")
    print(f"applying: map and regions {described:.1f}, head {applied:.1f}")
    print(f"solving / applying: {(affine + fitted) / (described + applied):.0f}")


def _seconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--cache", type=Path, default=Path("out/bench_model"))
    parser.add_argument("--speed", type=Path, metavar="MODEL")
    parser.add_argument("--sets", nargs="*", default=["camvid", "voc"], choices=["camvid", "voc"])
    parser.add_argument("--part", default="held", choices=["held", "fit"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--many", action="store_true", help="P2 also with five times as many segments as classes")
    parser.add_argument("--only", nargs="*", choices=list(TRIALS), default=list(TRIALS))
    arguments = parser.parse_args()
    if arguments.speed:
        return speed(arguments.speed, open_dataset("camvid", arguments.data / "camvid", split="val", limit=5).samples)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        root = arguments.data / {"camvid": "camvid", "voc": "voc2012"}[name]
        train = open_dataset(name, root, split="train")
        other = open_dataset(name, root, split="val") if name == "camvid" else train
        classes = len(train.classes)
        inputs: dict[str, tuple[list[Scene], list[Scene]]] = {}
        print(f"\n{name}: {classes} classes, {arguments.seeds} seeds, scored on the {arguments.part} images")
        numbers = {classes: ("P1", "P2")} | ({5 * classes: ("P2",)} if arguments.many else {})
        columns = [f"{protocol}, K = {k}" for k, protocols in numbers.items() for protocol in protocols]
        print(f"| mIoU in % | {' | '.join(columns)} | s/fit, process time |\n|---|{'---|' * len(columns)}---|")
        for trial in arguments.only:
            recipe = with_settings(Recipe(), TRIALS[trial])
            key = repr((recipe.superpixels, recipe.features, recipe.regions))
            if key not in inputs:
                inputs.clear()  # one at a time: they are large
                scenes = [averaged(scene(s, train, recipe, arguments.cache), recipe.regions) for s in train.samples]
                fit, held = (scenes, []) if name == "camvid" else (scenes[::2], scenes[1::2])
                if arguments.part == "fit":
                    held = fit
                elif name == "camvid":
                    held = [averaged(scene(s, other, recipe, arguments.cache), recipe.regions) for s in other.samples]
                inputs[key] = fit, held
            fit, held = inputs[key]
            cells = []
            begin = time.process_time()
            for k, protocols in numbers.items():
                changed = {"segments": k, "regions": {"level": 0.0}}
                counts = [
                    score(with_settings(recipe, changed | {"seed": s}), fit, held) for s in range(arguments.seeds)
                ]
                for protocol in protocols:
                    named = [c.hungarian("iou") if protocol == "P1" else c.majority("pixels") for c in counts]
                    scores = [100 * n.scores()["miou"] for n in named]
                    cells.append(f"{np.mean(scores):.1f} +- {np.std(scores):.1f}")
            seconds = (time.process_time() - begin) / (len(numbers) * arguments.seeds)
            print(f"| {trial} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
