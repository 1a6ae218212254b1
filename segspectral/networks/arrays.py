"""Files of numpy arrays, checked by their headers before anything is unpacked or allocated."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError

__all__ = ["UNPACKED", "check_unpacked", "dense", "is_array_file", "load_arrays", "load_sparse"]

UNPACKED = 2**30
"""Bytes to which a compressed file may unpack; a file that is itself large may unpack to fifty times its size."""

MEMBERS = 1000


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as .npy or as .npz, or is named so.

    Raises
    ------
    DatasetError
        The file cannot be opened.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except OSError as error:
        raise DatasetError(f"cannot be read ({error.strerror})", path) from error
    return magic == b"\x93NUMPY" or path.suffix.lower() in (".npy", ".npz")


def check_unpacked(path: Path, size: int) -> None:
    """Refuse a compressed file that unpacks to very much more than it is.

    Raises
    ------
    DatasetError
    """
    if size > max(UNPACKED, 50 * path.stat().st_size):
        raise DatasetError(f"unpacks to more than {max(UNPACKED, size) / 2**30:.0f} GiB; unpack it first", path)


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz by name, or the one of a .npy under ``arr_0``; never by pickle.

    Raises
    ------
    DatasetError
        The file is not what its suffix says, holds Python objects, or its headers promise more than it has.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                file.seek(0)
                _check(path, path.name, file, path.stat().st_size)
                return {"arr_0": np.load(path, allow_pickle=False)}
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise DatasetError(f"holds {len(members)} members; at most {MEMBERS} are read", path)
            check_unpacked(path, sum(member.file_size for member in members))
            for member in members:
                with archive.open(member) as stream:
                    _check(path, member.filename, stream, member.file_size)
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except MemoryError as error:
        raise DatasetError("is larger than the memory", path) from error
    except DatasetError:
        raise
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib, struct and numpy
        raise DatasetError(f"cannot be read ({error})", path) from error


def load_sparse(path: Path, arrays: dict[str, NDArray[Any]], prefix: str = "") -> sp.coo_array:
    """A matrix that ``scipy.sparse.save_npz`` wrote, or a CSR one from ``prefix`` + data, indices, indptr and shape.

    Raises
    ------
    DatasetError
        The parts do not make a matrix of numbers.
    """
    try:
        if not prefix and "format" in arrays:
            matrix = sp.load_npz(path)
        else:
            parts = tuple(arrays[prefix + part] for part in ("data", "indices", "indptr"))
            matrix = sp.csr_array(parts, shape=tuple(arrays[prefix + "shape"].tolist()))
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            raise ValueError(f"{matrix.dtype} {matrix.shape} is no matrix of numbers")
        return sp.coo_array(matrix)
    except MemoryError as error:
        raise DatasetError("is a matrix larger than the memory", path) from error
    except Exception as error:  # parts of odd types raise all kinds of errors in scipy
        raise DatasetError(f"cannot be read as a sparse matrix ({error})", path) from error


def dense(path: Path, matrix: sp.coo_array) -> NDArray[Any]:
    """(N, D) of a sparse matrix that is not too large to be dense.

    Raises
    ------
    DatasetError
    """
    if math.prod(matrix.shape) * 8 > 4 * UNPACKED:
        raise DatasetError(
            f"{matrix.shape} numbers need more than {4 * UNPACKED >> 30} GiB if they are not sparse", path
        )
    return matrix.toarray()


def _check(path: Path, name: str, stream: IO[bytes], size: int) -> None:
    """Compare the shape and type in a header with the bytes that follow it."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise DatasetError(f"{name} holds Python objects (pickle), which may run code; save plain numbers", path)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > size:
        raise DatasetError(f"{name} says {shape} {dtype} and has {size} bytes", path)
