"""mIoU and accuracy against plain loops and the official Cityscapes code, and the laws of every protocol."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from segspectral.metrics.semantic import (
    ClassCounts,
    ClusterCounts,
    cluster_counts,
    image_diffcut,
    image_hungarian,
    image_majority,
)

C, VOID = 4, 255


def case(seed: int, clusters: int = C, shape: tuple[int, int] = (23, 31)) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth in blocks with some void, and a prediction that agrees with it in 60 % of the pixels."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, C, (5, 5)), np.ones((7, 7), int))[: shape[0], : shape[1]]
    prediction = np.where(rng.random(shape) < 0.6, truth % clusters, rng.integers(0, clusters, shape))
    truth[rng.random(shape) < 0.1] = VOID
    return prediction, truth


def plain_iou(prediction: np.ndarray, truth: np.ndarray, names: dict[int, int]) -> list[float]:
    """Compute the IoU per class by loops over pixels; clusters without a name in ``names`` are wrong everywhere."""
    hit, either = [0] * C, [0] * C
    for p, t in zip(prediction.ravel(), truth.ravel(), strict=True):
        if t == VOID:
            continue
        p = names.get(int(p), -1)
        either[t] += 1
        if p == t:
            hit[t] += 1
        elif p >= 0:
            either[p] += 1
    return [h / e if e else float("nan") for h, e in zip(hit, either, strict=True)]


def test_p1_is_the_best_of_all_one_to_one_namings() -> None:
    for seed, clusters in itertools.product(range(3), (2, 4, 5)):
        prediction, truth = case(seed, clusters)
        best = 0.0
        for names in itertools.permutations(range(max(clusters, C)), clusters):
            chosen = {k: n for k, n in enumerate(names) if n < C}
            best = max(best, float(np.nan_to_num(plain_iou(prediction, truth, chosen)).mean()))
        scores = cluster_counts(prediction, truth, C, void=VOID).hungarian("iou").scores()
        # the matching maximises the sum of the IoU of the pairs, which is mIoU
        assert scores["miou"] == pytest.approx(best, abs=1e-12)


def test_p1_by_pixels_is_the_best_accuracy() -> None:
    prediction, truth = case(5)
    valid = truth != VOID
    best = max(
        float((np.array(names)[prediction] == truth)[valid].mean()) for names in itertools.permutations(range(C))
    )
    scores = cluster_counts(prediction, truth, C, void=VOID).hungarian("pixels").scores()
    assert scores["pixel_accuracy"] == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("clusters", [2, 4, 9])
def test_p2_and_p4_equal_a_plain_majority(clusters: int) -> None:
    prediction, truth = case(2, clusters)
    valid = truth != VOID
    names = {k: int(np.bincount(truth[valid & (prediction == k)], minlength=C).argmax()) for k in range(clusters)}
    expected = plain_iou(prediction, truth, names)
    assert cluster_counts(prediction, truth, C, void=VOID).majority().scores()["per_class"] == pytest.approx(expected)
    assert image_majority(prediction, truth, C, void=VOID).scores()["per_class"] == pytest.approx(expected)


def test_protocols_bound_each_other() -> None:
    prediction, truth = case(7, 9)
    counts = cluster_counts(prediction, truth, C, void=VOID)
    accuracy = [c.scores()["pixel_accuracy"] for c in (counts.hungarian("pixels"), counts.majority())]
    assert accuracy[0] <= accuracy[1]


def test_perfect_prediction_scores_one_under_every_protocol() -> None:
    _, truth = case(1)
    prediction = np.where(truth == VOID, 3, (truth + 1) % C)
    counts = cluster_counts(prediction, truth, C, void=VOID)
    for result in (
        counts.hungarian("iou"),
        counts.hungarian("pixels"),
        counts.majority("iou"),
        counts.majority("pixels"),
        image_hungarian(prediction, truth, C, void=VOID),
        image_majority(prediction, truth, C, void=VOID),
    ):
        assert result.scores()["miou"] == 1.0
        assert result.scores()["pixel_accuracy"] == 1.0


def test_relabelling_clusters_changes_nothing() -> None:
    prediction, truth = case(3, 6)
    renamed = np.array([11, 2, 7, 0, 5, 3])[prediction]
    for by in ("iou", "pixels"):
        first, second = (cluster_counts(p, truth, C, void=VOID) for p in (prediction, renamed))
        assert first.hungarian(by).scores() == second.hungarian(by).scores()
        assert first.majority(by).scores() == second.majority(by).scores()
    for image in (image_hungarian, image_majority):
        far = renamed.astype(np.int64) * 10**9 - 5
        assert image(prediction, truth, C, void=VOID).scores() == image(far, truth, C, void=VOID).scores()


def test_a_cluster_nobody_uses_changes_nothing() -> None:
    prediction, truth = case(4)
    counts = cluster_counts(prediction, truth, C, void=VOID)
    wider = ClusterCounts(np.vstack([counts.pixels, np.zeros((3, C), np.int64)]), 1)
    assert wider.hungarian().scores() == counts.hungarian().scores()
    assert wider.majority().scores() == counts.majority().scores()


def test_extra_clusters_are_counted_not_dropped() -> None:
    truth = np.repeat([0, 1], 50).reshape(10, 10)
    prediction = truth.copy()
    prediction[0] = 2  # ten pixels of class 0 in a cluster too many
    for result in (cluster_counts(prediction, truth, 2).hungarian(), image_hungarian(prediction, truth, 2)):
        scores = result.scores()
        assert scores["pixels"] == 100
        assert scores["pixel_accuracy"] == 0.9
        assert scores["per_class"] == [0.8, 1.0]
    # the defect this guards against: leaving those pixels out would call the prediction perfect
    kept = prediction < 2
    assert cluster_counts(prediction[kept], truth[kept], 2).hungarian().scores()["miou"] == 1.0


def test_parts_add_up_to_the_whole() -> None:
    parts = [cluster_counts(*case(seed, 3 + seed % 4), C, void=VOID) for seed in range(6)]
    predictions, truths = zip(*(case(seed, 3 + seed % 4) for seed in range(6)), strict=True)
    whole = cluster_counts(np.concatenate(predictions), np.concatenate(truths), C, void=VOID)
    left, right = sum(parts[1:3], parts[0]), sum(parts[4:], parts[3])
    assert (right + left).hungarian().scores() == whole.hungarian().scores()
    assert (left + right).images == 6


def test_predictions_in_void_pixels_change_nothing() -> None:
    prediction, truth = case(8)
    other = np.where(truth == VOID, 777, prediction)
    for function in (image_hungarian, image_majority):
        assert function(prediction, truth, C, void=VOID).scores() == function(other, truth, C, void=VOID).scores()
    first, second = (cluster_counts(p, truth, C, void=VOID).hungarian().scores() for p in (prediction, other))
    assert first == second


def test_absent_classes_are_zero_in_one_mean_and_left_out_of_the_other() -> None:
    truth = np.array([[0, 0, 1, 1]])
    scores = cluster_counts(truth, truth, 4).direct().scores()
    assert (scores["miou"], scores["miou_present"], scores["classes_present"]) == (0.5, 1.0, 2)
    assert scores["per_class"] == [1.0, 1.0, None, None]
    wrong = cluster_counts(np.array([[0, 0, 1, 3]]), truth, 4).direct().scores()
    assert wrong["per_class"] == [1.0, 0.5, None, 0.0]
    assert (wrong["miou_present"], wrong["miou_seen"]) == (0.75, 0.5)


def test_per_image_matching_of_an_oversegmentation_counts_misses_only() -> None:
    truth = np.array([[0, 0, 0, 0]])
    counts = image_hungarian(np.array([[0, 0, 0, 1]]), truth, 2)
    assert counts.scores()["per_class"] == [0.75, None]  # segment 1 is not forced onto the absent class


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "2 x 2"),
        (np.zeros((2, 2), int), np.full((2, 2), 9), "unknown label id 9"),
        (np.zeros((2, 2), int), np.full((2, 2), -2), "unknown label id -2"),
        (np.zeros((2, 2), int), np.full((2, 2), VOID), "only void"),
        (np.full((2, 2), -1), np.zeros((2, 2), int), "cluster ids"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), "integers"),
    ],
)
def test_bad_maps_are_refused_with_the_reason(prediction: np.ndarray, truth: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cluster_counts(prediction, truth, C, void=VOID)


def test_counts_of_different_class_sets_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="classes"):
        ClassCounts(np.zeros((3, 2), np.int64), 1) + ClassCounts(np.zeros((4, 3), np.int64), 1)


def test_equals_the_official_cityscapes_scores() -> None:
    official = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
        reason="cityscapesScripts is not installed",
    )
    labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    rng = np.random.default_rng(0)
    ids = np.array([label.id for label in labels if label.id >= 0])
    truth_ids = np.kron(rng.choice(ids[ids != 20], (16, 16)), np.ones((8, 8), int))  # class 20 does not occur
    evaluated = {label.id: label.trainId for label in labels if 0 <= label.trainId < 255}
    noise = rng.choice([i for i in evaluated if i != 20], truth_ids.shape)
    keep = (rng.random(truth_ids.shape) < 0.7) & np.isin(truth_ids, list(evaluated))
    predicted_ids = np.where(keep, truth_ids, noise)

    arguments = official.args
    arguments.evalLabels = [label.id for label in labels if label.id >= 0]
    confusion = np.zeros((max(arguments.evalLabels) + 1,) * 2, dtype=np.ulonglong)
    np.add.at(confusion, (truth_ids.ravel(), predicted_ids.ravel()), 1)
    expected = [official.getIouScoreForLabel(i, confusion, arguments) for i in evaluated]

    table = np.full(256, VOID)
    for label, train in evaluated.items():
        table[label] = train
    scores = cluster_counts(table[predicted_ids], table[truth_ids], 19, void=VOID).direct().scores()
    ours = [np.nan if v is None else v for v in scores["per_class"]]
    assert ours == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert scores["miou_seen"] == pytest.approx(float(np.nanmean(expected)), abs=1e-9)


def test_equals_scikit_learn() -> None:
    from sklearn.metrics import jaccard_score

    prediction, truth = case(11)
    valid = truth != VOID
    expected = jaccard_score(truth[valid], prediction[valid], labels=range(C), average=None, zero_division=0)
    assert cluster_counts(prediction, truth, C, void=VOID).direct().scores()["per_class"] == pytest.approx(expected)


def test_a_cityscapes_image_takes_less_than_a_third_of_a_second() -> None:
    import time

    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 19, (32, 64)), np.ones((32, 32), int)).astype(np.uint8)
    prediction = rng.integers(0, 27, truth.shape).astype(np.int32)
    times = []
    for _ in range(3):
        start = time.process_time()
        cluster_counts(prediction, truth, 19, void=VOID).hungarian().scores()
        times.append(time.process_time() - start)
    assert min(times) < 0.3


# --- the protocol of DiffCut ---


def diffcut_by_loops(prediction: np.ndarray, truth: np.ndarray, background: int | None) -> np.ndarray:
    """Hits, false positives and misses (3, C) of one image, step by step, by trying all one-to-one namings."""
    side = min(truth.shape) - 1
    top, left = (round((n - side) / 2) for n in truth.shape)
    maps = []
    for values in (prediction, truth):
        square, small = values[top : top + side, left : left + side], np.zeros((128, 128), int)
        for r, c in itertools.product(range(128), repeat=2):
            small[r, c] = square[int((8 * r + 0.5) * side / 1024), int((8 * c + 0.5) * side / 1024)]
        maps.append(small)
    segments, labels = maps

    def best(names: list[int]) -> dict[int, int]:
        """Class -> segment, with the most shared pixels; segments from 1000 on do not exist."""
        ids = [*np.unique(segments).tolist(), *range(1000, 1000 + len(names))]
        tried = (dict(zip(names, some, strict=True)) for some in itertools.permutations(ids, len(names)))
        return max(tried, key=lambda pairs: sum(((labels == n) & (segments == s)).sum() for n, s in pairs.items()))

    if background is not None:
        labels[labels == VOID] = background
        pairs = best([n for n in range(C) if n != background])
        matched = np.isin(segments, list(pairs.values()))
        kept = [s for n, s in pairs.items() if ((labels == n) & matched).any()]
        segments[~np.isin(segments, kept)] = 999
    pairs, counts = best(list(range(C))), np.zeros((3, C), int)
    for name, segment in pairs.items():
        ours, theirs = segments == segment, labels == name
        counts[:, name] = (ours & theirs).sum(), (ours & ~theirs & (labels != VOID)).sum(), (~ours & theirs).sum()
    return counts


@pytest.mark.parametrize("background", [None, 0, 2])
@pytest.mark.parametrize("clusters", [2, 4, 5])
def test_the_protocol_of_diffcut_is_that_of_its_steps(clusters: int, background: int | None) -> None:
    prediction, truth = case(clusters, clusters, shape=(33, 31))
    pixels = image_diffcut(prediction, truth, C, void=VOID, background=background).pixels
    hits = np.diagonal(pixels[:C])
    found = np.stack([hits, pixels[:C].sum(axis=1) - hits, pixels.sum(axis=0) - hits])
    np.testing.assert_array_equal(found, diffcut_by_loops(prediction, truth, background))


def test_diffcut_joins_what_has_no_class_to_the_background() -> None:
    truth = np.zeros((65, 65), int)
    truth[16:48, 16:48] = 1
    parts = np.where(truth == 1, 9, np.indices(truth.shape)[0] // 16)  # the background falls into stripes
    assert image_diffcut(parts, truth, 2, background=0).scores()["miou_seen"] == 1.0
    assert image_diffcut(parts, truth, 2).scores()["miou_seen"] < 0.8
    assert image_hungarian(parts, truth, 2).scores()["miou_seen"] < 0.8


def test_diffcut_counts_void_as_background() -> None:
    truth = np.zeros((65, 65), int)
    truth[16:48, 16:48] = 1
    void = truth.copy()
    void[:, :8] = VOID
    for background, same in ((0, True), (None, False)):
        counts = (image_diffcut(truth, t, 2, void=VOID, background=background).pixels for t in (truth, void))
        assert np.array_equal(*counts) == same
