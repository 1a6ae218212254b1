"""Raster files opened by GDAL, with the one driver that fits their content; and their georeference."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.images.formats import FORMATS, format_of
from segspectral.images.limits import check_bands, check_bytes, check_size
from segspectral.images.raw import Raw, number_of

__all__ = [
    "check_written",
    "checksum",
    "names_of",
    "nodata_of",
    "open_header",
    "open_pixels",
    "place_of",
    "raster_size",
    "read_raster",
]

MAX_RASTER = 10**11
"""Rasters with more pixels are refused, because a file of a few kilobytes can claim to have them."""

NO_COLOUR = ("gray", "undefined", "palette", "alpha")
"""Interpretations of colour that say nothing about what a band has measured."""

MAX_BLOCK = 2**30
"""Maximum number of bytes of a block. GDAL decodes a block as a whole, so a larger one could exhaust the memory."""

CACHE_BYTES = 64 * 2**20
"""Size of GDAL's cache of blocks. Its default is 5 % of the memory of the machine."""

Rows = tuple[tuple[int, int], tuple[int, int]]
"""A window of a raster: the first row and one after the last, and the same of columns."""


def checksum(values: NDArray[Any]) -> int:
    """A number that differs for nearly all other values."""
    return zlib.crc32(np.ascontiguousarray(values).data)


def check_written(path: Path, driver: str, sums: Mapping[Rows, int]) -> None:
    """Read a raster of one band that has just been written: of a disk that is full, GDAL says nothing.

    Parameters
    ----------
    driver : by which it is read
    sums : the checksum of the values of each window

    Raises
    ------
    OSError
        The file does not hold them.
    """
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(os.path.abspath(path), driver=driver)
        with file:
            whole = all(checksum(file.read(1, window=window)) == due for window, due in sums.items())
    except RasterioError:
        whole = False
    if not whole:
        raise OSError(errno.ENOSPC, "what was written cannot be read again; the disk may be full")


@contextmanager
def open_header(path: Path, directory: int = 0) -> Iterator[Any]:
    """Open a dataset of rasterio for its georeference and nodata value, which may come from files beside it.

    It must not be used for pixels; see ``open_pixels``.

    Parameters
    ----------
    directory : number of the page of a TIFF, from 0

    Raises
    ------
    ImageError
        The format of the file is not one of those that are read as rasters.
    RasterioError
        It is damaged.
    """
    import logging
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    form = format_of(path, among=[form for form in FORMATS if form.gdal is not None])
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # Errors report what is wrong.
    # Without a driver's name GDAL would try all of them, for example VRT, which reads other files and addresses. A
    # relative path could be a name such as http:/x or zip:x, which GDAL would open as an address or an archive.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        name = os.path.abspath(path)
        if directory:
            name = f"GTIFF_DIR:{directory + 1}:{name}"
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(name, driver=form.gdal) as dataset:
            check_bands(dataset.count, path)
            yield dataset


@contextmanager
def open_pixels(path: Path, directory: int = 0) -> Iterator[Any]:
    """Open a dataset of rasterio for its pixels, which come from this file alone.

    GDAL would read overviews and masks from files beside it, with any driver, whatever their names are. Therefore files
    beside it are ignored, and a file that names other files as its overviews is refused.

    Raises
    ------
    ImageError
        As for ``open_header``; or the raster has too many pixels or too large blocks.
    RasterioError
        It is damaged.
    """
    import rasterio

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_header(path, directory) as dataset:
        if dataset.tags(ns="OVERVIEWS"):
            raise ImageError("its overviews are in another file, which is not read; remove them", path)
        if dataset.width * dataset.height > MAX_RASTER:
            raise ImageError(
                f"claims to have {dataset.width} x {dataset.height} pixels, more than {MAX_RASTER:.0e}; "
                "cut it into several files",
                path,
            )
        together = dataset.count if dataset.interleaving is not None and dataset.interleaving.name == "pixel" else 1
        for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
            if height * width * together * np.dtype(dtype).itemsize > MAX_BLOCK:
                raise ImageError(
                    f"is stored in blocks of {width} x {height} pixels, which do not fit into memory; store "
                    "it in tiles: gdal_translate -co TILED=YES FILE tiled.tif",
                    path,
                )
        yield dataset


def place_of(dataset: Any) -> tuple[Any, Any] | None:
    """The CRS (or None) and the affine transform of a dataset; None if it has no place.

    Ground control points give the transform that fits them best (least squares). Points on one line give none, and a
    transform that maps all pixels to one line is none.
    """
    from rasterio.transform import from_gcps

    if not dataset.transform.is_identity:
        return (dataset.crs, dataset.transform) if dataset.transform.determinant else None
    points, crs = dataset.gcps
    places = np.array([(point.col, point.row) for point in points]).reshape(-1, 2)
    # GDAL returns memory that it has not set where the points do not determine a transform.
    if len(points) < 3 or np.linalg.matrix_rank(places - places.mean(axis=0)) < 2:
        return None
    fitted = from_gcps(points)
    return (crs, fitted) if fitted.determinant else None


def names_of(dataset: Any, bands: Sequence[int]) -> tuple[str, ...]:
    """What a dataset calls these bands, from 1: their descriptions, or their colours; "" where it does not."""
    said = [(dataset.descriptions[i - 1], dataset.colorinterp[i - 1].name) for i in bands]
    return tuple(name or (colour if colour not in NO_COLOUR else "") for name, colour in said)


def nodata_of(path: Path) -> float | None:
    """The nodata value of a raster file, also from a file beside it; None if there is none or it cannot be read."""
    from rasterio.errors import RasterioError

    try:
        with open_header(path) as header:
            return None if header.nodata is None else float(header.nodata)
    except RasterioError:
        return None


def raster_size(path: Path) -> tuple[int, int]:
    """The number of pixels, and of bytes of their values. Raises ImageError."""
    from rasterio.errors import RasterioError

    try:
        with open_header(path) as header:
            pixels = header.width * header.height
            return pixels, pixels * sum(np.dtype(kind).itemsize for kind in header.dtypes)
    except RasterioError as error:
        raise ImageError(f"is damaged or cut off ({error})", path) from error


def read_raster(path: Path) -> Raw:
    """Decode a file with GDAL's driver for its format, such as JPEG 2000.

    Raises
    ------
    ImageError
        It is too large, or damaged.
    """
    from rasterio.errors import RasterioError

    try:
        with open_header(path) as header:
            placed, nodata = place_of(header) is not None, header.nodata
        with open_pixels(path) as dataset:
            check_size(dataset.width, dataset.height, path)
            size = sum(np.dtype(kind).itemsize for kind in dataset.dtypes) * dataset.width * dataset.height
            check_bytes(size, path)
            bands = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind.name != "alpha"]
            values = np.moveaxis(dataset.read(bands), 0, -1)
            names = names_of(dataset, bands)
            valid = dataset.dataset_mask() > 0
            if nodata is not None and dataset.nodata is None:
                valid &= (values != nodata).any(axis=2)
            bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    except RasterioError as error:
        raise ImageError(f"is damaged or cut off ({error})", path) from error
    shown = (0, 1, 2) if len(bands) >= 3 else (0,)
    valid, nodata = None if valid.all() else valid, number_of(nodata)
    return Raw(values, shown, valid, int(bits) if bits else None, placed, names=names, nodata=nodata)
