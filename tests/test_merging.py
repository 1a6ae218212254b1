"""The last merges of a hierarchy: the learned strength of borders between whole regions."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.features import FeatureStack
from segspectral.features.contours import STRIDES
from segspectral.superpixels import Watershed
from segspectral.values import Image
from segspectral.values.merging import CUES, LATE, Logistic, Looks, Regions, fitted, late_merges, log_odds
from segspectral.values.regions import RegionGraph, build_hierarchy, first_merges, seeded_regions

GROUPS, WIDTH = len(STRIDES), 3


def grid(seed: int = 0, rows: int = 9, columns: int = 11, width: int = WIDTH) -> RegionGraph:
    """Regions in rows and columns, with random areas, borders and looks."""
    rng = np.random.default_rng(seed)
    number = np.arange(rows * columns).reshape(rows, columns)
    beside = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    below = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    borders = np.concatenate([beside, below])
    borders = borders[np.lexsort(borders.T[::-1])].astype(np.int32)
    n, m = rows * columns, len(borders)
    looks = Looks.of([rng.normal(size=(n, width)) for _ in range(GROUPS)])
    return RegionGraph(rng.uniform(50, 500, n), borders, rng.uniform(1, 30, m), rng.uniform(0.01, 0.99, m), looks)


def strength() -> Logistic:
    return Logistic(0.3, np.random.default_rng(5).normal(size=len(CUES) + 3 * GROUPS) / 3)


def by_hand(graph: RegionGraph, a: set[int], b: set[int], inner: dict[frozenset[int], float]) -> NDArray[np.float64]:
    """The cues of two regions, sets of leaves, from the leaves alone."""
    area = graph.area
    a, b = sorted((a, b), key=lambda region: area[list(region)].sum())

    def between(region: set[int], other: set[int] | None) -> NDArray[np.intp]:
        pairs = [
            (i in region, j in region, other is None or i in other or j in other) for i, j in graph.borders.tolist()
        ]
        return np.array([k for k, (p, q, r) in enumerate(pairs) if p != q and r], dtype=np.intp)

    def mean(at: NDArray[np.intp]) -> float:
        return float(np.average(graph.boundary[at], weights=graph.border_length[at]))

    def odds(p: float) -> float:
        return float(log_odds(np.array([p]))[0])

    here = between(a, b)
    length = graph.border_length[here].sum()
    cues = [
        odds(mean(here)),
        np.average(log_odds(graph.boundary[here]), weights=graph.border_length[here]),
        np.log(length / np.sqrt(area[list(a)].sum())),
    ]
    spreads = []
    for region in (a, b):
        others = np.setdiff1d(between(region, None), here)
        leaves = list(region)
        share = area[leaves].sum() / area.sum()
        cues += [np.log(share), odds(mean(others if len(others) else here)), odds(inner[frozenset(region)])]
        centre = np.average(graph.looks.mean[leaves], axis=0, weights=area[leaves])
        apart = ((graph.looks.mean[leaves] - centre) ** 2).sum(axis=2)
        spreads.append((centre, np.average(apart, axis=0, weights=area[leaves]) ** 0.25))
    gap = ((spreads[0][0] - spreads[1][0]) ** 2).sum(axis=1) ** 0.25
    return np.concatenate([cues, gap, spreads[0][1], spreads[1][1]])


def test_the_merges_are_those_of_a_search_of_all_pairs_with_cues_from_the_leaves() -> None:
    graph, rule = grid(rows=4, columns=5), strength()
    tree = build_hierarchy(graph, late=rule)
    regions = [{leaf} for leaf in range(len(graph))]
    inner = {frozenset(region): 1e-3 for region in regions}
    altitudes, cuts = [], []
    while len(regions) > 1:
        best: tuple[float, int, int] = (np.inf, 0, 0)
        for x, y in itertools.combinations(range(len(regions)), 2):
            if any(
                (i in regions[x] and j in regions[y]) or (i in regions[y] and j in regions[x]) for i, j in graph.borders
            ):
                best = min(best, (float(rule(by_hand(graph, regions[x], regions[y], inner)[None])[0]), x, y))
        altitude, x, y = best
        at = [k for k, (i, j) in enumerate(graph.borders.tolist()) if {i, j} <= regions[x] | regions[y]]
        at = [k for k in at if (graph.borders[k][0] in regions[x]) != (graph.borders[k][1] in regions[x])]
        gone = float(np.average(graph.boundary[at], weights=graph.border_length[at]))
        joined = regions[x] | regions[y]
        inner[frozenset(joined)] = max(gone, inner[frozenset(regions[x])], inner[frozenset(regions[y])])
        regions = [region for k, region in enumerate(regions) if k not in (x, y)] + [joined]
        altitudes.append(altitude)
        cuts.append({frozenset(region) for region in regions})
    np.testing.assert_allclose(tree.altitudes, np.maximum.accumulate(altitudes), rtol=1e-6)
    for segments, cut in enumerate(reversed(cuts), start=1):
        found = tree.regions(segments)
        assert {frozenset(np.flatnonzero(found == c).tolist()) for c in range(segments)} == cut


def test_altitudes_rise_and_early_merges_are_those_of_boundaries_alone() -> None:
    graph = grid(rows=14, columns=15)
    tree, plain = build_hierarchy(graph), build_hierarchy(replace(graph, looks=None))
    assert (np.diff(tree.altitudes) >= 0).all()
    assert 0 <= tree.altitudes[0] <= tree.altitudes[-1] <= 1
    np.testing.assert_array_equal(tree.regions(segments=LATE), plain.regions(segments=LATE))
    assert (tree.regions(segments=20) != plain.regions(segments=20)).any()


def test_the_tree_depends_neither_on_numbers_nor_on_units_nor_on_rotations_of_looks() -> None:
    graph = grid(rows=13, columns=14)
    n = len(graph)
    new = np.random.default_rng(2).permutation(n)
    ends = np.sort(new[graph.borders], axis=1).astype(np.int32)
    order, old = np.lexsort(ends.T[::-1]), np.argsort(new)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(WIDTH, WIDTH)))[0]
    other = RegionGraph(
        4 * graph.area[old],
        ends[order],
        2 * graph.border_length[order],  # an image of twice the size
        graph.boundary[order],
        Looks(graph.looks.mean[old] @ turn, graph.looks.square[old]),
    )
    before, after = build_hierarchy(graph, late=strength()), build_hierarchy(other, late=strength())
    np.testing.assert_allclose(before.altitudes, after.altitudes, atol=1e-9)
    for segments in (2, 10, 50, 120):
        np.testing.assert_array_equal(before.regions(segments), after.regions(segments)[new])


def test_joined_regions_have_the_cues_of_regions_that_were_one_from_the_beginning() -> None:
    graph = grid()
    n = len(graph)
    state = Regions(graph, np.arange(n), np.full(n, 0.2))
    state.join(0, 1)
    state.join(0, 11)
    region = np.arange(n)
    region[[1, 11]] = 0
    region = np.unique(region, return_inverse=True)[1]
    inner = np.full(n - 2, 0.2)
    inner[0] = state.inner[0]
    fresh = Regions(graph, region, inner)
    i, j = np.nonzero(np.triu(state.length))
    found, expected = state.cues(i, j), fresh.cues(region[i], region[j])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_labels_stay_apart_and_regions_that_do_not_touch_are_merged_last() -> None:
    graph = grid(rows=12, columns=14)
    seeds = np.zeros(len(graph), int)
    seeds[[0, 70, 167]] = 1, 2, 3
    found = seeded_regions(graph, seeds)
    assert set(found) == {1, 2, 3}
    assert (found[[0, 70, 167]] == [1, 2, 3]).all()
    kept = (graph.borders // 84)[:, 0] == (graph.borders // 84)[:, 1]  # two halves of six rows
    halves = replace(
        graph, borders=graph.borders[kept], border_length=graph.border_length[kept], boundary=graph.boundary[kept]
    )
    tree = build_hierarchy(halves)
    assert tree.altitudes[-1] == 1
    assert (tree.regions(segments=2) == np.repeat([0, 1], 84)).all() or (
        tree.regions(segments=2) == np.repeat([1, 0], 84)
    ).all()


def test_the_weights_that_come_with_segspectral_mean_what_they_should() -> None:
    weights = fitted().weights
    assert len(weights) == len(CUES) + 3 * len(STRIDES)
    by_name = dict(zip(CUES, weights, strict=False))
    assert by_name["boundary"] + by_name["odds"] > 0, "a stronger border is merged later"
    assert by_name["others_smaller"] < 0, "a border that is weak beside the others is merged earlier"
    assert weights[len(CUES) : len(CUES) + 3].sum() > 0, "regions that look different are merged later"


def test_looks_come_with_learned_edges_and_not_where_other_edges_decide(cat: NDArray[np.uint8]) -> None:
    image = Image(cat)
    superpixels = Watershed(count=200)(image, None)
    _, graph = FeatureStack()(image, superpixels)
    assert graph.looks is not None
    assert graph.looks.mean.shape[:2] == (len(graph), len(STRIDES))
    assert FeatureStack(contours={"edges": False})(image, superpixels)[1].looks is None
    assert FeatureStack(cnn=None)(image, superpixels)[1].looks is None
    own = replace(image, edges=np.zeros(image.shape, np.float32))
    assert FeatureStack()(own, superpixels)[1].looks is None, "the user's edges decide alone"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("torch")
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    try:
        return importlib.import_module("fit_merging")
    finally:
        sys.path.pop(0)


def test_without_learned_weights_the_tool_merges_as_boundaries_do(tool: ModuleType) -> None:
    graph = grid(rows=12, columns=14)
    ours, plain = build_hierarchy(graph, late=tool.by_boundary), build_hierarchy(replace(graph, looks=None))
    np.testing.assert_allclose(ours.altitudes, plain.altitudes, atol=1e-12)
    for segments in (2, 10, 60, 140):
        np.testing.assert_array_equal(ours.regions(segments), plain.regions(segments))


def test_the_tool_learns_looks_that_people_go_by(tool: ModuleType) -> None:
    """People draw the left and the right half, which look different; boundaries are noise."""
    rng = np.random.default_rng(0)
    images = []
    for seed in range(6):
        graph = grid(seed, rows=8, columns=12)
        left = np.arange(len(graph)) % 12 < 6
        looks = np.where(left, 0.0, 3.0)[:, None] + rng.normal(0, 0.3, (len(graph), WIDTH))
        graph = replace(graph, looks=Looks.of([looks, *rng.normal(size=(GROUPS - 1, *looks.shape))]))
        images.append(tool.Drawn(graph, [graph.area[:, None] * np.stack([left, ~left], axis=1)]))
    learned = tool.fit(images, rounds=2)
    gain = []
    for rule in (tool.by_boundary, learned):
        cuts = [build_hierarchy(image.graph, late=rule).regions(segments=2) for image in images]
        gain.append(
            np.mean([tool.coverings(cut, image.people).mean() for cut, image in zip(cuts, images, strict=True)])
        )
    assert gain[1] > 0.95 > gain[0]
    assert json.loads(json.dumps({"bias": learned.bias, "weights": learned.weights.tolist()}))["bias"] == learned.bias


def test_late_merges_end_where_nothing_touches() -> None:
    graph = replace(grid(), borders=np.empty((0, 2), np.int32), border_length=np.empty(0), boundary=np.empty(0))
    first = first_merges(graph, fewest=LATE)
    assert late_merges(first.regions(graph), first.label, fitted())[0] == []
