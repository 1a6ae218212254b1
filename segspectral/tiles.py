"""Images larger than memory: a raster file -> a label raster, read and written in tiles, solved as one graph.

No region ends at the border of a tile, by construction:

1. The seeds of the superpixels stand on one grid over the whole raster, whatever the tiles are. Each tile is read with
   a margin in which its superpixels settle as they would in the whole; a superpixel that a border cuts is one node,
   whose pixels and features come from both sides.
2. All nodes make one graph, and one head solves it.
3. Refinement goes over tiles of its own, with a margin too, on the label map that is common to all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import ImageError, OutputError, SettingsError
from segspectral.export.files import partial_of
from segspectral.features import Cnn
from segspectral.settings import Settings
from segspectral.types import Image, Membership, Superpixels

if TYPE_CHECKING:
    from segspectral.pipeline import Observer, Pipeline

__all__ = ["RasterResult", "Tiles", "segment_raster", "superpixel_side"]

SIDE_OF_PIXELS = 500
"""``superpixels.count`` is meant for a photograph of about 500 x 500 pixels; larger rasters get more, in proportion."""

MARGIN_SUPERPIXELS = 4
"""Sides of superpixels. With 2, 4 and 8, about 5, 1 and 0.05 % of the pixels are in another superpixel than without
tiles: ten rounds of k-means carry little over such a distance."""

MARGIN_FEATURES = 128
"""Pixels: the zeros that a network sees beyond its image fade over such a distance. A multiple of CELL."""

CELL = 16
"""Sides of superpixels are multiples of it where they are larger: the cells of a CNN then lie alike in all tiles."""

MARGIN_REFINE = 96
"""Pixels: twice the width of the CRF's kernel on position, six of the guided filter's windows."""

BLOCK = 512
"""Side of the blocks of the label raster, in pixels, and of what is refined at once: refiners take 1 kB per pixel."""

Percentage = Annotated[float, Field(ge=0, le=100)]


class Tiles(Settings):
    """How a raster is read."""

    tile: int = Field(1024, ge=64, le=16384, description="side of a tile in pixels; costs memory, not quality")
    bands: tuple[int, int, int] | None = Field(
        None, description="which are red, green and blue, counted from 1; default 1, 2, 3, or 1 alone as grey"
    )
    stretch: tuple[Percentage, Percentage] | None = Field(
        None, description="percentiles of each band that become black and white; default 2 and 98 unless it is 8-bit"
    )
    scale: float = Field(
        1.0, gt=0, description="affinity.scale for rasters: neighbours are nearer among thousands of superpixels"
    )
    max_nodes: int = Field(20_000, ge=2, le=1_000_000, description="superpixels of a raster at most")


@dataclass(frozen=True)
class RasterResult:
    """What was made of a raster; the label map is in the file ``labels``."""

    labels: Path
    shape: tuple[int, int]
    nodes: int
    segments: int
    ncut: float
    seconds: dict[str, float]
    membership: Membership


def segment_raster(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pipeline: Pipeline,
    tiles: Tiles = Tiles(),
    observer: Observer | None = None,
) -> RasterResult:
    """Segment a GeoTIFF, or any raster that GDAL reads, without holding it in memory.

    Parameters
    ----------
    target : GeoTIFF of segments 1..K with the source's CRS and transform; 0 where the source has no data, which its
        nodata value says

    Raises
    ------
    ImageError
        The raster cannot be read, has no valid pixel, or only one colour.
    SettingsError
        A band does not exist, more segments than superpixels, a hierarchy, rasterio is not installed.
    OutputError, BackboneError, CollapseError
    """
    if pipeline.hierarchy:
        raise SettingsError("a raster in tiles has no hierarchy; leave the setting 'hierarchy' out")
    if pipeline.model is not None:
        raise SettingsError("a model is applied to whole images, not to rasters in tiles; leave out --tile or --model")
    target = Path(target)
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begin
        if observer is not None:
            observer(name, seconds[name])

    with ExitStack() as stack:
        raster = stack.enter_context(_Raster.open(Path(source), tiles))
        node_map = stack.enter_context(_NodeMap.beside(target, raster.shape))
        with stage("tiles"):
            nodes, parts = _nodes_of_tiles(raster, node_map, pipeline, tiles)
        with stage("features"):
            features = pipeline.features.combine(parts)
        # Affinity and head look only at what a whole partition and these nodes have in common.
        superpixels = cast(Superpixels, nodes)
        with stage("affinity"):
            affinity = pipeline.affinity.model_copy(update={"scale": tiles.scale})(features, superpixels)
        with stage("head"):
            membership = pipeline._membership(pipeline.segments, features, affinity, superpixels)
        with stage("refine"):
            segments = _write_labels(raster, node_map, nodes, membership, pipeline, target)
    ncut = affinity.ncut(membership.labels)
    return RasterResult(target, raster.shape, len(nodes), segments, ncut, seconds, membership)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The superpixels of all tiles: the part of ``Superpixels`` that does not need the label map.

    ``number`` maps the id of a seed to its node, -1 where the seed has no valid pixel.
    """

    number: NDArray[np.int32]
    area: NDArray[np.int64]
    centre: NDArray[np.float64]
    borders: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.area)


class _Raster:
    """An open raster that reads windows as images."""

    def __init__(self, dataset: Any, path: Path, tiles: Tiles) -> None:
        self.dataset, self.path = dataset, path
        self.shape: tuple[int, int] = (dataset.height, dataset.width)
        colour = [i for i, kind in enumerate(dataset.colorinterp, 1) if kind.name != "alpha"]
        default = (1, 1, 1) if len(colour) < 3 else tuple(colour[:3])
        self.bands = tiles.bands or default
        if not all(1 <= band <= dataset.count for band in self.bands):
            raise SettingsError(f"{path}: has {dataset.count} bands, not {', '.join(map(str, self.bands))}")
        self.stretch = tiles.stretch
        if self.stretch is None and dataset.dtypes[0] != "uint8":
            self.stretch = (2.0, 98.0)

    @classmethod
    @contextmanager
    def open(cls, path: Path, tiles: Tiles) -> Iterator[_Raster]:
        try:
            import rasterio
            from rasterio.errors import RasterioError
        except ImportError as error:
            raise SettingsError("tiles need rasterio: pip install 'segspectral[geo]'") from error
        import logging
        import warnings

        from rasterio.errors import NotGeoreferencedWarning

        logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # what is wrong is told below, in one sentence
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            try:
                # GDAL's own cache of blocks takes a twentieth of the memory unless it is told otherwise.
                with rasterio.Env(GDAL_CACHEMAX=64 * 2**20), rasterio.open(path) as dataset:
                    yield cls(dataset, path, tiles)
            except RasterioError as error:
                raise ImageError(f"{path}: is a raster that cannot be read ({error})") from error

    def read(self, rows: tuple[int, int], cols: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(h, w, 3) in [0, 1], and (h, w) True where it is valid; the rest holds the mean colour of the raster."""
        rgb, valid = self._raw(rows, cols)
        low, high, mean = self._levels
        rgb = np.clip((rgb - low) / (high - low), 0, 1).astype(np.float32)
        rgb[~valid] = mean
        return rgb, valid

    def _raw(
        self, rows: tuple[int, int], cols: tuple[int, int], shape: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        window = (rows, cols)
        unique = sorted(set(self.bands))
        data = self.dataset.read(unique, window=window, out_shape=shape and (len(unique), *shape))
        valid = self.dataset.dataset_mask(window=window, out_shape=shape) > 0
        rgb = np.stack([data[unique.index(band)] for band in self.bands], axis=-1).astype(np.float32)
        valid &= np.isfinite(rgb).all(axis=-1)
        rgb[~valid] = 0
        return rgb, valid

    @cached_property
    def _levels(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Black and white of each band, and the mean colour between them, from a thinned-out view of the raster."""
        height, width = self.shape
        thin = max(1.0, (height * width / 1e6) ** 0.5)
        shape = max(1, round(height / thin)), max(1, round(width / thin))
        rgb, valid = self._raw((0, height), (0, width), shape)
        if not valid.any():
            raise ImageError(f"{self.path}: no pixel is valid (all of it is nodata)")
        pixels = rgb[valid]
        if (pixels == pixels[0]).all():
            raise ImageError(f"{self.path}: all its pixels have one colour; there is nothing to segment")
        if self.stretch is None:
            low, high = np.zeros(3, np.float32), np.full(3, 255, np.float32)
        else:
            low, high = np.percentile(pixels, self.stretch, axis=0).astype(np.float32)
            high = np.where(high > low, high, low + 1)
        return low, high, np.clip((pixels - low) / (high - low), 0, 1).mean(axis=0)


class _NodeMap:
    """The seed of each pixel (H, W) int32, -1 on void, in a file: 4 bytes for each pixel of the raster."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.shape = path, shape

    @classmethod
    @contextmanager
    def beside(cls, target: Path, shape: tuple[int, int]) -> Iterator[_NodeMap]:
        path = partial_of(target.with_name(f"{target.name}.nodes"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                # Reserved now: a full disk is told here, and not by a signal when a page is written.
                os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise OutputError(f"{target}: cannot be written ({error.strerror})") from error
        try:
            yield cls(path, shape)
        finally:
            path.unlink(missing_ok=True)

    def __setitem__(self, window: tuple[slice, slice], seeds: NDArray[np.int32]) -> None:
        self._map("r+")[window] = seeds

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[np.int32]:
        return np.array(self._map("r")[window])

    def _map(self, mode: Any) -> np.memmap[Any, np.dtype[np.int32]]:
        # Mapped anew each time: pages that stay mapped count as this process's memory.
        return np.memmap(self.path, np.int32, mode, shape=self.shape)


@dataclass(frozen=True)
class _Window:
    """A tile, and around it what is read with it; all in pixels of the raster, ends excluded."""

    core: tuple[tuple[int, int], tuple[int, int]]
    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def inner(self) -> tuple[slice, slice]:
        """The tile within what is read."""
        (top, bottom), (left, right) = self.core
        return slice(top - self.rows[0], bottom - self.rows[0]), slice(left - self.cols[0], right - self.cols[0])

    @property
    def outer(self) -> tuple[slice, slice]:
        """The tile within the raster."""
        return slice(*self.core[0]), slice(*self.core[1])


def _windows(shape: tuple[int, int], size: int, margin: int) -> Iterator[_Window]:
    def spans(length: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        starts = range(0, length, size)
        ends = [min(start + size, length) for start in starts]
        return [((a, b), (max(a - margin, 0), min(b + margin, length))) for a, b in zip(starts, ends, strict=True)]

    for core_rows, rows in spans(shape[0]):
        for core_cols, cols in spans(shape[1]):
            yield _Window((core_rows, core_cols), rows, cols)


def superpixel_side(shape: tuple[int, int], count: int, tiles: Tiles) -> int:
    """Pixels between two seeds, for rasters of this shape when photographs get ``count`` superpixels."""
    side = round(max(SIDE_OF_PIXELS / count**0.5, (shape[0] * shape[1] / tiles.max_nodes) ** 0.5))
    return -(-side // CELL) * CELL if side > CELL else max(side, 3)


def _nodes_of_tiles(
    raster: _Raster, node_map: _NodeMap, pipeline: Pipeline, tiles: Tiles
) -> tuple[_Nodes, dict[str, NDArray[np.float32]]]:
    """The nodes of all tiles, and the features (N, D) of each extractor, before they are combined."""
    height, width = raster.shape
    side = superpixel_side(raster.shape, pipeline.superpixels.count, tiles)
    across = -(-width // side)
    seeds = -(-height // side) * across
    area, moments = np.zeros(seeds, np.int64), np.zeros((seeds, 2))
    sums: dict[str, dict[int, NDArray[np.float64]]] = {}
    borders = np.zeros((0, 2), np.int32)
    # Tiles of whole cells of the grid: every tile's seeds are those of the whole.
    size, margin = max(1, tiles.tile // side) * side, MARGIN_SUPERPIXELS * side
    for window in _windows(raster.shape, size, margin):
        rgb, valid = raster.read(window.rows, window.cols)
        if not valid[window.inner].any():
            node_map[window.outer] = np.int32(-1)  # type: ignore[assignment]
            continue
        local = _grid_slic(rgb, side, pipeline)
        first_row, first_col = window.rows[0] // side, window.cols[0] // side
        cols_here = -(-rgb.shape[1] // side)
        ids = ((first_row + local // cols_here) * across + first_col + local % cols_here).astype(np.int32)
        ids[~valid] = -1
        node_map[window.outer] = ids[window.inner]
        borders = np.unique(np.concatenate([borders, _touching(ids, window.inner)]), axis=0)

        # What k-means needed around the tile is more than the features need, and these need memory.
        crop = tuple(
            slice(max(s.start - MARGIN_FEATURES, 0), min(s.stop + MARGIN_FEATURES, length))
            for s, length in zip(window.inner, ids.shape, strict=True)
        )
        inside = np.full(ids.shape, -1, np.int32)
        inside[window.inner] = ids[window.inner]
        here, compact = _compacted(inside[crop])
        superpixels = Superpixels(compact)
        # Void pixels have the mean colour of the raster already; one of this window would tell of the tiles.
        image = Image(rgb[crop], raster.path.name)
        corner = np.array([window.rows[0] + crop[0].start, window.cols[0] + crop[1].start])
        weight = superpixels.area[:, None]
        area[here] += superpixels.area
        moments[here] += weight * (superpixels.centre + corner)
        for name, extractor in pipeline.features.extractors().items():
            if name == "position":
                continue
            measured = (
                extractor.pooled(image, superpixels).nodes
                if isinstance(extractor, Cnn)
                else {0: extractor(image, superpixels).astype(np.float64)}
            )
            totals = sums.setdefault(name, {key: np.zeros((seeds, m.shape[1])) for key, m in measured.items()})
            for key, values in measured.items():
                totals[key][here] += weight * values
    used = np.flatnonzero(area)
    number = np.full(seeds, -1, np.int32)
    number[used] = np.arange(len(used))
    centre = moments[used] / area[used, None]
    # A superpixel that lies in several tiles has the mean of its parts, by area.
    means = {n: {key: total[used] / area[used, None] for key, total in totals.items()} for n, totals in sums.items()}
    parts: dict[str, NDArray[np.float32]] = {}
    for name, extractor in pipeline.features.extractors().items():
        if isinstance(extractor, Cnn):
            parts[name] = extractor.reduce(means[name])
        else:
            parts[name] = (centre / max(raster.shape) if name == "position" else means[name][0]).astype(np.float32)
    # A margin may know a seed that lost all its pixels in the tile that it stands in.
    touching = number[borders][(number[borders] >= 0).all(axis=1)]
    return _Nodes(number, area[used], centre, touching), parts


def _grid_slic(rgb: NDArray[np.float32], side: int, pipeline: Pipeline) -> NDArray[np.int64]:
    """SLIC whose seeds stand in the middles of a grid's cells: (h, w), the number of the seed by rows.

    Stray pixels that are not connected to the rest of their superpixel go to the nearest one that they touch.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.measure import label
    from skimage.segmentation import slic

    height, width = rgb.shape[:2]
    down, across = -(-height // side), -(-width // side)
    # One row of cells more, with a black and a white pixel: scikit-image rescales by the range of what it is given,
    # which must not differ between tiles. With whole cells its grid of seeds is ours.
    padded = np.pad(rgb, ((0, (down + 1) * side - height), (0, across * side - width), (0, 0)), mode="edge")
    padded[-1, 0], padded[-1, -1] = 0, 1
    method = pipeline.superpixels
    labels = slic(
        padded,
        n_segments=(down + 1) * across,
        compactness=method.compactness,
        max_num_iter=method.iterations,
        sigma=method.sigma,
        start_label=0,
        enforce_connectivity=False,
        channel_axis=-1,
    )
    labels = np.minimum(labels[:height, :width], down * across - 1)
    pieces = label(labels, connectivity=1, background=-1)
    stray = np.bincount(pieces.ravel())[pieces] < side * side / 8
    if stray.any() and not stray.all():
        nearest = distance_transform_edt(stray, return_distances=False, return_indices=True)
        labels = labels[tuple(nearest)]
    return labels.astype(np.int64)


def _touching(ids: NDArray[np.int32], inner: tuple[slice, slice]) -> NDArray[np.int32]:
    """(M, 2) pairs i < j of seeds that touch in the tile or across its lower and right border."""
    grown = tuple(slice(s.start, s.stop + 1) for s in inner)
    part = ids[grown]
    pairs = []
    for a, b in ((part[:-1], part[1:]), (part[:, :-1], part[:, 1:])):
        cut = (a != b) & (a >= 0) & (b >= 0)
        pairs.append(np.stack([np.minimum(a[cut], b[cut]), np.maximum(a[cut], b[cut])], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _compacted(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ids that occur (n,), and the map with their ranks in their place; -1 stays."""
    here, rank = np.unique(ids, return_inverse=True)
    first = int(here[0] < 0)
    return here[first:], (rank.reshape(ids.shape) - first).astype(np.int32)


def _write_labels(
    raster: _Raster, node_map: _NodeMap, nodes: _Nodes, membership: Membership, pipeline: Pipeline, target: Path
) -> int:
    """Refine tile by tile into the label raster; returns how many segments it has."""
    import rasterio
    from rasterio.errors import RasterioError

    from segspectral.export import colour_table

    k = membership.probabilities.shape[1]
    used: set[int] = set()
    partial = partial_of(target)
    profile = {
        "driver": "GTiff",
        "height": raster.shape[0],
        "width": raster.shape[1],
        "count": 1,
        "dtype": "uint8" if k <= 255 else "uint16",
        "nodata": 0,
        "crs": raster.dataset.crs,
        "transform": raster.dataset.transform,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "BIGTIFF": "IF_SAFER",
    }
    try:
        try:
            with rasterio.open(partial, "w", **profile) as out:
                if k <= 255:
                    out.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(colour_table(k + 1))})
                for window in _windows(raster.shape, BLOCK, MARGIN_REFINE):
                    labels = _refined(raster, node_map, nodes, membership, pipeline, window)
                    used.update(np.unique(labels).tolist())
                    out.write(labels.astype(profile["dtype"]), 1, window=window.core)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RasterioError) as error:
        raise OutputError(f"{target}: cannot be written ({error})") from error
    return len(used - {0})


def _refined(
    raster: _Raster,
    node_map: _NodeMap,
    nodes: _Nodes,
    membership: Membership,
    pipeline: Pipeline,
    window: _Window,
) -> NDArray[np.int32]:
    """Segments 1..K of a tile, 0 on void."""
    ids = node_map[slice(*window.rows), slice(*window.cols)]
    if (ids < 0).all():
        return np.zeros(ids[window.inner].shape, np.int32)
    here, compact = _compacted(ids)
    rgb, valid = raster.read(window.rows, window.cols)
    image = Image(rgb, raster.path.name, None if valid.all() else valid)
    local = replace(membership, probabilities=membership.probabilities[nodes.number[here]], embedding=None)
    return pipeline.refine(image, Superpixels(compact), local)[window.inner] + np.int32(1)
