"""The files of a raster that is segmented in tiles: label raster, overview, summary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError
from segspectral.export import Exporter, Writer, colour_table, png, versions
from segspectral.export.labelmap import as_colour, from_text
from segspectral.export.windowed import Levels, WindowedMap
from segspectral.export.zones import Span, windows_of
from segspectral.files import link_to, unfinished, whole_set, write_bytes
from segspectral.images.gdal import open_pixels, place_of
from segspectral.images.interpret import Reading
from segspectral.rasters.raster import Raster
from segspectral.rasters.segment import RasterResult, overlay_of_raster, segment_raster
from segspectral.rasters.tiling import Plan
from segspectral.registry import Look
from segspectral.values.place import Georeference

if TYPE_CHECKING:
    from segspectral.pipeline import Observer, Pipeline

__all__ = ["Exports", "Made", "save_raster", "windowed_map"]


@dataclass(frozen=True)
class Exports:
    """What is written beside the label raster, and the names of segments in it."""

    exporters: Sequence[Exporter] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    look: Look = field(default_factory=Look)


@dataclass(frozen=True)
class Made:
    """What was made of a raster.

    Parameters
    ----------
    files : their paths; the label raster is first
    notes : sentences for the user
    """

    result: RasterResult
    files: list[Path]
    notes: list[str]


@whole_set()
def save_raster(
    source: Path,
    target: Path,
    image: str,
    pipeline: Pipeline,
    plan: Plan,
    exports: Exports = Exports(),
    told: Sequence[str] = (),
    observer: Observer | None = None,
) -> Made:
    """Segment a raster in tiles, and write TARGET_labels.tif, TARGET.json, TARGET_overlay.png, and further formats.

    Parameters
    ----------
    target : folder and stem of the results
    image : the name of the image in the summary
    exports : what is written beside these files
    told : notes on all images, which come first

    Raises
    ------
    As ``segment_raster``.
    """
    labels = target.with_name(f"{target.name}_labels.tif")
    names = dict(exports.names)
    result = segment_raster(source, labels, pipeline, plan.tiles, observer, names)
    files, said = _export(source, target, pipeline, result, exports)
    notes = [*told, *([plan.note] if plan.note else []), *result.notes, *said]
    text = json.dumps(_summary(result, source, target.parent, image, pipeline, plan, notes), indent=2) + "\n"
    summary = write_bytes(target.with_name(f"{target.name}.json"), text.encode())
    overlay = png(overlay_of_raster(source, labels, pipeline.reading, look=exports.look, names=names))
    shown = write_bytes(target.with_name(f"{target.name}_overlay.png"), overlay)
    return Made(result, [labels, summary, shown, *files], notes)


def _export(
    source: Path, target: Path, pipeline: Pipeline, result: RasterResult, exports: Exports
) -> tuple[list[Path], list[str]]:
    """Write further formats; their paths and sentences about them."""
    if not exports.exporters:
        return [], []
    with windowed_map(result.labels, exports.names, source, pipeline.reading, result.numbers) as item:
        return Writer(exports.exporters, target.parent).write_windowed(item, target.name)


@contextmanager
def windowed_map(
    labels: Path,
    names: Mapping[int, str],
    source: Path | None = None,
    reading: Reading = Reading(),
    segments: Sequence[int] | None = None,
) -> Iterator[WindowedMap]:
    """A label raster that is read in windows. It has the place of the label raster.

    Parameters
    ----------
    names : segment -> name, beside those in the label raster
    source : the raster of which it is the label raster, for mean colours
    reading : how this one is read
    segments : numbers of the segments that have pixels; None looks for them

    Raises
    ------
    ImageError
        A raster cannot be read, has another size, or holds no segment.
    """
    with ExitStack() as stack:
        here = unfinished(labels)
        file = stack.enter_context(open_pixels(here))
        if file.count != 1 or np.dtype(file.dtypes[0]).name not in ("uint8", "uint16"):
            raise ImageError("is no label raster, which has one band of 8 or 16 bits without a sign", labels)
        shape = file.height, file.width

        def read(rows: Span, cols: Span) -> NDArray[np.int32]:
            return np.asarray(file.read(1, window=(rows, cols)), np.int32)

        if segments is None:
            found = {int(segment) for window in windows_of(shape) for segment in np.unique(read(*window))}
            segments = sorted(found - {0})
        if not segments:
            raise ImageError("the label map has only void and no segment", labels)
        levels, bands = None, None
        band_keys: tuple[str, ...] = ()
        if source is not None:
            raster = stack.enter_context(Raster.open(source, reading))
            if raster.shape != shape:
                raise ImageError(f"has {raster.shape} rows and columns, but its label raster has {shape}", source)
            levels, band_keys = _levels_of(raster), raster.band_keys
            bands = raster.bands_of if band_keys else None
        place, table = place_of(file), colour_table(max(segments) + 1)
        own, colours = from_text(file.tags().get("TIFFTAG_IMAGEDESCRIPTION"), labels)
        names = {**own, **names}
        yield WindowedMap(
            read,
            shape,
            segments,
            {segment: names.get(segment, f"segment {segment}") for segment in segments},
            {segment: colours.get(segment, as_colour(table[segment])) for segment in segments},
            None if place is None else Georeference.of(*place),
            levels,
            bands,
            band_keys,
            here,
        )


def _levels_of(raster: Raster) -> Levels:
    return lambda rows, cols: raster.read(rows, cols)[0] * np.float32(255)


def _summary(
    result: RasterResult, source: Path, folder: Path, image: str, pipeline: Pipeline, plan: Plan, notes: list[str]
) -> dict[str, Any]:
    eigenvalues = result.membership.eigenvalues
    link = link_to(source, folder)
    return {
        "image": image,
        **({} if link is None else {"source": link}),
        "height": result.shape[0],
        "width": result.shape[1],
        "read": result.read,
        "segments": result.segments,
        "superpixels": result.nodes,
        "ncut": result.ncut,
        "notes": notes,
        "eigenvalues": None if eigenvalues is None else [float(value) for value in eigenvalues],
        "tiles": plan.tiles.model_dump(mode="json"),
        "pipeline": pipeline.model_dump(mode="json"),
        "versions": versions(),
    }
