"""Neural Normalized Cut: memberships that are trained on the relaxed normalized cut itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import CollapseError
from segspectral.heads.base import Solution
from segspectral.heads.extension import Learnt
from segspectral.heads.gcn import Gcn
from segspectral.heads.network_head import Steps, TrainedHead, sees_graph
from segspectral.heads.networks import Mlp, Widths
from segspectral.heads.readout import Softmax, softmax, temperature
from segspectral.heads.training.run import Progress, Run, descend
from segspectral.spectral.discretise import greedy_moves, most_eigenvectors, partition, soft_membership
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.softcut import LogitDescent
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch

__all__ = ["NeuNcut", "ncut_loss"]

FLATTEN = 0.03
"""Added to the memberships of the warm start, because the gradients of one-hot softmax rows vanish."""

DISTIL_STEPS = 300


class NeuNcut(TrainedHead):
    """Neural Normalized Cut (He, Zhang, Li, Qi, Xiao and Guo 2024).

    A network gives each node a membership P = softmax(f(x)). With H = P diag(vol)^-1/2 and vol = P' d it minimises

        tr(H' L H) + hardness * tr(I - H' D H) + penalty / 2 * ||H' D H - I||_F / K

    the relaxed normalized cut and its orthogonality H' D H = I: for one-hot P the first term is the Ncut and the others
    are 0. The membership is the result; there is no k-means.

    Without hidden layers the "network" is a table with one row of logits for each node. It fits a single graph better
    and faster than any network of its features, but knows no other points. A network also maps unseen points; ``fit``
    still returns the best labels that it can find for its own nodes (see ``greedy``).

    Parameters
    ----------
    hardness : weight of the diagonal of the orthogonality; at 1 the first two terms are the soft normalized cut
        K - sum_c P_c' W P_c / vol_c
    penalty : weight of the published penalty, the (not squared) Frobenius norm
    penalty_start : the penalty grows exponentially from here to ``penalty``; None keeps it constant
    warm_start : whether training starts from the spectral solution (see below)
    greedy : whether to finish with greedy moves of single nodes; only without them ``labels_`` is what ``predict``
        gives for the same nodes
    noise : standard deviation of the noise that is added to a network's inputs in training, in units of the typical
        length of an edge. Without it, a network that has memorised its own nodes maps unseen ones less well
    subsample : an MLP on more nodes than this gets its spectral solution from the graph of this many of them
    learning_rate : of the first step; None is 0.1 for a table and 0.002 for a network

    Published values
    ----------------
    hidden (512, 512); 300 epochs in batches of 1000 nodes at a learning rate of 0.005; hardness 0 and penalty 80;
    a cold start.

    Differs from the paper
    ----------------------
    1. Warm start: the logits begin at the flattened memberships of the exact spectral solution; a network is first
       distilled to them. Trained cold on each image the Ncut ends far above that of eigenvectors and k-means; started
       warm it ends below. The better of start and end is kept, so that training never does harm.
    2. The soft normalized cut (``hardness=1``) replaces the Frobenius penalty, which freezes the assignment early.
       The published form is ``warm_start=False, hardness=0, penalty=80, hidden=(512, 512), learning_rate=0.005``.
    3. The affinity is a sparse kNN graph instead of a dense Gaussian one, which is almost constant on unit vectors.
       Batches are seeds with sampled neighbours (``training.Subgraphs``).
    4. The returned membership is calibrated: its temperature is set so that the mean uncertainty 1 - max_c P_ic equals
       the probability that a random walk leaves its cluster in one step. Trained memberships are nearly one-hot, and
       would leave a CRF nothing to refine.
    """

    hidden: Widths = ()
    steps: Steps = 60
    hardness: Annotated[float, Field(ge=0)] = 1.0
    penalty: Annotated[float, Field(ge=0)] = 0.0
    penalty_start: Annotated[float, Field(gt=0)] | None = None
    warm_start: bool = True
    greedy: bool = True
    noise: Annotated[float, Field(ge=0)] = 0.5
    subsample: Annotated[int, Field(ge=10)] = 10_000

    @property
    def _has_network(self) -> bool:
        return bool(self.hidden)

    @property
    def _told_apart_by(self) -> Literal["graph", "both"]:
        return "both" if self.hidden else "graph"

    def _positions(self, affinity: Affinity) -> NDArray[np.float64]:
        return super()._positions(affinity) if self.hidden else np.zeros((len(affinity), 1))

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        k = self.n_clusters
        if self.hidden and len(X) > self.subsample and not sees_graph(self.encoder):
            return self._solve_large(X, affinity, progress)
        embedding, eigenvalues = spectral_embedding(affinity, most_eigenvectors(k), seed=self.random_state)
        spectral = self._spectral_labels(affinity, embedding)
        embedding, eigenvalues = embedding[:, :k], eigenvalues[: k + 1]
        start = np.log(soft_membership(affinity, spectral, k) + FLATTEN)
        outcome, network = Outcome.SOLVED, None
        for warm in (True,) if self.warm_start else (False, True):
            logits, run, network = self._train(X, affinity, (np.arange(len(X)), start) if warm else None, progress)
            labels = self._finish(affinity, logits)
            if len(np.unique(labels)) == k:
                break
            # Collapsed. Once more from the spectral solution, which uses all clusters.
            outcome = Outcome.RETRIED
        lost = len(np.unique(labels)) < k
        if lost and not self.warm_start:
            raise CollapseError(
                f"training ended with {len(np.unique(labels))} of {k} clusters twice; give a smaller learning_rate "
                "or a larger penalty, or warm_start=true"
            )
        if lost or (self.warm_start and affinity.ncut(labels) > affinity.ncut(spectral)):
            labels = spectral
            logits = start if network is None else logits
        if not run.finished:
            outcome = Outcome.STOPPED
        uncertainty, learnt = affinity.ncut(labels) / k, None
        if network is not None:
            learnt = Learnt(network, Softmax(temperature(logits, affinity.degree, uncertainty)))
        # Where a greedy move or the choice of the start overrules the network, the two logits change places.
        logits = logits.copy()
        rows, argmax = np.arange(len(labels)), logits.argmax(axis=1)
        logits[rows, argmax], logits[rows, labels] = logits[rows, labels], logits[rows, argmax]
        probabilities = softmax(logits / temperature(logits, affinity.degree, uncertainty))
        return Solution(Membership(probabilities, embedding, eigenvalues, outcome), run.losses, learnt)

    def _solve_large(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        """A network on more nodes than an eigensolver should see: it first learns the labels of a subsample."""
        k = self.n_clusters
        start = None
        if self.warm_start:
            some = np.random.default_rng(self.random_state).choice(len(X), self.subsample, replace=False)
            graph = self._knn(X[some])
            vectors, _ = spectral_embedding(graph, most_eigenvectors(k), seed=self.random_state)
            labels = self._spectral_labels(graph, vectors)
            start = some, np.log(soft_membership(graph, labels, k) + FLATTEN)
        logits, run, network = self._train(X, affinity, start, progress)
        labels = logits.argmax(axis=1)
        if len(np.unique(labels)) < k or network is None:
            raise CollapseError(
                f"training ended with {len(np.unique(labels))} of {k} clusters; give a smaller learning_rate, fewer "
                "clusters, or warm_start=true"
            )
        readout = Softmax(temperature(logits, affinity.degree, affinity.ncut(labels) / k))
        outcome = Outcome.SOLVED if run.finished else Outcome.STOPPED
        membership = Membership(readout.memberships(logits), outcome=outcome)
        return Solution(membership, run.losses, Learnt(network, readout))

    def _spectral_labels(self, affinity: Affinity, embedding: NDArray[np.float64]) -> NDArray[np.int64]:
        labels = partition(
            affinity,
            embedding,
            self.n_clusters,
            greedy=self.greedy,
            vectors=self._made_graph,
            seed=self.random_state,
        )
        if labels.max() + 1 < self.n_clusters:
            raise CollapseError(
                f"the graph has only {labels.max() + 1} distinct groups of nodes; ask for at most that many clusters"
            )
        return labels

    def _finish(self, affinity: Affinity, logits: NDArray[np.float64]) -> NDArray[np.int64]:
        labels = logits.argmax(axis=1)
        if self.greedy and len(np.unique(labels)) == self.n_clusters:
            labels = greedy_moves(affinity, labels, self.n_clusters)
        return labels

    def _train(
        self,
        X: NDArray[np.float64],
        affinity: Affinity,
        start: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
        progress: Progress | None,
    ) -> tuple[NDArray[np.float64], Run, Mlp | Gcn | None]:
        """Logits (N, K) of the nodes after the last step, what the training left, and the network if there is one.

        ``start`` are nodes and the logits they are to have at first.
        """
        if not self.hidden:
            return *self._train_table(affinity, None if start is None else start[1], progress), None
        import torch

        from segspectral.heads.training.learner import Learner, distil
        from segspectral.heads.training.loop import Subgraphs, train

        k, seed = self.n_clusters, self.random_state
        learner = Learner(self.encoder, self.hidden, k, X, affinity, seed=seed, device=self.device, noise=self.noise)
        if start is not None:
            distil(learner, start[0], softmax(start[1]), seed=seed, steps=DISTIL_STEPS, device=self.device)

        def loss(batch: Batch, done: float) -> torch.Tensor:
            P = torch.softmax(learner(batch.nodes).double(), dim=1)
            return ncut_loss(P, batch.weights, batch.degree, self.hardness, self._penalty(done))

        run = train(
            learner.parameters(),
            loss,
            Subgraphs(affinity, self.batch_size, rank=k, seed=seed, device=self.device).draw,
            steps=self.steps,
            learning_rate=self.learning_rate or 2e-3,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        network = learner.trained()
        return network(X, walk_matrix(affinity.weights)), run, network

    def _train_table(
        self, affinity: Affinity, start: NDArray[np.float64] | None, progress: Progress | None
    ) -> tuple[NDArray[np.float64], Run]:
        """``_train`` without a network. Each row of the table learns by itself: only the whole graph trains it."""
        if start is None:
            start = np.random.default_rng(self.random_state).normal(size=(len(affinity), self.n_clusters)) * 0.1
        table = LogitDescent(
            start,
            affinity.weights.astype(np.float64) / max(affinity.degree.mean(), 1e-300),
            hardness=self.hardness,
            learning_rate=self.learning_rate or 0.1,
            steps=self.steps,
        )
        run = descend(
            lambda done: table.measure(self._penalty(done)),
            table.move,
            steps=self.steps,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        return table.logits.astype(np.float64), run

    def _penalty(self, done: float) -> float:
        if self.penalty_start is None or self.penalty == 0:
            return self.penalty
        return float(self.penalty_start * (self.penalty / self.penalty_start) ** done)


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

    from segspectral.heads.training.loop import symmetric_product

    volume = (degree @ P).clamp_min(1e-12)
    own = (degree[:, None] * P * P).sum(dim=0) / volume
    kept = (P * symmetric_product(weights, P)).sum(dim=0) / volume
    loss = (own - kept).sum() + hardness * (1 - own).sum()
    if penalty:
        H = P / volume.sqrt()
        gram = H.T @ (degree[:, None] * H)
        loss = (
            loss
            + penalty / 2 * torch.linalg.norm(gram - torch.eye(P.shape[1], dtype=P.dtype, device=P.device)) / P.shape[1]
        )
    return loss
