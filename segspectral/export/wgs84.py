"""Polygons of pixels -> polygons of longitude and latitude as RFC 7946 wants them.

Longitudes lie in -180..180, and polygons that cross the antimeridian are cut there (section 3.1.9). A polygon around a
pole reaches it along the antimeridian. Edges get enough vertices that a straight line between longitudes and latitudes
stays on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.values.place import Georeference

__all__ = ["to_map", "to_wgs84"]

BEND = 0.01
"""A line between two vertices may be this many pixels beside the edge that it stands for."""

PROBE = 64.0
"""Length in pixels of the lines on which the bend is measured; it grows with the square of the length."""

WIDE = 10.0
"""Edges over more degrees of longitude, which occur near the poles, get more vertices."""

QUARTER = 90.0
"""No edge may span more degrees of longitude: only then it is certain on which side of a pole it passes."""

HALVINGS = 8
DIGITS = 9
"""1e-9 degrees are a tenth of a millimetre."""

Move = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def to_map(xy: NDArray[np.float64], georeference: Georeference) -> NDArray[np.float64]:
    """(n, 2) coordinates in the CRS of pixel corners (n, 2)."""
    a, b, c, d, e, f = georeference.transform
    return xy @ np.array([[a, d], [b, e]]) + (c, f)


def to_wgs84(shapes: NDArray[Any], georeference: Georeference, size: tuple[int, int]) -> NDArray[Any]:
    """Multipolygons of pixel corners, x and y, as multipolygons of longitude and latitude.

    Parameters
    ----------
    size : width and height of the image
    """
    import shapely
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.warp import transform as warp

    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        east, north = to_map(xy, georeference).T
        try:
            longitude, latitude = warp(georeference.crs, "EPSG:4326", east.tolist(), north.tolist())
        except (RasterioError, CPLE_BaseError) as error:
            why = str(error).partition("'")[0].strip()
            raise ImageError(
                f"has pixels without longitude and latitude ({why}); write gpkg instead of geojson"
            ) from error
        return np.stack([longitude, np.clip(latitude, -90, 90)], axis=1)

    step = _step(move, size)
    if np.isfinite(step):
        shapes = shapely.segmentize(shapes, step)
    return np.array([_moved(shape, move) for shape in shapes])


def _step(move: Move, size: tuple[int, int]) -> float:
    """The greatest length in pixels of an edge that bends by at most BEND; infinite if the whole image bends less."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, width, 3), np.linspace(0, height, 3))
    centre = np.stack([x.ravel(), y.ravel()], axis=1)
    bend = 0.0
    for along in ((PROBE / 2, 0.0), (0.0, PROBE / 2)):
        near, middle, far = (_unwrapped(move(centre + sign * np.array(along)), move(centre)) for sign in (-1, 0, 1))
        # How many degrees a pixel is, from the same points.
        pixel = np.maximum(np.hypot(*(far - near).T) / PROBE, 1e-12)
        bends = np.hypot(*((near + far) / 2 - middle).T) / pixel
        bend = max(bend, float(np.median(bends)))
    longest = np.hypot(width, height)
    if bend * (longest / PROBE) ** 2 <= BEND:
        return np.inf
    return max(1.0, PROBE * (BEND / bend) ** 0.5)


def _unwrapped(points: NDArray[np.float64], near: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points with longitudes at most 180 degrees away from those of ``near``."""
    turns = np.rint((near[:, 0] - points[:, 0]) / 360)
    return points + np.stack([360 * turns, 0 * turns], axis=1)


def _moved(shape: Any, move: Move) -> Any:
    import shapely

    parts: list[Any] = []
    for polygon in shapely.get_parts(shape):
        rings = [_ring(ring, move) for ring in (polygon.exterior, *polygon.interiors)]
        if all(_plain(ring) for ring in rings):
            parts.append(shapely.Polygon(rings[0], rings[1:]))
            continue
        outer, *holes = (_cut(ring) for ring in rings)
        parts += _polygons(shapely.difference(outer, shapely.union_all(holes)) if holes else outer)
    rounded = shapely.transform(shapely.MultiPolygon(parts), lambda xy: np.round(xy, DIGITS))
    return rounded if rounded.is_valid else shapely.MultiPolygon(_polygons(shapely.make_valid(rounded)))


def _ring(ring: Any, move: Move) -> NDArray[np.float64]:
    """(n, 2) a ring whose longitudes go on over 180; around a pole its end is 360 degrees beside its beginning."""
    import shapely

    moved, step = move(shapely.get_coordinates(ring)), 1.0
    least = WIDE
    for _ in range(HALVINGS):
        across = np.abs(np.diff(moved[:, 0]))
        # The first time, an edge of 360 degrees, around the world, is none of 0 degrees.
        if (across if least == WIDE else np.minimum(across, np.abs(360 - across))).max() <= least:
            break
        moved, least = move(shapely.get_coordinates(shapely.segmentize(ring, step))), QUARTER
        step /= 2
    turns = np.cumsum(np.rint(-np.diff(moved[:, 0]) / 360))
    moved[1:, 0] += 360 * turns
    return moved


def _plain(ring: NDArray[np.float64]) -> bool:
    """Whether a ring neither crosses the antimeridian nor goes around a pole."""
    return bool(abs(ring[-1, 0] - ring[0, 0]) < 180 and ring[:, 0].min() >= -180 and ring[:, 0].max() <= 180)


def _cut(ring: NDArray[np.float64]) -> Any:
    """What lies within a ring, in pieces between -180 and 180 degrees."""
    import shapely

    if abs(ring[-1, 0] - ring[0, 0]) > 180:
        pole = 90.0 if ring[:, 1].mean() > 0 else -90.0
        ring = np.concatenate([ring, [(ring[-1, 0], pole), (ring[0, 0], pole)]])
    whole = shapely.make_valid(shapely.Polygon(ring))
    first, last = (int((edge + 180) // 360) for edge in (ring[:, 0].min(), ring[:, 0].max()))
    pieces = [
        shapely.transform(
            shapely.intersection(whole, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)),
            lambda xy, turn=turn: xy - (360 * turn, 0),
        )
        for turn in range(first, last + 1)
    ]
    return shapely.union_all(pieces)


def _polygons(shape: Any) -> list[Any]:
    """The polygons in a geometry, without lines and points."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))  # a collection may hold multipolygons
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
