"""A segmentation as a notebook and a terminal show it; ``Segmentation`` has these functions as methods."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.config import dump
from segspectral.export import (
    LabelMap,
    Writer,
    colour_table,
    exporters_named,
    overlay,
    png,
    segment_table,
)
from segspectral.export import save as save_files
from segspectral.extras import installed
from segspectral.files import check_folder
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.settings import head_to
from segspectral.values import Segmentation
from segspectral.wording import plural

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["as_html", "as_png", "as_text", "picture", "save", "show", "table"]

SHOWN_PIXELS = 800
"""Pictures in a notebook are reduced to this length of the longer side."""

LISTED = 8
"""The text names at most this many segments; the table in a notebook has all of them."""


def as_text(segmentation: Segmentation) -> str:
    """Return five lines: image, segments by share, superpixels and cut, settings, notes."""
    image, settings = segmentation.image, segmentation.pipeline
    height, width = image.shape[:2]
    area = np.bincount(segmentation.labels.ravel())[1:]
    numbers = [k for k in np.argsort(-area, kind="stable") if area[k] > 0]
    shares = [f"{k + 1}: {area[k] / area.sum():.0%}" for k in numbers[:LISTED]]
    more = ", ..." if len(numbers) > LISTED else ""
    head = DEFAULT_HEAD if settings.head is None else head_to(settings.head)["name"]
    how = "hierarchy" if settings.hierarchy else "model" if settings.model else f"head {head}"
    return "\n".join(
        [
            f"Segmentation of {image.name or 'an array'}, {width} x {height} pixels",
            f"  {plural(segmentation.segments, 'segment')} ({', '.join(shares)}{more})",
            f"  {plural(len(segmentation.scene.graph), 'superpixel')}, normalized cut {segmentation.ncut:.4g}",
            f"  {how}, refined by {settings.refine.name}, {sum(segmentation.seconds.values()):.2f} s",
            f"  notes: {'; '.join(segmentation.notes) or 'none'}",
        ]
    )


def picture(pixels: NDArray[np.uint8]) -> PIL.Image.Image:
    """Return a picture (H, W, 3) as a Pillow image, reduced to a size that a notebook shows."""
    import PIL.Image

    image = PIL.Image.fromarray(pixels)
    image.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
    return image


def as_png(segmentation: Segmentation) -> bytes:
    """Return the overlay as a PNG file."""
    return png(np.asarray(picture(overlay(segmentation))))


def as_html(segmentation: Segmentation) -> str:
    """Return the overlay and, folded, the table of segments, the notes and the settings."""
    from base64 import b64encode

    first, *rest = as_text(segmentation).splitlines()
    rows = segment_table(segmentation)
    colours = colour_table(len(np.bincount(segmentation.labels.ravel()))).tolist()
    head = "".join(f"<th>{escape(str(name))}</th>" for name in (rows[0] if rows else ()))
    body = "".join(
        f'<tr><td style="background:rgb{tuple(colours[row["segment"]])}"></td>'
        + "".join(f"<td>{escape(str(value))}</td>" for value in row.values())
        + "</tr>"
        for row in rows
    )
    settings = escape(dump(segmentation.pipeline))
    return (
        f'<div><img alt="{escape(first)}" src="data:image/png;base64,{b64encode(as_png(segmentation)).decode()}">'
        f"<p>{escape(first)}<br>{'<br>'.join(escape(line.strip()) for line in rest)}</p>"
        f"<details><summary>Segments</summary><table><tr><th></th>{head}</tr>{body}</table></details>"
        f"<details><summary>Settings</summary><pre>{settings}</pre></details></div>"
    )


def table(segmentation: Segmentation) -> Any:
    """Return ``segment_table`` as a pandas DataFrame with the segment as index, or as a list of rows without pandas."""
    rows = segment_table(segmentation)
    if not installed("pandas"):
        return rows
    import pandas

    return pandas.DataFrame(rows).set_index("segment")


def save(
    segmentation: Segmentation,
    folder: str | os.PathLike[str],
    formats: str | Sequence[str] = (),
    stem: str | None = None,
) -> list[Path]:
    """Write the files of ``segspectral segment`` and those of further formats; see ``Segmentation.save``."""
    stem = stem or Path(segmentation.image.name).stem
    exporters = exporters_named(formats)
    for exporter in exporters:
        exporter.check()
    check_folder(Path(folder))
    written = list(save_files(segmentation, folder, stem).values())
    if exporters:
        writer, label_map = Writer(exporters, Path(folder)), LabelMap.of(segmentation)
        writer.keep(label_map, stem)
        files, sentences = writer.write(label_map, stem)
        written += [*files, *writer.close()]
        for sentence in sentences:
            warnings.warn(sentence, stacklevel=3)
    return written


def show(segmentation: Segmentation) -> None:
    """Show a segmentation in the notebook, or its overlay in a window of the desktop."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        picture(overlay(segmentation)).show()
        return
    if get_ipython() is None:
        picture(overlay(segmentation)).show()
    else:
        display(segmentation)
