"""Raster files opened by GDAL, with one driver by content and nothing else; and where they lie on the Earth."""

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
"""Rasters with more pixels are refused: a file of a few kilobytes can promise them."""

MAX_BLOCK = 2**30
"""Bytes of a block, which GDAL decodes as a whole."""


@contextmanager
def open_header(path: Path) -> Iterator[Any]:
    """A dataset of rasterio for its georeference and nodata value, which files beside it may tell; not for pixels.

    Raises
    ------
    ImageError
        The file is of no format that rasters are read from.
    RasterioError
        It is damaged.
    """
    import logging
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    form = format_of(path, among=[form for form in FORMATS if form.gdal is not None])
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # what is wrong is told by errors
    # The driver is named, or GDAL would try all: a VRT names other files and addresses. The path is absolute, or GDAL
    # would take names such as http:/x or zip:x for addresses and archives.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # GDAL's own cache of blocks takes a twentieth of the memory unless it is told otherwise.
        with rasterio.Env(GDAL_CACHEMAX=64 * 2**20), rasterio.open(os.path.abspath(path), driver=form.gdal) as dataset:
            yield dataset


@contextmanager
def open_pixels(path: Path) -> Iterator[Any]:
    """A dataset of rasterio for its pixels, which come from this file alone.

    GDAL takes overviews and masks from files beside it, by any driver and also when their name says TIFF; so files
    beside it are not looked at, and a file that names its overviews is refused.

    Raises
    ------
    ImageError
        As ``open_header``; or the raster has more pixels, or larger blocks, than are read.
    RasterioError
        It is damaged.
    """
    import rasterio

    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), open_header(path) as dataset:
        if dataset.tags(ns="OVERVIEWS"):
            raise ImageError("takes its overviews from another file, which is not read; remove them", path)
        if dataset.width * dataset.height > MAX_RASTER:
            raise ImageError(
                f"promises {dataset.width} x {dataset.height} pixels, and up to {MAX_RASTER:.0e} are read; "
                "cut it into several files",
                path,
            )
        together = dataset.count if dataset.interleaving is not None and dataset.interleaving.name == "pixel" else 1
        for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
            if height * width * together * np.dtype(dtype).itemsize > MAX_BLOCK:
                raise ImageError(
                    f"is stored in blocks of {width} x {height} pixels, of which none fits into memory; store "
                    "it in tiles: gdal_translate -co TILED=YES FILE tiled.tif",
                    path,
                )
        yield dataset


@dataclass(frozen=True)
class Georeference:
    """Where an image lies on the Earth.

    Parameters
    ----------
    crs : coordinate reference system, as WKT
    transform : a, b, c, d, e, f: easting = a x + b y + c, northing = d x + e y + f, of the pixel corner x, y
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]


def read_georeference(path: str | os.PathLike[str]) -> Georeference | None:
    """The georeference of a raster file, its own or of a world file beside it; None without one or without rasterio."""
    try:
        import rasterio
    except ImportError:
        return None
    try:
        with open_header(Path(path)) as raster:
            if raster.crs is None or raster.transform.is_identity:
                return None
            return Georeference(raster.crs.to_wkt(), tuple(raster.transform)[:6])
    except (ImageError, rasterio.errors.RasterioError):  # damaged, or no raster, which who reads the pixels says
        return None
