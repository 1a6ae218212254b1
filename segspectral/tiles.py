"""Images larger than memory: a raster file -> a label raster, read and written in tiles, solved as one graph.

No region ends at the border of a tile, by construction:

1. A raster is worked on at a size at which ``max_nodes`` superpixels are as large as those of photographs, and its
   labels come back to its own pixels, as the pipeline does with large images.
2. The seeds of the superpixels stand on one grid over the whole raster, whatever the tiles are. Each tile is read with
   a margin in which its superpixels settle as they would in the whole; a superpixel that a border cuts is one node,
   whose pixels, features and contours come from both sides.
3. All nodes make one graph, and one head solves it, or one hierarchy.
4. Refinement goes over tiles of its own, with a margin too, on the label map that is common to all.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from segspectral.contours import Activations, Measured, measure
from segspectral.errors import OutputError, SettingsError
from segspectral.export.files import partial_of
from segspectral.features import Cnn
from segspectral.hierarchy import build_hierarchy
from segspectral.images import FLAT
from segspectral.rasters import DiskMap, Raster, Window, open_pixels, windows
from segspectral.refine import NoRefinement
from segspectral.resolution import joint_upsampling
from segspectral.settings import Settings
from segspectral.types import Features, Image, Membership, Superpixels

if TYPE_CHECKING:
    from segspectral.pipeline import AnyRefiner, Observer, Pipeline

__all__ = ["NO_MODEL", "Grid", "RasterResult", "Tiles", "overlay_of_raster", "segment_raster"]

SIDE_OF_PIXELS = 500
"""``superpixels.count`` is meant for a photograph of about 500 x 500 pixels; larger rasters get more, in proportion."""

MARGIN_SUPERPIXELS = 4
"""Sides of superpixels. With 2, 4 and 8, about 5, 1 and 0.05 % of the pixels are in another superpixel than without
tiles: ten rounds of k-means carry little over such a distance."""

MARGIN_FEATURES = 128
"""Cells: the zeros that a network sees beyond its image fade over such a distance. A multiple of STRIDE."""

STRIDE = 32
"""Tiles begin at multiples of it: the cells of a CNN then lie alike in all tiles."""

LEAST_TILE = 256
"""Cells: much smaller tiles are mostly margin. What it takes to read them is bounded in other ways."""

MARGIN_REFINE = 96
"""Cells: twice the width of the CRF's kernel on position, six of the guided filter's windows."""

BLOCK = 512
"""Side of what is refined at once, in cells: refiners take 1 kB for each."""

BLOCK_OF_FILE = 256

MANY = 2000
"""Superpixels above which the affinity's kernel is widened: without it, the largest of 4 to 12 segments had 77 % of the
superpixels of three rasters of 15 000 to 19 000 in the mean, with it 45 %."""

NO_MODEL = "a model is applied to whole images, not to rasters in tiles; leave one of the two out"

Band = Annotated[int, Field(ge=1)]
Percentage = Annotated[float, Field(ge=0, le=100)]


class Tiles(Settings):
    """How a raster is read."""

    tile: int = Field(1024, ge=64, le=16384, description="side of a tile in pixels; costs memory, not quality")
    bands: tuple[Band, Band, Band] | None = Field(
        None, description="which are red, green and blue, counted from 1; default 1, 2, 3, or 1 alone as grey"
    )
    stretch: tuple[Percentage, Percentage] | None = Field(
        None, description="percentiles of each band that become black and white; default 2 and 98 unless it is 8-bit"
    )
    scale: float = Field(
        2.2,
        gt=0,
        description="factor on affinity.scale: without contours a narrow kernel makes one segment of nearly all. It "
        f"grows with the cube root of the superpixels above {MANY}, which are ever nearer to their neighbours",
    )
    contour: float | None = Field(
        None,
        gt=0,
        description="affinity.contour for rasters: among hundreds of regions that are as cheap to cut off, chance "
        "would decide; kinds of land recur. The hierarchy looks at contours all the same",
    )
    max_nodes: int = Field(20_000, ge=2, le=1_000_000, description="superpixels of a raster at most")

    @field_validator("stretch")
    @classmethod
    def _rising(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("the first percentile, which becomes black, is below the second, which becomes white")
        return value


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
    notes: tuple[str, ...] = ()


def segment_raster(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pipeline: Pipeline,
    tiles: Tiles = Tiles(),
    observer: Observer | None = None,
) -> RasterResult:
    """Segment a raster (TIFF, PNG, JPEG or JPEG 2000, by content) without holding it in memory.

    Parameters
    ----------
    target : GeoTIFF of segments 1..K with the source's CRS and transform; 0 where the source has no data, which its
        nodata value says

    Raises
    ------
    ImageError
        The raster cannot be read, or has no valid pixel.
    SettingsError
        A band does not exist, more segments than superpixels, a model, rasterio is not installed.
    OutputError, BackboneError, CollapseError
    """
    if pipeline.model is not None:
        raise SettingsError(NO_MODEL)
    target = Path(target)
    pipeline, notes = pipeline.usable()
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begin
        if observer is not None:
            observer(name, seconds[name])

    with ExitStack() as stack:
        raster = stack.enter_context(Raster.open(Path(source), tiles.bands, tiles.stretch))
        grid = Grid.of(raster.shape, pipeline.superpixels.count, tiles)
        raster.factor = grid.factor
        node_map = stack.enter_context(DiskMap.beside(target, raster.cells))
        with stage("tiles"):
            nodes, features = _nodes_of_tiles(raster, node_map, pipeline, grid)
        # Affinity, hierarchy and head look only at what a whole partition and these nodes have in common.
        superpixels = cast(Superpixels, nodes)
        with stage("affinity"):
            wider = tiles.scale * max(1.0, len(nodes) / MANY) ** (1 / 3)
            change = {"scale": wider * pipeline.affinity.scale, "contour": tiles.contour}
            affinity = pipeline.affinity.model_copy(update=change)(features, superpixels)
        refine = pipeline.refine
        if raster.flat:
            membership, refine, notes = Membership(np.ones((len(nodes), 1), np.float32)), NoRefinement(), (*notes, FLAT)
        elif pipeline.hierarchy:
            with stage("hierarchy"):
                membership = pipeline._cut(build_hierarchy(superpixels, features), pipeline.segments, affinity)
            refine = NoRefinement()  # cuts are nested
        else:
            with stage("head"):
                membership = pipeline._membership(pipeline.segments, features, affinity, superpixels)
        with stage("refine"):
            segments = _write_labels(raster, node_map, nodes, membership, refine, target)
    ncut = affinity.ncut(membership.labels)
    return RasterResult(target, raster.shape, len(nodes), segments, ncut, seconds, membership, notes)


def overlay_of_raster(
    source: str | os.PathLike[str], labels: str | os.PathLike[str], tiles: Tiles = Tiles(), longest: int = 1600
) -> NDArray[np.uint8]:
    """(h, w, 3) a raster tinted by the segments of ``labels``, at most ``longest`` pixels on its longer side.

    Raises
    ------
    ImageError, SettingsError
        As ``segment_raster``.
    """
    from segspectral.export.pictures import tinted

    with Raster.open(Path(source), tiles.bands, tiles.stretch) as raster, open_pixels(Path(labels)) as file:
        rgb = raster.thumbnail(longest)
        return tinted(rgb, file.read(1, out_shape=rgb.shape[:2]).astype(np.int32))


class Grid(NamedTuple):
    """How a raster is worked on: in cells of ``factor`` x ``factor`` pixels."""

    factor: int
    side: int
    """Cells between two seeds."""
    tile: int
    """Side of a tile in cells: tiles begin at seeds, and where those of a CNN do."""

    @classmethod
    def of(cls, shape: tuple[int, int], count: int, tiles: Tiles) -> Grid:
        """For rasters of this shape when photographs get ``count`` superpixels."""
        least = SIDE_OF_PIXELS / count**0.5
        due = (shape[0] * shape[1] / tiles.max_nodes) ** 0.5
        factor = max(1, round(due / least))
        side = max(4, 4 * math.ceil(max(least, due / factor) / 4 - 1 / 8))
        step = math.lcm(side, STRIDE)
        tile = max(tiles.tile // factor, min(tiles.tile, LEAST_TILE))
        return cls(factor, side, max(1, tile // step) * step)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The superpixels of all tiles: the part of ``Superpixels`` that does not need the label map.

    ``number`` maps the id of a seed to its node, -1 where the seed has no valid cell.
    """

    number: NDArray[np.int32]
    area: NDArray[np.int64]
    borders: NDArray[np.int32]
    border_length: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.area)


def _nodes_of_tiles(raster: Raster, node_map: DiskMap, pipeline: Pipeline, grid: Grid) -> tuple[_Nodes, Features]:
    """The nodes of all tiles, and their features as those of a whole image would be."""
    height, width = raster.cells
    side, stack = grid.side, pipeline.features
    across = -(-width // side)
    seeds = -(-height // side) * across
    area, weight = np.zeros(seeds, np.int64), np.zeros((seeds, 1))
    sums: dict[str, NDArray[np.float64]] = {}
    borders: list[dict[str, NDArray[np.floating | np.integer]]] = []
    settling = MARGIN_SUPERPIXELS * side
    for window in windows(raster.cells, grid.tile, STRIDE * math.ceil(max(settling, MARGIN_FEATURES) / STRIDE)):
        rgb, valid = raster.read_cells(window.rows, window.cols)
        if not valid[window.inner].any():
            node_map[window.outer] = np.int32(-1)  # type: ignore[assignment]
            continue
        near, crop = (
            tuple(
                slice(max(span.start - margin, 0), min(span.stop + margin, length))
                for span, length in zip(window.inner, valid.shape, strict=True)
            )
            for margin in (settling, MARGIN_FEATURES)
        )
        local = _grid_slic(rgb[near], side, pipeline)
        first_row, first_col = (
            (at[0] + part.start) // side for at, part in zip((window.rows, window.cols), near, strict=True)
        )
        cols_here = -(-local.shape[1] // side)
        ids = np.full(valid.shape, -1, np.int32)
        ids[near] = (first_row + local // cols_here) * across + first_col + local % cols_here
        ids[~valid] = -1
        inner = ids[window.inner]
        node_map[window.outer] = inner
        area += np.bincount(inner[inner >= 0], minlength=seeds)

        # One row and one column of the next tiles are seen, too, for the borders between them and this one.
        grown = tuple(slice(s.start, s.stop + 1) for s in window.inner)
        inside = np.full(ids.shape, -1, np.int32)
        inside[grown] = ids[grown]
        here, compact = _compacted(inside[crop])
        superpixels = Superpixels(compact)
        # Void cells have the mean colour of the raster already; one of this window would tell of the tiles.
        image = Image(rgb[crop], raster.path.name)
        corner = np.array([window.rows[0] + crop[0].start, window.cols[0] + crop[1].start])
        deep = Activations({})
        means: dict[str, NDArray[np.floating]] = {}
        for name, extractor in stack.extractors().items():
            if isinstance(extractor, Cnn):
                deep = extractor.pooled(image, superpixels, edges=stack.contours is not None and stack.contours.edges)
                means |= {f"cnn {stride}": values for stride, values in deep.nodes.items()}
            elif name == "position":
                means[name] = superpixels.centre + corner
            else:
                means[name] = extractor(image, superpixels)
        i, j = here[superpixels.borders].astype(np.int64).T
        found: dict[str, NDArray[Any]] = {"key": i * seeds + j, "length": superpixels.border_length}
        if stack.contours is not None:
            measured = measure(image, superpixels)
            means |= {f"contours {name}": values for name, values in measured.nodes.items()}
            found["gradients"] = measured.borders
            if deep.edges is not None:
                found["edges"] = deep.edges
        borders.append(found)
        weight[here] += superpixels.area[:, None]
        for name, values in means.items():
            sums.setdefault(name, np.zeros((seeds, values.shape[1])))[here] += superpixels.area[:, None] * values
    # A superpixel that lies in several tiles has the mean of its parts, by area; a border, by length.
    used = np.flatnonzero(area)
    number = np.full(seeds, -1, np.int32)
    number[used] = np.arange(len(used))
    whole = {name: total[used] / weight[used] for name, total in sums.items()}
    keys = np.concatenate([found["key"] for found in borders])
    pairs = number[np.stack(np.divmod(keys, seeds), axis=1)]
    # A margin may know a seed that lost all its cells in the tile that it stands in.
    known = (pairs >= 0).all(axis=1)
    touching, place = np.unique(pairs[known], axis=0, return_inverse=True)
    lengths = np.concatenate([found["length"] for found in borders])[known]
    nodes = _Nodes(number, area[used], touching, np.bincount(place, lengths, len(touching)).astype(np.float64))

    def along(name: str) -> NDArray[np.float64]:
        values = np.concatenate([found[name] for found in borders])[known]
        total = np.stack([np.bincount(place, lengths * column, len(touching)) for column in values.T], axis=-1)
        return total / nodes.border_length[:, None]

    maps = {
        int(name.split()[1]): values.astype(np.float32) for name, values in whole.items() if name.startswith("cnn ")
    }
    parts = {
        name: extractor.reduce(maps) if isinstance(extractor, Cnn) else whole[name].astype(np.float32)
        for name, extractor in stack.extractors().items()
    }
    if "position" in parts:
        parts["position"] /= np.float32(max(raster.cells))
    features = stack.combine(parts)
    if stack.contours is None:
        return nodes, features
    if len(touching) == 0:
        return nodes, replace(features, boundary=np.empty(0))
    pooled = {name.split()[1]: values for name, values in whole.items() if name.startswith("contours ")}
    measured = Measured(pooled, along("gradients"))
    deep = Activations(maps, along("edges").astype(np.float32) if "edges" in borders[0] else None)
    return nodes, replace(features, boundary=stack.contours.probability(cast(Superpixels, nodes), measured, deep))


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


def _compacted(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The ids that occur (n,), and the map with their ranks in their place; -1 stays."""
    here, rank = np.unique(ids, return_inverse=True)
    first = int(here[0] < 0)
    return here[first:], (rank.reshape(ids.shape) - first).astype(np.int32)


def _write_labels(
    raster: Raster, node_map: DiskMap, nodes: _Nodes, membership: Membership, refine: AnyRefiner, target: Path
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
        "dtype": np.min_scalar_type(k).name,
        "nodata": 0,
        "crs": raster.crs,
        "transform": raster.transform,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": BLOCK_OF_FILE,
        "blockysize": BLOCK_OF_FILE,
        "BIGTIFF": "IF_SAFER",
    }
    # Bounds the pixels of a block, too.
    block = max(64, BLOCK >> max(0, math.ceil(math.log2(raster.factor / 4))))
    try:
        try:
            with rasterio.open(partial, "w", **profile) as out:
                if k <= 255:
                    out.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(colour_table(k + 1))})
                for window in windows(raster.cells, block, MARGIN_REFINE):
                    labels = _refined(raster, node_map, nodes, membership, refine, window)
                    used.update(np.unique(labels).tolist())
                    out.write(labels.astype(profile["dtype"]), 1, window=raster.pixels(*window.core))
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RasterioError) as error:
        raise OutputError(f"{target}: cannot be written ({error})") from error
    return len(used - {0})


def _refined(
    raster: Raster, node_map: DiskMap, nodes: _Nodes, membership: Membership, refine: AnyRefiner, window: Window
) -> NDArray[np.int32]:
    """Segments 1..K of a tile's pixels, 0 on void."""
    ids = node_map[slice(*window.rows), slice(*window.cols)]
    if (ids[window.inner] < 0).all():
        rows, cols = raster.pixels(*window.core)
        return np.zeros((rows[1] - rows[0], cols[1] - cols[0]), np.int32)
    here, compact = _compacted(ids)
    rgb, valid = raster.read_cells(window.rows, window.cols)
    image = Image(rgb, raster.path.name, None if valid.all() else valid)
    local = replace(membership, probabilities=membership.probabilities[nodes.number[here]], embedding=None)
    labels = refine(image, Superpixels(compact), local)
    return labels[window.inner] + np.int32(1) if raster.factor == 1 else _at_pixels(raster, window, rgb, labels)


def _at_pixels(
    raster: Raster, window: Window, rgb: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Segments 1..K of a tile's pixels, from labels 0..K-1 of its cells and those around it, -1 on void."""
    from scipy.ndimage import distance_transform_edt

    f = raster.factor
    # Borders may move by a cell, so one more is looked at on each side.
    around = tuple(
        (max(core[0] - 1, whole[0]), min(core[1] + 1, whole[1]))
        for core, whole in zip(window.core, (window.rows, window.cols), strict=True)
    )
    cells = tuple(
        slice(a - whole[0], b - whole[0]) for (a, b), whole in zip(around, (window.rows, window.cols), strict=True)
    )
    near = labels[cells]
    if (near < 0).any():
        # What is void is cut out again below, pixel by pixel.
        near = near[tuple(distance_transform_edt(near < 0, return_distances=False, return_indices=True))]
    (top, bottom), (left, right) = raster.pixels(*around)
    pixels, valid = raster.read((top, bottom), (left, right))
    more = near.shape[0] * f - pixels.shape[0], near.shape[1] * f - pixels.shape[1]
    whole = np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    fine = joint_upsampling(near, Image(np.ascontiguousarray(rgb[cells])), Image(whole))
    fine = np.where(valid, fine[: valid.shape[0], : valid.shape[1]] + np.int32(1), np.int32(0))
    rows, cols = raster.pixels(*window.core)
    return fine[rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left]
