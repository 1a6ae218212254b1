"""Regions for the ROI Manager of ImageJ and Fiji, written by ``roifile`` (extra ``imagej``)."""

from __future__ import annotations

import re
from collections import Counter

from segspectral.export.labelmap import LabelMap
from segspectral.export.outlines import keyholed, outlines
from segspectral.files import zipped

__all__ = ["rois"]


def rois(label_map: LabelMap) -> bytes:
    """Return a zip with one traced outline for each connected piece of a segment; holes are cut open.

    The vertices are corners of pixels, as ImageJ's wand makes them, so a filled outline covers the pixels of its piece
    and no others. The name of an outline is the number of the segment, its category and the number of the piece; the
    colour is that of the segment.
    """
    from roifile import ROI_TYPE, ImagejRoi

    files: dict[str, bytes] = {}
    pieces: Counter[int] = Counter()
    for piece in outlines(label_map.labels):
        segment = piece.segment
        pieces[segment] += 1
        # The name is that of a file in the zip; what a file system or ImageJ's macros could stumble over is left out.
        category = re.sub(r"[^\w -]", "_", label_map.category(segment))
        roi = ImagejRoi.frompoints(keyholed(piece), name=f"{segment:05d} {category} {pieces[segment]}")
        roi.roitype = ROI_TYPE.TRACED
        roi.stroke_color = bytes([255, *label_map.colour(segment)])
        files[f"{roi.name}.roi"] = roi.tobytes()
    return zipped(files.items())
