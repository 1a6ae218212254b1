#!/usr/bin/env python3
"""Region and boundary scores on BSDS500 for configurations, for variants of single parts, and for other programs.

    tools/bench_quality.py --data DATA [--split val] [--limit 20] [--rows configs heads affinity peers] [--jobs 2]

DATA holds bsds500/SPLIT/images/ID.jpg and bsds500/SPLIT/gt/ID.npz; default: $SEGSPECTRAL_DATA, else ../shared/data.
A method with several scales (the hierarchy has 26 levels, union-find five scales, others several numbers of segments)
is scored at the best scale for the whole data set (ODS) and at the best for each image (OIS). A method with only a
number of segments uses ``--segments``. Scores per image are kept in --results, so a stopped run can be resumed; delete
the file of a row, or change --results, after a change of the code. Seconds are CPU seconds with one thread.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.config import load
from segspectral.images.reader import read_image
from segspectral.metrics.boundary import boundary_counts
from segspectral.metrics.region import region_counts
from segspectral.pipeline import Pipeline
from segspectral.values import Image, Superpixels
from segspectral.values.regions import SWEEP_LEVELS

Maps = list[NDArray[np.integer]]
Method = Callable[[Image, int], Maps]
"""An image and a number of segments -> label maps, one per scale."""

NUMBERS = (2, 3, 4, 6, 8, 12, 16, 24)
CONFIGS = Path(__file__).parents[1] / "configs"


def levels(pipeline: Pipeline, image: Image, k: int) -> Maps:
    """Predict the cuts of one hierarchy at all levels."""
    tree = pipeline.describe(image).hierarchy
    return [tree.labels(level=level) for level in SWEEP_LEVELS]


def of_config(name: str, image: Image, k: int) -> Maps:
    return levels(Pipeline() if name == "default" else load(CONFIGS / f"{name}.yaml"), image, k)


def swept(image: Image, k: int, **settings: Any) -> Maps:
    return levels(Pipeline.model_validate(settings), image, k)


def cut(image: Image, k: int, **settings: Any) -> Maps:
    """Predict by a head and its refiner, for one number of segments."""
    return [Pipeline.model_validate({"segments": k} | settings)(image).labels]


def best_merges(count: int, image: Image, k: int, *, people: NDArray[np.integer]) -> Maps:
    """Predict the upper bound of superpixels (OIS): each takes the human region that it overlaps most."""
    superpixels = Pipeline.model_validate({"superpixels": {"count": count}}).describe(image).superpixels
    maps = []
    for regions in people[:4].astype(np.int64):
        width = regions.max() + 1
        votes = np.bincount(superpixels.labels.ravel() * width + regions.ravel(), minlength=len(superpixels) * width)
        maps.append(superpixels.to_pixels(votes.reshape(-1, width).argmax(axis=1)))
    return maps


def graph(image: Image) -> tuple[Superpixels, Any, Any]:
    scene = Pipeline().describe(image)
    return scene.superpixels, scene.features, scene.affinity


def kmeans_on_features(image: Image, k: int) -> Maps:
    from sklearn.cluster import KMeans

    superpixels, features, _ = graph(image)
    return [superpixels.to_pixels(KMeans(n, n_init=10, random_state=0).fit_predict(features.nodes)) for n in NUMBERS]


def spectral_clustering(image: Image, k: int) -> Maps:
    """Predict by eigenvectors and k-means on the same graph, with which the head is compared."""
    from sklearn.cluster import SpectralClustering

    superpixels, _, affinity = graph(image)
    weights = affinity.weights.tocsr()
    model = partial(SpectralClustering, affinity="precomputed", random_state=0)
    return [superpixels.to_pixels(model(n).fit_predict(weights)) for n in NUMBERS]


def ncut_pytorch(image: Image, k: int) -> Maps:
    """Predict by ncut-pytorch (pip install ncut-pytorch) on the same features, with its own affinity and alignment."""
    import torch
    from ncut_pytorch import Ncut, kway_ncut

    superpixels, features, _ = graph(image)
    vectors = Ncut(n_eig=max(NUMBERS)).fit_transform(torch.from_numpy(np.ascontiguousarray(features.nodes)))
    return [superpixels.to_pixels(kway_ncut(vectors[:, :n]).argmax(dim=1).cpu().numpy()) for n in NUMBERS]


def felzenszwalb(image: Image, k: int) -> Maps:
    from skimage.segmentation import felzenszwalb

    return [felzenszwalb(image.uint8, scale=s, sigma=0.8, min_size=100) for s in (100, 200, 400, 700, 1000)]


def quickshift(image: Image, k: int) -> Maps:
    from skimage.segmentation import quickshift

    return [quickshift(image.float32, kernel_size=5, max_dist=d, ratio=0.5) for d in (10, 20, 40, 80)]


def rag_ncut(image: Image, k: int) -> Maps:
    from skimage import graph as rag
    from skimage.segmentation import slic

    labels = slic(image.uint8, n_segments=400, compactness=30, start_label=1)
    maps = []
    for threshold in (0.0005, 0.001, 0.005, 0.02):
        similarities = rag.rag_mean_color(image.uint8, labels, mode="similarity")
        maps.append(rag.cut_normalized(labels, similarities, thresh=threshold, rng=0))
    return maps


ROWS: dict[str, dict[str, Method]] = {
    "configs": {name: partial(of_config, name) for name in ("fast", "default", "quality")},
    "ablation": {
        "default, superpixels 300": partial(swept, superpixels={"count": 300}),
        "default, superpixels 1000": partial(swept, superpixels={"count": 1000}),
        "default, SLIC": partial(swept, superpixels={"name": "slic"}),
        "default, no CNN": partial(swept, features={"cnn": None}),
    },
    "heads": {
        "neuncut": cut,
        "neuncut, no CRF": partial(cut, refine="none"),
        "neuncut, guided filter": partial(cut, refine="guided"),
        "neuncut, no contours in the affinity": partial(cut, affinity={"contour": None}),
        "neuncut, no CNN": partial(cut, features={"cnn": None}),
        "neuncut, CNN stride 16 only": partial(cut, features={"cnn": {"strides": [16]}}),
        "neuncut, no texture": partial(cut, features={"texture": None}),
        "neuncut, no colour": partial(cut, features={"colour": None}),
        "exact": partial(cut, head="exact"),
        "kmeans": partial(cut, head="kmeans"),
        "hierarchy": partial(cut, hierarchy=True),
        "neuncut, automatic number": partial(cut, segments="auto", head="neuncut"),
        "no options": partial(cut, segments="auto"),
        "hierarchy, automatic level": partial(cut, hierarchy=True, segments="auto"),
    },
    "affinity": {
        "exact, no CRF": partial(cut, head="exact", refine="none"),
        "exact, no CRF, self-tuning bandwidth": partial(
            cut, head="exact", refine="none", affinity={"bandwidth": "self_tuning"}
        ),
        "exact, no CRF, scale 0.45 and contour 0.07": partial(
            cut, head="exact", refine="none", affinity={"scale": 0.45, "contour": 0.07}
        ),
        # Without contours in the affinity, the features alone decide.
        **{
            f"exact, no CRF, no contours in the affinity, strides {', '.join(map(str, strides))}": partial(
                cut, head="exact", refine="none", affinity={"contour": None}, features={"cnn": {"strides": strides}}
            )
            for strides in ([4], [8], [16], [32], [8, 16], [16, 32], [4, 8, 16], [4, 8, 16, 32])
        },
    },
    "peers": {
        "scikit-image Felzenszwalb, 5 scales": felzenszwalb,
        "scikit-image quickshift, 4 distances": quickshift,
        "scikit-image RAG normalized cut, 4 thresholds": rag_ncut,
        "ncut-pytorch on our features, 8 numbers": ncut_pytorch,
        "scikit-learn SpectralClustering on our graph, 8 numbers": spectral_clustering,
        "k-means on our features, 8 numbers": kmeans_on_features,
    },
    "ceiling": {f"oracle merge of {count} superpixels": partial(best_merges, count) for count in (600, 1000, 1600)},
}
METHODS = {name: method for rows in ROWS.values() for name, method in rows.items()}

Score = tuple[Any, Any, float] | str
"""Region counts, boundary counts and seconds of one image, or why there are none."""


WARM: set[str] = set()
"""Rows whose weights and libraries this process has loaded."""


def score(name: str, path: Path, k: int) -> Score:
    import torch

    torch.set_num_threads(1)
    method, image = METHODS[name], read_image(path)
    truth = np.load(path.parents[1] / "gt" / f"{path.stem}.npz")
    if name in ROWS["ceiling"]:
        method = partial(method, people=truth["segs"])
    begin = time.process_time()
    try:
        if name not in WARM:
            WARM.add(name)
            method(image, k)
            begin = time.process_time()
        maps = np.stack(method(image, k))
    except Exception:  # a peer that crashes is counted, not hidden
        return traceback.format_exc(limit=-1)
    seconds = time.process_time() - begin
    human = np.unpackbits(truth["bdrys"], axis=-1)[..., : maps.shape[2]]
    return region_counts(maps, truth["segs"]), boundary_counts(maps, truth["segs"], human_boundaries=human), seconds


def table_row(name: str, scores: list[Score]) -> str:
    good = [s for s in scores if not isinstance(s, str)]
    if not good:
        return f"| {name} | {scores[0].splitlines()[-1] if isinstance(scores[0], str) else ''} |"
    regions, boundaries = good[0][0], good[0][1]
    for region, boundary, _ in good[1:]:
        regions, boundaries = regions + region, boundaries + boundary
    r, b = regions.scores(), boundaries.scores()
    cells = []
    for measure, x in (("covering", r), ("pri", r), ("vi", r), ("f", b)):
        ods, ois = x[f"{measure}_ods"], x[f"{measure}_ois"]
        cells.append(f"{ods:.3f}" if abs(ods - ois) < 1e-12 else f"{ods:.3f}/{ois:.3f}")
    crashed = f" (crashed on {len(scores) - len(good)} of {len(scores)})" if len(good) < len(scores) else ""
    return f"| {name}{crashed} | {' | '.join(cells)} | {np.median([s for *_, s in good]):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=None, help="number of images, evenly spaced")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), help="groups of rows")
    parser.add_argument("--only", nargs="*", choices=list(METHODS), help="single rows instead")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/bench_quality"))
    arguments = parser.parse_args()
    root = arguments.data / "bsds500" / arguments.split
    paths = sorted((root / "images").glob("*.jpg"))
    if not paths:
        parser.error(f"{root}: holds no images/*.jpg")
    if arguments.limit:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, arguments.limit).astype(int)]
    arguments.results.mkdir(parents=True, exist_ok=True)
    print(f"BSDS500 {arguments.split}, {len(paths)} images; ODS/OIS where there are several scales")
    print("| method | covering | PRI | VI | boundary F | CPU s/image (median) |\n|---|---|---|---|---|---|")
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        for name in arguments.only or [name for group in arguments.rows for name in ROWS[group]]:
            file = arguments.results / f"{re.sub(r'[^a-z0-9]+', '_', name.lower())}_{arguments.segments}.pickle"
            kept: dict[str, Score] = pickle.loads(file.read_bytes()) if file.exists() else {}
            left = [path for path in paths if path.stem not in kept]
            for path, result in zip(left, pool.map(partial(score, name, k=arguments.segments), left), strict=True):
                kept[path.stem] = result
                file.with_suffix(".partial").write_bytes(pickle.dumps(kept))
                file.with_suffix(".partial").replace(file)
            print(table_row(name, [kept[path.stem] for path in paths]), flush=True)


if __name__ == "__main__":
    main()
