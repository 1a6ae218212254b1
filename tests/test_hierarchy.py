"""The hierarchy is nested and ultrametric, and boundary probabilities are high at the borders of objects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter1d
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import SettingsError
from segspectral.features import FeatureStack
from segspectral.features.contours import BINS, Contours, _histogram, border_graph, fitted
from segspectral.features.parts import Texture
from segspectral.pipeline import Pipeline
from segspectral.superpixels import Slic
from segspectral.values import Image, ImageHierarchy, Superpixels
from segspectral.values.regions import Hierarchy, build_hierarchy


def quadrants() -> Image:
    """(64, 96, 3) four noisy colours in the quadrants."""
    rgb = np.empty((64, 96, 3))
    rgb[:32, :48], rgb[:32, 48:] = (0.8, 0.2, 0.2), (0.2, 0.7, 0.3)
    rgb[32:, :48], rgb[32:, 48:] = (0.2, 0.3, 0.8), (0.8, 0.8, 0.3)
    return Image(np.clip(rgb + np.random.default_rng(0).normal(0, 0.02, rgb.shape), 0, 1), "quadrants")


@pytest.fixture(scope="module")
def tree() -> ImageHierarchy:
    image = quadrants()
    superpixels = Slic(count=60)(image)
    _, graph = FeatureStack(cnn=None)(image, superpixels)
    return on_pixels(graph.hierarchy, superpixels)


def on_pixels(tree: Hierarchy, superpixels: Superpixels) -> ImageHierarchy:
    return ImageHierarchy(tree.graph, tree.merges, tree.altitudes, superpixels=superpixels)


def grid_tree(boundary: dict[tuple[int, int], float], **options: float) -> Hierarchy:
    """Four superpixels, 0 1 above 2 3, of 4 x 4 pixels each, with given boundary probabilities."""
    labels = np.kron(np.array([[0, 1], [2, 3]], np.int32), np.ones((4, 4), np.int32))
    superpixels = Superpixels(labels)
    values = np.array([boundary[i, j] for i, j in superpixels.borders.tolist()])
    return build_hierarchy(superpixels.region_graph.with_boundary(values), **options)


def test_every_number_of_segments_can_be_cut_and_cuts_are_nested(tree: ImageHierarchy) -> None:
    cuts = [tree.labels(segments=k) for k in range(1, 21)]
    assert [len(np.unique(cut)) for cut in cuts] == list(range(1, 21))
    for coarse, fine in itertools.pairwise(cuts):
        assert all(len(np.unique(coarse[fine == segment])) == 1 for segment in np.unique(fine))


def test_altitudes_are_ascending_and_between_zero_and_one(tree: ImageHierarchy) -> None:
    assert len(tree.altitudes) == len(tree.superpixels) - 1
    assert (np.diff(tree.altitudes) >= 0).all()
    assert 0 <= tree.altitudes[0] <= tree.altitudes[-1] <= 1


def test_segments_are_numbered_by_descending_area(tree: ImageHierarchy) -> None:
    area = np.bincount(tree.labels(segments=7).ravel())[1:]
    assert (np.diff(area) <= 0).all()


def test_a_cut_at_a_level_agrees_with_the_contour_map(tree: ImageHierarchy) -> None:
    """Two superpixels are in one region at a level if and only if borders of at most this level connect them."""
    level = float(tree.altitudes[-6])
    together = tree.regions(level=level)
    i, j = tree.superpixels.borders.T
    low = tree.border_levels <= level
    assert (together[i[low]] == together[j[low]]).all()
    assert (together[i[~low]] != together[j[~low]]).all()
    assert tree.segments_at(level) == len(np.unique(together))


def test_the_level_between_two_leaves_is_that_of_the_merge_that_joins_them(tree: ImageHierarchy) -> None:
    n = len(tree.graph)
    pairs = np.random.default_rng(0).integers(0, n, (400, 2))
    expected, region = np.zeros(len(pairs)), np.arange(n)
    for (i, j), altitude in zip(tree.merges, tree.altitudes, strict=True):
        before = region[pairs[:, 0]] == region[pairs[:, 1]]
        region = np.where(region == region[j], region[i], region)
        expected[(region[pairs[:, 0]] == region[pairs[:, 1]]) & ~before] = altitude
    np.testing.assert_array_equal(tree.levels_between(pairs), expected)
    assert (tree.levels_between(np.array([[3, 3]])) == 0).all()
    assert len(tree.levels_between(np.empty((0, 2), np.int64))) == 0


def test_the_contour_map_is_zero_inside_superpixels_and_has_the_altitudes_between_them(tree: ImageHierarchy) -> None:
    labels, contours = tree.superpixels.labels, tree.contour_map
    inside = np.ones(labels.shape, bool)
    inside[:-1] &= labels[:-1] == labels[1:]
    inside[:, :-1] &= labels[:, :-1] == labels[:, 1:]
    assert not contours[inside].any()
    assert contours.max() == pytest.approx(tree.altitudes[-1], rel=1e-6)


def test_planted_quadrants_are_the_last_four_regions(tree: ImageHierarchy) -> None:
    labels = tree.labels(segments=4)
    corners = {int(labels[r, c]) for r in (8, 56) for c in (8, 88)}
    assert corners == {1, 2, 3, 4}
    assert (labels[4:28, 4:44] == labels[8, 8]).mean() > 0.98


def test_altitudes_equal_average_linkage_by_hand() -> None:
    """0-1 merge at 0.1; then 01-2 (0.2) and 01-3 (0.6) and 2-3 (0.3): 2 joins at 0.2, 3 at the mean of 0.6 and 0.3."""
    tree = grid_tree({(0, 1): 0.1, (0, 2): 0.2, (1, 3): 0.6, (2, 3): 0.3}, damping=0.0)
    np.testing.assert_allclose(tree.altitudes, [0.1, 0.2, 0.45])
    assert tree.regions(segments=2)[3] != tree.regions(segments=2)[0]


@pytest.mark.parametrize("damping", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("void", [0.0, 0.1])
def test_the_tree_is_that_of_a_search_of_all_borders_at_each_merge(damping: float, void: float) -> None:
    rng = np.random.default_rng(3)
    labels = np.kron(rng.permutation(30).reshape(5, 6) // 2, np.ones((5, 4), int)).astype(np.int32)
    labels[rng.random(labels.shape) < void] = -1
    superpixels = Superpixels(labels)
    graph = superpixels.region_graph.with_boundary(rng.random(len(superpixels.borders)))
    regions = [{leaf} for leaf in range(len(graph))]
    altitudes, cuts = [], []
    while len(regions) > 1:
        best = (np.inf, 0, 0)
        for a, b in itertools.combinations(range(len(regions)), 2):
            at = [
                k
                for k, (i, j) in enumerate(graph.borders.tolist())
                if {i, j} <= regions[a] | regions[b] and (i in regions[a]) != (j in regions[a])
            ]
            if at:
                smaller = min(graph.area[list(regions[c])].sum() for c in (a, b)) / graph.area.sum()
                mean = np.average(graph.boundary[at], weights=graph.border_length[at])
                best = min(best, (mean * smaller**damping, a, b))
        altitude, a, b = best
        altitudes.append(altitude)
        regions = [region for c, region in enumerate(regions) if c not in (a, b)] + [regions[a] | regions[b]]
        cuts.append({frozenset(region) for region in regions})
    tree = build_hierarchy(graph, damping)
    np.testing.assert_allclose(tree.altitudes, np.maximum.accumulate(altitudes))
    for segments, cut in enumerate(reversed(cuts), start=1):
        found = tree.regions(segments)
        assert {frozenset(np.flatnonzero(found == c).tolist()) for c in range(segments)} == cut


def test_regions_that_void_pixels_separate_are_merged_last() -> None:
    labels = np.full((8, 12), -1, np.int32)
    labels[:, :2], labels[:, 2:4], labels[:, 8:10], labels[:, 10:] = 0, 1, 2, 3
    superpixels = Superpixels(labels)
    tree = on_pixels(build_hierarchy(superpixels.region_graph.with_boundary(np.array([0.9, 0.9]))), superpixels)
    assert tree.altitudes[-1] == 1.0
    halves = tree.labels(segments=2)
    assert (halves[:, 4:8] == 0).all()
    assert halves[0, 0] == halves[0, 3] != halves[0, 9] == halves[0, 11]


@pytest.mark.parametrize(
    "cut", [{}, {"segments": 3, "level": 0.5}, {"segments": 0}, {"segments": 10**6}, {"level": 2.0}]
)
def test_an_impossible_cut_is_refused_in_one_sentence(tree: Hierarchy, cut: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="hierarchy"):
        tree.labels(**cut)  # type: ignore[arg-type]


def test_without_boundary_probabilities_there_is_no_hierarchy() -> None:
    result = Pipeline(segments=3, refine="none", superpixels={"count": 60}, features={"cnn": None, "contours": None})(
        quadrants()
    )
    with pytest.raises(SettingsError, match="contours"):
        _ = result.hierarchy


def boundaries(image: Image, superpixels: Superpixels) -> NDArray[np.float64]:
    """(M,) boundary probabilities from colour and texture alone."""
    contours = Contours()
    return contours.bounded(superpixels.region_graph, contours.measure(image, superpixels)).boundary


def test_boundary_probabilities_are_high_between_quadrants_and_low_within() -> None:
    image = quadrants()
    superpixels = Slic(count=60)(image)
    boundary = boundaries(image, superpixels)
    side = superpixels.pool(np.kron([[0.0, 1.0], [2.0, 3.0]], np.ones((32, 48)))).round()
    i, j = superpixels.borders.T
    across = side[i] != side[j]
    assert boundary[across].min() > boundary[~across].max()


def test_boundary_probabilities_do_not_depend_on_the_numbers_of_superpixels() -> None:
    image = quadrants()
    superpixels = Slic(count=60)(image)
    order = np.random.default_rng(1).permutation(len(superpixels)).astype(np.int32)
    other = Superpixels(order[superpixels.labels])
    before = dict(
        zip(
            map(frozenset, order[superpixels.borders].tolist()),
            boundaries(image, superpixels),
            strict=True,
        )
    )
    after = dict(zip(map(frozenset, other.borders.tolist()), boundaries(image, other), strict=True))
    assert before.keys() == after.keys()
    assert all(after[border] == pytest.approx(before[border], abs=1e-5) for border in before)


@pytest.mark.parametrize("texture", [Texture(), Texture(weight=3.0), Texture(scales=(1.0, 3.0)), None])
def test_the_cues_of_borders_do_not_depend_on_the_texture_of_the_features(texture: Texture | None) -> None:
    image = quadrants()
    superpixels = Slic(count=60)(image)
    stack = FeatureStack(cnn=None, texture=texture)
    found, expected = stack.measure(image, superpixels)["contours"], Contours().measure(image, superpixels)
    assert found.nodes.keys() == expected.nodes.keys()
    for name, values in expected.nodes.items():
        np.testing.assert_array_equal(found.nodes[name], values)


def test_histograms_are_smoothed_over_bins_by_a_gaussian() -> None:
    superpixels = Slic(count=60)(quadrants())
    channel = np.random.default_rng(0).uniform(-20, 120, superpixels.shape).astype(np.float32)
    edges = np.linspace(0, 100, BINS + 1)
    counts = [
        np.histogram(np.clip(channel[superpixels.labels == index], 0, 99.99), edges, density=True)[0] * 100 / BINS
        for index in range(len(superpixels))
    ]
    expected = gaussian_filter1d(np.array(counts), 1.0, axis=1, mode="constant")
    np.testing.assert_allclose(_histogram(channel, superpixels, 0, 100), expected, atol=1e-12)


def test_the_weights_with_and_without_a_network_exist() -> None:
    assert all(fitted(variant)[1].weights for variant in ("edges", "plain"))


def test_the_weights_of_the_border_graph_fall_with_the_probability(tree: ImageHierarchy) -> None:
    borders = len(tree.graph.borders)
    low = border_graph(tree.graph, np.full(borders, 0.1), 1.0)
    high = border_graph(tree.graph, np.full(borders, 0.9), 1.0)
    assert abs(low - low.T).max() == 0
    assert (low.toarray() >= high.toarray()).all()


def test_the_command_line_writes_nested_cuts_and_the_contour_map(tmp_path) -> None:  # type: ignore[no-untyped-def]
    PillowImage.fromarray(quadrants().uint8).save(tmp_path / "q.png")
    fast = ["--set", "features.cnn=null", "--set", "superpixels.count=60"]
    call = ["segment", str(tmp_path / "q.png"), "-o", str(tmp_path / "out"), "--hierarchy", "-k", "2,4", *fast]
    assert CliRunner().invoke(app, call).exit_code == 0
    two, four = (np.asarray(PillowImage.open(tmp_path / "out" / f"q_k{k}_labels.png")) for k in (2, 4))
    assert (two.max(), four.max()) == (2, 4)
    assert all(len(np.unique(two[four == segment])) == 1 for segment in (1, 2, 3, 4))
    contours = np.asarray(PillowImage.open(tmp_path / "out" / "q_ucm.png"))
    assert contours.dtype == np.uint16
    assert contours.shape == (64, 96)
    level = [*call[:4], "--level", "0.24", *fast]
    assert CliRunner().invoke(app, level).exit_code == 0
    assert np.asarray(PillowImage.open(tmp_path / "out" / "q_labels.png")).max() >= 2


def test_merged_regions_are_those_of_merged_superpixels() -> None:
    """Areas, borders and lengths equal those of the coarser partition; probabilities are means along the borders."""
    rng = np.random.default_rng(3)
    superpixels = Slic(count=60)(quadrants())
    boundary = rng.uniform(size=len(superpixels.borders))
    graph = superpixels.region_graph.with_boundary(boundary)
    region = graph.hierarchy.regions(segments=9)
    merged, coarse = graph.merged(region), Superpixels(superpixels.to_pixels(region, void=-1))
    np.testing.assert_array_equal(merged.area, coarse.area)
    np.testing.assert_array_equal(merged.borders, coarse.borders)
    np.testing.assert_array_equal(merged.border_length, coarse.border_length)
    for (a, b), length, p in zip(merged.borders.tolist(), merged.border_length, merged.boundary, strict=True):
        here = [{int(region[i]), int(region[j])} == {a, b} for i, j in superpixels.borders]
        assert superpixels.border_length[here].sum() == length
        assert p == pytest.approx(np.average(boundary[here], weights=superpixels.border_length[here]))


@pytest.mark.parametrize("working_pixels", [1500, 3000, 500_000])
@pytest.mark.parametrize("void", [0.0, 0.05])
def test_a_run_has_one_tree(working_pixels: int, void: float) -> None:
    """The cut of a run, the hierarchy of its result and a cut of the scene are the same partition."""
    image = quadrants()
    mask = np.random.default_rng(0).random(image.shape) >= void if void else None
    image = Image(image.rgb, mask=mask)
    pipeline = Pipeline(
        hierarchy=True, working_pixels=working_pixels, superpixels={"count": 50}, features={"cnn": None}
    )
    scene = pipeline.describe(image)
    for k in (2, 3, 5, 8, 13, 21, 34):
        run = pipeline.model_copy(update={"segments": k})(image)
        cut = scene.hierarchy.regions(segments=k)
        np.testing.assert_array_equal(run.membership.labels, cut)
        np.testing.assert_array_equal(run.hierarchy.regions(segments=k), cut)
        np.testing.assert_array_equal(run.hierarchy.labels(segments=k), scene.superpixels.to_pixels(cut + 1))
    head = pipeline.model_copy(update={"hierarchy": False, "segments": 3, "refine": Pipeline(refine="none").refine})
    np.testing.assert_array_equal(head(image).hierarchy.altitudes, scene.hierarchy.altitudes)
