"""MinCutPool: communities that have few edges between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segspectral.heads.soft_assignment import AssignmentHead, Weight
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch

__all__ = ["MinCut", "mincut_loss"]


class MinCut(AssignmentHead):
    """MinCutPool (Bianchi, Grattarola and Alippi 2020).

    With P = softmax(f(X, W)) it minimises

        -tr(P' W P) / tr(P' D P)  +  collapse * |P' P / |P' P|_F - I / sqrt(K)|_F

    For one-hot P the first term is minus the share of the edge weight that stays inside the clusters.

    Parameters
    ----------
    collapse : weight of the second term, which is 0 for one-hot clusters of one size. The first term alone is best with
        all nodes in one cluster, so this weight cannot be small; it draws the clusters to one size. On the unequal
        blocks of ``Modularity`` the accuracy is .65, and .60 from a cold start

    Published values
    ----------------
    hidden (16,), graph convolutions with a skip connection, collapse 1, no reconstruction, a cold start; 10000 steps at
    0.0005 on the whole graph.

    Differs from the paper
    ----------------------
    1. The criterion has W and D themselves instead of D^-1/2 W D^-1/2 and its degrees: it is the share of edges as it
       is, and batches estimate it.
    2. Training has a warm start. The better of start and end, by the normalized cut of the hard clusters, is kept.
    3. Two layers lead down to an embedding of 16; neighbours are averaged (see ``Gcn``), with dropout.
    4. Large graphs are trained in batches of sampled neighbours.
    5. The memberships are calibrated as in ``NeuNcut``.
    6. Fewer communities than K are a result, and ``outcome_`` says so. A single one is a CollapseError.
    """

    collapse: Weight = 1.0

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
