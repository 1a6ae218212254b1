#!/usr/bin/env python3
"""Seeds and clicks on BSDS500: what one click in each human region brings, how many clicks a region needs, and seconds.

    tools/bench_seeds.py covering [--data DATA] [--split val] [--limit 100]
    tools/bench_seeds.py clicks   [--limit 30] [--pixels 4]
    tools/bench_seeds.py time     [--limit 10]
    tools/bench_seeds.py weights  --split train [--limit 30]

DATA holds bsds500/SPLIT/images/ID.jpg and bsds500/SPLIT/gt/ID.npz; default: $SEGSPECTRAL_DATA, else ../shared/data. The
images are taken in a fixed random order, and each is compared with the regions of its first annotator.

covering: the covering of the human regions. The automatic results have as many segments as there are human regions. A
click is at the most interior pixel of a region.

clicks: an annotator clicks where the error is largest until each human region has an IoU of .90 with what is painted in
its label. Painting cells and the wand give the clicked cell, or the region of the tree around it, whose size the
annotator chooses, to the label that gains most pixels. Seeds are clicks at the most interior pixel of the largest wrong
piece; they begin with one in each region. Regions that a method cannot reach, because its cells do not follow them, are
counted as such: the clicks are those until all other regions are covered, per such region.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segspectral.features.contours import border_graph
from segspectral.images.reader import read_image
from segspectral.metrics.region import region_counts
from segspectral.pipeline import Pipeline
from segspectral.seeds.partition import _scaled
from segspectral.spectral.walker import first_seed
from segspectral.values import Scene
from segspectral.values.regions import Hierarchy

GOAL = 0.9
MOST_SEEDS = 12
"""Seeds per region after which a region counts as out of reach."""

Labels = NDArray[np.int32]


class Item(NamedTuple):
    """An image, its scene, and the human regions 1..R."""

    id: str
    scene: Scene
    truth: Labels


def items(data: Path, split: str, limit: int) -> Iterator[Item]:
    folder = data / "bsds500" / split
    ids = sorted(path.stem for path in (folder / "images").glob("*.jpg"))
    random.Random(0).shuffle(ids)
    pipeline = Pipeline()
    for name in ids[:limit]:
        with np.load(folder / "gt" / f"{name}.npz") as found:
            _, truth = np.unique(found["segs"][0], return_inverse=True)
        image = read_image(folder / "images" / f"{name}.jpg")
        yield Item(name, pipeline.describe(image), truth.reshape(image.shape).astype(np.int32) + 1)


def interior(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel of a region that is farthest from its border."""
    away = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(away.argmax(), mask.shape)
    return int(row), int(col)


def one_click_each(truth: Labels) -> Labels:
    seeds = np.zeros_like(truth)
    for region in range(1, truth.max() + 1):
        seeds[interior(truth == region)] = region
    return seeds


def covering(labels: Labels, truth: Labels) -> float:
    return region_counts(labels, truth).scores()["covering_ods"]


def by(pipeline: Pipeline, how: str) -> Pipeline:
    return Pipeline.model_validate({"seeds": {"by": how}}) if how else pipeline


def run_covering(found: Iterator[Item]) -> None:
    rows: dict[str, list[float]] = {}
    for item in found:
        k, seeds = int(item.truth.max()), one_click_each(item.truth)
        made = {
            "automatic, head": Pipeline().solve(item.scene, segments=k).labels,
            "automatic, hierarchy": item.scene.hierarchy.labels(segments=k),
            "one click a region, walker": Pipeline().solve(item.scene, seeds=seeds).labels if k > 1 else item.truth,
            "one click a region, hierarchy": by(Pipeline(), "hierarchy").solve(item.scene, seeds=seeds).labels
            if k > 1
            else item.truth,
        }
        for name, labels in made.items():
            rows.setdefault(name, []).append(covering(labels, item.truth))
    base = np.array(rows["automatic, head"])
    for name, values in rows.items():
        gain = np.array(values) - base
        error = gain.std(ddof=1) / len(gain) ** 0.5
        print(f"{name:32} {np.mean(values):.4f}  {gain.mean():+.4f} +- {error:.4f}  ({len(values)} images)")


def leaves_of(tree: Hierarchy) -> NDArray[np.bool_]:
    """(2 N - 1, N) the leaves of each region of a tree: first the leaves, then the merges."""
    n = len(tree.graph)
    members = list(np.eye(n, dtype=bool))
    top = list(range(n))
    of = list(range(n))

    def find(x: int) -> int:
        while of[x] != x:
            of[x] = of[of[x]]
            x = of[x]
        return x

    for i, j in tree.merges.tolist():
        a, b = find(i), find(j)
        members.append(members[top[a]] | members[top[b]])
        of[b], top[a] = a, len(members) - 1
    return np.array(members)


def clicks_on_cells(cells: Labels, choices: NDArray[np.bool_], truth: Labels) -> tuple[float, float]:
    """Clicks per reachable region, and the share of the regions that are reachable.

    Parameters
    ----------
    cells : (H, W) cells from 0
    choices : (C, N) the cells that one click can take
    """
    n, regions = choices.shape[1], int(truth.max())
    overlap = (
        np.bincount((cells * regions + truth - 1).ravel(), minlength=n * regions).reshape(n, regions).astype(float)
    )
    area = overlap.sum(axis=0)

    def iou(label: NDArray[np.int64]) -> NDArray[np.float64]:
        known = np.flatnonzero(label >= 0)
        painted, right = np.zeros(regions), np.zeros(regions)
        np.add.at(painted, label[known], overlap[known].sum(axis=1))
        np.add.at(right, label[known], overlap[known, label[known]])
        return right / (painted + area - right)

    reachable = iou(overlap.argmax(axis=1)) >= GOAL
    if not reachable.any():
        return np.nan, 0.0
    label = np.full(n, -1)
    inside = choices.astype(float)
    gain_of = inside @ overlap
    clicks = 0
    while (missing := reachable & (iou(label) < GOAL)).any():
        right = np.where(label >= 0, overlap[np.arange(n), label], 0)
        gain = gain_of - (inside @ right)[:, None]
        # The annotator works on the regions that are not covered yet: on their missing parts, and on what they cover
        # too much.
        touched = inside @ (missing[label] & (label >= 0)) > 0
        gain[~touched] = np.where(missing, gain[~touched], -1)
        place, region = np.unravel_index(gain.argmax(), gain.shape)
        if gain[place, region] <= 0:
            break
        label[choices[place]] = region
        clicks += 1
    return clicks / reachable.sum(), float(reachable.mean())


def clicks_of_seeds(solve: Callable[[Labels], Labels], truth: Labels) -> tuple[float, float]:
    """As ``clicks_on_cells``, for seeds; regions that ``MOST_SEEDS`` per region do not cover are out of reach."""
    regions = int(truth.max())
    if regions < 2:
        return np.nan, 0.0
    seeds = one_click_each(truth)
    clicks, best = regions, (0, float("nan"))
    while True:
        labels = solve(seeds)
        iou = np.array(
            [((labels == r) & (truth == r)).sum() / ((labels == r) | (truth == r)).sum() for r in range(1, regions + 1)]
        )
        covered = int((iou >= GOAL).sum())
        if covered > best[0]:
            best = covered, clicks / covered
        if covered == regions or clicks >= MOST_SEEDS * regions:
            return best[1], best[0] / regions
        piece, count = ndimage.label((labels != truth) & (seeds == 0))
        same = ndimage.label(np.where(piece, truth, 0) > 0)[0] if count else piece
        wrong = np.where(same > 0, truth.astype(np.int64) * (same.max() + 1) + same, 0)
        numbers, sizes = np.unique(wrong[wrong > 0], return_counts=True)
        at = interior(wrong == numbers[sizes.argmax()])
        seeds[at] = truth[at]
        clicks += 1


def run_clicks(found: Iterator[Item], pixels: int) -> None:
    from skimage.segmentation import random_walker, slic

    rows: dict[str, list[tuple[float, float]]] = {}
    for place, item in enumerate(found):
        scene, truth = item.scene, item.truth
        ours = scene.work_superpixels.labels
        cells = slic(scene.image.uint8, n_segments=len(scene.graph), compactness=10, start_label=0).astype(np.int32)
        made = {
            "regions of the tree (wand)": clicks_on_cells(ours, leaves_of(scene.graph.hierarchy), truth),
            "our superpixels, one by one": clicks_on_cells(ours, np.eye(len(scene.graph), dtype=bool), truth),
            "SLIC cells": clicks_on_cells(cells, np.eye(int(cells.max()) + 1, dtype=bool), truth),
            "seeds, walker on superpixels": clicks_of_seeds(
                lambda s, of=scene: Pipeline().solve(of, seeds=s).labels, truth
            ),
        }
        if place < pixels:  # a minute for each image
            half, small = scene.image.float32[::3, ::3], truth[::3, ::3]
            _, small = np.unique(small, return_inverse=True)
            small = small.reshape(half.shape[:2]).astype(np.int32) + 1

            def walk(seeds: Labels, half: Any = half) -> Labels:
                return np.asarray(
                    random_walker(half, seeds, beta=130, mode="cg_j", tol=1e-3, channel_axis=-1), np.int32
                )

            made["scikit-image's random_walker, every third pixel"] = clicks_of_seeds(walk, small)
            made["seeds, walker on superpixels, the same images"] = made["seeds, walker on superpixels"]
        for name, value in made.items():
            rows.setdefault(name, []).append(value)
        print(item.id, {name: f"{value[0]:.2f}" for name, value in made.items()}, flush=True)
    for name, values in rows.items():
        clicks, reached = np.array(values).T
        print(
            f"{name:48} median {np.nanmedian(clicks):6.2f}, mean {np.nanmean(clicks):6.2f} clicks a region; "
            f"{reached.mean():.0%} of the regions reached ({len(values)} images)"
        )


def run_time(found: Iterator[Item]) -> None:
    rows: dict[str, list[float]] = {}
    for item in found:
        if item.truth.max() < 2:
            continue
        seeds = one_click_each(item.truth)
        mixed = seeds.copy()
        row, col = interior(item.scene.work_superpixels.labels == len(item.scene.graph) // 2)
        mixed[row, col], mixed[row, col + 1] = 1, 2
        for name, given, pipeline in (
            ("walker", seeds, Pipeline()),
            ("walker, a superpixel split", mixed, Pipeline()),
            ("hierarchy", seeds, by(Pipeline(), "hierarchy")),
        ):
            for _ in range(5):
                begin = time.process_time()
                pipeline.solve(item.scene, seeds=given)
                rows.setdefault(name, []).append(1000 * (time.process_time() - begin))
    for name, values in rows.items():
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        print(f"{name:28} median {middle:.1f} ms of CPU, 10 to 90 % {low:.1f} to {high:.1f} ms ({len(values)})")


def run_weights(found: Iterator[Item]) -> None:
    rows: dict[str, list[float]] = {}
    for item in found:
        k, graph = int(item.truth.max()), item.scene.graph
        if k < 2:
            continue
        seeds, cells = one_click_each(item.truth), item.scene.work_superpixels
        node = np.zeros(len(graph), np.int32)
        node[cells.labels[seeds > 0]] = seeds[seeds > 0]
        knn = {}
        for root in (0.5, 0.7, 1.0, 1.4, 2.0):
            weights = item.scene.affinity.weights.astype(np.float64)
            weights.data **= root
            knn[f"affinity^{root}"] = _scaled(weights)
        borders = {f"odds^{p}": _scaled(border_graph(graph, graph.boundary, p)) for p in (1.0, 1.5, 2.0, 3.0)}
        tried = knn | borders
        for a, first in borders.items():
            for b, second in knn.items():
                tried |= {f"{share} {a} + {b}": share * first + second for share in (0.3, 1, 3)}
        for name, weights in tried.items():
            labels = first_seed(weights, node, k).argmax(axis=1).astype(np.int32) + 1
            rows.setdefault(name, []).append(covering(labels[cells.labels], item.truth))
    for name, values in sorted(rows.items(), key=lambda row: -np.mean(row[1])):
        print(f"{np.mean(values):.4f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("covering", "clicks", "time", "weights"))
    default = os.environ.get("SEGSPECTRAL_DATA", Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--pixels", type=int, default=4, help="images for scikit-image's random walker")
    options = parser.parse_args()
    found = items(options.data, options.split, options.limit)
    if options.what == "clicks":
        run_clicks(found, options.pixels)
    else:
        {"covering": run_covering, "time": run_time, "weights": run_weights}[options.what](found)


if __name__ == "__main__":
    main()
