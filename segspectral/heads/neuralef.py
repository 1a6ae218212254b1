"""Neural eigenfunctions: in order, by deflation inside the loss, or quantised for segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.gcn import Gcn
from segspectral.heads.network_head import Effort, NetworkHead, Spare
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Readout, Softmax, temperature, with_best_last_layer
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch
    from segspectral.heads.training.run import Progress, Run

__all__ = ["NeuralEF"]


class NeuralEF(NetworkHead):
    """Neural eigenfunctions (Deng, Shi and Zhu 2022, eq. 9 and 10; quantised: Deng and Luo 2023).

    With psi_j the j-th output, scaled so that psi_j' D psi_j = 1, the kernel K = D (I + D^-1 W)^q / 2^q, and
    R_ij = stop_gradient(psi_i)' K psi_j, it maximises

        sum_j ( R_jj - sum_{i<j} R_ij^2 / R_ii )                                        (ordered)
        sum_j R_jj / K - alpha / K sum_{i<j} R_ij^2                                     (quantised)

    The first has one optimum: psi_j is the j-th eigenvector. In the second psi is a Gumbel softmax whose temperature
    falls from 1 to 0.3, and the largest output is the cluster.

    Parameters
    ----------
    quantized : whether to learn clusters instead of eigenvectors
    power : q; an even number of steps of the lazy random walk makes the spectrum (1 - lambda / 2)^q decay. With a flat
        spectrum the eigenvectors do not separate
    alpha : weight of the orthogonality in the quantised form
    spare : columns beyond K that are trained, too, when not quantised

    Published values
    ----------------
    hidden (32, 32) for each eigenfunction by itself; 2000 steps at 0.001 in batches of 256; alpha 0.08 for 256
    clusters. To find the eigenvectors one by one rather than clusters, 1000 steps at 0.005 with hidden (256, 256) and
    spare 2 recover all ten of the digits with |cos| > 0.99.

    Differs from the paper
    ----------------------
    1. The kernel is a power of the lazy walk on a sparse graph, which a mini-batch estimates from the ends of random
       walks (``training.Subgraphs``); the papers have dense classical kernels or products of features.
    2. One network has K outputs instead of K networks with one each.
    3. The columns are scaled under the degrees, in each batch by itself and without a running mean.
    4. The ordered form takes K - c D as the kernel, with c such that the smallest R_jj is half of the largest possible
       value: the eigenvectors are the same, and the spectrum decays whatever the graph. Without it two moons are not
       separated.
    5. The clusters come from k-means with stored centres after Rayleigh-Ritz on all hidden units (ordered), or from the
       largest output (quantised). The second paper maps many clusters to classes by the ground truth instead.
    """

    EFFORT = Effort((128, 128), 800, 1e-2)
    SMALL_EFFORT = Effort((64, 64), 130, 2e-2)

    quantized: bool = False
    power: Annotated[int, Field(ge=1, le=4096)] = 16
    alpha: Annotated[float, Field(ge=0)] = 0.1
    spare: Spare = 6

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
        return with_best_last_layer(network, X, affinity, self.n_clusters, walk, most=self._most_outputs)

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
        uncertainty = affinity.ncut(raw.argmax(axis=1)) / self.n_clusters
        return Softmax(temperature(raw, affinity.degree, uncertainty))


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
