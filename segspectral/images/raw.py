"""What a decoder gives: the values of a file as they are stored, and what the file says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raw", "both", "differs", "number_of", "unassociated", "upright"]

ULPS = 4
"""GDAL takes floats that differ from the nodata value by less than this many units of rounding for nodata: programs
write the smallest float32 as -3.40282306e+38, and its text need not have all digits."""


@dataclass(frozen=True, eq=False)
class Raw:
    """The decoded values of one image of a file or of an array. ``interpret`` makes an Image from it.

    Parameters
    ----------
    values : (H, W, B) all bands but opacity, in the type in which they are stored
    shown : the bands, from 0, that are shown as grey (1), as red and green (2), or as red, green and blue (3)
    valid : (H, W) bool, False on void: nodata, masks and full transparency; None if all pixels are valid
    bits : the number of bits per value, if the file says so; None if only the type of the values is known
    placed : whether the file has a georeference: a transform, control points or a world file
    page, pages : the number of this image in the file, from 1, and how many the file has
    notes : sentences about what was decided or ignored
    names : what the file calls the bands; "" or nothing where it does not
    nodata : the value that means "no measurement" in any band; None if the file names none
    """

    values: NDArray[Any]
    shown: tuple[int, ...]
    valid: NDArray[np.bool_] | None = None
    bits: int | None = None
    placed: bool = False
    page: int = 1
    pages: int = 1
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    nodata: float | None = None


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The array (H, W, ...) rotated as the EXIF tag says: it tells on which sides the first row and column are."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    return array[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]


def number_of(nodata: Any) -> float | None:
    """The nodata value of a file, which may be text; None if it is not a number, or NaN, which is void anyway."""
    try:
        number = float(str(nodata).strip().rstrip("\0"))
    except ValueError:
        return None
    return None if np.isnan(number) else number


def differs(values: NDArray[Any], nodata: Any) -> NDArray[np.bool_] | None:
    """(H, W) True where a band of (H, W, ...) is not the nodata value; None if it is not a number.

    Floats are compared in their own precision, as GDAL does (``ULPS``).
    """
    number = number_of(nodata)
    if number is None:
        return None
    if values.dtype.kind == "f":
        near = ULPS * float(np.finfo(values.dtype).eps) * abs(number)
        with np.errstate(over="ignore"):
            low, high = (values.dtype.type(edge) for edge in (number - near, number + near))
        differing = ~((values >= low) & (values <= high))
    else:
        differing = values != number
    return differing.any(axis=2) if values.ndim == 3 else differing


def unassociated(values: NDArray[Any], opacity: NDArray[Any]) -> NDArray[Any]:
    """(H, W, B) colours of which each was stored as its product with the opacity (H, W): "associated", premultiplied.

    Integers are rounded as Pillow does it.
    """
    if values.dtype.kind == "f":
        return np.asarray(values / np.where(opacity > 0, opacity, 1)[..., None], values.dtype)
    full = int(np.iinfo(values.dtype).max)
    whole = full * values.astype(np.uint64) // np.maximum(opacity, 1)[..., None].astype(np.uint64)
    return np.minimum(whole, np.uint64(full)).astype(values.dtype)


def both(*masks: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """True where all masks are; None stands for a mask that is True everywhere."""
    known = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(known) if known else None
