"""F of objects and parts against loops over pairs of regions, and the laws that its definition implies."""

from __future__ import annotations

import numpy as np
import pytest

from segspectral.metrics.region import RegionCounts, region_counts

SIDE = 40


def pieces(seed: int, centres: int, jitter: float = 0.0) -> np.ndarray:
    """Return the Voronoi cells of random centres in a square, of which ``jitter`` moves the centres."""
    rng = np.random.default_rng(seed)
    at = rng.random((centres, 2)) * SIDE
    at += np.random.default_rng(seed + 1000).normal(0, 1, at.shape) * jitter
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows[..., None] - at[:, 0]) ** 2 + (columns[..., None] - at[:, 1]) ** 2).argmin(-1)


def large(labels: np.ndarray) -> set[int]:
    """The candidates of a map, one region after the other."""
    values, first, area = np.unique(labels, return_index=True, return_counts=True)
    counted, before = set(), 0
    for _, _, value, pixels in sorted(zip(-area, -first, values, area, strict=True)):
        if before < 0.99 * labels.size:
            counted.add(int(value))
        before += pixels
    return counted


def slow(segmentation: np.ndarray, truths: list[np.ndarray]) -> tuple[float, float]:
    """Precision and recall by the words of the definition, with sets of pixels."""
    segments = {int(s): segmentation == s for s in np.unique(segmentation)}
    kind = dict.fromkeys(segments, "")
    fragments = dict.fromkeys(segments, 0.0)
    found = regions_counted = 0.0
    for truth in truths:
        for g in np.unique(truth):
            region, region_kind, covered = truth == g, "", 0.0
            for s, segment in segments.items():
                shared = (segment & region).sum()
                R, P = shared / region.sum(), shared / segment.sum()
                counted = s in large(segmentation) and g in large(truth)
                if counted and R >= 0.9 and P >= 0.9:
                    kind[s] = region_kind = "object"
                elif counted and R >= 0.25 and P >= 0.9:
                    kind[s] = kind[s] or "part"
                elif counted and R >= 0.9 and P >= 0.25:
                    region_kind = "part"
                if P >= 0.9 > R:
                    covered += R
                if R >= 0.9 > P:
                    fragments[s] += P / len(truths)
            if g in large(truth):
                found += {"object": 1.0, "part": 0.1, "": covered}[region_kind]
                regions_counted += 1
    precise = sum({"object": 1.0, "part": 0.1, "": fragments[s]}[kind[s]] for s in large(segmentation))
    return precise / len(large(segmentation)), found / regions_counted


def both(counts: RegionCounts) -> tuple[float, float]:
    return float(counts.parts_precision[0]), float(counts.parts_recall[0])


@pytest.mark.parametrize("seed", range(12))
def test_precision_and_recall_equal_loops_over_pairs_of_regions(seed: int) -> None:
    truths = [pieces(seed, 5 + 4 * (a % 2), 1.5 * a) for a in range(3)]
    segmentation = pieces(seed, 4 + 3 * (seed % 4), 0.7) if seed % 3 else pieces(seed + 7, 12)
    segmentation[:2, :3] = 90 + np.arange(3)  # regions of two pixels are too small to count
    assert both(region_counts(segmentation, truths)) == pytest.approx(slow(segmentation, truths))


def test_halves_of_a_region_are_parts_and_pieces_of_a_fifth_are_fragments() -> None:
    truth = np.zeros((10, 20), int)
    truth[:, 10:] = 1
    halves, fifths = truth.copy(), truth.copy()
    halves[:5, :10] = 2
    fifths[:, :10] = 2 + np.arange(10) // 2
    # Two halves are parts (.1 each); the region of which they are all fragments counts as found by them.
    assert both(region_counts(halves, truth)) == pytest.approx(((1 + 0.2) / 3, 1.0))
    # Fifths are nothing, and yet the region is covered by fragments.
    assert both(region_counts(fifths, truth)) == pytest.approx((1 / 6, 1.0))
    # The other way round precision and recall change places.
    assert both(region_counts(truth, halves)) == pytest.approx((1.0, (1 + 0.2) / 3))


def test_one_segment_for_the_whole_image_is_precise_only_in_fragments() -> None:
    truth = np.arange(100).reshape(10, 10) // 10
    precision, recall = both(region_counts(np.zeros((10, 10), int), truth))
    assert precision == pytest.approx(1.0)  # ten regions of a tenth lie in it
    assert recall == 0.0


def test_an_object_of_one_map_is_not_a_part_of_another() -> None:
    coarse = np.zeros((10, 20), int)
    fine = coarse.copy()
    fine[:, 10:] = 1
    precision, _ = both(region_counts(fine, [coarse, fine]))
    assert precision == 1.0


def test_small_regions_count_neither_for_nor_against() -> None:
    truth = np.zeros((50, 50), int)
    truth[:, 25:] = 1
    speckled = truth.copy()
    speckled[::10, ::10] = 2 + np.arange(25).reshape(5, 5)  # together 1 % of the image
    assert both(region_counts(speckled, truth)) == (1.0, 1.0)


def test_the_data_set_is_scored_by_mean_precision_and_mean_recall() -> None:
    images = [(np.stack([pieces(i, k) for k in (3, 6, 9)]), [pieces(i, 6, a) for a in (0.0, 1.0)]) for i in range(4)]
    each = [region_counts(*image) for image in images]
    total = sum(each[1:], each[0])
    precision = np.mean([[slow(s, truths)[0] for s in stack] for stack, truths in images], axis=0)
    recall = np.mean([[slow(s, truths)[1] for s in stack] for stack, truths in images], axis=0)
    f = 2 * precision * recall / (precision + recall)
    assert total.scores()["fop_ods"] == pytest.approx(f.max())
    assert total.best_scales()["fop"] == f.argmax()
    assert total.scores()["fop_ois"] >= total.scores()["fop_ods"]
