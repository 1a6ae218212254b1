#!/usr/bin/env python3
"""Do further bands and indices as features pay? Labelled aerial tiles, seen as RGB, with and without them.

    tools/bench_bands.py --data DATA [--seeds 3] [--numbers 4 8 12] [--jobs 2] [--limit 4]

DATA holds aerial/{loveda,potsdam,vaihingen}/{img_dir,ann_dir}; default: $SEGSPECTRAL_DATA, else ../shared/data. Tiles
of 1024 x 1024 are cut into four. The tiles have three bands, so a band of near infrared is made:

- **simulated**, from labels and RGB (``simulated``): each class has a mean reflectance as published spectra have it,
  each of its connected regions a level of its own around that, and each pixel the local contrast of the picture, blur
  of the optics and noise. How far the levels of regions scatter says how well the band separates classes: two rows.
- **real**: the bands of Vaihingen are near infrared, red and green. Red and green are seen, near infrared is added.
- **noise**: the control, a band that knows nothing. What it loses is the price of the default on images whose further
  bands say nothing.

All rows have the same numbers of segments. Scores: covering, mIoU over the classes that are present after one
Hungarian matching per tile, adjusted Rand index. Intervals are those of the mean difference from RGB alone over tiles,
each the mean of its seeds and numbers of segments (paired bootstrap, 10000 resamples).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.images.reader import as_image, read_image
from segspectral.metrics.contingency import contingency
from segspectral.metrics.region import covering
from segspectral.metrics.semantic import image_hungarian
from segspectral.pipeline import Pipeline
from segspectral.rasters.segment import Tiles

SIDE = 512
LEAST_SHARE = 0.02
"""Tiles in which only one class has this share of the labelled pixels are left out: there is nothing to separate."""

REFLECTANCE = {
    "loveda": {1: 0.28, 2: 0.24, 3: 0.18, 4: 0.04, 5: 0.32, 6: 0.42, 7: 0.36},
    "potsdam": {1: 0.20, 2: 0.24, 3: 0.40, 4: 0.36, 5: 0.26},
    "vaihingen": {1: 0.20, 2: 0.24, 3: 0.40, 4: 0.36, 5: 0.26},
}
"""Typical mean reflectance in near infrared: water 0.04, asphalt 0.2, roofs 0.24, bare soil 0.3, crops 0.36 to 0.4,
forest 0.36 to 0.42 (the ECOSTRESS spectral library, rounded)."""

SCATTER = {"simulated": 0.05, "simulated, hard": 0.10}
"""Standard deviation of the levels of regions of one class, in reflectance."""

MODES: dict[str, dict[str, Any]] = {
    "segment": {},
    "--tile": {"affinity": {"scale": Tiles().scale, "contour": Tiles().contour}},
}
"""The affinity of photographs and that of rasters, which ignores contours."""

SCORES = ("covering", "mIoU", "ARI")


@dataclass(frozen=True)
class Tile:
    name: str
    source: str
    rgb: NDArray[np.uint8]
    truth: NDArray[np.int64]


def tiles(data: Path) -> Iterator[Tile]:
    """The labelled tiles; 0 in their truths is void."""
    for source in ("loveda", "potsdam", "vaihingen"):
        for path in sorted((data / "aerial" / source / "img_dir").glob("*.png")):
            rgb = read_image(path).uint8
            truth = read_image(data / "aerial" / source / "ann_dir" / path.name).rgb[..., 0].astype(np.int64)
            truth[truth == 255] = 0
            for top in range(0, rgb.shape[0], SIDE):
                for left in range(0, rgb.shape[1], SIDE):
                    part = np.s_[top : top + SIDE, left : left + SIDE]
                    share = np.bincount(truth[part].ravel())[1:] / max((truth[part] > 0).sum(), 1)
                    if (share >= LEAST_SHARE).sum() >= 2:
                        name = f"{source}-{path.stem}-{top}-{left}"
                        yield Tile(name, source, np.ascontiguousarray(rgb[part]), truth[part])


def simulated(tile: Tile, scatter: float, seed: int) -> NDArray[np.uint16]:
    """(H, W) near infrared as reflectance times 10000, as products of satellites store it."""
    import cv2
    from skimage.measure import label

    rng = np.random.default_rng([seed, *tile.name.encode()])
    regions = label(tile.truth, connectivity=1, background=-1)
    class_of = np.zeros(regions.max() + 1, np.int64)
    class_of[regions] = tile.truth
    mean = np.array([REFLECTANCE[tile.source].get(int(c), 0.28) for c in class_of])
    level = np.maximum(mean + rng.normal(0, scatter, len(mean)) * np.minimum(1, mean / 0.1), 0.01)[regions]
    grey = cv2.cvtColor(tile.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    contrast = grey / np.maximum(cv2.GaussianBlur(grey, (0, 0), 8), 0.05)
    scene = cv2.GaussianBlur((level * np.sqrt(contrast)).astype(np.float32), (0, 0), 1.2)
    return np.rint(10000 * np.clip(scene + rng.normal(0, 0.02, scene.shape), 0, 1)).astype(np.uint16)


def rows(tile: Tile, seed: int) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Row -> array (H, W, B) and how it is read. Rows whose name begins with a letter and a colon share a baseline."""
    rgb = tile.rgb.astype(np.uint16) * 40  # in one range with the further bands; shown by the same stretch in all rows
    seen = {"bands": (1, 2, 3), "stretch": "0:10200"}
    made: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {"RGB": (rgb, seen)}
    for name, scatter in SCATTER.items():
        nir = simulated(tile, scatter, seed)
        four = np.dstack([rgb, nir])
        made[name] = (four, seen)
        made[f"{name}, and NDVI"] = (four, seen | {"index": "(b4-b1)/(b4+b1)"})
        made[f"{name}, seen as 4,1,2"] = (four, seen | {"bands": (4, 1, 2)})
    noise = np.random.default_rng([seed, 1]).integers(0, 10000, rgb.shape[:2], np.uint16)
    made["noise"] = (np.dstack([rgb, noise]), seen)
    if tile.source == "vaihingen":
        nir, red, green = np.moveaxis(rgb, -1, 0)
        made["real: RG"] = (np.dstack([red, green, green]), seen)
        made["real: RG and near infrared"] = (np.dstack([red, green, green, nir]), seen)
    return made


def scores(labels: NDArray[np.int32], truth: NDArray[np.int64]) -> tuple[float, float, float]:
    from sklearn.metrics import adjusted_rand_score

    known = truth > 0
    table = contingency(labels[known][None], truth[known][None])
    cover = float(covering(table) @ table.columns / table.total)
    classes = image_hungarian(labels, truth, int(truth.max()) + 1, void=0)
    iou = classes.scores()["miou_present"]
    return cover, float(iou), float(adjusted_rand_score(truth[known], labels[known]))


def measured(job: tuple[Tile, int, tuple[int, ...], tuple[str, ...]]) -> dict[tuple[str, str, str], list[Any]]:
    """(mode, row, tile) -> the scores for each number of segments."""
    tile, seed, numbers, settings = job
    from segspectral.config import merge_assignments
    from segspectral.settings import with_settings

    found: dict[tuple[str, str, str], list[Any]] = {}
    for mode, chosen in MODES.items():
        pipeline = with_settings(Pipeline(), merge_assignments(settings)) if settings else Pipeline()
        scale = pipeline.affinity.scale
        change = {"scale": scale * chosen["affinity"]["scale"], "contour": None} if chosen else {}
        pipeline = pipeline.model_copy(update={"affinity": pipeline.affinity.model_copy(update=change)})
        for row, (array, reading) in rows(tile, seed).items():
            if seed > 0 and row in ("RGB", "real: RG", "real: RG and near infrared"):
                continue  # nothing in them is random
            scene = pipeline.describe(as_image(array, tile.name, **reading))
            made = [scores(pipeline.solve(scene, k).labels, tile.truth) for k in numbers]
            found[mode, row, tile.name] = [made]
    return found


def shared(chosen: list[Tile], seed: int, segments: int) -> None:
    """Print the mIoU of models over all tiles of LoveDA, whose segments are named once for all tiles (Hungarian)."""
    from segspectral.metrics.semantic import cluster_counts
    from segspectral.settings import with_settings
    from segspectral.shared.fit import fit_model
    from segspectral.shared.model import Recipe

    loveda = [tile for tile in chosen if tile.source == "loveda"]
    made = [rows(tile, seed) for tile in loveda]
    print(f"\n| `fit`, {segments} segments, {len(loveda)} tiles, seed {seed} | mIoU |\n|---|---|")
    for row in ("RGB", "simulated", "simulated, hard", "noise"):
        images = [as_image(one[row][0], tile.name, **one[row][1]) for one, tile in zip(made, loveda, strict=True)]
        model = fit_model(images, with_settings(Recipe(segments=segments, seed=seed), {"features": {"bands": {}}}))
        pipeline = Pipeline(model=model)
        counts = [
            cluster_counts(pipeline(image).labels - 1, tile.truth, 8, void=0)
            for image, tile in zip(images, loveda, strict=True)
        ]
        total = sum(counts[1:], counts[0]).hungarian().scores()
        print(f"| {row} | {total['miou_present']:.3f} |", flush=True)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--numbers", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", nargs="*", default=[], help="settings, such as features.bands.weight=2")
    parser.add_argument("--fit", type=int, metavar="K", help="instead, models of K segments over all tiles")
    args = parser.parse_args()
    found: dict[tuple[str, str, str], list[Any]] = {}
    chosen = list(tiles(args.data))[: args.limit]
    if args.fit is not None:
        for seed in range(args.seeds):
            shared(chosen, seed, args.fit)
        return
    jobs = [(tile, seed, tuple(args.numbers), tuple(args.set)) for tile in chosen for seed in range(args.seeds)]
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        for part in pool.map(measured, jobs):
            for key, values in part.items():
                found.setdefault(key, []).extend(values)
    print(f"{len(chosen)} tiles, {args.seeds} seeds, {args.numbers} segments")
    for mode in MODES:
        print(f"\n| `{mode}` | tiles | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
        for row in dict.fromkeys(key[1] for key in found if key[0] == mode):
            base = "real: RG" if row.startswith("real") else "RGB"
            names = [key[2] for key in found if key[:2] == (mode, row)]
            mean, ours = (
                np.array([np.mean(found[mode, which, name], axis=(0, 1)) for name in names]) for which in (base, row)
            )
            cells = []
            for score in range(len(SCORES)):
                cell = f"{ours[:, score].mean():.3f}"
                if row != base:
                    low, high = interval(ours[:, score] - mean[:, score])
                    cell += f" ({low:+.3f} to {high:+.3f})"
                cells.append(cell)
            print(f"| {row} | {len(names)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
