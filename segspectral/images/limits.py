"""How large an image may be. Every decoder checks these limits before it decodes."""

from __future__ import annotations

import os

from segspectral.errors import ImageError

__all__ = ["MAX_BANDS", "MAX_BYTES", "MAX_PIXELS", "MIN_SIDE", "check_bands", "check_bytes", "check_size"]

MAX_PIXELS = 150_000_000
"""Images with more pixels are refused before they are decoded: a PNG of 20000 x 20000 pixels can be a file of 1 MB. At
4 bytes per channel, this many pixels take 1.8 GB."""

MAX_BYTES = 16 * MAX_PIXELS
"""Images that take more bytes when they are decoded are refused before; the same holds for one tile or strip of an
image. The limit is that of MAX_PIXELS with four bands of 32 bits."""

MAX_BANDS = 1000
"""Images with more bands are refused before they are decoded. Hyperspectral cameras have a few hundred; a file of 300
bytes can claim 65535, which GDAL takes minutes to open."""

MIN_SIDE = 8
"""Images with a shorter side are refused, because they have no content to segment."""


def check_size(width: int, height: int, what: str | os.PathLike[str], least: int = MIN_SIDE) -> None:
    """Raises ImageError if there are more than MAX_PIXELS, or a side is shorter than ``least``."""
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; scale it down or cut it into tiles", what
        )
    if min(width, height) < least:
        raise ImageError(f"has {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed", what)


def check_bands(bands: int, what: str | os.PathLike[str]) -> None:
    """Raises ImageError if there are more than MAX_BANDS."""
    if bands > MAX_BANDS:
        raise ImageError(f"has {bands} bands, more than {MAX_BANDS}; write some of them into a file of its own", what)


def check_bytes(size: int, what: str | os.PathLike[str]) -> None:
    """Raises ImageError if ``size`` is above MAX_BYTES."""
    if size > MAX_BYTES:
        raise ImageError(
            f"would take {size / 1e9:.1f} GB when it is decoded, more than {MAX_BYTES / 1e9:.1f} GB; "
            "scale it down or cut it into tiles",
            what,
        )
