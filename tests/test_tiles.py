"""Rasters in tiles: the result does not depend on the tiles, and it keeps the georeference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from segspectral.config import make_pipeline
from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.export import read_georeference
from segspectral.images.reader import FLAT, Reading, read_image
from segspectral.pipeline import Pipeline
from segspectral.rasters.nodes import Grid, describe_raster
from segspectral.rasters.raster import DiskMap, Raster
from segspectral.rasters.segment import Tiles, segment_raster
from segspectral.settings import with_settings

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
    """(700, 900, 3) noisy colours of five kinds of land with winding borders, and (700, 900) the kind of each pixel."""
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


def reading(pipeline: Pipeline, **settings: object) -> Pipeline:
    return with_settings(pipeline, {"reading": settings})


def labels_of(path: Path) -> NDArray[np.int64]:
    with rasterio.open(path) as file:
        return file.read(1).astype(np.int64)


@pytest.mark.parametrize("contour", [None, 0.07])
def test_the_result_does_not_depend_on_the_size_of_tiles(
    landscape, pipeline: Pipeline, tmp_path: Path, contour: float | None
):
    picture, truth = (array[180:600, 280:800] for array in landscape)
    source = write(tmp_path / "land.tif", picture)
    maps = {}
    for size in (150, 4096):
        result = segment_raster(source, tmp_path / f"{size}.tif", pipeline, Tiles(tile=size, contour=contour))
        assert result.shape == truth.shape
        maps[size] = labels_of(result.labels)
        assert set(np.unique(maps[size])) == set(range(1, 6))
        # The road separates regions that are one in the truth, and boundary probabilities follow it.
        assert adjusted_rand_score(truth.ravel(), maps[size].ravel()) > (0.7 if contour else 0.95)
    assert adjusted_rand_score(maps[4096].ravel(), maps[150].ravel()) >= 0.95
    tile, side = Grid.of(truth.shape, 1000, 150, 20_000).tile, 16
    assert not has_seams(maps[150], tile, side)


def has_seams(labels: NDArray[np.int64], tile: int, side: int) -> bool:
    """Whether labels change more often where tiles meet than along lines shifted by whole superpixels."""
    across, down = (labels[:, 1:] != labels[:, :-1]).mean(axis=0), (labels[1:] != labels[:-1]).mean(axis=1)
    at, *moved = (
        np.concatenate([across[first::tile], down[first::tile]]).mean()
        for first in [tile - 1, *range(side - 1, tile - 1, side)]
    )
    return bool(at > 1.1 * max(moved))


def test_the_test_for_seams_detects_a_seam(landscape):
    labels = landscape[1].copy()
    assert not has_seams(labels, 128, 16)
    labels[:, 128:256] += 10
    assert has_seams(labels, 128, 16)


def test_georeference_void_and_colours_are_kept(landscape, pipeline: Pipeline, tmp_path: Path):
    picture = np.maximum(landscape[0][:330, :500], 1)
    picture[:, :200] = 0  # more than a whole tile without data
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


def test_the_values_of_void_pixels_have_no_influence(landscape, pipeline: Pipeline, tmp_path: Path):
    picture = np.maximum(landscape[0][:300, :400], 1).astype(np.float32)
    results = []
    for nodata in (-9999.0, np.nan):
        holes = picture.copy()
        holes[100:140, 50:350] = nodata
        source = write(tmp_path / "holes.tif", holes, nodata=nodata)
        results.append(labels_of(segment_raster(source, tmp_path / "l.tif", pipeline).labels))
    assert (results[0][100:140, 50:350] == 0).all()
    np.testing.assert_array_equal(results[0], results[1])


def test_bands_and_stretch_are_applied(landscape, pipeline: Pipeline, tmp_path: Path):
    picture = landscape[0][:300, :400]
    pipeline = with_settings(pipeline, {"features": {"bands": None}})
    five = np.zeros((300, 400, 5), np.uint16)
    five[..., [3, 2, 1]] = 100 + picture.astype(np.uint16) * 7
    plain = segment_raster(write(tmp_path / "3.tif", picture), tmp_path / "a.tif", reading(pipeline, stretch=(2, 98)))
    source = write(tmp_path / "5.tif", five)
    deep = segment_raster(source, tmp_path / "b.tif", reading(pipeline, bands=(4, 3, 2)))
    assert adjusted_rand_score(labels_of(plain.labels).ravel(), labels_of(deep.labels).ravel()) > 0.99
    with pytest.raises(SettingsError, match="has 5 bands, but 4, 3, 9 were requested"):
        segment_raster(source, tmp_path / "c.tif", reading(pipeline, bands=(4, 3, 9)))
    flat = segment_raster(source, tmp_path / "c.tif", reading(pipeline, bands=(1, 1, 1)))
    assert flat.segments == 1
    assert flat.notes[-1] == FLAT


def test_cnn_features_and_boundaries_do_not_depend_on_the_tiles(landscape, pipeline: Pipeline, tmp_path: Path):
    source = write(tmp_path / "land.tif", landscape[0][:384, :384])
    cnn = with_settings(pipeline, {"features": {"cnn": {}, "colour": None, "texture": None, "position": None}})

    def described(tile: int) -> tuple[NDArray[np.int32], dict[tuple[int, int], tuple[float, float]]]:
        """The seed of each pixel; for the seeds of each border, how far the features are apart, and the boundary."""
        with Raster.open(source, Reading()) as raster, DiskMap.beside(tmp_path / "x.tif", raster.cells) as seeds:
            nodes = describe_raster(raster, seeds, cnn, Grid.of(raster.shape, 1000, tile, 10**6))
            seed = np.argsort(np.where(nodes.number < 0, len(nodes.number), nodes.number), kind="stable")
            i, j = nodes.graph.borders.T
            apart = np.linalg.norm(nodes.features.nodes[i] - nodes.features.nodes[j], axis=1)
            both = zip(apart.tolist(), nodes.graph.boundary.tolist(), strict=True)
            return np.array(seeds[:, :]), dict(
                zip(zip(seed[i].tolist(), seed[j].tolist(), strict=True), both, strict=True)
            )

    (whole_seeds, whole), (seeds, tiled) = described(384), described(160)
    assert (seeds != whole_seeds).mean() < 0.01
    common = sorted(whole.keys() & tiled.keys())
    assert len(common) > 0.97 * len(whole)
    expected, found = (np.array([borders[pair] for pair in common]) for borders in (whole, tiled))
    assert np.corrcoef(expected[:, 0], found[:, 0])[0, 1] > 0.998
    assert np.abs(expected[:, 1] - found[:, 1]).max() < 0.03


def test_faults_are_reported_in_one_sentence(landscape, pipeline: Pipeline, tmp_path: Path):
    (tmp_path / "bad.tif").write_bytes(b"II*\0 no raster")
    with pytest.raises(ImageError, match=r"bad\.tif: is a TIFF that cannot be read"):
        segment_raster(tmp_path / "bad.tif", tmp_path / "x.tif", pipeline)
    whole = write(tmp_path / "whole.tif", landscape[0])
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:900_000])
    with pytest.raises(ImageError, match=r"cut\.tif: the raster cannot be read"):
        segment_raster(tmp_path / "cut.tif", tmp_path / "x.tif", pipeline)
    void = write(tmp_path / "void.tif", np.zeros((50, 50, 3), np.uint8), nodata=0)
    with pytest.raises(ImageError, match="no pixel is valid"):
        segment_raster(void, tmp_path / "x.tif", pipeline)
    with pytest.raises(OutputError, match="cannot be written"):
        segment_raster(whole, whole / "x.tif", pipeline)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".", "x"))]


def test_cells_are_means_of_the_valid_pixels(landscape, tmp_path: Path):
    picture = landscape[0][:47, :58].astype(np.float32)
    picture[:9, :13] = picture[20, 30] = np.nan
    source = write(tmp_path / "s.tif", picture)
    with Raster.open(source, Reading(stretch=(0, 100))) as raster:
        pixels, _ = raster.read((0, 47), (0, 58))
        raster.factor = 4
        assert raster.cells == (12, 15)
        cells, valid = raster.read_cells((1, 12), (2, 15))
    for row in range(1, 12):
        for col in range(2, 15):
            block = np.s_[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            sound = pixels[block][~np.isnan(picture[block]).any(axis=-1)]
            assert valid[row - 1, col - 2] == (len(sound) > 0)
            if len(sound):
                np.testing.assert_allclose(cells[row - 1, col - 2], sound.mean(axis=0), atol=1e-6)
    assert not valid[0, 0]


def test_a_large_raster_is_segmented_at_a_smaller_size(landscape, pipeline: Pipeline, tmp_path: Path):
    """Labels are upsampled to pixels: void pixels stay void, and borders are at the same positions as in the raster."""
    picture, truth = landscape[0][:500, :601].copy(), landscape[1][:500, :601]
    picture = np.maximum(picture, 1)
    rows, cols = np.indices(truth.shape)
    void = np.hypot(rows - 300, cols - 100) < 50.3
    picture[void] = 0
    pipeline = with_settings(pipeline, {"features": {"contours": None}})
    assert Grid.of(truth.shape, 1000, 1024, 200).factor == 2
    source, maps = write(tmp_path / "s.tif", picture, nodata=0), {}
    for size in (128, 1024):
        result = segment_raster(source, tmp_path / "l.tif", pipeline, Tiles(tile=size, max_nodes=200))
        assert 150 < result.nodes <= 240
        maps[size] = labels_of(result.labels)
        np.testing.assert_array_equal(maps[size] == 0, void)
    assert adjusted_rand_score(maps[128].ravel(), maps[1024].ravel()) > 0.95
    assert adjusted_rand_score(maps[1024][~void], truth[~void]) > 0.9


@pytest.mark.parametrize("hierarchy", [False, True], ids=["head", "hierarchy"])
def test_a_raster_of_one_tile_is_segmented_like_an_image(tmp_path: Path, hierarchy: bool):
    """It has other superpixels, but the same features, boundary probabilities, graph, and head or hierarchy."""
    image = read_image(Path(__file__).parents[1] / "sample_images" / "coffee.jpg")
    pipeline = make_pipeline({"refine": "none", "segments": 6, "hierarchy": hierarchy})
    source = write(tmp_path / "coffee.tif", image.uint8)
    same = Tiles(scale=1, contour=pipeline.affinity.contour)
    raster = segment_raster(source, tmp_path / "l.tif", pipeline, same)
    assert adjusted_rand_score(labels_of(raster.labels).ravel(), pipeline(image).labels.ravel()) > 0.7


def test_a_raster_smaller_than_a_photograph_has_superpixels_enough(tmp_path: Path):
    """The squares of a photograph's grid would be as large as its segments: 24 x 18 pixels would be two superpixels."""
    truth = np.repeat(np.arange(3), 6)[None].repeat(24, axis=0)
    picture = np.array([[200, 30, 30], [40, 120, 40], [30, 40, 190]], np.uint8)[truth]
    source = write(tmp_path / "small.tif", picture)
    pipeline = make_pipeline({"segments": 3, "features": {"cnn": None}, "refine": "none"})
    in_tiles = labels_of(segment_raster(source, tmp_path / "l.tif", pipeline, Tiles(tile=64)).labels)
    in_memory = pipeline(read_image(source)).labels
    assert adjusted_rand_score(truth.ravel(), in_memory.ravel()) > 0.8
    assert adjusted_rand_score(truth.ravel(), in_tiles.ravel()) > 0.8


def test_without_choice_tiles_make_kinds_of_land_and_memory_regions(tmp_path: Path):
    """Two fields of one colour, as docs/howto/rasters.md says: `--hierarchy` makes regions in both."""
    picture = np.full((160, 240, 3), (60, 110, 50), np.uint8)
    picture[:, 40:90] = picture[:, 150:200] = (200, 160, 110)
    source = write(tmp_path / "fields.tif", picture)

    def both(**settings: object) -> list[bool]:
        """In tiles, and in memory: whether the two fields are one segment."""
        pipeline = make_pipeline({"refine": "none", **settings})
        tiled = labels_of(segment_raster(source, tmp_path / "l.tif", pipeline, Tiles(tile=128)).labels)
        return [bool(labels[80, 65] == labels[80, 175]) for labels in (tiled, pipeline(picture).labels)]

    assert both() == [True, False]
    assert both(hierarchy=True) == [False, False]


def test_nodes_do_not_depend_on_the_tiles(tmp_path: Path):
    """Boundary probabilities and CNN features are equal up to the last rows and columns, which do not fill a tile."""
    image = read_image(Path(__file__).parents[1] / "sample_images" / "coffee.jpg")
    source, pipeline = write(tmp_path / "coffee.tif", image.uint8[:288, :448]), make_pipeline({})
    found = []
    for size in (160, 1024):
        with Raster.open(source) as raster, DiskMap.beside(tmp_path / "l.tif", raster.shape) as node_map:
            grid = Grid.of(raster.shape, 600, size, 20_000)
            nodes = describe_raster(raster, node_map, pipeline, grid)
        graph = nodes.graph
        assert graph.boundary is not None
        i, j = graph.borders.T
        cnn = nodes.features.part("cnn")
        apart = np.linalg.norm(cnn[i] - cnn[j], axis=1)
        values = zip(graph.boundary, graph.border_length, apart, strict=True)
        found.append(dict(zip(map(tuple, graph.borders.tolist()), values, strict=True)))
    tiled, whole = found
    common = np.array([(*tiled[pair], *whole[pair]) for pair in tiled if pair in whole])
    assert len(common) > 0.95 * max(len(tiled), len(whole))
    assert np.abs(common[:, 0] - common[:, 3]).mean() < 0.02
    assert np.corrcoef(common[:, 0], common[:, 3])[0, 1] > 0.97
    assert abs(common[:, 1].sum() / common[:, 4].sum() - 1) < 0.03
    assert np.quantile(np.abs(common[:, 2] - common[:, 5]), 0.95) < 0.05 * common[:, 5].mean()


class TestOtherFiles:
    """A raster is read from its own file alone. Files beside it, and names in it, do not open other files."""

    SECRET, OWN = 99, 7

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """secret.tif, whose pixels are all 99, and ov.vrt, which refers to them."""
        monkeypatch.chdir(tmp_path)
        write(tmp_path / "secret.tif", np.full((64, 64, 1), self.SECRET, np.uint8))
        (tmp_path / "ov.vrt").write_text(self.vrt(tmp_path, 32))
        return tmp_path

    def vrt(self, folder: Path, side: int) -> str:
        source = f'<SourceFilename relativeToVRT="0">{folder / "secret.tif"}</SourceFilename>'
        band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
        mask = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
        return f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">{mask}{band}</VRTDataset>'

    def plant(self, folder: Path, how: str) -> Path:
        path = folder / "map.tif"
        if how == "a VRT by the name of a TIFF":
            path.write_text(self.vrt(folder, 64))
            return path
        write(path, np.full((64, 64, 1), self.OWN, np.uint8))
        if how == "overviews named in the file":
            with rasterio.open(path, "r+") as file:
                file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="ov.vrt")
        elif how == "overviews named beside the file":
            tag = '<MDI key="OVERVIEW_FILE">ov.vrt</MDI>'
            (folder / "map.tif.aux.xml").write_text(
                f'<PAMDataset><Metadata domain="OVERVIEWS">{tag}</Metadata></PAMDataset>'
            )
        else:
            suffix = {"overviews beside the file": "ovr", "a mask beside the file": "msk"}[how]
            (folder / f"map.tif.{suffix}").write_text(self.vrt(folder, 32 if suffix == "ovr" else 64))
        return path

    WAYS = (
        "a VRT by the name of a TIFF",
        "overviews named in the file",
        "overviews named beside the file",
        "overviews beside the file",
        "a mask beside the file",
    )

    @pytest.mark.parametrize("how", WAYS)
    def test_no_pixel_of_another_file_is_read(self, folder: Path, how: str) -> None:
        path = self.plant(folder, how)
        with rasterio.open(path) as plain:  # the attack works if the file is opened without precautions
            if "mask" in how:
                assert (plain.dataset_mask() == self.SECRET).all()
            else:
                assert (plain.read(1, out_shape=(32, 32)) == self.SECRET).all()
        try:
            with Raster.open(path) as raster:
                seen = raster._sampled(raster._raw, 32)[0]
        except ImageError as error:
            assert "map.tif" in str(error)  # noqa: PT017
        else:
            assert (seen == self.OWN).all()

    def test_a_name_like_an_address_is_read_as_a_file(self, folder: Path) -> None:
        (folder / "http:" / "x").mkdir(parents=True)
        (folder / "secret.tif").rename(folder / "http:" / "x" / "y.tif")
        with Raster.open(Path("http:/x/y.tif")) as raster:
            assert raster.shape == (64, 64)

    def test_georeference_nodata_and_mask_beside_the_file_are_used(self, tmp_path: Path) -> None:
        picture = np.full((64, 64, 1), self.OWN, np.uint8)
        picture[:10] = 5
        path = tmp_path / "map.tif"
        write(path, picture, crs=None, transform=None)
        (tmp_path / "map.tfw").write_text("2\n0\n0\n-2\n101\n199\n")
        (tmp_path / "map.tif.aux.xml").write_text(
            "<PAMDataset><SRS>EPSG:32633</SRS>"
            '<PAMRasterBand band="1"><NoDataValue>5</NoDataValue></PAMRasterBand></PAMDataset>'
        )
        with Raster.open(path) as raster:
            assert raster.crs.to_epsg() == 32633
            assert tuple(raster.transform)[:6] == (2, 0, 100, 0, -2, 200)
            np.testing.assert_array_equal(raster.read((0, 64), (0, 64))[1], picture[..., 0] != 5)
        place = read_georeference(path)
        assert place is not None
        assert place.transform == (2, 0, 100, 0, -2, 200)
        (tmp_path / "map.tif.aux.xml").unlink()
        mask = np.arange(64)[:, None] * np.ones(64) > 20
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
            file.write_mask(mask)
        assert (tmp_path / "map.tif.msk").is_file()
        with Raster.open(path) as raster:
            np.testing.assert_array_equal(raster.read((0, 64), (0, 64))[1], mask)

    def test_rasters_that_claim_too_many_pixels_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.tif"
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "SPARSE_OK": True, "BIGTIFF": "YES"}
        with rasterio.open(
            path, "w", height=400_000, width=400_000, blockysize=4096, blockxsize=4096, tiled=True, **profile
        ):
            pass
        with pytest.raises(ImageError, match="400000 x 400000"), Raster.open(path):
            pass
        blocks = {"blockysize": 40_960, "blockxsize": 40_960, "tiled": True}
        with rasterio.open(path, "w", height=40_960, width=40_960, **blocks, **profile):
            pass
        with pytest.raises(ImageError, match="TILED=YES"), Raster.open(path):
            pass


def test_a_raster_of_one_colour_is_one_segment_with_a_note(pipeline: Pipeline, tmp_path: Path) -> None:
    picture = np.full((90, 150, 3), 40, np.uint8)
    picture[:, :20] = 0
    result = segment_raster(
        write(tmp_path / "flat.tif", picture, nodata=0), tmp_path / "l.tif", pipeline, Tiles(tile=64, contour=0.07)
    )
    assert result.segments == 1
    assert "one colour" in result.notes[-1]
    np.testing.assert_array_equal(labels_of(result.labels), (picture[..., 0] > 0).astype(int))
    # One pixel in a corner, which a subsampled view need not contain, makes it an image of two colours.
    picture[0, -1] = 250
    result = segment_raster(write(tmp_path / "dot.tif", picture, nodata=0), tmp_path / "d.tif", pipeline)
    assert result.notes == ()


@pytest.mark.parametrize("nodata", [None, 0, 1])
@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_the_same_in_tiles(tmp_path: Path, bits: int, white: str, nodata: int | None) -> None:
    grey = np.random.default_rng(1).integers(0, 2**bits, (40, 50, 1), np.uint8)
    path = write(tmp_path / "few.tif", grey, nbits=bits, photometric=white, nodata=nodata)
    whole = read_image(path)
    with Raster.open(path) as raster:
        rgb, valid = raster.read((0, 40), (0, 50))
    assert (valid == (np.ones((40, 50), bool) if whole.mask is None else whole.mask)).all()
    assert valid.all() == (nodata is None)
    assert (np.rint(rgb * 255) == whole.rgb)[valid].all()
    assert nodata is not None or whole.rgb.max() == 255


def test_bands_are_counted_in_tiles_without_opacity(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 255, (40, 50, 4), np.uint8)
    values[..., 3] = 255
    path = write(tmp_path / "rgba.tif", values, photometric="rgb", alpha="yes")
    for bands in ((2,), (3, 1, 2)):
        chosen = Reading(bands=bands)
        with Raster.open(path, chosen) as raster:
            rgb, _ = raster.read((0, 40), (0, 50))
        np.testing.assert_array_equal(np.rint(rgb * 255), read_image(path, chosen).rgb)
    with pytest.raises(SettingsError, match="has 3 bands, but 4 were"), Raster.open(path, Reading(bands=(4,))):
        pass


def test_bands_of_a_palette_are_refused_in_tiles_and_those_of_inks_are_colours(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 255, (40, 50, 3), np.uint8)
    palette, inks = tmp_path / "palette.tif", tmp_path / "inks.tif"
    PIL.Image.fromarray(values).convert("P").save(palette)
    PIL.Image.fromarray(values).convert("CMYK").save(inks)
    chosen = Reading(bands=(2,))
    with Raster.open(palette) as raster:
        assert raster.read((0, 40), (0, 50))[0].shape == (40, 50, 3)
    with pytest.raises(SettingsError, match="has a palette, of which no bands"), Raster.open(palette, chosen):
        pass
    with Raster.open(inks, chosen) as raster:  # GDAL makes RGB of them
        rgb, _ = raster.read((0, 40), (0, 50))
    np.testing.assert_allclose(rgb * 255, read_image(inks, chosen).rgb, atol=1.01)


def assert_equal_in_tiles(path: Path) -> NDArray[np.bool_]:
    """Read a file as a whole and in a window: colours and void are the same. Returns which pixels are valid."""
    whole = read_image(path)
    height, width = whole.rgb.shape[:2]
    with Raster.open(path) as raster:
        rgb, valid = raster.read((0, height), (0, width))
        said = raster.said
    np.testing.assert_array_equal(valid, np.ones((height, width), bool) if whole.mask is None else whole.mask)
    np.testing.assert_allclose(rgb[valid], whole.float32[valid], atol=1e-6)
    assert set(said) == set(whole.notes)
    return valid


@pytest.mark.parametrize("planes", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_multiplied_by_opacity_are_divided_by_it(
    tmp_path: Path, dtype: type, photometric: str, planes: bool
) -> None:
    full = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    count = 3 if photometric == "rgb" else 1
    colours, opacity = rng.uniform(0.2, 1, (40, 50, count)), rng.uniform(0.3, 1, (40, 50, 1))
    opacity[:5] = 0
    stored = (np.concatenate([colours * opacity, opacity], axis=2) * full).astype(dtype)
    path, order = tmp_path / "a.tif", "separate" if planes else "contig"
    values = np.moveaxis(stored, -1, 0).copy() if planes else stored
    tifffile.imwrite(path, values, photometric=photometric, planarconfig=order, extrasamples=[1])
    valid = assert_equal_in_tiles(path)
    np.testing.assert_array_equal(valid, opacity[..., 0] > 0)
    found = read_image(path, stretch="none").float32
    np.testing.assert_allclose(found[valid], np.broadcast_to(colours, found.shape)[valid], atol=0.02)


FLOATS = np.random.default_rng(1).normal(100, 20, (40, 50)).astype(np.float32)
BYTES = np.random.default_rng(1).integers(1, 256, (40, 50), np.uint8)


@pytest.mark.parametrize(
    ("values", "value", "text", "void"),
    [
        (FLOATS, np.finfo(np.float32).min, "-3.4028235e38", True),
        (FLOATS, np.finfo(np.float32).min, "-3.40282306074e+038", True),  # as ArcGIS writes it
        (FLOATS, np.float32(0.1), "0.1", True),
        (FLOATS, np.float32(0.1), "0.1001", False),
        (BYTES, 0, " 0.0 \0", True),
        (BYTES, 0, "no value", False),
        (BYTES, 0, "0,0,0", False),
        (BYTES, 0, "0.5", False),
        (BYTES, 0, "-9999", False),
    ],
)
@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_nodata_is_compared_in_the_type_of_the_values(
    tmp_path: Path, values: NDArray[np.generic], value: float, text: str, void: bool, beside: bool
) -> None:
    values = values.copy()
    values[:10] = value
    path = tmp_path / "n.tif"
    tifffile.imwrite(path, values, extratags=[] if beside else [(42113, "s", 0, text, True)])
    if beside:
        if text in ("no value", "0,0,0"):
            pytest.skip("GDAL reads such a text beside a file as 0")
        band = f'<PAMRasterBand band="1"><NoDataValue>{text.strip(" " + chr(0))}</NoDataValue></PAMRasterBand>'
        path.with_name("n.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    valid = assert_equal_in_tiles(path)
    assert valid[10:].all()
    assert valid[:10].any() != void
    told = [note for note in read_image(path).notes if "is not a number" in note]
    assert bool(told) == (text in ("no value", "0,0,0"))


def test_nodata_beside_a_raster_is_that_of_all_bands(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(1, 255, (40, 50, 5), np.uint8)
    values[:10, :, :3] = 0  # what is seen, but not all
    values[:5] = 0
    path = write(tmp_path / "five.tif", values)
    bands = "".join(f'<PAMRasterBand band="{b}"><NoDataValue>0</NoDataValue></PAMRasterBand>' for b in range(1, 6))
    path.with_name("five.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    assert not assert_equal_in_tiles(path)[:5].any()


def test_lab_is_read_as_a_whole_because_other_programs_decode_it_otherwise(tmp_path: Path) -> None:
    from PIL import ImageCms

    from segspectral.images.tiff import can_be_tiled

    rgb = PIL.Image.fromarray(np.random.default_rng(2).integers(0, 255, (40, 50, 3), np.uint8))
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    path = tmp_path / "lab.tif"
    ImageCms.profileToProfile(rgb, *spaces, outputMode="LAB").save(path)
    assert not can_be_tiled(path)
    with pytest.raises(ImageError, match=r"is L\*a\*b\*, which is not read in tiles"), Raster.open(path):
        pass
    assert np.abs(read_image(path).rgb.astype(int) - np.asarray(rgb)).mean() < 12


@pytest.mark.parametrize("profile", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 32}], ids=["strips", "tiles"])
def test_subsampling_reads_each_block_once_and_takes_the_pixels_that_gdal_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: dict[str, object]
) -> None:
    from segspectral.rasters import raster as module

    monkeypatch.setattr(module, "BLOCK_ROWS", 32)
    monkeypatch.setattr(module, "READ_PIXELS", 5000)
    values = np.random.default_rng(3).integers(0, 255, (300, 401, 3), np.uint8)
    path = write(tmp_path / "s.tif", values, **profile)
    seen = np.zeros(values.shape[:2], int)
    with Raster.open(path) as raster:

        def read(rows: tuple[int, int], cols: tuple[int, int]) -> object:
            seen[slice(*rows), slice(*cols)] += 1
            return raster._raw(rows, cols)

        found, valid = raster._sampled(read, 100)
        due = np.moveaxis(raster.dataset.read(out_shape=(3, 75, 100)), 0, -1)
    np.testing.assert_array_equal(found, due)
    assert valid.all()
    assert seen.max() == 1
