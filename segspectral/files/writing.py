"""Writers for files that exist completely or not at all, and relative paths between files."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from segspectral.errors import OutputError
from segspectral.files.reading import address_of

NAME_BYTES = 220
"""File systems allow names of 255 bytes. The rest is for what ``partial_of`` adds: dots, a process id, ".partial"."""

_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("_waiting", default=None)
"""Of a set of files that is being written: the path of each file -> where it is until the set is complete."""


@contextmanager
def whole_set() -> Iterator[None]:
    """Files that are written within appear together at the end; after an error none of them does.

    Until then, earlier files of these names stay as they are, and ``unfinished`` says where a new one is. A set within
    a set is a part of it. Files that other threads write are not in the set.

    Raises
    ------
    OutputError
        A file cannot be renamed.
    """
    if _waiting.get() is not None:
        yield
        return
    files: dict[Path, Path] = {}
    token = _waiting.set(files)
    try:
        yield
        _appear(files)
    finally:
        _waiting.reset(token)
        for partial in files.values():
            partial.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Where the file is now: in another place than ``path`` if the set that it belongs to is not complete yet."""
    return (_waiting.get() or {}).get(path, path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to. At the end it is renamed in one step; after an error it is removed.

    Within ``whole_set``, it is renamed at the end of the set.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    if (address := address_of(path)) is not None:
        raise OutputError("is an address; only files and folders of this machine are written", address)
    if path.is_dir():
        raise OutputError("is a folder; name a file", path)
    if path.exists() and not path.is_file():  # the file would replace it, as root even /dev/null
        raise OutputError("is a device or a pipe; name a file", path)
    partial, files = partial_of(path), _waiting.get()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if files is None:
                os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path) from error
    if files is not None:
        files[path] = partial


def _appear(files: Mapping[Path, Path], again: bool = False) -> None:
    """Rename the files of a set. Ctrl-C, or a signal that is taken as such, ends the program after the last of them."""
    try:
        for path, partial in files.items():
            if again and not os.path.lexists(partial):  # it was renamed before the interrupt
                continue
            try:
                os.replace(partial, path)
            except OSError as error:
                raise OutputError(f"cannot be written ({error.strerror or error})", path) from error
    except KeyboardInterrupt:
        _appear(files, again=True)
        raise


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file completely or not at all. Raises OutputError."""
    with whole_file(path) as partial:
        partial.write_bytes(data)
    return path


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as a compressed .npz file without pickles."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def write_npz(path: Path, **arrays: Any) -> Path:
    """Write a compressed .npz file completely or not at all.

    An array is given as it is or, if it may be larger than the memory, as its shape and its rows, block after block of
    float32: later arrays may be filled while the blocks of earlier ones are made.

    Raises
    ------
    OutputError
    """
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, given in arrays.items():
            shape, blocks = given if isinstance(given, tuple) else (given.shape, [given])
            dtype = np.dtype(np.float32) if isinstance(given, tuple) else given.dtype
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for block in blocks:
                    member.write(np.ascontiguousarray(block, dtype).tobytes())
    return path


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a zip archive of names and contents; it has no dates, so equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def check_folder(folder: Path) -> None:
    """Check before minutes of work that results can be written to a folder; no folder is left behind.

    Raises
    ------
    OutputError
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise OutputError(f"cannot be written to, because {place} is a file; choose another folder", folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        write_bytes(folder / ".segspectral", b"").unlink()
    except OutputError as error:
        why = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise OutputError(f"cannot be written to ({why}); choose another folder", folder) from error
    finally:
        for place in made:
            with suppress(OSError):
                place.rmdir()


def partial_of(path: Path) -> Path:
    """Return the path of a file until it is complete; it is in the same folder, so renaming is one step.

    >>> partial_of(Path("out/cat.png")).name.removesuffix(f"{os.getpid()}.partial")
    '.cat.png.'
    """
    return path.with_name(f".{shortened(path.name)}.{os.getpid()}.partial")


def shortened(name: str) -> str:
    """Return a name that leaves room for the additions of partial files within the 255 bytes of file systems."""
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[: -max(1, (len(os.fsencode(name)) - NAME_BYTES) // 4)]
    return name


def link_file(path: Path, source: Path) -> bool:
    """Make ``path`` a relative link to a file, or a copy if links are not possible. Return whether it is a link.

    Raises
    ------
    OutputError
    """
    with whole_file(path) as partial:
        try:
            partial.symlink_to(os.path.relpath(source.resolve(), path.parent.resolve()))
        except (OSError, NotImplementedError, ValueError):
            shutil.copyfile(source, partial)
        linked = partial.is_symlink()
    return linked


def link_to(path: Path, folder: Path) -> str | None:
    """Return the path relative to the folder, with slashes; None if there is no relative path (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return None
