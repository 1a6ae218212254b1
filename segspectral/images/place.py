"""The place of an image on the Earth."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from segspectral.errors import ImageError, SettingsError
from segspectral.images.formats import TIFF, format_of
from segspectral.images.gdal import open_header, place_of
from segspectral.images.tiff import tiff_plane
from segspectral.values.place import Georeference

__all__ = ["pixel_on_ground", "read_georeference"]

EQUATOR, FLATTENING = 6_378_137.0, 1 / 298.257223563
"""Radius in metres and flattening of the ellipsoid of WGS84."""


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
            return Georeference.of(*place)
    except (ImageError, SettingsError, rasterio.errors.RasterioError):
        return None  # The reader of its pixels reports a damaged file.


def pixel_on_ground(georeference: Georeference, shape: tuple[int, int]) -> float | None:
    """The area in square metres, on the ellipsoid of WGS84, of the pixel at the centre of an image (H, W).

    It is measured on the ground and not on the map, whose scale may be wrong (Web Mercator). None if the coordinate
    reference system is not known or has no place on the Earth. Needs rasterio.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform as warp

    if not georeference.crs:
        return None
    a, b, c, d, e, f = georeference.transform
    row, column = shape[0] / 2, shape[1] / 2
    x, y = np.array([column, column + 1, column]), np.array([row, row, row + 1])
    try:
        lon, lat = warp(georeference.crs, "EPSG:4326", a * x + b * y + c, d * x + e * y + f)[:2]
    except (CPLE_BaseError, RasterioError):
        return None
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    phi = np.radians(lat[0])
    squared = FLATTENING * (2 - FLATTENING)  # of the eccentricity
    curvature = 1 - squared * np.sin(phi) ** 2
    turn = (np.array(lon) - lon[0] + 180) % 360 - 180  # the image may lie on the antimeridian
    east = EQUATOR / curvature**0.5 * np.cos(phi) * np.radians(turn)
    north = EQUATOR * (1 - squared) / curvature**1.5 * np.radians(np.array(lat) - lat[0])
    return float(abs(east[1] * north[2] - east[2] * north[1])) or None
