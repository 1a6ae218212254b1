"""The closed list of formats that are read. Only the content of a file decides which format it has.

Libraries open far more than images: Pillow runs Ghostscript on PostScript, and GDAL follows the names and addresses in
a VRT. Therefore every reader calls ``format_of`` first, and then tells the library to use the one decoder of that
format.
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
from segspectral.extras import EXTRAS, installed
from segspectral.files.reading import address_of
from segspectral.images.limits import MAX_PIXELS
from segspectral.wording import listed

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "LISTED",
    "WITHOUT_HEIC",
    "WITHOUT_ZARR",
    "Format",
    "check_name",
    "format_of",
    "has_place_beside",
    "head_of",
    "is_zarr",
    "open_picture",
    "what_is",
]

HEAD = 4096
"""How many bytes at the beginning of a file are examined: enough for all signatures below."""


@dataclass(frozen=True)
class Format:
    """A format that is read.

    Parameters
    ----------
    name : the name in messages
    pillow : Pillow's names of the decoders, if it has any; that of JPEG also reads MPO
    suffixes : suffixes of the files that are found in a folder
    gdal : GDAL's name of the driver; None if rasters are not read from this format
    lossy : whether pixels may differ from what was saved, so that the format is unfit for label maps
    extra : the extra that brings the decoder, or ""
    """

    name: str
    pillow: tuple[str, ...]
    suffixes: tuple[str, ...]
    gdal: str | None = None
    lossy: bool = False
    extra: str = ""

    @property
    def readable(self) -> bool:
        """Whether the decoder is installed."""
        return not self.extra or all(map(installed, EXTRAS[self.extra]))


JPEG = Format("JPEG", ("JPEG",), (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), "JPEG", lossy=True)
PNG = Format("PNG", ("PNG",), (".png", ".apng"), "PNG")
WEBP = Format("WebP", ("WEBP",), (".webp",), lossy=True)
BMP = Format("BMP", ("BMP",), (".bmp", ".dib"))
TIFF = Format("TIFF", ("TIFF",), (".tif", ".tiff"), "GTiff")
GIF = Format("GIF", ("GIF",), (".gif",))
JPEG2000 = Format("JPEG 2000", ("JPEG2000",), (".jp2", ".j2k", ".jpx"), "JP2OpenJPEG", lossy=True)
AVIF = Format("AVIF", ("AVIF",), (".avif",), lossy=True)
NETPBM = Format("Netpbm", ("PPM",), (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"))

HEIC = Format("HEIC", ("HEIF",), (".heic", ".heif", ".hif"), lossy=True, extra="heic")
ZARR = Format("OME-Zarr", (), (".zarr",), extra="zarr")
"""It is a folder, not a file."""

FORMATS = tuple(f for f in (JPEG, PNG, WEBP, BMP, TIFF, GIF, JPEG2000, AVIF, NETPBM, HEIC, ZARR) if f.readable)
LISTED = ", ".join(f.name for f in FORMATS)

EXTENSIONS = tuple(suffix for f in FORMATS for suffix in f.suffixes)
"""Suffixes of the files that are found in a folder. A file that the user names may have any suffix."""

AS_PICTURE = "export it as PNG"
FRAMES = "extract its frames, for example by: ffmpeg -i FILE frame_%05d.png"
CONVERT = "convert it to JPEG, PNG or TIFF"
UNPACK = "unpack it and name the images in it"
DEVELOP = "develop it into a TIFF or JPEG"
RASTER = "convert it to a GeoTIFF: gdal_translate FILE map.tif"

VIDEO = ("a video", FRAMES)
WITHOUT_ZARR = "pip install 'segspectral[zarr]' reads it"
WITHOUT_HEIC = "pip install 'segspectral[heic]' reads it, or convert it: heif-convert FILE.heic FILE.png"
RAW = ("a camera's raw file", DEVELOP)
POSTSCRIPT = ("PostScript", AS_PICTURE)
TEXT = ("text", "give an image")

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
    (b"BZh", ("compressed by bzip2", UNPACK)),
    (b"\xfd7zXZ\0", ("compressed by xz", UNPACK)),
    (b"\x28\xb5\x2f\xfd", ("compressed by Zstandard", UNPACK)),
    (b"8BPS", ("a Photoshop file", AS_PICTURE)),
    (b"gimp xcf", ("a GIMP file", AS_PICTURE)),
    (b"\x93NUMPY", ("a NumPy array", "load it in Python and pass the array to segspectral.segment")),
    (b"\x89HDF\r\n\x1a\n", ("HDF5", RASTER)),
    (b"CDF\x01", ("NetCDF", RASTER)),
    (b"CDF\x02", ("NetCDF", RASTER)),
    (b"SIMPLE  =", ("FITS", CONVERT)),
    (b"GRIB", ("GRIB", RASTER)),
    (b"EHFA_HEADER_TAG", ("an ERDAS Imagine raster", RASTER)),
    (b"SQLite format 3\0", ("an SQLite database, such as a GeoPackage", "convert it to a GeoTIFF")),
    (b"v/1\x01", ("OpenEXR", CONVERT)),
    (b"#?RADIANCE", ("a Radiance HDR image", CONVERT)),
    (b"\0\0\x01\0", ("an icon", CONVERT)),
    (b"DDS ", ("a DirectDraw surface", CONVERT)),
    (
        b"\0\x05\x16\x07",
        ("the metadata that a Mac stores beside a file (AppleDouble)", "name the file without ._ instead"),
    ),
    (b"version https://git-lfs", ("a pointer file of Git LFS", "fetch the image itself: git lfs pull")),
)

PATTERNS: tuple[tuple[bytes, Format | tuple[str, str]], ...] = (
    (rb"(II\*\0|MM\0\*).{4}CR", RAW),
    (rb"RIFF.{4}WEBP", WEBP),
    (rb"RIFF.{4}AVI ", VIDEO),
    (rb"RIFF.{4}WAVE", ("a sound file", "give an image")),
    # The sizes of the versions of BMP's header. The two letters BM alone also begin other files, such as texts.
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", BMP),
    (rb".{4}(moov|mdat|wide)", VIDEO),
    (rb".{128}DICM", ("DICOM", CONVERT)),
    (rb".{257}ustar", ("a tar archive", UNPACK)),
    (rb"P[1-6f][ \t\r\n]", NETPBM),
    (rb"P[7F][ \t\r\n]", ("a Netpbm image of a rare kind (PAM or PF)", CONVERT)),
)
"""Signatures with gaps, as regular expressions; they are looked for before ``STARTS``."""

BOXES: dict[bytes, Format | tuple[str, str]] = {
    b"avif": AVIF,
    b"avis": AVIF,
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), HEIC),
    b"crx ": RAW,
    b"M4A ": ("a sound file", "give an image"),
}
"""Brands of files in the ISO base media format. Files with other brands are taken for videos."""

MARKUP: tuple[tuple[str, tuple[str, str]], ...] = (
    ("<!doctype html", ("a web page", "download the image itself")),
    ("<vrtdataset", ("a VRT (it refers to other files)", RASTER)),
    ("<gdal_wms", ("the description of a map server", "download the map as a GeoTIFF")),
    ("<svg", ("SVG", AS_PICTURE)),
    ("<html", ("a web page", "download the image itself")),
    ("<?xml", ("XML", "give an image")),
)


def check_name(name: str | os.PathLike[str]) -> None:
    """Refuse names that are not names of local files: addresses and ``-``, which only ``segment`` replaces by a file.

    Raises
    ------
    ImageError
    """
    text = os.fspath(name)
    if text == "-":
        raise ImageError("-: only `segspectral segment` reads an image from standard input; name its file")
    if (address := address_of(text)) is not None:
        raise ImageError("is an address, and nothing is downloaded; download the file first and name it here", address)


def format_of(path: str | os.PathLike[str], among: Container[Format] = FORMATS) -> Format:
    """The format of a file, by its content.

    Raises
    ------
    ImageError
        There is no such file, it is not a regular file, it is empty, it may not be read, or its format is not in
        ``among``.
    """
    check_name(path)
    found = ZARR if is_zarr(path) else what_is(head_of(path))
    if isinstance(found, Format) and found in among:
        return found
    read = ", ".join(f.name for f in FORMATS if f in among)
    if found is HEIC and not HEIC.readable:
        raise ImageError(f"is HEIC, which needs pillow_heif; {WITHOUT_HEIC}", path)
    if found is ZARR and not ZARR.readable:
        raise ImageError(f"is OME-Zarr, which needs zarr; {WITHOUT_ZARR}", path)
    if isinstance(found, Format):
        only = listed([f.name for f in FORMATS if f in among])
        raise ImageError(f"is {found.name}, but only {only} can be read here", path)
    if found is None:
        raise ImageError(f"is not an image that can be read ({read}), whatever its name says", path)
    raise ImageError(f"is {found[0]}, not an image that can be read ({read}); {found[1]}", path)


def is_zarr(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a Zarr, whatever its name: its metadata lie in it."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def head_of(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a regular file; a pipe or a device, which may have no end, is refused. Raises ImageError."""
    try:
        # A pipe is never opened, because reading would wait for a writer.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            if not any(name.lower().endswith(EXTENSIONS) for name in os.listdir(path)):
                raise ImageError(f"the folder contains no images ({', '.join(EXTENSIONS)})", path)
            raise ImageError("is a folder, not an image", path)
        if not stat.S_ISREG(mode):
            raise ImageError("is a device or a pipe, not an image file", path)
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError("there is no such file", path) from error
    except PermissionError as error:
        raise ImageError("cannot be read (permission denied)", path) from error
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL, or a faulty disk
        raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path) from error
    if not head:
        raise ImageError("the file is empty", path)
    return head


def what_is(head: bytes) -> Format | tuple[str, str] | None:
    """What the first bytes of a file show: a format that is read, or another kind of file and advice; None if unknown.

    >>> what_is(b"%!PS-Adobe-3.0 EPSF-3.0")
    ('PostScript', 'export it as PNG')
    """
    for pattern, found in PATTERNS:
        if re.match(pattern, head, re.DOTALL):
            return found
    for start, found in STARTS:
        if head.startswith(start):
            return found
    return _what_box(head) if head[4:8] == b"ftyp" else _what_text(head)


def _what_box(head: bytes) -> Format | tuple[str, str]:
    """What the brands of a file in the ISO base media format show."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, size - 3, 4))]
    known = [BOXES[brand] for brand in brands if brand in BOXES]
    return AVIF if AVIF in known else known[0] if known else VIDEO


def _what_text(head: bytes) -> tuple[str, str] | None:
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        # The last character may be incomplete.
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
    return TEXT


def has_place_beside(path: Path) -> bool:
    """Whether a file beside an image gives its place: a world file, or GDAL's ``.aux.xml`` with a transform."""
    own = path.suffix.lower()
    suffixes = {".wld"} | ({f"{own}w", f".{own[1]}{own[-1]}w"} if len(own) > 1 else set())  # such as .jpgw and .jgw
    if any(path.with_suffix(cased).is_file() for suffix in suffixes for cased in (suffix, suffix.upper())):
        return True
    try:
        beside = path.with_name(f"{path.name}.aux.xml").read_bytes()
    except OSError:
        return False
    return b"<GeoTransform" in beside or b"<GCPList" in beside


@contextmanager
def open_picture(path: str | os.PathLike[str], among: Container[Format] = FORMATS) -> Iterator[PIL.Image.Image]:
    """Open a file with Pillow's decoder for its format, and no other.

    Pillow's warnings are silenced. What matters among them is reported as an error.

    Raises
    ------
    ImageError
        As for ``format_of``. Errors that Pillow raises on damaged data are passed on.
    """
    import PIL.Image

    form = format_of(path, among)
    if form is ZARR:
        raise ImageError("is OME-Zarr, which cannot be read here; export it as TIFF or PNG", path)
    if form is HEIC:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with PIL.Image.open(Path(path), formats=form.pillow) as picture:
                yield picture
        except PIL.Image.DecompressionBombError as error:
            raise ImageError(
                f"has more than {MAX_PIXELS:,} pixels; scale it down or cut it into tiles", path
            ) from error
