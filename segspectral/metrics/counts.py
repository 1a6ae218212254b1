"""Counts of images, which add up before anything is divided."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "f_measure"]


@dataclass(frozen=True)
class Counts:
    """Counts of disjoint sets of images; they add up with ``+``, field by field.

    Raises
    ------
    ValueError
        The counts have different lengths.
    """

    axis: ClassVar[str] = "scales"
    """What the arrays have an entry for."""

    def __add__(self, other: Self) -> Self:
        def added(a: Any, b: Any) -> Any:
            if np.shape(a) != np.shape(b):
                numbers = f"counts at {len(a)} and at {len(b)} {self.axis}"
                raise ValueError(f"{numbers} cannot be added: every image needs the same number of {self.axis}")
            return a + b

        names = [field.name for field in fields(self)]
        return replace(self, **{name: added(getattr(self, name), getattr(other, name)) for name in names})


def f_measure(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return F = 2 P R / (P + R) of arrays of equal shape, and 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / np.where(total == 0, 1, total)
