"""Files with one number per pixel that lie beside an image: seeds, and edge maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.files import composed, is_npy, read_npy
from segspectral.images.formats import PNG, TIFF, format_of, open_picture
from segspectral.wording import first_line

__all__ = ["PLANES", "as_edges", "check_shape", "file_beside", "read_edges", "read_plane"]

PLANES = (".png", ".tif", ".tiff", ".npy")
"""Suffixes of files with one number per pixel."""

LARGEST = {1: 255, 2: 65535}
"""Bytes of an unsigned integer -> the value that means a certain edge."""


def file_beside(path: str | os.PathLike[str], image: str, what: str, suffixes: Sequence[str] = PLANES) -> Path:
    """The file that belongs to an image: ``path`` itself, or the one in this folder with the name of the image.

    Parameters
    ----------
    image : name of the image; its suffix is left out
    what : what the file holds, in messages

    Raises
    ------
    SettingsError
        There is no such file, or there are several.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise SettingsError(f"there is no such file or folder of {what}", path)
        return path
    stem = composed(Path(image).stem)
    # The name is compared, and never joined to the path: it may come from somebody else.
    found = sorted(file for file in path.iterdir() if composed(file.stem) == stem and file.suffix.lower() in suffixes)
    if not found:
        raise SettingsError(f"has no {what} for {image}: {stem} with one of {', '.join(suffixes)}", path)
    if len(found) > 1:
        raise SettingsError(f"has {len(found)} files of {what} for {image}; leave one of {_names(found)}", path)
    return found[0]


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)


def read_plane(path: Path, what: str) -> NDArray[Any]:
    """The numbers (H, W) of a grey or indexed PNG, a TIFF of one band, or an .npy file, as they are stored.

    Raises
    ------
    SettingsError
        The file cannot be read, or has several bands.
    """
    from segspectral.images.reader import MAX_PIXELS
    from segspectral.images.tiff import first_page

    try:
        if is_npy(path):
            values = read_npy(path, 8 * MAX_PIXELS)
        elif format_of(path, among=(PNG, TIFF)) is TIFF:
            with first_page(path, bands=1) as page:
                values = page.asarray()
        else:
            with open_picture(path, among=(PNG,)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise SettingsError(f"has more than {MAX_PIXELS:,} pixels", path)
                if picture.mode not in ("P", "L", "1", "I", "I;16"):
                    raise SettingsError(
                        f"is a colour picture ({picture.mode}), but {what} are one number per pixel: save it as a grey "
                        "or indexed PNG",
                        path,
                    )
                values = np.asarray(picture)
                if picture.mode == "I":  # 16 bits, as older versions of Pillow open them
                    values = values.astype(np.uint16)
    except SettingsError:
        raise
    except Exception as error:  # damaged data can make decoders raise any kind of error
        message = getattr(error, "message", None) or first_line(error)
        raise SettingsError(f"cannot be read as {what}: {message}", path) from error
    values = np.squeeze(values) if values.ndim == 3 and 1 in values.shape else values
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "biuf":
        raise SettingsError(f"holds {values.dtype} {values.shape}, but {what} are numbers (height, width)", path)
    return values


def read_edges(path: Path, shape: tuple[int, int]) -> tuple[NDArray[np.float32], str]:
    """An edge map (H, W) in [0, 1] from a PNG or TIFF with 8 or 16 bits, or from an .npy file; see ``as_edges``."""
    return as_edges(read_plane(path, "edges"), shape, path)


def as_edges(values: Any, shape: tuple[int, int], source: object = "edges") -> tuple[NDArray[np.float32], str]:
    """An edge map (H, W) float32 in [0, 1], and a sentence for the user: how it was scaled if that is a guess.

    Integers of 8 and 16 bits are divided by their largest possible value. Other numbers are taken as they are if they
    lie in [0, 1], and else divided by the largest one in the map.

    Raises
    ------
    SettingsError
        The map has another size than the image, negative values, or values that are not finite.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise SettingsError(f"edges are numbers (height, width), not {values.dtype} {values.shape}", source)
    check_shape(values.shape, shape, "edges", source)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise SettingsError("the edges contain NaN or infinity; 0 means no edge", source)
    if values.dtype.kind != "b" and values.min() < 0:
        raise SettingsError(
            f"the edges have negative values ({values.min():g}); 0 means no edge, higher is stronger", source
        )
    if not values.any():
        return np.zeros(shape, np.float32), "the edge map is 0 everywhere, so that no border is stronger than another"
    if values.dtype.kind == "b":
        return values.astype(np.float32), ""
    if values.dtype.kind == "u" and values.dtype.itemsize in LARGEST:
        return (values / np.float32(LARGEST[values.dtype.itemsize])).astype(np.float32), ""
    largest = float(values.max())
    if largest <= 1:
        return values.astype(np.float32), ""
    return (values / largest).astype(np.float32), f"the edges were divided by their largest value, {largest:g}"


def check_shape(given: tuple[int, ...], shape: tuple[int, int], what: str, source: object) -> None:
    """Raise SettingsError if a plane has another size than its image."""
    if given != shape:
        raise SettingsError(
            f"the {what} have {given[1]} x {given[0]} pixels, but the image has {shape[1]} x {shape[0]}", source
        )
