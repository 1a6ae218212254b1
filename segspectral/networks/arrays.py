"""Vectors and graphs from numpy's files. ``segspectral.files`` checks the headers before it unpacks or allocates."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.files import is_npy, read_npy, read_npz, unpacked_size

__all__ = ["UNPACKED", "check_unpacked", "dense", "is_array_file", "load_arrays", "load_sparse", "most_unpacked"]

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
    """Refuse a compressed file that unpacks to far more bytes than it has itself.

    Raises
    ------
    DatasetError
    """
    if size > most_unpacked(path):
        raise DatasetError(f"unpacks to more than {max(UNPACKED, size) / 2**30:.0f} GiB; unpack it first", path)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file by name, or the array of a .npy file under ``arr_0``; pickles are refused.

    Raises
    ------
    DatasetError
        The file is not what its suffix says, holds Python objects, or claims more than it contains.
    """
    path = Path(path)
    try:
        if is_npy(path):
            return {"arr_0": read_npy(path, path.stat().st_size)}
        check_unpacked(path, unpacked_size(path))
        return read_npz(path, most_unpacked(path))
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except MemoryError as error:
        raise DatasetError("is larger than the memory", path) from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot be read ({error})", path) from error


def load_sparse(path: Path, arrays: dict[str, NDArray[Any]], prefix: str = "") -> sp.coo_array:
    """Return the matrix that ``scipy.sparse.save_npz`` wrote, or the CSR matrix whose arrays begin with ``prefix``.

    A CSR matrix has the arrays ``prefix`` + data, indices, indptr and shape.

    Raises
    ------
    DatasetError
        The parts do not make a matrix of numbers.
    """
    try:
        # scipy allocates as many numbers as a matrix of diagonals has rows or columns, however few its file holds.
        if "offsets" in arrays and max(arrays["shape"].ravel().tolist()) > SPARE + arrays["data"].size:
            raise ValueError(f"says {tuple(arrays['shape'].tolist())}, and holds too little for it")
        if not prefix and "format" in arrays:
            matrix = sp.load_npz(path)
        else:
            parts = tuple(arrays[prefix + part] for part in ("data", "indices", "indptr"))
            matrix = sp.csr_array(parts, shape=tuple(arrays[prefix + "shape"].tolist()))
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            raise ValueError(f"{matrix.dtype} {matrix.shape} is not a matrix of numbers")
        return sp.coo_array(matrix)
    except MemoryError as error:
        raise DatasetError("is a matrix that is larger than the memory", path) from error
    except Exception as error:  # scipy raises many kinds of errors when the parts have unexpected types
        raise DatasetError(f"cannot be read as a sparse matrix ({error})", path) from error


def dense(path: Path, matrix: sp.coo_array) -> NDArray[Any]:
    """Return a sparse matrix as an array (N, D), if the array is not too large.

    Raises
    ------
    DatasetError
    """
    if math.prod(matrix.shape) * 8 > 4 * UNPACKED:
        raise DatasetError(f"{matrix.shape} numbers need more than {4 * UNPACKED >> 30} GiB as a dense matrix", path)
    return matrix.toarray()
