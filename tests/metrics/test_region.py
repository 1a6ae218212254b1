"""Covering, Rand index and VI against pair counting and scikit-image, and the laws of counts that add up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.metrics import variation_of_information as skimage_vi

from segspectral.metrics.contingency import contingency
from segspectral.metrics.region import covering, rand_index, region_counts, variation_of_information


def maps(seed: int, count: int, shape: tuple[int, int] = (12, 9), labels: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, labels, (count, 4, 3))
    return np.kron(coarse, np.ones((1, 3, 3), int))[:, : shape[0], : shape[1]] + (rng.random((count, *shape)) < 0.1)


@pytest.mark.parametrize("seed", range(5))
def test_rand_index_equals_counting_every_pair(seed: int) -> None:
    a, b = maps(seed, 2)
    agree = [(a.flat[i] == a.flat[j]) == (b.flat[i] == b.flat[j]) for i, j in itertools.combinations(range(a.size), 2)]
    assert rand_index(contingency(a, b)) == pytest.approx(np.mean(agree), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_vi_equals_scikit_image_in_bits(seed: int) -> None:
    a, b = maps(seed, 2)
    assert variation_of_information(contingency(a, b)) == pytest.approx(float(np.sum(skimage_vi(a, b))), abs=1e-12)


def test_covering_equals_loops_over_regions() -> None:
    a, b = maps(3, 2, labels=7)
    expected = 0.0
    for g in np.unique(b):
        region = b == g
        ious = [(region & (a == s)).sum() / (region | (a == s)).sum() for s in np.unique(a)]
        expected += region.sum() * max(ious)
    table = contingency(a, b)
    assert covering(table) @ table.columns == pytest.approx(expected)
    assert region_counts(a, b).scores()["covering_ods"] == pytest.approx(expected / b.size)


def test_large_tables_are_counted_the_same_way() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.permutation(2500).reshape(50, 50), rng.permutation(2500).reshape(50, 50)
    assert variation_of_information(contingency(a, b)) == pytest.approx(0, abs=1e-12)
    assert contingency(a, a % 2).count.sum() == 2500


def test_a_perfect_prediction_scores_one() -> None:
    truth = maps(1, 1)
    scores = region_counts(truth[0] * 7 + 1, truth).scores()
    assert scores == {
        "covering_ods": 1.0,
        "covering_ois": 1.0,
        "covering_best": 1.0,
        "pri_ods": 1.0,
        "pri_ois": 1.0,
        "vi_ods": 0.0,
        "vi_ois": 0.0,
        "fop_ods": 1.0,
        "fop_ois": 1.0,
    }


def test_relabelling_changes_nothing() -> None:
    predicted, truth = maps(1, 3), maps(2, 4)
    other = np.array([900_000_000, -5, 17, 3, 1])[predicted]
    first, second = region_counts(predicted, truth).scores(), region_counts(other, truth).scores()
    assert first == pytest.approx(second, abs=1e-12)


def test_scales_ods_ois_and_best_are_ordered() -> None:
    images = [(maps(i, 5), maps(i + 50, 3)) for i in range(8)]
    total = region_counts(*images[0])
    for predicted, truth in images[1:]:
        total = total + region_counts(predicted, truth)
    scores = total.scores()
    assert scores["covering_ods"] <= scores["covering_ois"] <= scores["covering_best"]
    assert scores["pri_ods"] <= scores["pri_ois"]
    assert scores["vi_ods"] >= scores["vi_ois"]
    # ODS is the best single scale, chosen per measure
    alone = [region_counts(images[0][0][s], images[0][1]) for s in range(5)]
    for predicted, truth in images[1:]:
        alone = [one + region_counts(predicted[s], truth) for s, one in enumerate(alone)]
    assert scores["covering_ods"] == pytest.approx(max(one.scores()["covering_ods"] for one in alone))
    assert scores["pri_ods"] == pytest.approx(max(one.scores()["pri_ods"] for one in alone))
    assert scores["vi_ods"] == pytest.approx(min(one.scores()["vi_ods"] for one in alone))
    assert alone[total.best_scales()["vi"]].scores()["vi_ods"] == pytest.approx(scores["vi_ods"])


def test_split_in_two_equals_one_run() -> None:
    counts = [region_counts(maps(i, 2), maps(i + 9, 3)) for i in range(6)]
    whole = sum(counts[1:], counts[0])
    halves = sum(counts[4:], counts[3]) + sum(counts[1:3], counts[0])
    assert halves.images == whole.images == 6
    assert halves.scores() == pytest.approx(whole.scores(), abs=1e-12)


def test_maps_of_one_image_are_averaged_and_void_is_removed_from_both() -> None:
    predicted, truth = maps(4, 1)[0], maps(5, 3)
    each = [region_counts(predicted, t).scores() for t in truth]
    together = region_counts(predicted, truth).scores()
    for key in ("pri_ods", "vi_ods", "covering_ods"):
        assert together[key] == pytest.approx(np.mean([e[key] for e in each]))
    hidden = truth.copy()
    hidden[:, :4] = 99
    expected = region_counts(predicted[4:], truth[:, 4:]).scores()
    assert region_counts(predicted, hidden, void=99).scores() == pytest.approx(expected)
    noise = predicted.copy()
    noise[:4] = 12345
    assert region_counts(noise, hidden, void=99).scores() == pytest.approx(expected)


def test_one_pixel_and_one_segment_are_scored_like_others() -> None:
    assert region_counts([[3]], [[8]]).scores()["pri_ods"] == 1.0
    halves = np.repeat([[0, 1]], 8, axis=1)
    assert region_counts(np.zeros((1, 16), int), halves).scores()["vi_ods"] == pytest.approx(1.0)  # one bit


@pytest.mark.parametrize(
    ("predicted", "truth", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "cannot be compared"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "integers"),
        (np.zeros((2, 2), int), np.full((2, 2), 9), "only void"),
    ],
)
def test_bad_maps_are_refused(predicted: np.ndarray, truth: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        region_counts(predicted, truth, void=9)


def test_counts_with_different_numbers_of_scales_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="scales"):
        region_counts(maps(0, 2), maps(1, 1)) + region_counts(maps(0, 3), maps(1, 1))
