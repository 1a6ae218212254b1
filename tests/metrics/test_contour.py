"""The four measures by dilation against slow reference implementations, and on easy cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.morphology import dilation, disk

from segspectral.metrics.contour import Share, boundary_iou, csurka_bf, davis_f, trimap


def masks(seed: int, shape: tuple[int, int] = (50, 70)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    centre = rng.uniform(0.2, 0.8, 2) * shape
    radius = rng.uniform(6, 25)
    truth = np.hypot(rows - centre[0], columns - centre[1]) < radius
    prediction = np.hypot(rows - centre[0] - rng.normal(0, 2), columns - centre[1]) < radius + rng.normal(0, 2)
    return prediction, truth


def davis_plain(foreground: np.ndarray, truth: np.ndarray) -> float:
    """``db_eval_boundary`` of DAVIS 2017 with its own dilation by a disk."""
    radius = math.ceil(0.008 * np.linalg.norm(truth.shape))

    def edges(m: np.ndarray) -> np.ndarray:
        east, south, corner = np.zeros_like(m), np.zeros_like(m), np.zeros_like(m)
        east[:, :-1], south[:-1], corner[:-1, :-1] = m[:, 1:], m[1:], m[1:, 1:]
        b = (m ^ east) | (m ^ south) | (m ^ corner)
        b[-1] = m[-1] ^ east[-1]
        b[:, -1] = m[:, -1] ^ south[:, -1]
        b[-1, -1] = False
        return b

    a, b = edges(foreground), edges(truth)
    a_wide, b_wide = dilation(a, disk(radius)), dilation(b, disk(radius))
    if a.sum() == 0 or b.sum() == 0:
        precision, recall = float(b.sum() > 0 or a.sum() == 0), float(a.sum() > 0 or b.sum() == 0)
    else:
        precision, recall = (a & b_wide).sum() / a.sum(), (b & a_wide).sum() / b.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def band_plain(mask: np.ndarray, times: int) -> np.ndarray:
    """Return the band of Boundary IoU by ``times`` erosions with 3 x 3; outside the image is background."""
    padded = np.pad(mask, 1)
    inner = padded.copy()
    for _ in range(times):
        big = np.pad(inner, 1)
        inner = np.ones_like(inner)
        for dy in range(3):
            for dx in range(3):
                inner &= big[dy : dy + inner.shape[0], dx : dx + inner.shape[1]]
    return (padded & ~inner)[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(6))
def test_davis_equals_its_definition(seed: int) -> None:
    prediction, truth = masks(seed)
    assert davis_f(prediction, truth).value == pytest.approx(davis_plain(prediction, truth), abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_boundary_iou_equals_plain_erosions(seed: int) -> None:
    prediction, truth = masks(seed)
    times = max(1, round(0.02 * math.hypot(*truth.shape)))
    a, b = band_plain(prediction, times), band_plain(truth, times)
    counts = boundary_iou(prediction, truth)
    assert (counts.hits, counts.total) == ((a & b).sum(), (a | b).sum())


def test_the_image_border_is_boundary_for_boundary_iou() -> None:
    full = np.ones((100, 100), bool)
    assert boundary_iou(full, full).total == 100**2 - 94**2  # three pixels all around


@pytest.mark.parametrize("seed", range(3))
def test_csurka_equals_distances_between_all_pairs(seed: int) -> None:
    prediction, truth = masks(seed)
    radius = 0.0075 * math.hypot(*truth.shape)
    scores = []
    for c in (False, True):
        edges = []
        for m in (prediction == c, truth == c):
            wide = np.pad(m, 1, constant_values=True)
            inside = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
            edges.append(np.argwhere(m & ~inside))
        distance = np.sqrt(((edges[0][:, None] - edges[1][None]) ** 2).sum(axis=-1))
        p, r = (distance.min(axis=1) <= radius).mean(), (distance.min(axis=0) <= radius).mean()
        scores.append(2 * p * r / (p + r) if p + r else 0.0)
    assert csurka_bf(prediction.astype(int), truth.astype(int)).value == pytest.approx(np.mean(scores))


def test_trimap_counts_a_band_without_void() -> None:
    truth = np.repeat([0, 1], 10)[None].repeat(5, axis=0)
    prediction = truth.copy()
    prediction[:, 8:10] = 1
    assert trimap(prediction, truth, width=1) == Share(5, 10)
    assert trimap(prediction, truth, width=2) == Share(10, 20)
    truth[0] = 255
    prediction[0] = 77
    assert trimap(prediction, truth, width=1, void=255).hits <= trimap(prediction, truth, width=1, void=255).total
    assert trimap(np.zeros((3, 3), int), np.zeros((3, 3), int), width=2).total == 0


def test_perfect_predictions_score_one_and_hopeless_ones_zero() -> None:
    _, truth = masks(0)
    nothing = np.zeros_like(truth)
    assert davis_f(truth, truth).value == csurka_bf(truth.astype(int), truth.astype(int)).value == 1.0
    assert boundary_iou(truth, truth).value == 1.0
    assert davis_f(nothing, truth).value == davis_f(truth, nothing).value == boundary_iou(nothing, truth).value == 0.0
    assert davis_f(nothing, nothing).value == 1.0


def test_predictions_in_void_pixels_do_not_change_csurka() -> None:
    prediction, truth = (m.astype(int) for m in masks(1))
    truth[:10] = 255
    other = np.where(truth == 255, 1 - prediction, prediction)
    assert csurka_bf(prediction, truth, void=255) == csurka_bf(other, truth, void=255)


def test_counts_add_up() -> None:
    assert (Share(0.5, 1) + Share(1.5, 3)).value == 0.5
    assert (Share(1, 2) + Share(3, 6)).value == 0.5
    assert math.isnan(Share(0, 0).value)


@pytest.mark.parametrize("function", [davis_f, boundary_iou, csurka_bf])
def test_shapes_must_agree(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="cannot be compared"):
        function(np.zeros((2, 2), int), np.zeros((2, 3), int))
