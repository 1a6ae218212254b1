"""Heads whose network gives memberships directly, trained on a criterion of communities and a balance term."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.gcn import Encoder, Gcn
from segspectral.heads.network_head import SMALL, BatchSize, Effort, NetworkHead
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Softmax, softmax, temperature, unit_rows
from segspectral.metrics.communities import modularity
from segspectral.spectral.discretise import most_eigenvectors, partition, soft_membership
from segspectral.spectral.eigen import regularized_spectrum, spectral_embedding
from segspectral.spectral.kmeans import kmeans
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch
    from segspectral.heads.training.run import Progress, Run

__all__ = ["AssignmentHead", "Weight", "spectral_communities"]

Weight = Annotated[float, Field(ge=0)]

DISTIL_STEPS = 150
SMALL_DISTIL_STEPS = 60

FLATTEN = 0.03
"""Added to the memberships that a network begins with, because the gradients of one-hot softmax rows vanish."""


class AssignmentHead(NetworkHead):
    """A head that gives memberships P = softmax(f(X, W)) and minimises

        criterion(P) + collapse * balance(P) + reconstruction * missed share of X

    Parameters
    ----------
    collapse : weight of the balance term, which works against few large clusters
    reconstruction : weight of the share of the features' squares that a linear map from the last hidden layer misses
    warm_start : whether the network is first distilled to spectral clustering: of the regularized form and, on graphs
        as small as an image's, of the plain one; whichever has the higher modularity. The better of start and end, by
        ``_score``, is kept; with ``reconstruction`` it is always the end
    """

    EFFORT = Effort((64, 16), 200, 5e-3)
    SMALL_EFFORT = Effort((64, 16), 60, 1.5e-2)

    encoder: Encoder = "gcn"
    batch_size: BatchSize = 4096
    collapse: Weight = 0.0
    reconstruction: Weight = 0.0
    warm_start: bool = True

    @abstractmethod
    def _criterion(self, P: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Of memberships (B, K); small is good."""

    @abstractmethod
    def _balance(self, P: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """0 for equally large clusters; ``seeds`` (B,) weigh the nodes."""

    @abstractmethod
    def _score(self, affinity: Affinity, labels: NDArray[np.int64]) -> float:
        """Of hard clusters; small is good."""

    def _fewest(self) -> int:
        # Communities are as many as there are; what is refused is a single one.
        return min(2, self.n_clusters)

    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp | Gcn, Run]:
        import torch

        from segspectral.heads.training.learner import Learner, distil
        from segspectral.heads.training.loop import Subgraphs, train

        effort = self._effort(X)
        learner = Learner(
            self.encoder,
            effort.hidden,
            self.n_clusters,
            X,
            affinity,
            seed=seed,
            device=self.device,
            reconstruct=self.reconstruction > 0,
        )
        networks = []
        if self.warm_start:
            labels = self._start(affinity, seed)
            target = softmax(np.log(soft_membership(affinity, labels, self.n_clusters) + FLATTEN))
            steps = SMALL_DISTIL_STEPS if self._small(X) else DISTIL_STEPS
            distil(learner, np.arange(len(X)), target, seed=seed, steps=steps, device=self.device)
            if not self.reconstruction:
                networks.append(learner.trained())
        batches = Subgraphs(affinity, self.batch_size, rank=self.n_clusters, seed=seed, device=self.device)

        def loss(batch: Batch, done: float) -> torch.Tensor:
            P = torch.softmax(learner(batch.nodes).double(), dim=1)
            value = self._criterion(P, batch) + self.collapse * self._balance(P, batch.seeds)
            return value + self.reconstruction * learner.reconstruction if self.reconstruction else value

        run = train(
            learner.parameters(),
            loss,
            batches.draw,
            steps=effort.steps,
            learning_rate=effort.learning_rate,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        networks.append(learner.trained())
        walk = walk_matrix(affinity.weights)
        scores = [self._score(affinity, network(X, walk).argmax(axis=1)) for network in networks]
        # Of equally good ones the last, which has seen both terms of the loss.
        return min(zip(scores[::-1], networks[::-1], strict=True), key=lambda pair: pair[0])[1], run

    def _start(self, affinity: Affinity, seed: int) -> NDArray[np.int64]:
        k = self.n_clusters
        starts = [spectral_communities(affinity, k, seed=seed)]
        if len(affinity) <= SMALL:
            # Superpixels of odd colours have small degrees, which the regularized form does not see.
            embedding = spectral_embedding(affinity, most_eigenvectors(k), seed=seed)[0]
            starts.append(partition(affinity, embedding, k, greedy=False, seed=seed))
        return max(starts, key=lambda labels: modularity(affinity, labels))

    def transform(self, X: Any, *, affinity: Any = None) -> NDArray[np.float64]:
        """(N', width) the last hidden layer, from which the memberships are one linear step; see ``predict_proba``."""
        unseen = self._unseen(X, affinity)
        return self.extension_.outputs(*unseen, hidden=True)

    def _read(self, raw: NDArray[np.float64], affinity: Affinity) -> Softmax:
        labels = raw.argmax(axis=1)
        uncertainty = affinity.ncut(labels) / len(np.unique(labels))
        return Softmax(temperature(raw, affinity.degree, uncertainty))


def spectral_communities(affinity: Affinity, k: int, *, seed: int = 0) -> NDArray[np.int64]:
    """(N,) labels by k-means on the directions of k regularized eigenvectors (Qin and Rohe 2013)."""
    if k == 1:
        return np.zeros(len(affinity), dtype=np.int64)
    rows = unit_rows(regularized_spectrum(affinity, k, seed=seed)[0])
    return kmeans(rows, k, n_init=5, seed=seed).labels
