"""Arrays, names and JSON in files that came from somebody else: what they claim is checked before it is believed."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Container
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_BYTES", "check_inside", "is_inside", "open_file", "parse_json", "read_file", "read_npy", "read_npz"]

MAX_BYTES = 4 * 2**30
"""What arrays may take in memory unless their reader allows more or less."""


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A file opened for its bytes; a pipe, which would be waited for, and a device, which may never end, are not.

    Raises
    ------
    OSError
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", os.fspath(path))
    return open(path, "rb")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file, as ``open_file``."""
    with open_file(path) as file:
        return file.read()


def read_npy(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """An .npy file, once its header has said that it holds no pickle and how much memory it takes.

    Raises
    ------
    ValueError
        One sentence without the name of the file: what it claims is impossible or too large, or it is damaged.
    OSError
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _array(file, "the array", size, max_bytes)


def read_npz(
    path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, names: Container[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, once the headers of all have said that they hold no pickle and take so much memory.

    A file of a thousandth of that size can claim it: zeros are compressed a thousand to one.

    Parameters
    ----------
    max_bytes : of all arrays together, unpacked
    names : of the arrays that are wanted; others are not unpacked

    Raises
    ------
    ValueError
        As ``read_npy``.
    OSError
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with open_file(path) as packed, zipfile.ZipFile(packed) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename or (names is not None and name not in names) or name in arrays:
                    continue
                with archive.open(member) as file:
                    arrays[name] = _array(file, f"the array '{name}'", member.file_size, max_bytes)
                max_bytes -= arrays[name].nbytes
    except zipfile.BadZipFile as error:
        raise ValueError(f"is no .npz file, or damaged ({error})") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, an unknown compression
        raise ValueError(f"is an .npz file that cannot be unpacked ({error})") from error
    return arrays


def _array(file: IO[bytes], what: str, size: int, max_bytes: int) -> NDArray[Any]:
    try:
        head = io.BytesIO(file.read(min(size, 12_000)))  # numpy's own limit on a header is 10 000
        version = np.lib.format.read_magic(head)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{what} is of version {version} of the format, and 1.0 and 2.0 are read")
        shape, in_columns, dtype = read_header(head)
        if dtype.hasobject:
            raise ValueError(f"{what} holds Python objects, which are not read: they can run code")
        nbytes = math.prod(map(int, shape)) * dtype.itemsize
        if min(shape, default=0) < 0 or nbytes > max_bytes:
            raise ValueError(f"{what} {shape} would take {nbytes:,} bytes, more than the {max_bytes:,} that are read")
        if head.tell() + nbytes > size:
            raise ValueError(f"{what} is cut off: its header promises {nbytes:,} bytes {shape}")
        data = bytearray(nbytes)
        done = head.readinto(data)
        while done < nbytes:
            got = file.readinto(memoryview(data)[done:])  # type: ignore[attr-defined]
            if not got:
                raise ValueError(f"{what} is cut off: it has {done:,} of {nbytes:,} bytes")
            done += got
        return np.ndarray(shape, dtype, data, order="F" if in_columns else "C")
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # numpy parses the header as Python, and raises what its parser does
        raise ValueError(f"{what} is damaged ({type(error).__name__}: {error})") from error


def parse_json(text: str | bytes) -> Any:
    """JSON from outside.

    Raises
    ------
    ValueError
        It is no JSON, or is nested deeper than Python's reader goes.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def check_inside(name: Any) -> str:
    """A name of a file that stays below the folder it is joined to, on any system; returned as it is.

    Raises
    ------
    ValueError
        The name is not text, is empty or absolute, has a drive, goes up by ``..``, or holds a NUL.

    >>> check_inside("day 1/a.jpg")
    'day 1/a.jpg'
    """
    if not isinstance(name, str):
        raise ValueError(f"a name of a file is text, not {type(name).__name__}")
    windows = PureWindowsPath(name)
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or windows.drive or windows.root:
        raise ValueError(f"the name {name[:80]!r} is empty, absolute, or holds a NUL; names are relative")
    if ".." in windows.parts:
        raise ValueError(f"the name {name[:80]!r} leads out of its folder")
    return name


def is_inside(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    """Whether a file lies in a folder or below it, after following all links to folders on the way (not the file's)."""
    try:
        root, place = os.path.realpath(folder), os.path.realpath(os.path.dirname(path))
        return os.path.commonpath([root, place]) == root
    except ValueError:  # no file can have such a name, or it is on another drive
        return False
