"""Superpixel scores against loops over superpixels, and their laws."""

from __future__ import annotations

import numpy as np
import pytest

from segspectral.metrics.semantic import image_majority
from segspectral.metrics.superpixel import superpixel_counts, thick_boundary


def case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.kron(np.arange(30).reshape(5, 6), np.ones((5, 5), int))
    truth = np.kron(rng.integers(0, 4, (4, 4)), np.ones((7, 8), int))[:25, :30]
    return labels, truth


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_loops(seed: int) -> None:
    labels, truth = case(seed)
    leaked = majority = 0
    for g in np.unique(truth):
        for s in np.unique(labels):
            inside, outside = ((labels == s) & (truth == g)).sum(), ((labels == s) & (truth != g)).sum()
            leaked += min(inside, outside) if inside else 0
    for s in np.unique(labels):
        majority += np.bincount(truth[labels == s]).max()
    edge, near = thick_boundary(truth), thick_boundary(labels)
    found = 0
    for y, x in np.argwhere(edge):
        found += near[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
    scores = superpixel_counts(labels, truth, radius=1).scores()
    assert scores["undersegmentation_error"] == pytest.approx(leaked / truth.size)
    assert scores["asa"] == pytest.approx(majority / truth.size)
    assert scores["boundary_recall"] == pytest.approx(found / edge.sum())
    assert scores["segments"] == 30
    assert scores["compactness"] == pytest.approx(np.pi / 4)  # squares


def test_asa_is_protocol_p4_on_pixels() -> None:
    labels, truth = case(9)
    expected = image_majority(labels, truth, 4).scores()["pixel_accuracy"]
    assert superpixel_counts(labels, truth).scores()["asa"] == pytest.approx(expected)


def test_perfect_superpixels_score_one_and_counts_add_up() -> None:
    labels, truth = case(1)
    scores = superpixel_counts(truth, truth).scores()
    assert (scores["boundary_recall"], scores["undersegmentation_error"], scores["asa"]) == (1.0, 0.0, 1.0)
    other = superpixel_counts(labels * 1000 - 7, np.stack([truth, truth + 3]))
    assert other.scores() == pytest.approx(superpixel_counts(labels, truth).scores())
    whole = superpixel_counts(labels, truth) + superpixel_counts(labels, truth)
    assert whole.images == 2
    assert whole.scores() == superpixel_counts(labels, truth).scores()


def test_void_is_removed_from_both_maps() -> None:
    labels, truth = case(2)
    hidden = truth.copy()
    hidden[:10] = 255
    expected = superpixel_counts(labels[10:], truth[10:], radius=1).scores()
    scores = superpixel_counts(labels, hidden, radius=1, void=255).scores()
    for key in ("undersegmentation_error", "asa"):
        assert scores[key] == pytest.approx(expected[key])
    with pytest.raises(ValueError, match="only void"):
        superpixel_counts(labels, np.full_like(truth, 255), void=255)
