#!/usr/bin/env python3
"""Measure whole processes from a cold start: CPU seconds and peak memory, beside a script with scikit-image.

    tools/bench_start.py [--against CHECKOUT] [--runs 7] [--batch 200]

``--against`` is a checkout of another commit; it runs by the same Python, in turn with this one. Each number is the
median of the runs. The disk is warm: a run that does not count comes first. ``--batch`` adds the throughput of
``segspectral batch`` with two workers on that many photographs of 481x321.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]

PEER = """
import csv, json, sys
import numpy as np
from skimage import color, io, measure, segmentation

path, out = sys.argv[1:]
image = io.imread(path)
labels = segmentation.felzenszwalb(image, scale=400, sigma=0.8, min_size=100)
io.imsave(f"{out}/labels.png", labels.astype(np.uint16), check_contrast=False)
overlay = segmentation.mark_boundaries(color.label2rgb(labels, image, alpha=0.3, bg_label=-1), labels)
io.imsave(f"{out}/overlay.png", (255 * overlay).astype(np.uint8), check_contrast=False)
table = measure.regionprops_table(labels + 1, image, properties=("label", "area", "bbox", "centroid", "mean_intensity"))
with open(f"{out}/segments.csv", "w", newline="") as file:
    rows = csv.writer(file)
    rows.writerow(table)
    rows.writerows(zip(*table.values()))
with open(f"{out}/summary.json", "w") as file:
    json.dump({"segments": int(labels.max()) + 1}, file)
"""
"""What a user of scikit-image would write for the same outputs: labels, overlay, a table, a summary."""


class Cost(NamedTuple):
    cpu: float  # seconds, of the process and of those that it started
    wall: float  # seconds
    peak: float  # MB, of the largest of these processes


def cost(command: Sequence[str | Path], threads: int | None) -> Cost:
    """Run a command in a process of a process of its own, whose children are counted alone."""
    inner = (
        "import resource, subprocess, sys, time; begin = time.perf_counter(); "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "wall = time.perf_counter() - begin; used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1000)"
    )
    variables = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(
        [sys.executable, "-c", inner, *map(str, command)], capture_output=True, text=True, check=True, env=variables
    )
    return Cost(*map(float, done.stdout.split()))


def segspectral(checkout: Path, *arguments: str | Path) -> list[str | Path]:
    code = (
        f"import sys; sys.path.insert(0, {str(checkout)!r}); sys.argv[0] = 'segspectral'; "
        "from segspectral.cli import main; main()"
    )
    return [sys.executable, "-P", "-c", code, *arguments]


def medians(commands: dict[str, list[str | Path]], runs: int, threads: int | None) -> dict[str, Cost]:
    """Each command in turn, ``runs`` times; the first round does not count."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            made = cost(command, threads)
            if turn:
                costs[name].append(made)
    return {name: Cost(*map(statistics.median, zip(*all_, strict=True))) for name, all_ in costs.items()}


def photographs(folder: Path, count: int) -> Path:
    """A folder of that many photographs of 481x321, which are crops of the sample images."""
    folder.mkdir()
    random = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted((ROOT / "sample_images").glob("*.jpg"))]
    for index in range(count):
        source = sources[index % len(sources)]
        scale = max(1.0, 481 / source.width, 321 / source.height) * random.uniform(1, 1.5)
        larger = source.resize((round(source.width * scale) + 1, round(source.height * scale) + 1))
        left, top = (int(random.integers(0, size)) for size in (larger.width - 480, larger.height - 320))
        larger.crop((left, top, left + 481, top + 321)).save(folder / f"{index:04d}.jpg", quality=92)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="checkout of another commit")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=0, metavar="IMAGES")
    arguments = parser.parse_args()
    checkouts = {"this": ROOT} | ({"other": arguments.against} if arguments.against else {})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        photo = photographs(Path(folder) / "one", 1) / "0000.jpg"
        (Path(folder) / "peer.py").write_text(PEER)
        jobs: dict[str, tuple[str | Path, ...]] = {
            "segment -k 8": ("segment", photo, "-o", out, "-k", "8"),
            "segment": ("segment", photo, "-o", out),
            "segment --hierarchy": ("segment", photo, "-o", out, "--hierarchy"),
            "segment nofile.jpg": ("segment", "nofile.jpg", "-o", out),
            "segment --head typo": ("segment", photo, "-o", out, "--head", "typo"),
            "segment --set typo=1": ("segment", photo, "-o", out, "--set", "typo=1"),
            "segment --backbone typo": ("segment", photo, "-o", out, "--backbone", "typo"),
            "--help": ("--help",),
        }
        commands: dict[str, list[str | Path]] = {"felzenszwalb": [sys.executable, Path(folder) / "peer.py", photo, out]}
        for name, job in jobs.items():
            commands |= {f"{name} ({which})": segspectral(where, *job) for which, where in checkouts.items()}
        print("one thread\n\n| process | CPU s | of felzenszwalb | wall s | peak MB |\n|---|---|---|---|---|")
        made = medians(commands, arguments.runs, threads=1)
        for name, (cpu, wall, peak) in made.items():
            print(f"| {name} | {cpu:.2f} | {cpu / made['felzenszwalb'].cpu:.2f} | {wall:.2f} | {peak:.0f} |")
        if arguments.batch:
            many = photographs(Path(folder) / "many", arguments.batch)
            print(f"\nbatch of {arguments.batch} photographs, -k 8, two workers\n")
            print("| | images/s | CPU s | peak MB |\n|---|---|---|---|")
            for which, where in checkouts.items():
                target = Path(folder) / f"batch-{which}"
                cpu, wall, peak = cost(segspectral(where, "batch", many, "-o", target, "-k", "8", "--jobs", "2"), None)
                print(f"| {which} | {arguments.batch / wall:.2f} | {cpu:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
