#!/usr/bin/env python3
"""Compare heads with other packages on the same vectors: how well, how long, and how long until as well as ``exact``.

    tools/bench_peers.py --data DATA [--spaces raw scattering] [--fitted 10000]

The vectors are 50 principal components of the pixels of MNIST (``raw``), or its images in a space. Each run is a
process of its own with one thread, whose seconds are those of the fit and the labels, without the space and without
imports. A method with budgets (epochs, or points of Nystroem's method) runs with the smallest first, until its NMI is
that of ``exact`` less ``CLOSE``: the seconds of that run alone are its time to equal NMI.

A package that is not installed is named and left out. ``spectralnet`` and ``grease-embeddings`` bring files of the same
names, so each needs an environment of its own; results are added to those that exist:

    pip install spectralnet ncut-pytorch pyamg        # and in another environment: pip install grease-embeddings
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from result_rows import Results

from segspectral.heads import head_class
from segspectral.heads.spaces import SpaceSettings, into, learn_space
from segspectral.metrics.clustering import clustering_scores

CLUSTERS = 10

CLOSE = 0.005
"""An NMI that is lower than another one by at most so much is equal to it."""

COMPONENTS = 50


class Method(NamedTuple):
    """What labels vectors: the modules that it needs, the package that has them, and rising budgets."""

    module: str = "segspectral"
    package: str = "segspectral"
    budgets: tuple[int, ...] = (0,)
    unit: str = ""


METHODS = {
    "exact": Method(),
    "neuncut": Method(),
    "spectralnet": Method(budgets=(100, 200, 400, 800), unit="steps"),
    "SpectralClustering, arpack": Method("sklearn", "scikit-learn"),
    "SpectralClustering, amg": Method("pyamg", "pyamg"),
    "package spectralnet": Method("spectralnet", "spectralnet", (1, 3, 10, 30), "epochs"),
    "package grease-embeddings": Method("grease", "grease-embeddings", (3, 10, 30), "epochs"),
    "package ncut-pytorch": Method("ncut_pytorch", "ncut-pytorch", (1000, 2500, 5000), "points"),
}


def labels_of(name: str, X: np.ndarray, budget: int) -> np.ndarray:
    """The clusters (N,) of vectors (N, D) by a method, with the settings that its package has for such data."""
    if name == "neuncut":
        return head_class(name)(CLUSTERS, hidden=(256, 256), steps=300).fit(X).labels_
    if name == "spectralnet":
        return head_class(name)(CLUSTERS, hidden=(256, 256), steps=budget).fit(X).labels_
    if name == "exact":
        return head_class(name)(CLUSTERS).fit(X).labels_
    if name.startswith("SpectralClustering"):
        from sklearn.cluster import SpectralClustering

        solver = name.rpartition(" ")[2]
        how = {"affinity": "nearest_neighbors", "eigen_solver": solver, "random_state": 0}
        return SpectralClustering(CLUSTERS, **how).fit_predict(X)
    import torch

    torch.manual_seed(0)
    rows = torch.from_numpy(X).float()
    if name == "package ncut-pytorch":
        from ncut_pytorch import Ncut

        # Its share of points is lifted, so that the budget is what it says.
        model = Ncut(n_eig=CLUSTERS, device="cpu", n_sample=budget, n_sample_max_ratio=1.0).fit(rows)
        return model.kway_fit(CLUSTERS, CLUSTERS).kway_transform(rows, CLUSTERS, CLUSTERS).argmax(dim=1).numpy()
    if name == "package spectralnet":
        from spectralnet import SpectralNet

        model = SpectralNet(CLUSTERS, spectral_epochs=budget)
        model.fit(rows)
        return np.asarray(model.predict(rows))
    # It makes embeddings, and leaves k-means to its user. At its own learning rate, ten times this, they are NaN here.
    from grease import GrEASE
    from sklearn.cluster import KMeans

    model = GrEASE(CLUSTERS, spectral_max_epochs=budget, spectral_lr=1e-3)
    return KMeans(CLUSTERS, n_init=10, random_state=0).fit_predict(model.fit_transform(rows))


def child(name: str, budget: int, path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    with np.load(path) as data:
        X, y = data["x"], data["y"]
    if find_spec(METHODS[name].module):
        __import__(METHODS[name].module)
    np.random.seed(0)  # noqa: NPY002 - packages draw from it
    wall, busy = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        labels = labels_of(name, X, budget)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    found = clustering_scores(labels, y)
    print(json.dumps({"nmi": found["nmi"], "acc": found["accuracy"], "cpu": busy, "wall": wall, "budget": budget}))


def in_child(name: str, budget: int, path: Path, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", name, str(budget), str(path)]
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, env={**os.environ, **one}
        )
    except subprocess.TimeoutExpired:
        return {"budget": budget, "error": f"more than {limit:.0f} s"}
    if done.returncode:
        return {"budget": budget, "error": done.stderr.strip().splitlines()[-1][:120]}
    return json.loads(done.stdout.splitlines()[-1])


def vectors(root: Path, space: str, fitted: int, path: Path) -> None:
    with np.load(root / "mnist" / "train60k.npz") as data:
        order = np.random.default_rng(0).permutation(len(data["x"]))[:fitted]
        X, y = data["x"][order].reshape(len(order), -1) / 255, data["y"][order].astype(np.int64)
    if space == "raw":
        from sklearn.decomposition import PCA

        X = PCA(COMPONENTS, random_state=0).fit_transform(X)
    else:
        X = into(learn_space(SpaceSettings(name=space), X, seed=0), X)
    np.savez(path, x=X, y=y)


def tables(results: Results) -> Iterator[str]:
    """A Markdown table for each set of vectors: the best run of each method, and its time to equal NMI."""
    for title in dict.fromkeys(key.rpartition("/")[0].rpartition("/")[0] for key in results.rows):
        yield f"\n{title}\n\n| method | NMI | accuracy | CPU s | CPU s to the NMI of `exact` |\n|---|---|---|---|---|"
        for name, method in METHODS.items():
            runs = [row for key, row in results.rows.items() if key.startswith(f"{title}/{name}/")]
            good = [row for row in runs if "nmi" in row]
            if not good:
                yield from (f"| {name} | {row['error']} | | | |" for row in runs[:1])
                continue
            best = max(good, key=lambda row: row["nmi"])
            goal = results.rows[f"{title}/exact/0"]["nmi"] - CLOSE
            until = min((row["cpu"] for row in good if row["nmi"] >= goal), default=None)
            unit = f", {best['budget']} {method.unit}" if method.unit else ""
            reached = f"not within {max(row['cpu'] for row in good):.0f}" if until is None else f"{until:.0f}"
            yield f"| {name}{unit} | {best['nmi']:.3f} | {best['acc']:.3f} | {best['cpu']:.0f} | {reached} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("out/bench_peers.jsonl"))
    parser.add_argument("--spaces", nargs="+", default=["raw", "scattering"], choices=["raw", "scattering"])
    parser.add_argument("--fitted", type=int, default=10_000, help="images of MNIST")
    parser.add_argument("--rows", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--limit", type=float, default=600, help="seconds for one run")
    parser.add_argument("--folder", type=Path, help="where the vectors are kept for the next run; default: nowhere")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child[0], int(options.child[1]), Path(options.child[2]))
    results = Results(options.results)
    rows = []
    for name in dict.fromkeys(["exact", *options.rows]):
        if find_spec(METHODS[name].module):
            rows.append(name)
        else:
            package = METHODS[name].package
            print(f"{package} is not installed, so its row is left out; to have it: pip install {package}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for space in options.spaces:
            path = folder / f"{space}-{options.fitted}.npz"
            if not path.exists():
                vectors(options.data, space, options.fitted, path)
            title = f"{options.fitted} images of MNIST, {space}"
            for name in rows:
                for budget in METHODS[name].budgets:
                    key = f"{title}/{name}/{budget}"
                    results.once(key, lambda: in_child(name, budget, path, options.limit))  # noqa: B023
                    goal = results.rows[f"{title}/exact/0"]["nmi"] - CLOSE
                    if results.rows[key].get("nmi", 0) >= goal or "error" in results.rows[key]:
                        break
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
