"""Files and arrays -> Image: one reader, one clear error type."""

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

from segspectral.errors import ImageError, about
from segspectral.images.formats import EXTENSIONS, LISTED, TIFF, check_name, format_of, open_picture
from segspectral.values import Image

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["EXTENSIONS", "FLAT", "MAX_BYTES", "MAX_PIXELS", "as_image", "first_page", "image_size", "read_image"]

MAX_PIXELS = 150_000_000
"""Images with more pixels are refused before they are decoded (a 20000 x 20000 PNG can be 1 MB on disk)."""

MAX_BYTES = 16 * MAX_PIXELS
"""Images with more bytes when decoded, four bands of 32 bits, are refused before that, and so is a tile of them."""

FLAT = "all pixels have one colour: they are one segment"
"""Note of an image in which there is nothing to tell apart."""

MIN_SIDE = 8
"""Images with a shorter side are refused: there is nothing to segment."""


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read a file of one of the formats in ``formats.FORMATS``; its content says which one, not its name.

    Grey, RGB, palette, CMYK and 16-bit images become RGB; pixels that are wholly transparent become void; the EXIF
    orientation is applied. 16-bit values keep their precision: they are scaled by the type's range (65535).

    Raises
    ------
    ImageError
        One sentence that names the file, what is wrong with it and what to do.
    """
    check_name(path)
    path = Path(path)
    with _told(path):
        _checked_size(path)
        return _decoded(path)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image as they are stored, from its header alone: no pixel is decoded.

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
    """Whatever decoders raise becomes an ImageError about the file."""
    import PIL.Image

    with about(path):
        try:
            yield
        except PIL.UnidentifiedImageError as error:
            raise ImageError("is damaged, or of a kind that the decoder of its format does not know") from error
        except PIL.Image.DecompressionBombError as error:
            raise ImageError(
                f"has more than the {MAX_PIXELS:,} pixels that are read at once; scale it down or cut it into tiles"
            ) from error
        except ImageError:
            raise
        except PermissionError as error:
            raise ImageError("may not be read (permission denied)") from error
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
    """An Image from a path, a Pillow image, or an array.

    Parameters
    ----------
    source : path, PIL.Image.Image, Image, or array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Arrays hold uint8, uint16, bool or floats in [0, 1]; a fourth channel is opacity.

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
        if getattr(source, "format", None) == "EPS":  # which Pillow has opened and Ghostscript would run now
            raise ImageError(f"is PostScript, not an image that is read ({LISTED}); export it as PNG", name)
        name = Path(getattr(source, "filename", "") or name).name
        try:
            return _from_pillow(source, name)
        except (OSError, SyntaxError, EOFError) as error:  # an opened file is decoded only now
            raise ImageError(f"is damaged or cut off ({error})", name) from error
    raise ImageError(f"an image is a path, a Pillow image or an array (H, W, 3), not {type(source).__name__}")


def _check_size(width: int, height: int, what: str, least: int = MIN_SIDE) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are read at once; "
            "scale it down or cut it into tiles",
            what,
        )
    if min(width, height) < least:
        raise ImageError(f"is {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed", what)


def _checked_size(path: Path) -> tuple[int, int]:
    if format_of(path) is TIFF:
        width, height = _tiff_size(path)
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

    white_is_zero = picture.mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(262) == 0
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture)
        if white_is_zero:
            array = 65535 - array
        if isinstance(level := picture.info.get("transparency"), int):
            # Of a PNG of 16 bits: the one level of grey that is transparent.
            array = np.dstack([array, np.where(array == level, 0, 65535).astype(array.dtype)])
        return _from_array(array, name)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _from_array(np.asarray(picture.convert("RGBA")), name)
    return _from_array(np.asarray(picture.convert("RGB")), name)


def _sixteen_bit_colour(picture: PIL.Image.Image, path: Path) -> NDArray[Any] | None:
    """(H, W, 3 or 4) of a PNG or TIFF with 16 bits per channel in colour, of which Pillow keeps 8; None of others."""
    if picture.format == "PNG":
        deep = any(str(tile[3]).endswith(";16B") and picture.mode != "I;16" for tile in getattr(picture, "tile", []))
    else:
        deep = picture.format == "TIFF" and picture.mode in ("RGB", "RGBA") and 16 in picture.tag_v2.get(258, ())  # type: ignore[attr-defined]
    if not deep:
        return None
    if picture.format == "TIFF" and picture.tag_v2.get(284) == 2:  # type: ignore[attr-defined]
        return _tiff_array(path)  # channel after channel: Pillow and OpenCV give black pixels
    import cv2

    # OpenCV turns TIFFs upright by itself.
    orientation = picture.getexif().get(274, 1) if picture.format == "PNG" else 1
    picture.load()  # Pillow says what is wrong with a damaged file, OpenCV does not
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        return None
    return _upright(array[..., [2, 1, 0, 3][: array.shape[2]]], orientation)


def _upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The array (H, W, ...) as the EXIF tag wants it seen: it says on which sides the first row and column are."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    return array[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def _tiff_array(path: Path) -> NDArray[Any]:
    """(H, W) or (H, W, C) of TIFFs that Pillow does not know (floats, 16 bits channel after channel), by tifffile."""
    with first_page(path) as page:
        array = np.asarray(page.asarray())
        orientation = page.tags.valueof(274, 1)
    if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    return _upright(array, int(orientation))


def _tiff_size(path: Path) -> tuple[int, int]:
    with first_page(path) as page:
        return int(page.imagewidth), int(page.imagelength)


@contextmanager
def first_page(path: Path, bands: int = 4) -> Iterator[Any]:
    """The first page of a TIFF, of which tifffile has read the tags and no pixel, once its size is known to be fit.

    Raises
    ------
    ImageError
        The tags are damaged; or they promise more than ``bands`` bands, ``MAX_PIXELS`` or ``MAX_BYTES``, in the page or
        in one of its tiles or strips, each of which is decoded as a whole.
    """
    import logging

    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is told below, in one sentence
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            samples, depth = int(page.samplesperpixel), int(page.imagedepth)
            width, height = int(page.imagewidth), int(page.imagelength)
            if samples > bands + (bands > 1 and page.photometric == 5):  # four inks, and opacity
                raise _too_many_bands(path, samples, bands)
            _check_size(width, height, str(path), least=1)
            item = -(-max(1, int(page.bitspersample)) // 8)
            for size in (depth * height * width * samples, math.prod(map(int, page.chunks))):
                if size * item > MAX_BYTES:
                    raise ImageError(
                        f"would take {size * item / 1e9:.1f} GB when it is decoded, more than the "
                        f"{MAX_BYTES / 1e9:.1f} that are read at once; scale it down or cut it into tiles",
                        path,
                    )
            yield page
    except ImageError:
        raise
    except Exception as error:  # tifffile raises whatever a damaged tag leads to
        raise ImageError(
            f"is a TIFF that cannot be read ({error}); save it as an uncompressed or LZW RGB TIFF, or as PNG", path
        ) from error


def _too_many_bands(path: Path, bands: int, most: int) -> ImageError:
    if most == 1:
        return ImageError(f"has {bands} bands; a label map has one", path)
    return ImageError(
        f"has {bands} bands, and an image has up to {most}; choose three of them: "
        "segspectral batch FILE -o OUT --tile 1024 --bands 3,2,1",
        path,
    )


def _from_array(array: NDArray[Any], name: str) -> Image:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ImageError(f"an image is (H, W), (H, W, 3) or (H, W, 4), not {array.shape}", name)
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
    """uint8 as it is; everything else as float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    if np.issubdtype(array.dtype, np.integer):
        # Pillow opens 16-bit greyscale files as 32-bit integers.
        if array.min() < 0 or array.max() > 65535:
            raise ImageError(f"holds integers from {array.min()} to {array.max()}; give uint8 or uint16", name)
        return array.astype(np.float32) / np.float32(255 if array.max() <= 255 else 65535)
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ImageError("holds NaN or infinity; give such pixels a number, or make them transparent", name)
        if array.min() < 0 or array.max() > 1:
            raise ImageError(f"floats lie in [0, 1], these in [{array.min():g}, {array.max():g}]; scale them", name)
        return array.astype(np.float32)
    raise ImageError(f"holds {array.dtype}; give uint8, uint16 or floats in [0, 1]", name)
