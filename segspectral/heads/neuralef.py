"""Neural eigenfunctions: ordered ones by deflation inside the loss, and the quantised form for segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.gcn import Encoder, Gcn
from segspectral.heads.network_head import (
    BatchSize,
    Device,
    Effort,
    LearningRate,
    NetworkHead,
    Patience,
    Spare,
    Steps,
    TimeLimit,
    Widths,
)
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Readout, Softmax, temperature, with_best_last_layer
from segspectral.spectral.knn import Bandwidth, Neighbors, Symmetrization
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch, Progress, Run

__all__ = ["NeuralEF"]


class NeuralEF(NetworkHead):
    """Neural eigenfunctions (Deng, Shi and Zhu 2022, eq. 9 and 10; quantised: Deng and Luo 2023).

    With psi_j the j-th output, scaled so that psi_j' D psi_j = 1, the kernel K = D (I + D^-1 W)^q / 2^q, and
    R_ij = stop_gradient(psi_i)' K psi_j:

        maximise  sum_j ( R_jj - sum_{i<j} R_ij^2 / R_ii )                              (ordered)
        maximise  sum_j R_jj / K - alpha / K sum_{i<j} R_ij^2                           (quantised)

    The first has one optimum: psi_j is the j-th eigenvector. In the second psi is a Gumbel softmax, the
    temperature of which falls from 1 to 0.3, and the largest output is the cluster.

    Parameters
    ----------
    spare : eigenvectors beyond K that are learnt along, when not quantised
    quantized : learn clusters, not eigenvectors
    power : q, even steps of the lazy random walk make the spectrum (1 - lambda / 2)^q decay; with a flat one the
        eigenvectors do not separate
    alpha : weight of the orthogonality in the quantised form; published: 0.08 for 256 clusters
    encoder : see ``NetworkHead``
    hidden : widths of the hidden layers; published: (32, 32) for each eigenfunction by itself. None is (128, 128),
        (64, 64) for the superpixels of an image
    steps, learning_rate : of Adam with cosine decay; published: 2000 and 0.001. None is 800 and 0.01, 130 and 0.02
        for the superpixels of an image. For eigenvectors one by one rather than
        for clusters: 1000 steps at 0.005 with hidden (256, 256) and spare 2 recover all ten of the digits, |cos| > 0.99
    batch_size : nodes in a batch; published: 256. A graph with at most so many nodes is one batch
    patience, time_limit, device : see ``NetworkHead``

    Differs from the paper
    ----------------------
    1. The kernel is a power of the lazy walk on a sparse graph, in a mini-batch estimated by the ends of random walks
       (``training.Subgraphs``), where the papers have dense classical kernels or products of features.
    2. One network with K outputs instead of K networks.
    3. The columns are scaled under the degrees, in each batch by itself, without a running mean.
    4. The ordered form takes K - c D as the kernel, c such that the smallest R_jj is half of the largest possible: the
       same eigenvectors, and a spectrum that decays whatever the graph. Without it two moons are not separated.
    5. The clusters come from k-means with stored centres after Rayleigh-Ritz on all hidden units (ordered), or from the
       largest output (quantised); the second paper maps many clusters to classes by their truths instead.
    """

    EFFORT = Effort((128, 128), 800, 1e-2)
    SMALL_EFFORT = Effort((64, 64), 130, 2e-2)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        quantized: bool = False,
        power: Annotated[int, Field(ge=1, le=4096)] = 16,
        alpha: Annotated[float, Field(ge=0)] = 0.1,
        hidden: Widths | None = None,
        encoder: Encoder = "mlp",
        spare: Spare = 6,
        steps: Steps | None = None,
        learning_rate: LearningRate | None = None,
        batch_size: BatchSize = 2048,
        patience: Patience = 0,
        time_limit: TimeLimit = None,
        device: Device = "cpu",
        n_neighbors: Neighbors = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.quantized = quantized
        self.power = power
        self.alpha = alpha
        self.hidden = hidden
        self.encoder = encoder
        self.spare = spare
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.patience = patience
        self.time_limit = time_limit
        self.device = device
        self.n_neighbors = n_neighbors
        self.bandwidth = bandwidth
        self.symmetrize = symmetrize
        self.random_state = random_state

    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp | Gcn, Run]:
        import torch

        from segspectral.heads.training.loop import Subgraphs

        columns = self.n_clusters if self.quantized else min(self.n_clusters + self.spare, len(X))
        batches = Subgraphs(affinity, self.batch_size, rank=columns, seed=seed, steps=self.power, device=self.device)
        kernel = _walk(self.power) if batches.whole else _walk(1, lazy=False)
        generator = torch.Generator(self.device).manual_seed(seed)

        def loss(raw: torch.Tensor, batch: Batch, done: float) -> torch.Tensor:
            psi = raw.double()
            if self.quantized:
                uniform = torch.rand(raw.shape, generator=generator, device=raw.device, dtype=psi.dtype)
                gumbel = -(-uniform.clamp(1e-12, 1 - 1e-12).log()).log()
                tau = 0.3 + 0.7 * 0.5 * (1 + np.cos(np.pi * done))
                psi = torch.softmax((psi + gumbel) / tau, dim=1)
            psi = psi / (batch.degree[:, None] * psi**2).sum(dim=0).sqrt().clamp_min(1e-12)
            fixed = psi.detach()  # the left factor of R, and the one that is known before the gradient
            applied = kernel(batch, fixed)
            if not self.quantized:
                shift = 1 - 2 * (1 - (fixed * applied).sum(dim=0).min())
                applied = applied - shift * batch.degree[:, None] * fixed
            return self._loss(psi, applied)

        return self._fit_network(X, affinity, columns, seed, loss, batches.draw, progress)

    def _refit(
        self, network: Mlp | Gcn, X: NDArray[np.float64], affinity: Affinity, walk: sp.csr_array | None
    ) -> Mlp | Gcn:
        if self.quantized:
            return network
        return with_best_last_layer(network, X, affinity, self.n_clusters, walk)

    def _loss(self, psi: torch.Tensor, applied: torch.Tensor) -> torch.Tensor:
        """Has the gradient of the criterion; ``applied`` is K psi without gradient."""
        R = applied.T @ psi
        diagonal = R.diagonal()
        k = self.n_clusters
        before = R.triu(1)
        if self.quantized:
            return -diagonal.sum() / k + self.alpha / k * (before**2).sum()
        # R_jj has its gradient through both factors, R_ij for i < j through the second only.
        return -diagonal.sum() + (before**2 / diagonal.detach().clamp_min(1e-12)[:, None]).sum() / 2

    def _read(self, raw: NDArray[np.float64], affinity: Affinity) -> Readout | None:
        if not self.quantized:
            return super()._read(raw, affinity)
        doubt = affinity.ncut(raw.argmax(axis=1)) / self.n_clusters
        return Softmax(temperature(raw, affinity.degree, doubt))


def _walk(steps: int, *, lazy: bool = True) -> Callable[[Batch, torch.Tensor], torch.Tensor]:
    """D (I + D^-1 W)^steps / 2^steps as a function of a batch and values (B, K); not ``lazy``: W itself."""

    def apply(batch: Batch, values: torch.Tensor) -> torch.Tensor:
        if not lazy:
            return batch.weights @ values
        degree = batch.degree.clamp_min(1e-300)[:, None]
        for _ in range(steps):
            values = (values + (batch.weights @ values) / degree) / 2
        return batch.degree[:, None] * values

    return apply
