"""Label maps as tasks of Label Studio, whose segments are brush strokes in its own run lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

import segspectral
from segspectral.export.labelmap import Colour, LabelMap

__all__ = ["Task", "brush", "task", "tasks"]

LENGTHS = (3, 4, 8, 16)
"""Widths in bits of the four fields that can hold a run's length minus one."""


@dataclass(frozen=True)
class Task:
    """The part of ``tasks.json`` that comes from one image; segments have number, category, colour and brush stroke."""

    image: str
    path: Path | None
    height: int
    width: int
    segments: tuple[tuple[int, str, Colour, tuple[int, ...]], ...]


def task(label_map: LabelMap, stem: str) -> Task:
    segments = tuple(
        (s, label_map.category(s), label_map.colour(s), tuple(brush(label_map.labels == s))) for s in label_map.segments
    )
    height, width = label_map.labels.shape
    return Task(label_map.image, label_map.path, height, width, segments)


def tasks(found: Sequence[Task], folder: Path | None = None) -> dict[str, bytes]:
    """Return ``tasks.json``, a task per image with its segments as predictions, and the project's ``labels.xml``.

    An image is named by its path on this machine. Label Studio opens it if LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED is
    set and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is "/". An image whose path is unknown is named by its name.
    """
    colours: dict[str, Colour] = {}
    listed = []
    for one in found:
        strokes = []
        for segment, category, colour, counts in one.segments:
            colours.setdefault(category, colour)
            strokes.append(
                {
                    "id": f"segment-{segment}",
                    "type": "brushlabels",
                    "from_name": "tag",
                    "to_name": "image",
                    "original_width": one.width,
                    "original_height": one.height,
                    "image_rotation": 0,
                    "value": {"format": "rle", "rle": counts, "brushlabels": [category]},
                    "meta": {"text": [f"segment {segment}"]},
                }
            )
        version = f"segspectral {segspectral.__version__}"
        listed.append(
            {"data": {"image": _address(one)}, "predictions": [{"model_version": version, "result": strokes}]}
        )
    labels = [
        f"    <Label value={quoteattr(name)} background={quoteattr('#{:02x}{:02x}{:02x}'.format(*colour))}/>"
        for name, colour in colours.items()
    ]
    interface = [
        "<View>",
        '  <Image name="image" value="$image" zoom="true"/>',
        '  <BrushLabels name="tag" toName="image">',
        *labels,
        "  </BrushLabels>",
        "</View>",
    ]
    return {
        "labelstudio/tasks.json": json.dumps(listed, ensure_ascii=False).encode("utf-8", "backslashreplace"),
        "labelstudio/labels.xml": ("\n".join(interface) + "\n").encode("utf-8", "backslashreplace"),
    }


def _address(one: Task) -> str:
    if one.path is None:
        return one.image
    path = str(one.path.absolute()).lstrip("/")
    return f"/data/local-files/?d={quote(path, errors='surrogateescape')}"


def brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return the bytes of a mask (H, W) in Label Studio's run lengths, those of the package ``@thi.ng/rle-pack``.

    The mask is a picture of four equal channels with values 0 and 255, row by row. A stream of bits holds the number
    of values (32 bits), the width of a value minus one (5), and the four ``LENGTHS`` minus one (4 each). A run follows
    as 1, the number of the field that holds its length (2), its length minus one, and its value (8).

    >>> len(brush(np.ones((4, 4), dtype=bool)))
    9
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    bits = [f"{4 * flat.size:032b}", f"{8 - 1:05b}", *(f"{width - 1:04b}" for width in LENGTHS)]
    longest = 1 << LENGTHS[-1]
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), flat.size], strict=True):
        value = "11111111" if flat[start] else "00000000"
        whole, rest = divmod(4 * (end - start), longest)
        for length in [longest] * whole + [rest] * (rest > 0):
            field = next(k for k, width in enumerate(LENGTHS) if length <= 1 << width)
            bits.append(f"1{field:02b}{length - 1:0{LENGTHS[field]}b}{value}")
    stream = "".join(bits)
    return list(int(stream.ljust(-(-len(stream) // 8) * 8, "0"), 2).to_bytes(-(-len(stream) // 8), "big"))
