"""Robust Spectral Map: a penalty for orthogonality, and a kernel whose bandwidth is drawn again for each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.gcn import Gcn
from segspectral.heads.network_head import Effort, NetworkHead, Spare
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import with_best_last_layer
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch
    from segspectral.heads.training.run import Progress, Run

__all__ = ["RSM"]

BANDWIDTHS = 8
"""Number of kernels that the batches choose from; each keeps a copy of the weights."""


class RSM(NetworkHead):
    """Robust Spectral Map (Rykov and Hess, Robust Deep Spectral Clustering): the ratio cut with randomised kernels.

    The paper is an extended abstract without numbered equations; its objective is L_RC + lambda ||Z' Z - I||_F^2. For
    z = f(x) this head minimises

        T + penalty * stop_gradient(T) * ||Z' Z / N - I||_F^2,    T = 1/2 sum_ij S_ij |z_i - z_j|^2 / N

    where S is a kernel whose bandwidth is that of the affinity times a factor, drawn for each batch log-uniformly
    between 1 / spread and spread. With a fixed weight w of the penalty the optimum has Z' Z / N = I - Lambda / (2 w):
    columns whose eigenvalue is above 2 w vanish. In units of the trace T, which no eigenvalue exceeds, a penalty above
    1/2 loses none.

    Parameters
    ----------
    penalty : weight of the orthogonality in units of T
    spread : range of the factors of the bandwidth; 1 is a fixed bandwidth
    spare : columns beyond K that the network has in training, as in ``SpectralNet``

    Published values
    ----------------
    spare 0 and stochastic gradient descent; hidden, penalty, spread and the number of steps are not published. On 9600
    images of MNIST (hidden (256, 256), one seed) 600 steps reach an NMI of .60, and 1500 steps .72.

    Differs from the paper
    ----------------------
    1. S_ij = (W_ij / max W)^(1 / factor^2), which for a Gaussian W is the Gaussian of ``factor`` times the bandwidth;
       ``BANDWIDTHS`` factors are drawn once, and each batch takes one of them.
    2. Batches are seeds with sampled neighbours of one global graph (``training.Subgraphs``).
    3. Adam replaces plain stochastic gradient descent.
    4. At the end the outputs are made orthonormal on the whole training set and turned by Rayleigh-Ritz, under the
       degrees; the penalty alone leaves the columns neither orthogonal nor of one length. The last layer is fitted
       anew on all hidden units, as in ``SpectralNet``.
    5. The penalty is in units of T. On two moons the eigenvalues are near 1e-5, and a fixed penalty would outweigh
       them entirely.
    6. k-means runs once, as in ``SpectralNet``, and its centres are kept.
    """

    EFFORT = Effort((128, 128), 600, 1e-2)
    SMALL_EFFORT = Effort((64, 64), 160, 2e-2)

    penalty: Annotated[float, Field(gt=0)] = 1.0
    spread: Annotated[float, Field(ge=1)] = 2.0
    spare: Spare = 6

    def _refit(
        self, network: Mlp | Gcn, X: NDArray[np.float64], affinity: Affinity, walk: sp.csr_array | None
    ) -> Mlp | Gcn:
        return with_best_last_layer(network, X, affinity, self.n_clusters, walk, most=self._most_outputs)

    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp | Gcn, Run]:
        import torch

        from segspectral.heads.training.loop import Subgraphs, quadratic

        rng = np.random.default_rng(seed)
        columns = min(self.n_clusters + self.spare, len(X))
        factors = self.spread ** rng.uniform(-1, 1, BANDWIDTHS) if self.spread > 1 else np.ones(1)
        kernels = [
            Subgraphs(rebandwidthed(affinity, f), self.batch_size, rank=columns, seed=seed, device=self.device)
            for f in factors
        ]

        def draw() -> Batch:
            return kernels[rng.integers(len(kernels))].draw()

        def loss(raw: torch.Tensor, batch: Batch, done: float) -> torch.Tensor:
            Z = raw.double()
            count = batch.seeds.sum()
            gram = Z.T @ (batch.seeds[:, None] * Z) / count
            eye = torch.eye(columns, dtype=Z.dtype, device=Z.device)
            trace = quadratic(batch, Z) / count
            return trace + self.penalty * trace.detach() * ((gram - eye) ** 2).sum()

        return self._fit_network(X, affinity, columns, seed, loss, draw, progress)


def rebandwidthed(affinity: Affinity, factor: float) -> Affinity:
    """A Gaussian affinity with ``factor`` times its bandwidth; edges that would vanish keep 1e-12 of the largest."""
    weights = affinity.weights.astype(np.float64)
    if weights.nnz:
        weights.data = np.maximum((weights.data / weights.data.max()) ** (factor**-2), 1e-12)
    return Affinity(sp.csr_array(weights))
