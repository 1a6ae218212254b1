"""Vectors of a file, of which parts are read when they are needed: a file may be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError

__all__ = ["Vectors"]

BLOCK = 2**22
"""So many numbers are read at once, 32 MB."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vectors (N, D).

    Parameters
    ----------
    values : (N, ...) finite numbers, in memory or in a file; each sample is flattened, and bytes are divided by 255
    """

    values: NDArray[Any]

    @classmethod
    def checked(cls, values: NDArray[Any], path: Path) -> Vectors:
        """The vectors that an array of a file holds. Raises DatasetError, which names the first row that is wrong."""
        if values.ndim >= 2 and len(values) == 0:
            raise DatasetError("has no vectors", path)
        if values.ndim < 2 or values.size == 0 or values.dtype.kind not in "biuf":
            raise DatasetError(f"features must be (N, D) numbers, not {values.dtype} {values.shape}", path)
        vectors = cls(values)
        for block in vectors.blocks() if values.dtype.kind == "f" else ():
            if (bad := ~np.isfinite(vectors[block]).all(axis=1)).any():
                raise DatasetError(f"features contain NaN or infinity, first in row {block.start + bad.argmax()}", path)
        return vectors

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        """D, the numbers of a vector."""
        return int(np.prod(self.values.shape[1:]))

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, D) some of the vectors."""
        some = self.values[rows].reshape(-1, self.width).astype(np.float64)
        return some / 255 if self.values.dtype == np.uint8 else some

    def blocks(self) -> Iterator[slice]:
        """All rows in order, few enough at once to be held in memory."""
        step = max(1, BLOCK // self.width)
        return (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))
