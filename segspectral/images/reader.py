"""Files and arrays -> Image, in two steps: a decoder gives what is stored (``raw``), and ``interpret`` what it means.

All faults are reported as ImageError; a page or band that does not exist, as SettingsError.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segspectral.errors import ImageError, SettingsError, about
from segspectral.extras import installed
from segspectral.files import scratch_folder
from segspectral.images.arrays import is_array, place_of_array, raw_of_array
from segspectral.images.formats import (
    EXTENSIONS,
    JPEG2000,
    LISTED,
    TIFF,
    ZARR,
    check_name,
    format_of,
    has_place_beside,
    open_picture,
)
from segspectral.images.interpret import Reading, interpret
from segspectral.images.limits import MAX_BYTES, MAX_PIXELS, check_size
from segspectral.images.raw import Raw, both, differs, number_of
from segspectral.settings import with_settings
from segspectral.values import Image
from segspectral.values.place import Georeference

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "EXTENSIONS",
    "FLAT",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Reading",
    "as_image",
    "image_size",
    "page_count",
    "pages_of",
    "read_image",
]

FLAT = "all pixels have one colour: they are one segment"
"""Note on an image of one colour."""


def read_image(path: str | os.PathLike[str], reading: Reading = Reading(), **settings: Any) -> Image:
    """Read a file in one of the formats of ``formats.FORMATS``. Its content decides the format, not its name.

    Palette, CMYK and L*a*b* images become RGB. Transparent pixels, nodata, masks and NaN become void. The orientation
    is applied, unless the file has a georeference, whose transform is that of the stored rows. Values of more than 8
    bits keep their precision; ``interpret`` decides which of them are black and white. ``Image.notes`` says what was
    decided, and ``Image.read`` holds it as data.

    Parameters
    ----------
    reading : which bands, page and channels are read, and how values are stretched
    settings : fields of ``Reading``, such as ``bands=(4, 3, 2)`` or ``stretch="min,max"``

    Raises
    ------
    ImageError
        The message is one sentence that names the file, what is wrong with it and what to do.
    SettingsError
        There is no such page or band.
    """
    check_name(path)
    path = Path(path)
    reading = with_settings(reading, settings) if settings else reading
    if reading.page == "all":
        raise SettingsError("page=all makes several images of a file: it is for segment and batch; name one page", path)
    page = reading.page
    with _told(path):
        _checked_size(path, page)
        raw = _decoded(path, page)
        image = interpret(_void_beside(path, raw), path.name, reading)
    if not raw.placed:
        return image
    from segspectral.images.place import read_georeference

    return _placed(image, read_georeference(path, page))


def _placed(image: Image, place: Georeference | None) -> Image:
    """The image with its place, and the area of a pixel on the ground, which needs rasterio."""
    if place is None:
        return image
    if not installed("rasterio"):
        return replace(image, georeference=place)
    from segspectral.images.place import pixel_on_ground

    return replace(image, georeference=place, ground=pixel_on_ground(place, image.shape))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image before rotation by EXIF. Only its header is read; no pixel is decoded.

    Raises
    ------
    ImageError
        ``read_image`` would refuse the file for its format, its size or its header.
    """
    check_name(path)
    path = Path(path)
    with _told(path):
        return _checked_size(path)


def page_count(path: str | os.PathLike[str]) -> int:
    """The number of pages or frames of a file. Raises ImageError."""
    path = Path(path)
    with _told(path):
        if format_of(path) is TIFF:
            from segspectral.images.tiff import tiff_plane

            with tiff_plane(path) as (_, _, count, _):
                return count
        if format_of(path) is ZARR:
            from segspectral.images.omezarr import describe

            return describe(path).pages
        with open_picture(path) as picture:
            return int(getattr(picture, "n_frames", 1))


def pages_of(path: str | os.PathLike[str], name: str) -> list[tuple[int, str]]:
    """The number and the name of each page of a file, such as ``stack_page2.tif``; (0, name) if there is only one.

    A file that cannot be read counts as one page, so that reading it reports the fault.
    """
    try:
        count = page_count(path)
    except ImageError:
        count = 1
    if count == 1:
        return [(0, name)]
    stem, suffix = os.path.splitext(name)
    return [(page, f"{stem}_page{page:0{len(str(count))}}{suffix}") for page in range(1, count + 1)]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn every error of a decoder into an ImageError about the file."""
    import PIL.Image

    with about(path):
        try:
            yield
        except PIL.UnidentifiedImageError as error:
            raise ImageError("is damaged, or of a kind that the decoder of its format does not support") from error
        except (ImageError, SettingsError):
            raise
        except PermissionError as error:
            raise ImageError("cannot be read (permission denied)") from error
        except MemoryError as error:
            raise ImageError("does not fit into memory; scale it down or cut it into tiles") from error
        except (
            ArithmeticError,
            EOFError,
            LookupError,
            OSError,
            RuntimeError,
            SyntaxError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            # Pillow's decoders raise all of these on damaged data.
            raise ImageError(f"is damaged or cut off ({error})") from error


def _checked_size(path: Path, page: int | None = None) -> tuple[int, int]:
    if format_of(path) is TIFF:
        from segspectral.images.tiff import tiff_size

        width, height = tiff_size(path, page)
    elif format_of(path) is ZARR:
        from segspectral.images.omezarr import describe

        width, height = describe(path).size
    else:
        with open_picture(path) as picture:
            width, height = picture.size
    check_size(width, height, str(path))
    return width, height


def _decoded(path: Path, page: int | None) -> Raw:
    """The decoder for each format."""
    form = format_of(path)
    if form is TIFF:
        from segspectral.images.tiff import read_tiff

        return read_tiff(path, page)
    if form is ZARR:
        from segspectral.images.omezarr import read_zarr

        return read_zarr(path, page)
    from segspectral.images.pillow import read_picture

    if form is JPEG2000:
        return _jpeg2000(path, page)
    return read_picture(path, page, placed=has_place_beside(path))


def _void_beside(path: Path, raw: Raw) -> Raw:
    """With what files beside the image say about void: a nodata value (.aux.xml), or a mask (.msk)."""
    from segspectral.images.tiff import mask_beside

    form, known = format_of(path), [raw.valid]
    if form not in (TIFF, ZARR):
        known.append(mask_beside(path, (raw.values.shape[1], raw.values.shape[0])))
    notes = raw.notes
    if path.with_name(f"{path.name}.aux.xml").is_file() and form.gdal is not None:
        if find_spec("rasterio") is None:
            notes = (*notes, "reading void from its .aux.xml needs rasterio: pip install 'segspectral[geo]'")
        else:
            from segspectral.images.gdal import nodata_of

            if (nodata := nodata_of(path)) is not None:
                known.append(differs(raw.values, nodata))
                raw = replace(raw, nodata=number_of(nodata))
    return replace(raw, valid=both(*known), notes=notes)


def _jpeg2000(path: Path, page: int | None) -> Raw:
    """JPEG 2000: Pillow mixes inks and YCbCr, and GDAL knows its georeference and depth, and decodes more of it."""
    from segspectral.images.pillow import read_picture

    if find_spec("rasterio") is None:
        try:
            return read_picture(path, page)
        except OSError as error:
            more = "rasterio reads more of JPEG 2000: pip install 'segspectral[geo]'"
            raise ImageError(f"cannot be decoded by Pillow ({error}); {more}") from error
    from segspectral.images.gdal import read_raster

    if page not in (None, 1):
        raise SettingsError(f"has 1 page, but page {page} was requested", path)
    raw = read_raster(path)
    if raw.values.dtype != "uint8" or raw.placed or raw.valid is not None:
        return raw
    try:
        return read_picture(path, page)
    except OSError:
        return raw


def as_image(source: Any, name: str = "image", reading: Reading = Reading(), **settings: Any) -> Image:
    """Make an Image from a path, a Pillow image, an array, a tensor, bytes or a file object.

    Parameters
    ----------
    source : path, PIL.Image.Image, Image, bytes of a file, binary file object, or array
        Arrays are (H, W) or (H, W, B), of any type of integers or floats, as ``numpy``, ``numpy.ma`` or ``xarray`` hold
        them; tensors of torch may be (C, H, W). The last of 2 or 4 channels is opacity if the type is uint8, or if it
        holds only zero and full opacity.
    reading, settings : as for ``read_image``; they have no influence on an Image

    Raises
    ------
    ImageError, SettingsError
    """
    reading = with_settings(reading, settings) if settings else reading
    if isinstance(source, Image):
        return source
    if isinstance(source, str | os.PathLike):
        return read_image(source, reading)
    if hasattr(source, "getbands"):
        return _of_pillow(source, name, reading)
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        with spooled(source) as path:
            try:
                return interpret_named(path, _name_of(source, name), reading)
            except ImageError as error:
                raise ImageError(error.message, _name_of(source, name)) from error
    if is_array(source):
        raw = raw_of_array(source, name, all_bands=reading.bands is not None)
        return _placed(interpret(raw, name, reading), place_of_array(source))
    raise ImageError(
        f"an image must be a path, a Pillow image, bytes, or an array (H, W) or (H, W, B), not {type(source).__name__}"
    )


def interpret_named(path: Path, name: str, reading: Reading) -> Image:
    """``read_image`` with another name than that of the file."""
    return replace(read_image(path, reading), name=name)


def _name_of(source: Any, name: str) -> str:
    given = getattr(source, "name", None)
    return Path(given).name if isinstance(given, str) and given else name


@contextmanager
def spooled(source: Any) -> Iterator[Path]:
    """A temporary file with the bytes of a file object, because decoders need one that can be searched.

    Raises
    ------
    ImageError
        There are more than MAX_BYTES.
    """
    data = source if isinstance(source, bytes | bytearray | memoryview) else source.read(MAX_BYTES + 1)
    if isinstance(data, str):
        raise ImageError("the file object gives text; open it in binary mode: open(path, 'rb')")
    if len(data) > MAX_BYTES:
        raise ImageError(f"has more than {MAX_BYTES / 1e9:.1f} GB")
    with scratch_folder() as folder:
        path = folder / "image"
        path.write_bytes(data)
        yield path


def _of_pillow(source: PIL.Image.Image, name: str, reading: Reading) -> Image:
    from segspectral.images.pillow import of_picture

    if getattr(source, "format", None) == "EPS":  # Decoding it would run Ghostscript.
        raise ImageError(f"is PostScript, not an image that can be read ({LISTED}); export it as PNG", name)
    name = Path(getattr(source, "filename", "") or name).name
    try:
        raw = of_picture(source)
    except (OSError, SyntaxError, EOFError) as error:  # Pillow decodes an opened file only now.
        raise ImageError(f"is damaged or cut off ({error})", name) from error
    check_size(raw.values.shape[1], raw.values.shape[0], name)
    return interpret(raw, name, reading)
