"""What a decoder gives: the values of a file as they are stored, and what the file says about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raw", "both", "differs", "nodata_number", "upright"]


@dataclass(frozen=True, eq=False)
class Raw:
    """The decoded values of one image of a file or of an array. ``interpret`` makes an Image from it.

    Parameters
    ----------
    values : (H, W, B) all bands but opacity, in the type in which they are stored
    shown : the bands, from 0, that are seen as grey (1), as red and green (2), or as red, green and blue (3)
    valid : (H, W) bool, False on void: nodata, masks and full transparency; None if all pixels are valid
    bits : the number of bits per value, if the file says so; None if only the type of the values is known
    placed : whether the file has a georeference: a transform, control points or a world file
    page, pages : the number of this image in the file, from 1, and how many the file has
    notes : sentences about what was decided or passed over
    names : what the file calls the bands; "" or nothing where it does not
    nodata : the value that is no measurement in any band; None if the file names none
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


def nodata_number(nodata: Any) -> float | None:
    """A nodata value that is given as text or as a number; None if it is none, or NaN, which is void anyway."""
    try:
        number = float(str(nodata).strip().rstrip("\0"))
    except ValueError:
        return None
    return None if np.isnan(number) else number


def differs(values: NDArray[Any], nodata: Any) -> NDArray[np.bool_] | None:
    """(H, W) True where a band of (H, W, ...) is not the nodata value; None if it is none of the type's values."""
    if (number := nodata_number(nodata)) is None:
        return None
    differing = values != (values.dtype.type(number) if values.dtype.kind == "f" else number)
    return differing.any(axis=2) if values.ndim == 3 else differing


def both(*masks: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """True where all masks are; None stands for a mask that is True everywhere."""
    known = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(known) if known else None
