"""Which files are images that are read: a closed list of formats, and a file's content alone says which one it is.

Libraries open far more than images: Pillow runs Ghostscript on PostScript, GDAL follows the names and addresses that a
VRT holds. Therefore every reader asks ``format_of`` first and hands the one decoder of that format to the library.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segspectral.errors import ImageError

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["EXTENSIONS", "FORMATS", "LISTED", "Format", "check_name", "format_of", "open_picture", "what_is"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What a folder is searched for; a file that is named may have any suffix."""

HEAD = 4096
"""Bytes from the beginning of a file that are looked at."""


@dataclass(frozen=True)
class Format:
    """A format that is read.

    Parameters
    ----------
    name : as messages call it
    pillow : Pillow's names of its decoders; that of JPEG takes MPO, too
    gdal : GDAL's name of its driver, or None where rasters are not read from it
    lossy : pixels may differ from what was saved, so that no label map can be kept in it
    """

    name: str
    pillow: tuple[str, ...]
    gdal: str | None = None
    lossy: bool = False


JPEG = Format("JPEG", ("JPEG",), "JPEG", lossy=True)
PNG = Format("PNG", ("PNG",), "PNG")
WEBP = Format("WebP", ("WEBP",), lossy=True)
BMP = Format("BMP", ("BMP",))
TIFF = Format("TIFF", ("TIFF",), "GTiff")
GIF = Format("GIF", ("GIF",))
JPEG2000 = Format("JPEG 2000", ("JPEG2000",), "JP2OpenJPEG", lossy=True)
AVIF = Format("AVIF", ("AVIF",), lossy=True)

FORMATS = (JPEG, PNG, WEBP, BMP, TIFF, GIF, JPEG2000, AVIF)
LISTED = ", ".join(f.name for f in FORMATS)

AS_PICTURE = "export it as PNG"
FRAMES = "take frames out of it, such as by: ffmpeg -i FILE frame_%05d.png"
CONVERT = "convert it to JPEG, PNG or TIFF"
UNPACK = "unpack it and name the images in it"
DEVELOP = "develop it into a TIFF or JPEG"
RASTER = "make one file of it: gdal_translate FILE map.tif"

VIDEO = ("a video", FRAMES)
RAW = ("a camera's raw file", DEVELOP)
POSTSCRIPT = ("PostScript", AS_PICTURE)

STARTS: tuple[tuple[bytes, Format | tuple[str, str]], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG2000),
    (b"\xff\x4f\xff\x51", JPEG2000),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"%!", POSTSCRIPT),
    (b"\x04%!", POSTSCRIPT),
    (b"\xc5\xd0\xd3\xc6", POSTSCRIPT),
    (b"%PDF-", ("a PDF", AS_PICTURE)),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"\0\0\x01\xba", VIDEO),
    (b"\0\0\x01\xb3", VIDEO),
    (b"FLV\x01", VIDEO),
    (b"OggS", ("an Ogg file of sound or video", FRAMES)),
    (b"ID3", ("a sound file", "give an image")),
    (b"\xff\x0a", ("JPEG XL", CONVERT)),
    (b"\0\0\0\x0cJXL ", ("JPEG XL", CONVERT)),
    (b"II\xbc", ("JPEG XR", CONVERT)),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"II\x1a\0\0\0HEAP", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"PK\x03\x04", ("a zip archive", UNPACK)),
    (b"PK\x05\x06", ("a zip archive", UNPACK)),
    (b"7z\xbc\xaf'\x1c", ("a 7z archive", UNPACK)),
    (b"Rar!", ("a RAR archive", UNPACK)),
    (b"\x1f\x8b", ("compressed by gzip", UNPACK)),
    (b"8BPS", ("a Photoshop file", AS_PICTURE)),
    (b"gimp xcf", ("a GIMP file", AS_PICTURE)),
    (b"\x93NUMPY", ("an array of NumPy", "load it in Python and give the array to segspectral.segment")),
    (b"\x89HDF\r\n\x1a\n", ("HDF5", RASTER)),
    (b"CDF\x01", ("NetCDF", RASTER)),
    (b"CDF\x02", ("NetCDF", RASTER)),
    (b"SIMPLE  =", ("FITS", CONVERT)),
    (b"GRIB", ("GRIB", RASTER)),
    (b"EHFA_HEADER_TAG", ("an ERDAS Imagine raster", RASTER)),
    (b"SQLite format 3\0", ("a database of SQLite, such as a GeoPackage", "give it as a GeoTIFF")),
    (b"v/1\x01", ("OpenEXR", CONVERT)),
    (b"#?RADIANCE", ("a Radiance picture", CONVERT)),
    (b"\0\0\x01\0", ("an icon", CONVERT)),
    (b"DDS ", ("a DirectDraw surface", CONVERT)),
    (b"\0\x05\x16\x07", ("what a Mac keeps beside a file (AppleDouble)", "name the file without ._ instead")),
    (b"version https://git-lfs", ("a pointer of Git LFS", "fetch the image itself: git lfs pull")),
)

RIFF: dict[bytes, Format | tuple[str, str]] = {
    b"WEBP": WEBP,
    b"AVI ": VIDEO,
    b"WAVE": ("a sound file", "give an image"),
}

BOXES: dict[bytes, Format | tuple[str, str]] = {
    b"avif": AVIF,
    b"avis": AVIF,
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), ("HEIC", CONVERT)),
    b"crx ": RAW,
    b"M4A ": ("a sound file", "give an image"),
}
"""Brands of files made of ISO boxes; other brands are videos."""

MARKUP: tuple[tuple[str, tuple[str, str]], ...] = (
    ("<!doctype html", ("a web page", "download the image itself")),
    ("<vrtdataset", ("a VRT (it names other files)", RASTER)),
    ("<gdal_wms", ("the description of a map server", "download the map as a GeoTIFF")),
    ("<svg", ("SVG", AS_PICTURE)),
    ("<html", ("a web page", "download the image itself")),
    ("<?xml", ("XML", "give an image")),
)

NETPBM = re.compile(rb"P[1-7][ \t\r\n]")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=.)", re.IGNORECASE)
"""Of at least two letters before the colon: one is a drive. A Path keeps one slash of two."""


def check_name(name: str | os.PathLike[str]) -> None:
    """Refuse what is not the name of a file here: addresses and ``-``.

    Raises
    ------
    ImageError
    """
    text = os.fspath(name)
    if text == "-":
        raise ImageError("-: nothing is read from standard input; save the image and name its file")
    if (address := ADDRESS.match(text)) and not os.path.lexists(text):
        whole = f"{address[1]}://{text[address.end() :]}"
        raise ImageError("is an address, and nothing is downloaded; fetch the file first and name it here", whole)


def format_of(path: str | os.PathLike[str], among: Container[Format] = FORMATS) -> Format:
    """The format of a file by its content.

    Raises
    ------
    ImageError
        There is no such file, it is none or empty, it may not be read, or it is of a format that is not in ``among``.
    """
    check_name(path)
    try:
        # A pipe is never opened: it would wait for a writer.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            if not any(name.lower().endswith(EXTENSIONS) for name in os.listdir(path)):
                raise ImageError(f"the folder holds no images ({', '.join(EXTENSIONS)})", path)
            raise ImageError("is a folder, not an image", path)
        if not stat.S_ISREG(mode):
            raise ImageError("is a device or a pipe, not the file of an image", path)
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("there is no such file", path) from error
    except PermissionError as error:
        raise ImageError("may not be read (permission denied)", path) from error
    except (OSError, ValueError) as error:  # too long a name, a name with a NUL, a faulty disk
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path) from error
    if not head:
        raise ImageError("the file is empty", path)
    found = what_is(head)
    read = ", ".join(f.name for f in FORMATS if f in among)
    if isinstance(found, Format):
        if found in among:
            return found
        raise ImageError(f"is {found.name}, and what is read here is {read}", path)
    if found is None:
        raise ImageError(f"is not an image that is read ({read}), whatever its name says", path)
    what, advice = found
    raise ImageError(f"is {what}, not an image that is read ({read}); {advice}", path)


def what_is(head: bytes) -> Format | tuple[str, str] | None:
    """What the first bytes of a file tell: a format that is read, or what else it is and what to do; None if unknown.

    >>> what_is(b"%!PS-Adobe-3.0 EPSF-3.0")
    ('PostScript', 'export it as PNG')
    """
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return RAW
    for start, found in STARTS:
        if head.startswith(start):
            return found
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return BMP
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, size - 3, 4))]
        if AVIF in (known := [BOXES[brand] for brand in brands if brand in BOXES]):
            return AVIF
        return known[0] if known else VIDEO
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return VIDEO
    if head[128:132] == b"DICM":
        return ("DICOM", CONVERT)
    if head[257:262] == b"ustar":
        return ("a tar archive", UNPACK)
    if NETPBM.match(head):
        return ("a picture of Netpbm", CONVERT)
    return _what_text(head)


def _what_text(head: bytes) -> tuple[str, str] | None:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        # The head may end within a character.
        text = head.decode(encoding) if len(head) < HEAD else head[:-3].decode(encoding, "ignore")
    except UnicodeDecodeError:
        return None
    if any(c < " " and c not in "\t\n\r\f" for c in text):
        return None
    begin = text.lstrip().lower()
    if begin.startswith("%!"):
        return POSTSCRIPT
    if begin.startswith("<"):
        return next((what for word, what in MARKUP if word in begin), None)
    return ("text", "give an image")


@contextmanager
def open_picture(path: str | os.PathLike[str], among: Container[Format] = FORMATS) -> Iterator[PIL.Image.Image]:
    """The file opened by Pillow's decoder of its format and by no other.

    Pillow's own warnings are silenced: what matters of them ends in an error that says it.

    Raises
    ------
    ImageError
        As ``format_of``. What Pillow raises on damaged data is passed on.
    """
    import PIL.Image

    form = format_of(path, among)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PIL.Image.open(Path(path), formats=form.pillow) as picture:
            yield picture
