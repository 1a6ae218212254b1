"""SpectralNet: a network with orthonormal outputs that is trained on the Rayleigh quotient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.heads.gcn import Gcn
from segspectral.heads.network_head import Effort, NetworkHead, Spare
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import with_best_last_layer
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch
    from segspectral.heads.training.run import Progress, Run

__all__ = ["SpectralNet"]


class SpectralNet(NetworkHead):
    """SpectralNet (Shaham, Stanton, Li, Nadler, Basri and Kluger 2018, eq. 5 with the constraint eq. 3).

    Over networks f it minimises

        tr(Y' (D - W) Y)   with Y = f(X) R and R such that Y' D Y = I

    R is the inverse of Cholesky's factor of f(X)' D f(X), recomputed in each batch; the gradient flows through it.
    The minimum over all Y is the sum of the K smallest eigenvalues of I - D^-1/2 W D^-1/2, and no loss is below it.

    Parameters
    ----------
    spare : columns beyond K that the network has in training

    Published values
    ----------------
    hidden (1024, 1024, 512), spare 0, batches of 1024; up to 30 epochs, that is 1750 steps for 60000 points, with a
    patience of 10 epochs; a learning rate of 0.001, divided by 10 on plateaus. The affinity is that of a Siamese
    network (section 3.2), on MNIST of codes, which is ``space="both"``.

    Differs from the paper
    ----------------------
    1. The criterion is weighted by the degrees (the normalized cut), where eq. 5 is unnormalised (the ratio cut).
    2. Batches are seeds with sampled neighbours of one global kNN graph (``training.Subgraphs``) instead of random
       points with a graph of their own: those lose fine structure, and most random nodes have no edge among them.
    3. In each step R comes from the batch itself, not from another batch; at the end it comes from the whole training
       set, and Rayleigh-Ritz then turns it to single eigenvectors. Cholesky runs in float64 on columns of unit length,
       without jitter; where it fails QR takes over.
    4. k-means runs once, at the end of ``fit``, in the embedding and on its directions. The result with the lower Ncut
       is kept with its centres, so that ``predict`` gives the same clusters in every call. In a graph that the head
       has made of vectors more and smaller clusters, merged to K, are a third candidate, as in ``Exact``.
    5. The network has ``spare`` more columns. Their Rayleigh quotients count half at first and nothing from the middle
       of the training on, and Rayleigh-Ritz picks K of all. With K columns alone a training often misses one
       eigenvector for good: on the digits the Rayleigh quotient is then 1.1 to 1.5 times the optimum, with spare
       columns 1.01 to 1.04.
    6. After the training the last layer, which is linear, is replaced by the best one for its hidden layers:
       Rayleigh-Ritz in the span of all hidden units.
    7. The hidden layers have leaky ReLUs, and the last one is linear instead of tanh. Adam has a cosine decay, and
       gradients are clipped to norm 1.
    8. With ``space="both"`` the codes of square images are those of their scattering (see ``Space``), and the network
       maps the outputs of the Siamese network, where the paper maps the codes.
    """

    EFFORT = Effort((128, 128), 400, 1e-2)
    SMALL_EFFORT = Effort((64, 64), 160, 3e-2)

    spare: Spare = 6

    def _refit(
        self, network: Mlp | Gcn, X: NDArray[np.float64], affinity: Affinity, walk: sp.csr_array | None
    ) -> Mlp | Gcn:
        return with_best_last_layer(network, X, affinity, self.n_clusters, walk, most=self._most_outputs)

    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp | Gcn, Run]:
        from segspectral.heads.training.loop import Subgraphs, rayleigh_quotients

        k, columns = self.n_clusters, min(self.n_clusters + self.spare, len(X))

        def loss(raw: torch.Tensor, batch: Batch, done: float) -> torch.Tensor:
            values = rayleigh_quotients(batch, raw)
            return values[:k].sum() + 0.5 * max(0.0, 1 - 2 * done) * values[k:].sum()

        batches = Subgraphs(affinity, self.batch_size, rank=columns, seed=seed, device=self.device)
        return self._fit_network(X, affinity, columns, seed, loss, batches.draw, progress)
