"""The content of a file decides its format, every reader uses the closed list, and no other file is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from segspectral.errors import ImageError, SegspectralError
from segspectral.evaluation import datasets
from segspectral.export import read_georeference, read_label_map
from segspectral.images.finding import find_images
from segspectral.images.formats import FORMATS, check_name, format_of, what_is
from segspectral.images.reader import as_image, image_size, read_image

FOREIGN = {
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n{} loop\n": "PostScript",
    b"\xc5\xd0\xd3\xc6" + bytes(28) + b"%!PS": "PostScript",
    b"  \n%!PS\n{} loop\n": "PostScript",
    b"%PDF-1.7\n": "PDF",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": "video",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "video",
    b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom": "raw",
    b"II*\0\x10\0\0\0CR\x02\0": "raw",
    b"FUJIFILMCCD-RAW 0201": "raw",
    b"PK\x03\x04rest": "zip",
    b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>": "SVG",
    b"\xef\xbb\xbf<svg/>": "SVG",
    b"<!DOCTYPE html>\n<html><svg/></html>": "web page",
    b"<VRTDataset rasterXSize='20' rasterYSize='20'></VRTDataset>": "VRT",
    b"<GDAL_WMS><Service name='TMS'/></GDAL_WMS>": "map server",
    b"Dear reader,\nthis is a letter.\n": "text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n": "Git LFS",
    b"RIFF\x24\0\0\0WAVEfmt ": "sound",
    b"RIFF\x24\0\0\0AVI LIST": "video",
    b"P7\nWIDTH 20\n" + bytes(1200): "Netpbm",
    b"8BPS\0\x01": "Photoshop",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"\0\x05\x16\x07\0\x02\0\0Mac OS X": "AppleDouble",
    b"\x93NUMPY\x01\0": "NumPy",
    bytes(100): "not an image",
}


def uploaded(path: Path) -> object:
    from segspectral.web.work import read_upload, shape_of_upload

    shape_of_upload(path, path.name, 10**6)
    return read_upload(path, path.name, 10**6)


def rastered(path: Path) -> object:
    from segspectral.rasters.raster import Raster

    with Raster.open(path) as raster:
        return raster.shape


READERS: dict[str, Callable[[Path], Any]] = {
    "image": read_image,
    "size": image_size,
    "array": as_image,
    "labels": read_label_map,
    "truth": datasets.read_label_ids,
    "raster": rastered,
    "upload": uploaded,
}


@pytest.fixture
def no_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def run(*_: object, **__: object) -> None:
        raise AssertionError("PostScript was run")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "what"), FOREIGN.items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_reader_accepts_a_format_that_is_not_on_the_list_whatever_the_files_name_is(
    tmp_path: Path, no_ghostscript: None, reader: str, content: bytes, what: str
) -> None:
    if reader == "raster":
        pytest.importorskip("rasterio")
    if reader == "upload":
        pytest.importorskip("fastapi")
    for suffix in (".jpg", ".png", ".tif", ""):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(content)
        with pytest.raises(SegspectralError) as caught:
            READERS[reader](path)
        message = str(caught.value)
        assert message.startswith(path.name if reader == "upload" else str(path))
        assert "\n" not in message
        assert what in message or (reader == "labels" and what == "zip")  # an .npz is one
        assert read_georeference(path) is None


def test_postscript_in_a_pillow_image_is_not_run(tmp_path: Path, no_ghostscript: None) -> None:
    path = tmp_path / "a.eps"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{} loop\n")
    with PIL.Image.open(path) as opened, pytest.raises(ImageError, match="PostScript"):
        as_image(opened)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM"])
def test_every_format_on_the_list_is_read_under_any_name(tmp_path: Path, name: str) -> None:
    picture = PIL.Image.new("RGB", (20, 12), (200, 30, 40))
    path = tmp_path / "picture.xyz"
    try:
        picture.save(path, name)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow has no {name}")
    assert name in format_of(path).pillow
    assert image_size(path) == (20, 12)
    np.testing.assert_allclose(read_image(path).rgb[6, 10], (200, 30, 40), atol=6)


def test_messages_show_the_whole_list(tmp_path: Path) -> None:
    path = tmp_path / "letter.jpg"
    path.write_text("Dear reader")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert f"({', '.join(form.name for form in FORMATS)})" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["http://example.org/y.jpg", "https://example.org/a/y.tif", "s3://bucket/key.tif", "zip+file://a.zip!b.tif"],
)
def test_addresses_are_reported_as_they_were_given(address: str) -> None:
    for given in (address, Path(address)):
        with pytest.raises(ImageError) as caught:
            read_image(given)
        assert str(caught.value).startswith(f"{address}: is an address, and nothing is downloaded")


def test_names_of_files_are_not_taken_for_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat.jpg", "C:/cat.jpg", "a:b.jpg", tmp_path, "/vsicurl/http://x/y.tif"):
        check_name(name)
    monkeypatch.chdir(tmp_path)
    Path("http:/x").mkdir(parents=True)
    PIL.Image.new("RGB", (20, 20)).save("http:/x/y.png")
    assert image_size("http://x/y.png") == (20, 20)  # a file here, by an odd name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_a_pipe_does_not_block_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="pipe"):
        read_image(tmp_path / "pipe.png")


def test_random_bytes_never_raise_an_unexpected_error() -> None:
    rng = np.random.default_rng(0)
    for content in FOREIGN:
        for _ in range(50):
            spoilt = bytearray(content[: rng.integers(1, len(content) + 1)])
            spoilt[rng.integers(len(spoilt))] = rng.integers(256)
            what_is(bytes(spoilt))


class TestSizes:
    """Sizes in a header are checked before anything is decoded or allocated."""

    def bomb(self, path: Path, **tags: int) -> Path:
        """A TIFF of 16 x 16 pixels, some hundred bytes long, whose tags claim more."""
        tifffile.imwrite(path, np.zeros((16, 16), np.float64), photometric="minisblack", tile=(16, 16))
        numbers = {"width": 256, "height": 257, "samples": 277, "tile_width": 322, "tile_height": 323}
        with tifffile.TiffFile(path, mode="r+") as file:
            for name, value in tags.items():
                file.pages[0].tags[numbers[name]].overwrite(value)  # type: ignore[union-attr]
        return path

    @pytest.mark.parametrize(
        ("tags", "says"),
        [
            ({"samples": 65_000, "width": 5000, "height": 5000}, "bands"),
            ({"samples": 900, "width": 5000, "height": 5000}, "GB"),
            ({"width": 20_000, "height": 20_000}, "20000 x 20000"),
            ({"width": 12_000, "height": 12_000, "samples": 3}, "GB"),
            ({"tile_width": 60_000, "tile_height": 60_000}, "GB"),
        ],
    )
    @pytest.mark.parametrize("reader", ["image", "size", "labels", "truth", "upload"])
    def test_tags(self, tmp_path: Path, reader: str, tags: dict[str, int], says: str) -> None:
        import tracemalloc

        path = self.bomb(tmp_path / "bomb.tif", **tags)
        assert path.stat().st_size < 5000
        tracemalloc.start()
        with pytest.raises(SegspectralError) as caught:
            READERS[reader](path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6
        assert says in str(caught.value) or (reader in ("labels", "truth") and "bands" in str(caught.value))

    def test_seven_bands_are_read_and_the_other_four_are_reported(self, tmp_path: Path) -> None:
        path = tmp_path / "seven.tif"
        values = np.random.default_rng(0).integers(0, 4096, (20, 30, 7)).astype(np.uint16)
        for order in ("contig", "separate"):
            stored = values if order == "contig" else np.moveaxis(values, -1, 0).copy()
            tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=order)
            image = read_image(path, bands=(7, 1, 2))
            np.testing.assert_array_equal(image.rgb, np.rint(values[..., [6, 0, 1]] / 4095 * 255))
            assert "4 more are not opacity" in read_image(path).notes[0]


class TestHeic:
    PIXELS = np.kron(np.array([[[200, 40, 40], [40, 160, 60]], [[30, 60, 190], [220, 220, 210]]]), np.ones((24, 40, 1)))

    def saved(self, path: Path, orientation: int = 1) -> Path:
        heif = pytest.importorskip("pillow_heif")
        heif.register_heif_opener()
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.fromarray(self.PIXELS.astype(np.uint8)).save(path, quality=100, exif=exif.tobytes())
        return path

    def test_it_is_read_upright_and_found_in_a_folder(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path / "a.heic")
        assert image_size(path) == (80, 48)
        assert np.abs(read_image(path).uint8.astype(int) - self.PIXELS).mean() < 4
        turned = read_image(self.saved(tmp_path / "b.heic", orientation=6)).uint8
        assert np.abs(turned.astype(int) - np.rot90(self.PIXELS, -1)).mean() < 4
        assert [Path(found).name for found in find_images([str(tmp_path)])] == ["a.heic", "b.heic"]

    def test_the_primary_image_is_read_and_more_than_8_bits_are_reported(self, tmp_path: Path) -> None:
        heif = pytest.importorskip("pillow_heif")
        file = heif.from_pillow(PIL.Image.fromarray(self.PIXELS.astype(np.uint8)))
        file.add_from_pillow(PIL.Image.new("RGB", (120, 100), (10, 200, 10)))
        file.save(tmp_path / "two.heic", primary_index=1)
        image = read_image(tmp_path / "two.heic")
        assert image.shape == (100, 120)
        assert "page 2 of 2" in image.notes[0]
        assert read_image(tmp_path / "two.heic", page=1).shape == (48, 80)
        deep = (self.PIXELS.astype(np.uint16) * 257).tobytes()
        heif.encode("RGB;16", (80, 48), deep, fp=tmp_path / "deep.heic", quality=90)
        assert "10 bits, read as 8" in read_image(tmp_path / "deep.heic").notes

    def test_damaged_files_get_a_sentence(self, tmp_path: Path) -> None:
        whole = self.saved(tmp_path / "a.heic").read_bytes()
        for length in (24, 100, len(whole) // 2, len(whole) - 20):
            (tmp_path / "cut.heic").write_bytes(whole[:length])
            with pytest.raises(ImageError, match=r"cut\.heic"):
                read_image(tmp_path / "cut.heic")
