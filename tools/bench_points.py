"""Cluster 10^4 to 10^7 vectors on curved sheets: by the command, by a network on a graph of all, and by scikit-learn.

::

    python tools/bench_points.py --sizes 10000 100000 1000000
    python tools/bench_points.py --sizes 10000000 --ways command

Each run is a process of its own; its processor seconds, its seconds, its peak and its NMI with the true sheets are
printed. The vectors are float32, 50 numbers each: 20 sheets of 2 dimensions in general position, bent, with noise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = ("command", "network", "sklearn")
SHEETS, WIDTH, NOISE, APART = 20, 50, 0.3, 0.35


def make(path: Path, count: int, seed: int = 0) -> None:
    """Write the vectors to ``path``, and their sheets beside it."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(SHEETS, 5, WIDTH))
    middles = rng.normal(size=(SHEETS, WIDTH)) * APART
    out = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    sheets = rng.integers(SHEETS, size=count)
    for start in range(0, count, 200_000):
        part = slice(start, start + 200_000)
        u, v = rng.uniform(-1, 1, (2, len(sheets[part])))
        bent = np.stack([u, v, np.sin(3 * u), u * v, np.cos(2 * v)], axis=1)
        out[part] = rng.normal(size=(len(bent), WIDTH)) * NOISE + middles[sheets[part]]
        for sheet in range(SHEETS):
            here = sheets[part] == sheet
            out[part][here] += (bent[here] @ turns[sheet]).astype(np.float32)
    np.save(path.with_suffix(".sheets.npy"), sheets)


def solve(way: str, path: Path) -> np.ndarray:
    """The labels of one way, in this process."""
    X = np.load(path)
    if way == "network":
        from segspectral.heads.neuncut import NeuNcut

        return NeuNcut(SHEETS, hidden=(256,)).fit(X).labels_
    from sklearn.cluster import SpectralClustering

    return SpectralClustering(SHEETS, affinity="nearest_neighbors", random_state=0, n_jobs=2).fit_predict(X)


def run(way: str, path: Path, limit: float) -> str:
    """A row of the table: what a child process took, and how well it did."""
    from sklearn.metrics import normalized_mutual_info_score

    labels = path.with_suffix(".npz")
    command = [sys.executable, __file__, "--child", way, str(path)]
    if way == "command":
        command = [str(Path(sys.executable).with_name("segspectral")), "cluster", str(path), "-k", str(SHEETS)]
        command += ["-o", str(labels)]
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - began > limit:
            child.kill()
            os.wait4(child.pid, 0)
            return f"more than {limit:.0f} s"
        time.sleep(0.05)
    if status:
        return f"ended with status {status}"
    with np.load(labels) as found:
        nmi = normalized_mutual_info_score(np.load(path.with_suffix(".sheets.npy")), found["labels"])
    seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    return f"{seconds:8.1f} CPU s {time.monotonic() - began:8.1f} s {peak:6.2f} GiB   NMI {nmi:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--limit", type=float, default=1800, help="seconds for one run")
    parser.add_argument("--folder", type=Path, help="for the vectors; default: a temporary one")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, path = options.child[0], Path(options.child[1])
        np.savez(path.with_suffix(".npz"), labels=solve(way, path))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for size in options.sizes:
            path = folder / f"{size}.npy"
            if not path.exists():
                make(path, size)
            for way in options.ways:
                print(f"{size:>9} {way:>8} {run(way, path, options.limit)}", flush=True)


if __name__ == "__main__":
    main()
