"""Figures of how an image was segmented, and of its segmentations with several numbers of segments.

They are grids of panels of equal size with titles, drawn with Pillow and OpenCV.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.export import colour_table, tinted
from segspectral.spectral.eigen import spectral_embedding
from segspectral.values import Segmentation, Superpixels
from segspectral.values.labels import boundaries

__all__ = [
    "VECTORS",
    "contact_sheet",
    "eigengap_curve",
    "eigenvector_pictures",
    "entropy",
    "figure",
    "numbered",
]

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Panel = tuple[str, Picture]
"""A title, and what is below it."""

CUTS = (4, 8, 16, 32)
"""Into how many regions a hierarchy is cut in its figure."""

VECTORS = 4
"""How many eigenvectors are shown. The first eigenvector is constant and is left out."""

INK, PAPER, GREY, ACCENT = (30, 30, 30), (255, 255, 255), (130, 130, 130), (213, 94, 0)
"""Colours (RGB) of text and lines, of the sheet, of axes, and of what is highlighted."""

PANEL, TITLE, GAP, COLUMNS = 380, 26, 12, 4
"""Width of a panel, height of a title and distance between panels in pixels, and panels per row. Four panels fit a
sheet of 1600 pixels."""

VOID_GREY = 170
"""Grey value of void pixels in pictures."""


def figure(segmentation: Segmentation) -> Picture:
    """All stages of one image: those of a head, or those of a cut of the hierarchy."""
    height, width = _panel_size(segmentation.image.shape)
    image, count = segmentation.image, len(segmentation.superpixels)
    first = [
        (f"{image.name}, {image.shape[1]} x {image.shape[0]}", _shrunk(image.uint8, height, width)),
        (f"{count} superpixels", _superpixel_picture(segmentation, height, width)),
    ]
    others = _of_hierarchy if segmentation.pipeline.hierarchy else _of_head
    return _grid([*first, *others(segmentation, height, width)], COLUMNS)


def _of_hierarchy(segmentation: Segmentation, height: int, width: int) -> list[Panel]:
    """The level at which each border disappears, the segments, and cuts of the same tree into ``CUTS`` regions."""
    tree = segmentation.hierarchy
    cuts = [segmentation.labels, *(tree.labels(segments=min(k, len(tree.superpixels))) for k in CUTS)]
    titles = [f"{segmentation.segments} segments", *(f"cut into {cut.max()}" for cut in cuts[1:])]
    levels = np.round(255 * (1 - np.sqrt(tree.contour_map))).astype(np.uint8)
    return [
        ("borders, darker: a higher level", _shrunk(np.repeat(levels[..., None], 3, axis=2), height, width)),
        *(
            (title, _tinted(segmentation, cut, height, width, table))
            for title, cut, table in zip(titles, cuts, followed(cuts), strict=True)
        ),
    ]


def _of_head(segmentation: Segmentation, height: int, width: int) -> list[Panel]:
    """The entropy of the memberships, the eigenvalues, the first eigenvectors, and what refinement changed."""
    image, labels, settings = segmentation.image, segmentation.labels, segmentation.pipeline
    before = before_refinement(segmentation)
    changed = (before != labels) & (labels > 0)
    uncertainty = entropy(segmentation)
    vectors = eigenvector_pictures(segmentation)
    return [
        (
            f"entropy of memberships, mean {uncertainty[labels > 0].mean():.2f}",
            _shrunk(_entropy_picture(uncertainty), height, width),
        ),
        (
            f"eigenvalues; {segmentation.segments} segments",
            eigengap_curve(segmentation, max(height, 160), max(width, 240)),
        ),
        *((f"eigenvector {i}", _shrunk(picture, height, width)) for i, picture in enumerate(vectors, start=2)),
        *[("", np.full((height, width, 3), 255, np.uint8))] * (VECTORS - len(vectors)),
        ("before refinement", _tinted(segmentation, before, height, width)),
        (f"after refinement ({settings.refine.name})", _tinted(segmentation, labels, height, width)),
        (
            f"changed: {100 * changed[labels > 0].mean():.1f} % of pixels",
            _shrunk(_marked(image.uint8, changed), height, width),
        ),
    ]


def contact_sheet(results: Sequence[Segmentation]) -> Picture:
    """The photograph, and its segmentations with several numbers of segments."""
    first = results[0]
    height, width = _panel_size(first.image.shape)
    panels = [(first.image.name, _shrunk(first.image.uint8, height, width))]
    for r, table in zip(results, followed([r.labels for r in results]), strict=True):
        panels.append((f"{r.segments} segments, Ncut {r.ncut:.3f}", _tinted(r, r.labels, height, width, table)))
    return _grid(panels, min(COLUMNS, len(panels)))


def followed(maps: Sequence[NDArray[np.int32]]) -> list[NDArray[np.uint8]]:
    """The colours (K + 1, 3) of each label map (H, W), so that a region keeps its colour from one map to the next.

    Segments of two maps are paired so that they have as many pixels as possible in common (Kuhn 1955). Each pair has
    one colour; what has no partner gets a colour that no earlier map has.
    """
    from scipy.optimize import linear_sum_assignment

    tables: list[NDArray[np.int64]] = [np.arange(int(maps[0].max()) + 1)]
    used = len(tables[0])
    for before, now in itertools.pairwise(maps):
        shape = int(before.max()) + 1, int(now.max()) + 1
        common = np.bincount(before.reshape(-1) * shape[1] + now.reshape(-1), minlength=shape[0] * shape[1])
        common = common.reshape(shape)[1:, 1:]
        colour = np.zeros(shape[1], np.int64)
        for i, j in zip(*linear_sum_assignment(common, maximize=True), strict=True):
            if common[i, j]:
                colour[j + 1] = tables[-1][i + 1]
        new = np.flatnonzero(colour[1:] == 0) + 1
        colour[new] = np.arange(used, used + len(new))
        used += len(new)
        tables.append(colour)
    colours = colour_table(used)
    return [colours[table] for table in tables]


def before_refinement(segmentation: Segmentation) -> NDArray[np.int32]:
    """(H, W) the most likely segment of each pixel's superpixel, 0 on void."""
    return segmentation.superpixels.to_pixels(segmentation.membership.labels.astype(np.int32) + np.int32(1))


def entropy(segmentation: Segmentation) -> NDArray[np.float32]:
    """(H, W) the entropy of the memberships, from 0 (certain) to 1 (all segments are equally likely); 0 on void."""
    p = segmentation.membership.probabilities.astype(np.float64)
    values = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1) / np.log(max(p.shape[1], 2))
    return segmentation.superpixels.to_pixels(np.clip(values, 0, 1).astype(np.float32))


def eigenvector_pictures(segmentation: Segmentation) -> list[Picture]:
    """Up to ``VECTORS`` pictures (H, W, 3): eigenvectors 2, 3, ... of the rw-Laplacian, from blue to white to brown.

    White is zero, and full colour is the 98th percentile of the magnitude. Void pixels are grey.
    """
    superpixels = segmentation.superpixels
    vectors, _ = spectral_embedding(segmentation.affinity, VECTORS + 1, seed=segmentation.pipeline.seed)
    pictures = []
    for vector in vectors[:, 1:].T:
        scale = np.quantile(np.abs(vector), 0.98) or 1.0
        part = np.clip(vector / scale, -1, 1)[:, None]
        ends = np.where(part < 0, (0, 90, 160), (150, 75, 0))
        colours = np.round(255 + np.abs(part) * (ends - 255.0)).astype(np.uint8)
        pictures.append(superpixels.to_pixels(colours, void=VOID_GREY))
    return pictures


def eigengap_curve(segmentation: Segmentation, height: int = 300, width: int = PANEL) -> Picture:
    """A plot of the smallest eigenvalues, with the gap after the number of segments highlighted."""
    import PIL.Image
    import PIL.ImageDraw

    values = segmentation.membership.eigenvalues
    scale = 2  # The plot is drawn at twice its size and then shrunk, so that lines are smooth.
    sheet = PIL.Image.new("RGB", (width * scale, height * scale), PAPER)
    draw, font = PIL.ImageDraw.Draw(sheet), _font(13 * scale)
    if values is None or len(values) < 2:
        draw.text((20, 20), "the head computes no eigenvalues", INK, font)
        return _shrunk(np.asarray(sheet), height, width)
    left, right, top, bottom = 52 * scale, (width - 14) * scale, 14 * scale, (height - 30) * scale
    highest = float(values.max()) or 1.0

    def at(k: int, value: float) -> tuple[float, float]:
        return left + (k - 1) / (len(values) - 1) * (right - left), bottom - value / highest * (bottom - top)

    chosen = segmentation.segments
    if chosen < len(values):
        (x1, y1), (x2, y2) = at(chosen, float(values[chosen - 1])), at(chosen + 1, float(values[chosen]))
        draw.rectangle((x1, top, x2, bottom), fill=(253, 232, 214))
        draw.line((x1, y1, x2, y2), ACCENT, 4 * scale)
    draw.line((left, top, left, bottom, right, bottom), GREY, scale)
    for tick in (0.0, highest / 2, highest):
        draw.text((left - 6 * scale, at(1, tick)[1]), f"{tick:.2g}", INK, font, anchor="rm")
    every = max(1, round(len(values) * 24 * scale / (right - left)))
    points = [at(k, float(value)) for k, value in enumerate(values, start=1)]
    for k, (x, y) in enumerate(points, start=1):
        if (k - 1) % every == 0 or k == chosen:
            draw.text((x, bottom + 6 * scale), str(k), ACCENT if k == chosen else INK, font, anchor="mt")
        radius = 3 * scale
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ACCENT if k == chosen else INK)
    draw.line(points, INK, scale)
    return _shrunk(np.asarray(sheet), height, width)


def numbered(photograph: Picture, places: Mapping[int, tuple[int, int]]) -> Picture:
    """The photograph (H, W, 3) with a ring around each place, its row and column, and the number of the place."""
    import PIL.Image
    import PIL.ImageDraw

    sheet = PIL.Image.fromarray(photograph.copy())
    draw = PIL.ImageDraw.Draw(sheet)
    radius = max(4, round(min(photograph.shape[:2]) / 60))
    font = _font(max(12, 3 * radius))
    for number, (row, col) in places.items():
        # A dark line outside a light one shows on any ground; the pixel itself stays as it is.
        for size, ink, line in ((radius + 2, INK, 3), (radius, PAPER, 2)):
            draw.ellipse((col - size, row - size, col + size, row + size), outline=ink, width=line)
        left = col > photograph.shape[1] * 0.9
        beside = col - radius - 4 if left else col + radius + 4
        anchor = "rm" if left else "lm"
        draw.text((beside, row), str(number), PAPER, font, anchor=anchor, stroke_width=2, stroke_fill=INK)
    return np.array(sheet)


def _superpixel_picture(segmentation: Segmentation, height: int, width: int) -> Picture:
    superpixels: Superpixels = segmentation.superpixels
    mean = np.round(superpixels.pool(segmentation.image.uint8.astype(np.float32))).astype(np.uint8)
    picture = _shrunk(superpixels.to_pixels(mean, void=VOID_GREY), height, width)
    # Borders are drawn on the small label map, because borders of the large one would blur when it is shrunk.
    picture[boundaries(_small(superpixels.labels, height, width))] = 255
    return picture


def _tinted(
    segmentation: Segmentation,
    labels: NDArray[np.int32],
    height: int,
    width: int,
    table: NDArray[np.uint8] | None = None,
) -> Picture:
    photograph = _shrunk(segmentation.image.uint8, height, width)
    return tinted(photograph, _small(labels, height, width), table)


def _entropy_picture(values: NDArray[np.float32]) -> Picture:
    import cv2

    coloured = cv2.applyColorMap(np.round(values * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(coloured[..., ::-1]).astype(np.uint8)


def _marked(photograph: Picture, marks: NDArray[np.bool_]) -> Picture:
    """The photograph in grey, the marked pixels in colour."""
    picture = np.repeat(photograph.mean(axis=2, keepdims=True) * 0.5 + 110, 3, axis=2)
    picture[marks] = ACCENT
    return np.round(picture).astype(np.uint8)


def _panel_size(shape: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of a panel: ``PANEL`` pixels wide, or less for tall images."""
    scale = min(PANEL / shape[1], 1.2 * PANEL / shape[0])  # A panel is at most 1.2 times PANEL pixels high.
    return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)


def _shrunk(picture: Picture, height: int, width: int) -> Picture:
    import cv2

    if picture.shape[:2] == (height, width):
        return picture
    way = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way)).astype(np.uint8)


def _small(labels: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    import cv2

    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)).astype(np.int32)


def _grid(panels: Sequence[tuple[str, Picture]], columns: int) -> Picture:
    import PIL.Image
    import PIL.ImageDraw

    height = max(picture.shape[0] for _, picture in panels)
    cell = max(200, *(picture.shape[1] for _, picture in panels))  # room for a title above a narrow image
    rows = -(-len(panels) // columns)
    size = (columns * (cell + GAP) + GAP, rows * (height + TITLE + GAP) + GAP)
    sheet = PIL.Image.new("RGB", size, PAPER)
    draw = PIL.ImageDraw.Draw(sheet)
    for i, (title, picture) in enumerate(panels):
        left, top = GAP + i % columns * (cell + GAP), GAP + i // columns * (height + TITLE + GAP)
        draw.text((left, top + TITLE / 2), _fitting(title, cell), INK, _font(15), anchor="lm")
        sheet.paste(PIL.Image.fromarray(picture), (left, top + TITLE))
    return np.array(sheet)


def _font(size: int) -> Any:
    import PIL.ImageFont

    return PIL.ImageFont.load_default(size)


def _fitting(text: str, width: int) -> str:
    """The text, shortened in the middle until it is at most ``width`` pixels wide."""
    font, keep = _font(15), len(text)
    while keep > 8 and font.getlength(text) > width:
        keep -= 1
        text = f"{text[: keep // 2]}…{text[len(text) - keep // 2 :]}"
    return text
