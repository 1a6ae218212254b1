#!/usr/bin/env python3
"""Fit the weights of the contour cues on BSDS500 train, and write them to segspectral/features/weights/contours.json.

    tools/fit_contours.py RUN0 RUN1 --data DATA [--limit 200] [--counts 600 1000]

The weights are those of borders of superpixels. The target of the first pass is the share of people who put the two
sides into different regions. The second pass gives the boundary probability. A quarter of its target is the share of
the border that lies where people drew: a border that only cuts off the rim of an object separates regions, and nobody
drew it.

RUN0 and RUN1 are folders of ``tools/fit_network.py --fold 0`` and ``--fold 1``: the learned edges and the CNN cues
beside them come from the network that was not trained on the image. For images without a network, a second set of
weights is fitted on the other cues.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from segspectral.errors import SettingsError
from segspectral.evaluation.datasets import Sample, open_dataset
from segspectral.features import Cnn
from segspectral.features.backbones import ARCHITECTURE
from segspectral.features.backbones.edge_decoder import EdgeDecoder, decoder_of
from segspectral.features.backbones.packaged_torch import DefaultNetwork
from segspectral.features.backbones.timm_models import TimmModel, load_timm_model
from segspectral.features.cnn import Seen, seen_at
from segspectral.features.contours import Contours, Cues, Logistic, described, edge_cues
from segspectral.features.edges import edges_along
from segspectral.images.reader import read_image
from segspectral.metrics.boundary import drawn_boundaries
from segspectral.superpixels import Watershed
from segspectral.values import Image, Superpixels

REACH = 3
"""A border follows what a person drew as far as it lies within this many pixels of it."""

DRAWN = 0.25
"""Weight in the target of the second pass of how much of a border people drew. With 0.5, borders beside an edge became
likely in small images, and of a block on a uniform ground heads with few superpixels cut off more than the block."""


class Network(NamedTuple):
    """A network of ``fit_network --fold``, which was not trained on the images of its fold."""

    trunk: TimmModel
    decoder: EdgeDecoder

    @classmethod
    def of_runs(cls, runs: Sequence[Path]) -> list[Self]:
        """The networks of two folders. Raises SettingsError if they are not of the folds 0 and 1."""
        for fold, run in enumerate(runs):
            if (found := torch.load(run / "checkpoint.pt", weights_only=True)["settings"]["fold"]) != fold:
                raise SettingsError(f"is of --fold {found}, and --fold {fold} is needed here", run)
        return [
            cls(load_timm_model(weights=str(run / f"{ARCHITECTURE}.safetensors"), device="cpu"), decoder_of(edges))
            for run in runs
            for edges in [(run / "edges.safetensors").read_bytes()]
        ]

    def see(self, image: Image) -> Seen:
        """What this network, in place of the default one, sees in an image."""
        seen = Seen(Cnn(), image)
        network = DefaultNetwork(self.trunk, self.decoder, fingerprint="")
        seen.activations = seen_at(network, image.float32, seen.cnn.scales, edges=True)
        return seen


class Borders(NamedTuple):
    """What the regressions learn from, an entry for each image."""

    superpixels: list[Superpixels]
    nodes: list[dict[str, NDArray[np.float64]]]
    local: list[Cues]
    apart: list[NDArray[np.float64]]
    drawn: list[NDArray[np.float64]]

    def add(self, sample: Sample, count: int, network: Network | None) -> None:
        """Measure an image with a network in place of the default one, or without any."""
        image, contours = read_image(sample.image), Contours()
        seen = None if network is None else network.see(image)
        edges = None if seen is None else seen.edges
        made = Watershed(count=count)(image, edges)
        measured = contours.measure(image, made)
        nodes = described(measured, {} if seen is None else Cnn().measure(image, made, seen=seen).nodes)
        local = contours.local_cues(made.region_graph, nodes, measured)
        self.superpixels.append(made)
        self.nodes.append(nodes)
        self.local.append(local if edges is None else local | edge_cues(edges_along(made, edges)))
        truth = sample.truth()
        self.apart.append(share_of_people(made, truth.labels))
        self.drawn.append(share_drawn(made, drawn_boundaries(truth.labels, truth.boundaries)))


def share_of_people(superpixels: Superpixels, people: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return for each border (M,) the share of human maps (A, H, W) in which its sides lie in different regions."""
    i, j = superpixels.borders.T
    apart = []
    for regions in people.astype(np.int64):
        width = regions.max() + 1
        votes = np.bincount(superpixels.labels.ravel() * width + regions.ravel(), minlength=len(superpixels) * width)
        majority = votes.reshape(-1, width).argmax(axis=1)
        apart.append(majority[i] != majority[j])
    return np.mean(apart, axis=0)


def share_drawn(superpixels: Superpixels, drawn: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each border (M,) how much of it lies within ``REACH`` of people's boundaries (A, H, W); a mean."""
    apart = [cv2.distanceTransform(1 - boundaries.astype(np.uint8), cv2.DIST_L2, 5) for boundaries in drawn]
    near = np.mean([distance <= REACH for distance in apart], axis=0, dtype=np.float32)
    return superpixels.along_borders(near[..., None])[:, 0].astype(np.float64)


def fit(cues: list[Cues], targets: list[np.ndarray], lengths: list[np.ndarray]) -> dict[str, object]:
    """Fit a logistic regression on the roots of the cues, with borders weighted by their length."""
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


def fit_passes(
    superpixels: list[Superpixels],
    nodes: list[dict[str, NDArray[np.float64]]],
    local: list[Cues],
    apart: list[NDArray[np.float64]],
    drawn: list[NDArray[np.float64]],
) -> tuple[dict[str, object], list[float]]:
    """Fit both passes of ``Contours``, and measure their average precision on the same images."""
    contours = Contours()
    lengths = [s.border_length for s in superpixels]
    first = fit(local, apart, lengths)
    before = Logistic(first["bias"], first["weights"])
    both = [
        cues | contours.diffused_cues(s.region_graph, n, before(cues))
        for s, n, cues in zip(superpixels, nodes, local, strict=True)
    ]
    targets = [(1 - DRAWN) * a + DRAWN * d for a, d in zip(apart, drawn, strict=True)]
    second = fit(both, targets, lengths)
    after = Logistic(second["bias"], second["weights"])
    likely = np.concatenate(targets) >= 0.5
    precisions = [
        float(average_precision_score(likely, np.concatenate([p(c) for c in cues])))
        for p, cues in ((before, local), (after, both))
    ]
    return {"first": first, "second": second}, precisions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[600, 1000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "segspectral/features/weights")
    arguments = parser.parse_args()
    networks = Network.of_runs(arguments.runs)
    # The place in the whole split says which run left an image out.
    samples = list(enumerate(open_dataset("bsds", arguments.data / "bsds500", split="train").samples))
    samples = samples[:: max(1, len(samples) // arguments.limit)][: arguments.limit]
    fitted = {}
    for variant in ("edges", "plain"):
        borders = Borders(*([] for _ in Borders._fields))
        for index, sample in samples:
            network = networks[index % 2] if variant == "edges" else None  # run 0 left the even images out
            borders.add(sample, arguments.counts[index // 2 % len(arguments.counts)], network)
        fitted[variant], (first, second) = fit_passes(*borders)
        print(f"{variant}: average precision {first:.4f}, then {second:.4f}, on {len(samples)} images", flush=True)
    (arguments.out / "contours.json").write_text(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
