#!/usr/bin/env python3
"""Score the objects of ``--preset cells`` on labelled micrographs, beside scikit-image's watershed recipes.

    tools/bench_cells.py --data DATA [--set NAME=VALUE ...] [--tune]

DATA/images has the micrographs and DATA/labels label maps of the same names, in which 0 is background. Objects are
matched one to one (a maximum bipartite matching) among the pairs whose intersection over union is at least .5; F1 is
2 TP / (2 TP + FP + FN), over all objects of all images. The recipes are those of scikit-image's documentation: Otsu's
threshold, the distance transform, and the watershed from its peaks ("Watershed segmentation": footprint 3 x 3; "Segment
human cells (in mitosis)": ``min_distance`` 7). Other nuclei are larger than theirs, so ``min_distance`` is also chosen.

``--tune`` chooses black and white, the minimum size and the neck of the preset for each image by the others (leave one
out), as ``min_distance`` of the recipe always is, so that no image is scored with settings that it has chosen.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse.csgraph import maximum_bipartite_matching
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed

from segspectral.config import load, merge_assignments
from segspectral.images.reader import read_image
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings

Labels = NDArray[np.integer]
DISTANCES = (7, 20, 40, 50, 60, 70, 80, 100)
GRID = list(itertools.product(("2,90", "2,95"), ("0.05%", "0.1%"), (0.1, 0.15, 0.2, 0.3)))


def matches(truth: Labels, found: Labels, least: float = 0.5) -> NDArray[np.int64]:
    """True positives, false positives and false negatives of objects, numbered from 1."""
    known, made = (np.bincount(labels.reshape(-1)) for labels in (truth, found))
    both = (truth > 0) & (found > 0)
    pairs, shared = np.unique(truth[both].astype(np.int64) * len(made) + found[both], return_counts=True)
    i, j = np.divmod(pairs, len(made))
    good = shared >= least * (known[i] + made[j] - shared)
    table = sp.csr_array((np.ones(good.sum()), (i[good], j[good])), shape=(len(known), len(made)))
    right = int((maximum_bipartite_matching(table) >= 0).sum())
    return np.array([right, np.count_nonzero(made[1:]) - right, np.count_nonzero(known[1:]) - right])


def f1(counts: NDArray[np.int64]) -> float:
    return float(2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1))


def otsu_watershed(grey: NDArray[np.uint8], distance: int | None) -> Labels:
    """The recipe; ``distance`` is ``min_distance``, None means a footprint of 3 x 3."""
    cells = grey > threshold_otsu(grey)
    depth = distance_transform_edt(cells)
    if distance is None:
        peaks = peak_local_max(depth, footprint=np.ones((3, 3)), labels=label(cells))
    else:
        peaks = peak_local_max(depth, min_distance=distance, exclude_border=False)
    seeds = np.zeros(depth.shape, np.bool_)
    seeds[tuple(peaks.T)] = True
    return np.asarray(watershed(-depth, label(seeds), mask=cells))


def cells(pipeline: Pipeline, path: Path) -> Labels:
    """The objects of a segmentation: all segments but the background, which is the largest."""
    made = pipeline(read_image(path, pipeline.reading)).labels
    return np.where(made == 1 + np.bincount(made.reshape(-1))[1:].argmax(), 0, made)


def grey(path: Path) -> NDArray[np.uint8]:
    return read_image(path, stretch="none").uint8.max(axis=2)


def score(name: str, paths: Sequence[Path], objects: Callable[[Path], Labels]) -> NDArray[np.int64]:
    """(images, 3) the counts of each image; prints a line."""
    begin = time.process_time()
    counts = np.array([matches(truth(path), objects(path)) for path in paths])
    told(name, counts, (time.process_time() - begin) / len(paths))
    return counts


def told(name: str, counts: NDArray[np.int64], seconds: float | None = None) -> None:
    total, each = counts.sum(axis=0), [f1(one) for one in counts]
    cost = "" if seconds is None else f"  {seconds:.1f} CPU s per image"
    right, extra, missed = total
    print(f"{name:48} F1 {f1(total):.3f}  (mean of images {np.mean(each):.3f}, least {min(each):.2f};", end=" ")
    print(f"{right} found, {extra} wrong, {missed} missed){cost}", flush=True)


def truth(path: Path) -> Labels:
    import PIL.Image

    with PIL.Image.open(path.parents[1] / "labels" / path.name) as picture:
        return np.asarray(picture).astype(np.int64)


def left_out(name: str, tables: Sequence[NDArray[np.int64]]) -> None:
    """Score each image with the settings that are best for the others; ``tables`` holds the counts of each setting."""
    stacked = np.array(tables)
    chosen = []
    for image in range(stacked.shape[1]):
        others = np.delete(stacked, image, axis=1).sum(axis=1)
        chosen.append(stacked[int(np.argmax([f1(counts) for counts in others])), image])
    told(f"{name}, tuned, leave one out", np.array(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SEGSPECTRAL_DATA"), help="the folder of both")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the preset")
    parser.add_argument("--tune", action="store_true", help="also choose settings, leave one out")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the data: --data DATA, or SEGSPECTRAL_DATA")
    paths = sorted(path for path in (given.data / "images").iterdir() if (given.data / "labels" / path.name).exists())
    preset = with_settings(load("cells"), merge_assignments(given.set))
    print(f"{len(paths)} images, {sum(len(np.unique(truth(path))) - 1 for path in paths)} objects")
    score("--preset cells", paths, lambda path: cells(preset, path))
    score("Otsu + watershed, footprint 3 x 3", paths, lambda path: otsu_watershed(grey(path), None))
    recipes = [
        score(f"Otsu + watershed, min_distance {d}", paths, lambda path, d=d: otsu_watershed(grey(path), d))
        for d in DISTANCES
    ]
    left_out("Otsu + watershed", recipes)
    if given.tune:
        made = []
        for stretch, least, neck in GRID:
            settings: dict[str, Any] = {"reading": {"stretch": stretch}, "sizes": {"min": least, "neck": neck}}
            one = with_settings(preset, settings)
            made.append(score(f"cells, {stretch}, {least}, {neck}", paths, lambda path, one=one: cells(one, path)))
        left_out("--preset cells", made)


if __name__ == "__main__":
    main()
