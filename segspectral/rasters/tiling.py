"""Which images are read in tiles, and how. It looks at headers alone, before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field

from segspectral.errors import ImageError, SettingsError
from segspectral.extras import EXTRAS, installed, require
from segspectral.images.formats import JPEG2000, TIFF, ZARR, format_of
from segspectral.images.interpret import Reading
from segspectral.images.limits import MAX_BYTES, MAX_PIXELS
from segspectral.images.omezarr import describe, stored_bytes
from segspectral.registry import TILED_FORMATS, formats_named
from segspectral.settings import Settings, validated

__all__ = ["AUTO_PIXELS", "MANY", "NO_MODEL", "NO_SPLIT", "Plan", "Tiles", "Tiling", "why_whole"]

AUTO_PIXELS = 50_000_000
"""Rasters with more pixels go through tiles by themselves. In memory, such an image of RGB in 8 bits takes 1.4 GiB."""

AUTO_BYTES = 2**30
"""Rasters whose stored values take more bytes go through tiles by themselves, too: they may have many bands."""

MAX_RATIO = 2000
"""Rasters whose values take this many times the bytes of their file are not read in tiles by default. Deflate, the
usual compression, reaches 1032 at most; a file of 34 kB that repeats one tile can claim gigabytes, which take hours."""

MANY = 2000
"""Above this number of superpixels, the kernel of the affinity is widened. On three rasters with 15 000 to 19 000
superpixels and 4 to 12 segments, the largest segment had 77 % of the superpixels on average without this, and 45 % with
it."""

NO_MODEL = "a model is applied to whole images, not in tiles"
NO_SPLIT = "touching parts are split in whole images, not in tiles, because a piece can lie in several tiles"


class Tiles(Settings):
    """How a raster is read in tiles, and how its affinity differs from that of photographs."""

    tile: int = Field(
        1024,
        ge=64,
        le=16384,
        description="side of a tile in pixels; larger tiles need more memory, and the quality is the same",
    )
    scale: float = Field(
        2.2,
        gt=0,
        description="multiplies affinity.scale for rasters. Without boundary probabilities a narrow kernel puts nearly "
        f"everything into one segment. Above {MANY} superpixels, the factor grows with the cube root of their number, "
        "because neighbours in feature space get closer",
    )
    contour: float | None = Field(
        None,
        gt=0,
        description="value of affinity.contour for rasters. The default is null, because a raster has hundreds of "
        "enclosed regions that are equally cheap to cut off, and the result would be arbitrary. The hierarchy always "
        "uses boundary probabilities",
    )
    max_nodes: int = Field(20_000, ge=2, le=1_000_000, description="maximum number of superpixels of a raster")


def why_whole(formats: Sequence[str], model: Any, sizes: Any = None) -> str:
    """Why images must be held as a whole; empty if they need not.

    Parameters
    ----------
    formats : options ``--format``
    model : the model of the pipeline, or None
    sizes : the limits on sizes of the pipeline (``Sizes``), or None
    """
    if model is not None:
        return NO_MODEL
    if sizes is not None and sizes.split:
        return NO_SPLIT
    untiled = [name for name in formats_named(formats) if name not in TILED_FORMATS]
    return f"{', '.join(untiled)} can only be made of whole images" if untiled else ""


class Plan(NamedTuple):
    """How one image is read in tiles, and why in a sentence; it is empty if the user has decided it."""

    tiles: Tiles
    note: str = ""


@dataclass(frozen=True)
class Tiling:
    """Which images are read in tiles: all rasters, or only those that are too large to be held in memory, or none.

    Parameters
    ----------
    tiles : how; None holds every image as a whole
    auto : whether only large rasters are read in tiles
    whole : why images must be held as a whole, as a sentence without a subject; empty if nothing requires it

    Raises
    ------
    SettingsError
        All rasters are to be read in tiles, and something requires whole images.
    """

    tiles: Tiles | None
    auto: bool = True
    whole: str = ""

    def __post_init__(self) -> None:
        if self.tiles is not None and not self.auto:
            if self.whole:
                raise SettingsError(f"{self.whole}; leave out --tile", "--tile")
            require("geo", "reading in tiles")

    @classmethod
    def parse(cls, text: str, whole: str = "") -> Self:
        """``auto``, ``none``, or the side of a tile in pixels. Raises SettingsError."""
        if text in ("auto", "none"):
            return cls(None if text == "none" else Tiles(), True, whole)
        if not text.isdecimal():
            raise SettingsError(f"'{text}' is neither auto, none nor a number of pixels such as 1024", "--tile")
        return cls(validated(Tiles, {"tile": int(text)}, "--tile"), False, whole)

    def with_reason(self, whole: str) -> Tiling:
        """With a further reason why images must be held as a whole; an empty one changes nothing."""
        return replace(self, whole=whole) if whole else self

    def of(self, path: str | os.PathLike[str], reading: Reading = Reading()) -> Plan | None:
        """How a file is read in tiles; None if it is held as a whole.

        Photographs, micrographs whose channels are pages, and whatever cannot be read in tiles are held as a whole,
        as are damaged files, whose reader reports the fault.

        Raises
        ------
        ImageError
            The raster is too large to be held as a whole, which something requires; or its file is too small for it.
        SettingsError
            It is too large, and rasterio is not installed.
        """
        if self.tiles is None:
            return None
        path = Path(path)
        try:
            if not _can_be_tiled(path, reading):
                return None
            if not self.auto:
                return Plan(self.tiles)
            pixels, size = _size(path, reading)
        except (ImageError, SettingsError):
            return None
        if pixels <= AUTO_PIXELS and size <= AUTO_BYTES:
            return None
        too_large = pixels > MAX_PIXELS or size > MAX_BYTES
        many = f"{pixels / 1e6:.0f} megapixels" if pixels > AUTO_PIXELS else f"{size / 1e9:.1f} GB of values"
        _check_claim(path, size, many, self.tiles.tile)
        if self.whole:
            if too_large:
                raise ImageError(f"has {many}, too many to be held in memory, and {self.whole}", path)
            return None
        if too_large:
            require("geo", f"an image of {many}, which is read in tiles,")
            why = "so many are not held in memory"
        else:
            most = f"{AUTO_PIXELS / 1e6:.0f} megapixels" if pixels > AUTO_PIXELS else f"{AUTO_BYTES / 1e9:.1f} GB"
            why = f"more than {most} are held in memory only with --tile none"
        if not all(map(installed, EXTRAS["geo"])):
            return None
        return Plan(self.tiles, f"{many} are read in tiles of {self.tiles.tile} pixels, as one graph: {why}")


def _check_claim(path: Path, size: int, many: str, tile: int) -> None:
    """Raises ImageError if a file claims to hold more bytes of values than any compression leaves room for."""
    if size > MAX_RATIO * (stored := stored_bytes(path)):
        raise ImageError(
            f"claims to hold {many} in {stored:,} bytes, so it is damaged or made to do harm; if you know better, "
            f"--tile {tile} reads it",
            path,
        )


def _can_be_tiled(path: Path, reading: Reading) -> bool:
    """Whether it is a TIFF, JPEG 2000 or OME-Zarr, but not a TIFF whose channels are pages, nor a photograph that is
    stored on its side. Raises ImageError."""
    from segspectral.images.tiff import can_be_tiled

    form = format_of(path)
    return form in (JPEG2000, ZARR) or (form is TIFF and can_be_tiled(path, reading.number))


def _size(path: Path, reading: Reading) -> tuple[int, int]:
    """The number of pixels, and of bytes of their values. Raises ImageError."""
    if format_of(path) is TIFF:
        from segspectral.images.tiff import tiff_plane

        with tiff_plane(path, reading.number) as (plane, *_):
            width, height = plane.size
            page = plane.pages[0]
            each = -(-int(page.bitspersample) // 8) * int(page.samplesperpixel)
        return width * height, width * height * each
    if format_of(path) is ZARR:
        found = describe(path)
        return found.size[0] * found.size[1], found.nbytes
    if not installed("rasterio"):
        return 0, 0
    from segspectral.images.gdal import raster_size

    return raster_size(path)
