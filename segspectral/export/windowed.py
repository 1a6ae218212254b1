"""A label map that is read in windows, so that it may be larger than memory; its polygons and its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export.labelmap import Colour, LabelMap
from segspectral.export.regions import RegionSums, perimeters
from segspectral.export.tables import levels
from segspectral.export.zones import Labels, Span, Zones, windows_of, zones_of
from segspectral.registry import Shapes

if TYPE_CHECKING:
    from segspectral.values import Bands
    from segspectral.values.place import Georeference

__all__ = ["Levels", "WindowedMap"]

Numbers = Callable[[NDArray[np.int32], tuple[Span, Span]], NDArray[np.int32]]
"""The segments (h, w) of a window, and the window, to the regions there, from 1, and 0 on void."""

Levels = Callable[[Span, Span], NDArray[Any]]
"""Rows and columns to the colours (h, w, 3) in 0..255."""


@dataclass(frozen=True, eq=False)
class WindowedMap:
    """The segments of one image, read in windows. Polygons and tables are made once for all formats.

    Parameters
    ----------
    labels : rows and columns to segments, 0 on void
    shape : (H, W)
    segments : numbers of the segments that have pixels, ascending
    names, colours : of all of them
    georeference : position of the image on the Earth, or None
    levels : rows and columns to the colours of the image; None if they are not known
    bands : rows and columns to all bands; None if the image shows all that its file holds, or if they are not known
    band_keys : the ``Bands.keys`` of these
    file : the label raster, if the labels are in one
    """

    labels: Labels
    shape: tuple[int, int]
    segments: Sequence[int]
    names: Mapping[int, str]
    colours: Mapping[int, Colour]
    georeference: Georeference | None = None
    levels: Levels | None = None
    bands: Callable[[Span, Span], Bands] | None = None
    band_keys: tuple[str, ...] = ()
    file: Path | None = None
    _zones: dict[Shapes, Zones] = field(default_factory=dict)
    _tables: dict[Shapes | None, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, item: LabelMap) -> WindowedMap:
        """A label map that is in memory."""
        pixels, bands = levels(item), item.bands
        return cls(
            lambda rows, cols: item.labels[slice(*rows), slice(*cols)],
            (item.labels.shape[0], item.labels.shape[1]),
            item.segments,
            {segment: item.name(segment) for segment in item.segments},
            {segment: item.colour(segment) for segment in item.segments},
            item.georeference,
            None if pixels is None else lambda rows, cols: pixels[slice(*rows), slice(*cols)],
            None if bands is None else lambda rows, cols: bands.window(slice(*rows), slice(*cols)),
            () if bands is None else bands.keys,
        )

    def zones(self, wanted: Shapes) -> Zones:
        """The segments or their pieces as polygons."""
        if wanted not in self._zones:
            self._zones[wanted] = zones_of(self.labels, self.shape, wanted)
        return self._zones[wanted]

    def table(self, wanted: Shapes = Shapes()) -> list[dict[str, Any]]:
        """A row per zone with the columns of ``region_table``. Pieces have no perimeters, but numbers: ``piece``."""
        key = wanted if wanted.single else None  # segments do not depend on the polygons
        if key not in self._tables:
            self._tables[key] = list(self._pieces(self.zones(wanted)) if wanted.single else self._segments())
        return self._tables[key]

    def _segments(self) -> Iterator[dict[str, Any]]:
        largest = max(self.segments)
        around = perimeters(self.labels, self.shape, largest)
        for row in self._rows(largest, lambda labels, window: labels):
            segment = row.pop("segment")
            yield self._about(segment) | row | {"perimeter": round(float(around[segment]), 2)}

    def _pieces(self, zones: Zones) -> Iterator[dict[str, Any]]:
        for row in self._rows(len(zones.segment), zones.numbers):
            piece = row.pop("segment")
            yield {"piece": piece} | self._about(int(zones.segment[piece - 1])) | row

    def _about(self, segment: int) -> dict[str, Any]:
        colour = "#{:02x}{:02x}{:02x}".format(*self.colours[segment])
        return {"segment": segment, "name": self.names[segment], "colour": colour}

    def _rows(self, largest: int, numbers: Numbers) -> Iterator[dict[str, Any]]:
        """A row for each of the regions 1 to ``largest``."""
        sums = RegionSums(largest, self.levels is not None, self.band_keys)
        for window in windows_of(self.shape):
            regions = numbers(self.labels(*window), window)
            corner = window[0][0], window[1][0]
            rgb = None if self.levels is None else self.levels(*window)
            sums.add(regions, corner, rgb, None if self.bands is None else self.bands(*window))
        yield from sums.rows()
