"""Label map -> outlines along the edges of pixels, exact and without gaps; SVG.

Vertices stand on the corners of pixels: x to the right from 0 to W, y down from 0 to H. Two neighbours share every
vertex of their border, so that simplifying them together (``segspectral.export.geo``) leaves no slivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from segspectral.export.labelmap import LabelMap

__all__ = ["Piece", "keyholed", "outlines", "svg"]

Ring = NDArray[np.int64]
"""(V, 2) x and y; closed by going back to the first vertex, which is not repeated."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A 4-connected part of a segment: its outer ring clockwise on the screen, its holes the other way round."""

    segment: int
    outer: Ring
    holes: tuple[Ring, ...]


def outlines(labels: NDArray[np.int32], every_corner: bool = False) -> list[Piece]:
    """The pieces of all segments, in order of their first pixel; void has none.

    Parameters
    ----------
    labels : (H, W), 0 = void
    every_corner : keep also the corners of pixels at which the outline goes straight on

    Notes
    -----
    Each side of a pixel that faces another piece is an edge with the piece on its right. The edges of a piece are
    linked into rings by turning left where two of its pixels meet at a corner: what lies between them there gets a
    ring of its own, so that no ring visits a corner twice and the polygons are valid (OGC Simple Features, 6.1.11).
    """
    from skimage.measure import label

    piece = label(labels, connectivity=1, background=0).astype(np.int64)
    owner, start, direction, end = _edges(piece)
    width = labels.shape[1] + 1
    vertices = (labels.shape[0] + 1) * width
    key = (owner * vertices + start) * 4 + direction
    order = np.argsort(key)
    key, owner, start, direction, end = key[order], owner[order], start[order], direction[order], end[order]
    following = np.full(len(key), -1)
    for turn in (1, 0, 3):  # right, straight on, left: the last that exists is kept
        wanted = (owner * vertices + end) * 4 + (direction + turn) % 4
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        following = np.where(key[at] == wanted, at, following)

    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    links, seen = following.tolist(), np.zeros(len(key), dtype=bool)
    for first in range(len(links)):
        if seen[first]:
            continue
        ring, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            ring.append(edge)
            edge = links[edge]
        edges = np.array(ring)
        if not every_corner:
            edges = edges[direction[edges] != direction[np.roll(edges, 1)]]
        points = np.stack([start[edges] % width, start[edges] // width], axis=1)
        if _area(points) > 0:
            outer[int(owner[first])] = points
        else:
            holes.setdefault(int(owner[first]), []).append(points)
    first_pixel = np.unique(piece.ravel(), return_index=True)
    segment_of = dict(zip(first_pixel[0].tolist(), labels.ravel()[first_pixel[1]].tolist(), strict=True))
    return [Piece(segment_of[p], outer[p], tuple(holes.get(p, ()))) for p in sorted(outer)]


def _edges(piece: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Owner, start, direction (right, down, left, up) and end of the sides of pixels; vertex = y * (W + 1) + x."""
    padded = np.pad(piece, 1)
    width = piece.shape[1] + 1
    above, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    parts = []
    for owner, other, direction, start_offset, end_offset in (
        (below, above, 0, 0, 1),  # along its top to the right
        (left, right, 1, 0, width),  # along its right side down
        (above, below, 2, 1, 0),  # along its bottom to the left
        (right, left, 3, width, 0),  # along its left side up
    ):
        y, x = np.nonzero((owner != other) & (owner > 0))
        vertex = y * width + x
        parts.append((owner[y, x], vertex + start_offset, np.full(len(y), direction), vertex + end_offset))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _area(ring: Ring) -> int:
    """Twice the signed area; positive clockwise on the screen."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def keyholed(piece: Piece) -> Ring:
    """One ring around the piece and its holes, joined by cuts of no width; filled by the even-odd rule it is exact.

    Each hole is cut open to the ring at the nearest vertex: the two sides of a cut coincide, so that filling the
    pixels whose centres lie inside is not touched by where a cut runs.
    """
    ring = piece.outer
    for hole in piece.holes:
        distance = np.abs(ring[:, None] - hole[None]).sum(axis=2)
        a, b = np.unravel_index(distance.argmin(), distance.shape)
        turned = np.roll(hole, -int(b), axis=0)
        ring = np.concatenate([ring[: a + 1], turned, turned[:1], ring[a:]])
    return ring


def _printable(name: str) -> str:
    """XML has no way to write control characters and bytes that are no text, which file names may have."""
    return "".join(c if c.isprintable() else "_" for c in name)


def svg(item: LabelMap) -> bytes:
    """A path per segment, holes cut out by the even-odd rule; whole numbers, so that nothing is lost."""
    height, width = item.labels.shape
    paths: dict[int, list[str]] = {}
    for piece in outlines(item.labels):
        for ring in (piece.outer, *piece.holes):
            points = " ".join(f"{x},{y}" for x, y in ring.tolist())
            paths.setdefault(piece.segment, []).append(f"M{points}Z")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'shape-rendering="crispEdges" fill-rule="evenodd">',
        f"<title>{escape(_printable(item.image))}</title>",
    ]
    for segment in item.segments:
        colour = "#{:02x}{:02x}{:02x}".format(*item.colour(segment))
        lines.append(
            f'<path id="segment-{segment}" fill="{colour}" d="{"".join(paths[segment])}">'
            f"<title>{escape(item.name(segment))}</title></path>"
        )
    return ("\n".join([*lines, "</svg>"]) + "\n").encode()
