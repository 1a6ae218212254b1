"""Rasters on disk, of which windows are read as images; and maps that are too large for memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.files import partial_of
from segspectral.images.gdal import open_header, open_pixels

__all__ = ["DiskMap", "Raster", "Span", "Window", "windows"]

Span = tuple[int, int]
"""The first index, and one after the last."""

READ_PIXELS = 4_000_000
"""How many pixels of the raster are read at once while they are averaged to cells. This bounds the memory."""

LEVELS_PIXELS = 1_000_000
"""Size of the view from which black, white and the mean colour are estimated: ample for a percentile."""


class Raster:
    """An open raster, of which windows are read as images.

    A cell is the mean of the valid pixels among ``factor`` x ``factor`` pixels.
    """

    factor = 1

    def __init__(
        self, dataset: Any, path: Path, bands: tuple[int, int, int] | None, stretch: tuple[float, float] | None
    ) -> None:
        self.dataset, self.path = dataset, path
        self.crs, self.transform = dataset.crs, dataset.transform
        self.mask: Any = None  # the dataset of a mask file beside the raster
        self.nodata: float | None = None  # a nodata value that only a file beside the raster gives
        self.shape: tuple[int, int] = (dataset.height, dataset.width)
        colour = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind.name != "alpha"]
        default = (1, 1, 1) if len(colour) < 3 else tuple(colour[:3])
        self.bands = bands or default
        if not all(1 <= band <= dataset.count for band in self.bands):
            raise SettingsError(
                f"has {dataset.count} bands, but {', '.join(map(str, self.bands))} were requested", path
            )
        self.flat = True
        """Whether all valid pixels that have been read so far have one colour."""
        self._colour: NDArray[np.float32] | None = None
        self.stretch = stretch
        if self.stretch is None and dataset.dtypes[0] != "uint8":
            self.stretch = (2.0, 98.0)

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, bands: tuple[int, int, int] | None = None, stretch: tuple[float, float] | None = None
    ) -> Iterator[Raster]:
        """Open a raster. Raises ImageError, and SettingsError if a band does not exist or rasterio is not installed."""
        try:
            from rasterio.errors import RasterioError
        except ImportError as error:
            raise SettingsError("tiles need rasterio: pip install 'segspectral[geo]'") from error
        with ExitStack() as stack:
            try:
                with open_header(path) as header:
                    crs, transform, nodata = header.crs, header.transform, header.nodata
                dataset = stack.enter_context(open_pixels(path))
                beside = path.with_name(f"{path.name}.msk")
                mask = stack.enter_context(open_pixels(beside)) if beside.exists() else None
                if mask is not None and "INTERNAL_MASK_FLAGS_1" not in mask.tags():
                    mask = None  # GDAL also uses such a file only if it declares itself a mask
                raster = cls(dataset, path, bands, stretch)
                raster.crs, raster.transform, raster.mask = crs, transform, mask
                raster.nodata = nodata if dataset.nodata is None else None
                yield raster
            except RasterioError as error:
                raise ImageError(f"the raster cannot be read ({error})", path) from error

    @property
    def cells(self) -> tuple[int, int]:
        """Number of rows and columns of cells."""
        return -(-self.shape[0] // self.factor), -(-self.shape[1] // self.factor)

    def pixels(self, rows: Span, cols: Span) -> tuple[Span, Span]:
        """The pixels of a window of cells, up to the edge of the raster."""
        f = self.factor
        return (rows[0] * f, min(rows[1] * f, self.shape[0])), (cols[0] * f, min(cols[1] * f, self.shape[1]))

    def read(self, rows: Span, cols: Span) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixels (h, w, 3) in [0, 1], and (h, w) True where they are valid; others have the raster's mean colour."""
        rgb, valid = self._raw(rows, cols)
        low, high, mean = self._levels
        rgb = np.clip((rgb - low) / (high - low), 0, 1, out=rgb)
        rgb[~valid] = mean
        return rgb, valid

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """(h, w, 3) the whole raster, subsampled so that its longer side has at most ``longest`` pixels."""
        scale = min(1.0, longest / max(self.shape))
        shape = max(1, round(self.shape[0] * scale)), max(1, round(self.shape[1] * scale))
        rgb, _ = self._raw((0, self.shape[0]), (0, self.shape[1]), shape)
        low, high, _ = self._levels
        return np.round(np.clip((rgb - low) / (high - low), 0, 1) * 255).astype(np.uint8)

    def read_cells(self, rows: Span, cols: Span) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """As ``read``, for cells; a cell is valid if one of its pixels is."""
        if self.factor == 1:
            return self.read(rows, cols)
        f, width = self.factor, cols[1] - cols[0]
        step = max(1, READ_PIXELS // (f * f * width))
        parts = []
        for first in range(rows[0], rows[1], step):
            band = first, min(first + step, rows[1])
            rgb, valid = self.read(*self.pixels(band, cols))
            rgb[~valid] = 0
            more = ((0, (band[1] - first) * f - rgb.shape[0]), (0, width * f - rgb.shape[1]))
            blocks = np.pad(rgb, (*more, (0, 0))).reshape(-1, f, width, f, 3).sum(axis=(1, 3))
            counts = np.pad(valid, more).reshape(-1, f, width, f).sum(axis=(1, 3))
            mean = blocks / np.maximum(counts, 1)[..., None].astype(np.float32)
            mean[counts == 0] = self._levels[2]
            parts.append((mean, counts > 0))
        rgb, valid = (np.concatenate(part) for part in zip(*parts, strict=True))
        return np.clip(rgb, 0, 1, out=rgb), valid

    def _raw(
        self, rows: tuple[int, int], cols: tuple[int, int], shape: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        window = (rows, cols)
        unique = sorted(set(self.bands))
        data = self.dataset.read(unique, window=window, out_shape=shape and (len(unique), *shape))
        valid = self.dataset.dataset_mask(window=window, out_shape=shape) > 0
        if self.mask is not None:
            valid = self.mask.read(1, window=window, out_shape=shape) > 0
        elif self.nodata is not None:
            valid &= (data != self.nodata).any(axis=0)
        rgb = np.stack([data[unique.index(band)] for band in self.bands], axis=-1).astype(np.float32)
        valid &= np.isfinite(rgb).all(axis=-1)
        rgb[~valid] = 0
        if self.flat and valid.any():
            pixels = rgb[valid]
            self._colour = pixels[0] if self._colour is None else self._colour
            self.flat = bool((pixels == self._colour).all())
        return rgb, valid

    @cached_property
    def _levels(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The values of black and white of each band, and the mean colour between them, from a subsampled raster."""
        height, width = self.shape
        thin = max(1.0, (height * width / LEVELS_PIXELS) ** 0.5)
        shape = max(1, round(height / thin)), max(1, round(width / thin))
        rgb, valid = self._raw((0, height), (0, width), shape)
        if not valid.any():
            raise ImageError("no pixel is valid (all of it is nodata)", self.path)
        pixels = rgb[valid]
        if self.stretch is None:
            low, high = np.zeros(3, np.float32), np.full(3, 255, np.float32)
        else:
            low, high = np.percentile(pixels, self.stretch, axis=0).astype(np.float32)
            high = np.where(high > low, high, low + 1)
        return low, high, np.clip((pixels - low) / (high - low), 0, 1).mean(axis=0)


class DiskMap:
    """An array (H, W) int32 in a temporary file."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.shape = path, shape

    @classmethod
    @contextmanager
    def beside(cls, target: Path, shape: tuple[int, int]) -> Iterator[DiskMap]:
        """A map in a file beside ``target``; the file is removed at the end. OutputError if it cannot be written."""
        path = partial_of(target.with_name(f"{target.name}.map"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                # The space is reserved now. Otherwise a full disk would kill the process with a signal later.
                os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise OutputError(f"cannot be written ({error.strerror})", target) from error
        try:
            yield cls(path, shape)
        finally:
            path.unlink(missing_ok=True)

    def __setitem__(self, window: tuple[slice, slice], values: NDArray[np.int32]) -> None:
        self._map("r+")[window] = values

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.int32]:
        return np.array(self._map("r")[window])

    def _map(self, mode: Any) -> np.memmap[Any, np.dtype[np.int32]]:
        # The file is mapped for each access, because pages that stay mapped count as this process's memory.
        return np.memmap(self.path, np.int32, mode, shape=self.shape)


@dataclass(frozen=True)
class Window:
    """A tile, and the rows and columns that are read with its margin; in cells, ends excluded."""

    core: tuple[Span, Span]
    rows: Span
    cols: Span

    @property
    def inner(self) -> tuple[slice, slice]:
        """The tile in coordinates of the part that is read."""
        (top, bottom), (left, right) = self.core
        return slice(top - self.rows[0], bottom - self.rows[0]), slice(left - self.cols[0], right - self.cols[0])

    @property
    def outer(self) -> tuple[slice, slice]:
        """The tile in coordinates of the raster."""
        return slice(*self.core[0]), slice(*self.core[1])


def windows(shape: tuple[int, int], size: int, margin: int) -> Iterator[Window]:
    """Tiles of size x size cells, each with a margin around it."""

    def spans(length: int) -> list[tuple[Span, Span]]:
        starts = range(0, length, size)
        ends = [min(start + size, length) for start in starts]
        return [((a, b), (max(a - margin, 0), min(b + margin, length))) for a, b in zip(starts, ends, strict=True)]

    for core_rows, rows in spans(shape[0]):
        for core_cols, cols in spans(shape[1]):
            yield Window((core_rows, core_cols), rows, cols)
