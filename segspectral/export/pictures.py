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

from segspectral.values import Segmentation
from segspectral.values.labels import boundaries

__all__ = ["colour_table", "contour_png", "jpeg", "label_png", "overlay", "png", "tinted"]

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


def overlay(segmentation: Segmentation, opacity: float = 0.45) -> NDArray[np.uint8]:
    """Return the photograph (H, W, 3) tinted by segment; borders are white with a dark edge, void is a grey checker."""
    return tinted(segmentation.image.uint8, segmentation.labels, opacity=opacity)


def tinted(
    photograph: NDArray[np.uint8],
    labels: NDArray[np.int32],
    table: NDArray[np.uint8] | None = None,
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """Return the picture of ``overlay`` from its parts; ``table`` (K + 1, 3) holds the colour of each segment."""
    import cv2

    if table is None:
        table = colour_table(int(labels.max()) + 1)
    width = max(1, round(max(labels.shape) / 1000))
    border = boundaries(labels).astype(np.uint8)
    dark = cv2.dilate(border, np.ones((2 * width + 1,) * 2, np.uint8)).astype(bool)
    light = border.astype(bool) if width == 1 else cv2.dilate(border, np.ones((width,) * 2, np.uint8)).astype(bool)
    picture = np.asarray(cv2.addWeighted(photograph, 1 - opacity, np.take(table, labels, axis=0), opacity, 0))
    rows, cols = np.nonzero(labels == 0)
    picture[rows, cols] = np.where((rows // 8 + cols // 8) % 2, 200, 150)[:, None]
    picture[dark] = np.round(picture[dark] * np.float32(0.55))
    picture[light] = 255
    return picture.astype(np.uint8, copy=False)


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
