"""A label map that is read in windows, so that it may be larger than memory, and the table of its zones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from segspectral.export.labelmap import Colour, LabelMap
from segspectral.export.regions import RegionSums, perimeters
from segspectral.export.tables import levels
from segspectral.export.zones import Labels, Span, Zones, windows_of

if TYPE_CHECKING:
    from segspectral.images.gdal import Georeference
    from segspectral.values import Bands

__all__ = ["WindowedMap", "table_of"]

Levels = Callable[[Span, Span], NDArray[Any]]
"""Rows and columns to the colours (h, w, 3) in 0..255."""


@dataclass(frozen=True, eq=False)
class WindowedMap:
    """The segments of one image, read in windows.

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
    file: Path | None = field(default=None)

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


def table_of(item: WindowedMap, zones: Zones | None = None) -> list[dict[str, Any]]:
    """A row per zone with the columns of ``region_table``. Pieces have no perimeters, and ``piece`` is their number.

    Parameters
    ----------
    zones : None means the segments
    """
    pieces = zones is not None and bool(zones.pieces)
    largest = len(zones.segment) if zones and pieces else max(item.segments)
    sums = RegionSums(largest, item.levels is not None, item.band_keys)
    for window in windows_of(item.shape):
        labels = item.labels(*window)
        numbers = zones.numbers(labels, window) if zones and pieces else labels
        rgb = None if item.levels is None else item.levels(*window)
        sums.add(numbers, (window[0][0], window[1][0]), rgb, None if item.bands is None else item.bands(*window))
    around = None if pieces else perimeters(item.labels, item.shape, max(item.segments))
    table = []
    for row in sums.rows():
        number = row.pop("segment")
        segment = int(zones.segment[number - 1]) if zones and pieces else number
        colour = "#{:02x}{:02x}{:02x}".format(*item.colours[segment])
        whole = {"piece": number} if pieces else {}
        whole |= {"segment": segment, "name": item.names[segment], "colour": colour, **row}
        table.append(whole if around is None else whole | {"perimeter": round(float(around[segment]), 2)})
    return table
