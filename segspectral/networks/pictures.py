"""Pictures of communities: the sorted adjacency matrix, a drawing of a small graph, the curves of a choice.

Pillow draws the curves: matplotlib would be a further dependency for one small picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segspectral.export import colour_table
from segspectral.networks.number import Choice

if TYPE_CHECKING:
    from segspectral.networks.find import Communities

__all__ = ["DRAWN", "adjacency_picture", "choice_picture", "drawing"]

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

DRAWN = 500
"""Larger graphs are not drawn: at 900 pixels, the edges of more than 500 nodes cover each other."""

SIDE = 900
"""Side of the pictures in pixels: they fit on a laptop screen with 1080 rows."""

INK, GREY, ACCENT = (30, 30, 30), (190, 190, 190), (213, 94, 0)


def adjacency_picture(found: Communities) -> Picture:
    """Return the adjacency matrix with the nodes in order of community and degree.

    Graph edges inside a community have the community's colour, and edges between communities are grey. A pixel with
    more edges is darker.
    """
    weights = found.graph.affinity.weights
    order = np.lexsort((-found.graph.affinity.degree, found.labels))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    n = len(order)
    # In small graphs a node is a block of pixels; in large graphs many nodes share a pixel.
    side = n * max(SIDE // n, 1) if n < SIDE else SIDE
    row = np.repeat(np.arange(n), np.diff(weights.indptr))
    column = weights.indices
    cells = min(n, side)
    i, j = rank[row] * cells // n, rank[column] * cells // n
    inside = found.labels[row] == found.labels[column]
    community = np.zeros(cells, dtype=np.int64)
    community[rank * cells // n] = found.labels
    picture = np.full((cells, cells, 3), 255.0)
    table = colour_table(int(found.labels.max()) + 1).astype(np.float64)
    for kind, own in ((~inside, False), (inside, True)):
        count = np.bincount(i[kind] * cells + j[kind], minlength=cells * cells).reshape(cells, cells)
        if not count.any():
            continue
        typical = np.quantile(count[count > 0], 0.9)
        strength = np.where(count > 0, 0.25 + 0.75 * np.minimum(count / typical, 1), 0)[..., None]
        colour = table[community][:, None] if own else np.array([90.0, 90.0, 90.0])
        picture += strength * (colour - picture)
    block = side // cells
    return np.round(np.kron(picture, np.ones((block, block, 1)))).clip(0, 255).astype(np.uint8)


def drawing(found: Communities, seed: int = 0) -> Picture:
    """Return a drawing with nodes as circles in the colour of their community (Fruchterman and Reingold 1991)."""
    import networkx as nx
    import PIL.Image
    import PIL.ImageDraw

    graph = nx.from_scipy_sparse_array(found.graph.affinity.weights)
    position = nx.spring_layout(graph, seed=seed, iterations=80)
    at = np.array([position[node] for node in range(len(found.labels))])
    at = (at - at.min(axis=0)) / np.maximum(np.ptp(at, axis=0), 1e-9)
    scale, margin = 2, 60
    at = margin + at * (SIDE * scale - 2 * margin)
    sheet = PIL.Image.new("RGB", (SIDE * scale, SIDE * scale), (255, 255, 255))
    draw = PIL.ImageDraw.Draw(sheet)
    for a, b in graph.edges():
        draw.line((*at[a], *at[b]), GREY, scale)
    table = colour_table(int(found.labels.max()) + 1)
    radius = float(np.clip(120 / np.sqrt(len(at)), 5, 20))
    for (x, y), label in zip(at, found.labels, strict=True):
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=tuple(int(c) for c in table[label]), outline=INK, width=scale)
    return np.asarray(sheet.resize((SIDE, SIDE), PIL.Image.Resampling.LANCZOS))


def choice_picture(choice: Choice) -> Picture:
    """Return the curves of the three criteria, one below the other; the chosen number of communities is marked."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    width, height, left, scale = 560, 150, 60, 2
    curves = choice.curves()
    sheet = PIL.Image.new("RGB", (width * scale, height * len(curves) * scale), (255, 255, 255))
    draw, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(12 * scale)
    x = left + (choice.numbers - choice.numbers[0]) / max(len(choice.numbers) - 1, 1) * (width - left - 20)
    for part, (name, curve) in enumerate(curves.items()):
        top, bottom = part * height + 26, (part + 1) * height - 26
        y = bottom - (curve - curve.min()) / max(float(np.ptp(curve)), 1e-12) * (bottom - top)
        chosen = int(np.flatnonzero(choice.numbers == choice.number)[0])
        draw.line((x[chosen] * scale, top * scale, x[chosen] * scale, bottom * scale), ACCENT, scale)
        draw.line([(a * scale, b * scale) for a, b in zip(x, y, strict=True)], INK, scale)
        draw.text((8 * scale, (top - 22) * scale), name, INK, font)
        for value, level in ((curve.max(), top), (curve.min(), bottom)):
            draw.text(((left - 8) * scale, level * scale), f"{value:.2f}", INK, font, anchor="rm")
        every = max(1, len(x) // 20)
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            colour = ACCENT if i == chosen else INK
            draw.ellipse(((a - 3) * scale, (b - 3) * scale, (a + 3) * scale, (b + 3) * scale), fill=colour)
            if i % every == 0 or i == chosen:
                draw.text((a * scale, (bottom + 8) * scale), str(choice.numbers[i]), colour, font, anchor="mt")
    return np.asarray(sheet.resize((width, height * len(curves)), PIL.Image.Resampling.LANCZOS))
