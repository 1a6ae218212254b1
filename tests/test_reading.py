"""What a file means is the same for every command: the table of docs/howto/reading.md, row by row."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.config import make_pipeline
from segspectral.errors import ImageError, SettingsError
from segspectral.images.interpret import Stretch
from segspectral.images.reader import as_image, read_image
from segspectral.web.work import Segmenting, Task
from tests.omezarr import ome_zarr

rasterio = pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
pytest.importorskip("fastapi", reason="fastapi (extra 'web') is not installed")
pytest.importorskip("zarr", reason="zarr (extra 'zarr') is not installed")

DOCS = Path(__file__).parents[1] / "docs" / "howto" / "reading.md"
H, W = 64, 96
VOID = np.s_[:, :24]
QUICK = {
    "segments": 3,
    "superpixels": {"count": 2000},  # of an image of 500 x 500 pixels; fewer here
    "features": {"cnn": None, "contours": None},
    "head": "exact",
    "refine": "none",
}


def picture() -> NDArray[np.uint8]:
    """(H, W, 3) three areas of noisy colours, none of which is 0."""
    rng = np.random.default_rng(5)
    rows, cols = np.indices((H, W))
    area = (cols > 40 + 10 * np.sin(rows / 9)).astype(int) + (np.hypot(rows - 40, cols - 70) < 14)
    colours = np.array([[190, 60, 50], [40, 120, 60], [60, 80, 220]])
    return np.clip(colours[area] + rng.normal(0, 6, (H, W, 3)), 1, 255).astype(np.uint8)


RGB = picture()
OPAQUE = np.full((H, W), 255, np.uint8)
GREY = RGB[..., 1]
DEEP = np.rint(RGB / 255 * 4095).astype(np.uint16)
DEEP4 = np.dstack([DEEP, DEEP[..., 0]])
DEEP4[:, :24, 3] = 0
HEIGHTS = (GREY.astype(np.float32) * 3 - 400.5).astype(np.float32)


def holes(values: NDArray[Any], value: float) -> NDArray[Any]:
    values = values.copy()
    values[VOID] = value
    return values


def pillow(mode: str = "RGB", **options: Any) -> Callable[[Path], None]:
    return lambda path: PIL.Image.fromarray(RGB).convert(mode).save(path, **options)


def tiff(values: NDArray[Any], photometric: str = "rgb", **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, values, photometric=photometric, **options)


def raster(values: NDArray[Any], mask: bool = False, env: dict[str, str] | None = None, **profile: Any) -> Any:
    """Written by GDAL, with a place unless the profile says otherwise."""

    def write(path: Path) -> None:
        stack = values[..., None] if values.ndim == 2 else values
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 5e6)}
        shape = {"height": H, "width": W, "count": stack.shape[2], "dtype": stack.dtype}
        with (
            rasterio.Env(**(env or {})),
            rasterio.open(path, "w", **({"driver": "GTiff"} | place | shape | profile)) as out,
        ):
            out.write(np.moveaxis(stack, -1, 0))
            if mask:
                out.write_mask(holes(np.full((H, W), 255, np.uint8), 0))

    return write


def pam_nodata(path: Path) -> None:
    raster(holes(RGB, 0))(path)
    path.with_name(f"{path.name}.aux.xml").write_text(
        "<PAMDataset>"
        + "".join(f'<PAMRasterBand band="{b}"><NoDataValue>0</NoDataValue></PAMRasterBand>' for b in (1, 2, 3))
        + "</PAMDataset>"
    )


def pages(*arrays: NDArray[Any], **kinds: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tifffile.TiffWriter(path) as out:
            for number, array in enumerate(arrays):
                out.write(array, photometric="rgb", subfiletype=kinds.get(f"page{number}", 0), metadata=None)

    return write


def transparent(mode: str, **options: Any) -> Callable[[Path], None]:
    opacity = holes(np.full((H, W), 255, np.uint8), 0)
    return lambda path: PIL.Image.fromarray(np.dstack([RGB, opacity])).convert(mode).save(path, **options)


def palette_tiff(path: Path) -> None:
    PIL.Image.fromarray(RGB).quantize(16).save(path)


def animated(path: Path) -> None:
    frames = [PIL.Image.fromarray(frame) for frame in (RGB, RGB[::-1], RGB[:, ::-1])]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], **({"lossless": True} if path.suffix == ".webp" else {})
    )


def png16(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), DEEP[..., ::-1])


@dataclass(frozen=True)
class Row:
    """A kind of file: its name in a folder, what makes it, and what is read.

    Parameters
    ----------
    note : what the notes contain; empty if there is none
    void : whether VOID is void
    like : (H, W, 3) the colours that are seen, where they are known exactly
    """

    file: str
    make: Callable[[Path], object]
    note: str = ""
    void: bool = False
    like: NDArray[Any] | None = None


def grey(values: NDArray[Any]) -> NDArray[Any]:
    return np.dstack([values] * 3)


SEEN = "4 is not opacity"
ROWS = {
    "JPEG": Row("a.jpg", pillow(quality=95)),
    "PNG": Row("b.png", pillow(), like=RGB),
    "WebP": Row("c.webp", pillow(lossless=True), like=RGB),
    "BMP": Row("d.bmp", pillow(), like=RGB),
    "GIF": Row("e.gif", pillow("P")),
    "AVIF": Row("f.avif", pillow(quality=95)),
    "JPEG 2000": Row("g.jp2", pillow(), like=RGB),
    "Netpbm": Row("h.ppm", pillow(), like=RGB),
    "PNG, grey": Row("i.png", lambda path: PIL.Image.fromarray(GREY).save(path), like=grey(GREY)),
    "PNG with transparency": Row("j.png", transparent("RGBA"), void=True, like=RGB),
    "PNG of 16 bits that holds 12": Row("k.png", png16, "values * to *, shown from 0 to 4095", like=RGB),
    "GIF or WebP, animated": Row("l.webp", animated, "page 1 of 3", like=RGB),
    "TIFF": Row("m.tif", tiff(RGB), like=RGB),
    "TIFF, LZW": Row("n.tif", pillow(compression="tiff_lzw"), like=RGB),
    "TIFF, JPEG": Row("o.tif", pillow(compression="jpeg")),
    "TIFF, grey": Row("p.tif", tiff(GREY, "minisblack"), like=grey(GREY)),
    "TIFF, white is zero": Row("q.tif", tiff(255 - GREY, "miniswhite"), like=grey(GREY)),
    "TIFF with a palette": Row("r.tif", palette_tiff),
    "TIFF, CMYK": Row("s.tif", pillow("CMYK"), like=RGB),
    "TIFF with opacity": Row(
        "t.tif", tiff(np.dstack([RGB, holes(GREY * 0 + 255, 0)]), extrasamples=[2]), "", True, RGB
    ),
    "TIFF, planes": Row("u.tif", tiff(np.moveaxis(RGB, -1, 0).copy(), planarconfig="separate"), like=RGB),
    "TIFF, 4th band unspecified": Row(
        "v.tif", tiff(np.dstack([RGB, holes(GREY, 0)]), extrasamples=[0]), SEEN, like=RGB
    ),
    "TIFF of 16 bits, 4th band": Row("w.tif", tiff(DEEP4, extrasamples=[0]), SEEN, like=RGB),
    "TIFF of 16 bits, 4 planes": Row(
        "x.tif",
        tiff(
            np.moveaxis(np.dstack([DEEP, holes(DEEP[..., 0], 0)]), -1, 0).copy(), "minisblack", planarconfig="separate"
        ),
        SEEN,
        like=RGB,
    ),
    "TIFF, 2 bands": Row(
        "y.tif",
        tiff(np.dstack([GREY, holes(GREY, 0)]), "minisblack", planarconfig="contig", extrasamples=[0]),
        "band 2 is not opacity",
        like=grey(GREY),
    ),
    "TIFF, 7 bands": Row(
        "z.tif",
        tiff(np.dstack([RGB, RGB, GREY]), "minisblack", planarconfig="contig"),
        "4 more are not opacity",
        like=RGB,
    ),
    "TIFF of 12 bits in 16": Row("aa.tif", tiff(DEEP), "16 bits, values * to *, shown from 0 to 4095", like=RGB),
    "GeoTIFF, NBITS=12": Row("ab.tif", raster(DEEP, nbits=12), "12 bits, values * to *, shown as 2 to 98 %"),
    "GeoTIFF of 16 bits": Row("ac.tif", raster(DEEP), "16 bits, values * to *, shown as 2 to 98 %"),
    "TIFF of floats from 0 to 1": Row(
        "ad.tif",
        tiff((RGB / np.float32(255)).astype(np.float32)),
        "floats, values * to *, shown from 0 to 1",
        like=RGB,
    ),
    "TIFF of floats, heights": Row("ae.tif", tiff(HEIGHTS, "minisblack"), "shown as 2 to 98 %"),
    "TIFF of floats with NaN": Row("af.tif", tiff(holes(HEIGHTS, np.nan), "minisblack"), "shown as 2 to 98 %", True),
    "GeoTIFF of negative integers": Row(
        "ag.tif", raster(holes(HEIGHTS.astype(np.int16), -32768), nodata=-32768), "shown as 2 to 98 %", True
    ),
    "GeoTIFF with nodata": Row("ah.tif", raster(holes(RGB, 0), nodata=0), void=True, like=RGB),
    "GeoTIFF with a mask inside": Row(
        "ai.tif", raster(RGB, mask=True, env={"GDAL_TIFF_INTERNAL_MASK": "YES"}), void=True, like=RGB
    ),
    "GeoTIFF with a mask beside (.msk)": Row(
        "aj.tif", raster(RGB, mask=True, env={"GDAL_TIFF_INTERNAL_MASK": "NO"}), void=True, like=RGB
    ),
    "GeoTIFF with nodata beside (.aux.xml)": Row("ak.tif", pam_nodata, void=True, like=RGB),
    "TIFF on its side": Row("al.tif", tiff(np.rot90(RGB).copy(), extratags=[(274, 3, 1, 6, True)]), like=RGB),
    "GeoTIFF with an orientation": Row(
        "am.tif",
        tiff(
            RGB,
            extratags=[
                (274, 3, 1, 3, True),
                (33550, "d", 3, (10.0, 10.0, 0.0), True),
                (33922, "d", 6, (0.0, 0.0, 0.0, 4e5, 5e6, 0.0), True),
            ],
        ),
        "orientation tag (3)",
        like=RGB,
    ),
    "BigTIFF, big endian": Row("an.tif", raster(RGB, BIGTIFF="YES", ENDIANNESS="BIG"), like=RGB),
    "TIFF, thumbnail first": Row("ao.tif", pages(RGB[::4, ::4].copy(), RGB, page0=1), "1 smaller copy", like=RGB),
    "TIFF with several pages": Row("ap.tif", pages(RGB, RGB[::-1].copy(), RGB), "page 1 of 3", like=RGB),
    "TIFF, larger page second": Row("aq.tif", pages(RGB[:40].copy(), RGB), "page 2 of 2", like=RGB),
    "ImageJ, channels as pages": Row(
        "ar.tif",
        lambda path: tifffile.imwrite(path, np.moveaxis(RGB, -1, 0).copy(), imagej=True, metadata={"axes": "CYX"}),
        like=RGB,
    ),
    "OME-TIFF, channels as pages": Row(
        "as.ome.tif",
        lambda path: tifffile.imwrite(
            path, np.moveaxis(RGB, -1, 0).copy(), ome=True, photometric="minisblack", metadata={"axes": "CYX"}
        ),
        like=RGB,
    ),
    "OME-Zarr": Row("aw.zarr", lambda path: ome_zarr(path, np.moveaxis(RGB, -1, 0)[None], "tcyx"), like=RGB),
    "OME-Zarr with planes": Row(
        "ax.zarr",
        lambda path: ome_zarr(path, np.stack([GREY, GREY[::-1], GREY])[:, None], "zcyx", version=2),
        "page 1 of 3",
        like=grey(GREY),
    ),
    "GeoTIFF without a CRS": Row("at.tif", raster(RGB, crs=None), like=RGB),
    "One colour": Row("au.tif", tiff(np.full((H, W, 3), 70, np.uint8)), "one colour", like=np.full((H, W, 3), 70)),
    "One colour of 16 bits": Row("av.tif", tiff(np.full((H, W), 700, np.uint16), "minisblack"), "one colour"),
}


@dataclass(frozen=True)
class Cell:
    """What one way of reading made of a file."""

    labels: NDArray[Any]
    read: dict[str, Any]
    notes: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    for row in ROWS.values():
        row.make(made / row.file)
    (made / "as.ome.tif").rename(made / "as.tif")
    return made


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of results of each command."""
    out = tmp_path_factory.mktemp("results")
    config = out / "quick.yaml"
    config.write_text(json.dumps(QUICK))
    for name, command in {
        "segment": ["segment"],
        "batch": ["batch", "-j", "0", "--progress", "none"],
        "--tile": ["batch", "-j", "0", "--progress", "none", "--tile", "64"],
    }.items():
        done = CliRunner().invoke(app, [*command, str(folder), "-o", str(out / name), "--config", str(config)])
        assert done.exit_code == 0, done.output
    return {path.name: path for path in out.iterdir() if path.is_dir()}


def file_of(row: Row) -> str:
    return row.file.replace(".ome", "")


def from_folder(folder: Path, row: Row) -> Cell:
    stem = folder / Path(file_of(row)).stem
    about = json.loads(stem.with_suffix(".json").read_text())
    tiled = stem.with_name(f"{stem.name}_labels.tif")
    if tiled.exists():
        with rasterio.open(tiled) as file:
            return Cell(file.read(1), about["read"], about["notes"])
    with PIL.Image.open(stem.with_name(f"{stem.name}_labels.png")) as opened:
        return Cell(np.asarray(opened), about["read"], about["notes"])


def from_page(path: Path) -> Cell:
    pipeline = make_pipeline(QUICK)
    result = Segmenting(pipeline, 10**6, None).segmented(Task(path, path.name, pipeline)).result
    return Cell(result.labels, dict(result.image.read), list(result.notes))


def matches(wanted: str, notes: list[str]) -> bool:
    pattern = re.escape(wanted).replace(r"\*", r"\S+")
    return any(re.search(pattern, note) for note in notes)


@pytest.mark.parametrize("kind", ROWS)
def test_every_command_reads_the_same(kind: str, folder: Path, results: dict[str, Path]) -> None:
    row = ROWS[kind]
    path = folder / file_of(row)
    image = read_image(path)
    void = np.zeros((H, W), bool)
    void[VOID] = row.void
    np.testing.assert_array_equal(~image.mask if image.mask is not None else np.zeros((H, W), bool), void)
    if row.like is not None:
        # Pictures of 8 bits, and deep copies of them, keep every pixel; only inks are rounded twice.
        np.testing.assert_allclose(image.uint8[~void].astype(int), row.like[~void], atol=kind == "TIFF, CMYK")
    if row.note and "one colour" not in row.note:
        assert matches(row.note, list(image.notes)), image.notes
    elif not row.note:
        assert not image.notes
    cells = {name: from_folder(results[name], row) for name in ("segment", "batch", "--tile")} | {
        "page": from_page(path)
    }
    for name, cell in cells.items():
        np.testing.assert_array_equal(cell.labels == 0, void, err_msg=name)
        assert matches(row.note, cell.notes) if row.note else not cell.notes, (name, cell.notes)
        for key in ("bits", "shown", "stretch", "seen", "values"):
            ours, theirs = image.read.get(key), cell.read.get(key)
            if name == "--tile" and key == "seen" and kind in ("TIFF with a palette", "TIFF, CMYK"):
                continue  # the stored bands, of which the colours are made
            assert ours == pytest.approx(theirs) if ours and not isinstance(ours, str) else ours == theirs, (name, key)


def line_of(kind: str, results: dict[str, Path]) -> str:
    """The row of the documentation: by which commands a file is read in which way, and what is said about it."""
    row = ROWS[kind]
    tiles = (results["--tile"] / f"{Path(file_of(row)).stem}_labels.tif").exists()
    cells = ["read", "read", "in tiles" if tiles else "as a whole", "read", "read", "void" if row.void else ""]
    return f"| {kind} | {' | '.join(cells)} | {row.note.replace('*', '…')} |"


def test_the_documentation_has_this_table(results: dict[str, Path]) -> None:
    table = DOCS.read_text(encoding="utf-8").split("| file |")[1]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert [" ".join(line.split()) for line in lines] == [" ".join(line_of(kind, results).split()) for kind in ROWS]


class TestPages:
    def test_each_page_is_an_image(self, tmp_path: Path, folder: Path) -> None:
        """``segment`` and ``batch`` with --page all write the results of each page under its own name."""
        config = tmp_path / "quick.yaml"
        config.write_text(json.dumps(QUICK))
        for command in (["segment"], ["batch", "-j", "0", "--progress", "none"]):
            out = tmp_path / command[0]
            files = [str(folder / "ap.tif"), str(folder / "m.tif")]
            options = ["-o", str(out), "--config", str(config), "--page", "all"]
            done = CliRunner().invoke(app, [*command, *files, *options])
            assert done.exit_code == 0, done.output
            stems = sorted(path.name.removesuffix("_labels.png") for path in out.glob("*_labels.png"))
            assert stems == ["ap_page1", "ap_page2", "ap_page3", "m"]
            about = json.loads((out / "ap_page2.json").read_text())
            assert (about["image"], about["read"]["page"], about["read"]["pages"]) == ("ap_page2.tif", 2, 3)

    def test_a_page_that_does_not_exist_is_named(self, folder: Path) -> None:
        for name in ("ap.tif", "l.webp"):
            np.testing.assert_array_equal(read_image(folder / name, page=2).rgb, RGB[::-1])
            with pytest.raises(SettingsError, match=rf"{name}: has 3 pages, but page 4 was requested"):
                read_image(folder / name, page=4)

    def test_channels_are_counted_from_0(self, folder: Path) -> None:
        image = read_image(folder / "ar.tif", channels=(0, 2))
        np.testing.assert_array_equal(image.rgb, np.dstack([RGB[..., 0], RGB[..., 2], 0 * GREY]))
        np.testing.assert_array_equal(read_image(folder / "as.tif", channels=1).rgb, grey(GREY))
        with pytest.raises(SettingsError, match="has 3 channels, counted from 0, but 0, 3 were requested"):
            read_image(folder / "ar.tif", channels=(0, 3))

    def test_a_stack_of_channels_has_a_page_for_each_plane(self, tmp_path: Path) -> None:
        stack = np.stack([np.moveaxis(RGB, -1, 0), np.moveaxis(RGB[::-1], -1, 0)])
        tifffile.imwrite(tmp_path / "zc.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
        image = read_image(tmp_path / "zc.tif", page=2)
        np.testing.assert_array_equal(image.rgb, RGB[::-1])
        assert "page 1 of 2" in read_image(tmp_path / "zc.tif").notes[0]

    def test_planes_behind_one_page_are_pages(self, tmp_path: Path) -> None:
        """ImageJ writes a large stack as one page and the pixels of all planes behind it."""
        path = tmp_path / "z.tif"
        tifffile.imwrite(path, np.stack([GREY, GREY[::-1]]), imagej=True, metadata={"axes": "ZYX"}, truncate=True)
        with tifffile.TiffFile(path) as file:
            assert len(file.pages) == 1
        np.testing.assert_array_equal(read_image(path).rgb, grey(GREY))
        np.testing.assert_array_equal(read_image(path, page=2).rgb, grey(GREY[::-1]))

    @pytest.mark.parametrize("name", ["A", "B"])
    def test_a_channel_in_another_file_is_left_out_and_reported(self, tmp_path: Path, name: str) -> None:
        """The file beside it is not opened, whatever the tags say."""
        parts = "".join(
            f'<TiffData FirstC="{i}" IFD="0" PlaneCount="1">'
            f'<UUID FileName="mf{x}.ome.tif">urn:uuid:{x}</UUID></TiffData>'
            for i, x in enumerate("AB")
        )
        for one, values in (("A", GREY), ("B", GREY[::-1])):
            ome = (
                f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
                f'UUID="urn:uuid:{one}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
                f'SizeX="{W}" SizeY="{H}" SizeC="2" SizeZ="1" SizeT="1">{parts}</Pixels></Image></OME>'
            )
            tifffile.imwrite(tmp_path / f"mf{one}.ome.tif", values, description=ome, metadata=None)
        image = read_image(tmp_path / f"mf{name}.ome.tif")
        np.testing.assert_array_equal(image.rgb, grey(GREY if name == "A" else GREY[::-1]))
        assert image.notes == ("1 channel or plane is in another file and not read",)

    def test_the_second_image_of_a_micrograph_is_a_page(self, tmp_path: Path) -> None:
        path = tmp_path / "two.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            for values in (RGB, RGB[::-1]):
                channels = np.moveaxis(values, -1, 0).copy()
                file.write(channels, photometric="minisblack", metadata={"axes": "CYX"})
            file.write(GREY[:20], photometric="minisblack", metadata={"axes": "YX"})
        image = read_image(path)
        np.testing.assert_array_equal(image.rgb, RGB)
        assert "page 1 of 3" in image.notes[0]
        np.testing.assert_array_equal(read_image(path, page=2).rgb, RGB[::-1])
        np.testing.assert_array_equal(read_image(path, page=3).rgb, grey(GREY[:20]))


@pytest.mark.parametrize("kind", ROWS)
def test_without_rasterio_a_file_reads_the_same_or_says_which_extra_it_needs(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / file_of(ROWS[kind])
    image = read_image(path)
    for module in ("reader", "tiff"):
        monkeypatch.setattr(f"segspectral.images.{module}.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    try:
        plain = read_image(path)
    except ImageError as error:
        assert error.message.endswith("pip install 'segspectral[geo]'")  # noqa: PT017
        return
    np.testing.assert_array_equal(plain.rgb, image.rgb)
    if plain.mask is None and image.mask is not None:
        assert any("segspectral[geo]" in note for note in plain.notes)
    else:
        np.testing.assert_array_equal(plain.mask, image.mask)


def test_every_command_takes_the_options_of_reading(tmp_path: Path, folder: Path) -> None:
    """Bands 3,2,1 of a file are the bands 1,2,3 of a file in which they are swapped."""
    swapped, config = tmp_path / "in" / "m.tif", tmp_path / "quick.yaml"
    swapped.parent.mkdir()
    tiff(RGB[..., ::-1].copy())(swapped)
    config.write_text(json.dumps(QUICK))
    for command in (["segment"], ["batch", "-j", "0", "--progress", "none"]):
        labels = []
        for path, more in ((folder / "m.tif", []), (swapped, ["--bands", "3,2,1"])):
            out = tmp_path / f"{command[0]}{len(more)}"
            done = CliRunner().invoke(app, [*command, str(path), "-o", str(out), "--config", str(config), *more])
            assert done.exit_code == 0, done.output
            labels.append((out / "m_labels.png").read_bytes())
        assert labels[0] == labels[1]
    for command in ("fit", "evaluate"):
        shown = re.sub(
            r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        )
        assert {"--bands", "--stretch", "--page", "--channels"} <= set(re.findall(r"--\w+", shown))


class TestArrays:
    def test_masked_values_are_void(self) -> None:
        array = np.ma.masked_equal(holes(GREY, 0), 0)
        np.testing.assert_array_equal(as_image(array).mask, holes(np.ones((H, W), bool), False))

    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    def test_a_deep_copy_of_a_picture_is_that_picture(self, bits: int) -> None:
        deep = np.rint(RGB / 255 * (2**bits - 1)).astype(np.uint16)
        np.testing.assert_array_equal(as_image(deep).rgb, RGB)

    def test_floats_of_any_range_are_stretched(self) -> None:
        image = as_image(HEIGHTS)
        low, high = np.percentile(HEIGHTS, (2, 98))
        np.testing.assert_allclose(image.rgb[..., 0], np.clip((HEIGHTS - low) / (high - low), 0, 1), atol=1e-5)
        assert "2 to 98 %" in image.notes[0]
        np.testing.assert_allclose(
            as_image(HEIGHTS, stretch=(-400, 300)).rgb[..., 0], np.clip((HEIGHTS + 400) / 700, 0, 1), atol=1e-5
        )

    @pytest.mark.parametrize(
        ("stretch", "low", "high"),
        [("min,max", float(HEIGHTS.min()), float(HEIGHTS.max())), ("-250,0", -250, 0), ("0:20", 0, 20)],
    )
    def test_a_stretch_can_be_chosen(self, stretch: str, low: float, high: float) -> None:
        image = as_image(HEIGHTS, stretch=stretch)
        np.testing.assert_allclose(image.rgb[..., 0], np.clip((HEIGHTS - low) / (high - low), 0, 1), atol=1e-5)

    def test_a_tensor_is_read_with_its_channels_first(self) -> None:
        class Tensor:
            """As much of a tensor of torch as is used."""

            def __init__(self, array: NDArray[Any]) -> None:
                self.array, self.shape, self.dtype = array, array.shape, array.dtype

            def __array__(self) -> NDArray[Any]:
                raise AssertionError("a tensor with a gradient cannot become an array")

            def detach(self) -> Tensor:
                return self

            cpu = detach

            def numpy(self) -> NDArray[Any]:
                return self.array

        image = as_image(Tensor(np.moveaxis(RGB, -1, 0)))
        np.testing.assert_array_equal(image.rgb, RGB)
        assert "(C, H, W)" in image.notes[0]

    @pytest.mark.parametrize("wrap", ["bytes", "file"])
    def test_bytes_and_file_objects_are_read(self, tmp_path: Path, wrap: str) -> None:
        path = tmp_path / "x.tif"
        tiff(DEEP)(path)
        if wrap == "bytes":
            np.testing.assert_array_equal(as_image(path.read_bytes()).rgb, RGB)
        else:
            with path.open("rb") as file:
                image = as_image(file)
            assert image.name == "x.tif"
            np.testing.assert_array_equal(image.rgb, RGB)

    def test_a_fourth_channel_that_is_not_opacity_is_a_band(self) -> None:
        deep = np.dstack([DEEP, holes(DEEP[..., 0], 0)])
        assert as_image(deep).mask is None
        assert as_image(np.dstack([RGB, GREY]), bands=(4,)).mask is None


def test_transparent_levels_of_few_bits_are_void(tmp_path: Path) -> None:
    """Pillow scales the grey of such a PNG, but not the level that is transparent."""
    path = tmp_path / "few.png"
    grey = np.zeros((20, 30), np.uint8)
    grey[:, 10:20], grey[:, 20:] = 1, 3
    PIL.Image.fromarray(grey).save(path, bits=2, transparency=1)
    mask = as_image(path).mask
    assert mask is not None
    np.testing.assert_array_equal(mask, grey != 1)


def test_bands_first_are_told_from_bands_last() -> None:
    cube = np.random.default_rng(0).random((13, 40, 50), dtype=np.float32)
    with pytest.raises(ImageError, match="channels come last"):
        as_image(cube)
    torch = pytest.importorskip("torch")
    image = as_image(torch.from_numpy(cube))
    assert image.shape == (40, 50)
    assert image.read["bands"] == 13


@pytest.mark.parametrize("text", ["min,3000", "5:max", "min:max", "max,min"])
def test_the_smallest_and_largest_value_are_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="write none, min,max, two percentiles"):
        Stretch.parse(text)


@pytest.mark.parametrize(
    ("given", "images", "said"),
    [
        (b"", ["-"], "standard input: has no data"),
        (b"only words\n", ["-"], "standard input: is "),
        (b"\x00\x01\x02" * 50, ["-"], "standard input: is not an image that can be read"),
        (b"\x89PNG" + b"x" * 200, ["-"], "standard input: has more than 0.0 GB"),
        (b"", ["-", "-"], "standard input holds one image; write - once"),
    ],
)
def test_standard_input_that_is_not_an_image_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bytes, images: list[str], said: str
) -> None:
    monkeypatch.setattr("segspectral.images.limits.MAX_BYTES", 190)
    result = CliRunner().invoke(app, ["segment", *images, "-o", str(tmp_path / "out")], input=given)
    assert result.exit_code == 2
    assert said in result.output
    assert not list(tmp_path.rglob("*.*")) + list(tmp_path.rglob("stdin*"))


def test_bands_and_channels_exclude_each_other(tmp_path: Path) -> None:
    """The channels were left out of account without a word."""
    PIL.Image.fromarray(RGB).save(tmp_path / "rgb.png")
    options = ["-o", str(tmp_path / "out"), "--bands", "1", "--channels", "0"]
    result = CliRunner().invoke(app, ["segment", str(tmp_path / "rgb.png"), *options])
    assert result.exit_code == 2
    assert "bands and channels both choose what is seen" in result.output


@pytest.mark.parametrize(("nodata", "notes"), [("nan", False), ("none", True)])
def test_only_a_nodata_value_that_has_no_effect_is_called_ignored(tmp_path: Path, nodata: str, notes: bool) -> None:
    values = np.random.default_rng(0).random((20, 20), np.float32)
    values[:5] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, nodata, True)])
    image = read_image(tmp_path / "a.tif")
    assert image.mask is not None
    assert np.array_equal(image.mask, np.isfinite(values))
    assert any("is not a number and is ignored" in note for note in image.notes) == notes
