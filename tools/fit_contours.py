#!/usr/bin/env python3
"""Fit the edge decoder and the contour cues on BSDS500 train, and write the weights in segspectral/features/weights.

    tools/fit_contours.py --data DATA [--limit 200] [--counts 600 1000] [--folds RUN0 RUN1]

1. The edge decoder, on pixels: the target is the share of people who drew an edge within about two pixels.
2. The weights of the contour cues, on the borders of superpixels: the target is the share of people who put the two
   sides into different regions. The edge cues come from decoders that were not trained on the image (two folds).

With ``--folds``, two folders of ``tools/fit_network.py --fold 0`` and ``--fold 1``, all CNN cues of an image come from
the network that was not trained on it, and only the weights of the cues are fitted.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torch import Tensor

from segspectral.features import Cnn
from segspectral.features.backbones import DEFAULT_BACKBONE, FeatureMap
from segspectral.features.backbones.edge_decoder import CHANNELS, EdgeDecoder, decoder_of, edge_probability
from segspectral.features.backbones.timm_models import load_timm_model
from segspectral.features.contours import Contours, Cues, Logistic, described, edge_cues
from segspectral.features.edges import edges_along
from segspectral.images.reader import read_image
from segspectral.superpixels import Slic
from segspectral.values import Image, Superpixels

CROP = 112
"""Side of the training crops, in half-resolution pixels; a multiple of the coarsest stride's cells."""


class Example(NamedTuple):
    image: Image
    maps: list[FeatureMap]
    people: NDArray[np.integer]  # (A, H, W) human label maps


def people_edges(people: NDArray[np.integer]) -> Tensor:
    """Return (1, 1, h, w) at half resolution: the share of people with a boundary within one cell."""
    height, width = people.shape[1:]
    total = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)
    for regions in people:
        edge = np.zeros((2 * total.shape[0], 2 * total.shape[1]), np.uint8)
        edge[: height - 1, :width] |= regions[1:] != regions[:-1]
        edge[:height, : width - 1] |= regions[:, 1:] != regions[:, :-1]
        coarse = edge.reshape(total.shape[0], 2, total.shape[1], 2).max(axis=(1, 3))
        total += cv2.dilate(coarse, np.ones((3, 3), np.uint8))
    return torch.from_numpy(total / len(people))[None, None]


def train_decoder(examples: list[Example], epochs: int, seed: int = 0) -> EdgeDecoder:
    """Minimise the cross-entropy on random crops that are mirrored at random, without a tenth of the channels."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    decoder = EdgeDecoder()
    data = [(*decoder.tensors(e.image.float32, e.maps), people_edges(e.people)) for e in examples]
    scales = {}
    for stride in CHANNELS:
        values = torch.cat([maps[stride].flatten(2)[0] for _, maps, _ in data[::5]], dim=1)
        scales[stride] = values.std(dim=1)[None, :, None, None] + 1e-3
    optimizer = torch.optim.AdamW(decoder.parameters(), weight_decay=1e-2)
    batches = epochs * -(-len(data) // 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=batches + 1, pct_start=0.1)
    for epoch in range(epochs):
        order, total = random.permutation(len(data)), 0.0
        for first in range(0, len(order), 2):
            optimizer.zero_grad()
            for index in order[first : first + 2]:
                lab, maps, target = data[index]
                row, col = (16 * int(random.integers(0, (size - CROP) // 16 + 1)) for size in lab.shape[-2:])
                lab, target = (t[..., row : row + CROP, col : col + CROP] for t in (lab, target))
                crops = {}
                for stride, values in maps.items():
                    cells, r, c = 2 * CROP // stride, 2 * row // stride, 2 * col // stride
                    crops[stride] = nnf.dropout2d(values[..., r : r + cells, c : c + cells] / scales[stride], 0.1)
                if random.random() < 0.5:
                    lab, target = lab.flip(-1), target.flip(-1)
                    crops = {stride: values.flip(-1) for stride, values in crops.items()}
                loss = nnf.binary_cross_entropy_with_logits(decoder(lab, crops), target)
                (loss / 2).backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            optimizer.step()
            schedule.step()
        if epoch % 6 == 5:
            print(f"decoder on {len(data)} images, epoch {epoch + 1}: loss {total / len(data):.4f}", flush=True)
    with torch.no_grad():  # the scales become part of the weights
        for stride, scale in scales.items():
            decoder.strides[str(stride)].weight /= scale  # type: ignore[operator]
    return decoder.eval()


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
    targets: list[NDArray[np.float64]],
) -> tuple[dict[str, object], list[float]]:
    """Fit both passes of ``Contours``, and measure their average precision on the same images."""
    contours = Contours()
    lengths = [s.border_length for s in superpixels]
    first = fit(local, targets, lengths)
    before = Logistic(first["bias"], first["weights"])
    both = [
        cues | contours.diffused_cues(s.region_graph, n, before(cues))
        for s, n, cues in zip(superpixels, nodes, local, strict=True)
    ]
    second = fit(both, targets, lengths)
    after = Logistic(second["bias"], second["weights"])
    drawn = np.concatenate(targets) >= 0.5
    precisions = [
        float(average_precision_score(drawn, np.concatenate([p(c) for c in cues])))
        for p, cues in ((before, local), (after, both))
    ]
    return {"first": first, "second": second}, precisions


def read(root: Path, limit: int, networks: Sequence[Cnn]) -> Iterable[Example]:
    """Yield the images with the maps of the networks, which take turns."""
    backbones = [load_timm_model(weights=network.weights) for network in networks]
    paths = sorted((root / "images").glob("*.jpg"))
    for index, path in enumerate(paths[:: max(1, len(paths) // limit)][:limit]):
        image = read_image(path)
        yield Example(
            image, backbones[index % len(backbones)](image.float32), np.load(root / "gt" / f"{path.stem}.npz")["segs"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[600, 1000])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "segspectral/features/weights")
    parser.add_argument("--folds", type=Path, nargs=2, metavar="RUN")
    arguments = parser.parse_args()
    networks = [Cnn()]
    if arguments.folds:
        for fold, run in enumerate(arguments.folds):
            if (found := torch.load(run / "checkpoint.pt", weights_only=True)["settings"]["fold"]) != fold:
                parser.error(f"{run} is of --fold {found}, and --fold {fold} is needed here")
        networks = [Cnn(weights=str(run / f"{DEFAULT_BACKBONE}.safetensors")) for run in arguments.folds]
    examples = list(read(arguments.data / "bsds500" / "train", arguments.limit, networks))
    # Decoder 0 has not seen the even images, decoder 1 not the odd ones.
    if arguments.folds:
        folds = [decoder_of((run / "edges.safetensors").read_bytes()) for run in arguments.folds]
    else:
        folds = [train_decoder(examples[1 - fold :: 2], arguments.epochs) for fold in (0, 1)]
        weights = train_decoder(examples, arguments.epochs).state_dict()
        save_file({n: t.half().contiguous() for n, t in weights.items()}, arguments.out / "edges.safetensors")

    contours = Contours()
    superpixels, deep, edges, measured, targets = [], [], [], [], []
    for index, (image, maps, people) in enumerate(examples):
        made = Slic(count=arguments.counts[index // 2 % len(arguments.counts)])(image)
        superpixels.append(made)
        deep.append(networks[index % len(networks)].measure(image, made).nodes)
        edges.append(edge_cues(edges_along(made, edge_probability(image.float32, maps, folds[index % 2]))))
        measured.append(contours.measure(image, made))
        targets.append(share_of_people(made, people))
    fitted = {}
    for variant in ("edges", "cnn", "plain"):
        nodes = [described(m, {} if variant == "plain" else maps) for m, maps in zip(measured, deep, strict=True)]
        local = [
            contours.local_cues(s.region_graph, n, m) | (edge if variant == "edges" else {})
            for s, n, m, edge in zip(superpixels, nodes, measured, edges, strict=True)
        ]
        fitted[variant], (first, second) = fit_passes(superpixels, nodes, local, targets)
        print(f"{variant}: average precision {first:.4f}, then {second:.4f}, on {len(examples)} images", flush=True)
    (arguments.out / "contours.json").write_text(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
