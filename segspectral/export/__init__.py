"""Segmentation -> files.

``save`` writes what every image gets; ``EXPORTERS`` is the one list of further formats, for annotation tools, maps and
tables. Files are written beside their place and renamed, so that a half-written one never stands under its name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from segspectral.export.exporters import EXPORTERS, Exporter, Writer, exporters_named
from segspectral.export.files import write_bytes
from segspectral.export.geo import read_place
from segspectral.export.labelmap import LabelMap, parse_names, read_label_map, stem_of
from segspectral.export.pictures import boundaries, colour_table, label_png, overlay, png, tinted
from segspectral.export.tables import csv_bytes, segment_table, summary, versions
from segspectral.types import Segmentation

__all__ = [
    "EXPORTERS",
    "Exporter",
    "LabelMap",
    "Writer",
    "boundaries",
    "colour_table",
    "exporters_named",
    "label_png",
    "overlay",
    "parse_names",
    "png",
    "read_label_map",
    "read_place",
    "save",
    "segment_table",
    "stem_of",
    "summary",
    "tinted",
    "versions",
    "write_bytes",
]


def save(
    segmentation: Segmentation,
    folder: str | os.PathLike[str],
    stem: str,
    names: Mapping[int, str] | None = None,
) -> dict[str, Path]:
    """Write the label map, the overlay, the table of segments and the summary of one image.

    Returns
    -------
    What -> path: ``labels`` (STEM_labels.png), ``overlay`` (STEM_overlay.png), ``segments`` (STEM_segments.csv) and
    ``summary`` (STEM.json). ``names`` of segments are kept in the label map.

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    folder = Path(folder)
    contents = {
        "labels": (f"{stem}_labels.png", label_png(segmentation.labels, names)),
        "overlay": (f"{stem}_overlay.png", png(overlay(segmentation))),
        "segments": (f"{stem}_segments.csv", csv_bytes(segment_table(segmentation))),
        "summary": (f"{stem}.json", (json.dumps(summary(segmentation), indent=2) + "\n").encode()),
    }
    return {what: write_bytes(folder / name, data) for what, (name, data) in contents.items()}
