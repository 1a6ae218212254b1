"""Readers for arrays, names and JSON in files from other people: every claim is checked before it is believed."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Collection
from itertools import accumulate
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 4 * 2**30
"""Arrays may take 4 GiB of memory unless the caller says otherwise: it fits into a laptop with 8 GiB."""

MAX_MEMBERS = 1000
"""An .npz file may have this many members. Files from numpy and scipy have fewer than twenty."""

DEEPEST = 500
"""JSON may be nested this deep."""

HEADER_BYTES = 12_000
"""The part of a file in which its header ends: numpy itself refuses headers of more than 10 000 characters."""


ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+:)/+(?=.)", re.IGNORECASE)
"""There are at least two letters before the colon, because one letter is a drive of Windows. A ``Path`` shortens two
slashes to one."""


def address_of(name: str | os.PathLike[str]) -> str | None:
    """Return the address that a name is; None if it is the name of a local file, also of one in a folder ``data:``.

    >>> address_of("https:/example.org/a.png"), address_of("C:/a.png")
    ('https://example.org/a.png', None)
    """
    text = os.fspath(name)
    found = ADDRESS.match(text)
    return f"{found[1]}//{text[found.end() :]}" if found and not os.path.lexists(found[1]) else None


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading its bytes. A pipe, which may never begin, and a device, which may never end, are refused.

    Raises
    ------
    OSError
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", os.fspath(path))
    return open(path, "rb")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Read the bytes of a file that ``open_file`` opens. Raises OSError."""
    with open_file(path) as file:
        return file.read()


def is_npy(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins like an .npy file, whatever its name is. Raises OSError."""
    with open_file(path) as file:
        return file.read(6) == b"\x93NUMPY"


def read_npy(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read an .npy file after checking that its header announces no pickle and not too much memory.

    Raises
    ------
    ValueError
        The header is impossible, the array is too large, or the file is damaged. The message is one sentence without
        the name of the file.
    OSError
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _array(file, "the array", size, max_bytes)


def map_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array of an .npy file, whose values are read from it when they are used; it cannot be written to.

    Raises as ``read_npy``.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head, shape, dtype, order = _header(file, "the array", size, size)
    if not math.prod(shape) * dtype.itemsize:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", head.tell(), shape, order)


def read_npz(
    path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file after checking each header for pickles and for the memory it needs.

    A small file can claim to hold a thousand times its size, because zeros are compressed that much.

    Parameters
    ----------
    max_bytes : size of all arrays together after unpacking
    names : names of the wanted arrays; other arrays are not unpacked

    Raises
    ------
    ValueError
        As for ``read_npy``.
    OSError
    """
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with open_file(path) as packed, zipfile.ZipFile(packed) as archive:
            for member in _members(archive):
                name = member.filename.removesuffix(".npy")
                if name == member.filename or (names is not None and name not in names) or name in arrays:
                    continue
                with archive.open(member) as file:
                    arrays[name] = _array(file, f"the array '{name}'", member.file_size, max_bytes)
                max_bytes -= arrays[name].nbytes
    except zipfile.BadZipFile as error:
        raise ValueError(f"is not an .npz file, or it is damaged: {error}") from error
    except (RuntimeError, NotImplementedError) as error:  # a password, or an unknown compression
        raise ValueError(f"is an .npz file that cannot be unpacked: {error}") from error
    return arrays


def unpacked_size(path: str | os.PathLike[str]) -> int:
    """Return the number of bytes that an .npz file says it has after unpacking. Raises ValueError and OSError."""
    try:
        with open_file(path) as packed, zipfile.ZipFile(packed) as archive:
            return sum(member.file_size for member in _members(archive))
    except zipfile.BadZipFile as error:
        raise ValueError(f"is not an .npz file, or it is damaged: {error}") from error


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"holds {len(members)} members; at most {MAX_MEMBERS} are read")
    return members


def _array(file: IO[bytes], what: str, size: int, max_bytes: int) -> NDArray[Any]:
    head, shape, dtype, order = _header(file, what, size, max_bytes)
    nbytes = math.prod(shape) * dtype.itemsize
    data = bytearray(nbytes)
    done = head.readinto(data)
    while done < nbytes:
        got = file.readinto(memoryview(data)[done:])  # type: ignore[attr-defined]
        if not got:
            raise ValueError(f"{what} is cut off: it has {done:,} of {nbytes:,} bytes")
        done += got
    return np.ndarray(shape, dtype, data, order=order)


def _header(
    file: IO[bytes], what: str, size: int, max_bytes: int
) -> tuple[io.BytesIO, tuple[int, ...], np.dtype[Any], Literal["C", "F"]]:
    """The first bytes, with the data from their present position on, and the shape, type and order of the array."""
    try:
        head = io.BytesIO(file.read(min(size, HEADER_BYTES)))
        version = np.lib.format.read_magic(head)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
            version
        )
        if read_header is None:
            raise ValueError(f"{what} has version {version} of the format; versions 1.0 and 2.0 are supported")
        try:
            shape, in_columns, dtype = read_header(head)
        except ValueError as error:  # numpy's sentences show parts of Python's parser
            raise ValueError(f"{what} has a header that cannot be read") from error
        if dtype.hasobject:
            raise ValueError(f"{what} holds Python objects (pickle), which are not read because they can run code")
        nbytes = math.prod(map(int, shape)) * dtype.itemsize
        if min(shape, default=0) < 0:
            raise ValueError(f"{what} has the impossible shape {shape}")
        if nbytes > max_bytes:
            raise ValueError(f"{what} {shape} would take {nbytes:,} bytes, more than the limit of {max_bytes:,}")
        if head.tell() + nbytes > size:
            raise ValueError(f"{what} is cut off: its header says {shape}, which takes {nbytes:,} bytes")
        return head, tuple(map(int, shape)), dtype, "F" if in_columns else "C"
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as error:  # numpy parses the header as Python, so its parser can raise many kinds of errors
        raise ValueError(f"{what} is damaged ({type(error).__name__}: {error})") from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON from another program.

    Raises
    ------
    ValueError
        The text is not JSON, or it is nested deeper than ``DEEPEST``. How deep Python's own parser goes depends on its
        version, and whoever walks through the values needs a limit as well.
    """
    openings = (text.count("[") + text.count("{")) if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if openings > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError("the JSON is nested too deep")
    return json.loads(text)


def _depth(text: str | bytes) -> int:
    """How deep the brackets of a JSON text outside its strings are nested."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    found = re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', text)
    return max(accumulate((token[0] in "[{") - (token[0] in "]}") for token in found), default=0)


def is_of_mac(path: str | os.PathLike[str]) -> bool:
    """Return whether a file has the name of the metadata that a Mac stores beside a file (AppleDouble).

    Folders of results are full of such files when they come from a Mac by a stick or an archive.

    >>> is_of_mac("out/._cat_labels.png"), is_of_mac("out/cat_labels.png")
    (True, False)
    """
    return os.path.basename(path).startswith("._")


def composed(name: str) -> str:
    """Return a name in the spelling in which names of files are compared (Unicode NFC).

    A Mac writes é as e and an accent in the names of files, a keyboard as one character. On other systems these are two
    names, which look alike.

    >>> composed("cafe\\u0301.jpg") == "caf\\u00e9.jpg"
    True
    """
    return unicodedata.normalize("NFC", name)


def check_inside(name: Any) -> str:
    """Return a file name unchanged if it stays below the folder to which it is joined, on every operating system.

    Raises
    ------
    ValueError
        The name is not text, is empty or absolute, has a drive, contains ``..``, or contains a NUL character.

    >>> check_inside("day 1/a.jpg")
    'day 1/a.jpg'
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a file must be text, not {type(name).__name__}")
    windows = PureWindowsPath(name)
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or windows.drive or windows.root:
        raise ValueError(f"the name {name[:80]!r} is empty, absolute, or contains a NUL; names must be relative")
    if ".." in windows.parts:
        raise ValueError(f"the name {name[:80]!r} leads out of its folder")
    return name


def is_inside(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    """Return whether a file lies in a folder or below it. Links to folders are followed, the file's own link is not."""
    try:
        root, parent = os.path.realpath(folder), os.path.realpath(os.path.dirname(path))
        return os.path.commonpath([root, parent]) == root
    except ValueError:  # no file can have such a name, or it lies on another drive
        return False
