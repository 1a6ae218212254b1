"""Files that stand under their name as a whole or not at all, and where they are as seen from each other."""

from __future__ import annotations

import os
from pathlib import Path

from segspectral.errors import OutputError

__all__ = ["link_to", "write_bytes"]


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as a whole or not at all."""
    # Cut, because a name that is just short enough must not become too long.
    partial = path.with_name(f".{path.name[-40:]}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def link_to(path: Path, folder: Path) -> str | None:
    """The path as seen from the folder, with slashes; None if no relative path leads there (another drive)."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return None
