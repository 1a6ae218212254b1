"""Deep Modularity Networks: communities with more edges inside than their degrees let expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segspectral.heads.gcn import Encoder
from segspectral.heads.network_head import BatchSize, Device, LearningRate, Patience, Steps, TimeLimit, Widths
from segspectral.heads.soft_assignment import AssignmentHead, Weight
from segspectral.metrics.communities import modularity
from segspectral.spectral.knn import Bandwidth, Symmetrization
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch

__all__ = ["Modularity", "modularity_loss"]


class Modularity(AssignmentHead):
    """Deep Modularity Network, DMoN (Tsitsulin, Palowitch, Perozzi and Mueller 2023).

    With P = softmax(f(X, W)) and 2m = sum of the degrees, minimise

        -tr(P' (W - d d' / 2m) P) / 2m  +  collapse * (sqrt(K) |mean_i P_i| - 1)

    the first term of which is minus the modularity (Newman 2006) for one-hot P.

    Parameters
    ----------
    hidden : widths of the hidden layers; published: (64,). None is (64, 16)
    encoder : see ``NetworkHead``; published: graph convolutions with a skip connection
    collapse : weight of the second term, which is 0 for equally large clusters; published: 1, or 0.1 in the code.
        It keeps a cold start from few large clusters, and splits large communities to feed small ones. So does the
        modularity itself: blocks of 400, 120, 60 and 20 nodes with edges of probability .15 inside and .01 across
        have a modularity of .169, and .194 when the largest is split. The accuracy there is .63, with a cold start and
        1 it is .57, while ``Exact`` and ``NeuNcut`` have .995
    reconstruction : weight of the attributes in the loss; published: none
    warm_start : see ``AssignmentHead``; published: off
    steps, learning_rate : of Adam with cosine decay; published: 1000 and 0.001. None is 200 and 0.005, 60 and 0.015
        for the superpixels of an image
    batch_size : nodes in a batch; a graph with at most so many is one batch. Published: the whole graph
    patience, time_limit, device : see ``NetworkHead``

    Differs from the paper
    ----------------------
    1. The null term is d d' / 2m. The published code divides by 2m twice over, and so halves it.
    2. Warm start, of which the better of start and end is kept. On Cora with its attributes, K = 16, a cold start of
       1000 steps ends at a modularity of .73 and an NMI with the classes of .45, the warm one of 200 at .755 and .53.
    3. Two layers down to an embedding of 16, neighbours averaged (see ``Gcn``), dropout in the hidden layers and not
       before the softmax.
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
        collapse: Weight = 0.3,
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
        return modularity_loss(P, batch.weights, batch.degree)

    def _balance(self, P: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        import torch

        return P.shape[1] ** 0.5 * torch.linalg.norm(seeds @ P / seeds.sum()) - 1

    def _score(self, affinity: Affinity, labels: NDArray[np.int64]) -> float:
        return -modularity(affinity, labels)


def modularity_loss(P: torch.Tensor, weights: torch.Tensor, degree: torch.Tensor) -> torch.Tensor:
    """-tr(P' (W - d d' / 2m) P) / 2m; for one-hot P minus the modularity.

    Parameters
    ----------
    P : (N, K) memberships, rows sum to one
    weights : (N, N) sparse, symmetric
    degree : (N,)
    """
    from segspectral.heads.training.loop import symmetric_product

    total = degree.sum().clamp_min(1e-300)
    inside = (P * symmetric_product(weights, P)).sum() / total
    return ((degree @ P / total) ** 2).sum() - inside
