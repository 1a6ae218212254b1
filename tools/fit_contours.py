#!/usr/bin/env python3
"""Fit the weights of the contour cues on BSDS500 train: writes segspectral/contours.json.

    tools/fit_contours.py --data DATA [--limit 200] [--counts 600 1000]

The target of a border between two superpixels is the share of people who put them into different regions.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from segspectral.contours import Contours, Cues, Logistic, node_features
from segspectral.features import Cnn
from segspectral.images import read_image
from segspectral.superpixels import Slic
from segspectral.types import Image, Superpixels


def share_of_people(superpixels: Superpixels, maps: np.ndarray) -> np.ndarray:
    """(M,) share of the human maps (A, H, W) in which the two sides of each border lie in different regions."""
    i, j = superpixels.borders.T
    apart = []
    for regions in maps.astype(np.int64):
        width = regions.max() + 1
        votes = np.bincount(superpixels.labels.ravel() * width + regions.ravel(), minlength=len(superpixels) * width)
        majority = votes.reshape(-1, width).argmax(axis=1)
        apart.append(majority[i] != majority[j])
    return np.mean(apart, axis=0)


def fit(cues: list[Cues], targets: list[np.ndarray], lengths: list[np.ndarray]) -> dict[str, object]:
    """Logistic regression on the roots of the cues, each border weighted by its length."""
    names = list(cues[0])
    rows = np.concatenate([np.sqrt(np.stack([c[name] for name in names], axis=1)) for c in cues])
    target, length = np.concatenate(targets), np.concatenate(lengths)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    rows = (rows - mean) / scale
    # A border that a share y of people draw counts y times as a boundary and 1 - y times as none.
    model = LogisticRegression(C=0.3, max_iter=1000).fit(
        np.concatenate([rows, rows]),
        np.repeat([1, 0], len(rows)),
        sample_weight=np.concatenate([target * length, (1 - target) * length]),
    )
    weights = model.coef_[0] / scale
    bias = float(model.intercept_[0] - weights @ mean)
    return {"bias": round(bias, 5), "weights": {n: round(float(w), 5) for n, w in zip(names, weights, strict=True)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[600, 1000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "segspectral" / "contours.json")
    arguments = parser.parse_args()
    root = arguments.data / "bsds500" / "train"
    paths = sorted((root / "images").glob("*.jpg"))
    paths = paths[:: max(1, len(paths) // arguments.limit)][: arguments.limit]
    contours = Contours()
    examples: list[tuple[Image, Superpixels, dict[int, np.ndarray], np.ndarray]] = []
    for index, path in enumerate(paths):
        image = read_image(path)
        superpixels = Slic(count=arguments.counts[index % len(arguments.counts)])(image)
        people = np.load(root / "gt" / f"{path.stem}.npz")["segs"]
        examples.append((image, superpixels, Cnn().pooled(image, superpixels), share_of_people(superpixels, people)))
    targets = [target for *_, target in examples]
    lengths = [superpixels.border_length for _, superpixels, *_ in examples]
    fitted = {}
    for variant in ("cnn", "plain"):
        nodes = [node_features(im, sp, maps if variant == "cnn" else {}) for im, sp, maps, _ in examples]
        local = [contours.local_cues(im, sp, n) for (im, sp, *_), n in zip(examples, nodes, strict=True)]
        first = fit(local, targets, lengths)
        before = Logistic(first["bias"], first["weights"])
        both = [
            cues | contours.diffused_cues(sp, n, before(cues))
            for (_, sp, *_), n, cues in zip(examples, nodes, local, strict=True)
        ]
        fitted[variant] = {"first": first, "second": fit(both, targets, lengths)}
        after = Logistic(fitted[variant]["second"]["bias"], fitted[variant]["second"]["weights"])
        for name, passed in (("first", [before(c) for c in local]), ("second", [after(c) for c in both])):
            from sklearn.metrics import average_precision_score

            precision = average_precision_score(np.concatenate(targets) >= 0.5, np.concatenate(passed))
            print(f"{variant}, {name} pass: average precision {precision:.4f} on {len(examples)} images", flush=True)
    arguments.out.write_text(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
