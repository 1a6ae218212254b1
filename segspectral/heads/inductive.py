"""Heads whose result is a network: trained, looked at, and trained once more if it has collapsed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import CollapseError
from segspectral.heads.contract import Head
from segspectral.heads.networks import Mlp, standardization
from segspectral.heads.readout import Readout, fit_spectral_map
from segspectral.types import Affinity, Membership, Outcome

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training import Batch, Progress, Run

__all__ = [
    "BatchSize",
    "Device",
    "Effort",
    "LearningRate",
    "NetworkHead",
    "Patience",
    "Spare",
    "Steps",
    "TimeLimit",
    "Widths",
]

Widths = tuple[Annotated[int, Field(ge=1)], ...]
Steps = Annotated[int, Field(ge=0, le=1_000_000)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
BatchSize = Annotated[int, Field(ge=8)]
Patience = Annotated[int, Field(ge=0)]
Spare = Annotated[int, Field(ge=0)]
TimeLimit = Annotated[float, Field(gt=0)] | None
Device = Literal["cpu", "cuda", "mps"]

TRIES = 3
"""A collapsed training is run again from other weights; bad luck at the start does not strike three times."""


SMALL = 1200
"""At most so many nodes are the superpixels of an image: networks get what half a second of a processor can train."""


@dataclass(frozen=True)
class Effort:
    """What a training costs and gives: widths of the hidden layers, steps, the rate of the first step."""

    hidden: Widths
    steps: int
    learning_rate: float


class NetworkHead(Head):
    """A head that learns a map from features to clusters, and applies it to unseen points.

    Parameters every such head has
    ------------------------------
    hidden, steps, learning_rate : widths of the hidden layers; steps of Adam, with cosine decay to 0. None is what the
        class says in ``EFFORT`` or, for what looks like the superpixels of an image (at most 1200 nodes,
        features at least ``FEATURES``), in ``SMALL_EFFORT``
    batch_size : nodes in a batch; a graph with at most so many is one batch
    patience : stop when the criterion has stood still for so many steps; 0 never stops
    time_limit : seconds of training, or None
    device : where torch trains; a fitted head predicts by numpy
    """

    EFFORT: ClassVar[Effort]
    SMALL_EFFORT: ClassVar[Effort]
    FEATURES = 12
    """Points in the plane need a finer map than superpixels, however few they are."""

    hidden: Widths | None
    steps: int | None
    learning_rate: float | None
    batch_size: int
    patience: int
    time_limit: float | None
    device: Device

    def _needs_features(self) -> bool:
        return True

    def _effort(self, X: NDArray[np.float64]) -> Effort:
        """The parameters as given, and those that are None by the size of X."""
        small = X.shape[0] <= SMALL and X.shape[1] >= self.FEATURES
        usual = self.SMALL_EFFORT if small else self.EFFORT
        return Effort(
            usual.hidden if self.hidden is None else self.hidden,
            usual.steps if self.steps is None else self.steps,
            usual.learning_rate if self.learning_rate is None else self.learning_rate,
        )

    @abstractmethod
    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp, Run]:
        """A trained network."""

    def _refit(self, network: Mlp, X: NDArray[np.float64], affinity: Affinity) -> Mlp:
        """The trained network with what is known in closed form: nothing, unless overridden."""
        return network

    def _read(self, raw: NDArray[np.float64], affinity: Affinity) -> Readout | None:
        """What turns its outputs into memberships: the spectral map, unless overridden; None if it has collapsed."""
        return fit_spectral_map(raw, affinity, self.n_clusters, seed=self.random_state)

    def _solve(
        self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None
    ) -> tuple[Membership, NDArray[np.float64]]:
        distinct = len(np.unique(X, axis=0)) if len(X) <= 10_000 else len(X)
        if distinct < self.n_clusters:
            raise CollapseError(
                f"the features have only {distinct} distinct rows, which a network cannot map to {self.n_clusters} "
                f"clusters; ask for at most {distinct}"
            )
        for attempt in range(TRIES):
            network, run = self._learn(X, affinity, self.random_state + 7919 * attempt, progress)
            network = self._refit(network, X, affinity)
            raw = network(X)
            readout = self._read(raw, affinity)
            if readout is None:
                continue
            probabilities = readout.memberships(raw)
            if len(np.unique(probabilities.argmax(axis=1))) < self.n_clusters:
                continue
            self.network_, self.readout_ = network, readout
            outcome = Outcome.SOLVED if attempt == 0 else Outcome.RETRIED
            eigenvalues = getattr(readout, "eigenvalues", None)
            membership = Membership(
                probabilities,
                readout.embedding(raw),
                eigenvalues,
                outcome if run.finished else Outcome.STOPPED,
            )
            return membership, run.losses
        raise CollapseError(
            f"{type(self).__name__} used fewer than {self.n_clusters} clusters in {TRIES} trainings; ask for fewer "
            "clusters, or give more steps or a smaller learning_rate"
        )

    def _fit_network(
        self,
        X: NDArray[np.float64],
        outputs: int,
        seed: int,
        loss: Callable[[torch.Tensor, Batch, float], torch.Tensor],
        draw: Callable[[], Batch],
        progress: Progress | None,
    ) -> tuple[Mlp, Run]:
        """Train a network of the standardised features by ``loss(outputs, batch, done)``; the one of X itself."""
        import torch

        from segspectral.heads.training import train

        shift, scale = standardization(X)
        inputs = torch.from_numpy((X - shift) / scale).float().to(self.device)
        effort = self._effort(X)
        network = Mlp.random((X.shape[1], *effort.hidden, outputs), seed, slope=0.01)
        module = network.module(self.device)

        def of_batch(batch: Batch, done: float) -> torch.Tensor:
            return loss(module(inputs[batch.nodes]), batch, done)

        run = train(
            module.parameters(),
            of_batch,
            draw,
            steps=effort.steps,
            learning_rate=effort.learning_rate,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        return network.trained(module).after(shift, scale), run
