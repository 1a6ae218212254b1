"""Label maps for GIS programs: GeoTIFF, GeoPackage, GeoJSON. They need rasterio, shapely, pyogrio (extra ``geo``)."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export.labelmap import LabelMap
from segspectral.export.outlines import outlines
from segspectral.export.tables import region_table
from segspectral.export.wgs84 import to_map, to_wgs84
from segspectral.images.gdal import Georeference

__all__ = ["geojson", "geopackage", "geotiff"]

TOLERANCE = 1.0
"""Simplification may move a border by about this many pixels: one pixel is the smallest step that removes stairs."""


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


def geopackage(label_map: LabelMap) -> tuple[bytes, float]:
    """Return a layer "segments" of multipolygons with the columns of ``region_table``, in the image's CRS.

    Without a georeference the coordinates are pixels: x goes to the right, and y goes upwards from -H to 0, because
    GIS programs draw y upwards.

    Returns
    -------
    The file, and the share of pixels that the simplified polygons keep.
    """
    import pyogrio
    import shapely

    shapes, kept = _shapes(label_map)
    georeference = label_map.georeference or Georeference("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    shapes = shapely.transform(shapes, lambda xy: to_map(xy, georeference))
    table = region_table(label_map)
    if label_map.georeference is not None:
        area = shapely.area(shapes)
        table = [row | {"map_area": float(a)} for row, a in zip(table, area, strict=True)]
    # A segment may have no measurement in a band: NaN becomes NULL.
    columns = {key: np.array([np.nan if row[key] is None else row[key] for row in table]) for key in table[0]}
    # GDAL writes a GeoPackage as an SQLite database, which must be a file on disk.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segments.gpkg"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*crs.*")
            pyogrio.raw.write(
                path,
                geometry=shapely.to_wkb(shapes),
                field_data=[c.astype(object) if c.dtype.kind == "U" else c for c in columns.values()],
                fields=np.array(list(columns)),
                layer="segments",
                driver="GPKG",
                geometry_type="MultiPolygon",
                crs=georeference.crs or None,
            )
        return path.read_bytes(), kept


def geojson(label_map: LabelMap) -> tuple[bytes, float]:
    """Return a FeatureCollection in WGS84 (RFC 7946) with the columns of ``region_table`` as properties.

    Without a georeference the coordinates are pixels, x to the right and y down, as microscopy tools such as QuPath
    read them; with a transform, but no CRS, they are those of the transform.

    Returns
    -------
    The file, and the share of pixels that the simplified polygons keep.
    """
    import shapely

    shapes, kept = _shapes(label_map)
    if (georeference := label_map.georeference) is not None:
        if georeference.crs:
            height, width = label_map.labels.shape
            shapes = to_wgs84(shapes, georeference, (width, height))
        else:
            shapes = shapely.transform(shapes, lambda xy: to_map(xy, georeference))
    shapes = shapely.orient_polygons(shapes)  # RFC 7946 requires counter-clockwise outer rings
    features = [
        {"type": "Feature", "id": row["segment"], "properties": row, "geometry": json.loads(shapely.to_geojson(shape))}
        for row, shape in zip(region_table(label_map), shapes, strict=True)
    ]
    text = io.StringIO()
    json.dump({"type": "FeatureCollection", "features": features}, text, ensure_ascii=False)
    return (text.getvalue() + "\n").encode(), kept


def _shapes(label_map: LabelMap, tolerance: float = TOLERANCE) -> tuple[NDArray[Any], float]:
    """Return the multipolygons of the segments by id, with x and y in pixels, and the share of pixels they keep.

    All borders are simplified together (Visvalingam and Whyatt 1993 on a coverage), so neighbours stay connected.
    """
    import shapely
    from rasterio.features import rasterize

    pieces = outlines(label_map.labels, every_corner=True)
    polygons = np.array([shapely.Polygon(p.outer, p.holes) for p in pieces])
    simple = shapely.coverage_simplify(polygons, tolerance)
    segment = np.array([p.segment for p in pieces])
    shapes = np.array([shapely.MultiPolygon(list(simple[segment == s])) for s in label_map.segments])
    back = rasterize(zip(shapes, label_map.segments, strict=True), label_map.labels.shape, dtype="int32")
    return shapes, float((back == label_map.labels).mean())
