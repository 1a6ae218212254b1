"""Measures of segments: against loops over pixels, in units, and with what other rasters hold."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.export import LabelMap
from segspectral.export.measuring import PixelSize, measured


def some_map(seed: int = 0, shape: tuple[int, int] = (17, 23)) -> NDArray[np.int32]:
    """Segments in blobs, with void, gaps in the numbers and a large one."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=shape), 2) for _ in range(5)])
    return np.array([0, 2, 3, 7, 60_000], np.int32)[fields.argmax(axis=0)]


def pieces_of(mask: NDArray[np.bool_], corners: bool) -> int:
    """Connected pieces, by flooding from each pixel."""
    steps = [(0, 1), (0, -1), (1, 0), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * corners
    left, count = set(map(tuple, np.argwhere(mask).tolist())), 0
    while left:
        count += 1
        todo = [left.pop()]
        while todo:
            r, c = todo.pop()
            for down, across in steps:
                if (r + down, c + across) in left:
                    left.remove((r + down, c + across))
                    todo.append((r + down, c + across))
    return count


def by_loops(labels: NDArray[np.int32], segment: int, plane: NDArray[np.float64]) -> dict[str, Any]:
    """The measures of one segment, pixel by pixel."""
    height, width = labels.shape
    cells = [(r, c) for r in range(height) for c in range(width) if labels[r, c] == segment]
    rows, cols = [r for r, _ in cells], [c for _, c in cells]
    borders: dict[int, int] = {}
    local = []
    for r, c in cells:
        for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            y, x = r + down, c + across
            if 0 <= y < height and 0 <= x < width and labels[y, x] not in (0, segment):
                borders[int(labels[y, x])] = borders.get(int(labels[y, x]), 0) + 1
        if np.isfinite(plane[r, c]):
            window = plane[max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2]
            local.append(np.std(window[np.isfinite(window)]))
    values = np.array([plane[r, c] for r, c in cells if np.isfinite(plane[r, c])])
    mask = labels == segment
    axes = 4 * np.sqrt(np.linalg.eigvalsh(np.cov(np.array(cells).T, bias=True)))
    longest = min((-length, other) for other, length in borders.items()) if borders else (0, None)
    return {
        "area": len(cells),
        "top": min(rows),
        "left": min(cols),
        "bottom": max(rows) + 1,
        "right": max(cols) + 1,
        "row": np.mean(rows),
        "column": np.mean(cols),
        "minor_axis": axes[0],
        "major_axis": axes[1],
        "pieces": pieces_of(mask, corners=False),
        "holes": pieces_of(np.pad(~mask, 1, constant_values=True), corners=True) - 1,
        "edge": min(rows) == 0 or min(cols) == 0 or max(rows) == height - 1 or max(cols) == width - 1,
        "neighbours": len(borders),
        "longest_neighbour": longest[1],
        "longest_border": -longest[0],
        "dem_mean": values.mean() if len(values) else None,
        "dem_std": values.std() if len(values) else None,
        "dem_q10": np.quantile(values, 0.1) if len(values) else None,
        "dem_median": np.median(values) if len(values) else None,
        "dem_q90": np.quantile(values, 0.9) if len(values) else None,
        "dem_texture": np.mean(local) if local else None,
    }


@pytest.mark.parametrize("seed", range(4))
def test_measures_are_those_of_loops(seed: int) -> None:
    labels = some_map(seed)
    labels[3:6, 4:7] = [[2, 2, 2], [2, 3, 2], [2, 2, 2]]
    plane = np.random.default_rng(seed).normal(1e6, 3, labels.shape)
    plane[5:8, 2:9] = np.nan
    table = measured(LabelMap(labels), [("dem", plane)])
    assert [row["segment"] for row in table] == sorted(set(labels.ravel().tolist()) - {0})
    for row in table:
        expected = by_loops(labels, row["segment"], plane)
        for name, value in expected.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (row["segment"], name)
            else:
                assert row[name] == value, (row["segment"], name)


def test_shapes_that_are_known() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 10:30] = 1
    labels[20:35, 40:55] = 9
    labels[25:28, 45:48] = 0
    rectangle, ring = measured(LabelMap(labels))
    assert (rectangle["solidity"], rectangle["holes"], rectangle["neighbours"]) == (1.0, 0, 0)
    assert rectangle["longest_neighbour"] is None
    assert rectangle["major_axis"] == pytest.approx(20 * 2 / 3**0.5, rel=0.01)
    assert abs(rectangle["orientation"]) == pytest.approx(np.pi / 2, abs=1e-6)
    assert rectangle["eccentricity"] == pytest.approx((1 - 0.25) ** 0.5, rel=0.01)
    assert (ring["holes"], ring["pieces"], ring["edge"]) == (1, 1, False)
    assert ring["solidity"] == pytest.approx(216 / 225)


def test_one_segment_and_one_pixel() -> None:
    whole = measured(LabelMap(np.ones((4, 5), np.int32)), [("x", np.full((4, 5), np.nan))])
    assert len(whole) == 1
    assert (whole[0]["area"], whole[0]["edge"], whole[0]["neighbours"], whole[0]["x_mean"]) == (20, True, 0, None)
    labels = np.ones((4, 5), np.int32)
    labels[2, 2] = 5
    dot = measured(LabelMap(labels))[1]
    assert (dot["area"], dot["compactness"], dot["longest_neighbour"], dot["longest_border"]) == (1, 1.0, 1, 4)


def test_turning_a_map_turns_its_measures() -> None:
    labels = some_map(5)
    plane = np.random.default_rng(5).normal(size=labels.shape)
    for one, other in zip(
        measured(LabelMap(labels), [("x", plane)]),
        measured(LabelMap(np.ascontiguousarray(labels.T)), [("x", plane.T)]),
        strict=True,
    ):
        assert (one["row"], one["column"]) == pytest.approx((other["column"], other["row"]))
        for name in ("area", "perimeter", "major_axis", "solidity", "holes", "neighbours", "x_median", "x_texture"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), name


def test_units() -> None:
    labels = some_map(1)
    for row in measured(LabelMap(labels), size=PixelSize(0.25, "um")):
        assert row["area_um2"] == pytest.approx(row["area"] / 16)
        assert row["perimeter_um"] == pytest.approx(row["perimeter"] / 4, rel=1e-6)
        assert row["longest_border_um"] == row["longest_border"] / 4


# --- the command ---


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["measure", *(str(a) for a in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def files(tmp_path: Path) -> Path:
    labels = some_map(2)
    labels[labels > 9] = 9
    PIL.Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "a_labels.png")
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (*labels.shape, 3), np.uint8)).save(tmp_path / "a.png")
    PIL.Image.fromarray(rng.integers(0, 255, labels.shape, np.uint8)).save(tmp_path / "dem.png")
    return tmp_path


def test_the_command_writes_a_table(files: Path) -> None:
    labels, image, out = files / "a_labels.png", files / "a.png", files / "t.csv"
    run(labels, image, "-o", out, "--with", files / "dem.png", "--pixel-size", "2mm")
    with out.open() as file:
        rows = list(csv.DictReader(file))
    segments, pixels = np.asarray(PIL.Image.open(labels)), np.asarray(PIL.Image.open(image))
    assert [int(row["segment"]) for row in rows] == [s for s in np.unique(segments).tolist() if s]
    dem = np.asarray(PIL.Image.open(files / "dem.png"))
    for row in rows:
        mask = segments == int(row["segment"])
        assert float(row["green_mean"]) == pytest.approx(pixels[mask][:, 1].mean(), rel=1e-5)
        assert float(row["dem_median"]) == pytest.approx(np.median(dem[mask]))
        assert float(row["area_mm2"]) == 4 * mask.sum()


def test_format_table_has_the_same_columns(files: Path) -> None:
    run(files / "a_labels.png", files / "a.png", "-o", files / "t.csv")
    convert = [
        "convert",
        str(files / "a_labels.png"),
        "--to",
        "table",
        "--images",
        str(files),
        "-o",
        str(files / "out"),
    ]
    result = CliRunner().invoke(app, convert)
    assert result.exit_code == 0, result.output
    (made,) = (files / "out").glob("*_table.csv")
    assert made.read_text() == (files / "t.csv").read_text()


WRONG = {
    "size": (["--pixel-size", "2 pixels"], "'2 pixels' is not the size of a pixel"),
    "nothing": (["--pixel-size", "0um"], "'0um' is not the size of a pixel"),
    "other size": (["--with", "small.png"], "has 10 x 9 pixels, but a_labels.png has 23 x 17"),
    "missing": (["--with", "none.tif"], "none.tif"),
    "twice": (["--with", "dem.png", "--with", "dem.png"], "have bands of the same name"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_one_sentence(options: list[str], message: str, files: Path) -> None:
    PIL.Image.fromarray(np.zeros((9, 10), np.uint8)).save(files / "small.png")
    placed = [str(files / o) if o.endswith((".png", ".tif")) else o for o in options]
    output = run(files / "a_labels.png", "-o", files / "t.csv", *placed, code=2).output
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not (files / "t.csv").exists()


def test_an_unknown_kind_of_table(files: Path) -> None:
    assert "it ends in .csv, .parquet, .gpkg" in run(files / "a_labels.png", "-o", files / "t.xls", code=2).output


def test_maps_have_units_and_must_agree(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pyogrio = pytest.importorskip("pyogrio")
    labels = some_map(3)
    labels[labels > 9] = 9

    def write(name: str, values: NDArray[Any], west: float = 400_000, crs: str = "EPSG:32633") -> Path:
        place = {"crs": crs, "transform": rasterio.transform.from_origin(west, 5_800_000, 10, 10)}
        height, width = values.shape
        with rasterio.open(tmp_path / name, "w", "GTiff", width, height, 1, dtype=values.dtype, **place) as file:
            file.write(values, 1)
        return tmp_path / name

    given = write("a_labels.tif", labels.astype(np.uint8))
    dem = np.random.default_rng(0).normal(500, 20, labels.shape).astype(np.float32)
    run(given, "-o", tmp_path / "t.gpkg", "--with", write("dem.tif", dem))
    meta, _, shapes, values = pyogrio.raw.read(tmp_path / "t.gpkg")
    row = dict(zip(meta["fields"].tolist(), values, strict=True))
    assert meta["crs"] == "EPSG:32633"
    assert len(shapes) == len(row["segment"])
    for segment, area, metres, outline, mean in zip(
        *(row[name] for name in ("segment", "area", "area_m2", "map_area", "dem_mean")), strict=True
    ):
        assert area == (labels == segment).sum()
        assert metres == outline == 100 * area
        assert mean == pytest.approx(dem[labels == segment].mean(), rel=1e-5)
    moved = run(given, "-o", tmp_path / "u.csv", "--with", write("moved.tif", dem, 400_010), code=2).output
    assert "lies at another place than a_labels.tif" in " ".join(moved.split())
    other = run(given, "-o", tmp_path / "u.csv", "--with", write("crs.tif", dem, crs="EPSG:32634"), code=2).output
    assert "another coordinate reference system" in " ".join(other.split())
    assert not (tmp_path / "u.csv").exists()


def test_parquet(files: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    run(files / "a_labels.png", files / "a.png", "-o", files / "t.parquet")
    run(files / "a_labels.png", files / "a.png", "-o", files / "t.csv")
    table = parquet.read_table(files / "t.parquet")
    assert table.column_names == (files / "t.csv").read_text().splitlines()[0].split(",")
