"""The place of an image on the Earth, or on a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Georeference"]


@dataclass(frozen=True)
class Georeference:
    """The position of an image on the Earth, or in a plane of which the coordinate reference system is not known.

    Parameters
    ----------
    crs : coordinate reference system, as WKT; empty if the file has a transform, but none
    transform : a, b, c, d, e, f of easting = a x + b y + c and northing = d x + e y + f, for a pixel corner x, y
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]

    @classmethod
    def of(cls, crs: Any, transform: Any) -> Georeference:
        """From a CRS of rasterio, or None, and an affine transform."""
        a, b, c, d, e, f, *_ = transform
        return cls("" if crs is None else crs.to_wkt(), (a, b, c, d, e, f))
