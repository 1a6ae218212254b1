"""Neural Normalized Cut: memberships trained on the relaxed normalized cut itself."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.affinity import Bandwidth, Symmetrization
from segspectral.errors import CollapseError
from segspectral.heads.contract import Head
from segspectral.heads.exact import greedy_moves, membership_of, partition, spectral_embedding
from segspectral.types import Affinity, Membership, Outcome

if TYPE_CHECKING:
    import torch

__all__ = ["NeuNcut", "calibrate", "ncut_loss"]


class NeuNcut(Head):
    """Neural Normalized Cut (He, Zhang, Li, Qi, Xiao and Guo 2024).

    A network gives each node a membership P = softmax(f(x)); with H = P diag(vol)^-1/2 and vol = P' d it minimises

        tr(H' L H) + hardness * tr(I - H' D H) + penalty / 2 * ||H' D H - I||_F / K

    the relaxed normalized cut and its orthogonality H' D H = I: for one-hot P the first term is the Ncut and the others
    are 0. The membership is the result; there is no k-means.

    Parameters
    ----------
    hidden : widths of the MLP's hidden layers; empty for a table of one row of logits per node, which fits a single
        graph better and faster than any network of its features
    steps, learning_rate : of Adam, with cosine decay; full batches
    hardness : weight of the diagonal of the orthogonality; at 1 the first two terms are the soft normalized cut
        K - sum_c P_c' W P_c / vol_c
    penalty : weight of the published penalty, the (not squared) Frobenius norm
    warm_start : start from the spectral solution (see below); False is the published, cold form
    greedy : finish with greedy single-node moves

    Differs from the paper
    ----------------------
    1. Warm start: the logits begin at (a network is first distilled to) the flattened memberships of the exact
       spectral solution. Trained cold on each image it ends far above the Ncut of eigenvectors and k-means; started
       warm it ends below. The better of start and end is kept, so that training never does harm.
    2. The soft normalized cut (``hardness=1``) instead of the Frobenius penalty, which freezes the assignment early.
       The published form is ``warm_start=False, hardness=0, penalty=80, hidden=(512, 512), learning_rate=0.005``.
    3. A sparse kNN affinity instead of a dense Gaussian one, which is almost constant on unit vectors.
    4. The returned membership is calibrated: its temperature is set so that the mean doubt 1 - max_c P_ic equals the
       probability that a random walk leaves its cluster in one step. Trained memberships are nearly one-hot, and
       leave a CRF nothing to refine.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        hidden: tuple[Annotated[int, Field(ge=1)], ...] = (),
        steps: Annotated[int, Field(ge=0, le=100_000)] = 60,
        learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1,
        hardness: Annotated[float, Field(ge=0)] = 1.0,
        penalty: Annotated[float, Field(ge=0)] = 0.0,
        warm_start: bool = True,
        greedy: bool = True,
        n_neighbors: Annotated[int, Field(ge=1)] = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.hidden = hidden
        self.steps = steps
        self.learning_rate = learning_rate
        self.hardness = hardness
        self.penalty = penalty
        self.warm_start = warm_start
        self.greedy = greedy
        self.n_neighbors = n_neighbors
        self.bandwidth = bandwidth
        self.symmetrize = symmetrize
        self.random_state = random_state

    def _solve(self, X: NDArray[np.float64], affinity: Affinity) -> tuple[Membership, NDArray[np.float64]]:
        k, outcome = self.n_clusters, Outcome.SOLVED
        embedding, eigenvalues = spectral_embedding(affinity, k + 1, seed=self.random_state)
        embedding = embedding[:, :k]
        spectral = partition(affinity, embedding, greedy=self.greedy, seed=self.random_state)
        if spectral.max() + 1 < k:
            raise CollapseError(
                f"the graph has only {spectral.max() + 1} distinct groups of nodes; ask for at most so many clusters"
            )
        start = np.log(membership_of(affinity, spectral, k) + FLATTEN)
        logits, losses = self._train(X, affinity, start if self.warm_start else None)
        labels = self._finish(affinity, logits)
        if len(np.unique(labels)) < k:
            # Collapsed. Once more from the spectral solution, which uses all clusters.
            outcome = Outcome.RETRIED
            logits, losses = self._train(X, affinity, start)
            labels = self._finish(affinity, logits)
        if len(np.unique(labels)) < k or (self.warm_start and affinity.ncut(labels) > affinity.ncut(spectral)):
            if not self.warm_start:
                raise CollapseError(
                    f"training ended with {len(np.unique(labels))} of {k} clusters twice; give a smaller learning_rate "
                    "or a larger penalty, or warm_start=true"
                )
            logits, labels = start, spectral
        # Where a greedy move or the choice of the start overrules the network, the two logits change places.
        logits = logits.copy()
        rows, argmax = np.arange(len(labels)), logits.argmax(axis=1)
        logits[rows, argmax], logits[rows, labels] = logits[rows, labels], logits[rows, argmax]
        probabilities = calibrate(logits, affinity.degree, affinity.ncut(labels) / k)
        return Membership(probabilities, embedding, eigenvalues, outcome), losses

    def _finish(self, affinity: Affinity, logits: NDArray[np.float64]) -> NDArray[np.int64]:
        labels = logits.argmax(axis=1)
        if self.greedy and len(np.unique(labels)) == self.n_clusters:
            labels = greedy_moves(affinity, labels, self.n_clusters)
        return labels

    def _train(
        self, X: NDArray[np.float64], affinity: Affinity, start: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits (N, K) after the last step, and the loss at each step."""
        import torch

        n, k = len(affinity), self.n_clusters
        weights, degree = as_tensor(affinity), torch.from_numpy(affinity.degree).float()
        generator = torch.Generator().manual_seed(self.random_state)
        if self.hidden:
            inputs = torch.from_numpy((X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-12)).float()
            layers = _mlp((X.shape[1], *self.hidden, k), generator)
            if start is not None:
                _distil(layers, inputs, torch.from_numpy(start).float(), self.learning_rate)
            parameters: list[torch.Tensor] = list(layers.parameters())
        else:
            table = torch.randn(n, k, generator=generator) * 0.1 if start is None else torch.from_numpy(start).float()
            parameters = [table.clone().requires_grad_(True)]

        def forward() -> torch.Tensor:
            return layers(inputs) if self.hidden else parameters[0]

        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(self.steps, 1))
        losses = np.empty(self.steps)
        for step in range(self.steps):
            loss = ncut_loss(torch.softmax(forward(), dim=1), weights, degree, self.hardness, self.penalty)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[step] = float(loss.detach())
        with torch.no_grad():
            return forward().double().numpy().copy(), losses


FLATTEN = 0.03
"""Added to the memberships of the warm start: gradients of one-hot softmax rows vanish."""


def ncut_loss(
    P: torch.Tensor, weights: torch.Tensor, degree: torch.Tensor, hardness: float = 0.0, penalty: float = 0.0
) -> torch.Tensor:
    """tr(H' L H) + hardness * tr(I - H' D H) + penalty / 2 * ||H' D H - I||_F / K with H = P diag(P' d)^-1/2.

    He et al. 2024; ``hardness`` is ours (see ``NeuNcut``).

    Parameters
    ----------
    P : (N, K) memberships, rows sum to one
    weights : (N, N) sparse, symmetric
    degree : (N,)

    Returns
    -------
    Scalar. tr(H' L H) = sum_c (P_c' D P_c - P_c' W P_c) / vol_c; for one-hot P it is the normalized cut.
    """
    import torch

    volume = (degree @ P).clamp_min(1e-12)
    own = (degree[:, None] * P * P).sum(dim=0) / volume
    kept = (P * (weights @ P)).sum(dim=0) / volume
    loss = (own - kept).sum() + hardness * (1 - own).sum()
    if penalty:
        H = P / volume.sqrt()
        gram = H.T @ (degree[:, None] * H)
        loss = loss + penalty / 2 * torch.linalg.norm(gram - torch.eye(P.shape[1], dtype=P.dtype)) / P.shape[1]
    return loss


def calibrate(logits: NDArray[np.float64], degree: NDArray[np.float64], doubt: float) -> NDArray[np.float32]:
    """softmax(logits / T), T such that the degree-weighted mean of 1 - max_c P_ic is ``doubt``: (N, K) float32.

    T is found by bisection; the mean rises with T from 0 to 1 - 1/K.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    low, high = -7.0, 7.0
    for _ in range(40):
        middle = (low + high) / 2
        P = np.exp(shifted / np.exp(middle))
        P /= P.sum(axis=1, keepdims=True)
        if np.average(1 - P.max(axis=1), weights=np.maximum(degree, 1e-300)) < doubt:
            low = middle
        else:
            high = middle
    return P.astype(np.float32)


def as_tensor(affinity: Affinity) -> torch.Tensor:
    """The weights as a torch sparse CSR tensor (N, N) float32."""
    import warnings

    import torch

    w = affinity.weights
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(
            torch.from_numpy(w.indptr.astype(np.int64)),
            torch.from_numpy(w.indices.astype(np.int64)),
            torch.from_numpy(w.data.astype(np.float32)),
            size=w.shape,
            check_invariants=False,
        )


def _mlp(widths: tuple[int, ...], generator: torch.Generator) -> torch.nn.Sequential:
    import torch

    layers: list[torch.nn.Module] = []
    for a, b in pairwise(widths):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, a, b)
        torch.nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
        torch.nn.init.zeros_(linear.bias)
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _distil(layers: torch.nn.Module, inputs: torch.Tensor, logits: torch.Tensor, learning_rate: float) -> None:
    """Fit the network to the memberships softmax(logits) by cross-entropy."""
    import torch

    target = torch.softmax(logits, dim=1)
    optimizer = torch.optim.Adam(layers.parameters(), lr=learning_rate)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(layers(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
