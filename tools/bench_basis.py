#!/usr/bin/env python3
"""Compare three starts for eigenvectors: a basis learnt over many images, random ones, and levels of merged nodes.

    tools/bench_basis.py --data DATA [--steps 5000] [--images 30] [--dense]

The learnt basis is a graph convolution of features on a scale that is fixed for all images. It is trained on the
superpixel graphs of BSDS500 train so that the Ritz values of its outputs are small. On each image of val the outputs
are diffused by steps of a lazy walk, and Rayleigh-Ritz gives the embedding. The figures are sums of the K smallest Ritz
values, divided by the sums of the eigenvalues; the median over the images is printed. ``--dense`` prints CPU seconds
and the same ratios for one image of 154 000 superpixels, whose graph takes minutes to build.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segspectral.features import Colour, FeatureStack, Position
from segspectral.heads.gcn import SLOPE, Gcn
from segspectral.images.reader import as_image
from segspectral.pipeline import Pipeline
from segspectral.shared.model import Block, Projection, Recipe
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.multilevel import SPARE, improved, normalized, ritz, smallest_by_levels
from segspectral.spectral.ritz import rayleigh_ritz
from segspectral.spectral.walk import diffused, walk_matrix
from segspectral.values import Affinity, Image

CLUSTERS = (8, 16)
WALKS = (0, 4, 8, 16, 32)
TRAINED_WALKS = 4
"""Steps of the lazy walk between the network and the loss."""

RECIPE = Recipe(features=FeatureStack(colour=Colour(), texture=None, position=Position()))
"""Features that, unlike those of the pipeline, have axes which are the same for all images."""


class Graph(NamedTuple):
    affinity: Affinity
    rows: NDArray[np.float32]
    area: NDArray[np.float64]


def graph(image: Image, pipeline: Pipeline) -> tuple[Graph, dict[Block, int]]:
    superpixels = pipeline.superpixels(image)
    parts = RECIPE.parts(image, superpixels)
    affinity = pipeline.affinity(*pipeline.features(image, superpixels))
    widths = {block: part.shape[1] for block, part in parts.nodes.items()}
    return Graph(affinity, parts.rows, superpixels.area / superpixels.area.sum()), widths


class Walk:
    """The product with D^-1 W, as a function that torch can differentiate."""

    def __init__(self, affinity: Affinity) -> None:
        walk = walk_matrix(affinity.weights)
        self._there, self._back = (_tensor(m) for m in (walk, sp.csr_array(walk.T)))

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return _Product.apply(self._there, self._back, rows)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, there: torch.Tensor, back: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.back = back
        return there @ rows

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, torch.Tensor]:
        return None, None, ctx.back @ gradients[0]


def _tensor(matrix: sp.csr_array) -> torch.Tensor:
    parts = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(*parts, torch.from_numpy(matrix.data), size=matrix.shape)


def learn(graphs: list[Affinity], inputs: list[NDArray[np.float64]], outputs: int, hidden: int, steps: int) -> Gcn:
    """Train the network on all graphs; the loss is the log of the ratio of its Ritz values to the eigenvalues."""
    exact = [spectral_embedding(affinity, max(CLUSTERS))[1] for affinity in graphs]
    walks = [Walk(affinity) for affinity in graphs]
    degrees = [torch.from_numpy(affinity.degree / affinity.degree.sum()) for affinity in graphs]
    network = Gcn.random((inputs[0].shape[1], hidden, hidden, hidden, outputs), seed=0)
    module = network.module().double()
    optimizer = torch.optim.Adam(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1, pct_start=0.1)
    random, total = np.random.default_rng(0), 0.0
    for step in range(steps):
        at = int(random.integers(len(graphs)))
        walk, degree = walks[at], degrees[at]
        rows = torch.from_numpy(inputs[at] + random.normal(scale=0.1 * inputs[at].std(), size=inputs[at].shape))
        for linear in module[0].children():
            if isinstance(linear, torch.nn.Linear):
                rows = torch.nn.functional.leaky_relu(linear(torch.cat([walk(rows), rows], dim=1)), SLOPE)
        rows = module[-1](rows)
        for _ in range(TRAINED_WALKS):
            rows = (rows + walk(rows)) / 2
        rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
        rows = rows / (degree[:, None] * rows**2).sum(dim=0).sqrt().clamp_min(1e-12)
        gram, within = (rows.T @ (degree[:, None] * other) for other in (rows, walk(rows)))
        # Much jitter would be a way around the constraint: columns that are all but equal.
        factor = torch.linalg.cholesky(gram + 1e-7 * torch.eye(len(gram), dtype=gram.dtype))
        half = torch.linalg.solve_triangular(factor, (within + within.T) / 2, upper=False)
        values = 1 - torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, half.T, upper=False)).flip(0)
        ratios = [values[:k].clamp_min(1e-9).sum() / exact[at][:k].sum() for k in CLUSTERS]
        loss = torch.log(torch.stack(ratios)).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 500 == 499:
            print(f"step {step + 1}: {total / 500 / len(CLUSTERS):.3f} mean log ratio", flush=True)
            total = 0.0
    return network.trained(module)


def bases(network: Gcn, affinity: Affinity, X: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the starts, each (N, outputs): the learnt one, random functions of the same features, random numbers."""
    random, outputs = np.random.default_rng(0), len(network.last.biases[-1])
    weights = random.normal(size=(X.shape[1], outputs)) / np.sqrt((X**2).sum(axis=1).mean())
    relu = np.maximum(X @ weights + random.normal(scale=0.5, size=outputs), 0)
    learnt = network(X, walk_matrix(affinity.weights))
    return {"learnt": learnt, "random ReLU": relu, "random": random.normal(size=(len(X), outputs))}


def superpixel_graphs(network: Gcn, graphs: list[Affinity], inputs: list[NDArray[np.float64]]) -> None:
    ratios: dict[tuple[str, int], list[list[float]]] = {}
    for affinity, X in zip(graphs, inputs, strict=True):
        exact = spectral_embedding(affinity, max(CLUSTERS))[1]
        for name, rows in bases(network, affinity, X).items():
            for steps in WALKS:
                spanned = np.column_stack([diffused(rows, affinity, steps), np.ones(len(X))])
                found = [rayleigh_ritz(spanned, affinity, k, tolerance=1e-12) for k in CLUSTERS]
                line = [r[1].sum() / exact[:k].sum() if r else np.nan for r, k in zip(found, CLUSTERS, strict=True)]
                ratios.setdefault((name, steps), []).append(line)
    print(f"\n{len(graphs)} graphs of BSDS500 val, about {len(graphs[0])} nodes; K = {CLUSTERS}")
    print(
        "| basis | " + " | ".join(f"{steps} steps of the walk" for steps in WALKS) + " |\n|---|" + "---|" * len(WALKS)
    )
    for name in dict.fromkeys(name for name, _ in ratios):
        cells = [" ".join(f"{x:.3f}" for x in np.nanmedian(ratios[name, steps], axis=0)) for steps in WALKS]
        print(f"| {name} | {' | '.join(cells)} |")


def dense(network: Gcn, affinity: Affinity, X: NDArray[np.float64], k: int = 8) -> None:
    """Measure Lanczos, and every start after each round of the same filter."""
    clock = time.process_time
    print(f"\n{len(affinity)} nodes, K = {k}: CPU seconds, ratio to the eigenvalues' sum", flush=True)
    begin = clock()
    exact = spectral_embedding(affinity, k, exact_below=len(affinity))[1].sum()
    print(f"| Lanczos to machine precision | {clock() - begin:.1f} s | 1 |", flush=True)
    begin = clock()
    loose = sp.linalg.eigsh(affinity.normalized, k, which="LA", tol=1e-3, ncv=64, rng=0)[0]
    print(f"| Lanczos, tolerance .001 | {clock() - begin:.1f} s | {(1 - loose).sum() / exact:.3f} |", flush=True)
    begin = clock()
    values = smallest_by_levels(affinity.weights, k)[0]
    print(f"| levels of merged nodes | {clock() - begin:.1f} s | {values.sum() / exact:.4f} |", flush=True)
    matrix, root = normalized(affinity.weights.astype(np.float64))
    for name in ("learnt", "random ReLU", "random"):
        begin = clock()
        rows = diffused(bases(network, affinity, X)[name], affinity, 8)
        values, vectors = ritz(matrix, rows * root[:, None])
        vectors = vectors[:, : k + SPARE]  # as many as the levels carry
        line = [f"{clock() - begin:.1f} s {values[:k].sum() / exact:.2f}"]
        for _ in range(6):
            values, vectors = improved(matrix, vectors, 1 - values[vectors.shape[1] - 1], k, rounds=1, tolerance=0)
            line.append(f"{clock() - begin:.1f} s {values[:k].sum() / exact:.3f}")
        print(f"| {name}, 8 steps, then rounds of the filter | {' | '.join(line)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--images", type=int, default=30, help="of val")
    parser.add_argument("--train", type=int, default=200, help="of train")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--outputs", type=int, default=48)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--no-contours", action="store_true", help="the graphs without what contours hold back")
    parser.add_argument("--dense", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = Pipeline.model_validate({"affinity": {"contour": None}} if arguments.no_contours else {})
    root = arguments.data / "bsds500"
    paths = {split: sorted((root / split / "images").glob("*.jpg")) for split in ("train", "val")}
    with threadpool_limits(1):
        train, widths = zip(*(graph(as_image(p), pipeline) for p in paths["train"][: arguments.train]), strict=True)
        unseen = [graph(as_image(path), pipeline)[0] for path in paths["val"][: arguments.images]]
        rows, area = (np.concatenate([g[at] for g in train]) for at in (1, 2))
        projection = Projection.learn(rows[::10], area[::10], widths[0], RECIPE.features)
        scale = projection(rows[::10]).std(axis=0)

        def inputs(graphs: list[Graph] | tuple[Graph, ...]) -> list[NDArray[np.float64]]:
            return [(projection(g.rows) / scale).astype(np.float64) for g in graphs]

        begin = time.process_time()
        affinities = [g.affinity for g in train]
        network = learn(affinities, inputs(train), arguments.outputs, arguments.hidden, arguments.steps)
        print(f"{time.process_time() - begin:.0f} CPU seconds for {len(train)} graphs")
        superpixel_graphs(network, [g.affinity for g in unseen], inputs(unseen))
        if arguments.dense:
            image = cv2.resize(as_image(paths["val"][0]).uint8, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            many = pipeline.model_copy(
                update={"superpixels": pipeline.superpixels.model_copy(update={"count": 100_000})}
            )
            whole = graph(as_image(image), many)[0]
            dense(network, whole.affinity, inputs([whole])[0])


if __name__ == "__main__":
    main()
