"""The place of an image on the Earth."""

from __future__ import annotations

import os
from pathlib import Path

from segspectral.errors import ImageError, SettingsError
from segspectral.images.formats import TIFF, format_of
from segspectral.images.gdal import Georeference, open_header, place_of
from segspectral.images.tiff import tiff_plane

__all__ = ["Georeference", "read_georeference"]


def read_georeference(path: str | os.PathLike[str], page: int | None = None) -> Georeference | None:
    """The georeference of a raster file, or of a world file beside it; None if there is none, or without rasterio.

    Parameters
    ----------
    page : the page of a TIFF that is read, as in ``Reading``
    """
    try:
        import rasterio
    except ImportError:
        return None
    try:
        directory = 0
        if format_of(path) is TIFF:
            with tiff_plane(Path(path), page) as (plane, *_):
                directory = plane.first
        with open_header(Path(path), directory) as raster:
            if (place := place_of(raster)) is None:
                return None
            crs, transform = place
            return Georeference("" if crs is None else crs.to_wkt(), tuple(transform)[:6])
    except (ImageError, SettingsError, rasterio.errors.RasterioError):
        return None  # The reader of its pixels reports a damaged file.
