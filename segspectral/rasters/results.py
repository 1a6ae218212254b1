"""The files of a raster that is segmented in tiles: label raster, overview, summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segspectral.export import png, versions
from segspectral.files import link_to, write_bytes
from segspectral.rasters.segment import RasterResult, overlay_of_raster, segment_raster
from segspectral.rasters.tiling import Plan

if TYPE_CHECKING:
    from segspectral.pipeline import Observer, Pipeline

__all__ = ["Made", "save_raster"]


@dataclass(frozen=True)
class Made:
    """What was made of a raster.

    Parameters
    ----------
    files : their paths; the label raster is first, the overview last
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
    told: Sequence[str] = (),
    observer: Observer | None = None,
) -> Made:
    """Segment a raster in tiles, and write TARGET_labels.tif, TARGET.json and TARGET_overlay.png, a thumbnail.

    Parameters
    ----------
    target : folder and stem of the results
    image : the name of the image in the summary
    told : notes on all images, which come first

    Raises
    ------
    As ``segment_raster``.
    """
    labels = target.with_name(f"{target.name}_labels.tif")
    result = segment_raster(source, labels, pipeline, plan.tiles, observer)
    notes = [*told, *([plan.note] if plan.note else []), *result.notes]
    text = json.dumps(_summary(result, source, target.parent, image, pipeline, plan, notes), indent=2) + "\n"
    summary = write_bytes(target.with_name(f"{target.name}.json"), text.encode())
    overlay = png(overlay_of_raster(source, labels, pipeline.reading))
    return Made(result, [labels, summary, write_bytes(target.with_name(f"{target.name}_overlay.png"), overlay)], notes)


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
