"""Rasters on disk, of which windows are read as images; and maps that are too large for memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.extras import require
from segspectral.files import partial_of
from segspectral.images.formats import TIFF, ZARR, format_of
from segspectral.images.gdal import names_of, open_header, open_pixels, place_of
from segspectral.images.indices import colours_of
from segspectral.images.interpret import SAMPLE, Reading, Scale, bands_said, said_of_bands, scale_of, three_bands
from segspectral.images.omezarr import open_dataset
from segspectral.images.place import pixel_on_ground
from segspectral.images.raw import both, differs, number_of, unassociated
from segspectral.values import Bands
from segspectral.values.place import Georeference

__all__ = ["DiskMap", "Raster", "Span", "Window", "windows"]

Span = tuple[int, int]
"""The first index, and one after the last."""

READ_PIXELS = 4_000_000
"""How many pixels of the raster are read at once while they are averaged to cells. This bounds the memory."""


BLOCK_ROWS = 256
"""Files in strips are subsampled at least this many rows at a time."""

Sampled = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values (h, w, ...), and (h, w) which pixels are valid."""


class Raster:
    """An open raster, of which windows are read as images.

    A cell is the mean of the valid pixels among ``factor`` x ``factor`` pixels.

    Parameters
    ----------
    dataset : of rasterio, or a ``ZarrDataset``
    usual : the bands, from 0, that are seen unless ``reading`` says otherwise; None: the first three, or the only one
    """

    factor = 1

    def __init__(
        self, dataset: Any, path: Path, reading: Reading = Reading(), usual: tuple[int, ...] | None = None
    ) -> None:
        self.dataset, self.path, self.reading = dataset, path, reading
        self.crs, self.transform = dataset.crs, dataset.transform
        self.placed = place_of(dataset) is not None
        self.mask: Any = None  # the dataset of a mask file beside the raster
        self.stored = _Stored()
        self.shape: tuple[int, int] = (dataset.height, dataset.width)
        if np.dtype(dataset.dtypes[0]).kind == "c":
            raise ImageError(f"contains {dataset.dtypes[0]}; convert it to integers or floats", path)
        kinds = [kind.name for kind in dataset.colorinterp]
        colour = tuple(i for i, kind in enumerate(kinds) if kind != "alpha")
        self.colour = colour
        """The bands that are not opacity, from 0."""
        self.opacity = next((i for i, kind in enumerate(kinds) if kind == "alpha"), None)
        self.palette = kinds[0] == "palette"
        self.inks = kinds[:4] == ["cyan", "magenta", "yellow", "black"]
        if reading.bands is not None and (self.palette or self.inks):
            stored = "a palette" if self.palette else "four inks"
            raise SettingsError(f"has {stored}, of which no bands can be chosen in tiles; leave out --bands", path)
        self.inverted = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        self.measured = () if self.palette or self.inks else colour
        """All bands but opacity, from 0, in the units of the file; none if its values are not measurements."""
        self.names = names_of(dataset, [band + 1 for band in self.measured])
        """What the file calls them."""
        usual = tuple(range(3 if len(colour) >= 3 else 1)) if usual is None else usual
        default = (0, 1, 2, 3) if self.inks else tuple(colour[i] for i in colours_of(self.names, usual))
        asked = reading.bands is not None or reading.channels is not None
        chosen = reading.chosen(len(colour), (), str(path))
        self.bands = tuple(colour[number] for number in chosen) if asked else default
        """The bands that are seen, from 0."""
        bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        self.bits = int(bits) if bits and dataset.dtypes[0] != "uint8" else None
        few = bits in ("1", "2", "4") and self.bits is None and dataset.count == 1
        self.step = 255 // (2 ** int(bits) - 1) if few else 1
        """By what grey values of 1, 2 or 4 bits are multiplied, so that white is 255, as Pillow does."""
        self.flat = True
        """Whether all valid pixels that have been read so far have one colour."""
        self._colour: NDArray[Any] | None = None

    @classmethod
    @contextmanager
    def open(cls, path: Path, reading: Reading = Reading()) -> Iterator[Raster]:
        """Open a raster. Raises ImageError, and SettingsError if a band does not exist or rasterio is not installed."""
        require("geo", "reading in tiles")
        if format_of(path) is ZARR:
            with open_dataset(path, reading.number) as (dataset, found, notes):
                raster = cls(dataset, path, reading, found.shown)
                raster.stored = _Stored(notes=notes)
                yield raster
            return
        from rasterio.errors import RasterioError

        stored = _stored(path, reading)
        directory = stored.directory
        with ExitStack() as stack:
            try:
                with open_header(path, directory) as header:
                    place, nodata = place_of(header), header.nodata
                dataset = stack.enter_context(open_pixels(path, directory))
                beside = path.with_name(f"{path.name}.msk")
                mask = stack.enter_context(open_pixels(beside)) if beside.exists() else None
                if mask is not None and "INTERNAL_MASK_FLAGS_1" not in mask.tags():
                    mask = None  # GDAL also uses such a file only if it declares itself a mask
                raster = cls(dataset, path, reading)
                raster.placed, raster.mask = place is not None, mask
                raster.crs, raster.transform = place or (header.crs, dataset.transform)
                known_here = format_of(path) is TIFF and (stored.nodata is not None or dataset.nodata is not None)
                raster.stored = stored if known_here else stored._replace(nodata=nodata)
                yield raster
            except RasterioError as error:
                raise ImageError(f"the raster cannot be read ({error})", path) from error

    @property
    def said(self) -> tuple[str, ...]:
        """Sentences about how the raster is read."""
        seen = () if self.inks else self.bands
        asked = not seen or self.reading.bands is not None
        bands, scale = said_of_bands(len(self.colour), seen, asked), self._levels[0]
        return (*self.stored.notes, *filter(None, (bands, scale.said if scale is not None else "")))

    @property
    def read_as(self) -> dict[str, Any]:
        """How the raster is read, in JSON types."""
        scale = self._levels[0]
        seen = {"bands": self.dataset.count, "seen": [band + 1 for band in self.bands]} | bands_said(self.no_pixels)
        return seen | ({"bits": 8} if scale is None else scale.data) | {"said": list(self.said)}

    @cached_property
    def ground(self) -> float | None:
        """Area of a pixel on the ground in square metres, at the centre of the raster; None if it is not known."""
        return pixel_on_ground(Georeference.of(self.crs, self.transform), self.shape) if self.placed else None

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
        values, valid = self._raw(rows, cols)
        rgb = self._shown(values)
        rgb[~valid] = self._levels[1]
        return rgb, valid

    @property
    def band_keys(self) -> tuple[str, ...]:
        """``Bands.keys`` of the windows of the raster; none if it shows all its bands as they are, in 8 bits."""
        return () if self.plain else self.no_pixels.keys

    @property
    def plain(self) -> bool:
        """Whether all bands are shown as they are, in 8 bits, and there are no indices."""
        shown = self._levels[0] is None and set(self.measured) <= set(self.bands)
        return not self.measured or (shown and not self.reading.index)

    @cached_property
    def no_pixels(self) -> Bands:
        """All bands and indices of the raster, of no pixel. Raises SettingsError if a band does not exist."""
        numbers = [band + 1 for band in self.measured]
        dtype = np.dtype(self.dataset.dtypes[0])
        most = 0.0
        if dtype.kind == "f" and self.reading.index:
            some, valid = self._sampled(self._measured, max(1, max(self.shape) // 64))
            most = float(np.nanmax(some[valid])) if np.isfinite(some[valid]).any() else 0.0
        indices = self.reading.indices(self.names, len(numbers), str(self.path), dtype, most)
        nodata = number_of(self.stored.nodata if self.stored.nodata is not None else self.dataset.nodata)
        seen = tuple(self.measured.index(band) + 1 for band in self.bands if band in self.measured)
        return Bands(np.empty((0, 0, len(numbers)), dtype), self.names, nodata, indices, seen)

    def _measured(self, rows: Span, cols: Span) -> Sampled:
        """The values (h, w, B) of all measured bands, and which pixels are valid."""
        return np.moveaxis(self._bands(list(self.measured), (rows, cols)), 0, -1), self._raw(rows, cols)[1]

    def bands_of(self, rows: Span, cols: Span) -> Bands:
        """All bands of a window of pixels, in the units of the file. What is void, ``read`` says."""
        values = np.moveaxis(self._bands(list(self.measured), (rows, cols)), 0, -1)
        if self.stored.associated and self.opacity is not None:
            values = unassociated(values, self._bands([self.opacity], (rows, cols))[0])
        return replace(self.no_pixels, values=self._colours(values))

    def bands_of_cells(self, rows: Span, cols: Span) -> Bands:
        """As ``bands_of``, for cells: the means of the measurements of valid pixels, NaN where there is none."""
        f, width = self.factor, cols[1] - cols[0]
        step = max(1, READ_PIXELS // (f * f * width))
        parts = []
        for first in range(rows[0], rows[1], step):
            some = first, min(first + step, rows[1])
            pixels = self.pixels(some, cols)
            bands, valid = self.bands_of(*pixels), self._raw(*pixels)[1]
            more = ((0, (some[1] - first) * f - valid.shape[0]), (0, width * f - valid.shape[1]))
            means = []
            for number in range(len(self.measured)):
                plane = np.where(valid, bands.plane(number + 1), np.nan)
                blocks = np.pad(plane, more, constant_values=np.nan).reshape(-1, f, width, f)
                known = np.isfinite(blocks)
                count = known.sum(axis=(1, 3))
                total = np.where(known, blocks, 0).sum(axis=(1, 3))
                means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
            parts.append(np.stack(means, axis=-1))
        values = np.concatenate(parts)
        narrow = np.float32 if self.no_pixels.values.dtype.itemsize <= 2 else values.dtype
        return replace(self.no_pixels, values=values.astype(narrow, copy=False), nodata=None)

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """(h, w, 3) the whole raster, subsampled so that its longer side has at most ``longest`` pixels."""
        values, _ = self._sampled(self._raw, longest)
        return np.round(self._shown(values) * 255).astype(np.uint8)

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
            mean[counts == 0] = self._levels[1]
            parts.append((mean, counts > 0))
        rgb, valid = (np.concatenate(part) for part in zip(*parts, strict=True))
        return np.clip(rgb, 0, 1, out=rgb), valid

    def _sampled(self, read: Callable[[Span, Span], Sampled], longest: int) -> Sampled:
        """What ``read`` gives for windows, of pixels on a grid whose longer side has at most ``longest`` of them.

        Whole blocks of the file are read, once each. GDAL's own subsampling decodes a row of blocks again for each row
        of the result if its cache does not hold all bands of it, which took hours for 13 bands.
        """
        scale = min(1.0, longest / max(self.shape))
        rows, cols = (_middles(side, max(1, round(side * scale))) for side in self.shape)
        high, wide = self.dataset.block_shapes[0]
        down = high * max(1, BLOCK_ROWS // high)
        across = wide * max(1, 3 * READ_PIXELS // (down * wide * max(3, self.dataset.count)))
        strips = []
        for top in range(0, self.shape[0], down):
            here = rows[(rows >= top) & (rows < top + down)]
            parts = []
            for left in range(0, self.shape[1], across) if len(here) else ():
                there = cols[(cols >= left) & (cols < left + across)]
                if len(there):
                    first, last = (int(here[0]), int(here[-1]) + 1), (int(there[0]), int(there[-1]) + 1)
                    at = np.ix_(here - first[0], there - last[0])
                    parts.append(tuple(array[at] for array in read(first, last)))
            if parts:
                strips.append(tuple(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))
        values, valid = (np.concatenate(arrays) for arrays in zip(*strips, strict=True))
        return values, valid

    def _raw(self, rows: Span, cols: Span) -> Sampled:
        """The values (h, w, 1 to 3) of the bands that are seen, 0 on void; and (h, w) which pixels are valid."""
        where = rows, cols
        # A pixel is nodata if all bands are, so all are read then.
        needed = sorted({*self.bands, *(self.colour if self.stored.nodata is not None else ())})
        data = dict(zip(needed, self._bands(needed, where), strict=True))
        opacity = None if self.opacity is None else self._bands([self.opacity], where)[0]
        valid = self._valid(data, opacity, where)
        values = np.stack([data[band] for band in self.bands], axis=-1)
        if self.stored.associated and opacity is not None:
            values = unassociated(values, opacity)
        values = self._colours(values)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(axis=-1)
        values[~valid] = 0
        if self.flat and valid.any():
            pixels = values[valid]
            self._colour = pixels[0] if self._colour is None else self._colour
            self.flat = bool((pixels == self._colour).all())
        return values, valid

    def _bands(self, bands: list[int], window: tuple[Span, Span]) -> NDArray[Any]:
        """(bands, h, w) as they are stored."""
        return np.asarray(self.dataset.read([band + 1 for band in bands], window=window))

    def _valid(
        self, data: dict[int, NDArray[Any]], opacity: NDArray[Any] | None, window: tuple[Span, Span]
    ) -> NDArray[np.bool_]:
        """(h, w) which pixels are valid by mask, opacity and nodata value; ``data`` holds the bands that are needed."""
        mask = None
        if self.mask is not None:
            mask = self.mask.read(1, window=window) > 0
        elif opacity is None and not self._only_nodata:
            mask = self.dataset.dataset_mask(window=window) > 0
        nodata = self.stored.nodata
        known = None if nodata is None else differs(np.stack([data[band] for band in self.colour], axis=-1), nodata)
        valid = both(mask, None if opacity is None else opacity > 0, known)
        return np.ones(data[self.bands[0]].shape, np.bool_) if valid is None else valid

    @property
    def _only_nodata(self) -> bool:
        """Whether GDAL would make a mask of the nodata value, which it takes for 0 if it is not a number."""
        return all("nodata" in [flag.name for flag in flags] for flags in self.dataset.mask_flag_enums)

    def _colours(self, values: NDArray[Any]) -> NDArray[Any]:
        """Palettes, inks and white as zero as RGB or grey."""
        if self.palette:
            table = np.zeros((256 if values.dtype == np.uint8 else 65536, 3), np.uint8)
            for index, colour in self.dataset.colormap(1).items():
                table[index] = colour[:3]
            return table[values[..., 0]]
        if self.inks:
            paper = 255 - values.astype(np.float32)
            return np.rint(paper[..., :3] * paper[..., 3:] / 255).astype(np.uint8)
        if self.step > 1:
            values = values * np.uint8(self.step)
        if self.inverted and values.dtype.kind == "u":
            return values.dtype.type(2 ** (self.bits or 8 * values.dtype.itemsize) - 1) - values
        return values

    def _shown(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """(h, w, 3) in [0, 1]."""
        scale = self._levels[0]
        return three_bands(values.astype(np.float32) / np.float32(255) if scale is None else scale.applied(values))

    @cached_property
    def _levels(self) -> tuple[Scale | None, NDArray[np.float32]]:
        """The values of black and white, and the mean colour between them, from a subsampled raster."""
        height, width = self.shape
        thin = max(1.0, (height * width / SAMPLE) ** 0.5)
        values, valid = self._sampled(self._raw, max(1, round(max(self.shape) / thin)))
        if not valid.any():
            raise ImageError("no pixel is valid (all of it is nodata)", self.path)
        pixels = values[valid]
        span = float(pixels.min()), float(pixels.max())
        scale = scale_of(pixels.ravel(), span, self.bits, self.placed, self.reading.stretch, str(self.path))
        shown = pixels / np.float32(255) if scale is None else scale.applied(pixels)
        return scale, three_bands(shown.astype(np.float32)).mean(axis=0)


def _middles(length: int, count: int) -> NDArray[np.int64]:
    """(count,) the pixels in the middles of ``count`` equal parts of a side."""
    return np.floor((np.arange(count) + 0.5) * length / count).astype(np.int64)


class _Stored(NamedTuple):
    """What the tags of a file say that GDAL does not, or says otherwise.

    Parameters
    ----------
    directory : the number of the page of a TIFF that is read, from 0
    notes : sentences about what was decided
    nodata : the value of all bands where a pixel is void, a number or its text; None if there is none
    associated : whether colours are multiplied by the opacity
    """

    directory: int = 0
    notes: tuple[str, ...] = ()
    nodata: float | str | None = None
    associated: bool = False


def _stored(path: Path, reading: Reading) -> _Stored:
    if format_of(path) is not TIFF:
        if (reading.number or 1) > 1:
            raise SettingsError(f"has no page {reading.page} that can be read in tiles", path)
        return _Stored()
    from segspectral.images import tiff

    with tiff.tiff_plane(path, reading.number) as (plane, _, _, notes):
        if not plane.whole:
            raise ImageError(
                "holds its channels or planes as pages, which are not read in tiles; leave out --tile", path
            )
        first = plane.pages[0]
        if first.photometric == tiff.LAB:
            raise ImageError("is L*a*b*, which is not read in tiles; leave out --tile, or save it as RGB", path)
        notes = (*notes, *tiff.said_of_nodata(first))
        if (orientation := tiff.orientation_of(first)) != 1:
            because = "it has a georeference" if tiff.is_placed(first, path) else "tiles keep the stored rows"
            notes = (*notes, f"its orientation tag ({orientation}) is left out of account, because {because}")
        return _Stored(plane.first, notes, tiff.nodata_of(first), tiff.is_associated(first))


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
