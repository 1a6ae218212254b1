"""Feature vectors of superpixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import ImageError

__all__ = ["Features"]


@dataclass(frozen=True, eq=False)
class Features:
    """One finite feature vector per superpixel.

    Parameters
    ----------
    nodes : (N, D) float32
    parts : name of an extractor -> the columns it made, as ``(first, one after the last)``
    """

    nodes: NDArray[np.float32]
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.nodes.ndim != 2 or self.nodes.dtype != np.float32 or self.nodes.shape[1] == 0:
            raise ImageError(f"features must be (N, D) float32, not {self.nodes.dtype} {self.nodes.shape}")
        if not np.isfinite(self.nodes).all():
            raise ImageError("the features contain NaN or infinity")

    def part(self, name: str) -> NDArray[np.float32]:
        """The (N, D') columns that the extractor ``name`` made."""
        first, last = self.parts[name]
        return self.nodes[:, first:last]
