"""Label maps that are read in windows: their polygons, tables and styles are those of the whole map."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops_table

from segspectral.export import zones
from segspectral.export.labelmap import LabelMap
from segspectral.export.regions import perimeters
from segspectral.export.tables import region_table
from segspectral.export.windowed import WindowedMap
from segspectral.registry import Shapes

shapely = pytest.importorskip("shapely", reason="shapely (extra 'geo') is not installed")
rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")

SHAPE = (97, 130)


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int32]:
    """(97, 130) void and segments 1, 2 and 4 in many pieces with holes and pieces that touch at corners."""
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.normal(size=SHAPE), side) * side for side in (2, 2.5, 3, 1.5)]
    return np.array([0, 1, 2, 4], np.int32)[np.argmax(fields, axis=0)]


def window_of(labels: NDArray[np.int32]) -> zones.Labels:
    return lambda rows, cols: labels[slice(*rows), slice(*cols)]


def centres_in(shape: object) -> NDArray[np.bool_]:
    """(97, 130) whether the centre of each pixel lies in a shape."""
    rows, cols = np.indices(SHAPE)
    return np.asarray(shapely.contains_xy(shape, cols + 0.5, rows + 0.5))


@pytest.mark.parametrize("tolerance", [0, 1, 3])
@pytest.mark.parametrize("side", [40, 64, 1000])
def test_polygons_of_windows_are_a_coverage_without_gaps(
    labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch, side: int, tolerance: float
) -> None:
    monkeypatch.setattr(zones, "SIDE", side)
    found = zones.zones_of(window_of(labels), SHAPE, Shapes(tolerance=tolerance))
    assert found.segment.tolist() == [1, 2, 4]
    assert shapely.is_valid(found.shapes).all()
    assert shapely.coverage_is_valid(shapely.get_parts(found.shapes)), "gaps, overlaps, or a vertex on one side only"
    back = sum(segment * centres_in(shape) for segment, shape in zip(found.segment, found.shapes, strict=True))
    # Centres on a simplified border lie in neither polygon here, and in one of them for the program.
    assert (back == labels).mean() == pytest.approx(found.kept, abs=0.02)
    assert found.kept == 1 if tolerance == 0 else 0.75 < found.kept < 1
    if tolerance == 0:
        np.testing.assert_array_equal(shapely.area(found.shapes), np.bincount(labels.ravel())[[1, 2, 4]])


@pytest.mark.parametrize("side", [40, 1000])
def test_single_parts_are_the_connected_pieces(
    labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(zones, "SIDE", side)
    found = zones.zones_of(window_of(labels), SHAPE, Shapes(single=True, tolerance=0))
    pieces = label(labels, connectivity=1, background=0)
    assert len(found.shapes) == pieces.max()
    assert (np.diff(found.segment) >= 0).all()
    numbers = np.zeros(SHAPE, np.int32)
    for rows, cols in zones.windows_of(SHAPE):
        here = np.s_[slice(*rows), slice(*cols)]
        numbers[here] = found.numbers(labels[here], (rows, cols))
    # Each piece has one number, each number is one piece, and its polygon holds its pixels.
    pairs = np.unique(np.stack([pieces.ravel(), numbers.ravel()]), axis=1)
    assert pairs.shape[1] == pieces.max() + 1
    np.testing.assert_array_equal(found.segment[numbers[labels > 0] - 1], labels[labels > 0])
    np.testing.assert_array_equal(shapely.area(found.shapes), np.bincount(numbers.ravel())[1:])
    largest = int(np.bincount(numbers[labels > 0]).argmax())
    np.testing.assert_array_equal(centres_in(found.shapes[largest - 1]), numbers == largest)


@pytest.mark.parametrize("strip", [1, 700, 10**7])
def test_perimeters_are_those_of_scikit_image(
    labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr("segspectral.export.regions.STRIP_PIXELS", strip)
    theirs = regionprops_table(labels, properties=("label", "perimeter"))
    np.testing.assert_allclose(perimeters(window_of(labels), SHAPE, 4)[theirs["label"]], theirs["perimeter"])


def test_the_table_of_windows_is_that_of_the_whole(labels: NDArray[np.int32], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*SHAPE, 3), np.uint8)
    item = LabelMap(labels, pixels=pixels, names={2: "sea"})
    monkeypatch.setattr(zones, "SIDE", 40)
    windowed = WindowedMap.of(item)
    assert windowed.table() == region_table(item)
    pieces = windowed.table(Shapes(single=True))
    assert [row["piece"] for row in pieces] == list(range(1, len(windowed.zones(Shapes(single=True)).shapes) + 1))
    for row in region_table(item):
        own = [piece for piece in pieces if piece["segment"] == row["segment"]]
        assert sum(piece["area"] for piece in own) == row["area"]
        mean = sum(piece["red"] * piece["area"] for piece in own) / row["area"]
        assert mean == pytest.approx(row["red"], abs=0.2)


def test_a_geopackage_carries_its_colours_for_qgis(labels: NDArray[np.int32], tmp_path: Path) -> None:
    from segspectral.export.geo import geopackage

    item = LabelMap(labels, names={1: '<sea> & "sky"'}, colours={4: (1, 2, 3)})
    geopackage(WindowedMap.of(item), tmp_path / "s.gpkg")
    with sqlite3.connect(tmp_path / "s.gpkg") as database:
        ((name, column, default, style),) = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        )
        tables = dict(database.execute("SELECT table_name, data_type FROM gpkg_contents"))
        ((geometry,),) = database.execute("SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'segments'")
        columns = [row[1] for row in database.execute("PRAGMA table_info(segments)")]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert (name, column, default) == ("segments", geometry, 1)
    assert tables == {"segments": "features", "layer_styles": "attributes"}
    renderer = ElementTree.fromstring(style.partition("\n")[2]).find("renderer-v2")
    assert renderer is not None
    assert renderer.get("type") == "categorizedSymbol"
    assert renderer.get("attr") in columns
    symbols = {symbol.get("name"): symbol for symbol in renderer.iter("symbol")}
    shown = {}
    for category in renderer.iter("category"):
        options = symbols[category.get("symbol")].iter("Option")
        (colour,) = (option.get("value") for option in options if option.get("name") == "color")
        shown[int(category.get("value", ""))] = (category.get("label"), colour)
    assert shown == {
        segment: (item.name(segment), ",".join(map(str, (*item.colour(segment), 255)))) for segment in item.segments
    }


@pytest.mark.parametrize("name", ["gpkg", "geojson"])
def test_parts_and_tolerance_are_options(tmp_path: Path, labels: NDArray[np.int32], name: str) -> None:
    import pyogrio
    from typer.testing import CliRunner

    from segspectral.cli import app
    from segspectral.export import label_png

    (tmp_path / "a_labels.png").write_bytes(label_png(labels))

    def rows(*options: str) -> tuple[int, int]:
        arguments = ["convert", str(tmp_path / "a_labels.png"), "--to", name, *options]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        *_, shapes, _ = pyogrio.raw.read(tmp_path / f"a.{name}", layer=0)
        return len(shapes), int(shapely.get_num_coordinates(shapely.from_wkb(shapes)).sum())

    pieces = int(label(labels, connectivity=1, background=0).max())
    assert rows()[0] == 3
    assert rows("--parts", "single")[0] == pieces
    points = [rows("--tolerance", text)[1] for text in ("0", "1", "4")]
    assert points[0] > points[1] > points[2]
    refused = CliRunner().invoke(app, ["convert", str(tmp_path / "a_labels.png"), "--to", name, "--parts", "all"])
    assert refused.exit_code == 2
    assert "'all' is neither multi nor single" in refused.stderr


@pytest.mark.parametrize("option", [("--parts", "single"), ("--tolerance", "3")])
def test_options_of_polygons_need_a_format_of_polygons(
    tmp_path: Path, labels: NDArray[np.int32], option: tuple[str, str]
) -> None:
    from segspectral.export import label_png
    from tests.cli.conftest import one_error, run

    (tmp_path / "a_labels.png").write_bytes(label_png(labels))
    picture = tmp_path / "a.png"
    PIL.Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(picture)
    for command in (
        ("convert", tmp_path / "a_labels.png", "--to", "coco"),
        ("segment", picture, "-o", tmp_path / "out"),
        ("batch", picture, "-o", tmp_path / "out", "--format", "csv"),
    ):
        said = one_error(run(*command, *option))
        assert f"{option[0]}: needs a format of polygons, which are gpkg and geojson" in said
        assert not (tmp_path / "out").exists()
