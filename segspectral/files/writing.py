"""Files that stand under their name as a whole or not at all, and where they are as seen from each other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segspectral.errors import OutputError

__all__ = ["check_folder", "link_file", "link_to", "partial_of", "shortened", "whole_file", "write_bytes"]

NAME_BYTES = 220


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to. At the end it is renamed in one step; if anything fails, it is removed.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", path) from error


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as a whole or not at all. Raises OutputError."""
    with whole_file(path) as partial:
        partial.write_bytes(data)
    return path


def check_folder(folder: Path) -> None:
    """Check before minutes of work that results can be written to a folder. Nothing is left there.

    Raises
    ------
    OutputError
    """
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise OutputError(f"cannot be written to, because {place} is a file; choose another folder", folder)
    try:
        write_bytes(folder / ".segspectral", b"").unlink()
        for place in absent:  # a run that ends for another reason leaves no empty folder behind
            with suppress(OSError):
                place.rmdir()
    except OutputError as error:
        why = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise OutputError(f"cannot be written to ({why}); choose another folder", folder) from error


def partial_of(path: Path) -> Path:
    """Where a file stands until it is whole: beside its place, so that renaming it is one step.

    >>> partial_of(Path("out/cat.png")).name.removesuffix(f"{os.getpid()}.partial")
    '.cat.png.'
    """
    return path.with_name(f".{shortened(path.name)}.{os.getpid()}.partial")


def shortened(name: str) -> str:
    """A name that leaves room for what partial files add to it, in the 255 bytes that file systems allow."""
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[: -max(1, (len(os.fsencode(name)) - NAME_BYTES) // 4)]
    return name


def link_file(path: Path, source: Path) -> bool:
    """Make ``path`` a relative link to a file; a copy of it where links are not possible. Returns whether it is a link.

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
    """The path as seen from the folder, with slashes; None if no relative path leads there (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return None
