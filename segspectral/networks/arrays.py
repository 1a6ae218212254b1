"""Vectors and graphs from numpy's files. ``segspectral.files`` checks the headers before it unpacks or allocates."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.files import is_npy, map_npy, read_npz, unpacked_size

__all__ = [
    "FEATURES",
    "LABELS",
    "MISSING",
    "SPARE",
    "Arrays",
    "check_unpacked",
    "classes",
    "is_array_file",
    "most_unpacked",
    "vectors",
]

FEATURES = ("features", "x", "X", "attributes", "data", "arr_0")
LABELS = ("labels", "y", "Y", "label")
"""Names that .npz files use for features and classes, most usual first; numpy itself calls an unnamed array arr_0."""

MISSING = ("", "nan")
"""What programs write, in any case, where a class is not known; it is no class."""

UNPACKED = 2**30
"""A compressed file may unpack to 1 GiB, and a large file to ``GROWTH`` times its size.

Most networks that people share are smaller than 1 GiB. The limit stops a file of one megabyte that claims to hold a
terabyte of zeros.
"""

GROWTH = 50
"""Real edge lists and features shrink by a factor of 3 to 20 when they are compressed; zeros shrink by about 1000."""

SPARE = 1_000_000
"""Rows and columns without an entry that a matrix may have: a few bytes can claim any number of them."""


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Return whether the file begins like .npy, or has the suffix .npy or .npz.

    Raises
    ------
    DatasetError
        The file cannot be opened.
    """
    path = Path(path)
    try:
        return is_npy(path) or path.suffix.lower() in (".npy", ".npz")
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", path) from error


def most_unpacked(path: Path) -> int:
    """Return the number of bytes to which this file may unpack."""
    return max(UNPACKED, GROWTH * path.stat().st_size)


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a compressed file that unpacks to far more bytes than it has itself. Raises DatasetError."""
    if size > most_unpacked(path):
        raise DatasetError(f"unpacks to more than {max(UNPACKED, size) / 2**30:.0f} GiB; unpack it first", path)


class Arrays(dict[str, NDArray[Any]]):
    """The arrays of a .npz file by name, or the array of a .npy file under ``arr_0``; pickles are refused.

    Raises
    ------
    DatasetError
        The file is not what its suffix says, holds Python objects, or claims more than it contains.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if is_npy(path):
                super().__init__(arr_0=map_npy(path))
            else:
                check_unpacked(path, unpacked_size(path))
                super().__init__(read_npz(path, most_unpacked(path)))
        except FileNotFoundError as error:
            raise DatasetError("there is no such file", path) from error
        except MemoryError as error:
            raise DatasetError("is larger than the memory", path) from error
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot be read ({error})", path) from error

    def first_of(self, names: Iterable[str]) -> str | None:
        """Return the first of these names that an array has, or None."""
        return next((name for name in names if name in self), None)

    @property
    def holds_matrix(self) -> bool:
        """Whether the arrays are the parts of a sparse matrix."""
        return "format" in self or {"data", "indices", "indptr", "shape"} <= self.keys()

    def matrix(self, prefix: str = "") -> sp.coo_array:
        """Return the matrix that ``scipy.sparse.save_npz`` wrote, or the CSR matrix whose arrays begin with ``prefix``.

        A CSR matrix has the arrays ``prefix`` + data, indices, indptr and shape.

        Raises
        ------
        DatasetError
            The parts do not make a matrix of numbers.
        """
        try:
            # scipy allocates as many numbers as a matrix of diagonals has rows or columns, however few its file holds.
            if "offsets" in self and max(self["shape"].ravel().tolist()) > SPARE + self["data"].size:
                raise ValueError(f"says {tuple(self['shape'].tolist())}, and holds too little for it")
            if not prefix and "format" in self:
                matrix = sp.load_npz(self.path)
            else:
                parts = tuple(self[prefix + part] for part in ("data", "indices", "indptr"))
                matrix = sp.csr_array(parts, shape=tuple(self[prefix + "shape"].tolist()))
            if hasattr(matrix, "check_format"):
                matrix.check_format(full_check=True)
            if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
                raise ValueError(f"{matrix.dtype} {matrix.shape} is not a matrix of numbers")
            return sp.coo_array(matrix)
        except MemoryError as error:
            raise DatasetError("is a matrix that is larger than the memory", self.path) from error
        except Exception as error:  # scipy raises many kinds of errors when the parts have unexpected types
            raise DatasetError(f"cannot be read as a sparse matrix ({error})", self.path) from error

    def dense(self, matrix: sp.coo_array) -> NDArray[Any]:
        """Return a matrix of the file as an array (N, D), if the array is not too large. Raises DatasetError."""
        if math.prod(matrix.shape) * 8 > 4 * UNPACKED:
            raise DatasetError(
                f"{matrix.shape} numbers need more than {4 * UNPACKED >> 30} GiB as a dense matrix", self.path
            )
        return matrix.toarray()


def vectors(path: Path, what: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return vectors (N, D) as float64.

    Raises
    ------
    DatasetError
        The array does not have two dimensions, or it does not hold numbers.
    """
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        raise DatasetError(f"{what} must be (N, D) numbers, not {values.dtype} {values.shape}", path)
    return values.astype(np.float64)


def classes(path: Path, what: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return the classes (N,) of an array (N,), (N, 1) or (1, N).

    Raises
    ------
    DatasetError
        The array has another shape, such as that of one-hot classes, or a class is missing.
    """
    if values.size != max(values.shape, default=1):
        raise DatasetError(f"{what} must be one class for each row (N,), not {values.shape}", path)
    flat = values.ravel()
    missing = np.zeros(len(flat), bool)
    if flat.dtype.kind == "f":
        missing = ~np.isfinite(flat)
    elif flat.dtype.kind == "U":
        missing = np.isin(np.char.lower(np.char.strip(flat)), MISSING)
    if missing.any():
        raise DatasetError(
            f"{what} has no class in row {missing.argmax()} ({flat[missing][0]!s}); give it one, or leave {what} out",
            path,
        )
    return flat
