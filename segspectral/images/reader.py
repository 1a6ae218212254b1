"""Files and arrays -> Image. All faults are reported as ImageError."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as Tag

from segspectral.errors import ImageError, about
from segspectral.images.formats import EXTENSIONS, LISTED, TIFF, check_name, format_of, open_picture
from segspectral.values import Image

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["EXTENSIONS", "FLAT", "MAX_BYTES", "MAX_PIXELS", "as_image", "first_page", "image_size", "read_image"]

MAX_PIXELS = 150_000_000
"""Images with more pixels are refused before they are decoded: a PNG of 20000 x 20000 pixels can be a file of 1 MB. At
4 bytes per channel, this many pixels take 1.8 GB."""

MAX_BYTES = 16 * MAX_PIXELS
"""Images that take more bytes when they are decoded are refused before; the same holds for one tile or strip of an
image. The limit is that of MAX_PIXELS with four bands of 32 bits."""

FLAT = "all pixels have one colour: they are one segment"
"""Note on an image of one colour."""

MIN_SIDE = 8
"""Images with a shorter side are refused, because they have no content to segment."""

WHITE_IS_ZERO, INKS = 0, 5
"""Values of the TIFF tag PhotometricInterpretation: grey with 0 as white, and CMYK."""

SEPARATE_CHANNELS = 2
"""Value of the TIFF tag PlanarConfiguration if each channel is stored separately."""


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a file in one of the formats of ``formats.FORMATS``. Its content decides the format, not its name.

    Grey, RGB, palette, CMYK and 16-bit images become RGB. Fully transparent pixels become void. The EXIF orientation is
    applied. 16-bit values keep their precision; they are divided by 65535.

    Raises
    ------
    ImageError
        The message is one sentence that names the file, what is wrong with it and what to do.
    """
    check_name(path)
    path = Path(path)
    with _told(path):
        _checked_size(path)
        return _decoded(path)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image before rotation by EXIF. Only its header is read; no pixel is decoded.

    Raises
    ------
    ImageError
        ``read_image`` would refuse the file for its format, its size, its bands or its header.
    """
    check_name(path)
    path = Path(path)
    with _told(path):
        return _checked_size(path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn every error of a decoder into an ImageError about the file."""
    import PIL.Image

    with about(path):
        try:
            yield
        except PIL.UnidentifiedImageError as error:
            raise ImageError("is damaged, or of a kind that the decoder of its format does not support") from error
        except PIL.Image.DecompressionBombError as error:
            raise ImageError(f"has more than {MAX_PIXELS:,} pixels; scale it down or cut it into tiles") from error
        except ImageError:
            raise
        except PermissionError as error:
            raise ImageError("cannot be read (permission denied)") from error
        except MemoryError as error:
            raise ImageError("does not fit into memory; scale it down or cut it into tiles") from error
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            IndexError,
            TypeError,
            KeyError,
            OverflowError,
            struct.error,
        ) as error:
            # Pillow's decoders raise all of these on damaged data.
            raise ImageError(f"is damaged or cut off ({error})") from error


def as_image(source: str | os.PathLike[str] | PIL.Image.Image | NDArray[Any] | Image, name: str = "image") -> Image:
    """Make an Image from a path, a Pillow image, or an array.

    Parameters
    ----------
    source : path, PIL.Image.Image, Image, or array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Arrays contain uint8, uint16, bool or floats in [0, 1]. A fourth channel is opacity.

    Raises
    ------
    ImageError
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, str | os.PathLike):
        return read_image(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if hasattr(source, "getbands"):
        if getattr(source, "format", None) == "EPS":  # Decoding it would run Ghostscript.
            raise ImageError(f"is PostScript, not an image that can be read ({LISTED}); export it as PNG", name)
        name = Path(getattr(source, "filename", "") or name).name
        try:
            return _from_pillow(source, name)
        except (OSError, SyntaxError, EOFError) as error:  # Pillow decodes an opened file only now.
            raise ImageError(f"is damaged or cut off ({error})", name) from error
    raise ImageError(f"an image must be a path, a Pillow image or an array (H, W, 3), not {type(source).__name__}")


def _check_size(width: int, height: int, what: str, least: int = MIN_SIDE) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; scale it down or cut it into tiles", what
        )
    if min(width, height) < least:
        raise ImageError(f"has {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed", what)


def _checked_size(path: Path) -> tuple[int, int]:
    if format_of(path) is TIFF:
        with first_page(path) as page:
            width, height = int(page.imagewidth), int(page.imagelength)
    else:
        with open_picture(path) as picture:
            width, height = picture.size
    _check_size(width, height, str(path))
    return width, height


def _decoded(path: Path) -> Image:
    import PIL.Image

    try:
        with open_picture(path) as picture:
            if (deep := _sixteen_bit_colour(picture, path)) is not None:
                return _from_array(deep, path.name)
            return _from_pillow(picture, path.name)
    except PIL.UnidentifiedImageError:
        if format_of(path) is not TIFF:
            raise
        return _from_array(_tiff_array(path), path.name)


def _from_pillow(picture: PIL.Image.Image, name: str) -> Image:
    from PIL import ImageOps

    white_is_zero = picture.mode.startswith("I;16") and _tag(picture, Tag.PhotometricInterpretation) == WHITE_IS_ZERO
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture)
        if white_is_zero:
            array = 65535 - array
        if isinstance(level := picture.info.get("transparency"), int):
            # In a PNG of 16 bits, this is the one level of grey that is transparent.
            array = np.dstack([array, np.where(array == level, 0, 65535).astype(array.dtype)])
        return _from_array(array, name)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _from_array(np.asarray(picture.convert("RGBA")), name)
    return _from_array(np.asarray(picture.convert("RGB")), name)


def _sixteen_bit_colour(picture: PIL.Image.Image, path: Path) -> NDArray[Any] | None:
    """(H, W, 3 or 4) a colour PNG or TIFF with 16 bits per channel, of which Pillow keeps only 8; None for others."""
    if picture.format == "PNG":
        deep = any(str(tile[3]).endswith(";16B") and picture.mode != "I;16" for tile in getattr(picture, "tile", []))
    else:
        deep = (
            picture.format == "TIFF" and picture.mode in ("RGB", "RGBA") and 16 in _tag(picture, Tag.BitsPerSample, ())
        )
    if not deep:
        return None
    if picture.format == "TIFF" and _tag(picture, Tag.PlanarConfiguration) == SEPARATE_CHANNELS:
        return _tiff_array(path)  # Pillow and OpenCV would give black pixels.
    import cv2

    # OpenCV applies the orientation of a TIFF itself.
    orientation = picture.getexif().get(Tag.Orientation, 1) if picture.format == "PNG" else 1
    picture.load()  # Pillow reports what is wrong with a damaged file, OpenCV does not.
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        return None
    return _upright(array[..., [2, 1, 0, 3][: array.shape[2]]], orientation)


def _tag(picture: PIL.Image.Image, tag: Tag, default: Any = None) -> Any:
    """The value of a tag of a TIFF; ``default`` for other formats."""
    return getattr(picture, "tag_v2", {}).get(tag, default)


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The array (H, W, ...) rotated as the EXIF tag says: it tells on which sides the first row and column are."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    return array[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _tiff_array(path: Path) -> NDArray[Any]:
    """(H, W) or (H, W, C) a TIFF that Pillow cannot read (floats, separate channels of 16 bits), by tifffile."""
    with first_page(path) as page:
        array = np.asarray(page.asarray())
        orientation = page.tags.valueof(Tag.Orientation, 1)
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    return _upright(array, int(orientation))


@contextmanager
def first_page(path: Path, bands: int = 4) -> Iterator[Any]:
    """Open the first page of a TIFF with tifffile, after a check of its size. Only its tags are read, no pixel.

    Raises
    ------
    ImageError
        The tags are damaged; or they give more than ``bands`` bands, ``MAX_PIXELS`` or ``MAX_BYTES``, for the page or
        for one of its tiles or strips, each of which is decoded as a whole.
    """
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # Errors report what is wrong.
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            samples, depth = int(page.samplesperpixel), int(page.imagedepth)
            width, height = int(page.imagewidth), int(page.imagelength)
            if samples > bands + (bands > 1 and page.photometric == INKS):  # four inks, and opacity
                raise ImageError(_too_many_bands(samples, bands), path)
            _check_size(width, height, str(path), least=1)
            bytes_each = -(-max(1, int(page.bitspersample)) // 8)
            for size in (depth * height * width * samples, math.prod(map(int, page.chunks))):
                if size * bytes_each > MAX_BYTES:
                    raise ImageError(
                        f"would take {size * bytes_each / 1e9:.1f} GB when it is decoded, more than "
                        f"{MAX_BYTES / 1e9:.1f} GB; scale it down or cut it into tiles",
                        path,
                    )
            yield page
    except ImageError:
        raise
    except Exception as error:  # tifffile raises errors of any type on damaged tags.
        raise ImageError(
            f"is a TIFF that cannot be read ({error}); save it as an uncompressed or LZW RGB TIFF, or as PNG", path
        ) from error


def _too_many_bands(bands: int, most: int) -> str:
    if most == 1:
        return f"has {bands} bands; a label map must have one"
    return (
        f"has {bands} bands, but an image may have at most {most}; choose three of them: "
        "segspectral batch FILE -o OUT --tile 1024 --bands 3,2,1"
    )


def _from_array(array: NDArray[Any], name: str) -> Image:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ImageError(f"an image must be (H, W), (H, W, 3) or (H, W, 4), not {array.shape}", name)
    _check_size(array.shape[1], array.shape[0], name)
    array = _to_unit_range(array, name)
    mask = None
    if array.shape[2] in (2, 4):
        opaque = array[..., -1] > 0
        array = array[..., :-1]
        mask = None if opaque.all() else opaque
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if mask is not None and not mask.any():
        raise ImageError("every pixel is transparent; there is nothing to segment", name)
    return Image(np.ascontiguousarray(array), name, mask)


def _to_unit_range(array: NDArray[Any], name: str) -> NDArray[Any]:
    """uint8 unchanged, bool as uint8; everything else as float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    if np.issubdtype(array.dtype, np.integer):
        # Pillow opens 16-bit greyscale files as 32-bit integers.
        if array.min() < 0 or array.max() > 65535:
            raise ImageError(
                f"contains integers from {array.min()} to {array.max()}; convert it to uint8 or uint16", name
            )
        return array.astype(np.float32) / np.float32(255 if array.max() <= 255 else 65535)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError("contains NaN or infinity; give such pixels a number, or make them transparent", name)
        if array.min() < 0 or array.max() > 1:
            raise ImageError(
                f"floats must be in [0, 1], but these are in [{array.min():g}, {array.max():g}]; scale them", name
            )
        return array.astype(np.float32)
    raise ImageError(f"contains {array.dtype}; convert it to uint8, uint16 or floats in [0, 1]", name)
