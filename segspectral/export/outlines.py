"""Exact outlines of the segments of a label map along the sides of pixels, and SVG.

Vertices are corners of pixels: x goes to the right from 0 to W, y goes down from 0 to H. Two neighbours share every
vertex of their border, so ``segspectral.export.geo`` can simplify them together without gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from segspectral.export.labelmap import LabelMap

__all__ = ["Piece", "keyholed", "outlines", "svg"]

Ring = NDArray[np.int64]
"""(V, 2) x and y of the vertices of a closed ring; the first vertex is not repeated at the end."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A 4-connected part of a segment. The outer ring is clockwise on the screen, holes are counter-clockwise."""

    segment: int
    outer: Ring
    holes: tuple[Ring, ...]


def outlines(labels: NDArray[np.int32], every_corner: bool = False) -> list[Piece]:
    """Return the pieces of all segments in the order of their first pixels; void has no pieces.

    Parameters
    ----------
    labels : (H, W), 0 = void
    every_corner : also keep the corners of pixels at which the outline goes straight on

    Notes
    -----
    A side of a pixel belongs to the outline if the pixel across it belongs to another piece. Each side has a direction
    with its piece on the right. The sides are linked into rings. Where two pixels of a piece touch only at a corner,
    the ring turns left, so the area between them gets a ring of its own. No ring visits a corner twice, and therefore
    the polygons are valid (OGC Simple Features, 6.1.11).
    """
    from skimage.measure import label

    piece = label(labels, connectivity=1, background=0).astype(np.int64)
    owner, start, direction, end = _sides(piece)
    width = labels.shape[1] + 1
    vertices = (labels.shape[0] + 1) * width
    key = (owner * vertices + start) * 4 + direction
    order = np.argsort(key)
    key, owner, start, direction, end = key[order], owner[order], start[order], direction[order], end[order]
    following = np.full(len(key), -1)
    for turn in (1, 0, 3):  # right, straight on, left: the last one that exists wins
        wanted = (owner * vertices + end) * 4 + (direction + turn) % 4
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        following = np.where(key[at] == wanted, at, following)

    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    links, seen = following.tolist(), np.zeros(len(key), dtype=bool)
    for first in range(len(links)):
        if seen[first]:
            continue
        ring, side = [], first
        while not seen[side]:
            seen[side] = True
            ring.append(side)
            side = links[side]
        sides = np.array(ring)
        if not every_corner:
            sides = sides[direction[sides] != direction[np.roll(sides, 1)]]
        points = np.stack([start[sides] % width, start[sides] // width], axis=1)
        if _area(points) > 0:
            outer[int(owner[first])] = points
        else:
            holes.setdefault(int(owner[first]), []).append(points)
    first_pixel = np.unique(piece.ravel(), return_index=True)
    segment_of = dict(zip(first_pixel[0].tolist(), labels.ravel()[first_pixel[1]].tolist(), strict=True))
    return [Piece(segment_of[p], outer[p], tuple(holes.get(p, ()))) for p in sorted(outer)]


def _sides(piece: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return owner, start, direction (right, down, left, up) and end of the sides; a vertex is y * (W + 1) + x."""
    padded = np.pad(piece, 1)
    width = piece.shape[1] + 1
    above, below = padded[:-1, 1:-1], padded[1:, 1:-1]
    left, right = padded[1:-1, :-1], padded[1:-1, 1:]
    parts = []
    for owner, other, direction, start_offset, end_offset in (
        (below, above, 0, 0, 1),  # the top side, to the right
        (left, right, 1, 0, width),  # the right side, downwards
        (above, below, 2, 1, 0),  # the bottom side, to the left
        (right, left, 3, width, 0),  # the left side, upwards
    ):
        y, x = np.nonzero((owner != other) & (owner > 0))
        vertex = y * width + x
        parts.append((owner[y, x], vertex + start_offset, np.full(len(y), direction), vertex + end_offset))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _area(ring: Ring) -> int:
    """Return twice the signed area; it is positive if the ring is clockwise on the screen."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def keyholed(piece: Piece) -> Ring:
    """Return one ring around the piece and its holes, joined by cuts of no width.

    A cut joins each hole to the nearest vertex of the ring. The two sides of a cut coincide, so they do not change
    which pixel centres lie inside: filled by the even-odd rule, the ring gives exactly the piece.
    """
    ring = piece.outer
    for hole in piece.holes:
        distance = np.abs(ring[:, None] - hole[None]).sum(axis=2)
        a, b = np.unravel_index(distance.argmin(), distance.shape)
        turned = np.roll(hole, -int(b), axis=0)
        ring = np.concatenate([ring[: a + 1], turned, turned[:1], ring[a:]])
    return ring


def _printable(name: str) -> str:
    """Replace control characters and undecodable bytes, which file names may have and XML cannot hold."""
    return "".join(c if c.isprintable() else "_" for c in name)


def svg(label_map: LabelMap) -> bytes:
    """Return an SVG with a path per segment and holes by the even-odd rule; integer coordinates keep it exact."""
    height, width = label_map.labels.shape
    paths: dict[int, list[str]] = {}
    for piece in outlines(label_map.labels):
        for ring in (piece.outer, *piece.holes):
            points = " ".join(f"{x},{y}" for x, y in ring.tolist())
            paths.setdefault(piece.segment, []).append(f"M{points}Z")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'shape-rendering="crispEdges" fill-rule="evenodd">',
        f"<title>{escape(_printable(label_map.image))}</title>",
    ]
    for segment in label_map.segments:
        colour = "#{:02x}{:02x}{:02x}".format(*label_map.colour(segment))
        lines.append(
            f'<path id="segment-{segment}" fill="{colour}" d="{"".join(paths[segment])}">'
            f"<title>{escape(label_map.name(segment))}</title></path>"
        )
    return ("\n".join([*lines, "</svg>"]) + "\n").encode()
