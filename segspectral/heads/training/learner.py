"""A network that is trained on the nodes of a graph, for all heads that train one. Imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from segspectral.heads.gcn import SLOPE, Encoder, Gcn, GraphConvolution, convolution
from segspectral.heads.networks import Mlp, standardization
from segspectral.heads.training.loop import RowBatches, train
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity

__all__ = ["Learner", "Neighborhoods", "distil"]

WHOLE = 4096
"""A graph convolution on at most this many nodes is distilled on the whole graph."""

Hop = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Rows of a walk (T, S), their transpose, and the positions of the T targets among the S sources."""


class Learner:
    """A network in training; called with numbers of nodes (B,) it gives its outputs (B, outputs).

    It sees standardised features, and ``trained`` gives the network of the features themselves.

    Parameters
    ----------
    outputs : columns
    noise : standard deviation of the noise that is added to the inputs, in units of the typical length of an edge
    reconstruct : also learn a linear map from the last hidden layer back to the inputs (``reconstruction``)
    """

    def __init__(
        self,
        encoder: Encoder,
        hidden: tuple[int, ...],
        outputs: int,
        X: NDArray[np.float64],
        affinity: Affinity,
        *,
        seed: int,
        device: str = "cpu",
        noise: float = 0.0,
        reconstruct: bool = False,
    ) -> None:
        self._convolution = convolution(encoder)
        self._shift, self._turn = _inputs(X, self._convolution, seed)
        inputs = (X - self._shift) / self._turn if self._convolution is None else (X - self._shift) @ self._turn
        self._inputs = torch.from_numpy(inputs).float().to(device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._noise = noise * edge_length(inputs, affinity, seed) / np.sqrt(inputs.shape[1]) if noise else 0.0
        widths = (inputs.shape[1], *hidden, outputs)
        self._near: torch.Tensor | None = None
        self._network: Mlp | Gcn
        if self._convolution is None:
            self._network = Mlp.random(widths, seed, slope=SLOPE)
        else:
            self._network = Gcn.random(widths, seed)
            count = self._convolution.neighbors
            self._neighborhoods = Neighborhoods(walk_matrix(affinity.weights), count, seed=seed, device=device)
        self._module: Any = self._network.module(device)
        self._decoder: torch.nn.Module | None = None
        if reconstruct:
            self._decoder = Mlp.random((widths[-2], widths[0]), seed + 2, last=1.0).module(device)

    @property
    def sees_graph(self) -> bool:
        return self._convolution is not None

    def parameters(self) -> Iterator[torch.Tensor]:
        yield from self._module.parameters()
        if self._decoder is not None:
            yield from self._decoder.parameters()

    def __call__(self, nodes: torch.Tensor) -> torch.Tensor:
        if self._convolution is None:
            hidden = self._module[:-1](self._rows(nodes))
        else:
            hidden = self._convolved(nodes, self._convolution.dropout)
        if self._decoder is not None:
            target = self._inputs[nodes]
            wrong = (self._decoder(hidden) - target) ** 2
            self.reconstruction = wrong.sum() / (target**2).sum().clamp_min(1e-12)
        return self._module[-1](hidden)

    reconstruction: torch.Tensor
    """The share of the inputs' squares that the decoder missed in the last call."""

    def trained(self) -> Mlp | Gcn:
        """The present network, of the features themselves, as numpy arrays."""
        if isinstance(self._network, Mlp):
            return self._network.trained(self._module).after(self._shift, self._turn)
        return self._network.trained(self._module).after(self._shift, self._turn)

    def _rows(self, nodes: torch.Tensor) -> torch.Tensor:
        rows = self._inputs[nodes]
        if self._noise:
            rows = rows + self._noise * torch.randn(rows.shape, generator=self._generator, device=rows.device)
        return rows

    def _convolved(self, nodes: torch.Tensor, dropout: float) -> torch.Tensor:
        linears: Any = self._module[0]
        hops, sources = self._neighborhoods.hops(nodes, len(linears))
        rows = self._rows(sources)
        whole = len(nodes) == len(self._inputs)
        for depth, (linear, (walk, back, targets)) in enumerate(zip(linears, hops, strict=True)):
            if depth == 0 and whole and not self._noise:
                if self._near is None:  # the same in each step
                    self._near = walk @ rows
                near = self._near
            else:
                near = _Product.apply(walk, back, rows)
            rows = torch.nn.functional.leaky_relu(linear(torch.cat([near, rows[targets]], dim=1)), SLOPE)
            if dropout:
                kept = torch.rand(rows.shape, generator=self._generator, device=rows.device) >= dropout
                rows = rows * kept / (1 - dropout)
        # All nodes at once are there in their own order.
        return rows[nodes] if whole else rows


def distil(
    learner: Learner,
    nodes: NDArray[np.int64],
    target: NDArray[np.float32],
    *,
    seed: int,
    steps: int,
    device: str = "cpu",
) -> None:
    """Fit the softmax of the outputs at ``nodes`` (S,) to memberships (S, K) by cross-entropy."""
    wanted, rows = torch.from_numpy(target).to(device), torch.from_numpy(nodes).to(device)
    # Drawn neighbourhoods of a small graph would be most of it, at many times the cost of all of it.
    size = len(target) if learner.sees_graph and len(target) <= WHOLE else 512
    batches = RowBatches(len(target), size, seed=seed, device=device)

    def loss(batch: torch.Tensor, done: float) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(learner(rows[batch]), wanted[batch])

    train(learner.parameters(), loss, batches.draw, steps=steps, learning_rate=5e-3)


class Neighborhoods:
    """The neighbours of nodes, at most ``count`` of each (Hamilton, Ying and Leskovec 2017, algorithm 2).

    Nodes with more neighbours get ``count`` draws, with replacement and in proportion to the weights: the mean of a
    function over them has the mean over all neighbours as its expectation. All nodes at once are not sampled.

    Parameters
    ----------
    walk : (N, N) ``walk_matrix``
    """

    def __init__(self, walk: sp.csr_array, count: int, *, seed: int, device: str = "cpu") -> None:
        self._walk, self._count, self._device = walk, count, device
        self._rng = np.random.default_rng(seed)
        self._running = np.cumsum(walk.data)
        self._whole: Hop | None = None

    def hops(self, nodes: torch.Tensor, layers: int) -> tuple[list[Hop], torch.Tensor]:
        """The hop of each layer, first layer first, and the nodes (S,) whose inputs the first layer needs."""
        if len(nodes) == self._walk.shape[0]:
            if self._whole is None:
                self._whole = self._hop(self._walk, np.arange(len(nodes)))
            return [self._whole] * layers, torch.arange(len(nodes), device=self._device)
        targets = nodes.cpu().numpy()
        hops: list[Hop] = []
        for _ in range(layers):
            rows, sources = self.rows(targets)
            hops.append(self._hop(rows, np.searchsorted(sources, targets)))
            targets = sources
        return hops[::-1], torch.from_numpy(targets).to(self._device)

    def rows(self, nodes: NDArray[np.int64]) -> tuple[sp.csr_array, NDArray[np.int64]]:
        """(B, S) the walk from the nodes to the S sources that are drawn, and the sources, rising, ``nodes`` among
        them."""
        indptr = self._walk.indptr.astype(np.int64)
        begin, size = indptr[nodes], indptr[nodes + 1] - indptr[nodes]
        few, many = np.flatnonzero(size <= self._count), np.flatnonzero(size > self._count)
        step = np.arange(size[few].sum()) - np.repeat(np.cumsum(size[few]) - size[few], size[few])
        all_of = np.repeat(begin[few], size[few]) + step
        # In the running sum over all rows, each of which sums to one, row i covers the numbers from i to i + 1.
        at = nodes[many][:, None] + self._rng.random((len(many), self._count))
        found = np.searchsorted(self._running, at.ravel()).reshape(at.shape)
        drawn = np.clip(found, begin[many][:, None], (begin + size)[many][:, None] - 1).ravel()
        row = np.concatenate([np.repeat(few, size[few]), np.repeat(many, self._count)])
        value = np.concatenate([self._walk.data[all_of], np.full(drawn.size, 1 / self._count)])
        target = self._walk.indices[np.concatenate([all_of, drawn])].astype(np.int64)
        sources, place = np.unique(np.concatenate([target, nodes]), return_inverse=True)
        return sp.csr_array((value, (row, place[: len(target)])), shape=(len(nodes), len(sources))), sources

    def _hop(self, rows: sp.csr_array, targets: NDArray[np.int64]) -> Hop:
        return (
            _tensor(rows).to(self._device),
            _tensor(sp.csr_array(rows.T)).to(self._device),
            torch.from_numpy(targets).to(self._device),
        )


class _Product(torch.autograd.Function):
    """walk @ values, with the transpose ready for the gradient."""

    @staticmethod
    def forward(ctx, walk, back, values):  # type: ignore[no-untyped-def]
        ctx.back = back
        return walk @ values

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return None, None, ctx.back @ gradient


def _tensor(matrix: sp.csr_array) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            size=matrix.shape,
            check_invariants=False,
        )


def _inputs(
    X: NDArray[np.float64], graph: GraphConvolution | None, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How features become inputs: a shift (D,), and divisors (D,) or, for convolutions, a matrix (D, inputs).

    A graph convolution on hundreds of columns tells single nodes apart and learns the graph by heart. Many columns
    therefore enter by their principal components, on a common scale.
    """
    if graph is None:
        return standardization(X)
    if X.shape[1] <= graph.components:
        shift, scale = standardization(X)
        return shift, np.diag(1 / scale)
    from sklearn.decomposition import PCA

    pca = PCA(min(graph.components, len(X)), svd_solver="randomized", random_state=seed).fit(X)
    turn = pca.components_.T
    return pca.mean_, turn / max(float(np.sqrt(pca.explained_variance_.mean())), 1e-12)


def edge_length(X: NDArray[np.float64], affinity: Affinity, seed: int) -> float:
    """Median length of 5000 edges of a graph."""
    edges = affinity.weights.tocoo()
    some = np.random.default_rng(seed).integers(0, max(edges.nnz, 1), 5000 if edges.nnz else 0)
    lengths = np.linalg.norm(X[edges.row[some]] - X[edges.col[some]], axis=1)
    return float(np.median(lengths)) if lengths.size else 0.0
