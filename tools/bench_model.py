#!/usr/bin/env python3
"""Segments shared by all images: P1 and P2 of models on VOC 2012 and CamVid, beside k-means on the same features.

    tools/bench_model.py --data DATA --cache FOLDER [--sets camvid voc] [--seeds 5] [--only NAME ...] [--part held]

Models are fitted without labels on CamVid's train images and on every second image of VOC's list; they are scored on
CamVid's val images and on VOC's other images (``--part fit``: on the images of the fit, where ideas are compared).
K = classes for P1 and five times that for P2. What is scored are superpixels, without a refiner, with exact counts of
pixels. FOLDER keeps what does not change between trials.

    tools/bench_model.py --data DATA --speed MODEL      # applying it against solving, on five images of CamVid val
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from segspectral.config import with_settings
from segspectral.datasets import Dataset, Sample, open_dataset
from segspectral.fitting import fit_described
from segspectral.images import read_image
from segspectral.metrics.semantic import ClusterCounts
from segspectral.model import Context, Model, Recipe
from segspectral.pipeline import Pipeline
from segspectral.types import Superpixels

KMEANS = {"head": {"name": "kmeans", "n_init": 3}}
NO_CONTEXT = {"context": {"steps": 0}}

TRIALS: dict[str, dict[str, Any]] = {
    "k-means on pooled features": KMEANS | NO_CONTEXT,
    "k-means, strides 16": KMEANS | NO_CONTEXT | {"features": {"cnn": {"strides": [16]}}},
    "k-means, strides 32": KMEANS | NO_CONTEXT | {"features": {"cnn": {"strides": [32]}}},
    "neuncut": NO_CONTEXT,
    "k-means, context": KMEANS,
    "neuncut, context (default)": {},
    "the same, nearest in all images": {"across": False},
    "the same, no adjacency": {"affinity": {"adjacency": False}},
    "the same, 50 neighbours": {"affinity": {"neighbors": 50}},
    "the same, network only distilled": {"head": {"steps": 0}},
    "the same, context of 16 steps": {"context": {"steps": 16}},
    "the same, context of 64 steps": {"context": {"steps": 64}},
    "k-means, context, 6 clusters a segment merged": KMEANS | {"fine": 6},
    "k-means, 6 clusters a segment merged": KMEANS | NO_CONTEXT | {"fine": 6},
    "neuncut, 3 clusters a segment merged": {"fine": 3} | NO_CONTEXT,
    "neuncut, context, 3 clusters a segment merged": {"fine": 3},
    "spectralnet, context": {"head": "spectralnet"},
    "rsm, context": {"head": "rsm"},
    "neuralef, context": {"head": "neuralef"},
}


@dataclass
class Scene:
    """One image: superpixels, what the extractors say of them, and pixels by superpixel and class (N, C)."""

    superpixels: Superpixels
    parts: dict[str, NDArray[np.float32]]
    pixels: NDArray[np.int64]


def scene(sample: Sample, dataset: Dataset, recipe: Recipe, cache: Path) -> Scene:
    key = hashlib.sha256(repr((recipe.superpixels, recipe.features)).encode()).hexdigest()[:12]
    path = cache / f"{dataset.name}_{sample.id}_{key}.npz"
    if not path.exists():
        image = read_image(sample.image)
        superpixels = recipe.superpixels(image)
        truth = sample.truth().labels[0]
        known = truth != dataset.void
        code = superpixels.labels[known].astype(np.int64) * len(dataset.classes) + truth[known]
        pixels = np.bincount(code, minlength=len(superpixels) * len(dataset.classes)).reshape(len(superpixels), -1)
        partial = path.with_suffix(".part.npz")
        parts = {name: part.astype(np.float16) for name, part in recipe.parts(image, superpixels).items()}
        np.savez(partial, labels=superpixels.labels, pixels=pixels, **parts)  # type: ignore[arg-type]
        partial.replace(path)
    with np.load(path) as file:
        described = {name: file[name].astype(np.float32) for name in file.files if name not in ("labels", "pixels")}
        return Scene(Superpixels(file["labels"]), described, file["pixels"])


def walked(scenes: list[Scene], context: Context) -> list[Scene]:
    """The parts after the walk: a model without context on these is the model with it on the others."""
    out = []
    for s in scenes:
        rows = context(s.parts, s.superpixels, np.concatenate(list(s.parts.values()), axis=1))
        ends = np.cumsum([part.shape[1] for part in s.parts.values()])
        parts = dict(zip(s.parts, np.split(rows, ends[:-1], axis=1), strict=True))
        out.append(Scene(s.superpixels, parts, s.pixels))
    return out


def score(recipe: Recipe, fit: list[Scene], held: list[Scene]) -> ClusterCounts:
    model = fit_described(((s.superpixels, s.parts) for s in fit), len(fit), recipe)
    total = np.zeros((recipe.segments, held[0].pixels.shape[1]), dtype=np.int64)
    for s in held:
        np.add.at(total, model.membership(model.described(s.parts, s.superpixels)).labels, s.pixels)
    return ClusterCounts(total, len(held))


def speed(file: Path, samples: tuple[Sample, ...]) -> None:
    """Process time from pooled features on: affinity and head of the default pipeline, and the model's map and head."""
    model = Model.load(file)
    solve = Pipeline(segments=model.segments)
    rows = []
    with threadpool_limits(1):
        for sample in samples:
            image = read_image(sample.image)
            superpixels = solve.superpixels(image)
            features = solve.features(image, superpixels)
            affinity = solve.affinity(features, superpixels)
            parts = model.recipe.parts(image, superpixels)
            known = model.described(parts, superpixels)
            head = clone(solve.head).set_params(n_clusters=model.segments, random_state=0)
            stages: tuple[Callable[[], object], ...] = (
                partial(solve.affinity, features, superpixels),
                partial(head.fit, features.nodes, affinity=affinity),
                partial(model.described, parts, superpixels),
                partial(model.membership, known),
            )
            rows.append([min(_seconds(stage) for _ in range(3)) for stage in stages])
    affine, fitted, described, applied = 1000 * np.median(rows, axis=0)
    print(f"{model.segments} segments, ms of process time, median of {len(rows)} images, one thread")
    print(f"solving:  affinity {affine:.1f}, head {fitted:.1f}")
    print(f"applying: map and walk {described:.1f}, head {applied:.1f}")
    print(f"solving / applying: {(affine + fitted) / (described + applied):.0f}")


def _seconds(run: Callable[[], object]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--cache", type=Path, default=Path("bench_model_cache"))
    parser.add_argument("--speed", type=Path, metavar="MODEL")
    parser.add_argument("--sets", nargs="*", default=["camvid", "voc"], choices=["camvid", "voc"])
    parser.add_argument("--part", default="held", choices=["held", "fit"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protocols", nargs="*", default=["P1", "P2"], choices=["P1", "P2"])
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
        numbers = {p: classes if p == "P1" else 5 * classes for p in arguments.protocols}
        print(f"| model | {' | '.join(f'{p} mIoU, K = {k}' for p, k in numbers.items())} | s/fit, process time |")
        print(f"|---|{'---|' * len(numbers)}---|")
        for trial in arguments.only:
            recipe = with_settings(Recipe(), TRIALS[trial])
            key = repr((recipe.superpixels, recipe.features, recipe.context))
            if key not in inputs:
                inputs.clear()  # one at a time: they are large
                scenes = [scene(s, train, recipe, arguments.cache) for s in train.samples]
                if name == "camvid":
                    fit, held = scenes, [scene(s, other, recipe, arguments.cache) for s in other.samples]
                else:
                    fit, held = scenes[::2], scenes[1::2]
                fit = walked(fit, recipe.context)
                inputs[key] = fit, fit if arguments.part == "fit" else walked(held, recipe.context)
            fit, held = inputs[key]
            cells = []
            begin = time.process_time()
            for protocol, k in numbers.items():
                scores = []
                for seed in range(arguments.seeds):
                    changed = {"segments": k, "seed": seed, "context": {"steps": 0}}
                    counts = score(with_settings(recipe, changed), fit, held)
                    naming = counts.hungarian("iou") if protocol == "P1" else counts.majority("pixels")
                    scores.append(100 * naming.scores()["miou"])
                cells.append(f"{np.mean(scores):.1f} +- {np.std(scores):.1f}")
            seconds = (time.process_time() - begin) / (len(numbers) * arguments.seeds)
            print(f"| {trial} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
