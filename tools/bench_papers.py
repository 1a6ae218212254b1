#!/usr/bin/env python3
"""Run the recipes of configs/papers on the two sample images with drawn truths: cost, normalized cut, covering.

    tools/bench_papers.py [configs/papers/NAME.yaml ...]

The normalized cut is compared with that of the head ``exact`` on the same graph, and covering with that of the default
pipeline with the same number of segments. CPU seconds are for the whole image, with one thread, after a warm-up run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import PIL.Image

from segspectral.config import load, with_settings
from segspectral.images.reader import read_image
from segspectral.metrics.region import region_counts
from segspectral.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
NAMES = ("coffee", "flower")


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="recipes (default: all of configs/papers)")
    files = parser.parse_args().files or sorted((ROOT / "configs/papers").glob("*.yaml"))
    print(f"{'recipe':38} {'image':8} {'CPU s':>6} {'Ncut':>6} {'exact':>6} {'covering':>8}")
    row("default, 8 segments", Pipeline(segments=8), warm=True)
    for file in files:
        if file.stem != "communities":
            row(file.stem, load(file))


def row(title: str, pipeline: Pipeline, *, warm: bool = False) -> None:
    exact = with_settings(pipeline, {"head": "exact"})
    for name in NAMES:
        image = read_image(ROOT / "sample_images" / f"{name}.jpg")
        if warm:
            pipeline(image)
        begin = time.process_time()
        made = pipeline(image)
        seconds = time.process_time() - begin
        best = exact.solve(exact.describe(image)).ncut
        truth = np.asarray(PIL.Image.open(ROOT / "sample_images/truth" / f"{name}.png")).astype(np.int32)
        covering = region_counts(made.labels, truth, void=0).scores()["covering_ods"]
        print(f"{title:38} {name:8} {seconds:6.1f} {made.ncut:6.3f} {best:6.3f} {covering:8.3f}", flush=True)


if __name__ == "__main__":
    main()
