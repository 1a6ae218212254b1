"""All bands of a file count: in tables in its own units, as features, and through indices."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

import segspectral
from segspectral.cli import app
from segspectral.config import make_pipeline
from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.features import BandStatistics, FeatureStack
from segspectral.images.indices import roles_of
from segspectral.images.reader import as_image, read_image
from segspectral.resolution import downsampled
from segspectral.shared.fit import fit_model
from segspectral.shared.model import Model, Recipe
from segspectral.values import Bands, BandSums, Image, Index

rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")

H, W = 96, 128
QUICK: dict[str, Any] = {
    "segments": 2,
    "superpixels": {"count": 2000},
    "features": {"cnn": None, "contours": None, "position": None, "texture": None, "colour": {"weight": 0.2}},
    "head": "exact",
    "refine": "none",
}
RECIPE: dict[str, Any] = {
    "segments": 2,
    "superpixels": {"count": 150},
    "features": {"cnn": None, "colour": {"weight": 0.2}, "contours": None, "bands": {}},
    "head": "kmeans",
}
SENTINEL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
LAND = (np.indices((H, W))[1] >= 60).astype(int)
"""Two kinds of land, which only the last band tells apart."""


def stack_of(bands: int, dtype: Any = np.uint16) -> NDArray[Any]:
    """(H, W, bands) stripes in the bands that are seen, nothing in others, and two levels in the last."""
    values = np.full((H, W, bands), 1000.0) + np.random.default_rng(bands).normal(0, 5, (H, W, bands))
    for band in range(min(3, bands - 1)):
        values[..., band] += 200 * np.sin(np.arange(H) / 9 + band)[:, None]
    values[..., -1] += 800 * LAND
    return values.astype(dtype)


def write(path: Path, values: NDArray[Any], names: tuple[str, ...] = (), **profile: Any) -> Path:
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
    shape = {"height": values.shape[0], "width": values.shape[1], "count": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", **({"driver": "GTiff"} | place | shape | profile)) as out:
        out.write(np.moveaxis(values, -1, 0))
        if names:
            out.descriptions = names
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestIndex:
    def test_a_formula_is_what_numpy_computes(self) -> None:
        a, b = np.random.default_rng(0).uniform(1, 9, (2, 5, 6))
        index = Index("x", "-2.5*(b1 - B2)/max(b1, 3)**2 + sqrt(abs(b2))")
        assert index.bands == (1, 2)
        wanted = -2.5 * (a - b) / np.maximum(a, 3) ** 2 + np.sqrt(np.abs(b))
        np.testing.assert_allclose(index({1: a, 2: b}.__getitem__), wanted)

    @pytest.mark.parametrize(
        "formula",
        [
            "__import__('os').system('true')",
            "b1.__class__",
            "b1[0]",
            "(lambda: b1)()",
            "b1 if b2 else b3",
            "open(b1)",
            "sqrt(b1, out=b2)",
            "b0+b1",
            "1/2",
            "b1+" * 100 + "b1",
            "(" * 100 + "b1" + ")" * 99,
            "b1+True",
            "'b1'",
            "b1 +",
            "abs",
        ],
    )
    def test_anything_but_arithmetic_of_bands_is_refused(self, formula: str) -> None:
        with pytest.raises(SettingsError, match="index"):
            make_pipeline({"reading": {"index": [formula]}})

    def test_huge_powers_are_floats_at_once(self) -> None:
        assert np.isnan(Index("x", "b1+9**9**9**9")({1: np.ones((2, 2))}.__getitem__)).all()

    @pytest.mark.parametrize(
        ("names", "nir"),
        [
            (SENTINEL, 8),
            (("B02", "B03", "B04", "B8A", "B08"), 5),
            (("blue", "green", "red", "nir"), 4),
            (("Band 1 - Red", "Green (560 nm)", "B3: Blue", "Near-Infrared"), 4),
            (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5"), None),  # Landsat 7 or 8: they differ
            (("B1", "B2", "B3", "B4", "B5"), None),
            (("nir", "nir"), None),
            ((), None),
        ],
    )
    def test_which_band_is_what_is_known_or_asked(self, names: tuple[str, ...], nir: int | None) -> None:
        assert roles_of(names).get("nir") == nir

    def test_what_the_file_does_not_say_is_asked_for(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tif", stack_of(4))
        with pytest.raises(SettingsError, match=r"a\.tif: does not say .* near infrared and red, .* --index 'ndvi=\("):
            read_image(path, index="ndvi")
        with pytest.raises(SettingsError, match=r"has 4 bands, but the index b5/b1 needs band 5"):
            read_image(path, index="b5/b1")
        named = write(tmp_path / "b.tif", stack_of(4), ("red", "green", "blue", "nir"))
        with pytest.raises(SettingsError, match="values that are not reflectances"):
            read_image(named, index="evi")
        assert read_image(named, index=["NDVI", "wet=(b2-b4)/(b2+b4)"]).bands.keys[-2:] == ("ndvi", "wet")

    def test_names_choose_what_is_seen(self, tmp_path: Path) -> None:
        image = read_image(write(tmp_path / "s2.tif", stack_of(13), SENTINEL))
        assert image.read["seen"] == [4, 3, 2]
        assert image.read["names"] == list(SENTINEL)


class TestStatistics:
    @pytest.mark.parametrize("offset", [0.0, 1e7])
    def test_windows_add_up_to_the_whole(self, offset: float) -> None:
        rng = np.random.default_rng(1)
        values = rng.normal(offset, 3, (40, 50, 2))
        values[rng.random(values.shape) < 0.1] = np.nan
        values[:9, :9, 1] = -7
        labels = rng.integers(0, 4, (40, 50)).astype(np.int32)
        labels[:9, :9] = 3
        bands = Bands(values, nodata=-7, indices=(Index("r", "b1/b2"),))
        sums = BandSums(bands.keys, 4)
        for rows in (slice(0, 13), slice(13, 40)):
            for cols in (slice(0, 21), slice(21, 50)):
                sums.add(labels[rows, cols], bands.window(rows, cols))
        planes = [values[..., 0], np.where(values[..., 1] == -7, np.nan, values[..., 1])]
        for segment in range(1, 4):
            inside = labels == segment
            for key, plane in enumerate([*planes, planes[0] / planes[1]]):
                np.testing.assert_allclose(sums.mean[segment, key], np.nanmean(plane[inside]), rtol=1e-9)
                np.testing.assert_allclose(sums.std[segment, key], np.nanstd(plane[inside]), rtol=1e-5)
        assert np.isnan(sums.mean[4]).all()
        assert sums.columns(4)["r_mean"] is None

    def test_a_smaller_size_has_the_means_of_what_was_measured(self) -> None:
        values = np.arange(64, dtype=np.int16).reshape(8, 8, 1).repeat(2, axis=2)
        values[:2, :2, 1] = -1
        values[:2, 2, 1] = -1
        mask = np.ones((8, 8), bool)
        mask[0, 4] = False
        image = Image(np.zeros((8, 8, 3), np.uint8), mask=mask, bands=Bands(values, nodata=-1))
        small = downsampled(image, 16).bands
        assert small is not None
        np.testing.assert_allclose(
            small.values[0, :, 1], [np.nan, (3 + 11) / 2, (5 + 12 + 13) / 3, (6 + 7 + 14 + 15) / 4]
        )
        np.testing.assert_allclose(small.values[1:, :, 0], values[..., 0].reshape(4, 2, 4, 2).mean(axis=(1, 3))[1:])


@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_any_number_of_bands_counts_in_every_command(count: int, tmp_path: Path) -> None:
    values = stack_of(count)
    values[:20, :12] = 0
    values[30, 40, -1] = 0  # nodata in one band only: not void, and no measurement
    path = write(tmp_path / "scene.tif", values, nodata=0)
    config = tmp_path / "quick.yaml"
    config.write_text(json.dumps(QUICK))
    for name, command in {
        "whole": ["segment"],
        "tiled": ["batch", "-j", "0", "--tile", "64", "--format", "csv"],
    }.items():
        out = tmp_path / name
        options = ["-o", str(out), "--config", str(config), "--index", f"ratio=b{count}/b1"]
        done = CliRunner().invoke(app, [*command, str(path), *options])
        assert done.exit_code == 0, done.output
        about = json.loads((out / "scene.json").read_text())
        assert about["read"]["indices"] == {"ratio": f"b{count}/b1"}
        unseen = count - min(count, 3 if count >= 3 else 1)
        bands = {0: "ratio", 1: "1 band and ratio"}.get(unseen, f"{unseen} bands and ratio")
        assert any(note.startswith(f"features in addition to what is shown: {bands} (") for note in about["notes"])
    with rasterio.open(tmp_path / "tiled" / "scene_labels.tif") as file:
        tiled = file.read(1)
    import PIL.Image

    whole = np.asarray(PIL.Image.open(tmp_path / "whole" / "scene_labels.png"))
    python = segspectral.segment(path, index=[f"ratio=b{count}/b1"], **QUICK)
    np.testing.assert_array_equal(python.labels, whole)
    assert ((whole == 0) == (tiled == 0)).all()
    valid = whole > 0
    for labels in (whole, tiled):
        assert adjusted_rand_score(LAND[valid], labels[valid]) > 0.6, "the last band has no influence"
    tables = [(whole, tmp_path / "whole" / "scene_segments.csv"), (tiled, tmp_path / "tiled" / "scene_regions.csv")]
    for labels, row in ((labels, row) for labels, path in tables for row in rows_of(path)):
        inside = (labels == int(row["segment"])) & (values[..., -1] > 0)
        measured = values[..., -1][inside].astype(float)
        assert float(row[f"band{count}_mean"]) == pytest.approx(measured.mean(), rel=1e-5)
        assert float(row[f"band{count}_std"]) == pytest.approx(measured.std(), rel=1e-4)
        ratio = (values[..., -1] / np.maximum(values[..., 0], 1).astype(float))[inside]
        assert float(row["ratio_mean"]) == pytest.approx(ratio.mean(), rel=1e-5)


class TestFeatures:
    def test_pictures_of_8_bits_have_no_columns(self, cat: NDArray[np.uint8]) -> None:
        image = as_image(cat)
        assert image.bands is None
        superpixels = make_pipeline(QUICK).superpixels(image)
        with_bands, without = (FeatureStack(cnn=None, bands=bands) for bands in (BandStatistics(), None))
        ours, theirs = (stack(image, superpixels)[0] for stack in (with_bands, without))
        assert ours.nodes.tobytes() == theirs.nodes.tobytes()
        assert "bands" not in ours.parts

    def test_the_units_of_a_band_do_not_matter(self) -> None:
        values = stack_of(4).astype(np.float64)
        other = values.copy()
        other[..., 3] = other[..., 3] * 250 - 9e4
        settings = QUICK | {"reading": {"stretch": "500:2000"}}
        ours, theirs = (segspectral.segment(v, **settings).labels for v in (values, other))
        np.testing.assert_array_equal(ours, theirs)

    def test_without_them_the_last_band_is_not_shown_and_a_note_says_so(self) -> None:
        blind = QUICK | {"features": QUICK["features"] | {"bands": None}}
        made = segspectral.segment(stack_of(4), **blind)
        assert adjusted_rand_score(LAND.ravel(), made.labels.ravel()) < 0.5
        assert any("features.bands is null" in note for note in made.notes)
        assert any("hierarchy uses only the shown bands" in note for note in self.of_hierarchy().notes)

    def of_hierarchy(self) -> Any:
        settings = {"superpixels": {"count": 500}, "features": {"cnn": None}, "hierarchy": True, "segments": 2}
        return segspectral.segment(stack_of(4), **settings)


def test_the_page_reads_all_bands(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="fastapi (extra 'web') is not installed")
    from segspectral.web.work import Segmenting, Task

    path = write(tmp_path / "scene.tif", stack_of(4), ("red", "green", "blue", "nir"))
    pipeline = make_pipeline(QUICK | {"reading": {"index": ["ndvi"]}})
    result = Segmenting(pipeline, 10**6, None).segmented(Task(path, path.name, pipeline)).result
    assert adjusted_rand_score(LAND.ravel(), result.labels.ravel()) > 0.9
    assert result.image.bands.keys[-1] == "ndvi"


class TestModels:
    def test_other_bands_are_refused_in_one_sentence(self, tmp_path: Path) -> None:
        recipe = Recipe.model_validate(RECIPE)
        fit_model([stack_of(7), stack_of(7)[:, ::-1].copy()], recipe).save(tmp_path / "m.safetensors")
        kept = {"model": tmp_path / "m.safetensors", "refine": "none"}
        segspectral.segment(stack_of(7), **kept)
        assert Model.load(tmp_path / "m.safetensors").bands == tuple(f"band{i}" for i in range(1, 8))
        for other in (stack_of(4), np.full((H, W, 3), 90, np.uint8)):
            with pytest.raises(ImageError, match=r"has .*, but the model .* was made from images with 7 bands"):
                segspectral.segment(other, **kept)

    def test_images_of_other_bands_are_left_out_of_a_fit(self) -> None:
        recipe = Recipe.model_validate(RECIPE)
        told: list[SegspectralError | None] = []
        model = fit_model(
            [stack_of(7)] * 3 + [stack_of(4)] * 3, recipe, observer=lambda source, error: told.append(error)
        )
        assert [str(error) for error in told if error] == [
            f"has {n} bands, but the images before it have {11 - n} bands" for n in [11 - len(model.bands)] * 3
        ]


@pytest.mark.parametrize("command", [("segment",), ("batch", "-j", "0", "--tile", "64")], ids=["whole", "tiled"])
def test_more_bands_than_any_camera_has_are_refused_before_they_are_decoded(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "claims.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["SamplesPerPixel"].overwrite(65535)
    begun = time.monotonic()
    done = CliRunner().invoke(app, [*command, str(path), "-o", str(tmp_path / "out"), "--set", "features.cnn=null"])
    assert done.exit_code == 3, done.output
    assert "65535 bands, more than 1000" in done.output + "".join(
        file.read_text() for file in (tmp_path / "out").glob("journal.jsonl")
    )
    assert time.monotonic() - begun < 20
