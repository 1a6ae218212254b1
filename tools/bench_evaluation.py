"""Parity and speed of the scores on real data.

    python tools/bench_evaluation.py --data DATA [--images 20]

DATA holds ``bsds500`` and, if its part is wanted, ``cityscapes`` (default: the environment variable SEGSPECTRAL_DATA,
else ../shared/data). Prints

1. human maps of BSDS500 val scored against the other human maps of their image: what people reach;
2. the number of pairs of the boundary matching against scipy's maximum matching, and precision against the minimum-cost
   matching of the official code, on ``--images`` images;
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
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching
from scipy.spatial import KDTree
from skimage.io import imread
from skimage.segmentation import felzenszwalb

from segspectral.datasets import Dataset, Truth, open_dataset
from segspectral.evaluate.results import total
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
            edges.append(boundary_counts(truth.labels[a], truth.labels[others], human_boundaries=truth.boundaries[others]))
    seconds = time.perf_counter() - start
    scores = total(regions).scores() | total(edges).scores()
    print(f"humans against each other: {len(dataset)} images, {len(regions)} maps, {seconds:.1f} s")
    for name in ("f_ods", "precision_ods", "recall_ods", "covering_ods", "pri_ods", "vi_ods"):
        print(f"  {name:14} {scores[name]:.4f}")


def matching(dataset: Dataset) -> None:
    """Pairs must be equal to scipy's; pixels matched in any map are compared with the minimum-cost matching."""
    compared = different = 0
    ours_hits = official_hits = predicted = 0
    for sample in dataset.samples:
        truth = sample.truth()
        assert truth.boundaries is not None
        edge = thin(boundary_map(felzenszwalb(imread(sample.image), 300, 0.8, 100))[None])
        radius = TOLERANCE * math.hypot(*truth.size)
        found = correspond(edge, truth.boundaries, radius)
        any_ours, any_official = np.zeros(edge.sum(), bool), np.zeros(edge.sum(), bool)
        for a, human in enumerate(truth.boundaries):
            size, matched = _minimum_cost(edge[0], human, radius)
            compared += 1
            different += int(found.pairs[0, a] != size)
            any_ours |= found.predicted[0][a]
            any_official |= matched
        ours_hits += int(any_ours.sum())
        official_hits += int(any_official.sum())
        predicted += len(any_ours)
    print(f"matching: {compared} pairs of maps, {different} with another number of pairs than scipy's maximum")
    print(f"  precision {ours_hits / predicted:.5f}, with minimum-cost pairs {official_hits / predicted:.5f}")


def _minimum_cost(edge: np.ndarray, human: np.ndarray, radius: float) -> tuple[int, np.ndarray]:
    """Size of a maximum matching by scipy, and which pixels of ``edge`` the cheapest assignment pairs.

    Each pixel may also stay alone at a hundred times the radius, as in the official ``correspondPixels``.
    """
    p, q = np.argwhere(edge), np.argwhere(human)
    near = KDTree(p).sparse_distance_matrix(KDTree(q), radius + 1e-9, output_type="coo_matrix")
    n, m = len(p), len(q)
    row, column, cost = near.row, near.col, near.data + 1e-3
    shape = (n, m)
    size = int((maximum_bipartite_matching(coo_array((np.ones(len(row)), (row, column)), shape).tocsr()) >= 0).sum())
    alone = 100 * radius
    rows = np.concatenate([row, np.arange(n), n + np.arange(m), n + column])
    columns = np.concatenate([column, m + np.arange(n), np.arange(m), m + row])
    costs = np.concatenate([cost, np.full(n, alone), np.full(m, alone), np.full(len(row), 1e-3)])
    left, right = min_weight_full_bipartite_matching(coo_array((costs, (rows, columns)), (n + m, n + m)).tocsr())
    matched = np.zeros(n, bool)
    matched[left[(left < n) & (right < m)]] = True
    return size, matched


def speed(dataset: Dataset) -> None:
    seconds = {"felzenszwalb": [], "humans' own maps": []}
    for sample in dataset.samples:
        truth = sample.truth()
        image = imread(sample.image)
        sweep = np.stack([felzenszwalb(image, s, 0.8, 100) for s in SCALES])
        seconds["felzenszwalb"].append(_timed(sweep, truth))
        humans = truth.labels[np.arange(len(SCALES)) % len(truth.labels)]
        seconds["humans' own maps"].append(_timed(humans, truth))
    for name, times in seconds.items():
        print(
            f"all region and boundary scores, {len(SCALES)} scales of {name}: median {np.median(times):.3f} s, "
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
