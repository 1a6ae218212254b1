"""Every other format than TIFF -> Raw, by Pillow; 16-bit colour of PNG by OpenCV, because Pillow keeps only 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.ExifTags import Base as Tag

from segspectral.errors import SettingsError
from segspectral.images.formats import open_picture
from segspectral.images.raw import Raw, both, differs, upright

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["of_picture", "read_frame", "read_picture"]

OPACITY_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


def read_picture(path: Path, page: int | None = None, placed: bool = False) -> Raw:
    """Decode one frame of a file. Raises ImageError, SettingsError, and what Pillow raises on damaged data."""
    with open_picture(path) as picture:
        frames = int(getattr(picture, "n_frames", 1))
        first = picture.tell() + 1  # in HEIC, the primary image
        number = page or first
        if number > frames:
            raise SettingsError(
                f"has {frames} {'page' if frames == 1 else 'pages'}, but page {number} was requested", path
            )
        if frames > 1:
            picture.seek(number - 1)
        bits = picture.info.get("bit_depth", 8)  # of HEIC
        orientation = picture.getexif().get(Tag.Orientation, 1) if placed else 1
        raw = _sixteen_bit_colour(picture, path, placed) or of_picture(picture, placed)
    several = f"page {first} of {frames}; --page chooses another, --page all reads each"
    notes = (several,) if frames > 1 and page is None else ()
    if bits > 8:
        notes = (*notes, f"{bits} bits, read as 8")
    if orientation != 1:
        told = f"its orientation tag ({orientation}) is ignored, because it has a georeference"
        notes = (*notes, told)
    return Raw(raw.values, raw.shown, raw.valid, raw.bits, placed, number, frames, (*notes, *raw.notes))


def read_frame(path: Path, number: int, nodata: Any, orientation: int) -> Raw | None:
    """A page of a TIFF of at most 8 bits as its rows are stored; None if Pillow does not know its kind.

    Parameters
    ----------
    nodata : the nodata value of the file as text, or None
    orientation : the tag of the page, which Pillow applies and this function undoes
    """
    import PIL.Image

    try:
        with open_picture(path) as picture:
            picture.seek(number)
            picture.load()  # Values of the nodata of a palette are indices.
            valid = None if nodata is None or picture.mode != "P" else differs(np.asarray(picture), nodata)
            raw = of_picture(picture, placed=True)
    except PIL.UnidentifiedImageError:
        return None
    valid = both(raw.valid, valid)
    undo = {6: 8, 8: 6}.get(orientation, orientation)
    return Raw(upright(raw.values, undo), raw.shown, None if valid is None else upright(valid, undo))


def of_picture(picture: PIL.Image.Image, placed: bool = False) -> Raw:
    """An opened picture: grey or RGB, and what is transparent. The orientation is applied unless it is ``placed``."""
    from PIL import ImageOps

    _scale_transparency(picture)
    if not placed:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        array = np.asarray(picture)
        # In a PNG of 16 bits, this is the one level of grey that is transparent.
        level = picture.info.get("transparency")
        return Raw(array[..., None], (0,), array != level if isinstance(level, int) else None)
    if picture.mode in OPACITY_MODES or "transparency" in picture.info:
        array = np.asarray(picture.convert("RGBA"))
        return Raw(array[..., :3], (0, 1, 2), array[..., 3] > 0)
    if picture.mode == "L":
        return Raw(np.asarray(picture)[..., None], (0,))
    return Raw(np.asarray(picture.convert("RGB")), (0, 1, 2))


def _scale_transparency(picture: PIL.Image.Image) -> None:
    """Pillow scales the grey of a PNG of 2 or 4 bits to 8 bits, but not the level that is transparent."""
    level, tiles = picture.info.get("transparency"), getattr(picture, "tile", [])
    bits = {"L;2": 2, "L;4": 4}.get(str(tiles[0][3])) if tiles and picture.mode == "L" else None
    if bits and isinstance(level, int):
        picture.info["transparency"] = level * 255 // (2**bits - 1)


def _sixteen_bit_colour(picture: PIL.Image.Image, path: Path, placed: bool) -> Raw | None:
    """A colour PNG with 16 bits per channel, of which Pillow keeps only 8; None for others."""
    if picture.format != "PNG" or picture.mode == "I;16":
        return None
    if not any(str(tile[3]).endswith(";16B") for tile in getattr(picture, "tile", [])):
        return None
    import cv2

    orientation = 1 if placed else picture.getexif().get(Tag.Orientation, 1)
    picture.load()  # Pillow reports what is wrong with a damaged file, OpenCV does not.
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] not in (3, 4):
        return None
    array = upright(array[..., [2, 1, 0, 3][: array.shape[2]]], orientation)
    return Raw(array[..., :3], (0, 1, 2), array[..., 3] > 0 if array.shape[2] == 4 else None)
