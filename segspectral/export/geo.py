"""Label maps on the map: GeoTIFF, GeoPackage, GeoJSON. Needs rasterio, shapely and pyogrio (the extra ``geo``)."""

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
from segspectral.images.gdal import Georeference

__all__ = ["geojson", "geopackage", "geotiff"]

TOLERANCE = 1.0
"""Pixels; how far borders may be moved when they are simplified."""


def geotiff(item: LabelMap) -> bytes:
    """Labels as a tiled, deflated GeoTIFF: nodata 0, colour table, names in the tags; CRS and transform if known.

    The names and colours stand in ImageDescription too, as JSON, from where ``read_label_map`` takes them.
    """
    import rasterio
    from rasterio.io import MemoryFile

    height, width = item.labels.shape
    dtype = "uint8" if item.labels.max() <= 255 else "uint16"
    profile: dict[str, Any] = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": dtype}
    profile |= {"nodata": 0, "compress": "deflate", "photometric": "palette"}
    if item.georeference is not None:
        profile |= {"crs": item.georeference.crs, "transform": rasterio.Affine(*item.georeference.transform)}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(**profile) as raster:
            raster.write(item.labels.astype(dtype), 1)
            raster.write_colormap(1, {s: (*item.colour(s), 255) for s in item.segments} | {0: (0, 0, 0, 0)})
            raster.set_band_description(1, "segment")
            raster.update_tags(1, **{f"SEGMENT_{s}": item.name(s) for s in item.segments})
            text = {"names": dict(item.names), "colours": dict(item.colours)}
            raster.update_tags(TIFFTAG_IMAGEDESCRIPTION=json.dumps(text))
        return bytes(memory.read())


def geopackage(item: LabelMap) -> tuple[bytes, float]:
    """A layer "segments" of multipolygons with the columns of ``region_table``, in the image's CRS.

    Without a georeference coordinates are pixels, x to the right and y upwards from 0 to -H, as GIS programs show
    them upright.

    Returns
    -------
    the file; the share of pixels that the simplified polygons keep
    """
    import pyogrio
    import shapely

    shapes, kept = _shapes(item)
    georeference = item.georeference or Georeference("", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    shapes = shapely.transform(shapes, lambda xy: _to_map(xy, georeference))
    table = region_table(item)
    if item.georeference is not None:
        area = shapely.area(shapes)
        table = [row | {"map_area": float(a)} for row, a in zip(table, area, strict=True)]
    columns = {key: np.array([row[key] for row in table]) for key in table[0]}
    # GDAL writes an SQLite file: it needs a place on disk.
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
                crs=item.georeference.crs if item.georeference is not None else None,
            )
        return path.read_bytes(), kept


def geojson(item: LabelMap) -> tuple[bytes, float]:
    """A FeatureCollection in WGS84 (RFC 7946), with the columns of ``region_table`` as properties.

    Without a georeference coordinates are pixels, x to the right and y down, which is what microscopy tools such as
    QuPath read.

    Returns
    -------
    the file; the share of pixels that the simplified polygons keep
    """
    import shapely

    shapes, kept = _shapes(item)
    if item.georeference is not None:
        from rasterio.warp import transform as warp

        georeference = item.georeference

        def to_wgs84(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            east, north = _to_map(xy, georeference).T
            longitude, latitude = warp(georeference.crs, "EPSG:4326", east.tolist(), north.tolist())
            return np.round(np.stack([longitude, latitude], axis=1), 9)  # a tenth of a millimetre

        shapes = shapely.transform(shapes, to_wgs84)
    shapes = shapely.orient_polygons(shapes)  # outer rings against the clock, as the standard asks
    features = [
        {"type": "Feature", "id": row["segment"], "properties": row, "geometry": json.loads(shapely.to_geojson(shape))}
        for row, shape in zip(region_table(item), shapes, strict=True)
    ]
    text = io.StringIO()
    json.dump({"type": "FeatureCollection", "features": features}, text, ensure_ascii=False)
    return (text.getvalue() + "\n").encode(), kept


def _to_map(xy: NDArray[np.float64], georeference: Georeference) -> NDArray[np.float64]:
    a, b, c, d, e, f = georeference.transform
    return xy @ np.array([[a, d], [b, e]]) + (c, f)


def _shapes(item: LabelMap, tolerance: float = TOLERANCE) -> tuple[NDArray[Any], float]:
    """Multipolygons of the segments in order of their ids, x and y in pixels, and the share of pixels they keep.

    All borders are simplified together (Visvalingam and Whyatt 1993 on a coverage), so that neighbours stay glued.
    """
    import shapely
    from rasterio.features import rasterize

    pieces = outlines(item.labels, every_corner=True)
    polygons = np.array([shapely.Polygon(p.outer, p.holes) for p in pieces])
    simple = shapely.coverage_simplify(polygons, tolerance)
    segment = np.array([p.segment for p in pieces])
    shapes = np.array([shapely.MultiPolygon(list(simple[segment == s])) for s in item.segments])
    back = rasterize(zip(shapes, item.segments, strict=True), item.labels.shape, dtype="int32")
    return shapes, float((back == item.labels).mean())
