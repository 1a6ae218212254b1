"""Rasters in tiles: the result does not know of the tiles, and keeps where on Earth it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from segspectral.config import make_pipeline, with_settings
from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.pipeline import Pipeline
from segspectral.tiles import Tiles, segment_raster

rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")

HEIGHT, WIDTH = 700, 900


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return make_pipeline(
        {
            "segments": 5,
            "superpixels": {"count": 1000},
            "features": {"cnn": None},
            "head": "exact",
            "refine": {"name": "guided", "radius": 4},
        }
    )


@pytest.fixture(scope="module")
def landscape() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(700, 900, 3) five kinds of land with winding borders, coloured and noisy; and which is where."""
    rng = np.random.default_rng(3)
    rows, cols = np.indices((HEIGHT, WIDTH))
    wave = 60 * np.sin(cols / 70) + 40 * np.sin(rows / 45 + cols / 130)
    truth = np.digitize(rows + wave, [140, 300]) + 3 * (np.hypot(rows - 430, cols - 610) < 130 + 20 * np.sin(rows / 9))
    truth = np.where((np.abs(rows - 0.7 * cols - 60 + wave / 3) < 26) & (truth < 3), 6, truth)
    truth = np.unique(truth, return_inverse=True)[1].reshape(HEIGHT, WIDTH)
    colours = np.array([[60, 110, 50], [170, 160, 110], [90, 90, 100], [200, 60, 60], [30, 60, 140], [230, 230, 220]])
    shade = 10 * np.sin(rows / 15)[..., None]
    picture = colours[truth % 6] + shade + rng.normal(0, 9, (HEIGHT, WIDTH, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), truth


def write(path: Path, picture: NDArray[np.generic], **profile: object) -> Path:
    defaults = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(4e5, 5e6, 0.5, 0.5)}
    height, width, count = picture.shape
    shape = {"height": height, "width": width, "count": count, "dtype": picture.dtype}
    with rasterio.open(path, "w", driver="GTiff", **(defaults | shape | profile)) as file:
        file.write(np.moveaxis(picture, -1, 0))
    return path


def labels_of(path: Path) -> NDArray[np.int64]:
    with rasterio.open(path) as file:
        return file.read(1).astype(np.int64)


def test_the_size_of_the_tiles_leaves_no_trace(landscape, pipeline: Pipeline, tmp_path: Path):
    picture, truth = landscape
    source = write(tmp_path / "land.tif", picture)
    maps = {}
    for size in (150, 4096):
        result = segment_raster(source, tmp_path / f"{size}.tif", pipeline, Tiles(tile=size))
        assert result.shape == truth.shape
        maps[size] = labels_of(result.labels)
        assert set(np.unique(maps[size])) == set(range(1, 6))
        assert adjusted_rand_score(truth.ravel(), maps[size].ravel()) > 0.8
    assert adjusted_rand_score(maps[4096].ravel(), maps[150].ravel()) >= 0.95
    # 1000 superpixels on 500 x 500 pixels have a side of 16, so tiles of 150 begin every 144 pixels.
    across = maps[150][:, 1:] != maps[150][:, :-1]
    down = maps[150][1:] != maps[150][:-1]
    at_borders = np.concatenate([across[:, 143::144].ravel(), down[143::144].ravel()]).mean()
    elsewhere = np.concatenate([across.ravel(), down.ravel()]).mean()
    assert at_borders < 1.5 * elsewhere


def test_the_test_for_seams_sees_a_seam(landscape):
    labels = landscape[1].copy()
    labels[:, 144:288] += 1
    across = labels[:, 1:] != labels[:, :-1]
    assert across[:, 143::144].mean() > 5 * across.mean()


def test_place_void_and_colours_are_kept(landscape, pipeline: Pipeline, tmp_path: Path):
    picture, _ = landscape
    picture = np.maximum(picture, 1)
    picture[:, :200] = 0  # a whole tile and more without data
    source = write(tmp_path / "land.tif", picture, nodata=0)
    target = segment_raster(source, tmp_path / "deep" / "labels.tif", pipeline, Tiles(tile=160)).labels
    with rasterio.open(source) as before, rasterio.open(target) as after:
        assert after.crs == before.crs
        assert after.transform == before.transform
        assert after.nodata == 0
        assert after.dtypes == ("uint8",)
        assert after.colormap(1)[1][:3] == (0, 114, 178)
    labels = labels_of(target)
    assert (labels[:, :200] == 0).all()
    assert (labels[:, 200:] > 0).all()
    assert {p.name for p in target.parent.iterdir()} == {"labels.tif"}


def test_what_void_holds_has_no_influence(landscape, pipeline: Pipeline, tmp_path: Path):
    picture = np.maximum(landscape[0][:300, :400], 1).astype(np.float32)
    results = []
    for nodata in (-9999.0, np.nan):
        holes = picture.copy()
        holes[100:140, 50:350] = nodata
        source = write(tmp_path / "holes.tif", holes, nodata=nodata)
        results.append(labels_of(segment_raster(source, tmp_path / "l.tif", pipeline).labels))
    assert (results[0][100:140, 50:350] == 0).all()
    np.testing.assert_array_equal(results[0], results[1])


def test_bands_and_stretch(landscape, pipeline: Pipeline, tmp_path: Path):
    picture = landscape[0][:300, :400]
    five = np.zeros((300, 400, 5), np.uint16)
    five[..., [3, 2, 1]] = 100 + picture.astype(np.uint16) * 7
    plain = segment_raster(write(tmp_path / "3.tif", picture), tmp_path / "a.tif", pipeline, Tiles(stretch=(2, 98)))
    source = write(tmp_path / "5.tif", five)
    deep = segment_raster(source, tmp_path / "b.tif", pipeline, Tiles(bands=(4, 3, 2)))
    assert adjusted_rand_score(labels_of(plain.labels).ravel(), labels_of(deep.labels).ravel()) > 0.99
    with pytest.raises(SettingsError, match="has 5 bands, not 4, 3, 9"):
        segment_raster(source, tmp_path / "c.tif", pipeline, Tiles(bands=(4, 3, 9)))
    with pytest.raises(ImageError, match="one colour"):
        segment_raster(source, tmp_path / "c.tif", pipeline, Tiles(bands=(1, 1, 1)))


def test_a_cnn_sees_the_same_through_tiles(landscape, pipeline: Pipeline, tmp_path: Path):
    source = write(tmp_path / "land.tif", landscape[0][:512, :512])
    cnn = with_settings(pipeline, {"features": {"cnn": {}}, "refine": "none"})
    whole, tiled = (
        labels_of(segment_raster(source, tmp_path / f"{size}.tif", cnn, Tiles(tile=size)).labels) for size in (512, 256)
    )
    assert adjusted_rand_score(whole.ravel(), tiled.ravel()) > 0.95


def test_faults_are_sentences(landscape, pipeline: Pipeline, tmp_path: Path):
    (tmp_path / "bad.tif").write_bytes(b"II*\0 no raster")
    with pytest.raises(ImageError, match=r"bad\.tif: is a raster that cannot be read"):
        segment_raster(tmp_path / "bad.tif", tmp_path / "x.tif", pipeline)
    whole = write(tmp_path / "whole.tif", landscape[0])
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:900_000])
    with pytest.raises(ImageError, match=r"cut\.tif: is a raster that cannot be read"):
        segment_raster(tmp_path / "cut.tif", tmp_path / "x.tif", pipeline)
    void = write(tmp_path / "void.tif", np.zeros((50, 50, 3), np.uint8), nodata=0)
    with pytest.raises(ImageError, match="no pixel is valid"):
        segment_raster(void, tmp_path / "x.tif", pipeline)
    with pytest.raises(OutputError, match="cannot be written"):
        segment_raster(whole, whole / "x.tif", pipeline)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".", "x"))]
