"""The reader: all kinds of image files, and all kinds of damage to them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import pytest
import tifffile
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.images.finding import find_images
from segspectral.images.reader import MAX_PIXELS, as_image, image_size, read_image
from segspectral.values import Image

H, W = 24, 40


def picture() -> NDArray[np.uint8]:
    """Return four blocks of one colour each (H, W, 3), whose centres survive lossy formats."""
    rgb = np.empty((H, W, 3), np.uint8)
    rgb[:12, :20], rgb[:12, 20:], rgb[12:, :20], rgb[12:, 20:] = (200, 30, 40), (20, 180, 60), (30, 60, 220), (250,) * 3
    return rgb


def grey() -> NDArray[np.uint8]:
    """Return a ramp over all levels (H, W)."""
    return np.linspace(0, 255, H * W).astype(np.uint8).reshape(H, W)


def middles(rgb: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the colours at the centres of the four blocks (2, 2, 3), in [0, 1]."""
    values = rgb[6::12, 10::20].astype(np.float64)
    return values / 255 if rgb.dtype == np.uint8 else values


def complaint(call: Callable[[], object], path: Path | None = None) -> str:
    """The message of an ImageError, after a check that it is one short line with the file's name."""
    with pytest.raises(ImageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    if path is not None:
        assert message.startswith(str(path))
        message = message.replace(str(path), path.name)
    assert 20 < len(message) < 250, message
    return message


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "options", "tolerance"),
        [
            ("a.jpg", {"quality": 95}, 0.03),
            ("a.jpg", {"quality": 95, "progressive": True}, 0.03),
            ("a.png", {}, 0),
            ("a.PNG", {"interlace": 1}, 0),
            ("a.webp", {"lossless": True}, 0),
            ("a.webp", {"quality": 95}, 0.04),
            ("a.bmp", {}, 0),
            ("a.tif", {}, 0),
            ("a.tiff", {"compression": "tiff_lzw"}, 0),
            ("a.tiff", {"compression": "tiff_deflate"}, 0),
            ("name without suffix", {"format": "PNG"}, 0),
            ("wrong suffix.jpg", {"format": "PNG"}, 0),
            ("ünïcode, spaces & [brackets].png", {}, 0),
        ],
    )
    def test_colour_files_are_read(
        self, tmp_path: Path, name: str, options: dict[str, object], tolerance: float
    ) -> None:
        path = tmp_path / name
        PIL.Image.fromarray(picture()).save(path, **options)  # type: ignore[arg-type]
        image = read_image(path)
        assert (image.name, image.shape, image.mask, image.rgb.dtype) == (name, (H, W), None, np.uint8)
        np.testing.assert_allclose(middles(image.rgb), middles(picture()), atol=tolerance)

    @pytest.mark.parametrize(("name", "tolerance"), [("g.png", 0), ("g.jpg", 0.03), ("g.bmp", 0), ("g.tif", 0)])
    def test_grey_files_become_equal_channels(self, tmp_path: Path, name: str, tolerance: float) -> None:
        PIL.Image.fromarray(grey()).save(tmp_path / name)
        rgb = read_image(tmp_path / name).rgb
        assert (rgb == rgb[..., :1]).all()
        np.testing.assert_allclose(rgb[..., 0] / 255, grey() / 255, atol=tolerance)

    @pytest.mark.parametrize("name", ["t.png", "t.webp", "t.tif"])
    def test_fully_transparent_pixels_are_void_and_half_transparent_ones_are_not(
        self, tmp_path: Path, name: str
    ) -> None:
        opacity = np.full((H, W), 255, np.uint8)
        opacity[:12], opacity[12:16] = 0, 1
        PIL.Image.fromarray(np.dstack([picture(), opacity])).save(tmp_path / name, lossless=True)
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.mask, opacity > 0)
        np.testing.assert_array_equal(image.rgb[image.mask], picture()[opacity > 0])

    def test_an_opaque_fourth_channel_leaves_no_mask(self, tmp_path: Path) -> None:
        PIL.Image.fromarray(picture()).convert("RGBA").save(tmp_path / "o.png")
        assert read_image(tmp_path / "o.png").mask is None

    def test_grey_with_opacity_is_read(self, tmp_path: Path) -> None:
        opacity = np.where(np.arange(W) < 7, 0, 255) * np.ones((H, 1))
        PIL.Image.merge("LA", [PIL.Image.fromarray(a.astype(np.uint8)) for a in (grey(), opacity)]).save(
            tmp_path / "la.png"
        )
        image = read_image(tmp_path / "la.png")
        np.testing.assert_array_equal(image.mask, opacity > 0)
        np.testing.assert_array_equal(image.rgb[..., 1], grey())

    @pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.tif"])
    def test_palette_images_get_their_colours(self, tmp_path: Path, name: str) -> None:
        PIL.Image.fromarray(picture()).quantize(4).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image.mask is None
        np.testing.assert_allclose(middles(image.rgb), middles(picture()), atol=0.01)

    def test_a_transparent_palette_entry_is_void(self, tmp_path: Path) -> None:
        indexed = PIL.Image.fromarray(picture()).quantize(4)
        index = int(np.asarray(indexed)[0, 0])
        indexed.save(tmp_path / "p.png", transparency=index)
        np.testing.assert_array_equal(read_image(tmp_path / "p.png").mask, np.asarray(indexed) != index)

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_a_transparent_colour_of_a_png_without_opacity_is_void(self, tmp_path: Path, mode: str) -> None:
        source = PIL.Image.fromarray(picture()).convert(mode)
        source.save(tmp_path / "k.png", transparency=source.getpixel((0, 0)))
        expected = np.ones((H, W), bool)
        expected[:12, :20] = False
        np.testing.assert_array_equal(read_image(tmp_path / "k.png").mask, expected)

    def test_a_transparent_level_of_a_sixteen_bit_grey_png_is_void(self, tmp_path: Path) -> None:
        deep = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
        deep[:12, :20] = 777
        header = struct.pack(">IIBBBBB", W, H, 16, 0, 0, 0, 0)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
        (tmp_path / "k.png").write_bytes(png(header, zlib.compress(rows), (b"tRNS", struct.pack(">H", 777))))
        image = read_image(tmp_path / "k.png", stretch="none")
        np.testing.assert_array_equal(image.mask, deep != 777)
        np.testing.assert_allclose(image.rgb[..., 0][image.mask], deep[image.mask] / 65535, atol=1e-6)

    @pytest.mark.parametrize("name", ["c.jpg", "c.tif"])
    def test_cmyk_becomes_rgb(self, tmp_path: Path, name: str) -> None:
        PIL.Image.fromarray(picture()).convert("CMYK").save(tmp_path / name)
        np.testing.assert_allclose(middles(read_image(tmp_path / name).rgb), middles(picture()), atol=0.03)

    @pytest.mark.parametrize("name", ["d.png", "d.tif"])
    def test_sixteen_bit_grey_keeps_its_precision(self, tmp_path: Path, name: str) -> None:
        deep = np.linspace(0, 65535, H * W).astype(np.uint16).reshape(H, W)
        PIL.Image.fromarray(deep).save(tmp_path / name)
        image = read_image(tmp_path / name, stretch="none")
        assert image.rgb.dtype == np.float32
        np.testing.assert_allclose(image.rgb[..., 2], deep / 65535, atol=1e-6)

    @pytest.mark.parametrize("name", ["d.png", "d.tif"])
    @pytest.mark.parametrize("channels", [3, 4])
    def test_sixteen_bit_colour_keeps_its_precision(self, tmp_path: Path, name: str, channels: int) -> None:
        # Values of a 10-bit sensor in a 16-bit file: divided by 65535, only four levels of eight bits would be left.
        deep = np.random.default_rng(0).integers(0, 1024, (H, W, channels)).astype(np.uint16)
        if channels == 4:
            deep[..., 3] = np.where(np.arange(W) < 9, 0, 65535)
        if name.endswith("tif"):
            tifffile.imwrite(tmp_path / name, deep, photometric="rgb", extrasamples=[2] if channels == 4 else None)
        else:
            (tmp_path / name).write_bytes(png16(deep))
        image = read_image(tmp_path / name, stretch="none")
        assert image.rgb.shape == (H, W, 3)
        assert (image.mask is None) == (channels == 3)
        valid = np.ones((H, W), bool) if image.mask is None else image.mask
        assert valid.sum() == (H * W if channels == 3 else H * (W - 9))
        np.testing.assert_allclose(image.float32[valid], deep[..., :3][valid] / 65535, atol=1e-5)

    @pytest.mark.parametrize("name", ["d.png", "d.tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_orientation_of_sixteen_bit_colour_is_applied(
        self, tmp_path: Path, name: str, orientation: int
    ) -> None:
        deep = np.array(turned(orientation)).astype(np.uint16) * 257
        if name.endswith("tif"):
            tifffile.imwrite(tmp_path / name, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        else:
            (tmp_path / name).write_bytes(png16(deep, orientation))
        image = read_image(tmp_path / name, stretch="none")
        assert image.rgb.dtype == np.float32
        np.testing.assert_allclose(image.rgb, picture() / 255, atol=1e-6)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
    @pytest.mark.parametrize("shape", [(H, W), (H, W, 3)])
    def test_tiffs_of_floats_are_read(self, tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
        values = np.random.default_rng(0).uniform(size=shape).astype(dtype)
        tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb" if len(shape) == 3 else "minisblack")
        image = read_image(tmp_path / "f.tif")
        np.testing.assert_allclose(image.rgb, np.broadcast_to(values.reshape(H, W, -1), (H, W, 3)), atol=1e-6)

    def test_a_tiff_with_the_channels_as_its_first_axis_is_read(self, tmp_path: Path) -> None:
        tifffile.imwrite(
            tmp_path / "s.tif", np.moveaxis(picture(), -1, 0).copy(), photometric="rgb", planarconfig="separate"
        )
        np.testing.assert_array_equal(read_image(tmp_path / "s.tif").uint8, picture())

    def test_sixteen_bit_colour_with_separate_channels_is_read(self, tmp_path: Path) -> None:
        deep = np.random.default_rng(0).integers(0, 65536, (3, H, W)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "s.tif", deep, photometric="rgb", planarconfig="separate")
        np.testing.assert_allclose(
            read_image(tmp_path / "s.tif", stretch="none").rgb, np.moveaxis(deep, 0, -1) / 65535, atol=1e-6
        )

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_tiffs_in_which_white_is_zero_are_not_read_as_negatives(self, tmp_path: Path, dtype: type) -> None:
        largest = np.iinfo(dtype).max
        ramp = np.linspace(0, largest, H * W).astype(dtype).reshape(H, W)
        tifffile.imwrite(tmp_path / "w.tif", largest - ramp, photometric="miniswhite")
        np.testing.assert_allclose(
            read_image(tmp_path / "w.tif", stretch="none").float32[..., 0], ramp / largest, atol=1e-6
        )

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_orientation_of_tiffs_of_floats_is_applied(self, tmp_path: Path, orientation: int) -> None:
        values = np.array(turned(orientation)).astype(np.float32) / 255
        tifffile.imwrite(tmp_path / "f.tif", values, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        np.testing.assert_allclose(read_image(tmp_path / "f.tif").rgb, picture() / 255, atol=1e-6)

    def test_the_first_page_of_a_tiff_is_read(self, tmp_path: Path) -> None:
        first, second = PIL.Image.fromarray(picture()), PIL.Image.new("RGB", (11, 13))
        first.save(tmp_path / "m.tif", save_all=True, append_images=[second])
        np.testing.assert_array_equal(read_image(tmp_path / "m.tif").rgb, picture())

    @pytest.mark.parametrize("name", ["b.png", "b.tif", "b.bmp"])
    def test_one_bit_images_become_black_and_white(self, tmp_path: Path, name: str) -> None:
        bits = np.random.default_rng(0).uniform(size=(H, W)) < 0.5
        PIL.Image.fromarray(bits).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).rgb, bits[..., None] * np.full(3, 255))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_exif_orientation_is_applied(self, tmp_path: Path, orientation: int) -> None:
        exif = PIL.Image.Exif()
        exif[274] = orientation
        turned(orientation).save(tmp_path / "o.png", exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / "o.png").rgb, picture())


def turned(orientation: int) -> PIL.Image.Image:
    """The image as it is stored in a file with this orientation tag."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # tag -> PIL.Image.Transpose of the inverse
    upright = PIL.Image.fromarray(picture())
    return upright if orientation == 1 else upright.transpose(PIL.Image.Transpose(undo[orientation]))


def png16(array: NDArray[np.uint16], orientation: int = 1) -> bytes:
    """A PNG of 16 bits per channel, which Pillow cannot write."""
    exif = PIL.Image.Exif()
    exif[274] = orientation
    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return png(header, zlib.compress(rows), (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))


def png(header: bytes, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks; ``more`` are types and contents of chunks before the data."""
    chunks = [(b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


class TestInMemory:
    @pytest.mark.parametrize(
        "array",
        [
            picture(),
            picture() / 255,
            (picture() / 255).astype(np.float32),
            picture().astype(np.uint16) * 257,
            picture().astype(np.int64),
            np.asfortranarray(picture()),
            np.dstack([picture(), np.full((H, W), 255, np.uint8)]),
        ],
    )
    def test_arrays_of_all_types_give_the_same_image(self, array: NDArray[np.generic]) -> None:
        original = array.copy()
        array.setflags(write=False)
        image = as_image(array)
        np.testing.assert_array_equal(image.uint8, picture())
        np.testing.assert_array_equal(array, original)

    @pytest.mark.parametrize("array", [grey(), grey()[..., None], grey() / 255])
    def test_grey_arrays_become_colour(self, array: NDArray[np.generic]) -> None:
        np.testing.assert_array_equal(as_image(array).uint8, np.dstack([grey()] * 3))

    def test_a_pillow_image_keeps_the_name_of_its_file_and_an_image_is_returned_unchanged(self, samples: Path) -> None:
        with PIL.Image.open(samples / "cat.jpg") as opened:
            image = as_image(opened)
        assert image.name == "cat.jpg"
        assert as_image(PIL.Image.fromarray(picture())).name == "image"
        assert as_image(image) is image
        np.testing.assert_array_equal(image.rgb, as_image(str(samples / "cat.jpg")).rgb)

    @pytest.mark.parametrize(
        ("source", "says"),
        [
            (np.zeros((H, W, 0), np.uint8), "not"),
            (np.zeros((3, H, W), np.uint8), "channels come last"),
            (np.zeros((2, H, W, 3), np.uint8), "not"),
            (np.zeros(7, np.uint8), "not"),
            (np.zeros((0, 0, 3), np.uint8), "pixels"),
            (np.zeros((1, 1, 3), np.uint8), "1 x 1"),
            (np.zeros((H, W, 3), np.complex64), "complex64"),
            (np.full((H, W, 3), "a"), "U1"),
            (np.full((H, W, 3), None), "object"),
            (np.full((H, W, 3), np.nan), "NaN"),
            (np.full((H, W, 3), -np.inf), "infinity"),
            (np.zeros((H, W, 4), np.uint8), "transparent"),
            (None, "NoneType"),
            ([[1, 2], [3, 4]], "list"),
            (7, "int"),
        ],
    )
    def test_a_value_that_is_not_an_image_is_refused_in_one_sentence(self, source: object, says: str) -> None:
        import re

        assert re.search(says, complaint(lambda: as_image(source)))  # type: ignore[arg-type]

    def test_a_pillow_image_that_cannot_be_decoded_is_refused_in_one_sentence(self, samples: Path) -> None:
        half = (samples / "cat.jpg").read_bytes()[:9000]
        complaint(lambda: as_image(PIL.Image.open(io.BytesIO(half))))


class TestBadFiles:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere.jpg"
        assert "no such file" in complaint(lambda: read_image(path), path)

    def test_an_empty_file_is_reported_as_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.jpg"
        path.touch()
        assert "empty" in complaint(lambda: read_image(path), path)

    @pytest.mark.parametrize(
        ("value", "stretch", "says"), [(np.nan, None, "NaN"), (255, "none", "stretch"), (-1, "none", "values -1")]
    )
    def test_values_that_cannot_be_shown_are_reported_with_the_name_of_the_file_once(
        self, tmp_path: Path, value: float, stretch: str | None, says: str
    ) -> None:
        path = tmp_path / "f.tif"
        tifffile.imwrite(path, np.full((H, W, 3), value, np.float32), photometric="rgb")
        message = complaint(lambda: read_image(path, stretch=stretch), path)
        assert says in message
        assert message.count("f.tif") == 1

    def test_a_folder_is_reported_as_a_folder(self, tmp_path: Path) -> None:
        assert "folder" in complaint(lambda: read_image(tmp_path), tmp_path)

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
    @pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.bmp", "cut.tif"])
    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path, samples: Path, name: str, share: float) -> None:
        path = tmp_path / name
        with PIL.Image.open(samples / "cat.jpg") as opened:
            opened.save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        complaint(lambda: read_image(path), path)

    @pytest.mark.parametrize("name", ["text.png", "text.jpg", "text.tif", "text.webp", "text"])
    def test_a_text_with_the_suffix_of_an_image_is_refused(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        path.write_text("Dear reader,\nthis is a letter and not an image.\n" * 20, encoding="utf-8")
        complaint(lambda: read_image(path), path)

    def test_an_image_of_one_pixel_is_refused_with_the_minimum_size(self, tmp_path: Path) -> None:
        path = tmp_path / "dot.png"
        PIL.Image.new("RGB", (1, 1)).save(path)
        message = complaint(lambda: read_image(path), path)
        assert "1 x 1" in message
        assert "8 x 8" in message

    def test_a_fully_transparent_image_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "ghost.png"
        PIL.Image.fromarray(np.dstack([picture(), np.zeros((H, W), np.uint8)])).save(path)
        assert "transparent" in complaint(lambda: read_image(path), path)

    @pytest.mark.parametrize("side", [13_000, 20_000, 2_000_000_000])
    def test_a_decompression_bomb_is_refused_before_it_is_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
    ) -> None:
        def decoded(*_: object) -> None:
            raise AssertionError("it is decoded")

        path = tmp_path / "bomb.png"
        path.write_bytes(png_of_one_colour(side))
        assert path.stat().st_size < 2e6
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
        monkeypatch.setattr("cv2.imdecode", decoded)
        message = complaint(lambda: read_image(path), path)
        assert f"{MAX_PIXELS:,}" in message

    def test_a_decompression_bomb_of_floats_is_refused_before_it_is_decoded(self, tmp_path: Path) -> None:
        path = tmp_path / "bomb.tif"
        tifffile.imwrite(path, np.zeros((16, 16, 3), np.float32), photometric="rgb")
        content = path.read_bytes()
        # Width and height (tags 256 and 257) are stored as shorts or longs; both forms are set to 20000.
        for tag in (256, 257):
            for kind, form in ((3, "<HHIHxx"), (4, "<HHII")):
                content = content.replace(struct.pack(form, tag, kind, 1, 16), struct.pack(form, tag, kind, 1, 20000))
        path.write_bytes(content)
        assert "20000 x 20000" in complaint(lambda: read_image(path), path)

    @pytest.mark.skipif(os.name != "posix", reason="pipes")
    def test_a_device_or_pipe_does_not_hang(self) -> None:
        complaint(lambda: read_image("/dev/null"), Path("/dev/null"))

    @pytest.mark.skipif(not PIL.features.check("avif"), reason="Pillow was built without AVIF")
    def test_a_damaged_header_of_avif_is_one_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "spoilt.avif"
        PIL.Image.fromarray(picture()).save(path)
        path.write_bytes(path.read_bytes().replace(b"pitm", b"xitm"))  # Pillow raises a RuntimeError
        for read in (read_image, image_size):
            assert "damaged or cut off" in complaint(lambda read=read: read(path), path)

    @pytest.mark.parametrize("form", ["jpg", "png", "tif", "webp", "bmp", "deep.tif", "deep.png"])
    def test_a_damaged_file_gives_an_image_or_one_sentence(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / f"spoilt.{form}"
        if form == "deep.tif":
            tifffile.imwrite(path, picture().astype(np.uint16) * 257, photometric="rgb")
        elif form == "deep.png":
            path.write_bytes(png16(picture().astype(np.uint16) * 257))
        else:
            PIL.Image.fromarray(picture()).save(path)
        sound = path.read_bytes()
        rng, refused = np.random.default_rng(1), 0
        for _ in range(60):
            spoilt = bytearray(sound)
            kind = rng.integers(3)
            if kind == 0:
                spoilt = spoilt[: rng.integers(1, len(sound))]
            # Damage to headers matters most.
            end = len(spoilt) if kind == 1 else min(64, len(spoilt))
            for _ in range(rng.integers(1, 9) if kind else 0):
                spoilt[rng.integers(end)] ^= 1 << rng.integers(8)
            path.write_bytes(spoilt)
            message = None
            try:
                assert isinstance(read_image(path), Image)
            except ImageError as error:
                message = str(error)
            if message is not None:
                refused += 1
                assert message.startswith(str(path))
                assert "\n" not in message
        assert refused > 5


def png_of_one_colour(side: int) -> bytes:
    """A PNG of side x side black pixels; above 20000, only its header claims them."""
    compressor, data = zlib.compressobj(1), b""
    for _ in range(side if side <= 20_000 else 0):
        data += compressor.compress(bytes(1 + -(-side // 8)))
    return png(struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), data + compressor.flush())


class TestFindImages:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("b.png", "a.jpg", "C.TIFF", "notes.txt", "d.webp"):
            (tmp_path / name).touch()
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "e.png").touch()
        (tmp_path / "looks.png").mkdir()
        return tmp_path

    def names(self, folder: Path, *inputs: str) -> list[str]:
        return [str(p.relative_to(folder)) for p in find_images(folder / i for i in inputs)]

    def test_a_folder_stands_for_the_images_directly_in_it_sorted(self, folder: Path) -> None:
        assert self.names(folder, ".") == ["C.TIFF", "a.jpg", "b.png", "d.webp"]

    def test_a_glob_stands_for_the_files_that_match_sorted(self, folder: Path) -> None:
        assert self.names(folder, "*.png") == ["b.png"]
        assert self.names(folder, "[ab].*") == ["a.jpg", "b.png"]
        assert self.names(folder, "**/*.png") == ["b.png", "inner/e.png"]

    def test_inputs_come_in_the_order_given_and_each_once(self, folder: Path) -> None:
        assert self.names(folder, "d.webp", "a.jpg", "*.jpg", "d.webp", ".") == ["d.webp", "a.jpg", "C.TIFF", "b.png"]

    def test_two_spellings_of_a_path_are_one_image(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        assert len(find_images(["a.jpg", "./a.jpg", "inner/../a.jpg"])) == 1

    def test_a_name_that_matches_nothing_is_kept_so_that_reading_reports_it(self, folder: Path) -> None:
        assert self.names(folder, "nowhere.jpg", "*.gif") == ["nowhere.jpg", "*.gif"]

    def test_a_file_whose_name_looks_like_a_glob_is_found(self, folder: Path) -> None:
        (folder / "[ab].png").touch()
        assert self.names(folder, "[ab].png") == ["[ab].png"]

    def test_a_named_file_may_have_any_suffix(self, folder: Path) -> None:
        assert self.names(folder, "notes.txt") == ["notes.txt"]

    def test_a_folder_without_images_is_named(self, folder: Path) -> None:
        empty = folder / "looks.png"
        assert "no images" in complaint(lambda: find_images([empty]), empty)
        assert self.names(folder, "b.png", "looks.png") == ["b.png", "looks.png"]
        assert "the folder contains no images" in complaint(lambda: read_image(empty), empty)
