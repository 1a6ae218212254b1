"""MinCutPool: communities with few edges between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segspectral.heads.gcn import Encoder
from segspectral.heads.network_head import BatchSize, Device, LearningRate, Patience, Steps, TimeLimit, Widths
from segspectral.heads.soft_assignment import AssignmentHead, Weight
from segspectral.spectral.knn import Bandwidth, Symmetrization
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch

__all__ = ["MinCut", "mincut_loss"]


class MinCut(AssignmentHead):
    """MinCutPool (Bianchi, Grattarola and Alippi 2020).

    With P = softmax(f(X, W)), minimise

        -tr(P' W P) / tr(P' D P)  +  collapse * |P' P / |P' P|_F - I / sqrt(K)|_F

    the first term of which is, for one-hot P, minus the share of the edge weight that stays inside the clusters.

    Parameters
    ----------
    hidden : widths of the hidden layers; published: (16,). None is (64, 16)
    encoder : see ``NetworkHead``; published: graph convolutions with a skip connection
    collapse : weight of the second term, which is 0 for one-hot clusters of one size. The first alone is best with all
        nodes in one cluster, so this cannot be small; it draws the clusters to one size: on the unequal blocks of
        ``Modularity`` the accuracy is .65, .60 from a cold start. Published: 1
    reconstruction : weight of the attributes in the loss; published: none
    warm_start : see ``AssignmentHead``; published: off
    steps, learning_rate : of Adam with cosine decay; published: 10000 and 0.0005. None is 200 and 0.005, 60 and 0.015
        for the superpixels of an image
    batch_size : nodes in a batch; a graph with at most so many is one batch. Published: the whole graph
    patience, time_limit, device : see ``NetworkHead``

    Differs from the paper
    ----------------------
    1. W and D themselves, not D^-1/2 W D^-1/2 and its degrees: the share of edges as it is, and batches estimate it.
    2. Warm start, of which the better of start and end, by the normalized cut of the hard clusters, is kept.
    3. Two layers down to an embedding of 16, neighbours averaged (see ``Gcn``), with dropout.
    4. Large graphs are trained in batches of sampled neighbours.
    5. The memberships are calibrated as in ``NeuNcut``.
    6. Fewer communities than K are a result: ``outcome_`` says so. A single one is a CollapseError.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        hidden: Widths | None = None,
        encoder: Encoder = "gcn",
        collapse: Weight = 1.0,
        reconstruction: Weight = 0.0,
        warm_start: bool = True,
        steps: Steps | None = None,
        learning_rate: LearningRate | None = None,
        batch_size: BatchSize = 4096,
        patience: Patience = 0,
        time_limit: TimeLimit = None,
        device: Device = "cpu",
        n_neighbors: int = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.hidden = hidden
        self.encoder = encoder
        self.collapse = collapse
        self.reconstruction = reconstruction
        self.warm_start = warm_start
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

    def _criterion(self, P: torch.Tensor, batch: Batch) -> torch.Tensor:
        return mincut_loss(P, batch.weights, batch.degree)

    def _balance(self, P: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        import torch

        k = P.shape[1]
        gram = P.T @ (seeds[:, None] * P)
        eye = torch.eye(k, dtype=P.dtype, device=P.device)
        return torch.linalg.norm(gram / torch.linalg.norm(gram) - eye / k**0.5)

    def _score(self, affinity: Affinity, labels: NDArray[np.int64]) -> float:
        # Fewer clusters have a lower cut: each one that is missing counts as a whole one.
        return affinity.ncut(labels) + self.n_clusters - len(np.unique(labels))


def mincut_loss(P: torch.Tensor, weights: torch.Tensor, degree: torch.Tensor) -> torch.Tensor:
    """-tr(P' W P) / tr(P' D P); for one-hot P minus the share of the edge weight inside the clusters.

    Parameters
    ----------
    P : (N, K) memberships, rows sum to one
    weights : (N, N) sparse, symmetric
    degree : (N,)
    """
    from segspectral.heads.training.loop import symmetric_product

    return -(P * symmetric_product(weights, P)).sum() / (degree[:, None] * P * P).sum().clamp_min(1e-300)
