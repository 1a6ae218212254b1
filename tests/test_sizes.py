"""Limits on sizes: no piece is too small, holes are filled, nested stays nested, and what need not change stays."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from segspectral.config import load, make_pipeline
from segspectral.errors import SettingsError
from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.sizes import Between, Limits, Sizes, level_between
from segspectral.values import Image, Membership, Superpixels
from segspectral.values.fragments import Blocks, Fragments
from tests.cli.conftest import one_error, run
from tests.conftest import SAMPLES

LIGHT = {"superpixels": {"count": 150}, "features": {"cnn": None}, "head": "exact", "refine": "guided"}
FIT = ("--set", "features.cnn.strides=[16,32]", "--set", "superpixels.count=200", "--set", "head=kmeans")


def alike(pairs: NDArray[np.integer]) -> NDArray[np.float64]:
    """A level between leaves that favours neighbours of near numbers."""
    return np.abs(np.diff(pairs, axis=1)[:, 0]) / 1000


def areas(labels: NDArray[np.int32]) -> list[int]:
    """The areas of all pieces, by another way than that of the package."""
    found = []
    for number in np.unique(labels[labels > 0]):
        piece, count = ndimage.label(labels == number)
        found += np.bincount(piece.ravel(), minlength=count + 1)[1:].tolist()
    return found


def random_map(seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A label map of blobs and noise with some void, and leaves of 4 x 4 pixels."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 40, 2))
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.3, 2.5))
    labels = (np.digitize(smooth, np.quantile(smooth, np.linspace(0, 1, rng.integers(2, 7))[1:-1])) + 1).astype(
        np.int32
    )
    labels[rng.random(shape) < rng.choice([0, 0.02])] = 0
    rows, cols = np.indices(shape) // 4
    leaves = np.where(labels > 0, rows * 100 + cols, -1).astype(np.int32)
    labels[0, 0] = labels[0, 1] = 1
    leaves[0, :2] = 0
    return labels, leaves


def limited(labels: NDArray[np.int32], leaves: NDArray[np.int32], **limits: float) -> NDArray[np.int32]:
    return Sizes()(labels, leaves, alike, Limits(**limits))[0]


def surrounded_by_void(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels of valid areas which are one piece, so that there is nothing that they could join."""
    area, count = ndimage.label(labels > 0)
    lone = [n for n in range(1, count + 1) if len(np.unique(labels[area == n])) == 1]
    return np.isin(area, lone)


@pytest.mark.parametrize("least", [2, 9, 40])
def test_no_piece_is_smaller_than_the_minimum_on_two_hundred_random_maps(least: int) -> None:
    for seed in range(200):
        labels, leaves = random_map(seed)
        made = limited(labels, leaves, least=least)
        assert ((made == 0) == (labels == 0)).all()
        assert set(np.unique(made)) <= set(np.unique(labels))
        alone = surrounded_by_void(made)
        assert min(areas(np.where(alone, 0, made)), default=least) >= least, seed
        assert (limited(made, leaves, least=least) == made).all(), "not idempotent"


def test_pixels_of_large_pieces_keep_their_segment() -> None:
    for seed in range(50):
        labels, leaves = random_map(seed)
        made = limited(labels, leaves, least=12)
        for number in np.unique(labels[labels > 0]):
            piece, count = ndimage.label(labels == number)
            large = np.flatnonzero(np.bincount(piece.ravel(), minlength=count + 1) >= 12)
            kept = np.isin(piece, large[large > 0])
            assert (made[kept] == number).all()


def test_a_small_piece_joins_the_neighbour_at_the_lowest_level_and_else_that_with_the_longest_border() -> None:
    labels = np.ones((9, 12), np.int32)
    labels[:, 6:] = 2
    labels[3:6, 5:7] = 3  # three pixels beside each
    leaves = (labels - 1).astype(np.int32)
    one = {(0, 1): 0.5, (0, 2): 0.4, (1, 2): 0.1}

    def between(levels: dict[tuple[int, int], float]) -> Between:
        return lambda pairs: np.array([levels[i, j] for i, j in pairs.tolist()])

    assert Sizes()(labels, leaves, between(one), Limits(least=7))[0][4, 5] == 2
    assert Sizes()(labels, leaves, between(one | {(0, 2): 0.05}), Limits(least=7))[0][4, 5] == 1
    labels[3, 4] = 3  # a longer border with the first
    same = dict.fromkeys(one, 0.1)
    assert Sizes()(labels, (labels - 1).astype(np.int32), between(same), Limits(least=8))[0][4, 5] == 1


def test_holes_up_to_the_limit_are_filled_with_all_that_is_in_them() -> None:
    labels = np.ones((40, 60), np.int32)
    labels[5:15, 5:15] = 2  # a hole of 100 pixels
    labels[8:11, 8:11] = 3  # with something in it
    labels[20:35, 20:40] = 4  # a larger one
    labels[22:24, 22:24] = 1  # with a hole of its own
    labels[0:6, 50:55] = 5  # at the edge: no hole
    labels[25:30, 48:53] = 6  # no hole, because void is in it
    labels[27, 50] = 0
    made = limited(labels, np.zeros_like(labels), holes=100)
    assert np.unique(made[5:15, 5:15]).tolist() == [1]
    assert np.unique(made[20:35, 20:40]).tolist() == [4]
    assert ((made == labels) | (labels == 2) | (labels == 3) | (np.isin(made, 4) & (labels == 1))).all()
    assert (made == 5).sum() == 30
    assert (made == 6).sum() == 24
    every = limited(labels, np.zeros_like(labels), holes=float("inf"))
    assert np.unique(every[:25, :45]).tolist() == [1]


def test_holes_are_what_filling_each_piece_says() -> None:
    for seed in range(60):
        labels, leaves = random_map(seed)
        made = limited(labels, leaves, holes=float("inf"))
        for number in np.unique(made[made > 0]):
            pieces, count = ndimage.label(made == number)
            for piece in range(1, count + 1):
                inside = ndimage.binary_fill_holes(pieces == piece, ndimage.generate_binary_structure(2, 1))
                assert (inside == (pieces == piece)).all() or (made[inside] == 0).any()


def test_large_pieces_are_divided_as_far_as_superpixels_allow() -> None:
    for seed in range(60):
        labels, leaves = random_map(seed)
        made = limited(labels, leaves, most=60)
        assert max(areas(made)) <= 60  # leaves have 16 pixels
        for number in np.unique(made[made > 0]):  # each part lies in one segment
            assert len(np.unique(labels[made == number])) == 1


@pytest.fixture(scope="module")
def photograph() -> Image:
    return read_image(SAMPLES / "coffee.jpg")


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.jpg")))
def test_no_piece_is_smaller_in_the_sample_images(name: str) -> None:
    image = read_image(SAMPLES / name)
    for settings in ({"hierarchy": True}, {"segments": 6, "refine": "none"}):
        made = make_pipeline(LIGHT | settings | {"sizes": {"min": 900}})(image)
        assert min(areas(made.labels)) >= 900
        numbers = np.unique(made.labels)
        assert numbers.tolist() == list(range(1, made.segments + 1))
        assert made.membership.probabilities.shape[1] == made.segments == made.pipeline.segments


def test_cuts_of_the_hierarchy_stay_nested_and_have_as_many_segments_as_requested(photograph: Image) -> None:
    mask = np.ones(photograph.shape, np.bool_)
    mask[100:200, 100:250] = False
    mask[140:150, 140:150] = True
    for most, image in (("40%", photograph), ("12%", photograph), ("20%", Image(photograph.rgb, "void", mask))):
        assert_nested(image, most)
    only = make_pipeline(LIGHT | {"hierarchy": True, "sizes": {"min": "1%"}})
    scene = only.describe(photograph)
    assert [only.solve(scene, k).segments for k in (2, 5, 11)] == [2, 5, 11]
    many = only.solve(scene, 100)
    assert many.segments < 100
    assert f"the limits on sizes give {many.segments} segments instead of 100" in many.notes


def assert_nested(image: Image, most: str) -> None:
    settings = {"hierarchy": True, "sizes": {"min": "1%", "max": most, "holes": "5%"}, "working_pixels": 40_000}
    pipeline = make_pipeline(LIGHT | settings)
    scene = pipeline.describe(image)
    cuts = [pipeline.solve(scene, k).labels for k in (2, 4, 8, 16)]
    least = np.count_nonzero(cuts[0]) / 100
    for coarse, fine in itertools.pairwise(cuts):
        assert all(len(np.unique(coarse[fine == segment])) == 1 for segment in np.unique(fine))
    assert all(min(areas(np.where(surrounded_by_void(cut), 0, cut))) >= least for cut in cuts)
    assert all(max(areas(cut)) <= float(most[:-1]) * least * 1.06 for cut in cuts)  # holes are filled at last


def test_a_cut_whose_regions_are_large_does_not_change(photograph: Image) -> None:
    pipeline = make_pipeline(LIGHT | {"hierarchy": True})
    scene = pipeline.describe(photograph)
    plain = pipeline.solve(scene, 6)
    least = min(areas(plain.labels))
    sized = make_pipeline(LIGHT | {"hierarchy": True, "sizes": {"min": least}}).solve(scene, 6)
    assert (sized.labels == plain.labels).all()
    assert sized.notes == plain.notes


def test_each_piece_is_a_segment(photograph: Image) -> None:
    made = make_pipeline(LIGHT | {"segments": 5, "sizes": {"min": 300, "pieces": True}})(photograph)
    found = areas(made.labels)
    assert len(found) == made.segments > 5
    assert np.bincount(made.labels.ravel())[1:].tolist() == sorted(found, reverse=True)


def test_void_and_an_island_in_it_stay(photograph: Image) -> None:
    mask = np.ones(photograph.shape, np.bool_)
    mask[100:200, 100:200] = False
    mask[140:150, 140:150] = True
    made = make_pipeline(LIGHT | {"sizes": {"min": 500}})(Image(photograph.rgb, "coffee", mask))
    assert ((made.labels > 0) == mask).all()
    assert sorted(areas(made.labels))[0] == 100
    assert any("1 piece is smaller than the minimum, because void" in note for note in made.notes)


def test_without_boundary_probabilities_colour_decides() -> None:
    labels = np.ones((9, 12), np.int32)
    labels[:, 6:] = 2
    labels[2:7, 2:7] = 3  # most of its border is with the first
    leaves = (labels - 1).astype(np.int32)
    colours = np.array([[0.0, 0, 0], [200, 0, 0], [170, 0, 0]])
    between = level_between(Superpixels(leaves).region_graph, colours)
    assert Sizes()(labels, leaves, between, Limits(least=30))[0][4, 4] == 2


@pytest.mark.parametrize(("size", "pixels"), [(200, 200), ("0.5%", 50), ("400m2", 100), (".5 %", 50), ("7px", 7)])
def test_sizes_are_pixels_shares_or_square_metres(size: Any, pixels: float) -> None:
    assert Sizes(min=size).limits(10_000, 4.0).least == pytest.approx(pixels)


def test_square_metres_need_a_place_on_the_earth(photograph: Image, tmp_path: Path) -> None:
    pipeline = make_pipeline(LIGHT | {"sizes": {"min": "400m2"}})
    with pytest.raises(SettingsError, match="needs an image with a coordinate reference system"):
        pipeline.describe(photograph)
    said = one_error(run("segment", SAMPLES / "coffee.jpg", "-o", tmp_path, "--min-size", "400m2"))
    assert "coffee.jpg" in said
    assert "400m2" in said


@pytest.mark.parametrize(("crs", "transform", "area"), [
    ("EPSG:32633", (0.5, 0, 4e5, 0, -0.5, 5e6), 0.25),
    ("EPSG:2263", (10, 0, 980_000, 0, -10, 200_000), 100 * 0.3048**2),  # feet
    ("EPSG:4326", (1e-5, 0, 13.0, 0, -1e-5, 60.0), 1.11415 * 0.55800),  # metres of 1e-5 degrees at 60 degrees north
    ("EPSG:3857", (1, 0, 0, 0, -1, 8_399_737.9), 0.25),  # Web Mercator at 60 degrees is drawn twice as large
])  # fmt: skip
def test_the_area_of_a_pixel_is_that_on_the_ground(
    tmp_path: Path, crs: str, transform: tuple[float, ...], area: float
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
    profile = {"height": 8, "width": 12, "count": 3, "dtype": "uint8", "crs": crs}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", transform=rasterio.Affine(*transform), **profile
    ) as file:
        file.write(np.arange(288).reshape(3, 8, 12).astype(np.uint8))
    assert read_image(tmp_path / "a.tif").ground == pytest.approx(area, rel=5e-3)


def test_an_invalid_size_is_reported_before_anything_heavy(tmp_path: Path) -> None:
    for option, value in (("--min-size", "large"), ("--max-size", "-5"), ("--fill-holes", "5 feet")):
        said = one_error(run("segment", SAMPLES / "cat.jpg", "-o", tmp_path, f"{option}={value}"))
        assert option in said
        assert "is not a size" in said
    with pytest.raises(SettingsError, match=r"sizes.min: 'x' is not a size"):
        make_pipeline({"sizes": {"min": "x"}})


def test_a_minimum_above_the_maximum_is_refused(photograph: Image, tmp_path: Path) -> None:
    said = one_error(run("segment", SAMPLES / "cat.jpg", "-o", tmp_path / "x", "--min-size", "500", "--max-size", "50"))
    assert "min=500 is larger than max=50" in said
    with pytest.raises(
        SettingsError, match=r"minimum size 10% is \d+ pixels here, which is larger than the maximum 50"
    ):
        make_pipeline(LIGHT | {"sizes": {"min": "10%", "max": 50}}).describe(photograph)
    for option in ("--min-size", "--max-size"):
        said = one_error(run("segment", SAMPLES / "cat.jpg", "-o", tmp_path / "x", option, "all"))
        assert "'all' is a size of holes" in said
    assert not (tmp_path / "x").exists()


def test_options_are_the_settings(tmp_path: Path) -> None:
    options = ("--min-size", "0.5%", "--max-size", "9000", "--fill-holes", "all", "--pieces", "--split")
    shown = run("config", "show", *options)
    assert shown.exit_code == 0
    expected = {"min": "0.5%", "max": "9000", "holes": "all", "pieces": True, "split": True}
    assert make_pipeline({"sizes": expected}).sizes == Pipeline.model_validate({"sizes": expected}).sizes
    import yaml

    assert expected.items() <= yaml.safe_load(shown.stdout)["sizes"].items()


def discs(places: list[tuple[int, int, int]], shape: tuple[int, int] = (120, 160)) -> NDArray[np.int32]:
    """(H, W) the number of the disc (row, column, radius) at each pixel, 0 outside; of two that overlap, the nearer."""
    rows, cols = np.indices(shape)
    depth = np.stack([np.full(shape, 0.0), *(r - np.hypot(rows - y, cols - x) for y, x, r in places)])
    return depth.argmax(axis=0).astype(np.int32)


TOUCHING = [(30, 30, 18), (30, 60, 16), (80, 40, 20), (80, 110, 15), (105, 118, 15), (0, 150, 12)]
"""Two touching discs, one alone, two touching, and one at the edge of the image."""


@pytest.mark.parametrize("objects", ["bright", "dark"])
def test_touching_discs_become_segments_before_one_background(objects: str) -> None:
    truth = discs(TOUCHING)
    rng = np.random.default_rng(0)
    light = np.where(truth > 0, 0.8, 0.2) if objects == "bright" else np.where(truth > 0, 0.2, 0.8)
    grey = np.clip(light + rng.normal(0, 0.04, truth.shape), 0, 1)
    pipeline = load("cells")
    made = pipeline(Image(np.repeat(grey[..., None], 3, axis=2), "discs")).labels
    assert made.max() == 1 + len(TOUCHING)
    assert (made == 1).sum() == pytest.approx((truth == 0).sum(), rel=0.03)
    for number in range(1, 1 + len(TOUCHING)):
        disc = truth == number
        found = made == np.bincount(made[disc]).argmax()
        assert (disc & found).sum() / (disc | found).sum() > 0.85


def test_a_split_keeps_outlines_and_numbers_and_leaves_convex_pieces_and_the_background_whole() -> None:
    truth = discs(TOUCHING)
    labels = np.where(truth > 0, 7, 3).astype(np.int32)
    labels[:5, :5] = 0
    leaves = np.where(labels > 0, 0, -1).astype(np.int32)
    made = Sizes(split=True)(labels, leaves, alike, Limits(), background=3)[0]
    assert ((made == 3) == (labels == 3)).all()
    assert ((made == 0) == (labels == 0)).all()
    assert (made == 7).any()
    whole = [number for number in (3, 6) if len(np.unique(made[truth == number])) == 1]
    assert whole == [3, 6]
    parts = [np.bincount(made[truth == number]).argmax() for number in (1, 2, 4, 5)]
    assert parts[0] != parts[1]
    assert parts[2] != parts[3]
    assert all((made[truth == n] == part).mean() > 0.95 for n, part in zip((1, 2, 4, 5), parts, strict=True))
    again = Sizes(split=True)(np.rot90(labels).copy(), np.rot90(leaves).copy(), alike, Limits(), background=3)[0]
    assert len(np.unique(again)) == len(np.unique(made))


def test_after_a_split_no_piece_is_smaller_than_the_minimum() -> None:
    for seed in range(40):
        labels, leaves = random_map(seed)
        made = Sizes(split=True, neck=0.05)(labels, leaves, alike, Limits(least=9))[0]
        alone = surrounded_by_void(made)
        assert min(areas(np.where(alone, 0, made)), default=9) >= 9
        assert ((made > 0) == (labels > 0)).all()


def test_the_background_is_the_largest_the_darkest_or_the_brightest_segment() -> None:
    labels = np.full((40, 60), 2, np.int32)
    labels[:, 40:], labels[5:10, 5:10] = 1, 3
    rgb = np.array([0, 200, 90, 30], np.uint8)[labels][..., None].repeat(3, axis=2)
    chosen = {
        name: Sizes(background=name).behind(labels, Image(rgb).float32.mean(axis=2))
        for name in ("largest", "darkest", "brightest")
    }
    assert chosen == {"largest": 2, "darkest": 3, "brightest": 1}


def test_a_model_refuses_what_makes_new_segments(tmp_path: Path) -> None:
    model = tmp_path / "my.safetensors"
    fitted = run("fit", SAMPLES / "coffee.jpg", SAMPLES / "cat.jpg", "-o", model, "-k", 3, *FIT)
    assert fitted.exit_code == 0, fitted.output
    said = one_error(run("segment", SAMPLES / "cat.jpg", "-o", tmp_path, "--model", model, "--split"))
    assert "have no number in a model" in said
    image = read_image(SAMPLES / "coffee.jpg")
    plain = make_pipeline({"model": str(model)})
    scene = plain.describe(image)
    before = plain.solve(scene).labels
    least = min(areas(before)) + 1
    after = make_pipeline({"model": str(model), "sizes": {"min": least}}).solve(scene).labels
    assert min(areas(after)) >= least
    assert 0 < (before != after).mean() < 0.5
    assert set(np.unique(after)) <= set(np.unique(before))


@pytest.mark.parametrize("side", [5, 8, 64])
def test_fragments_of_blocks_are_those_of_the_whole(side: int) -> None:
    for seed in range(80):
        labels, leaves = random_map(seed)
        at = np.full(labels.shape, -7, np.int32)
        blocks = Blocks(at, labels.shape)
        for top, left in itertools.product(range(0, len(labels), side), range(0, labels.shape[1], side + 3)):
            rows, cols = (top, min(top + side, len(labels))), (left, min(left + side + 3, labels.shape[1]))
            blocks.add(rows, cols, labels[slice(*rows), slice(*cols)], leaves[slice(*rows), slice(*cols)])
        found, number = blocks.fragments()
        whole, where = Fragments.of(labels, leaves)
        assert (np.append(number, -1)[at] == where).all()
        for name in ("label", "leaf", "outer"):
            assert (getattr(found, name) == getattr(whole, name)).all(), name
        for name in ("area", "borders", "border_length"):
            assert (getattr(found.graph, name) == getattr(whole.graph, name)).all(), name


def test_fragments_are_what_their_definition_says() -> None:
    for seed in range(30):
        labels, leaves = random_map(seed)
        found, at = Fragments.of(labels, leaves)
        assert ((at < 0) == (labels == 0)).all()
        for number in range(len(found.label)):
            inside = at == number
            assert ndimage.label(inside)[1] == 1
            assert set(labels[inside]) == {found.label[number]}
            assert set(leaves[inside]) == {found.leaf[number]}
            around = np.pad(inside, 1)
            grown = ndimage.binary_dilation(around)
            assert found.outer[number] == (np.pad(labels, 1)[grown] == 0).any()
            assert not (inside & ndimage.binary_dilation(at == number + 1) & (leaves == found.leaf[number])).any() or (
                found.label[number] != found.label[number + 1] or found.leaf[number] != found.leaf[number + 1]
            )


def test_more_segments_than_files_hold_are_refused() -> None:
    rows, cols = np.indices((300, 300))
    labels = ((rows + cols) % 2 + 1).astype(np.int32)
    membership = Membership(np.ones((1, 1), np.float32))
    one = np.zeros_like(labels)
    made = Sizes(pieces=True)(labels, one, alike, Limits())[0]
    with pytest.raises(SettingsError, match="give 90000 segments, and a label map holds 65535"):
        Sizes(pieces=True).settled(made, one, None, membership, None, True, 2)  # type: ignore[arg-type]


class TestTiles:
    """In tiles, limits on sizes give what they give in memory for the same label map."""

    @pytest.fixture(scope="class")
    def raster(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A GeoTIFF of 240 x 180 pixels with void; a pixel has 4 square metres."""
        rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
        pixels = read_image(SAMPLES / "coffee.jpg").uint8[::2, ::2][:180, :240].copy()
        pixels[20:60, 30:70] = 0
        pixels[30:35, 40:48] = 200  # an island
        path = tmp_path_factory.mktemp("tiles") / "a.tif"
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(2, 0, 4e5, 0, -2, 5e6), "nodata": 0}
        with rasterio.open(path, "w", driver="GTiff", height=180, width=240, count=3, dtype="uint8", **place) as file:
            file.write(np.moveaxis(pixels, -1, 0))
        return path

    @pytest.fixture(autouse=True)
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from segspectral.rasters import segment

        monkeypatch.setattr(segment, "BLOCK", 64)

    @staticmethod
    def labels(raster: Path, target: Path, settings: dict[str, Any], nodes: int = 20_000) -> NDArray[np.int32]:
        import rasterio

        from segspectral.rasters.segment import Tiles, segment_raster

        segment_raster(raster, target, make_pipeline(LIGHT | settings), Tiles(tile=64, max_nodes=nodes))
        with rasterio.open(target) as file:
            return np.asarray(file.read(1), np.int32)

    @pytest.mark.parametrize("nodes", [20_000, 120])
    @pytest.mark.parametrize(
        "sizes", [{"min": 300}, {"max": 4000, "min": 40}, {"min": "1%", "holes": "all", "pieces": True}, {"max": "9%"}]
    )
    def test_the_partition_is_that_of_the_whole_label_map(
        self, raster: Path, tmp_path: Path, sizes: dict[str, Any], nodes: int
    ) -> None:
        from segspectral.rasters.nodes import Grid, describe_raster
        from segspectral.rasters.raster import DiskMap, Raster

        settings = {"segments": 6, "superpixels": {"count": 6000}}
        before = self.labels(raster, tmp_path / "a.tif", settings, nodes)
        after = self.labels(raster, tmp_path / "b.tif", settings | {"sizes": sizes}, nodes)
        pipeline = make_pipeline(LIGHT | settings | {"sizes": sizes})
        leaves = np.full(before.shape, -1, np.int32)
        with Raster.open(raster) as opened, DiskMap.beside(tmp_path / "map", opened.shape) as disk:
            grid = Grid.of(opened.shape, 6000, 64, nodes)
            opened.factor = grid.factor
            assert (grid.factor > 1) == (nodes == 120)
            disk.shape = opened.cells
            described = describe_raster(opened, disk, pipeline, grid)
            cells = np.append(described.number, -1)[disk[:, :]]
            leaves = np.repeat(np.repeat(cells, grid.factor, 0), grid.factor, 1)[: len(before), : before.shape[1]]
            ground = opened.ground
        assert ground == pytest.approx(4, rel=1e-2)
        between = level_between(described.graph, described.colours)
        leaves = np.where(before > 0, leaves, -1).astype(np.int32)
        limits = pipeline.sizes.limits(int((before > 0).sum()), ground)
        due = pipeline.sizes(before, leaves, between, limits)[0]
        assert (np.unique(due) > 0).sum() > 1
        pairs = np.unique(np.stack([due.ravel(), after.ravel()]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        assert ((after > 0) == (before > 0)).all()
        assert np.unique(after[after > 0]).tolist() == list(range(1, int(after.max()) + 1))
        if sizes != {"max": "9%"}:
            assert (due != before).any()

    @pytest.mark.parametrize("nodes", [20_000, 120])
    def test_cuts_of_the_hierarchy_have_no_small_piece_and_stay_nested(
        self, raster: Path, tmp_path: Path, nodes: int
    ) -> None:
        sizes = {"min": "1200m2", "max": "30%", "holes": "2%"}
        settings = {"hierarchy": True, "superpixels": {"count": 6000}, "sizes": sizes}
        cuts = [self.labels(raster, tmp_path / "a.tif", settings | {"segments": k}, nodes) for k in (2, 5, 11, 23)]
        for coarse, fine in itertools.pairwise(cuts):
            assert all(len(np.unique(coarse[fine == segment])) == 1 for segment in np.unique(fine))
        island = surrounded_by_void(cuts[-1])
        for cut in cuts:
            assert min(areas(np.where(island, 0, cut))) >= 298

    @pytest.mark.parametrize("door", ["segment", "batch"])
    def test_the_commands_take_limits_in_tiles(self, raster: Path, tmp_path: Path, door: str) -> None:
        import rasterio

        options = ("--min-size", "1200m2", "--fill-holes", "1%", "--head", "exact", "--set", "features.cnn=null")
        more = ("-j", "0") if door == "batch" else ()
        done = run(
            door, raster, "-o", tmp_path, *options, "--tile", "64", "-k", "6", "--format", "png,csv,cog,gpkg", *more
        )
        assert done.exit_code == 0, done.output
        with rasterio.open(tmp_path / "a_labels.tif") as file:
            labels = np.asarray(file.read(1), np.int32)
        island = surrounded_by_void(labels)
        assert island.sum() == 48
        assert min(areas(np.where(island, 0, labels))) >= 298
        notes = json.loads((tmp_path / "a.json").read_text())["notes"]
        assert (
            "1 piece is smaller than the minimum, because void pixels or the edges of the image surround them" in notes
        )
        rows = (tmp_path / "a_regions.csv").read_text().splitlines()
        assert len(rows) == 1 + len(np.unique(labels[labels > 0]))

    def test_what_needs_whole_images_or_a_place_is_refused_first(self, raster: Path, tmp_path: Path) -> None:
        import rasterio

        for door in ("segment", "batch"):
            said = run(door, raster, "-o", tmp_path / "x", "--split", "--tile", "128")
            assert said.exit_code != 0
            assert "touching parts are split in whole images, not in tiles" in said.output + said.stderr
        with (
            rasterio.open(raster) as file,
            rasterio.open(
                tmp_path / "b.tif", "w", driver="GTiff", height=180, width=240, count=3, dtype="uint8"
            ) as out,
        ):
            out.write(file.read())
        said = one_error(run("segment", tmp_path / "b.tif", "-o", tmp_path / "x", "--min-size", "9m2", "--tile", "128"))
        assert "coordinate reference system" in said
