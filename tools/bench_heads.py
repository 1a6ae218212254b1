"""Benchmark all heads on vectors (MNIST, Fashion-MNIST), on superpixel graphs, on graphs with a known structure against
exact eigenvectors, on toy data, and on large data.

Each result is one JSON line in ``--results``; results that exist are not computed again, so a run can be stopped and
resumed. The development data have 12000 of the 60000 images; published figures use all of them.

    python tools/bench_heads.py vectors --quick
    python tools/bench_heads.py vectors images graphs toys size --seeds 5
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from result_rows import Results, table
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_circles, make_moons
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from segspectral.heads import head_class
from segspectral.heads.exact import Exact
from segspectral.heads.spaces import LEARNT, SpaceSettings, into, learn_space
from segspectral.heads.training.pretraining import Autoencoder, Siamese
from segspectral.metrics.clustering import clustering_scores
from segspectral.registry import SPACES
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.knn import knn_affinity
from segspectral.spectral.search import nearest
from segspectral.spectral.walk import diffused
from segspectral.values import Affinity

VECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    "k-means": ("kmeans", {}),
    "SC": ("spectral_clustering", {}),
    "exact": ("exact", {}),
    "SpectralNet": ("spectralnet", {"hidden": (256, 256), "steps": 600}),
    "NeuNcut": ("neuncut", {"hidden": (256, 256), "steps": 300}),
    "NeuralEF": ("neuralef", {"hidden": (256, 256)}),
    "RSM": ("rsm", {"hidden": (256, 256), "steps": 1500}),
    "DKM": ("deepkmeans", {}),
}
"""Row of the table -> head and settings."""

GRAPHS = {
    "exact": "exact",
    "NeuNcut": "neuncut",
    "SC": "spectral_clustering",
    "SpectralNet": "spectralnet",
    "NeuralEF": "neuralef",
    "RSM": "rsm",
    "k-means": "kmeans",
    "DKM": "deepkmeans",
    "modularity": "modularity",
    "mincut": "mincut",
}
"""Row of the tables of graphs -> head, with its defaults."""

COMPONENTS = 50

DATASETS = ("mnist", "fashion_mnist")

AUTOENCODER, SIAMESE = Autoencoder(epochs=15), Siamese(epochs=10)
"""Of the spaces: smaller than the defaults, so that a space of 10 000 images takes minutes of one core."""


@cache
def split(path: Path, limit: int, seed: int) -> tuple[Any, Any, Any, Any]:
    """Return training features and classes, then unseen ones (a fifth); features are principal components of pixels."""
    with np.load(path) as data:
        x, y = data["x"], data["y"].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))[:limit]
    x, y = x[order].reshape(len(order), -1) / 255.0, y[order]
    seen = len(order) * 4 // 5
    pca = PCA(COMPONENTS, random_state=0).fit(x[:seen])
    return pca.transform(x[:seen]), y[:seen], pca.transform(x[seen:]), y[seen:]


def vectors(results: Results, root: Path, seeds: int, quick: bool, spaces: list[str], rows: list[str]) -> None:
    limit = 2000 if quick else 10**9
    for dataset in DATASETS:
        path = root / dataset / "dev12k.npz"
        for seed in range(seeds):
            for space in spaces:
                for row in rows or list(VECTORS):
                    name, settings = VECTORS[row]
                    key = f"vectors/{dataset}/{space}/{row}/{seed}/{'quick' if quick else 'full'}"
                    results.once(key, lambda: _vectors_row(path, limit, seed, space, name, settings, quick))  # noqa: B023


@cache
def _space(path: Path, limit: int, seed: int, space: str, quick: bool) -> tuple[Any, Any, Any]:
    """Return training and unseen features in a space, and the affinity; everything is learnt on training features."""
    X, _, Z, _ = split(path, limit, seed)
    if space == "both":
        X, Z, _ = _space(path, limit, seed, "code", quick)
    if space == "code":
        encoder = Autoencoder(epochs=3 if quick else 15).encoder(X, seed=seed)
        X, Z = encoder(X), encoder(Z)
    S = X
    if space in ("siamese", "both"):
        S = Siamese(epochs=2 if quick else 30).encoder(X, seed=seed)(X)
    return X, Z, knn_affinity(S)


def _vectors_row(
    path: Path, limit: int, seed: int, space: str, name: str, settings: dict[str, Any], quick: bool
) -> dict[str, Any]:
    _, y, _, z = split(path, limit, seed)
    X, Z, affinity = _space(path, limit, seed, space, quick)
    busy = time.process_time()
    head = head_class(name)(10, random_state=seed, **settings).fit(X, affinity=affinity)
    busy = time.process_time() - busy
    seen, unseen = clustering_scores(head.labels_, y), clustering_scores(head.predict(Z), z)
    return {
        "acc": seen["accuracy"], "nmi": seen["nmi"], "ari": seen["ari"],
        "unseen_acc": unseen["accuracy"], "unseen_nmi": unseen["nmi"], "unseen_ari": unseen["ari"],
        "gap": unseen["nmi"] - seen["nmi"], "ncut": head.ncut_, "cpu": busy, "n": len(X),
    }  # fmt: skip


def spaces(results: Results, root: Path, datasets: list[str], seeds: int, *settings: Any) -> None:
    for dataset, seed in product(datasets, range(seeds)):
        _spaces_of(results, root, dataset, seed, *settings)


def _spaces_of(
    results: Results,
    root: Path,
    dataset: str,
    seed: int,
    limit: int,
    fitted: int | None,
    names: list[str],
    rows: list[str],
    symmetrize: str,
    of: str,
) -> None:
    """Where clusters are lost, on pixels: in the space, in the graph, or in the head.

    ``near`` is the share of the 10 nearest neighbours that are of the same class, ``inside`` the share of edge weight
    within classes, ``ncut_classes`` the normalized cut of the classes themselves: where it is above ``ncut``, the graph
    and not the head joins classes. Of ``limit`` images ``fitted`` are fitted, five sixths if None; the others are
    unseen. ``all_nmi`` is that of both together. "space_cpu" is of the space, "cpu" of the graph and the head. The seed
    draws the images and starts the trainings.
    """
    with np.load(root / dataset / "train60k.npz") as data:
        order = np.random.default_rng(seed).permutation(len(data["x"]))[:limit]
        X, y = data["x"][order].reshape(len(order), -1) / 255, data["y"][order].astype(np.int64)
    seen = fitted or len(X) * 5 // 6

    @cache
    def turned(name: str) -> tuple[Any, Any, float, float]:
        before, pixels = 0.0, (X[:seen], X[seen:])
        if name in LEARNT and of != "raw":  # What ``SpaceSettings.of`` does, once for all spaces.
            *pixels, _, before = turned("scattering")
        busy = time.process_time()
        settings = (
            SpaceSettings(name=name, of="raw", autoencoder=AUTOENCODER, siamese=SIAMESE) if name != "raw" else name
        )
        space = learn_space(settings, pixels[0], seed=seed)
        inside, outside = (into(space, part) for part in pixels)
        busy = before + time.process_time() - busy
        near = float((y[nearest(inside, 10)[1]] == y[:seen, None]).mean())
        return inside, outside, near, busy

    for name, row in product(names, rows):

        def run(name: str = name, row: str = row) -> dict[str, Any]:
            inside, outside, near, before = turned(name)
            method, settings = VECTORS[row]
            busy = time.process_time()
            head = head_class(method)(10, symmetrize=symmetrize, random_state=seed, **settings).fit(inside)
            busy = time.process_time() - busy
            affinity = head.affinity_
            edges, labels = affinity.weights.tocoo(), np.concatenate([head.labels_, head.predict(outside)])
            found, unseen, every = (
                clustering_scores(labels[part], y[part]) for part in (slice(seen), slice(seen, None), slice(None))
            )
            return {
                "near": near, "inside": float(edges.data[y[edges.row] == y[edges.col]].sum() / edges.data.sum()),
                "ncut": head.ncut_, "ncut_classes": affinity.ncut(y[:seen]),
                "acc": found["accuracy"], "nmi": found["nmi"], "unseen_acc": unseen["accuracy"],
                "unseen_nmi": unseen["nmi"], "all_acc": every["accuracy"], "all_nmi": every["nmi"],
                "gap": unseen["nmi"] - found["nmi"], "space_cpu": before, "cpu": busy,
            }  # fmt: skip

        how = ("" if symmetrize == "max" else f", {symmetrize}") + ("" if of == "scattering" else f", of {of}")
        results.once(f"spaces/{dataset}, {seen} of {len(X)} images fitted/{name}, {row}{how}/{seed}", run)


def images(results: Results, root: Path, count: int, ks: tuple[int, ...], superpixels: int, contours: bool) -> None:
    """Run the heads on superpixel graphs of the default pipeline; networks get diffused features, as they do there."""
    from segspectral.images.reader import as_image
    from segspectral.pipeline import Pipeline

    pipeline = Pipeline(superpixels={"count": superpixels}, affinity={} if contours else {"contour": None})
    for path in sorted((root / "bsds500" / "val" / "images").glob("*.jpg"))[:count]:
        prefix = f"images {superpixels}{'' if contours else ' without contours'}/{path.stem}"
        if all(f"{prefix}/{k}/{row}" in results.rows for k in ks for row in GRAPHS):
            continue
        image = as_image(path)
        pieces = pipeline.superpixels(image)
        features = pipeline.features(image, pieces)
        affinity = pipeline.affinity(features, pieces)
        nodes = features.nodes.astype(np.float64)
        for k in ks:
            _against_eigenvectors(results, f"{prefix}/{k}", nodes, affinity, k, walked=diffused(nodes, affinity))


def graphs(results: Results, seeds: int, ks: tuple[int, ...]) -> None:
    """Run the heads on a ring, a grid, two moons and a planted partition.

    Features are the positions of the nodes, or their edges in 32 random columns.
    """
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        for k in ks:
            angle = 2 * np.pi * np.arange(480) / 480
            step = sp.csr_array(np.roll(np.eye(480), 1, axis=1))
            _against_eigenvectors(
                results,
                f"graphs/ring/{k}/{seed}",
                np.stack([np.cos(angle), np.sin(angle)], axis=1),
                Affinity(step + step.T),
                k,
                seed,
            )
            path = [sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(n, n)) for n in (16, 30)]
            lattice = sp.kron(path[0], sp.eye_array(30)) + sp.kron(sp.eye_array(16), path[1])
            place = np.stack(np.divmod(np.arange(480), 30), axis=1).astype(np.float64)
            _against_eigenvectors(results, f"graphs/grid/{k}/{seed}", place, Affinity(sp.csr_array(lattice)), k, seed)
            X = make_moons(480, noise=0.05, random_state=seed)[0]
            _against_eigenvectors(results, f"graphs/moons/{k}/{seed}", X, knn_affinity(X), k, seed)
            block = np.arange(480) * k // 480
            chance = np.where(block[:, None] == block, 0.3, 0.02)
            upper = np.triu(rng.random(chance.shape) < chance, 1).astype(np.float64)
            X = (upper + upper.T) @ rng.normal(size=(480, 32))
            partition = Affinity(sp.csr_array(upper + upper.T))
            _against_eigenvectors(results, f"graphs/planted partition/{k}/{seed}", X, partition, k, seed)


def _against_eigenvectors(
    results: Results, key: str, X: Any, affinity: Affinity, k: int, seed: int | None = None, walked: Any = None
) -> None:
    """Compare each head with the eigenvectors, and with k-means on them, to which ``ncut_ratio`` is the ratio.

    ``greedy_ratio`` is to the head ``Exact``.
    """
    keys = {row: f"{key}/{row}" if seed is None else f"{key.rpartition('/')[0]}/{row}/{seed}" for row in GRAPHS}
    if all(name in results.rows for name in keys.values()):
        return
    vectors_, values = spectral_embedding(affinity, k)
    plain = KMeans(k, n_init=10, random_state=0).fit_predict(vectors_)
    best = Exact(k).fit(X, affinity=affinity).ncut_

    def run(row: str) -> dict[str, Any]:
        begin, busy = time.perf_counter(), time.process_time()
        head = head_class(GRAPHS[row])(k, random_state=seed or 0)
        head.fit(walked if walked is not None and head.learns_map else X, affinity=affinity)
        out: dict[str, Any] = {"cpu": time.process_time() - busy, "seconds": time.perf_counter() - begin}
        out |= {"n": len(affinity), "used": len(np.unique(head.labels_)), "used_plain": len(np.unique(plain))}
        out |= {"ncut_ratio": head.ncut_ / affinity.ncut(plain), "greedy_ratio": head.ncut_ / best}
        V = head.membership_.embedding
        if V is not None:
            out["rayleigh"] = head.eigenvalues_[:k].sum() / values.sum()
            out["distance"] = k - float((((vectors_.T * affinity.degree) @ V) ** 2).sum())
        return out

    for row, name in keys.items():
        results.once(name, lambda: run(row))  # noqa: B023


def toys(results: Results, seeds: int) -> None:
    """Run the heads on two moons and two circles (n = 2000, noise 0.05), and measure accuracy also on unseen points."""
    makers = {
        "moons": lambda seed: make_moons(2000, noise=0.05, random_state=seed),
        "circles": lambda seed: make_circles(2000, noise=0.05, factor=0.5, random_state=seed),
    }
    variants = {"exact": {}, "neuncut": {"hidden": (128, 128)}, "spectralnet": {}, "neuralef": {}, "rsm": {}}
    for toy, make in makers.items():
        for name, settings in {**variants, "spectral_clustering": {}, "kmeans": {}}.items():
            for seed in range(seeds):

                def run(make: Any = make, name: str = name, settings: Any = settings, seed: int = seed) -> Any:
                    (X, y), (Z, z) = make(seed), make(seed + 100)
                    begin = time.perf_counter()
                    head = head_class(name)(2, random_state=seed, **settings).fit(X)
                    seconds = time.perf_counter() - begin
                    seen, unseen = clustering_scores(head.labels_, y), clustering_scores(head.predict(Z), z)
                    return {"acc": seen["accuracy"], "unseen_acc": unseen["accuracy"], "seconds": seconds}

                results.once(f"toys/{toy}/{name}/{seed}", run)


SEPARATED = {
    "spectralnet": ("spectralnet", {"hidden": (256, 256), "steps": 1500}),
    "spectralnet, 3000 steps": ("spectralnet", {"hidden": (256, 256), "steps": 3000}),
    "rsm": ("rsm", {"hidden": (256, 256), "steps": 3000}),
    "neuralef": ("neuralef", {"hidden": (256, 256), "steps": 1000, "learning_rate": 5e-3, "spare": 2}),
}
"""Heads whose outputs are compared with single eigenvectors."""


def eigenvectors(results: Results, root: Path, seeds: int) -> None:
    """Compare each of ten outputs with the eigenvector of its rank, on seen and unseen points, by sin^2 of the angle.

    On unseen points the eigenvectors are extended by Nystroem's formula. Digits of scikit-learn (1400 and 397 points),
    and MNIST, 50 principal components of pixels (10 000 and 2000 points).
    """
    with np.load(root / "mnist" / "train60k.npz") as data:
        pixels = data["x"][:12_000].reshape(12_000, -1) / 255
    sets = {
        "digits": (load_digits().data / 16, 1400),
        "mnist raw": (PCA(50, random_state=0).fit(pixels[:10_000]).transform(pixels), 10_000),
    }
    for name, (X, count) in sets.items():
        X = X[np.random.default_rng(0).permutation(len(X))]
        affinity = knn_affinity(X[:count])
        exact = Exact(10).fit(X[:count], affinity=affinity)
        true, unseen = spectral_embedding(affinity, 10)[0], exact.transform(X[count:])
        for row, (head, settings) in SEPARATED.items():
            for seed in range(seeds):

                def run(head: str = head, settings: Any = settings, seed: int = seed) -> dict[str, float]:
                    busy = time.process_time()
                    fitted = head_class(head)(10, random_state=seed, **settings).fit(X[:count], affinity=affinity)  # noqa: B023
                    busy = time.process_time() - busy
                    seen = _squared_sines(fitted.membership_.embedding, true, affinity.degree)  # noqa: B023
                    new = _squared_sines(fitted.transform(X[count:]), unseen, np.ones(len(unseen)))  # noqa: B023
                    return {
                        "seen": seen.mean(), "seen_worst": seen.max(), "unseen": new.mean(), "unseen_worst": new.max(),
                        "cpu": busy,
                    }  # fmt: skip

                results.once(f"eigenvectors/{name}/{row}/{seed}", run)


def _squared_sines(A: Any, B: Any, weight: Any) -> Any:
    A, B = A * np.sqrt(weight)[:, None], B * np.sqrt(weight)[:, None]
    return 1 - (A * B).sum(axis=0) ** 2 / ((A**2).sum(axis=0) * (B**2).sum(axis=0))


def size(results: Results) -> None:
    """Cluster 50000 vectors of 10 dimensions; each row has its own process, so that peaks of memory stay separate."""
    for name in ("spectralnet", "neuncut", "rsm", "neuralef", "spectral_clustering"):
        results.once(f"size/{name}", lambda: _in_child(name))  # noqa: B023


def _in_child(name: str) -> dict[str, Any]:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, __file__, "--child", name], capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _child(name: str) -> None:
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 50_000)
    t = rng.uniform(0, np.pi, len(y))
    X = np.zeros((len(y), 10))
    X[:, 0], X[:, 1] = np.cos(t) * 2, np.sin(t) * 2
    X += rng.normal(size=X.shape) * 0.15 + (rng.normal(size=(10, 10)) * 2.5)[y]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, busy = time.perf_counter(), time.process_time()
    settings = {"hidden": (128, 128)} if name == "neuncut" else {}
    labels = head_class(name)(10, **settings).fit(X).labels_
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu": busy, "seconds": seconds, "gib": peak / 2**20, "added": (peak - before) / 2**20,
                      "nmi": clustering_scores(labels, y)["nmi"]}))  # fmt: skip


def tables(results: Results) -> Iterator[str]:
    """Return Markdown tables of the mean and deviation over seeds; those of graphs have the median and the largest."""
    groups: dict[tuple[str, bool], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for key, row in results.rows.items():
        p = key.split("/")
        part = p[0].split()[0]
        title, line = {
            "vectors": lambda p: (f"{p[1]}, {p[2]} ({p[5]})", p[3]),
            "images": lambda p: (f"graphs of {p[0][7:]} superpixels, K = {p[2]}", p[3]),
            "graphs": lambda p: (f"{p[1]}, K = {p[2]}", p[3]),
            "toys": lambda p: (p[1], p[2]),
            "eigenvectors": lambda p: (f"{p[1]}, ten eigenvectors one by one", p[2]),
            "spaces": lambda p: (f"spaces, {p[1]}", p[2]),
            "size": lambda p: ("50000 vectors of 10 dimensions", p[1]),
        }[part](p)
        groups[title, part in ("images", "graphs")][line].append(row)
    return (table(title, lines, largest) for (title, largest), lines in groups.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts",
        nargs="*",
        help="any of vectors, spaces, images, graphs, toys, eigenvectors, size; none prints the tables",
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("out/bench_heads.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--spaces", nargs="+", default=["raw", "code", "siamese", "both"], choices=SPACES)
    parser.add_argument("--datasets", nargs="+", default=["mnist"], choices=DATASETS, help="of the spaces")
    parser.add_argument("--limit", type=int, default=12_000, help="images of the spaces")
    parser.add_argument("--symmetrize", default="max", choices=["max", "mean"], help="of the graphs of the spaces")
    parser.add_argument("--of", default="scattering", choices=["scattering", "raw"], help="of learnt spaces")
    parser.add_argument(
        "--fitted", type=int, help="number of images of the spaces that are fitted; default five sixths"
    )
    parser.add_argument("--rows", nargs="+", default=[], choices=list(VECTORS), help="of vectors and spaces")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--superpixels", type=int, default=600, help="asked for in each of the images")
    parser.add_argument("--no-contours", dest="contours", action="store_false", help="in the affinity of the images")
    parser.add_argument("--clusters", type=int, nargs="+", default=[4, 8, 16], help="of images and graphs")
    parser.add_argument("--quick", action="store_true", help="one seed, 2000 images, 2 photographs: a smoke run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with threadpool_limits(1, user_api="blas"):
        if options.child:
            return _child(options.child)
        results = Results(options.results)
        seeds = 1 if options.quick else options.seeds
        if "vectors" in options.parts and "scattering" in options.spaces:
            parser.error("the vectors are principal components, which have no scattering; take the part spaces")
        if "vectors" in options.parts:
            vectors(results, options.data, seeds, options.quick, options.spaces, options.rows)
        if "spaces" in options.parts:
            sizes, rows = (options.limit, options.fitted), options.rows or ["exact"]
            spaces(
                results,
                options.data,
                options.datasets,
                seeds,
                *sizes,
                options.spaces,
                rows,
                options.symmetrize,
                options.of,
            )
        if "images" in options.parts:
            count = 2 if options.quick else options.images
            images(results, options.data, count, tuple(options.clusters), options.superpixels, options.contours)
        if "graphs" in options.parts:
            graphs(results, seeds, tuple(options.clusters))
        if "toys" in options.parts:
            toys(results, seeds)
        if "eigenvectors" in options.parts:
            eigenvectors(results, options.data, seeds)
        if "size" in options.parts:
            size(results)
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
