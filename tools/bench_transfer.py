#!/usr/bin/env python3
"""Does what was learnt on BSDS500 hold elsewhere? Region and boundary scores on streets, objects, tiles and nuclei.

    tools/bench_transfer.py --data DATA [--sets camvid voc aerial nuclei cityscapes] [--limit 40] [--jobs 2]

DATA has the folders that ``segspectral evaluate`` reads, beside ``aerial`` (see ``bench_bands``) and ``nuclei`` with
images/ID.png and labels/ID.png; default: $SEGSPECTRAL_DATA, else ../shared/data. The truth of an image are the
connected regions of its mask (of nuclei: each nucleus, and the background), void left out. Masks above half a megapixel
are halved until they are below. Methods with several scales have ODS/OIS: one scale for all images of a set / the best
for each.
In brackets: 95 % interval of the difference of ODS from Felzenszwalb's over images (paired bootstrap, 1000 resamples).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench_bands import tiles
from bench_quality import CONFIGS, Maps, Method, cut, felzenszwalb, of_config, rag_ncut
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.measure import label

from segspectral.config import load
from segspectral.evaluation.datasets import open_dataset
from segspectral.images.reader import read_image
from segspectral.metrics.boundary import BoundaryCounts, boundary_counts
from segspectral.metrics.region import RegionCounts, region_counts
from segspectral.values import Image

PIXELS = 500_000
RESAMPLES = 1000
REFERENCE = "Felzenszwalb (scikit-image), 5 scales"


def cells(image: Image, k: int) -> Maps:
    return [load(CONFIGS / "cells.yaml")(image).labels]


METHODS: dict[str, Method] = {
    "`--hierarchy`, levels": partial(of_config, "default"),
    "`--preset fast`, levels": partial(of_config, "fast"),
    "`--preset quality`, levels": partial(of_config, "quality"),
    "`--hierarchy`, automatic level": partial(cut, hierarchy=True, segments="auto"),
    "no options": partial(cut, segments="auto"),
    "`--preset cells`": cells,
    REFERENCE: felzenszwalb,
    "SLIC and RAG normalized cut (scikit-image), 4 thresholds": rag_ncut,
}


class Scene(NamedTuple):
    """An image (H, W) and the numbers of its true regions, from 1; 0 is void."""

    image: Image
    regions: NDArray[np.int32]


Counts = tuple[RegionCounts, BoundaryCounts]


def of_dataset(name: str, split: str, folder: str, data: Path) -> Iterator[Scene]:
    """The images of a data set with classes."""
    dataset = open_dataset(name, data / folder, split=split)
    for sample in dataset.samples:
        mask = sample.truth().labels[0].astype(np.int64)
        yield scene(read_image(sample.image).uint8, np.where(mask == dataset.void, 0, mask + 1))


def of_tiles(data: Path) -> Iterator[Scene]:
    """Aerial tiles of 512 x 512."""
    yield from (scene(tile.rgb, tile.truth) for tile in tiles(data))


def of_nuclei(data: Path) -> Iterator[Scene]:
    """Fluorescence images with a number for each nucleus."""
    for path in sorted((data / "nuclei" / "images").glob("*.png")):
        numbers = read_image(data / "nuclei" / "labels" / path.name).rgb[..., 0].astype(np.int64)
        yield scene(read_image(path).uint8, numbers + 1)


SETS: dict[str, Callable[[Path], Iterator[Scene]]] = {
    "camvid": partial(of_dataset, "camvid", "val", "camvid"),
    "voc": partial(of_dataset, "voc", "train", "voc2012"),
    "aerial": of_tiles,
    "nuclei": of_nuclei,
    "cityscapes": partial(of_dataset, "cityscapes", "train", "cityscapes"),
}


def scene(rgb: NDArray[np.uint8], mask: NDArray[np.int64]) -> Scene:
    """An image and the connected regions of its mask (H, W), in which 0 is void."""
    while mask.size > PIXELS:
        height, width = (side // 2 * 2 for side in mask.shape)
        rgb = rgb[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
        mask = mask[:height:2, :width:2]
    return Scene(Image(rgb), label(mask, connectivity=1, background=0).astype(np.int32))


def counts(method: Method, one: Scene) -> Counts:
    """Count the regions and the borders of one image at all scales."""
    maps = np.stack(method(one.image, 8))
    # Void has no borders of its own: it belongs to the regions around it.
    nearest = distance_transform_edt(one.regions == 0, return_distances=False, return_indices=True)
    return region_counts(maps, one.regions, void=0), boundary_counts(maps, one.regions[tuple(nearest)])


def scores(found: Sequence[Counts]) -> dict[str, float]:
    regions, borders = found[0]
    for region, border in found[1:]:
        regions, borders = regions + region, borders + border
    return {**regions.scores(), **borders.scores()}


def row(name: str, found: Sequence[Counts], reference: Sequence[Counts]) -> str:
    """A row of the table: covering and boundary F."""
    cells, now = [], scores(found)
    draws = np.random.default_rng(0).integers(0, len(found), (RESAMPLES, len(found)))
    both = [[scores([one[i] for i in draw]) for one in (found, reference)] for draw in draws if found is not reference]
    for measure in ("covering", "f"):
        ods, ois = now[f"{measure}_ods"], now[f"{measure}_ois"]
        cell = f"{ods:.3f}" if abs(ods - ois) < 1e-12 else f"{ods:.3f}/{ois:.3f}"
        if both:
            low, high = np.percentile([a[f"{measure}_ods"] - b[f"{measure}_ods"] for a, b in both], [2.5, 97.5])
            cell += f" ({low:+.3f} to {high:+.3f})"
        cells.append(cell)
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--limit", type=int, default=40, help="images of a set, evenly spaced")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for name in arguments.sets:
            scenes: list[Any] = list(SETS[name](arguments.data))
            chosen = np.unique(np.linspace(0, len(scenes) - 1, arguments.limit).astype(int))
            scenes = [scenes[i] for i in chosen]
            print(f"\n{name}, {len(scenes)} images\n\n| method | covering | boundary F |\n|---|---|---|", flush=True)
            reference = list(pool.map(partial(counts, METHODS[REFERENCE]), scenes))
            for title in arguments.only:
                found = reference if title == REFERENCE else list(pool.map(partial(counts, METHODS[title]), scenes))
                print(row(title, found, reference), flush=True)


if __name__ == "__main__":
    main()
