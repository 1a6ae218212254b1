"""Images larger than memory: a raster file -> a label raster. It is read and written in tiles, but solved as one graph.

By construction, no segment ends at the edge of a tile:

1. A raster is segmented at a size at which ``max_nodes`` superpixels are as large as those of photographs. Its labels
   are then upsampled to its own pixels, as the pipeline does with large images.
2. The superpixels do not depend on the tiles (``nodes``). A superpixel that lies in two tiles is one node; its pixels,
   features and boundary probabilities come from both tiles.
3. All nodes are in one graph, and one head or one hierarchy segments it.
4. Refinement has its own tiles with margins. It works on one common label map.
5. Limits on sizes are decided on one graph of all fragments, and then painted.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import OutputError, SettingsError
from segspectral.export.pictures import KEYWORD, colour_table
from segspectral.files import unfinished, whole_file
from segspectral.images.gdal import check_written, checksum, open_pixels
from segspectral.images.reader import FLAT, Reading
from segspectral.rasters.limited import Drawing, RasterSizes
from segspectral.rasters.nodes import Grid, Nodes, compacted, describe_raster
from segspectral.rasters.raster import DiskMap, Raster, Span, Window, windows
from segspectral.rasters.tiling import MANY, NO_MODEL, NO_SPLIT, Tiles
from segspectral.refine import NoRefinement
from segspectral.registry import Look
from segspectral.resolution import joint_upsampling
from segspectral.values import Hierarchy, Image, Membership, Superpixels

if TYPE_CHECKING:
    from segspectral.pipeline import AnyRefiner, Observer, Pipeline

__all__ = ["Grid", "RasterResult", "Tiles", "overlay_of_raster", "segment_raster"]

MARGIN_REFINE = 96
"""Width of the margin for refinement in cells: more than twice the width of the CRF's kernel on position and six
windows of the guided filter, with their default settings."""

BLOCK = 512
"""Side in cells of what is refined at once. Refiners take about 1 kB per cell."""

LEAST_BLOCK = 64
"""The smallest such side: smaller blocks would be mostly margin."""

BLOCK_FACTOR = 4
"""Up to this many pixels per side of a cell, BLOCK applies. For larger cells the side is halved with each doubling, so
that a block has at most BLOCK * BLOCK_FACTOR pixels per side."""

BLOCK_OF_FILE = 256
"""Side in pixels of the tiles of the label raster; GDAL's default for tiled GeoTIFFs."""


@dataclass(frozen=True)
class RasterResult:
    """The result for a raster; the label map is in the file ``labels``."""

    labels: Path
    shape: tuple[int, int]
    nodes: int
    numbers: tuple[int, ...]
    ncut: float
    seconds: dict[str, float]
    membership: Membership
    notes: tuple[str, ...] = ()
    read: dict[str, Any] = field(default_factory=dict)

    @property
    def segments(self) -> int:
        """How many segments have pixels; ``numbers`` are theirs."""
        return len(self.numbers)


def segment_raster(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    pipeline: Pipeline,
    tiles: Tiles = Tiles(),
    observer: Observer | None = None,
    names: Mapping[int, str] | None = None,
) -> RasterResult:
    """Segment a raster file (TIFF, PNG, JPEG or JPEG 2000) without loading all of it into memory.

    Parameters
    ----------
    target : path of the result, a GeoTIFF of segments 1..K with the CRS and transform of the source; 0, which is its
        nodata value, where the source has no data
    names : segment -> name, stored in the result

    Raises
    ------
    ImageError
        The raster cannot be read, or has no valid pixel.
    SettingsError
        A band does not exist, there are fewer superpixels than segments, the pipeline has a model, or rasterio is not
        installed.
    OutputError, BackboneError, CollapseError
    """
    if pipeline.model is not None:
        raise SettingsError(NO_MODEL)
    if pipeline.sizes.split:
        raise SettingsError(NO_SPLIT)
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
        raster = stack.enter_context(Raster.open(Path(source), pipeline.reading))
        grid = Grid.of(raster.shape, pipeline.superpixels.count, tiles.tile, tiles.max_nodes)
        raster.factor = grid.factor
        pipeline.sizes.limits(0, raster.ground, str(source))  # raises if a size cannot be converted to pixels
        notes = (*notes, *raster.said, *filter(None, [pipeline.said_of(raster.no_pixels)]))
        seed_map = stack.enter_context(DiskMap.beside(target, raster.cells))
        with stage("tiles"):
            nodes = describe_raster(raster, seed_map, pipeline, grid)
        with stage("affinity"):
            wider = tiles.scale * max(1.0, len(nodes) / MANY) ** (1 / 3)
            change = {"scale": wider * pipeline.affinity.scale, "contour": tiles.contour}
            affinity = pipeline.affinity.model_copy(update=change)(nodes.features, nodes.graph)
        refine, hierarchy = pipeline.refine, pipeline.hierarchy and not raster.flat

        def partition(tree: Hierarchy | None = None) -> Membership:
            return pipeline.partition(nodes.features, nodes.graph, affinity, tree=tree)

        if raster.flat:
            membership, refine, notes = Membership(np.ones((len(nodes), 1), np.float32)), NoRefinement(), (*notes, FLAT)
        else:
            with stage("partition"):
                membership = partition()
            if hierarchy:
                refine = NoRefinement()  # refined cuts would not be nested any more
        draw: Drawing = partial(_refined, raster, nodes, membership, refine)
        tiles_of_pixels = list(windows(raster.cells, _side(raster.factor), MARGIN_REFINE))
        if pipeline.sizes.wanted:
            at = stack.enter_context(DiskMap.beside(target.with_name(f"{target.name}.parts"), raster.shape))
            sizes = RasterSizes(pipeline.sizes, raster, nodes, affinity, tiles_of_pixels, at)
            with stage("sizes"):
                if hierarchy and (pipeline.sizes.min or pipeline.sizes.max):
                    draw, membership, said = sizes.of_cuts(partial(_leaves, raster, nodes), partition)
                else:
                    draw, membership, said = sizes.of_segments(draw, membership)
            notes = (*notes, *said)
        with stage("refine"):
            k = membership.probabilities.shape[1]
            segments = _write_labels(raster, tiles_of_pixels, draw, k, target, names or {})
        read = raster.read_as
    ncut = affinity.ncut(membership.labels)
    return RasterResult(target, raster.shape, len(nodes), segments, ncut, seconds, membership, notes, read)


def overlay_of_raster(
    source: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    reading: Reading = Reading(),
    longest: int = 1600,
    look: Look = Look(),
    names: Mapping[int, str] | None = None,
) -> NDArray[np.uint8]:
    """(h, w, 3) a raster with the segments of ``labels``; its longer side has at most ``longest`` pixels.

    Raises
    ------
    ImageError, SettingsError
        As ``segment_raster``.
    """
    from segspectral.export.pictures import tinted

    with Raster.open(Path(source), reading) as raster, open_pixels(unfinished(Path(labels))) as file:
        rgb = raster.thumbnail(longest)
        labels_seen = file.read(1, out_shape=rgb.shape[:2]).astype(np.int32)
        return tinted(rgb, labels_seen, look=look, names=names)


def _side(factor: int) -> int:
    """The side in cells of what is refined at once, for cells of ``factor`` pixels."""
    halvings = max(0, math.ceil(math.log2(factor / BLOCK_FACTOR)))
    return max(LEAST_BLOCK, BLOCK >> halvings)


def _write_labels(
    raster: Raster, tiles: Sequence[Window], draw: Drawing, k: int, target: Path, names: Mapping[int, str]
) -> tuple[int, ...]:
    """Draw tile by tile and write the label raster. Returns its segments, ascending, of at most ``k``."""
    import rasterio
    from rasterio.errors import RasterioError

    used: set[int] = set()
    sums: dict[tuple[Span, Span], int] = {}
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
    try:
        with whole_file(target) as partial:
            with rasterio.open(partial, "w", **profile) as out:
                if k <= 255:
                    out.write_colormap(1, {i: (*map(int, c), 255) for i, c in enumerate(colour_table(k + 1))})
                _tag(out, names)
                for window in tiles:
                    labels, at = draw(window).astype(profile["dtype"]), raster.pixels(*window.core)
                    used.update(np.unique(labels).tolist())
                    out.write(labels, 1, window=at)
                    sums[at] = checksum(labels)
            check_written(partial, "GTiff", sums)
    except RasterioError as error:
        raise OutputError(f"cannot be written ({error})", target) from error
    return tuple(sorted(used - {0}))


def _tag(out: Any, names: Mapping[int, str]) -> None:
    """Store the names of segments in a label raster as ``geotiff`` does, and so that a PNG made of it has them."""
    out.set_band_description(1, "segment")
    if names:
        text = json.dumps({"names": dict(names), "colours": {}})
        out.update_tags(TIFFTAG_IMAGEDESCRIPTION=text, **{KEYWORD: text})
        out.update_tags(1, **{f"SEGMENT_{segment}": name for segment, name in names.items()})


def _refined(
    raster: Raster, nodes: Nodes, membership: Membership, refine: AnyRefiner, window: Window
) -> NDArray[np.int32]:
    """(h, w) segments 1..K of a tile's pixels, 0 on void."""

    def labels(image: Image, here: NDArray[np.int32], superpixels: Superpixels) -> NDArray[np.int32]:
        local = replace(membership, probabilities=membership.probabilities[here], embedding=None)
        return refine(image, superpixels, local)

    return _drawn(raster, nodes, labels, window)


def _leaves(raster: Raster, nodes: Nodes, window: Window) -> NDArray[np.int32]:
    """(h, w) the superpixels 1..N of a tile's pixels, 0 on void."""
    return _drawn(raster, nodes, lambda image, here, superpixels: superpixels.to_pixels(here, void=-1), window)


def _drawn(
    raster: Raster,
    nodes: Nodes,
    labels_of: Callable[[Image, NDArray[np.int32], Superpixels], NDArray[np.int32]],
    window: Window,
) -> NDArray[np.int32]:
    """(h, w) the labels 1..K of a tile's pixels, 0 on void.

    Parameters
    ----------
    labels_of : the cells of a tile, the superpixels there, and where they are -> the labels of cells 0..K-1, -1 on void
    """
    ids = nodes.seeds[slice(*window.rows), slice(*window.cols)]
    if (ids[window.inner] < 0).all():
        rows, cols = raster.pixels(*window.core)
        return np.zeros((rows[1] - rows[0], cols[1] - cols[0]), np.int32)
    here, compact = compacted(ids)
    rgb, valid = raster.read_cells(window.rows, window.cols)
    image = Image(rgb, raster.path.name, None if valid.all() else valid)
    labels = labels_of(image, nodes.number[here], Superpixels(compact))
    return labels[window.inner] + np.int32(1) if raster.factor == 1 else _at_pixels(raster, window, rgb, labels)


def _at_pixels(
    raster: Raster, window: Window, rgb: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.int32]:
    """(h, w) segments 1..K of a tile's pixels, from the labels 0..K-1 of the cells of its window, -1 on void."""
    from scipy.ndimage import distance_transform_edt

    f = raster.factor
    # Upsampling may move borders by one cell, so one more cell is used on each side.
    around = tuple(
        (max(core[0] - 1, whole[0]), min(core[1] + 1, whole[1]))
        for core, whole in zip(window.core, (window.rows, window.cols), strict=True)
    )
    cells = tuple(
        slice(a - whole[0], b - whole[0]) for (a, b), whole in zip(around, (window.rows, window.cols), strict=True)
    )
    near = labels[cells]
    if (near < 0).any():
        # Void cells take the nearest label; below, void pixels become 0.
        near = near[tuple(distance_transform_edt(near < 0, return_distances=False, return_indices=True))]
    (top, bottom), (left, right) = raster.pixels(*around)
    pixels, valid = raster.read((top, bottom), (left, right))
    more = near.shape[0] * f - pixels.shape[0], near.shape[1] * f - pixels.shape[1]
    whole = np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    fine = joint_upsampling(near, Image(np.ascontiguousarray(rgb[cells])), Image(whole))
    fine = np.where(valid, fine[: valid.shape[0], : valid.shape[1]] + np.int32(1), np.int32(0))
    rows, cols = raster.pixels(*window.core)
    return fine[rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left]
