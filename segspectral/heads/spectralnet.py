"""SpectralNet: a network whose outputs are made orthonormal, trained on the Rayleigh quotient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import SettingsError
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
    sees_graph,
)
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import with_best_last_layer
from segspectral.heads.training.pretraining import Autoencoder, Siamese
from segspectral.spectral.knn import Bandwidth, Neighbors, Symmetrization
from segspectral.values import Affinity, Membership

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch, Progress, Run

__all__ = ["SpectralNet"]


class SpectralNet(NetworkHead):
    """SpectralNet (Shaham, Stanton, Li, Nadler, Basri and Kluger 2018, eq. 5 with the constraint eq. 3).

    minimise  tr(Y' (D - W) Y)   over networks f, with Y = f(X) R and R such that Y' D Y = I

    R is the inverse of Cholesky's factor of f(X)' D f(X), recomputed in each batch; the gradient flows through it.
    The minimum over all Y is the sum of the K smallest eigenvalues of I - D^-1/2 W D^-1/2, and no loss is below it.

    Parameters
    ----------
    encoder : see ``NetworkHead``
    hidden : widths of the hidden layers; published: (1024, 1024, 512). None is (128, 128), (64, 64) for the
        superpixels of an image
    spare : columns beyond K that the network has in training; published: 0
    steps : of Adam with cosine decay; published: up to 30 epochs, that is 1750 steps for 60000 points. None is 400,
        160 for the superpixels of an image
    learning_rate : published: 0.001, divided by 10 on plateaus. None is 0.01, 0.03 for the superpixels of an image
    batch_size : nodes in a batch; published: 1024. A graph with at most so many nodes is one batch
    patience : stop when the loss has stood still for so many steps; 0 never stops. Published: 10 epochs
    time_limit : seconds, or None
    siamese : learn the distance of the kNN affinity first (section 3.2); None is off
    autoencoder : map and compare codes instead of the features; None is off
    device : where torch trains

    Differs from the paper
    ----------------------
    1. Weighted by the degrees (the normalized cut), where eq. 5 is unnormalised (the ratio cut).
    2. Batches are seeds with sampled neighbours of one global kNN graph (``training.Subgraphs``), not random points
       with a graph of their own: those lose fine structure, and most random nodes have no edge among them.
    3. R is of the batch itself in each step, not of another batch, and of the whole training set at the end; there
       Rayleigh-Ritz then turns it to single eigenvectors. Cholesky runs in float64 on columns of unit length, without
       jitter, and QR where it fails.
    4. k-means runs once, at the end of ``fit``, in the embedding and on its directions; the one of the lower Ncut is
       kept with its centres, so that ``predict`` gives the same clusters in every call.
    5. The network has ``spare`` more columns; their Rayleigh quotients count half at first and nothing from the middle
       of the training on, and Rayleigh-Ritz picks K of all. With K columns alone a training often stays where one
       eigenvector is missing: on the digits the Rayleigh quotient is then 1.1 to 1.5 times the optimum, with spare
       columns 1.01 to 1.04.
    6. After the training the last layer, which is linear, is replaced by the best there is for its hidden layers:
       Rayleigh-Ritz in the span of all hidden units.
    7. Leaky ReLU, a linear last layer instead of tanh, Adam with cosine decay, gradients clipped to norm 1.
    """

    EFFORT = Effort((128, 128), 400, 1e-2)
    SMALL_EFFORT = Effort((64, 64), 160, 3e-2)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        hidden: Widths | None = None,
        encoder: Encoder = "mlp",
        spare: Spare = 6,
        steps: Steps | None = None,
        learning_rate: LearningRate | None = None,
        batch_size: BatchSize = 2048,
        patience: Patience = 0,
        time_limit: TimeLimit = None,
        siamese: Siamese | None = None,
        autoencoder: Autoencoder | None = None,
        device: Device = "cpu",
        n_neighbors: Neighbors = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.hidden = hidden
        self.encoder = encoder
        self.spare = spare
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.patience = patience
        self.time_limit = time_limit
        self.siamese = siamese
        self.autoencoder = autoencoder
        self.device = device
        self.n_neighbors = n_neighbors
        self.bandwidth = bandwidth
        self.symmetrize = symmetrize
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.autoencoder is not None and sees_graph(self.encoder):
            raise SettingsError("autoencoder is for encoder='mlp'; graph convolutions reduce features themselves")

    def _graph(self, X: NDArray[np.float64], affinity: Any) -> Affinity:
        """With ``siamese``, of the distances that it learns."""
        self._code: Mlp | None = None
        if affinity is not None and (self.siamese is not None or self.autoencoder is not None):
            raise SettingsError("siamese and autoencoder learn the affinity: give them, or an affinity, not both")
        if self.autoencoder is not None:
            self._code = self.autoencoder.encoder(X, seed=self.random_state, device=self.device)
            X = self._code(X)
        if self.siamese is not None:
            X = self.siamese.encoder(X, seed=self.random_state, device=self.device)(X)
        return super()._graph(X, affinity)

    def _solve(
        self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None
    ) -> tuple[Membership, NDArray[np.float64]]:
        code = self.__dict__.pop("_code")
        membership, losses = super()._solve(X if code is None else code(X), affinity, progress)
        if code is not None:
            self.network_ = code.then(self.network_)
        return membership, losses

    def _refit(
        self, network: Mlp | Gcn, X: NDArray[np.float64], affinity: Affinity, walk: sp.csr_array | None
    ) -> Mlp | Gcn:
        return with_best_last_layer(network, X, affinity, self.n_clusters, walk)

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
