"""The one-to-one matching is maximum, thinning is MATLAB's, and the scores follow the official collection."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from skimage.morphology import thin as skimage_thin

from segspectral.metrics.boundary import BoundaryCounts, boundary_counts, boundary_map, soft_boundary_counts
from segspectral.metrics.correspondence import correspond, thin


def largest_matching(first: np.ndarray, second: np.ndarray, radius: float) -> int:
    """Count the pairs by Kuhn's algorithm on explicit graph edges, which is slow and simple."""
    p, q = np.argwhere(first), np.argwhere(second)
    near = [[j for j in range(len(q)) if ((p[i] - q[j]) ** 2).sum() <= radius**2] for i in range(len(p))]
    partner = [-1] * len(q)

    def augment(i: int, seen: set[int]) -> bool:
        for j in near[i]:
            if j not in seen:
                seen.add(j)
                if partner[j] < 0 or augment(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(augment(i, set()) for i in range(len(p)))


def blobs(seed: int, shape: tuple[int, int] = (60, 80), segments: int = 12) -> np.ndarray:
    """Return a Voronoi label map, whose boundaries meet in threes as those of real segmentations do."""
    rng = np.random.default_rng(seed)
    seeds = rng.random((segments, 2)) * shape
    grid = np.stack(np.mgrid[: shape[0], : shape[1]], axis=-1)
    return ((grid[:, :, None] - seeds) ** 2).sum(axis=-1).argmin(axis=-1)


def test_matching_is_maximum_and_one_to_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape = tuple(rng.integers(1, 14, 2))
        radius = float(rng.choice([0, 0.9, 1, 1.5, 2.3, 3.1]))
        first, second = (
            rng.random((2, *shape)) < rng.uniform(0.05, 0.7),
            rng.random((3, *shape)) < rng.uniform(0.05, 0.7),
        )
        found = correspond(first, second, radius)
        for t, a in np.ndindex(2, 3):
            assert found.pairs[t, a] == largest_matching(first[t], second[a], radius)
            p, q = np.argwhere(first[t]), np.argwhere(second[a])
            partner = found.partner[t][a]
            used = partner[partner >= 0]
            assert len(set(used)) == len(used)
            assert (np.hypot(*(p[partner >= 0] - q[used]).T) <= radius + 1e-12).all()


@pytest.mark.parametrize("seed", range(4))
def test_matching_of_label_maps_equals_a_maximum_flow(seed: int) -> None:
    first, second = (thin(boundary_map(blobs(s))[None]) for s in (seed, seed + 1))
    p, q = np.argwhere(first[0]), np.argwhere(second[0])
    n, m = len(p), len(q)
    row, column = np.nonzero(((p[:, None] - q[None]) ** 2).sum(axis=-1) <= 3.0**2)
    start = np.concatenate([row, np.full(n, n + m), n + np.arange(m)])
    end = np.concatenate([n + column, np.arange(n), np.full(m, n + m + 1)])
    network = csr_array((np.ones(len(start), np.int32), (start, end)), (n + m + 2, n + m + 2))
    expected = maximum_flow(network, n + m, n + m + 1).flow_value
    assert correspond(first, second, 3.0).pairs[0, 0] == expected


def test_nearest_first_alone_would_lose_pairs() -> None:
    """A planted defect: a matching that takes the nearest free pixel pairs only 2 of 3 on these lines."""
    first, second = np.zeros((1, 1, 7), bool), np.zeros((1, 1, 7), bool)
    first[0, 0, [1, 3, 4]] = True
    second[0, 0, [3, 4, 5]] = True
    assert correspond(first, second, 1.0).pairs[0, 0] == 2
    assert correspond(first, second, 2.0).pairs[0, 0] == 3  # 1-3, 3-4, 4-5, though 3-3 and 4-4 are nearer


def test_identical_maps_match_completely() -> None:
    edge = thin(boundary_map(blobs(1))[None])
    assert correspond(edge, edge, 2.0).pairs[0, 0] == edge.sum()


def test_empty_maps_match_nothing() -> None:
    none, some = np.zeros((1, 5, 5), bool), np.ones((1, 5, 5), bool)
    for a, b in ((none, none), (none, some), (some, none)):
        assert correspond(a, b, 2.0).pairs[0, 0] == 0
    flat = boundary_counts(np.zeros((5, 5), int), np.zeros((5, 5), int))
    assert flat.scores()["f_ods"] == 0.0  # nothing asked for and nothing found: 0, as the official code


def test_thinning_equals_scikit_image() -> None:
    rng = np.random.default_rng(3)
    maps = np.stack(
        [rng.random((40, 50)) < d for d in (0.2, 0.5, 0.8, 0.95)] + [boundary_map(blobs(s, (40, 50))) for s in range(4)]
    )
    assert (thin(maps) == np.stack([skimage_thin(m) for m in maps])).all()


def test_boundary_map_equals_the_double_size_construction() -> None:
    """``seg2bdry`` builds a grid of pixels and edges of twice the size and takes every other one."""
    seg = blobs(5, (13, 17), 5)
    H, W = seg.shape
    grid = np.zeros((2 * H + 1, 2 * W + 1), bool)
    vertical, horizontal = np.zeros((H, W), bool), np.zeros((H, W), bool)
    vertical[:-1] = seg[:-1] != seg[1:]
    horizontal[:, :-1] = seg[:, :-1] != seg[:, 1:]
    grid[2::2, 1::2] = vertical
    grid[1::2, 2::2] = horizontal
    grid[2:-1:2, 2:-1:2] = horizontal[:-1, :-1] | horizontal[1:, :-1] | vertical[:-1, :-1] | vertical[:-1, 1:]
    grid[0], grid[-1] = grid[1], grid[-2]
    grid[:, 0], grid[:, -1] = grid[:, 1], grid[:, -2]
    assert (boundary_map(seg) == grid[2::2, 2::2]).all()


def test_a_perfect_prediction_scores_one_under_any_labels() -> None:
    truth = np.stack([blobs(1)] * 2)
    assert boundary_counts(blobs(1), truth).scores()["f_ods"] == 1.0
    predicted = np.stack([blobs(s) for s in (2, 3)])
    renamed = np.random.default_rng(0).permutation(12)[predicted] - 100
    first, second = boundary_counts(predicted, truth), boundary_counts(renamed, truth)
    assert first.scores() == second.scores()


def test_precision_counts_a_match_with_any_map_and_recall_all_maps() -> None:
    predicted, truth = blobs(2), np.stack([blobs(3), blobs(4)])
    together = boundary_counts(predicted, truth, tolerance=0.03)
    alone = [boundary_counts(predicted, t, tolerance=0.03) for t in truth]
    assert together.hits_recall[0] == sum(a.hits_recall[0] for a in alone)
    assert together.sum_recall[0] == sum(a.sum_recall[0] for a in alone)
    assert together.sum_precision[0] == alone[0].sum_precision[0]
    hits = [a.hits_precision[0] for a in alone]
    assert max(hits) <= together.hits_precision[0] <= sum(hits)


def test_scales_in_chunks_equal_scales_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, truth = np.stack([blobs(s) for s in range(5)]), np.stack([blobs(8), blobs(9)])
    whole = boundary_counts(predicted, truth)
    monkeypatch.setattr("segspectral.metrics.boundary._VERTICES_AT_ONCE", 1000)
    parts = boundary_counts(predicted, truth)
    assert whole.scores() == parts.scores()
    assert (whole.hits_precision == parts.hits_precision).all()


def test_split_in_two_equals_one_run() -> None:
    counts = [boundary_counts(np.stack([blobs(i), blobs(i + 7)]), blobs(i + 20)) for i in range(4)]
    assert (counts[0] + counts[1] + (counts[2] + counts[3])).scores() == sum(counts[1:], counts[0]).scores()
    with pytest.raises(ValueError, match="scales"):
        counts[0] + boundary_counts(blobs(0), blobs(1))


def test_collection_follows_the_official_loops() -> None:
    """Compute ODS over interpolated scales, OIS by the counts of the best scale of each image, and AP."""
    rng = np.random.default_rng(1)
    images = []
    for _ in range(3):
        sum_r, sum_p = np.full(6, 400), rng.integers(200, 600, 6)
        hits_r = np.sort(rng.integers(50, 400, 6))[::-1]
        hits_p = np.minimum(rng.integers(50, 400, 6), sum_p)
        f = 2 * (hits_p / sum_p) * (hits_r / sum_r) / (hits_p / sum_p + hits_r / sum_r)
        k = int(f.argmax())
        images.append(
            BoundaryCounts(1, hits_r, sum_r, hits_p, sum_p, np.array([hits_r[k], sum_r[k], hits_p[k], sum_p[k]]))
        )
    total = images[0] + images[1] + images[2]
    R, P = total.hits_recall / total.sum_recall, total.hits_precision / total.sum_precision

    best = 2 * P[0] * R[0] / (P[0] + R[0])
    for i in range(1, 6):
        for d in np.linspace(0, 1, 100):
            r, p = R[i] * d + R[i - 1] * (1 - d), P[i] * d + P[i - 1] * (1 - d)
            best = max(best, 2 * p * r / (p + r))
    r, p = total.ois[0] / total.ois[1], total.ois[2] / total.ois[3]
    order = np.argsort(R)
    area = sum(np.interp(x, R[order], P[order], left=0, right=0) for x in np.arange(0, 1.005, 0.01)) * 0.01
    scores = total.scores()
    assert scores["f_ods"] == pytest.approx(best, abs=1e-12)
    assert scores["f_ois"] == pytest.approx(2 * p * r / (p + r), abs=1e-12)
    assert scores["ap"] == pytest.approx(area, abs=1e-12)


def test_soft_maps_are_cut_at_even_thresholds() -> None:
    truth = boundary_map(blobs(1))
    strength = truth * 0.55
    counts = soft_boundary_counts(strength, thin(truth[None]), thresholds=9)
    assert (counts.hits_recall > 0).tolist() == [True] * 5 + [False] * 4
    assert counts.scores()["f_ods"] == 1.0


def test_an_image_with_ten_scales_takes_less_than_half_a_second() -> None:
    import time

    shape = (321, 481)
    scales = np.stack([blobs(1, shape, n) for n in (4, 8, 12, 16, 20, 30, 40, 50, 60, 80)])
    humans = np.stack([blobs(s, shape, 25) for s in range(2, 7)])
    times = []
    for _ in range(3):
        start = time.process_time()
        boundary_counts(scales, humans)
        times.append(time.process_time() - start)
    assert min(times) < 0.5
