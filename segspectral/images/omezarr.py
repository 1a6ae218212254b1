"""OME-Zarr (NGFF 0.1 to 0.5, Zarr 2 and 3) -> Raw, or windows of it.

An OME-Zarr is a folder: JSON files describe levels of resolution, each an array in chunks, which are files. Its JSON is
read and checked here; zarr decodes the chunks. https://ngff.openmicroscopy.org/0.5
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError, SettingsError
from segspectral.extras import require
from segspectral.files import check_inside, parse_json, read_file
from segspectral.images.limits import check_bytes, check_size
from segspectral.images.raw import Raw
from segspectral.wording import plural

__all__ = ["OmeZarr", "ZarrDataset", "describe", "open_dataset", "read_zarr", "stored_bytes"]

PACKERS = ("blosc", "gzip", "zstd", "zlib", "lz4", "bz2", "lzma", "shuffle", "delta")

CODECS = frozenset(
    ("bytes", "endian", "transpose", "crc32c", "sharding_indexed", *PACKERS, *(f"numcodecs.{name}" for name in PACKERS))
)
"""The closed list of what chunks may be packed by: others could run code, as pickle does."""

MAX_CHUNK = 2**30
"""A chunk is decoded as a whole, so one of more bytes could exhaust the memory."""

MAX_JSON = 2**24
"""Bytes of a JSON file. The largest ones, of plates of wells, are some megabytes."""

USUAL_AXES = "tczyx"
"""The axes of arrays of five dimensions that name none (NGFF 0.1 and 0.2)."""


@dataclass(frozen=True)
class OmeZarr:
    """What the JSON of an OME-Zarr says about its image of the highest resolution.

    Parameters
    ----------
    path : the folder
    level : the array in it, a path with slashes
    version : of Zarr
    axes : a letter for each dimension; the last two are y and x
    shape, chunks : of the array
    dtype : of its values, integers, floats or truth values
    names : of the channels; "" where there are none
    notes : sentences about what is ignored
    """

    path: Path
    level: str
    version: Literal[2, 3]
    axes: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.shape[-1], self.shape[-2]

    @property
    def channels(self) -> int:
        """How many bands the image has."""
        return self.shape[self.axes.index("c")] if "c" in self.axes else 1

    @property
    def lead(self) -> tuple[int, ...]:
        """How long the axes are that pages run through: time, depth."""
        return tuple(n for axis, n in zip(self.axes[:-2], self.shape[:-2], strict=True) if axis != "c")

    @property
    def pages(self) -> int:
        """The number of images: one for each place on the other axes than channels, rows and columns."""
        return math.prod(self.lead)

    @property
    def nbytes(self) -> int:
        """Bytes of the values of a page."""
        return self.channels * self.shape[-1] * self.shape[-2] * self.dtype.itemsize

    @property
    def shown(self) -> tuple[int, ...]:
        """The channels that are seen: two as red and green, and of more the first three."""
        return tuple(range(min(3, self.channels)))

    def chosen(self, page: int | None) -> tuple[int, tuple[str, ...]]:
        """The number of the page, from 1, and notes about the others. SettingsError if there is no such page."""
        if page is not None and page > self.pages:
            raise SettingsError(f"has {plural(self.pages, 'page')}, but page {page} was requested", self.path)
        if page is None and self.pages > 1:
            return 1, (f"page 1 of {self.pages}; --page chooses another, --page all reads each", *self.notes)
        return page or 1, self.notes

    def index(self, page: int, rows: slice, cols: slice) -> tuple[Any, ...]:
        """The index of a window of a page in the array; it keeps the channels."""
        places = iter(np.unravel_index(page - 1, self.lead)) if self.lead else iter(())
        before = tuple(slice(None) if axis == "c" else int(next(places)) for axis in self.axes[:-2])
        return (*before, rows, cols)


def describe(path: Path) -> OmeZarr:
    """Read the JSON of an OME-Zarr; no chunk is opened.

    Raises
    ------
    ImageError
        It is none, it is damaged, a link leads out of the folder, or a chunk is too large.
    """
    try:
        attributes, version = _attributes(path)
        image, notes = _multiscale(path, attributes)
        levels = [_array(path, check_inside(entry["path"]), version) for entry in image["datasets"]]
        level, shape, chunks, dtype = max(levels, key=lambda found: found[1][-1] * found[1][-2])
        axes = _axes(image, len(shape))
        if len(axes) != len(shape) or not axes.endswith("yx") or len(set(axes)) != len(axes):
            raise ImageError(f"has the axes {axes or 'without names'} of {shape}; the last two must be y and x", path)
        names = _names(attributes, shape[axes.index("c")] if "c" in axes else 1)
    except (ImageError, SettingsError):
        raise
    except (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
        raise ImageError(f"its JSON is not that of an OME-Zarr, or it is damaged ({told})", path) from error
    if not min(shape) or math.prod(chunks) * dtype.itemsize > MAX_CHUNK:
        raise ImageError(f"holds {shape} values in chunks of {chunks}, which cannot be read", path)
    return OmeZarr(path, level, version, axes, shape, chunks, dtype, names, notes)


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.name} is larger than {MAX_JSON:,} bytes")
    data = parse_json(read_file(path))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} is no mapping")
    return data


def _attributes(path: Path) -> tuple[dict[str, Any], Literal[2, 3]]:
    """What a group says about itself, and the version of Zarr."""
    if (path / "zarr.json").is_file():
        data = _json(path / "zarr.json")
        _check_group(path, data.get("node_type") == "group")
        attributes = data.get("attributes") or {}
        return attributes.get("ome", attributes), 3
    _check_group(path, not (path / ".zarray").is_file())
    return (_json(path / ".zattrs") if (path / ".zattrs").is_file() else {}), 2


def _check_group(path: Path, is_group: bool) -> None:
    if not is_group:
        raise ImageError(
            "is a Zarr array that does not say what its axes are; name the OME-Zarr that it is in, or load it in "
            "Python and pass the array to segspectral.segment",
            path,
        )


def _multiscale(path: Path, attributes: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    images = attributes.get("multiscales")
    if images:
        more = len(images) - 1
        return images[0], (f"{plural(more, 'further image is', 'further images are')} ignored",) if more else ()
    inner = "0"
    if "plate" in attributes:
        wells = attributes["plate"].get("wells") or [{}]
        inner = f"{wells[0].get('path', 'A/1')}/0"
        raise ImageError(f"is a plate of {plural(len(wells), 'well')}; name an image in it, such as {path}/{inner}")
    if "well" in attributes or "bioformats2raw.layout" in attributes or (path / inner).is_dir():
        raise ImageError(f"holds several images; name one of them, such as {path}/{inner}")
    raise ImageError("is a Zarr group without an image (multiscales of OME-Zarr)", path)


def _axes(image: dict[str, Any], dimensions: int) -> str:
    given = image.get("axes")
    if given is None:
        return USUAL_AXES if dimensions == len(USUAL_AXES) else ""
    return "".join((axis if isinstance(axis, str) else axis["name"])[:1].lower() for axis in given)


def _names(attributes: dict[str, Any], channels: int) -> tuple[str, ...]:
    """The labels of the channels in the block ``omero``."""
    given = (attributes.get("omero") or {}).get("channels") or []
    labels = [str(channel.get("label") or "").strip() for channel in given]
    return tuple(labels) if len(labels) == channels and any(labels) else ()


def _array(path: Path, level: str, version: int) -> tuple[str, tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    """The path, shape, chunks and type of a level, after a check of how its chunks are packed."""
    if version == 3:
        data = _json(path / level / "zarr.json")
        packed = data["codecs"]
        chunks = data["chunk_grid"]["configuration"]["chunk_shape"]
        dtype = np.dtype(str(data["data_type"]))
    else:
        data = _json(path / level / ".zarray")
        packed = [data.get("compressor"), *(data.get("filters") or [])]
        chunks, dtype = data["chunks"], np.dtype(str(data["dtype"]))
    if unknown := sorted(_codecs(packed) - CODECS):
        raise ImageError(f"is packed by {unknown[0]}, which is not read; save it with blosc, gzip or zstd", path)
    if dtype.kind not in "biuf":
        raise ImageError(f"contains {dtype}; convert it to integers or floats", path)
    shape = tuple(int(n) for n in data["shape"])
    if len(shape) < 2 or len(chunks) != len(shape) or min(shape) < 0 or min(map(int, chunks)) < 1:
        raise ValueError(f"{level} has the shape {shape} and chunks of {tuple(chunks)}")
    return level, shape, tuple(map(int, chunks)), dtype.newbyteorder("=")


def _codecs(packed: Any) -> set[str]:
    """The names of all codecs, also of those inside shards."""
    names: set[str] = set()
    for codec in filter(None, packed):
        names.add(str(codec.get("name") or codec.get("id")))
        inner = codec.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            names |= _codecs(inner.get(key) or [])
    return names


def stored_bytes(path: Path) -> int:
    """The size of a file, or of all files in a folder."""
    return sum(entry.stat().st_size for entry in _files(path)) if path.is_dir() else path.stat().st_size


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and below. ImageError if there is a link, which could show files from elsewhere."""
    waiting = [os.fspath(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    name = os.path.relpath(entry.path, folder)
                    raise ImageError(f"holds a link ({name}), and links in it are not followed", folder)
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    yield entry


@contextmanager
def _opened(found: OmeZarr) -> Iterator[Any]:
    """The zarr.Array of the level. Raises ImageError for whatever zarr raises on damaged chunks, also in the block."""
    require("zarr", "reading OME-Zarr")
    for _ in _files(found.path):
        pass
    import zarr

    try:
        store = zarr.storage.LocalStore(found.path, read_only=True)
        yield zarr.open_array(store, path=found.level, mode="r", zarr_format=found.version)
    except (ImageError, SettingsError):
        raise
    except Exception as error:  # the decoders of the chunks raise many kinds of errors
        raise ImageError(f"is damaged or cut off ({error})", found.path) from error


def read_zarr(path: Path, page: int | None = None) -> Raw:
    """Decode one image of an OME-Zarr. Raises ImageError, and SettingsError if there is no such page."""
    found = describe(path)
    number, notes = found.chosen(page)
    check_size(*found.size, path)
    check_bytes(found.nbytes, path)
    with _opened(found) as array:
        values = _window(found, array, number, slice(None), slice(None))
    return Raw(np.moveaxis(values, 0, -1), found.shown, None, None, False, number, found.pages, notes, found.names)


def _window(found: OmeZarr, array: Any, page: int, rows: slice, cols: slice) -> NDArray[Any]:
    """(channels, h, w) a window of a page, in the type of this machine."""
    values = np.asarray(array[found.index(page, rows, cols)])
    return values.reshape(found.channels, *values.shape[-2:]).astype(found.dtype, copy=False)


class ZarrDataset:
    """A page of an OME-Zarr, with those parts of the interface of rasterio's datasets that ``rasters`` uses.

    It has no place on the Earth, no nodata and no mask; all bands are kept in the file's own units.
    """

    crs = None
    nodata = None
    interleaving = None

    def __init__(self, found: OmeZarr, array: Any, page: int) -> None:
        from rasterio.enums import ColorInterp, MaskFlags
        from rasterio.transform import Affine

        self._found, self._array, self._page = found, array, page
        self.width, self.height = found.size
        self.count = found.channels
        self.dtypes = (found.dtype.name,) * self.count
        self.colorinterp = (ColorInterp.undefined,) * self.count
        self.descriptions = tuple(name or None for name in found.names) or (None,) * self.count
        self.block_shapes = [found.chunks[-2:]] * self.count
        self.mask_flag_enums = ([MaskFlags.all_valid],) * self.count
        self.transform, self.gcps = Affine.identity(), ((), None)

    def tags(self, band: int = 0, ns: str | None = None) -> dict[str, str]:
        """No tags: what the JSON says stands elsewhere."""
        return {}

    def read(self, bands: list[int], window: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[Any]:
        """(bands, h, w) these bands, counted from 1, of a window: its rows and columns, ends excluded."""
        values = _window(self._found, self._array, self._page, slice(*window[0]), slice(*window[1]))
        return values[[band - 1 for band in bands]]

    def dataset_mask(self, window: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[np.uint8]:
        """(h, w) 255: all pixels are valid."""
        (top, bottom), (left, right) = window
        return np.full((bottom - top, right - left), 255, np.uint8)


@contextmanager
def open_dataset(path: Path, page: int | None) -> Iterator[tuple[ZarrDataset, OmeZarr, tuple[str, ...]]]:
    """A page as a dataset of which windows are read, what the JSON says, and notes about what is ignored.

    Raises as ``read_zarr``, also in the block.
    """
    from rasterio.errors import NotGeoreferencedWarning

    found = describe(path)
    number, notes = found.chosen(page)
    with _opened(found) as array, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield ZarrDataset(found, array, number), found, notes
