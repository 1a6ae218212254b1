"""What notebooks and terminals show of a segmentation, and ``Segmentation.save``."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import segspectral
from segspectral import Segmentation
from segspectral.errors import SettingsError


@pytest.fixture(scope="module")
def result(cat: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Segmentation:
    path = tmp_path_factory.mktemp("photos") / "<b>cat & dog.png"
    PIL.Image.fromarray(cat).save(path)
    return segspectral.segment(path, segments=3)


class Tags(HTMLParser):
    """The tags of a page, all of them closed, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.seen.append(tag)
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_text_has_five_lines_with_image_segments_and_settings(result: Segmentation) -> None:
    lines = repr(result).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("Segmentation of <b>cat & dog.png, ")
    assert "3 segments (1: " in lines[1]
    shares = [int(part.split(":")[1].strip(" )%")) for part in lines[1].split("(")[1].split(",")]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert "head neuncut, refined by crf" in lines[3]


def test_a_notebook_shows_picture_table_and_settings_and_no_name_becomes_markup(result: Segmentation) -> None:
    page = Tags(result._repr_html_())
    assert page.seen.count("img") == 1
    assert page.seen.count("details") == 2
    assert "b" not in page.seen
    assert "<b>cat & dog.png" in page.text
    assert page.seen.count("tr") == 1 + result.segments
    assert "max_segments: 16" in page.text
    assert np.asarray(PIL.Image.open(io.BytesIO(result._repr_png_()))).shape[2] == 3


def test_pictures_are_those_of_the_command_line(result: Segmentation, tmp_path: Path) -> None:
    paths = {path.name: path for path in result.save(tmp_path, formats=["coco", "svg"], stem="cat")}
    assert set(paths) == {"cat_labels.png", "cat_overlay.png", "cat_segments.csv", "cat.json", "cat.svg", "coco.json"}
    assert np.array_equal(np.asarray(PIL.Image.open(paths["cat_overlay.png"])), result.overlay())
    assert np.array_equal(np.asarray(PIL.Image.open(paths["cat_labels.png"])), result.labels)
    assert len(json.loads(paths["coco.json"].read_text())["annotations"]) == 3
    assert result.figure().shape[2] == 3


def test_files_are_named_after_the_image(result: Segmentation, tmp_path: Path) -> None:
    assert result.save(tmp_path)[0] == tmp_path / "<b>cat & dog_labels.png"


def test_an_unknown_format_is_refused_before_anything_is_written(result: Segmentation, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cocoa"):
        result.save(tmp_path / "out", formats=["cocoa"])
    assert not (tmp_path / "out").exists()


def test_what_a_format_cannot_hold_is_a_warning(result: Segmentation, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="the extra 'geo' is not installed")
    with pytest.warns(UserWarning, match="pixel"):
        result.save(tmp_path, formats=["geojson"])  # the photograph lies nowhere on the Earth


def test_the_table_is_a_data_frame_if_pandas_is_installed(
    result: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segspectral.display.installed", lambda module: False)
    rows = result.table()
    assert [row["segment"] for row in rows] == [1, 2, 3]
    monkeypatch.undo()
    pytest.importorskip("pandas")
    frame = result.table()
    assert list(frame.index) == [1, 2, 3]
    assert frame["area"].sum() == result.labels.size


class DataArray:
    """What is used of an array of xarray that rioxarray has opened."""

    def __init__(self, values: np.ndarray, x: np.ndarray, y: np.ndarray, **spatial_ref: str) -> None:
        self.values, self.dims, self.shape, self.attrs = values, ("band", "y", "x"), values.shape, {}
        named = {"x": x, "y": y, "spatial_ref": np.array(0)}
        self.coords = {name: SimpleNamespace(values=v, attrs=spatial_ref) for name, v in named.items()}

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


@pytest.mark.parametrize("how", ["GeoTransform", "coordinates", "file"])
def test_what_is_saved_lies_where_the_image_lies(how: str, tmp_path: Path, quadrants: tuple[Any, Any]) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = quadrants[0][::2, ::2]
    height, width = pixels.shape[:2]
    transform = rasterio.Affine(10, 0, 400_000, 0, -10, 5_800_000)
    crs = rasterio.crs.CRS.from_epsg(32633)
    x, y = 400_005 + 10 * np.arange(width), 5_799_995 - 10 * np.arange(height)
    source: Any = DataArray(np.moveaxis(pixels, -1, 0), x, y, crs_wkt=crs.to_wkt())
    if how == "GeoTransform":
        source = DataArray(source.values, x + 3, y, crs_wkt=crs.to_wkt(), GeoTransform="400000 10 0 5800000 0 -10")
    elif how == "file":
        source = tmp_path / "placed.tif"
        profile = {"height": height, "width": width, "count": 3, "dtype": "uint8", "crs": crs, "transform": transform}
        with rasterio.open(source, "w", "GTiff", **profile) as file:
            file.write(np.moveaxis(pixels, -1, 0))
    s = segspectral.segment(source, segments=4, features={"cnn": None}, sizes={"min": "400m2"})
    s.save(tmp_path / "out", formats=["geotiff"], stem="placed")
    with rasterio.open(tmp_path / "out/placed_labels.tif") as raster:
        assert raster.crs == crs
        assert raster.transform.almost_equals(transform)
        assert (raster.read(1) == s.labels).all()
