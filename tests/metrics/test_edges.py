"""Non-maximum suppression of edge maps against loops over pixels, and their scores on planted edges."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from segspectral.metrics.boundary import boundary_map, thin
from segspectral.metrics.edges import MARGIN, edge_counts, ridges

Map = np.ndarray


def noise(seed: int, shape: tuple[int, int]) -> Map:
    values = cv2.GaussianBlur(np.random.default_rng(seed).random(shape), (0, 0), 1.5)
    return (values - values.min()) / np.ptp(values)


def smooth(edges: Map, row: int, column: int) -> float:
    """The triangle filter of radius 4 at one pixel; the map is mirrored at its sides."""
    H, W = edges.shape

    def mirrored(i: int, size: int) -> int:
        while not 0 <= i < size:
            i = -i - 1 if i < 0 else 2 * size - 1 - i
        return i

    total = 0.0
    for a in range(-4, 5):
        for b in range(-4, 5):
            total += (5 - abs(a)) * (5 - abs(b)) * edges[mirrored(row + a, H), mirrored(column + b, W)]
    return total / 625


def derivative(values: Map, down: int, right: int) -> Map:
    """Central differences, and one-sided ones at the sides."""
    H, W = values.shape
    out = np.zeros((H, W))
    for r in range(H):
        for c in range(W):
            r1, r0 = min(r + down, H - 1), max(r - down, 0)
            c1, c0 = min(c + right, W - 1), max(c - right, 0)
            out[r, c] = (values[r1, c1] - values[r0, c0]) / (r1 - r0 + c1 - c0)
    return out


def between(edges: Map, y: float, x: float) -> float:
    """Bilinear interpolation; places outside are moved to the nearest side."""
    H, W = edges.shape
    y, x = min(max(y, 0), H - 1), min(max(x, 0), W - 1)
    r, c = min(int(y), H - 2), min(int(x), W - 2)
    top = edges[r, c] * (c + 1 - x) + edges[r, c + 1] * (x - c)
    low = edges[r + 1, c] * (c + 1 - x) + edges[r + 1, c + 1] * (x - c)
    return float(top * (r + 1 - y) + low * (y - r))


def slow_ridges(edges: Map) -> Map:
    """The published procedure, pixel by pixel."""
    H, W = edges.shape
    blurred = np.array([[smooth(edges, r, c) for c in range(W)] for r in range(H)])
    x, y = derivative(blurred, 0, 1), derivative(blurred, 1, 0)
    xx, xy, yy = derivative(x, 0, 1), derivative(x, 1, 0), derivative(y, 1, 0)
    out = np.zeros((H, W))
    for r in range(H):
        for c in range(W):
            angle = math.atan((-1 if xy[r, c] > 0 else 1) * yy[r, c] / (xx[r, c] + 1e-5)) % math.pi
            sides = [between(edges, r + s * math.sin(angle), c + s * math.cos(angle)) for s in (-1, 1)]
            if 1.01 * edges[r, c] >= max(sides):
                out[r, c] = edges[r, c]
                for place, size in ((r, H), (c, W)):
                    out[r, c] *= min(1, min(place, size - 1 - place) / min(MARGIN, size / 2))
    return out


@pytest.mark.parametrize(("seed", "shape"), [(0, (17, 23)), (1, (24, 11)), (2, (9, 9))])
def test_ridges_equal_loops_over_pixels(seed: int, shape: tuple[int, int]) -> None:
    edges = noise(seed, shape)
    made = ridges(edges)
    np.testing.assert_allclose(made, slow_ridges(edges), atol=1e-9)
    assert 0.05 < (made > 0).mean() < 0.6


def line(angle: float) -> tuple[Map, Map]:
    """A blurred line through the middle of 61 x 61 pixels, and the distance of each pixel from it."""
    y, x = np.indices((61, 61)) - 30.0
    distance = np.abs(x * math.cos(angle) + y * math.sin(angle))
    return np.exp(-0.5 * (distance / 2.5) ** 2), distance


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 110, 135, 160])
def test_of_a_blurred_line_its_middle_stays(degrees: int) -> None:
    edges, distance = line(math.radians(degrees))
    inside = np.s_[10:51, 10:51]
    kept = ridges(edges)[inside] > 0.3
    assert distance[inside][kept].max() < 1.1
    assert kept[distance[inside] < 0.25].all()


def test_mirrored_and_turned_maps_have_mirrored_and_turned_ridges() -> None:
    edges = noise(3, (40, 50))
    made = ridges(edges) > 0
    for there, back in (
        (np.fliplr, np.fliplr),
        (np.flipud, np.flipud),
        (np.transpose, np.transpose),
        (np.rot90, lambda values: np.rot90(values, -1)),
    ):
        # Two equal neighbours may be told apart by rounding.
        assert (back(ridges(there(edges)) > 0) != made).mean() < 0.01


def people() -> Map:
    """Two human maps (2, 80, 100) of boundaries away from the sides of the image, one pixel apart."""
    y, x = np.indices((80, 100))
    labels = [((y - 38 - k) ** 2 + (x - 50) ** 2 < 25**2).astype(int) for k in (0, 1)]
    return thin(boundary_map(np.stack(labels)))


def test_what_a_person_drew_scores_one_however_soft_it_is() -> None:
    drawn = people()[:1]
    soft = cv2.GaussianBlur(drawn[0].astype(float), (0, 0), 1.5)
    for strength in (drawn[0].astype(float), soft / soft.max()):
        scores = edge_counts(strength, drawn).scores()
        assert scores["edges_ods"] > 0.96
        assert scores["edges_ois"] > 0.96


def test_edges_elsewhere_and_noise_score_low() -> None:
    drawn = people()[:1]
    moved = np.roll(drawn[0], 6, axis=1).astype(float)
    strong, noisy = edge_counts(drawn[0].astype(float), drawn), edge_counts(noise(4, drawn.shape[1:]), drawn)
    assert edge_counts(moved, drawn).scores()["edges_ods"] < 0.4
    assert noisy.scores()["edges_ods"] < 0.5 < 0.9 < strong.scores()["edges_ods"]
    assert edge_counts(np.zeros(drawn.shape[1:]), drawn).scores()["edges_ods"] == 0


def test_false_edges_that_are_weaker_cost_nothing_at_the_best_threshold_and_stronger_ones_do() -> None:
    drawn = people()
    false = np.zeros(drawn.shape[1:])
    false[15:65, 10] = 1
    found = {weight: edge_counts(np.maximum(0.6 * drawn[0], weight * false), drawn).scores() for weight in (0, 0.3, 1)}
    assert found[0.3]["edges_ods"] == pytest.approx(found[0]["edges_ods"])
    assert found[1]["edges_ods"] < found[0]["edges_ods"] - 0.05


def test_images_in_parts_equal_all_images() -> None:
    counts = [edge_counts(noise(seed, (80, 100)), people()) for seed in range(3)]
    assert ((counts[0] + counts[1]) + counts[2]).scores() == (counts[0] + (counts[1] + counts[2])).scores()
    assert len(counts[0].curve()[0]) == 99


def test_sizes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        edge_counts(np.zeros((8, 9)), people())
