"""Label maps for GIS programs: GeoTIFF, GeoPackage, GeoJSON. They need rasterio, shapely, pyogrio (extra ``geo``)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.export.labelmap import LabelMap
from segspectral.export.styles import add_style
from segspectral.export.wgs84 import to_map, to_wgs84
from segspectral.export.windowed import WindowedMap
from segspectral.export.zones import windows_of
from segspectral.files import scratch_folder
from segspectral.images.gdal import CACHE_BYTES, check_written, checksum, open_pixels
from segspectral.registry import Shapes
from segspectral.values.place import Georeference

__all__ = ["cog", "cog_of_raster", "copy_raster", "geojson", "geopackage", "geotiff", "layer_of", "png_of_raster"]

LAYER, GEOMETRY = "segments", "geom"
"""The layer of a GeoPackage, and its column of geometries."""

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def geotiff(label_map: LabelMap) -> bytes:
    """Return a compressed GeoTIFF with nodata 0, a colour table, names in its tags, and the CRS and transform if known.

    Names and colours are also stored as JSON in ImageDescription, where ``read_label_map`` finds them.
    """
    import rasterio
    from rasterio.io import MemoryFile

    height, width = label_map.labels.shape
    dtype = "uint8" if label_map.labels.max() <= 255 else "uint16"
    profile: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": dtype}
    profile |= {"nodata": 0, "compress": "deflate", "photometric": "palette"}
    if label_map.georeference is not None:
        place = label_map.georeference
        profile |= {"crs": place.crs or None, "transform": rasterio.Affine(*place.transform)}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as raster:
            raster.write(label_map.labels.astype(dtype), 1)
            raster.write_colormap(1, {s: (*label_map.colour(s), 255) for s in label_map.segments} | {0: (0, 0, 0, 0)})
            raster.set_band_description(1, "segment")
            raster.update_tags(1, **{f"SEGMENT_{s}": label_map.name(s) for s in label_map.segments})
            text = {"names": dict(label_map.names), "colours": dict(label_map.colours)}
            raster.update_tags(TIFFTAG_IMAGEDESCRIPTION=json.dumps(text))
        return bytes(memory.read())


def cog(label_map: LabelMap) -> bytes:
    """``geotiff`` as a Cloud Optimized GeoTIFF: in tiles, with overviews in which each pixel has the most frequent
    segment."""
    with scratch_folder() as folder:
        source, target = folder / "labels.tif", folder / "cog.tif"
        source.write_bytes(geotiff(label_map))
        _copy(source, target, "COG", COMPRESS="DEFLATE", OVERVIEW_RESAMPLING="MODE")
        return target.read_bytes()


def cog_of_raster(item: WindowedMap, path: Path) -> float:
    """``cog`` of a label raster."""
    return _copy(item.file, path, "COG", COMPRESS="DEFLATE", OVERVIEW_RESAMPLING="MODE")


def png_of_raster(item: WindowedMap, path: Path) -> float:
    """The indexed PNG of a label raster, line by line. The transform is not kept, because a PNG holds none."""
    _copy(item.file, path, "PNG", WRITE_METADATA_AS_TEXT="YES")
    if not path.read_bytes().endswith(PNG_END):  # all pixels may be there without it
        raise OSError(errno.ENOSPC, "its end is missing; the disk may be full")
    return 1.0


def copy_raster(item: WindowedMap, path: Path) -> float:
    """A copy of a label raster."""
    assert item.file is not None
    shutil.copyfile(item.file, path)
    return 1.0


def _copy(source: Path | None, target: Path, driver: str, **options: str) -> float:
    """Write a label raster of ours with another driver, which reads it in blocks."""
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.shutil import copy

    assert source is not None
    # GDAL would write what the format cannot hold into a file beside it.
    with (
        _writing(CPLE_BaseError, RasterioError),
        rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES, GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"),
    ):
        copy(os.path.abspath(source), os.path.abspath(target), driver=driver, **options)
        with open_pixels(source) as file:
            sums = {window: checksum(file.read(1, window=window)) for window in windows_of(file.shape)}
        check_written(target, "GTiff" if driver == "COG" else driver, sums)
    return 1.0


@contextmanager
def _writing(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, by which libraries tell a full disk among other things, become OSError."""
    try:
        yield
    except kinds as error:
        raise OSError(errno.EIO, f"{' '.join(str(error).split())[:200]}; the disk may be full") from error


def geopackage(item: WindowedMap, path: Path, wanted: Shapes = Shapes()) -> float:
    """Write a layer "segments" with the columns of ``WindowedMap.table`` in the image's CRS, and its colours for QGIS.

    Without a georeference the coordinates are pixels: x goes to the right, and y goes upwards from -H to 0, because
    GIS programs draw y upwards.

    Returns
    -------
    The share of pixels that the simplified polygons keep.
    """
    zones = item.zones(wanted)
    _write_layer(path, zones.shapes, item.table(wanted), item, item.georeference, wanted.single)
    return zones.kept


def layer_of(item: LabelMap, table: list[dict[str, Any]], place: Georeference | None, path: Path) -> None:
    """``geopackage`` of the exact outlines of segments with the columns of another table, a row per segment."""
    windowed = WindowedMap.of(item)
    _write_layer(path, windowed.zones(Shapes(tolerance=0)).shapes, table, windowed, place, False)


def _write_layer(
    path: Path,
    outlines: Any,
    table: list[dict[str, Any]],
    item: WindowedMap,
    place: Georeference | None,
    single: bool,
) -> None:
    """Write the only layer of a GeoPackage: outlines in pixels, a row for each, and the colours of the label map."""
    import pyogrio
    import shapely
    from pyogrio.errors import DataSourceError, FeatureError

    georeference = place or Georeference("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    shapes = shapely.transform(outlines, lambda xy: to_map(xy, georeference))
    if place is not None:
        area = shapely.area(shapes)
        table = [row | {"map_area": float(a)} for row, a in zip(table, area, strict=True)]
    # A segment may have no measurement in a band: NaN becomes NULL.
    columns = {key: np.array([np.nan if row[key] is None else row[key] for row in table]) for key in table[0]}
    with _writing(DataSourceError, FeatureError, sqlite3.Error), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*crs.*")
        # The name of a file that is not yet complete has another suffix.
        warnings.filterwarnings("ignore", message=".*extension.*")
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(shapes),
            field_data=[c.astype(object) if c.dtype.kind == "U" else c for c in columns.values()],
            fields=np.array(list(columns)),
            layer=LAYER,
            driver="GPKG",
            dataset_options={"VERSION": "1.3"},  # programs of some years ago warn of newer ones
            geometry_type="Polygon" if single else "MultiPolygon",
            crs=georeference.crs or None,
            layer_options={"GEOMETRY_NAME": GEOMETRY},
        )
        add_style(path, LAYER, GEOMETRY, item.colours, item.names)


def geojson(item: WindowedMap, path: Path, wanted: Shapes = Shapes()) -> float:
    """Write a FeatureCollection in WGS84 (RFC 7946) with the columns of ``WindowedMap.table`` as properties.

    Without a georeference the coordinates are pixels, x to the right and y down, as microscopy tools such as QuPath
    read them; with a transform, but no CRS, they are those of the transform.

    Returns
    -------
    The share of pixels that the simplified polygons keep.
    """
    import shapely

    zones = item.zones(wanted)
    shapes = zones.shapes
    if (georeference := item.georeference) is not None:
        if georeference.crs:
            shapes = to_wgs84(shapes, georeference, (item.shape[1], item.shape[0]))
            if wanted.single:  # a piece that is not cut at the antimeridian is one polygon
                shapes = np.array([shape.geoms[0] if len(shape.geoms) == 1 else shape for shape in shapes])
        else:
            shapes = shapely.transform(shapes, lambda xy: to_map(xy, georeference))
    shapes = shapely.orient_polygons(shapes)  # RFC 7946 requires counter-clockwise outer rings
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, (row, shape) in enumerate(zip(item.table(wanted), shapes, strict=True)):
            file.write(", " if number else "")
            geometry = json.loads(shapely.to_geojson(shape))
            of = row.get("piece", row["segment"])
            feature = {"type": "Feature", "id": of, "properties": row, "geometry": geometry}
            json.dump(feature, file, ensure_ascii=False)
        file.write("]}\n")
    return zones.kept
