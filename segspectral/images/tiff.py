"""TIFF -> Raw: its tags are read by tifffile, its pixels by the first library that knows their compression."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError, SettingsError
from segspectral.images.formats import TIFF, format_of, has_place_beside
from segspectral.images.gdal import NO_COLOUR
from segspectral.images.limits import check_bands, check_bytes, check_size
from segspectral.images.raw import Raw, both, differs, number_of, unassociated, upright
from segspectral.wording import plural

__all__ = [
    "Plane",
    "can_be_tiled",
    "first_page",
    "is_associated",
    "is_placed",
    "mask_beside",
    "nodata_of",
    "orientation_of",
    "read_tiff",
    "said_of_nodata",
    "tiff_plane",
    "tiff_size",
]

MAX_PAGES = 4096
"""More pages are not looked at: a small file can claim to have millions."""

REDUCED, MASK = 1, 4
"""Bits of the tag NewSubfileType: a smaller copy, such as a thumbnail or a level of a pyramid, and a mask."""

WHITE_IS_ZERO, BLACK_IS_ZERO, COLOURS, PALETTE, INKS, LAB = 0, 1, 2, 3, 5, 8
"""Values of the tag PhotometricInterpretation: grey with 0 as white or as black, RGB, a palette, CMYK and L*a*b*."""

PICTURES = (0, 1, 2, 3, 5, 6, 8)
"""Values of PhotometricInterpretation that Pillow turns into RGB: grey, RGB, palette, CMYK, YCbCr, L*a*b*."""

ASSOCIATED, UNASSOCIATED = 1, 2
OPACITY = (ASSOCIATED, UNASSOCIATED)
"""Values of the tag ExtraSamples that say opacity, by which colours are multiplied or not. Others are bands."""

ORIENTATION, GDAL_METADATA, GDAL_NODATA = 274, 42112, 42113
PLACES = (33550, 33922, 34264)
"""Tags of GeoTIFF: scale of a pixel, tie points, transform."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One image of a TIFF: a page, or several that hold one channel each.

    Parameters
    ----------
    pages : pages of tifffile
    first : the number of the first page in the file, from 0
    virtual : the series of tifffile that holds the pixels, and the indices of the channels in it, if the file has fewer
        pages than it has images
    """

    pages: tuple[Any, ...]
    first: int
    virtual: tuple[Any, tuple[int, ...]] | None = None

    @property
    def whole(self) -> bool:
        """Whether the image is one page."""
        return len(self.pages) == 1 and self.virtual is None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.pages[0].imagewidth), int(self.pages[0].imagelength)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A TiffFile. Raises ImageError also for what tifffile raises, which may be of any type on damaged tags."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # Errors report what is wrong.
    try:
        # These kinds name other files in their tags or read those of the folder, and no path from a file is trusted.
        with tifffile.TiffFile(path, _multifile=False, is_mmstack=False, is_ndtiff=False) as file:
            yield file
    except (ImageError, SettingsError):
        raise
    except Exception as error:
        raise ImageError(
            f"is a TIFF that cannot be read ({error}); save it as an uncompressed or LZW RGB TIFF, or as PNG", path
        ) from error


@contextmanager
def first_page(path: Path, bands: int = 4) -> Iterator[Any]:
    """Open the first page of a TIFF with tifffile, after a check of its size. Only its tags are read, no pixel.

    Raises
    ------
    ImageError
        The tags are damaged; or they give more than ``bands`` bands, ``MAX_PIXELS`` or ``MAX_BYTES``.
    """
    with _opened(path) as file:
        page: Any = file.pages[0]
        samples = int(page.samplesperpixel)
        if samples > bands + (bands > 1 and page.photometric == INKS):  # four inks, and opacity
            wanted = "one" if bands == 1 else f"at most {bands}"
            raise ImageError(f"has {samples} bands; a label map must have {wanted}", path)
        _check_page(page, path, least=1)
        yield page


def _check_page(page: Any, path: Path, least: int, copies: int = 1) -> None:
    """Check the size of a page, of ``copies`` of it together, and of a tile or strip, which is decoded as a whole."""
    width, height = int(page.imagewidth), int(page.imagelength)
    check_size(width, height, path, least=least)
    check_bands(int(page.samplesperpixel), path)
    bytes_each = -(-max(1, int(page.bitspersample)) // 8)
    whole = copies * int(page.imagedepth) * height * width * int(page.samplesperpixel)
    for size in (whole, math.prod(map(int, page.chunks))):
        check_bytes(size * bytes_each, path)


def _at(file: Any, number: int) -> Any:
    """A page of a TiffFile with all its tags. tifffile may keep those like the first one without. Raises IndexError."""
    page = file.pages[number]
    return page.aspage() if hasattr(page, "aspage") else page


def planes_of(file: Any) -> tuple[list[Plane], int]:
    """The images of a TiffFile, without smaller copies and masks; and how many of these were left out."""
    whole, number = [], 0
    for number in range(MAX_PAGES):
        try:
            page = _at(file, number)
        except IndexError:
            break
        if not int(page.subfiletype) & (REDUCED | MASK):
            whole.append(Plane((page,), number))
    if not whole:  # every page claims to be a copy of another one
        return [Plane((file.pages[0],), 0)], 0
    return _of_channels(file, whole) or whole, number - len(whole)


def _of_channels(file: Any, whole: list[Plane]) -> list[Plane]:
    """The images of a micrograph (ImageJ, OME) whose channels are pages; none if there are no such axes."""
    if not (file.is_imagej or file.is_ome):
        return []
    each = [_of_series(file, series, whole) for series in file.series]
    if not any(each):
        return []
    numbers = {plane.first: plane for plane in whole}
    return [
        plane
        for series, planes in zip(file.series, each, strict=True)
        for plane in planes or [numbers[page.index] for page in series.pages if page and page.index in numbers]
    ]


def _of_series(file: Any, series: Any, whole: list[Plane]) -> list[Plane]:
    """The images of one series of a micrograph; none if its pages are neither channels nor planes."""
    axes, shape = series.axes, series.shape
    lead = axes.find("YX")
    if lead < 1 or axes[lead:] != "YX":
        return []
    channel = axes.find("C")
    order = np.arange(math.prod(shape[:lead])).reshape(shape[:lead])
    groups = np.moveaxis(order, channel, -1).reshape(-1, shape[channel]) if channel >= 0 else order.reshape(-1, 1)
    pages = [None if page is None else _at(file, int(page.index)) for page in series.pages]
    if len(pages) == order.size and None not in pages:
        numbers = {int(plane.pages[0].index): plane.first for plane in whole}
        return [
            Plane(tuple(pages[i] for i in group), numbers.get(int(pages[group[0]].index), int(pages[group[0]].index)))
            for group in groups
        ]
    if len(whole) == 1:
        page = whole[0].pages[0]
        return [Plane((page,) * len(group), 0, (series, tuple(map(int, group)))) for group in groups]
    return []


def _elsewhere(file: Any, path: Path) -> int:
    """How many channels or planes the tags of an OME-TIFF place in other files, which are never opened."""
    if not file.is_ome:
        return 0
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError:
        return 0
    parts = [
        (data, identity)
        for data in root.iter()
        if data.tag.endswith("TiffData")
        for identity in data
        if identity.tag.endswith("UUID")
    ]
    named = (identity.text for _, identity in parts if identity.get("FileName", "").lower() == path.name.lower())
    own = root.get("UUID") or next(named, None)
    others = [data for data, identity in parts if own is not None and identity.text != own]
    return sum(int(data.get("PlaneCount") or 1) for data in others)


def _choose(file: Any, path: Path, page: int | None) -> tuple[Plane, int, int, tuple[str, ...]]:
    """The image that is read, its number from 1, how many there are, and notes about the others."""
    planes, left_out = planes_of(file)
    if page is not None and page > len(planes):
        raise SettingsError(f"has {plural(len(planes), 'page')}, but page {page} was requested", path)
    index = page - 1 if page else max(range(len(planes)), key=lambda i: (math.prod(planes[i].size), -i))
    notes = []
    if page is None and len(planes) > 1:
        notes.append(f"page {index + 1} of {len(planes)}; --page chooses another, --page all reads each")
    if left_out and planes[index].first > 0:
        notes.append(f"{plural(left_out, 'smaller copy is', 'smaller copies are')} ignored")
    if elsewhere := _elsewhere(file, path):
        notes.append(
            f"{plural(elsewhere, 'channel or plane is', 'channels or planes are')} in another file and not read"
        )
    return planes[index], index + 1, len(planes), tuple(notes)


@contextmanager
def tiff_plane(path: Path, page: int | None = None) -> Iterator[tuple[Plane, int, int, tuple[str, ...]]]:
    """The image that is read by default or as page ``page``, as ``_choose`` gives it. Raises ImageError."""
    with _opened(path) as file:
        yield _choose(file, path, page)


def can_be_tiled(path: Path, page: int | None = None) -> bool:
    """Whether windows of the stored rows of one page are windows of the image. Raises ImageError."""
    with tiff_plane(path, page) as (plane, *_):
        first = plane.pages[0]
        # GDAL makes other colours of L*a*b* than Pillow does.
        return plane.whole and first.photometric != LAB and (orientation_of(first) == 1 or is_placed(first, path))


def tiff_size(path: Path, page: int | None = None) -> tuple[int, int]:
    """Width and height of the image that is read; only tags are looked at. Raises ImageError."""
    with tiff_plane(path, page) as (plane, *_):
        _check_page(plane.pages[0], path, 1, len(plane.pages))
        return plane.size


def read_tiff(path: Path, page: int | None = None) -> Raw:
    """Decode one image of a TIFF. Raises ImageError, and SettingsError if there is no such page."""
    with _opened(path) as file:
        plane, number, count, notes = _choose(file, path, page)
        first = plane.pages[0]
        _check_page(first, path, 8, len(plane.pages))
        placed = is_placed(first, path)
        notes = (*notes, *said_of_nodata(first))
        raw = _page(path, plane) if plane.whole else _micrograph(file, path, plane)
        valid = both(raw.valid, _nodata(raw.values, first), _mask(file, path, plane))
        values = raw.values
        orientation = orientation_of(first)
        if not placed and orientation != 1:
            values = upright(values, orientation)
            valid = None if valid is None else upright(valid, orientation)
        elif orientation != 1:
            notes = (
                *notes,
                f"its orientation tag ({orientation}) is left out of account, because it has a georeference",
            )
        nodata = None if first.photometric == WHITE_IS_ZERO else number_of(first.tags.valueof(GDAL_NODATA))
    return Raw(values, raw.shown, valid, raw.bits, placed, number, count, (*notes, *raw.notes), raw.names, nodata)


def _micrograph(file: Any, path: Path, plane: Plane) -> Raw:
    """Channels that are pages, as bands; two are shown as red and green, and of more than two the first three."""
    if plane.virtual is not None:
        series, indices = plane.virtual
        check_bytes(int(series.nbytes), path)
        stack = np.asarray(series.asarray()).reshape(-1, *series.shape[-2:])[list(indices)]
        values = np.moveaxis(stack, 0, -1)
    else:
        one = [_page(path, Plane((page,), int(page.index))).values[..., 0] for page in plane.pages]
        values = np.stack(one, axis=-1)
    return Raw(values, tuple(range(min(3, values.shape[2]))), bits=_bits(plane.pages[0]))


def _page(path: Path, plane: Plane) -> Raw:
    page = plane.pages[0]
    samples, extra = int(page.samplesperpixel), tuple(int(kind) for kind in page.extrasamples)
    opacity = [samples - len(extra) + i for i, kind in enumerate(extra) if kind in OPACITY]
    bands = [i for i in range(samples) if i not in opacity]
    unsigned = page.dtype is not None and page.dtype.kind in "bu"
    associated = is_associated(page)
    picture = unsigned and int(page.bitspersample) <= 8 and page.photometric in PICTURES
    if picture and len(extra) == len(opacity) and not associated:
        from segspectral.images.pillow import read_frame

        if (raw := read_frame(path, plane.first, page.tags.valueof(GDAL_NODATA), orientation_of(page))) is not None:
            return raw
    if page.photometric in (PALETTE, INKS):
        raise ImageError("has a palette or inks of more than 8 bits; save it as RGB", path)
    values = _decoded(path, plane, page)
    valid = np.asarray((values[..., opacity] > 0).all(axis=2)) if opacity else None
    if opacity:
        values = unassociated(values[..., bands], values[..., opacity[0]]) if associated else values[..., bands]
    if page.photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
        values = values.dtype.type(2 ** int(page.bitspersample) - 1) - values
    named = _names(page)
    names = tuple(named[i] for i in bands)
    return Raw(values, (0, 1, 2) if len(bands) >= 3 else (0,), valid, _bits(page), names=names)


def _names(page: Any) -> list[str]:
    """What the tags of a page call its samples: GDAL's descriptions, or the colours; "" where they do not."""
    names = [*(("red", "green", "blue") if page.photometric == COLOURS else ())]
    names += [""] * (int(page.samplesperpixel) - len(names))
    try:
        items = list(ElementTree.fromstring(str(page.tags.valueof(GDAL_METADATA, ""))))
    except ElementTree.ParseError:
        return names
    for role in ("colorinterp", "description"):  # a description says more
        for item in items:
            number, text = item.get("sample", ""), (item.text or "").strip()
            if item.get("role") == role and number.isdecimal() and int(number) < len(names) and text:
                undefined = role == "colorinterp" and text.lower() in NO_COLOUR
                names[int(number)] = names[int(number)] if undefined else text
    return names


def is_placed(page: Any, path: Path) -> bool:
    """Whether a page has a georeference, in its tags or in a world file beside it."""
    return any(tag in page.tags for tag in PLACES) or has_place_beside(path)


def is_associated(page: Any) -> bool:
    """Whether the grey or RGB of a page are multiplied by its opacity."""
    return ASSOCIATED in page.extrasamples and page.photometric in (BLACK_IS_ZERO, COLOURS)


def nodata_of(page: Any) -> str | None:
    """The text of the nodata value of a page; None if it has none, or one that is not a number."""
    text = page.tags.valueof(GDAL_NODATA)
    return None if text is None or number_of(text) is None else str(text)


def said_of_nodata(page: Any) -> tuple[str, ...]:
    """A sentence about a nodata value that is not a number; NaN, which is void in every image, needs none."""
    text = " ".join(str(page.tags.valueof(GDAL_NODATA, "")).rstrip("\0").split())
    if not text or nodata_of(page) or text.lower() in ("nan", "-nan"):
        return ()
    return (f"its nodata value '{text[:40]}' is not a number and is ignored",)


def orientation_of(page: Any) -> int:
    """The orientation tag of a page; 1 if it has none."""
    return int(page.tags.valueof(ORIENTATION, 1))


def _bits(page: Any) -> int | None:
    """The bits per value, if they are fewer than those of the type in which the values are decoded."""
    bits = int(page.bitspersample)
    return bits if bits not in (8, 16, 32, 64) and page.dtype is not None and page.dtype.kind in "iu" else None


def _decoded(path: Path, plane: Plane, page: Any) -> NDArray[Any]:
    """(H, W, S) the samples as they are stored, by tifffile, or by rasterio, or by OpenCV."""
    shape = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    try:
        array = np.asarray(page.asarray())
        if array.ndim == 3 and array.shape == (shape[2], *shape[:2]) and page.planarconfig == 2:
            array = np.moveaxis(array, 0, -1)
        return array.reshape(shape)
    except Exception as error:
        other = _by_gdal(path, plane) if _installed() else _by_opencv(path, plane)
        if other is not None and other.shape == shape:
            return other
        advice = "" if _installed() else "; rasterio may read it: pip install 'segspectral[geo]'"
        raise ImageError(f"is a TIFF whose pixels cannot be decoded ({error}){advice}", path) from error


def _installed() -> bool:
    return find_spec("rasterio") is not None


def _by_gdal(path: Path, plane: Plane) -> NDArray[Any] | None:
    from rasterio.errors import RasterioError

    from segspectral.images.gdal import open_pixels

    try:
        with open_pixels(path, plane.first) as dataset:
            return np.moveaxis(dataset.read(), 0, -1)
    except RasterioError:
        return None


def _by_opencv(path: Path, plane: Plane) -> NDArray[Any] | None:
    """Colour of 16 bits in the first page; OpenCV applies the orientation of a TIFF itself."""
    import cv2

    if plane.first > 0 or orientation_of(plane.pages[0]) != 1:
        return None
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.ndim != 3 or array.shape[2] not in (3, 4):
        return None
    return array[..., [2, 1, 0, 3][: array.shape[2]]]


def _nodata(values: NDArray[Any], page: Any) -> NDArray[np.bool_] | None:
    """(H, W) True where a band is not the nodata value of the file. Pillow's pictures bring their own."""
    text = nodata_of(page)
    if text is None or page.photometric == PALETTE:
        return None
    if page.photometric == WHITE_IS_ZERO and values.dtype.kind == "u":
        values = values.dtype.type(2 ** max(8, int(page.bitspersample)) - 1) - values  # as they are stored
    if int(page.bitspersample) in (1, 2, 4) and int(page.samplesperpixel) == 1:
        values = values // (255 // (2 ** int(page.bitspersample) - 1))  # Pillow has made white 255
    return differs(values, text)


def mask_beside(path: Path, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(H, W) the mask in a file beside an image (.msk); None if there is none of this size."""
    beside = path.with_name(f"{path.name}.msk")
    if not beside.is_file() or format_of(beside) is not TIFF:
        return None
    with _opened(beside) as file:
        page = file.pages[0]
        # GDAL also uses such a file only if it declares itself a mask.
        declared = "INTERNAL_MASK_FLAGS_1" in str(page.tags.valueof(GDAL_METADATA, ""))
        return _as_mask(beside, page, 0, size) if declared else None


def _mask(file: Any, path: Path, plane: Plane) -> NDArray[np.bool_] | None:
    """(H, W) the mask beside the file, or the one inside it that follows the page."""
    if (beside := mask_beside(path, plane.size)) is not None:
        return beside
    for number in range(plane.first + 1, plane.first + MAX_PAGES):
        try:
            page = _at(file, number)
        except IndexError:
            return None
        kind = int(page.subfiletype)
        if kind & MASK and not kind & REDUCED:
            return _as_mask(path, page, number, plane.size)
        if not kind & REDUCED:
            return None
    return None


def _as_mask(path: Path, page: Any, number: int, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if (int(page.imagewidth), int(page.imagelength)) != size:
        return None
    _check_page(page, path, 1)
    return np.asarray(_decoded(path, Plane((page,), number), page)[..., 0] > 0)
