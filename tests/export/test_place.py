"""Labels, polygons and GeoJSON lie where the pixels of the image lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.export.labelmap import LabelMap
from segspectral.images.place import read_georeference
from segspectral.values.place import Georeference

rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
shapely = pytest.importorskip("shapely", reason="shapely (extra 'geo') is not installed")

from segspectral.export.exporters import EXPORTERS  # noqa: E402
from segspectral.export.geo import geotiff  # noqa: E402

Affine = rasterio.Affine
UTM = "EPSG:32633"
PLACES = {
    "north up": (UTM, Affine(10, 0, 4e5, 0, -10, 5e6)),
    "south up": (UTM, Affine(10, 0, 4e5, 0, 10, 5e6)),
    "rotated": (UTM, Affine(8, 3, 4e5, 3, -8, 5e6)),
    "large pixels, whose edges bend": (UTM, Affine(1000, 0, 4e5, 0, -1000, 5e6)),
    "across the antimeridian": ("EPSG:3832", Affine(100, 0, 3335584, 0, -100, 0)),
    "across the antimeridian in UTM": ("EPSG:32760", Affine(100, 0, 820000, 0, -100, 8e6)),
    "around the north pole": ("EPSG:3413", Affine(5e4, 0, -2e6, 0, -5e4, 15e5)),
    "beside the north pole": ("EPSG:3413", Affine(5e4, 0, -2015e3, 0, -5e4, 1517e3)),
    "around the south pole": ("EPSG:3031", Affine(5e4, 0, -201e4, 0, -5e4, 151e4)),
    "longitudes from 0 to 360": ("EPSG:4326", Affine(0.1, 0, 185, 0, -0.1, 10)),
    "longitudes over 180": ("EPSG:4326", Affine(0.1, 0, 176, 0, -0.1, 10)),
    "up to 180": ("EPSG:4326", Affine(0.1, 0, 172, 0, -0.1, 10)),
    "the world": ("EPSG:4326", Affine(4.5, 0, -180, 0, -3, 90)),
    "the world from 0": ("EPSG:4326", Affine(4.5, 0, 0, 0, -3, 90)),
}


def labels() -> NDArray[np.int32]:
    """(60, 80) a frame, a rectangle in it, and one in this."""
    made = np.ones((60, 80), np.int32)
    made[20:40, 30:60], made[25:30, 35:40] = 2, 3
    return made


def place_of(name: str) -> Georeference:
    crs, transform = PLACES[name]
    return Georeference(rasterio.CRS.from_user_input(crs).to_wkt(), tuple(transform)[:6])


def centres(place: Georeference) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the centres of all pixels, as PROJ gives them."""
    from rasterio.warp import transform

    rows, cols = np.indices((60, 80))
    east, north = Affine(*place.transform) * (cols.ravel() + 0.5, rows.ravel() + 0.5)
    longitude, latitude = transform(place.crs, "EPSG:4326", east.tolist(), north.tolist())
    return (np.array(longitude) + 180) % 360 - 180, np.array(latitude)


def exported(name: str, place: Georeference) -> tuple[bytes, float]:
    """The file of a format, and the share of pixels that it keeps."""
    image = EXPORTERS[name].image
    assert image is not None
    made = image(LabelMap(labels(), georeference=place), "photo", None)
    (content,) = made.files.values()
    return content, made.kept


@pytest.mark.parametrize("name", PLACES)
def test_geojson_contains_the_pixels_of_its_segments_and_is_valid(name: str) -> None:
    place = place_of(name)
    content, kept = exported("geojson", place)
    assert kept == 1
    longitude, latitude = centres(place)
    for feature in json.loads(content)["features"]:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        west, south, east, north = shape.bounds
        assert west >= -180
        assert east <= 180
        assert south >= -90
        assert north <= 90
        inside = shapely.intersects_xy(shape, longitude, latitude)  # a centre may lie on the cut at 180 degrees
        np.testing.assert_array_equal(inside, labels().ravel() == feature["properties"]["segment"])


def test_a_line_of_geojson_bends_with_the_edge_of_the_image() -> None:
    """The northern edge of an image of 80 km is a curve between longitudes and latitudes."""
    from rasterio.warp import transform

    place = place_of("large pixels, whose edges bend")
    content, _ = exported("geojson", place)
    ring = np.array(json.loads(content)["features"][0]["geometry"]["coordinates"][0][0])
    middles = (ring[1:] + ring[:-1]) / 2
    east, north = transform("EPSG:4326", place.crs, *middles.T.tolist())
    cols, rows = ~Affine(*place.transform) * (np.array(east), np.array(north))
    beside = np.minimum.reduce([np.abs(cols), np.abs(cols - 80), np.abs(rows), np.abs(rows - 60)])
    assert beside.max() < 0.02


def written(path: Path, pixels: NDArray[np.uint8] | None = None, **profile: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    settings = {"driver": "GTiff", "height": 60, "width": 80, "count": 3, "dtype": "uint8"} | profile
    gcps, crs = settings.pop("gcps", None), settings.get("crs")
    if gcps:
        settings.pop("crs")
    with rasterio.open(path, "w", **settings) as out:
        out.write(np.full((3, 60, 80), 9, np.uint8) if pixels is None else pixels)
        if gcps:
            out.gcps = (gcps, rasterio.CRS.from_user_input(crs))
    return path


def ground_control_points(transform: Any) -> list[Any]:
    from rasterio.control import GroundControlPoint

    corners = [(0, 0), (0, 80), (60, 0), (60, 80)]
    return [GroundControlPoint(row, col, *(transform * (col, row))) for row, col in corners]


FILES: dict[str, dict[str, Any]] = {
    "a.tif": {"crs": UTM, "transform": PLACES["north up"][1]},
    "south.tif": {"crs": UTM, "transform": PLACES["south up"][1]},
    "rotated.tif": {"crs": UTM, "transform": PLACES["rotated"][1]},
    "nocrs.tif": {"transform": PLACES["north up"][1]},
    "big.tif": {"crs": UTM, "transform": PLACES["north up"][1], "BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    "little.tif": {"crs": UTM, "transform": PLACES["north up"][1], "BIGTIFF": "YES"},
    "g.jp2": {"crs": UTM, "transform": PLACES["north up"][1], "driver": "JP2OpenJPEG", "QUALITY": "100"},
    "gcps.tif": {"crs": UTM, "gcps": ground_control_points(PLACES["rotated"][1])},
}


@pytest.mark.parametrize("name", FILES)
def test_the_place_of_a_file_returns_in_its_label_raster_and_its_polygons(tmp_path: Path, name: str) -> None:
    profile = FILES[name]
    due = profile.get("transform", PLACES["rotated"][1])
    place = read_georeference(written(tmp_path / name, **profile))
    assert place is not None
    corners = np.array([(0, 0), (80, 0), (0, 60), (80, 60)], float)
    for transform in (place.transform, _written_transform(place, tmp_path)):
        where = np.array(Affine(*transform[:6]) * corners.T)
        back = np.array(~due * where)
        np.testing.assert_allclose(back, corners.T, atol=0.01)
    (tmp_path / "s.gpkg").write_bytes(exported("gpkg", place)[0])
    import pyogrio

    about, _, shapes, _ = pyogrio.raw.read(tmp_path / "s.gpkg", layer="segments")
    frame = shapely.from_wkb(shapes[0])
    edge = shapely.Polygon([due * (x, y) for x, y in ((0, 0), (80, 0), (80, 60), (0, 60))])
    assert shapely.hausdorff_distance(shapely.convex_hull(frame), edge) < 0.01 * 8
    assert (about["crs"] is None) == (name == "nocrs.tif")


def _written_transform(place: Georeference, folder: Path) -> tuple[float, ...]:
    (folder / "labels.tif").write_bytes(geotiff(LabelMap(labels(), georeference=place)))
    with rasterio.open(folder / "labels.tif") as raster:
        assert (raster.crs is None) == (not place.crs)
        return tuple(raster.transform)


@pytest.mark.parametrize("kind", ["on a line", "one column"])
def test_points_and_transforms_that_determine_nothing_are_no_place(tmp_path: Path, kind: str) -> None:
    """GDAL returns memory that it has not set for points on one line."""
    from rasterio.control import GroundControlPoint

    path = tmp_path / "flat.tif"
    with rasterio.open(path, "w", driver="GTiff", width=30, height=20, count=1, dtype="uint8") as made:
        made.write(np.arange(600, dtype=np.uint8).reshape(1, 20, 30))
        if kind == "on a line":
            made.gcps = (
                [GroundControlPoint(i, i, 1000 + i, 2000 - i) for i in (0, 5, 10)],
                rasterio.CRS.from_epsg(32633),
            )
        else:
            made.crs, made.transform = rasterio.CRS.from_epsg(32633), Affine(10, 0, 4e5, 10, 0, 5e6)
    assert read_georeference(path) is None


@pytest.mark.parametrize("crs", ["ESRI:54009", 'LOCAL_CS["x",UNIT["metre",1]]'], ids=["off the globe", "local"])
def test_pixels_without_longitude_and_latitude_are_reported(crs: str) -> None:
    from segspectral.errors import ImageError

    place = Georeference(rasterio.CRS.from_user_input(crs).to_wkt(), (5e5, 0, -2e7, 0, -5e5, 1e7))
    with pytest.raises(ImageError, match="without longitude and latitude"):
        exported("geojson", place)


def test_world_files_of_any_case_and_no_others_place_an_image(tmp_path: Path) -> None:
    from segspectral.images.formats import has_place_beside

    (tmp_path / "a.TFW").write_text("1")
    (tmp_path / "b.JGW").write_text("1")
    assert [has_place_beside(tmp_path / name) for name in ("a.tif", "a.jpg", "b.jpg", "b.jpeg")] == [
        True,
        False,
        True,
        True,
    ]


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders ``whole`` and ``tiles`` with what batch makes of FILES, whose quarters have four colours."""
    from typer.testing import CliRunner

    from segspectral.cli import app

    folder = tmp_path_factory.mktemp("places")
    colours = np.zeros((3, 60, 80), np.uint8)
    colours[0, 23:], colours[1, :, 35:], colours[2, 40:, 50:] = 200, 200, 255
    for name, profile in FILES.items():
        written(folder / "in" / name, pixels=colours, **profile)
    for name, tile in {"whole": "none", "tiles": "64"}.items():
        options = "-j 0 --progress none -k 4 --head exact --refine none --format gpkg,geojson,geotiff --tolerance 0"
        settings = "features={cnn: null, texture: null, contours: null}", "superpixels.count=3000"
        more = [part for setting in settings for part in ("--set", setting)]
        arguments = ["batch", str(folder / "in"), "-o", str(folder / name), "--tile", tile, *options.split(), *more]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("kind", ["whole", "tiles"])
@pytest.mark.parametrize("name", FILES)
def test_what_a_command_makes_lies_where_the_pixels_lie(commanded: Path, name: str, kind: str) -> None:
    """To a hundredth of a pixel: the label raster, and the corners of polygons, which are corners of pixels."""
    import pyogrio
    from rasterio.warp import transform

    due = FILES[name].get("transform", PLACES["rotated"][1])
    stem = commanded / kind / Path(name).stem
    with rasterio.open(f"{stem}_labels.tif") as raster:
        assert (raster.crs is None) == (name == "nocrs.tif")
        corners = np.array([(0, 0), (80, 0), (0, 60), (80, 60)], float).T
        np.testing.assert_allclose(~due * (raster.transform * corners), corners, atol=0.01)
        found = raster.read(1)
    about, _, shapes, columns = pyogrio.raw.read(f"{stem}.gpkg", layer="segments")
    segments = columns[list(about["fields"]).index("segment")]
    assert len(segments) == 4
    rows, cols = np.indices(found.shape)
    for segment, shape in zip(segments, shapely.from_wkb(shapes), strict=True):
        here = np.array(~due * shapely.get_coordinates(shape).T)
        np.testing.assert_allclose(here, np.rint(here), atol=0.01)
        inside = shapely.contains_xy(shape, *(due * (cols.ravel() + 0.5, rows.ravel() + 0.5)))
        np.testing.assert_array_equal(inside.reshape(found.shape), found == segment)
    collection = json.loads(Path(f"{stem}.geojson").read_text())
    for feature in collection["features"]:
        xy = shapely.get_coordinates(shapely.geometry.shape(feature["geometry"])).T
        place = xy if name == "nocrs.tif" else np.array(transform("EPSG:4326", UTM, *xy.tolist()))
        here = np.array(~due * place)
        # Long edges have points between corners, too, so that they bend with the image.
        assert np.abs(here - np.rint(here)).min(axis=0).max() < 0.01
        assert shapely.area(shapely.convex_hull(shapely.multipoints(here.T))) >= (found == feature["id"]).sum() - 0.1
