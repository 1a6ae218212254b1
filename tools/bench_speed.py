#!/usr/bin/env python3
"""Measure seconds per stage and peak memory at several sizes, and Felzenszwalb and scikit-learn in the same run.

    tools/bench_speed.py [--image sample_images/coffee.jpg] [--sizes 481x321 1024x1024 4000x3000] [--threads 2]

Each method and size runs in a process of its own. It is called twice, and the second call is timed, because the first
one loads weights and libraries. CPU seconds include all threads. Memory is the peak of the process, including the
interpreter and the weights. The image is resized to each size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from segspectral.values import Image

ROOT = Path(__file__).parents[1]
METHODS = ("fast", "default", "default, 8 segments by the head", "quality", "Felzenszwalb", "SpectralClustering")


def union_find(image: Image) -> object:
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(image.uint8, scale=400, sigma=0.8, min_size=100)


def measure(method: str, path: Path, width: int, height: int, threads: int) -> dict[str, object]:
    """Run one measurement in this process."""
    import cv2
    import torch

    from segspectral.config import load
    from segspectral.images.reader import read_image
    from segspectral.pipeline import Pipeline

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    rgb = read_image(path).uint8
    image = Image(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC), path.name)
    if method == "Felzenszwalb":
        run: Callable[[Image], object] = union_find
    elif method == "SpectralClustering":
        run = Pipeline(segments=8, head="spectral_clustering", refine="none")
    elif method.startswith("default"):
        run = Pipeline(segments=8) if "head" in method else Pipeline(hierarchy=True)
    else:
        run = load(ROOT / "configs" / f"{method}.yaml")
    run(image)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(image)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall": wall, "cpu": cpu, "stages": dict(getattr(result, "seconds", {})), "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ROOT / "sample_images" / "coffee.jpg")
    parser.add_argument("--sizes", nargs="+", default=["481x321", "1024x1024", "4000x3000"], metavar="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        method, width, height = arguments.one
        print(json.dumps(measure(method, arguments.image, int(width), int(height), arguments.threads)))
        return
    print("| method | size | s | CPU s | GiB | stages |\n|---|---|---|---|---|---|")
    for method in arguments.methods:
        for size in arguments.sizes:
            width, height = size.split("x")
            command = [sys.executable, __file__, "--image", str(arguments.image), "--threads", str(arguments.threads)]
            child = subprocess.run([*command, "--one", method, width, height], capture_output=True, text=True)
            if child.returncode:
                print(f"| {method} | {size} | {child.stderr.strip().splitlines()[-1]} |", flush=True)
                continue
            out = json.loads(child.stdout.splitlines()[-1])
            stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in out["stages"].items())
            cells = f"{out['wall']:.2f} | {out['cpu']:.2f} | {out['peak']:.2f} | {stages}"
            print(f"| {method} | {size} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
