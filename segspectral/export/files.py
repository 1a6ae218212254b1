"""Files that stand under their name as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from segspectral.errors import OutputError

__all__ = ["write_bytes"]


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file as a whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
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
