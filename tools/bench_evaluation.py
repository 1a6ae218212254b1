"""Parity and speed of the scores on real data.

    python tools/bench_evaluation.py --data DATA [--images 20]

DATA holds ``bsds500`` (default: the environment variable SEGSPECTRAL_DATA, else ../shared/data). Prints

1. human maps of BSDS500 val scored against the other human maps of their image: what people reach;
2. the number of pairs of the boundary matching against a maximum flow, and against taking the nearest free
   pixel only, on ``--images`` images;
3. seconds per image for all region and boundary scores at ten scales, and for one mIoU at 2048 x 1024.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow
from scipy.spatial import KDTree
from skimage.io import imread
from skimage.segmentation import felzenszwalb

from segspectral.evaluation.datasets import Dataset, Truth, open_dataset
from segspectral.evaluation.results import total
from segspectral.metrics.boundary import TOLERANCE, boundary_counts, boundary_map
from segspectral.metrics.correspondence import correspond, thin
from segspectral.metrics.region import region_counts
from segspectral.metrics.semantic import cluster_counts

SCALES = (50, 100, 150, 200, 300, 400, 500, 700, 1000, 1500)


def humans_against_each_other(dataset: Dataset) -> None:
    regions, edges = [], []
    start = time.perf_counter()
    for sample in dataset.samples:
        truth = sample.truth()
        assert truth.boundaries is not None
        for a in range(len(truth.labels)):
            others = np.arange(len(truth.labels)) != a
            regions.append(region_counts(truth.labels[a], truth.labels[others]))
            edges.append(
                boundary_counts(truth.labels[a], truth.labels[others], human_boundaries=truth.boundaries[others])
            )
    seconds = time.perf_counter() - start
    scores = total(regions).scores() | total(edges).scores()
    print(f"humans against each other: {len(dataset)} images, {len(regions)} maps, {seconds:.1f} s")
    for name in ("f_ods", "precision_ods", "recall_ods", "covering_ods", "pri_ods", "vi_ods"):
        print(f"  {name:14} {scores[name]:.4f}")


def matching(dataset: Dataset) -> None:
    compared = different = pairs = nearest = 0
    for sample in dataset.samples:
        truth = sample.truth()
        assert truth.boundaries is not None
        edge = thin(boundary_map(felzenszwalb(imread(sample.image), 300, 0.8, 100))[None])
        radius = TOLERANCE * math.hypot(*truth.size)
        found = correspond(edge, truth.boundaries, radius).pairs[0]
        for a, human in enumerate(truth.boundaries):
            compared += 1
            different += int(found[a] != _largest_flow(edge[0], human, radius))
            pairs += int(found[a])
            nearest += _nearest_free(edge[0], human, radius)
    print(f"matching: {compared} pairs of maps, {different} with another number of pairs than a maximum flow")
    print(f"  {pairs} pairs, {nearest} by taking the nearest free pixel only")


def _candidates(edge: np.ndarray, human: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, q = KDTree(np.argwhere(edge)), KDTree(np.argwhere(human))
    near = p.sparse_distance_matrix(q, radius + 1e-9, output_type="coo_matrix")
    return near.row, near.col, near.data


def _largest_flow(edge: np.ndarray, human: np.ndarray, radius: float) -> int:
    """Count the pairs by Dinic's maximum flow; scipy's bipartite matching may not end on maps that nearly agree."""
    row, column, _ = _candidates(edge, human, radius)
    n, m = int(edge.sum()), int(human.sum())
    source, sink = n + m, n + m + 1
    start = np.concatenate([row, np.full(n, source), n + np.arange(m)])
    end = np.concatenate([n + column, np.arange(n), np.full(m, sink)])
    capacity = np.ones(len(start), dtype=np.int32)
    graph = coo_array((capacity, (start, end)), (n + m + 2, n + m + 2)).tocsr()
    return int(maximum_flow(graph, source, sink, method="dinic").flow_value)


def _nearest_free(edge: np.ndarray, human: np.ndarray, radius: float) -> int:
    row, column, distance = _candidates(edge, human, radius)
    used_row, used_column = set(), set()
    for k in np.argsort(distance, kind="stable"):
        if row[k] not in used_row and column[k] not in used_column:
            used_row.add(row[k])
            used_column.add(column[k])
    return len(used_row)


def speed(dataset: Dataset) -> None:
    seconds: dict[str, list[float]] = {"felzenszwalb": [], "humans' own maps": []}
    for sample in dataset.samples:
        truth = sample.truth()
        image = imread(sample.image)
        sweep = np.stack([felzenszwalb(image, s, 0.8, 100) for s in SCALES])
        seconds["felzenszwalb"].append(_timed(sweep, truth))
        humans = truth.labels[np.arange(len(SCALES)) % len(truth.labels)]
        seconds["humans' own maps"].append(_timed(humans, truth))
    for name, times in seconds.items():
        print(
            f"region and boundary scores at {len(SCALES)} scales of {name}: median {np.median(times):.3f} s, "
            f"largest {max(times):.3f} s of {len(times)} images"
        )
    rng = np.random.default_rng(0)
    truth_map = np.kron(rng.integers(0, 19, (32, 64)), np.ones((32, 32), int)).astype(np.uint8)
    prediction = rng.integers(0, 27, truth_map.shape).astype(np.int32)
    start = time.perf_counter()
    cluster_counts(prediction, truth_map, 19, void=255).hungarian().scores()
    print(f"mIoU of one map of 1024 x 2048: {time.perf_counter() - start:.3f} s")


def _timed(sweep: np.ndarray, truth: Truth) -> float:
    start = time.perf_counter()
    region_counts(sweep, truth.labels)
    boundary_counts(sweep, truth.labels, human_boundaries=truth.boundaries)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--images", type=int, default=20)
    arguments = parser.parse_args()
    few = open_dataset("bsds", arguments.data / "bsds500", split="val", limit=arguments.images)
    humans_against_each_other(open_dataset("bsds", arguments.data / "bsds500", split="val"))
    matching(few)
    speed(few)


if __name__ == "__main__":
    main()
