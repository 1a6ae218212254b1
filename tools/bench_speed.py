#!/usr/bin/env python3
"""Measure CPU seconds per stage and peak memory at several sizes, beside Felzenszwalb, scikit-learn and another commit.

    tools/bench_speed.py [--against CHECKOUT] [--sizes 481x321 1024x1024 4000x3000] [--threads 1] [--runs 5]

Each measurement is a process of its own, which calls a method twice; the second call counts, because the first one
loads weights and libraries. The processes of all methods take turns, and the table has the medians of ``--runs`` of
them. CPU seconds include all threads. Memory is the peak of the process, including the interpreter and the weights. The
image is resized to each size. ``tools/bench_start.py`` measures whole commands.
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
from statistics import median
from typing import Any

from segspectral.values import Image

ROOT = Path(__file__).parents[1]
METHODS = ("fast", "hierarchy", "eight", "quality", "Felzenszwalb", "SpectralClustering")
"""``--preset fast``, ``--hierarchy``, ``-k 8``, ``--preset quality``, and peers."""
PEERS = METHODS[-2:]


def union_find(image: Image) -> object:
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(image.uint8, scale=400, sigma=0.8, min_size=100)


def runner(method: str) -> Callable[[Image], object]:
    """What segments an image."""
    if method == "Felzenszwalb":
        return union_find
    from segspectral.config import load
    from segspectral.pipeline import Pipeline

    if method == "SpectralClustering":
        return Pipeline(segments=8, head="spectral_clustering", refine="none")
    if method in ("fast", "quality"):
        return load(ROOT / "configs" / f"{method}.yaml")
    return Pipeline(segments=8) if method == "eight" else Pipeline(hierarchy=True)


def measure(method: str, path: Path, width: int, height: int) -> dict[str, Any]:
    """In this process."""
    import cv2

    from segspectral.images.reader import read_image

    cv2.setNumThreads(int(os.environ["OMP_NUM_THREADS"]))
    image = Image(cv2.resize(read_image(path).uint8, (width, height), interpolation=cv2.INTER_CUBIC), path.name)
    run = runner(method)
    run(image)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(image)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall": wall, "cpu": cpu, "peak": peak, "stages": dict(getattr(result, "seconds", {}))}


def in_process(checkout: Path, threads: int, image: Path, method: str, size: str) -> dict[str, Any]:
    """``measure`` by the code of a checkout, in a process of its own."""
    command = [sys.executable, __file__, "--image", str(image), "--one", method, *size.split("x")]
    variables = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    child = subprocess.run(command, capture_output=True, text=True, env=variables)
    if child.returncode:
        raise SystemExit(f"{method} at {size} in {checkout}: {child.stderr.strip()}")
    made: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ROOT / "sample_images" / "coffee.jpg")
    parser.add_argument("--sizes", nargs="+", default=["481x321", "1024x1024", "4000x3000"], metavar="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="a checkout of another commit")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        method, width, height = arguments.one
        print(json.dumps(measure(method, arguments.image, int(width), int(height))))
        return
    checkouts = {"": ROOT} | ({", other commit": arguments.against} if arguments.against else {})
    rows = [(m, which) for m in arguments.methods for which in checkouts if not (which and m in PEERS)]
    print("| method | size | CPU s | of Felzenszwalb | s | GiB | stages |\n|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        made: dict[tuple[str, str], list[dict[str, Any]]] = {row: [] for row in rows}
        for _ in range(arguments.runs):
            for method, which in rows:
                one = in_process(checkouts[which], arguments.threads, arguments.image, method, size)
                made[method, which].append(one)
        middle = {
            row: {key: median(one[key] for one in all_) for key in ("cpu", "wall", "peak")}
            for row, all_ in made.items()
        }
        peer = middle.get(("Felzenszwalb", ""), {}).get("cpu")
        for (method, which), of in middle.items():
            stages = ", ".join(
                f"{name} {1000 * median(one['stages'][name] for one in made[method, which]):.0f} ms"
                for name in made[method, which][0]["stages"]
            )
            ratio = f"{of['cpu'] / peer:.2f}" if peer else ""
            cells = f"{of['cpu']:.3f} | {ratio} | {of['wall']:.3f} | {of['peak']:.2f} | {stages}"
            print(f"| {method}{which} | {size} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
