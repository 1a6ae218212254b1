"""The steps of a training, whatever computes them. It imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Progress", "Run", "descend"]


class Progress(Protocol):
    """A function that is called after each step with its number, from 0, and with loss, learning_rate and seconds.

    To TensorBoard: ``lambda step, scalars: [writer.add_scalar(name, value, step) for name, value in scalars.items()]``.
    """

    def __call__(self, step: int, scalars: dict[str, float]) -> object: ...


@dataclass(frozen=True)
class Run:
    """The loss at each step of a training, and whether it ran to its end or until the loss stood still."""

    losses: NDArray[np.float64]
    finished: bool


def descend(
    measure: Callable[[float], float],
    move: Callable[[], float],
    *,
    steps: int,
    patience: int = 0,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Measure a loss and move down its gradient, again and again.

    Parameters
    ----------
    measure : the loss, from the fraction of the steps that is done, in [0, 1]
    move : one step down the gradient of what was measured last; its learning rate
    patience : stop when the mean loss of this many steps is not lower, by a thousandth, than that of as many before;
        0 never stops
    time_limit : seconds

    Returns
    -------
    Run; ``finished`` is False if the time was up, or the loss became infinite or NaN.
    """
    losses: list[float] = []
    begin = time.perf_counter()
    for step in range(steps):
        losses.append(measure(step / max(steps - 1, 1)))
        if not np.isfinite(losses[-1]):
            return Run(np.array(losses), False)
        rate = move()
        seconds = time.perf_counter() - begin
        if progress is not None:
            progress(step, {"loss": losses[-1], "learning_rate": rate, "seconds": seconds})
        if time_limit is not None and seconds > time_limit:
            return Run(np.array(losses), False)
        if patience and len(losses) >= 2 * patience:
            now, before = np.mean(losses[-patience:]), np.mean(losses[-2 * patience : -patience])
            if before - now <= 1e-3 * abs(before):
                break
    return Run(np.array(losses), True)
