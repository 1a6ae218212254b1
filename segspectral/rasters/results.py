"""The files of a raster that is segmented in tiles: label raster, overview, summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segspectral.export import Exporter, Writer, colour_table, png, versions
from segspectral.export.labelmap import as_colour
from segspectral.export.windowed import WindowedMap
from segspectral.files import link_to, write_bytes
from segspectral.images.gdal import Georeference, open_pixels
from segspectral.rasters.raster import Raster
from segspectral.rasters.segment import RasterResult, overlay_of_raster, segment_raster
from segspectral.rasters.tiling import Plan
from segspectral.registry import Look

if TYPE_CHECKING:
    from segspectral.pipeline import Observer, Pipeline

__all__ = ["Exports", "Made", "save_raster"]


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
    table = colour_table(max(result.numbers) + 1)
    with Raster.open(source, pipeline.reading) as raster, open_pixels(result.labels) as file:
        item = WindowedMap(
            lambda rows, cols: file.read(1, window=(rows, cols)).astype(np.int32),
            raster.shape,
            result.numbers,
            {segment: exports.names.get(segment, f"segment {segment}") for segment in result.numbers},
            {segment: as_colour(table[segment]) for segment in result.numbers},
            Georeference.of(raster.crs, raster.transform) if raster.placed else None,
            lambda rows, cols: raster.read(rows, cols)[0] * np.float32(255),
            result.labels,
        )
        return Writer(exports.exporters, target.parent).write_windowed(item, target.name)


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
