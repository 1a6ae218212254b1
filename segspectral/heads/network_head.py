"""Heads that train a network: it is trained, examined, and trained again if it has collapsed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import CollapseError, SettingsError
from segspectral.extras import require
from segspectral.heads.base import Head, Solution
from segspectral.heads.extension import Learnt
from segspectral.heads.gcn import Encoder, Gcn, convolution
from segspectral.heads.networks import Mlp, Widths
from segspectral.heads.readout import Readout, fit_spectral_map
from segspectral.spectral.discretise import most_eigenvectors
from segspectral.spectral.eigen import positions
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.loop import Batch
    from segspectral.heads.training.run import Progress, Run

__all__ = ["SMALL", "Effort", "NetworkHead", "Spare", "TrainedHead", "sees_graph"]

Steps = Annotated[int, Field(ge=0, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
BatchSize = Annotated[int, Field(ge=8)]
Patience = Annotated[int, Field(ge=0)]
Spare = Annotated[int, Field(ge=0, le=4096)]
TimeLimit = Annotated[float, Field(gt=0)] | None
Device = Literal["cpu", "cuda", "mps"]

DEGENERATE = 1e-3
"""Effective rank of the outputs below which they are one point with noise."""

TRIES = 3
"""A collapsed training is run again from other weights; bad luck at the start does not strike three times."""


SMALL = 1200
"""A graph of at most this many nodes is taken for the superpixels of an image, and its network is trained in half a
second of one processor."""


@dataclass(frozen=True)
class Effort:
    """The size of a training: widths of the hidden layers, steps, and the learning rate of the first step."""

    hidden: Widths
    steps: int
    learning_rate: float


class TrainedHead(Head):
    """A head that trains by Adam with cosine decay of the learning rate to 0: networks with torch, a table with numpy.

    Parameters
    ----------
    hidden : widths of the hidden layers
    encoder : what maps a node to the outputs. "mlp" sees the features of the node alone. With "gcn", graph
        convolutions, it sees its neighbours, too; on a graph without features they start from its eigenvectors, and
        ``GraphConvolution`` has their settings
    steps : of Adam
    learning_rate : of the first step
    batch_size : nodes in a batch; a graph with at most this many nodes is one batch
    patience : training stops when the criterion has not improved for this many steps; with 0 it never stops early
    time_limit : seconds of training, or None
    device : where torch trains; a table is trained, and all heads predict, with numpy
    """

    hidden: Widths | None = None
    encoder: Encoder = "mlp"
    steps: Steps | None = None
    learning_rate: LearningRate | None = None
    batch_size: BatchSize = 2048
    patience: Patience = 0
    time_limit: TimeLimit = None
    device: Device = "cpu"

    @property
    def _has_network(self) -> bool:
        """Whether what is trained is a network of the features, and not one row of numbers for each node."""
        return True

    def check_installed(self) -> None:
        super().check_installed()
        if self._has_network:
            require("torch", f"the network of {type(self).__name__}")

    def _needs_features(self) -> bool:
        return self.learns_map

    @property
    def learns_map(self) -> bool:
        return self._has_network and not sees_graph(self.encoder)

    @property
    def _told_apart_by(self) -> Literal["features", "graph", "both"]:
        return "features" if self.learns_map else "both"

    def _positions(self, affinity: Affinity) -> NDArray[np.float64]:
        return positions(affinity, self.n_clusters, seed=self.random_state)

    def _check_settings(self) -> None:
        super()._check_settings()
        if sees_graph(self.encoder) and self.hidden is not None and not self.hidden:
            raise SettingsError("encoder='gcn' needs at least one width in hidden, such as (64, 16)")


class NetworkHead(TrainedHead):
    """A head that learns a map from features to clusters and applies it to unseen points.

    For ``hidden``, ``steps`` and ``learning_rate`` None stands for the numbers in ``EFFORT``. A graph that looks like
    the superpixels of an image (at most 1200 nodes with at least ``FEATURES`` features) gets those in ``SMALL_EFFORT``.

    Attributes
    ----------
    effective_rank_ : float, of the outputs (see ``effective_rank``); at 0 the embedding would be degenerate, which
        raises CollapseError
    """

    EFFORT: ClassVar[Effort]
    SMALL_EFFORT: ClassVar[Effort]
    FEATURES: ClassVar[int] = 12
    """Points in the plane need a finer map than superpixels, however few they are."""

    def _effort(self, X: NDArray[np.float64]) -> Effort:
        """The parameters as they were given; those that are None depend on the size of X."""
        usual = self.SMALL_EFFORT if self._small(X) else self.EFFORT
        return Effort(
            usual.hidden if self.hidden is None else self.hidden,
            usual.steps if self.steps is None else self.steps,
            usual.learning_rate if self.learning_rate is None else self.learning_rate,
        )

    def _small(self, X: NDArray[np.float64]) -> bool:
        return X.shape[0] <= SMALL and X.shape[1] >= self.FEATURES

    @abstractmethod
    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp | Gcn, Run]:
        """A trained network."""

    def _refit(
        self, network: Mlp | Gcn, X: NDArray[np.float64], affinity: Affinity, walk: sp.csr_array | None
    ) -> Mlp | Gcn:
        """The trained network with what is known in closed form: nothing, unless overridden."""
        return network

    def _read(self, raw: NDArray[np.float64], affinity: Affinity) -> Readout | None:
        """What turns its outputs into memberships: the spectral map, unless overridden; None if it has collapsed."""
        return fit_spectral_map(raw, affinity, self.n_clusters, seed=self.random_state)

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        walk = walk_matrix(affinity.weights) if sees_graph(self.encoder) else None
        collapse = ""
        for attempt in range(TRIES):
            network, run = self._learn(X, affinity, self.random_state + 7919 * attempt, progress)
            network = self._refit(network, X, affinity, walk)
            raw = network(X, walk)
            if not np.isfinite(raw).all():
                collapse = "gave NaN or infinity"
                continue
            rank = effective_rank(raw)
            if rank < DEGENERATE and self.n_clusters > 1:
                collapse = f"gave all nodes nearly one embedding (effective rank {rank:.2f})"
                continue
            readout = self._read(raw, affinity)
            probabilities = None if readout is None else readout.memberships(raw)
            used = 0 if probabilities is None else len(np.unique(probabilities.argmax(axis=1)))
            if readout is None or probabilities is None or used < self._fewest():
                collapse = f"used fewer than {self._fewest()} clusters"
                continue
            self.effective_rank_ = rank
            outcome = Outcome.SOLVED if attempt == 0 else Outcome.RETRIED
            if not run.finished:
                outcome = Outcome.STOPPED
            if used < self.n_clusters:
                outcome = Outcome.FEWER
            eigenvalues = getattr(readout, "eigenvalues", None)
            membership = Membership(probabilities, readout.embedding(raw), eigenvalues, outcome)
            return Solution(membership, run.losses, Learnt(network, readout))
        raise CollapseError(
            f"{type(self).__name__} {collapse} in {TRIES} trainings; ask for fewer clusters, or give more steps or a "
            "smaller learning_rate"
        )

    @property
    def _most_outputs(self) -> int:
        """Outputs of the finished network: in a graph of vectors as many as ``partition`` can use, see there."""
        return most_eigenvectors(self.n_clusters) if self._made_graph else self.n_clusters

    def _fewest(self) -> int:
        """Clusters below which a training has collapsed."""
        return self.n_clusters

    def _fit_network(
        self,
        X: NDArray[np.float64],
        affinity: Affinity,
        outputs: int,
        seed: int,
        loss: Callable[[torch.Tensor, Batch, float], torch.Tensor],
        draw: Callable[[], Batch],
        progress: Progress | None,
    ) -> tuple[Mlp | Gcn, Run]:
        """Train a network of the standardised features by ``loss(outputs, batch, done)``; the one of X itself."""
        from segspectral.heads.training.learner import Learner
        from segspectral.heads.training.loop import train

        effort = self._effort(X)
        learner = Learner(self.encoder, effort.hidden, outputs, X, affinity, seed=seed, device=self.device)

        def of_batch(batch: Batch, done: float) -> torch.Tensor:
            return loss(learner(batch.nodes), batch, done)

        run = train(
            learner.parameters(),
            of_batch,
            draw,
            steps=effort.steps,
            learning_rate=effort.learning_rate,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        return learner.trained(), run


def effective_rank(raw: NDArray[np.float64]) -> float:
    """How many directions the rows of (N, M) spread into: (sum of variances)^2 / sum of squared variances, along the
    principal axes; 0 where they are constant, to a millionth of their size.

    >>> effective_rank(np.array([[1.0, 5], [1, 7]])), effective_rank(np.ones((4, 3)))
    (1.0, 0.0)
    """
    centred = raw - raw.mean(axis=0)
    variance = np.linalg.eigvalsh(centred.T @ centred).clip(0)
    if not np.isfinite(variance).all() or variance.sum() <= 1e-12 * max(float((raw**2).sum()), 1e-300):
        return 0.0
    return float(variance.sum() ** 2 / (variance**2).sum())


def sees_graph(encoder: Encoder) -> bool:
    return convolution(encoder) is not None
