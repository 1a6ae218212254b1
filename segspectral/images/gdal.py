"""Raster files opened by GDAL, with the one driver that fits their content; and their georeference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.errors import ImageError
from segspectral.images.formats import FORMATS, format_of

__all__ = ["Georeference", "open_header", "open_pixels", "read_georeference"]

MAX_RASTER = 10**11
"""Rasters with more pixels are refused, because a file of a few kilobytes can claim to have them."""

MAX_BLOCK = 2**30
"""Maximum number of bytes of a block. GDAL decodes a block as a whole, so a larger one could exhaust the memory."""

CACHE_BYTES = 64 * 2**20
"""Size of GDAL's cache of blocks. Its default is 5 % of the memory of the machine."""


@contextmanager
def open_header(path: Path) -> Iterator[Any]:
    """Open a dataset of rasterio for its georeference and nodata value, which may come from files beside it.

    It must not be used for pixels; see ``open_pixels``.

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
        with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(os.path.abspath(path), driver=form.gdal) as dataset:
            yield dataset


@contextmanager
def open_pixels(path: Path) -> Iterator[Any]:
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

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_header(path) as dataset:
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


@dataclass(frozen=True)
class Georeference:
    """The position of an image on the Earth.

    Parameters
    ----------
    crs : coordinate reference system, as WKT
    transform : a, b, c, d, e, f of easting = a x + b y + c and northing = d x + e y + f, for a pixel corner x, y
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]


def read_georeference(path: str | os.PathLike[str]) -> Georeference | None:
    """The georeference of a raster file, or of a world file beside it; None if there is none, or without rasterio."""
    try:
        import rasterio
    except ImportError:
        return None
    try:
        with open_header(Path(path)) as raster:
            if raster.crs is None or raster.transform.is_identity:
                return None
            return Georeference(raster.crs.to_wkt(), tuple(raster.transform)[:6])
    except (ImageError, rasterio.errors.RasterioError):  # The reader of its pixels reports a damaged file.
        return None
