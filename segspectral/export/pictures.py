"""Pictures of label maps: indexed PNG, overlay, borders, and the colours of segments."""

from __future__ import annotations

import colorsys
import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.registry import Look
from segspectral.values import Segmentation
from segspectral.values.labels import boundaries

__all__ = ["colour_table", "contour_png", "jpeg", "label_png", "overlay", "png", "tinted"]

BRIGHTNESS = 0.3
"""How much of a tint changes the brightness: enough to tell segments apart on grey, little for the contrast."""

DARKENED, LIGHT = 0.6, 255
"""The lines beside a border darken the photograph by this factor; the border itself is this grey."""

KEYWORD = "segspectral"
"""Keyword of the PNG text chunk that holds names and colours as JSON."""


def label_png(
    labels: NDArray[np.int32],
    names: Mapping[int, str] | None = None,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> bytes:
    """Return an indexed PNG with pixel value = segment and 0 = void, or a 16-bit grey PNG for more than 255 segments.

    Names, and colours other than those of ``colour_table``, are stored in a text chunk that only segspectral reads.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    names, colours = names or {}, colours or {}
    info = PngInfo()
    if names or colours:
        info.add_itxt(KEYWORD, json.dumps({"names": names, "colours": colours}, ensure_ascii=False))
    buffer = io.BytesIO()
    if labels.max() > 255:
        Image.fromarray(labels.astype(np.uint16)).save(buffer, "PNG", pnginfo=info)
    else:
        table = colour_table(256).copy()
        for segment, colour in colours.items():
            table[segment] = colour
        picture = Image.fromarray(labels.astype(np.uint8)).convert("L")
        picture.putpalette(table.tobytes())
        picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def overlay(
    segmentation: Segmentation, look: Look = Look(), names: Mapping[int, str] | None = None
) -> NDArray[np.uint8]:
    """Return the photograph (H, W, 3) with its segments; void is a grey checker. ``names``: segment -> name."""
    return tinted(segmentation.image.uint8, segmentation.labels, look=look, names=names)


def tinted(
    photograph: NDArray[np.uint8],
    labels: NDArray[np.int32],
    table: NDArray[np.uint8] | None = None,
    look: Look = Look(),
    names: Mapping[int, str] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture of ``overlay`` from its parts; ``table`` (K + 1, 3) holds the colour of each segment.

    With the style ``mean`` these are the mean colours of the segments in the photograph.

    A tint changes the hue of a pixel and little of its brightness, so that the photograph keeps its contrast. A border
    is a light line between dark ones, which shows on any ground.
    """
    if look.style == "mean":
        table = _mean_colours(photograph, labels)
    elif table is None:
        table = colour_table(int(labels.max()) + 1)
    picture = photograph.copy()
    if look.style != "borders":
        picture = _with_tint(picture, labels, table, look.opacity)
    rows, cols = np.nonzero(labels == 0)
    picture[rows, cols] = np.where((rows // 8 + cols // 8) % 2, 200, 150)[:, None]
    if look.style != "tint":
        _draw_borders(picture, labels)
    if look.numbers:
        picture = _with_numbers(picture, labels, names or {})
    return picture


def _mean_colours(photograph: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(K + 1, 3) the mean colour of each segment."""
    flat = labels.reshape(-1)
    area = np.maximum(np.bincount(flat), 1)
    sums = [np.bincount(flat, channel.reshape(-1)) for channel in np.moveaxis(photograph, -1, 0)]
    return np.round(np.stack(sums, axis=1) / area[:, None]).astype(np.uint8)


def _with_tint(
    picture: NDArray[np.uint8], labels: NDArray[np.int32], table: NDArray[np.uint8], opacity: float
) -> NDArray[np.uint8]:
    import cv2

    light, *hue = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
    colours = cv2.cvtColor(np.ascontiguousarray(table[None]), cv2.COLOR_RGB2YCrCb)[0]
    parts = []
    for channel, (values, share) in enumerate(
        zip((light, *hue), (opacity * BRIGHTNESS, opacity, opacity), strict=True)
    ):
        parts.append(cv2.addWeighted(values, 1 - share, np.take(colours[:, channel], labels), share, 0))
    return np.asarray(cv2.cvtColor(cv2.merge(parts), cv2.COLOR_YCrCb2RGB)).astype(np.uint8, copy=False)


def _draw_borders(picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> None:
    import cv2

    width = max(1, round(max(labels.shape) / 1200))
    border = boundaries(labels).astype(np.uint8)
    light = border if width == 1 else cv2.dilate(border, np.ones((width, width), np.uint8))
    dark = cv2.dilate(border, np.ones((width + 2,) * 2, np.uint8)).astype(bool)
    light = light.astype(bool)
    picture[dark] = np.round(picture[dark] * np.float32(DARKENED))
    picture[light] = LIGHT


def _with_numbers(picture: NDArray[np.uint8], labels: NDArray[np.int32], names: Mapping[int, str]) -> NDArray[np.uint8]:
    """Each number or name at the place in its segment that is farthest from all borders; a centroid may lie outside."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    from segspectral.values.distances import distances

    inside = (~np.pad(boundaries(labels), 1, constant_values=True)) & (np.pad(labels, 1) > 0)
    depth = distances(inside)[1:-1, 1:-1]
    order = np.lexsort((depth.reshape(-1), labels.reshape(-1)))
    last = np.flatnonzero(np.diff(labels.reshape(-1)[order], append=-1))
    sheet = PIL.Image.fromarray(picture)
    draw = PIL.ImageDraw.Draw(sheet)
    largest = max(12.0, max(labels.shape) / 32)
    for place in order[last]:
        (row, column), number = divmod(int(place), labels.shape[1]), int(labels.reshape(-1)[place])
        if number == 0:
            continue
        text = names.get(number, str(number))
        # The text may be as wide as the segment is there, but stays readable.
        size = min(largest, max(9.0, 2.6 * float(depth[row, column]) / max(1.0, 0.55 * len(text))))
        font = PIL.ImageFont.load_default(size)
        draw.text(
            (column, row),
            text,
            (255, 255, 255),
            font,
            "mm",
            stroke_width=max(1, round(size / 9)),
            stroke_fill=(0, 0, 0),
        )
    return np.array(sheet)


@cache
def colour_table(size: int) -> NDArray[np.uint8]:
    """Return RGB colours (size, 3): black for void, then colours that colour-blind people can tell apart.

    The first seven colours are those of Okabe and Ito (2008). After these, the hue advances by the golden ratio at
    three lightnesses. Colour c does not depend on ``size``.

    >>> colour_table(2).tolist()
    [[0, 0, 0], [0, 114, 178]]
    """
    okabe_ito = ["0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442"]
    colours = [(0, 0, 0), *(tuple(bytes.fromhex(colour)) for colour in okabe_ito)]
    for index in range(size - len(colours)):
        lightness = (0.45, 0.65, 0.3)[index % 3]
        hue = (0.31 + index * 0.618033988749895) % 1
        colours.append(tuple(round(255 * c) for c in colorsys.hls_to_rgb(hue, lightness, 0.7)))
    table = np.array(colours[:size], dtype=np.uint8)
    table.setflags(write=False)  # the cache returns the same array to the next caller
    return table


def png(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a picture (H, W, 3) or (H, W) as a PNG file."""
    # OpenCV encodes several times faster than Pillow by default; its files are up to a quarter larger.
    return _encoded(picture, ".png")


def jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """Return a picture (H, W, 3) as a JPEG file."""
    import cv2

    return _encoded(picture, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def contour_png(contour_map: NDArray[np.floating]) -> bytes:
    """Return a contour map (H, W) in [0, 1] as a grey PNG of 16 bits."""
    return png(np.round(contour_map * 65535).astype(np.uint16))


def _encoded(picture: NDArray[Any], suffix: str, *options: int) -> bytes:
    import cv2

    colours = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(suffix, colours, options)[1])
