#!/usr/bin/env python3
"""Region and boundary scores on BSDS500, ours beside its peers, on the same images in the same run.

    tools/bench_quality.py --data DATA [--split val] [--limit 20] [--segments 8]

DATA holds bsds500/SPLIT/images/ID.jpg and bsds500/SPLIT/gt/ID.npz; default: $SEGSPECTRAL_DATA, else ../shared/data.
Methods that have a number of segments get ``--segments``; Felzenszwalb's union-find gets five scales and the
hierarchy 24 levels: the best one for the whole data set (ODS) and the best for each image (OIS).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segspectral.images import read_image
from segspectral.metrics.boundary import boundary_counts
from segspectral.metrics.region import region_counts
from segspectral.pipeline import Pipeline
from segspectral.types import Image

Method = Callable[[Image, int], list[NDArray[np.integer]]]
"""An image and a number of segments -> label maps, one per scale."""


def ours(**settings: object) -> Method:
    pipeline = Pipeline.model_validate(settings)
    return lambda image, k: [pipeline.model_copy(update={"segments": k})(image).labels]


def hierarchy(image: Image, k: int) -> list[NDArray[np.integer]]:
    """One solve, cut at 24 levels."""
    tree = Pipeline(segments=k, hierarchy=True)(image).hierarchy
    return [tree.labels(level=level) for level in np.linspace(0.04, 0.5, 24)]


def kmeans_on_features(image: Image, k: int) -> list[NDArray[np.integer]]:
    from sklearn.cluster import KMeans

    pipeline = Pipeline()
    superpixels = pipeline.superpixels(image)
    nodes = pipeline.features(image, superpixels).nodes
    return [superpixels.spread(KMeans(k, n_init=10, random_state=0).fit_predict(nodes))]


def spectral_clustering(image: Image, k: int) -> list[NDArray[np.integer]]:
    """Eigenvectors and k-means on our graph: what the head is measured against."""
    from sklearn.cluster import SpectralClustering

    pipeline = Pipeline()
    superpixels = pipeline.superpixels(image)
    affinity = pipeline.affinity(pipeline.features(image, superpixels), superpixels)
    model = SpectralClustering(k, affinity="precomputed", random_state=0)
    return [superpixels.spread(model.fit_predict(affinity.weights.tocsr()))]


def felzenszwalb(image: Image, k: int) -> list[NDArray[np.integer]]:
    from skimage.segmentation import felzenszwalb

    return [felzenszwalb(image.uint8, scale=s, sigma=0.8, min_size=100) for s in (100, 200, 400, 700, 1000)]


METHODS: dict[str, Method] = {
    "segspectral --hierarchy, 24 levels": hierarchy,
    "segspectral": ours(),
    "segspectral, exact head": ours(head="exact"),
    "segspectral, no CRF": ours(refine="none"),
    "segspectral, guided filter": ours(refine="guided"),
    "k-means on the same features": kmeans_on_features,
    "scikit-learn SpectralClustering on the same graph": spectral_clustering,
    "scikit-image Felzenszwalb, best of 5 scales": felzenszwalb,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--split", default="val")
    parser.add_argument("--limit", type=int, default=None, help="so many images, evenly spaced")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--only", nargs="*", choices=list(METHODS), default=list(METHODS))
    arguments = parser.parse_args()
    root = arguments.data / "bsds500" / arguments.split
    paths = sorted((root / "images").glob("*.jpg"))
    if not paths:
        parser.error(f"{root}: holds no images/*.jpg")
    if arguments.limit:
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, arguments.limit).astype(int)]
    print(f"BSDS500 {arguments.split}, {len(paths)} images, {arguments.segments} segments")
    print("ODS/OIS where there are several scales")
    print("| method | covering | PRI | VI | boundary F | s/image (median) |\n|---|---|---|---|---|---|")
    for name in arguments.only:
        regions = boundaries = None
        seconds = []
        METHODS[name](read_image(paths[0]), arguments.segments)  # warm up: weights, libraries
        for path in paths:
            image = read_image(path)
            begin = time.perf_counter()
            maps = np.stack(METHODS[name](image, arguments.segments))
            seconds.append(time.perf_counter() - begin)
            truth = np.load(root / "gt" / f"{path.stem}.npz")
            human = np.unpackbits(truth["bdrys"], axis=-1)[..., : maps.shape[2]]
            region = region_counts(maps, truth["segs"])
            boundary = boundary_counts(maps, truth["segs"], human_boundaries=human)
            regions = region if regions is None else regions + region
            boundaries = boundary if boundaries is None else boundaries + boundary
        r, b = regions.scores(), boundaries.scores()
        names = ("covering", "pri", "vi", "f")
        several = len(maps) > 1
        cells = [
            f"{x[f'{n}_ods']:.3f}" + (f"/{x[f'{n}_ois']:.3f}" if several else "")
            for n, x in zip(names, (r, r, r, b), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} | {np.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
