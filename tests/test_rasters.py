"""Rasters as a user sees them: what goes through tiles by itself, and the same results by every command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.rasters import tiling

rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")

FAST = [
    *("-k", "3", "--head", "exact", "--refine", "none", "--set", "superpixels.count=3000"),
    *("--set", "features={cnn: null, texture: null, contours: null}"),
]


def command(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def scene(tmp_path: Path, quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> Path:
    """A GeoTIFF of 112 x 96 pixels of four colours."""
    path = tmp_path / "in" / "scene.tif"
    path.parent.mkdir()
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", width=112, height=96, count=3, dtype="uint8", **place) as out:
        out.write(np.moveaxis(quadrants[0], -1, 0))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rasters of over 5000 pixels count as large."""
    monkeypatch.setattr(tiling, "AUTO_PIXELS", 5000)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "journal.jsonl"}


class TestFormats:
    """What is made of a raster in tiles is what its label raster says."""

    FORMATS = "png,csv,geotiff,cog,gpkg,geojson"

    @pytest.fixture
    def made(self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        from segspectral.export import zones

        pytest.importorskip("shapely", reason="shapely (extra 'geo') is not installed")
        monkeypatch.setattr(zones, "SIDE", 50)
        options = [*FAST, "--tile", "64", "--names", "1=sea", "--format", self.FORMATS]
        done = command("segment", scene, "-o", tmp_path / "a", *options)
        assert done.exit_code == 0, done.output
        command("batch", scene, "-o", tmp_path / "b", "-j", "0", *options)
        a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
        assert {name: data for name, data in a.items() if name != "scene.gpkg"} == {
            name: data for name, data in b.items() if name != "scene.gpkg"
        }
        assert set(a) == set(b)
        return tmp_path / "a"

    def test_label_maps_are_equal(self, made: Path) -> None:
        from segspectral.export import read_label_map

        with rasterio.open(made / "scene_labels.tif") as file, rasterio.open(made / "scene_cog.tif") as cog:
            labels = file.read(1)
            assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert (cog.crs, cog.transform) == (file.crs, file.transform)
            np.testing.assert_array_equal(cog.read(1), labels)
        for name in ("scene_labels.tif", "scene_labels.png", "scene_cog.tif"):
            item = read_label_map(made / name)
            np.testing.assert_array_equal(item.labels, labels)
            assert item.name(1) == "sea"
            assert [item.colour(segment) for segment in (1, 2)] == [(0, 114, 178), (230, 159, 0)]
        assert not list(made.glob("*.aux.xml"))

    def test_tables_and_polygons_have_the_segments(self, made: Path, scene: Path) -> None:
        import csv

        import pyogrio
        import shapely
        from rasterio.features import rasterize

        from segspectral.export import read_label_map
        from segspectral.export.tables import region_table
        from segspectral.images.reader import read_image

        item = replace(read_label_map(made / "scene_labels.tif"), pixels=read_image(scene).uint8)
        due = region_table(item)
        with (made / "scene_regions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [[float(row[key]) for key in ("segment", "area", "red", "perimeter")] for row in rows] == [
            [row[key] for key in ("segment", "area", "red", "perimeter")] for row in due
        ]
        about, _, shapes, columns = pyogrio.raw.read(made / "scene.gpkg", layer="segments")
        found = dict(zip(about["fields"], columns, strict=True))
        assert found["name"][0] == "sea"
        np.testing.assert_array_equal(found["area"], [row["area"] for row in due])
        with rasterio.open(made / "scene_labels.tif") as file:
            burned = zip(shapely.from_wkb(shapes), found["segment"].tolist(), strict=True)
            back = rasterize(burned, file.shape, transform=file.transform)
            assert (back == file.read(1)).mean() > 0.99
        collection = json.loads((made / "scene.geojson").read_text())
        assert [feature["properties"]["segment"] for feature in collection["features"]] == found["segment"].tolist()

    def test_zones_have_mean_and_spread_of_every_band(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import pyogrio

        from segspectral.export import zones

        monkeypatch.setattr(zones, "SIDE", 50)
        with rasterio.open(scene) as file:
            values = np.concatenate([file.read().astype(np.uint16) * 9, file.read()[:2] + np.uint16(1000)])
            profile = file.profile | {"count": 5, "dtype": "uint16"}
        with rasterio.open(scene, "w", **profile) as file:
            file.write(values)
        done = command("segment", scene, "-o", tmp_path / "a", *FAST, "--tile", "64", "--format", "gpkg")
        assert done.exit_code == 0, done.output
        with rasterio.open(tmp_path / "a/scene_labels.tif") as file:
            labels = file.read(1)
        about, _, _, columns = pyogrio.raw.read(tmp_path / "a/scene.gpkg", layer="segments")
        found = dict(zip(about["fields"], columns, strict=True))
        for number, band in enumerate(values.astype(float), start=1):
            inside = [band[labels == segment] for segment in found["segment"]]
            np.testing.assert_allclose(found[f"band{number}_mean"], [v.mean() for v in inside], rtol=1e-5)
            np.testing.assert_allclose(found[f"band{number}_std"], [v.std() for v in inside], rtol=1e-5)

    def test_label_rasters_larger_than_memory_are_converted_in_windows(
        self, made: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("segspectral.images.limits.MAX_PIXELS", 10_000)
        out = tmp_path / "c"
        labels = made / "scene_labels.tif"
        done = command("convert", labels, "--to", self.FORMATS, "-o", out, "--images", scene.parent)
        assert done.exit_code == 0, done.output
        for name in ("scene_regions.csv", "scene.geojson", "scene_labels.png", "scene_labels.tif"):
            assert (out / name).read_bytes() == (made / name).read_bytes(), name
        refused = command("convert", labels, "--to", "coco,gpkg", "-o", tmp_path / "d")
        assert refused.exit_code == 3
        assert "too large to be held in memory, and coco can only be made of whole images" in refused.output


class TestWhichImages:
    def test_large_rasters_go_through_tiles_by_themselves_and_a_note_says_so(
        self, scene: Path, tmp_path: Path, small: None
    ) -> None:
        said = command("segment", scene, "-o", tmp_path / "a", *FAST).output
        command("batch", scene, "-o", tmp_path / "b", "-j", "0", *FAST)
        assert contents(tmp_path / "a") == contents(tmp_path / "b")
        assert {"scene_labels.tif", "scene.json", "scene_overlay.png"} <= set(contents(tmp_path / "a"))
        assert said.count("0 megapixels are read in tiles of 1024 pixels, as one graph: more than 0 megapixels") == 1
        assert any("in tiles of 1024" in note for note in json.loads((tmp_path / "a/scene.json").read_text())["notes"])

    def test_the_same_command_with_tiles_gives_the_same_files(self, scene: Path, tmp_path: Path) -> None:
        for name, options in {"segment": [], "batch": ["-j", "0"]}.items():
            done = command(name, scene, "-o", tmp_path / name, *FAST, *options, "--tile", "64")
            assert done.exit_code == 0, done.output
            assert "megapixels are read in tiles" not in done.output
        assert contents(tmp_path / "segment") == contents(tmp_path / "batch")

    def test_none_holds_every_image_as_a_whole(self, scene: Path, tmp_path: Path, small: None) -> None:
        assert command("segment", scene, "-o", tmp_path / "a", *FAST, "--tile", "none").exit_code == 0
        assert (tmp_path / "a/scene_labels.png").exists()

    @pytest.mark.parametrize("option", [["--format", "coco"], ["--figure"], ["-k", "2,3"]])
    def test_what_needs_whole_images_holds_them_if_they_fit(
        self, scene: Path, tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, option: list[str]
    ) -> None:
        def segment() -> Result:
            return command("segment", scene, "-o", tmp_path / "a", *FAST, *option)

        assert segment().exit_code == 0
        assert not (tmp_path / "a/scene_labels.tif").exists()
        monkeypatch.setattr(tiling, "MAX_PIXELS", 10_000)
        refused = segment()
        assert refused.exit_code == 3
        assert "too many to be held in memory, and " in refused.stderr
        assert refused.stderr.count("error:") == 1
        refused = command("segment", scene, "-o", tmp_path / "b", *FAST, *option, "--tile", "64")
        assert refused.exit_code == 2
        assert "whole images; leave out --tile" in refused.stderr
        assert not (tmp_path / "b").exists()

    def test_photographs_are_held_as_a_whole_whatever_their_size(
        self, samples: Path, tmp_path: Path, small: None
    ) -> None:
        assert tiling.Tiling.parse("auto").of(samples / "cat.jpg") is None
        assert tiling.Tiling.parse("64").of(samples / "cat.jpg") is None

    def test_many_bands_count_too(self, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert tiling.Tiling.parse("auto").of(scene) is None
        monkeypatch.setattr(tiling, "AUTO_BYTES", 3 * 96 * 112 - 1)
        plan = tiling.Tiling.parse("auto").of(scene)
        assert plan is not None
        assert "GB of values are read in tiles" in plan.note

    def test_a_file_that_claims_far_more_than_it_can_hold_is_refused_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.tif"
        tifffile.imwrite(path, np.zeros((16, 16), np.float64), photometric="minisblack", tile=(16, 16))
        with tifffile.TiffFile(path, mode="r+") as file:  # 64 bands of 3072 x 3072
            for number, value in ((256, 3072), (257, 3072), (277, 64)):
                file.pages[0].tags[number].overwrite(value)  # type: ignore[union-attr]
        for name, code in (("segment", 3), ("batch", 3)):
            done = command(name, path, "-o", tmp_path / name, *FAST)
            assert done.exit_code == code
            assert "bomb.tif: claims to hold 4.8 GB of values in " in done.output
            assert "--tile 1024 reads it" in done.output
            assert done.output.count("claims to hold") == 1

    def test_a_tile_that_is_not_a_number_is_reported(self, scene: Path, tmp_path: Path) -> None:
        done = command("segment", scene, "-o", tmp_path / "a", "--tile", "large")
        assert done.exit_code == 2
        assert "'large' is neither auto, none nor a number of pixels" in done.stderr
