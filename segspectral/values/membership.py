"""How much each node belongs to each cluster, and how the head's optimisation ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import GraphError

__all__ = ["Membership", "Outcome"]


class Outcome(Enum):
    """How a head's optimisation ended; the value is the sentence that the user sees."""

    SOLVED = "solved"
    RETRIED = "solved at the second attempt; the first one left clusters empty"
    STOPPED = "stopped at the step or time limit while still improving; allow more steps"
    FEWER = "used fewer clusters than requested; splitting further would not improve the criterion"

    @property
    def sentence(self) -> str:
        return str(self.value)


@dataclass(frozen=True, eq=False)
class Membership:
    """How much each node belongs to each cluster.

    Parameters
    ----------
    probabilities : (N, K) float32, finite; rows sum to one
    embedding : (N, K') float64 or None
        The spectral embedding: eigenvectors of the rw-Laplacian, smallest eigenvalue first.
    eigenvalues : (K'',) float64 or None
        All eigenvalues of the normalized Laplacian that were computed, in ascending order; they show the eigengap.
    outcome : how the head's optimisation ended
    """

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float64] | None = None
    eigenvalues: NDArray[np.float64] | None = None
    outcome: Outcome = Outcome.SOLVED

    def __post_init__(self) -> None:
        p = self.probabilities
        if p.ndim != 2 or p.shape[1] == 0:
            raise GraphError(f"memberships must be (N, K), not {p.shape}")
        if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-4:
            raise GraphError("memberships must be finite and non-negative, and each row must sum to one")

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) the most likely cluster of each node."""
        return self.probabilities.argmax(axis=1)

    def reordered(self, order: NDArray[np.integer[Any]], eigenvalues: NDArray[np.float64] | None = None) -> Membership:
        """A copy whose cluster c is column ``order[c]``, with other eigenvalues if they are given."""
        kept = self.eigenvalues if eigenvalues is None else eigenvalues
        return replace(self, probabilities=np.ascontiguousarray(self.probabilities[:, order]), eigenvalues=kept)
