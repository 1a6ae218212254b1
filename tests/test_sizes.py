"""Limits on sizes: no piece is too small, holes are filled, nested stays nested, and what need not change stays."""

from __future__ import annotations

import itertools
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
from segspectral.values import Image, Superpixels
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
    settings = {"hierarchy": True, "sizes": {"min": "1%", "max": "40%", "holes": "5%"}, "working_pixels": 40_000}
    pipeline = make_pipeline(LIGHT | settings)
    scene = pipeline.describe(photograph)
    cuts = [pipeline.solve(scene, k).labels for k in (2, 4, 8, 16)]
    least = photograph.shape[0] * photograph.shape[1] / 100
    for coarse, fine in itertools.pairwise(cuts):
        assert all(len(np.unique(coarse[fine == segment])) == 1 for segment in np.unique(fine))
    assert all(min(areas(cut)) >= least for cut in cuts)
    only = make_pipeline(LIGHT | {"hierarchy": True, "sizes": {"min": "1%"}})
    scene = only.describe(photograph)
    assert [only.solve(scene, k).segments for k in (2, 5, 11)] == [2, 5, 11]
    many = only.solve(scene, 100)
    assert many.segments < 100
    assert f"the limits on sizes give {many.segments} segments instead of 100" in many.notes


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


def test_a_size_that_is_none_is_told_before_anything_heavy(tmp_path: Path) -> None:
    for option, value in (("--min-size", "large"), ("--max-size", "-5"), ("--fill-holes", "5 feet")):
        said = one_error(run("segment", SAMPLES / "cat.jpg", "-o", tmp_path, f"{option}={value}"))
        assert option in said
        assert "is not a size" in said
    with pytest.raises(SettingsError, match=r"sizes.min: 'x' is not a size"):
        make_pipeline({"sizes": {"min": "x"}})


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


def test_the_background_is_the_largest_the_darkest_or_the_brightest_segment() -> None:
    labels = np.full((40, 60), 2, np.int32)
    labels[:, 40:], labels[5:10, 5:10] = 1, 3
    rgb = np.array([0, 200, 90, 30], np.uint8)[labels][..., None].repeat(3, axis=2)
    chosen = {
        name: Sizes(background=name)._background(labels, Image(rgb)) for name in ("largest", "darkest", "brightest")
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


def test_a_raster_is_read_whole_and_tiles_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
    import PIL.Image

    with PIL.Image.open(SAMPLES / "coffee.jpg") as picture:
        picture.resize((300, 200)).save(tmp_path / "a.tif")
    options = ("--min-size", "400", "--head", "exact", "--set", "features.cnn=null")
    for name in ("segment", "batch"):
        done = run(name, tmp_path / "a.tif", "-o", tmp_path / name, *options)
        assert done.exit_code == 0, done.output
        with PIL.Image.open(tmp_path / name / "a_labels.png") as labels:
            assert min(areas(np.asarray(labels).astype(np.int32))) >= 400
        refused = run(name, tmp_path / "a.tif", "-o", tmp_path / "tiles", *options, "--tile", "128")
        assert refused.exit_code != 0
        assert "sizes are limited in whole images" in refused.output + refused.stderr
