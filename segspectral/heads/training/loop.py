"""The trainer of all heads, and the batches that it trains on. It imports torch: import it inside functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.heads.training.run import Progress, Run, descend
from segspectral.values import Affinity

__all__ = [
    "Batch",
    "RowBatches",
    "Subgraphs",
    "orthonormal",
    "quadratic",
    "rayleigh_quotients",
    "symmetric_product",
    "train",
]


@dataclass(frozen=True)
class Batch:
    """A subgraph that one step of training sees.

    Parameters
    ----------
    nodes : (B,) int64, which nodes of the graph
    weights : (B, B) sparse CSR float64, symmetric
    degree : (B,) float64, its row sums
    seeds : (B,) float64, how often each node is a seed; their sum is S. A mean over all nodes of the graph is
        estimated by one weighted by ``seeds``
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    degree: torch.Tensor
    seeds: torch.Tensor


class Subgraphs:
    """Batches of one global graph: the whole graph if it has at most ``size`` nodes, otherwise seeds with neighbours.

    A batch has S seeds, each with ``WALKS`` ends of random walks of ``steps`` steps from it (one step of the walk:
    neighbours, in proportion to their weight; more steps, of the lazy walk: the kernel (I + D^-1 W)^q / 2^q). With A
    the matrix that has d_i / WALKS at (seed i, end j), the batch's graph is (A + A') / 2. Its expectation, times N / S,
    is the whole graph with its true degrees, so that each quadratic form of a batch estimates the one of the whole
    graph without bias. Bare random nodes would hardly have an edge among them.

    Seeds go through the nodes in a random order, again and again; all batches have equally many seeds, so that there
    is no tail batch of too low a rank.

    Raises
    ------
    SettingsError
        A batch would have too few seeds for ``rank`` orthogonal columns.
    """

    WALKS = 3

    def __init__(
        self, affinity: Affinity, size: int, *, rank: int, seed: int, steps: int = 1, device: str = "cpu"
    ) -> None:
        weights = affinity.weights.astype(np.float64)
        # Weights have no unit; with a mean degree of 1 the guards against division by zero have one meaning.
        weights.data /= max(affinity.degree.mean(), 1e-300)
        self._weights = weights
        self._degree = affinity.degree / max(affinity.degree.mean(), 1e-300)
        self._rng = np.random.default_rng(seed)
        self._steps = steps
        self._device = device
        self._whole: Batch | None = None
        if len(affinity) <= size:
            self._whole = self._batch(np.arange(len(affinity)), weights, np.ones(len(affinity)))
            return
        self._seeds = size // (1 + self.WALKS)
        if self._seeds < 4 * rank:
            raise SettingsError(
                f"batch_size={size} is too small for {rank} columns that are to be orthogonal; give at least "
                f"{4 * rank * (1 + self.WALKS)}, better five times as much"
            )
        self._cumulated = np.cumsum(weights.data)
        self._order = np.empty(0, dtype=np.int64)

    @property
    def whole(self) -> bool:
        """Whether each batch is the whole graph."""
        return self._whole is not None

    def draw(self) -> Batch:
        if self._whole is not None:
            return self._whole
        while len(self._order) < self._seeds:
            self._order = np.append(self._order, self._rng.permutation(np.flatnonzero(self._degree > 0)))
        seeds, self._order = self._order[: self._seeds], self._order[self._seeds :]
        ends = np.repeat(seeds, self.WALKS)
        for _ in range(self._steps):
            stepped = self._step(ends)
            ends = stepped if self._steps == 1 else np.where(self._rng.random(len(ends)) < 0.5, ends, stepped)
        nodes, place = np.unique(np.concatenate([np.repeat(seeds, self.WALKS), ends]), return_inverse=True)
        source, target = place[: len(ends)], place[len(ends) :]
        weight = np.repeat(self._degree[seeds], self.WALKS) / (2 * self.WALKS)
        half = sp.csr_array((weight, (source, target)), shape=(len(nodes), len(nodes)))
        count = np.bincount(place[: len(ends)], minlength=len(nodes)) / self.WALKS
        return self._batch(nodes, sp.csr_array(half + half.T), count)

    def _step(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        indptr = self._weights.indptr
        before = np.where(indptr[nodes] > 0, self._cumulated[indptr[nodes] - 1], 0.0)
        at = before + self._rng.random(len(nodes)) * (self._cumulated[indptr[nodes + 1] - 1] - before)
        edge = np.clip(np.searchsorted(self._cumulated, at, side="right"), indptr[nodes], indptr[nodes + 1] - 1)
        return self._weights.indices[edge].astype(np.int64)

    def _batch(self, nodes: NDArray[np.int64], weights: sp.csr_array, seeds: NDArray[np.float64]) -> Batch:
        degree = np.asarray(weights.sum(axis=1)).ravel()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse")
            matrix = torch.sparse_csr_tensor(
                torch.from_numpy(weights.indptr.astype(np.int64)),
                torch.from_numpy(weights.indices.astype(np.int64)),
                torch.from_numpy(weights.data),
                size=weights.shape,
                check_invariants=False,
            )
        tensors = (torch.from_numpy(nodes), matrix, torch.from_numpy(degree), torch.from_numpy(seeds))
        return Batch(*(tensor.to(self._device) for tensor in tensors))


class RowBatches:
    """Batches of row numbers in a random order, again and again; all rows at once if there are at most ``size``."""

    def __init__(self, rows: int, size: int, *, seed: int, device: str = "cpu") -> None:
        self._rng = np.random.default_rng(seed)
        self._rows, self._size, self._device = rows, min(size, rows), device
        self._order = np.empty(0, dtype=np.int64)

    def draw(self) -> torch.Tensor:
        while len(self._order) < self._size:
            self._order = np.append(self._order, self._rng.permutation(self._rows))
        rows, self._order = self._order[: self._size], self._order[self._size :]
        return torch.from_numpy(rows).to(self._device)


def train(
    parameters: Iterable[torch.Tensor],
    loss: Callable[[Any, float], torch.Tensor],
    draw: Callable[[], Any],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.0,
    patience: int = 0,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Adam with cosine decay and gradients clipped to norm 1.

    Parameters
    ----------
    parameters : changed in place
    loss : of a batch and of the fraction of the steps that is done, in [0, 1]
    draw : the next batch
    patience, time_limit, progress : of ``descend``
    """
    parameters = list(parameters)
    # One kernel for all parameters: the networks are small, and the step of Adam costs a third of theirs otherwise.
    fused = parameters[0].device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))

    def measure(done: float) -> float:
        value = loss(draw(), done)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        return float(value.detach())

    def move() -> float:
        rate = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        return rate

    return descend(measure, move, steps=steps, patience=patience, time_limit=time_limit, progress=progress)


class _SymmetricProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ctx.weights = weights
        return weights @ values

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, ctx.weights @ gradients[0]


def symmetric_product(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """weights @ values for a symmetric sparse matrix, whose gradient needs no transpose."""
    return _SymmetricProduct.apply(weights, values)


def quadratic(batch: Batch, Y: torch.Tensor) -> torch.Tensor:
    """tr(Y' L Y) with L = D - W of the batch."""
    return (batch.degree[:, None] * Y * Y).sum() - (Y * symmetric_product(batch.weights, Y)).sum()


class _RitzValues(torch.autograd.Function):
    """With Q = Y T, Q' D Q = I and Q' L Q = U diag(theta) U', the derivative of theta_j by Y is, for v = T u_j,
    2 (L - theta_j D) Y v v': that of Cholesky, solve and eigh together, and a quarter of their time."""

    @staticmethod
    def forward(ctx: Any, raw: torch.Tensor, batch: Batch) -> torch.Tensor:
        degree = batch.degree
        Q, T = orthonormal(raw, degree)
        applied = degree[:, None] * Q - batch.weights @ Q
        form = Q.T @ applied
        values, U = torch.linalg.eigh((form + form.T) / 2)
        residual = applied @ U - degree[:, None] * (Q @ (U * values))
        ctx.save_for_backward(residual, T @ U)
        ctx.dtype = raw.dtype
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        residual, vectors = ctx.saved_tensors
        return (2 * (residual * gradients[0]) @ vectors.T).to(ctx.dtype), None


def rayleigh_quotients(batch: Batch, raw: torch.Tensor) -> torch.Tensor:
    """The Ritz values of the columns of ``raw`` (B, M), rising: (M,) float64; none is below the eigenvalue of its rank.

    The gradient is that through the orthogonal layer.
    """
    return _RitzValues.apply(raw, batch)


def orthonormal(Y: torch.Tensor, degree: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The orthogonal layer: Q = Y T with Q' D Q = I, in float64.

    T is the inverse of Cholesky's factor of the Gram matrix of the columns, scaled to unit length first. There is no
    jitter: with one of 1e-2 a network can pretend a loss far below the sum of the eigenvalues, by columns that are
    nearly equal. Where Cholesky fails, or nearly so, the factor is that of Householder's QR.

    Parameters
    ----------
    Y : (B, K)
    degree : (B,)

    Returns
    -------
    Q : (B, K)
    T : (K, K)
    """
    Y = Y.double()
    size = (degree @ (Y * Y)).clamp_min(1e-60).sqrt()
    unit = Y / size
    lower, failed = torch.linalg.cholesky_ex(unit.T @ (degree[:, None] * unit))
    if failed or lower.diagonal().min() < 1e-3:
        # Rows without degree have no share in the constraint; they follow the others through the triangular factor.
        _, upper = torch.linalg.qr(degree.clamp_min(0).sqrt()[:, None] * unit)
        diagonal = upper.diagonal()
        upper = upper + torch.diag(torch.where(diagonal.abs() < 1e-12, 1e-12 - diagonal, torch.zeros_like(diagonal)))
    else:
        upper = lower.T
    T = torch.linalg.solve_triangular(upper, torch.eye(len(size), dtype=Y.dtype, device=Y.device), upper=True)
    return unit @ T, T / size[:, None]
