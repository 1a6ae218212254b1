"""Segmentations written to files.

``save`` writes the files that every image gets. ``EXPORTERS`` lists all further formats, for annotation tools, maps
and tables. Each file is written under a temporary name, and those of one image are then renamed together, so
no file and no set of files is ever half-written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from segspectral.export.exporters import EXPORTERS, Exporter, Writer, exporters_named
from segspectral.export.labelmap import LabelMap, names_of, parse_names, read_label_map, stem_of
from segspectral.export.naming import names_below, result_stems
from segspectral.export.pictures import colour_table, contour_png, jpeg, label_png, overlay, png, tinted
from segspectral.export.tables import csv_bytes, segment_table, summary, versions
from segspectral.files import link_to, whole_set, write_bytes
from segspectral.images.place import read_georeference
from segspectral.registry import Look
from segspectral.values import Segmentation
from segspectral.values.labels import boundaries

__all__ = [
    "EXPORTERS",
    "Exporter",
    "LabelMap",
    "Writer",
    "boundaries",
    "colour_table",
    "contour_png",
    "csv_bytes",
    "exporters_named",
    "jpeg",
    "label_png",
    "names_below",
    "overlay",
    "parse_names",
    "png",
    "read_georeference",
    "read_label_map",
    "result_stems",
    "save",
    "segment_table",
    "stem_of",
    "summary",
    "tinted",
    "versions",
    "write_bytes",
]


@whole_set()
def save(
    segmentation: Segmentation,
    folder: str | os.PathLike[str],
    stem: str,
    names: Mapping[int, str] | None = None,
    source: Path | None = None,
    look: Look = Look(),
) -> dict[str, Path]:
    """Write the label map, the overlay, the table of segments and the summary of one image.

    Parameters
    ----------
    names : segment -> name, stored in the label map; the segments of a model all have names
    source : file of the photograph; the summary then holds its path relative to the folder
    look : how the overlay is drawn

    Returns
    -------
    The paths by these names: ``labels`` (STEM_labels.png), ``overlay`` (STEM_overlay.png), ``segments``
    (STEM_segments.csv) and ``summary`` (STEM.json).

    Raises
    ------
    OutputError
        The folder cannot be made or written to.
    """
    folder = Path(folder)
    known = summary(segmentation)
    if source is not None and (link := link_to(source, folder)) is not None:
        known = {"image": known["image"], "source": link, **known}
    contents = {
        "labels": (f"{stem}_labels.png", label_png(segmentation.labels, names_of(segmentation, names))),
        "overlay": (f"{stem}_overlay.png", png(overlay(segmentation, look, names))),
        "segments": (f"{stem}_segments.csv", csv_bytes(segment_table(segmentation))),
        "summary": (f"{stem}.json", (json.dumps(known, indent=2) + "\n").encode()),
    }
    return {what: write_bytes(folder / name, data) for what, (name, data) in contents.items()}
