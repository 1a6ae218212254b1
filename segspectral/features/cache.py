"""A cache of features on disk, so that ten runs with other numbers of segments need one pass through the CNN.

The key of an entry is the hash of all inputs of the computation. An entry is a safetensors file, which contains numbers
and no code. It is written to a temporary file and then renamed, so that several processes may share a folder. A damaged
entry is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import OutputError
from segspectral.files import write_bytes
from segspectral.settings import Settings

__all__ = ["DEFAULT_FOLDER", "FeatureCache", "prune"]

DEFAULT_FOLDER = "~/.cache/segspectral"

PRUNE_EVERY = 100
"""How many entries a process writes between two checks of the folder's size."""

STALE_SECONDS = 3600.0
"""Temporary files of this age belong to a process that was killed, and are removed. Writing an entry takes seconds."""


class FeatureCache(Settings):
    """A folder of arrays. If it grows too large, the least recently used entries are removed."""

    folder: str = Field(
        DEFAULT_FOLDER, description="folder of the cached features; several processes and machines may share it"
    )
    max_gb: float = Field(5.0, gt=0, description="maximum size of the folder, in 10^9 bytes")

    def get(
        self, arrays: dict[str, NDArray[Any] | None], settings: str, make: Callable[[], dict[str, NDArray[np.float32]]]
    ) -> dict[str, NDArray[np.float32]]:
        """The result of ``make`` for these inputs; it is read from the folder, or computed and stored there.

        Parameters
        ----------
        arrays : name -> array, all arrays that the result depends on
        settings : a text that contains everything else that the result depends on
        make : returns a mapping of names to arrays (N, D) float32

        Raises
        ------
        OutputError
            The folder is not writable.
        """
        path = Path(self.folder).expanduser() / f"{_key(arrays, settings)}.safetensors"
        if (kept := _read(path)) is not None:
            return kept
        made = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in make().items()}
        _write(path, made)
        if next(_written) % PRUNE_EVERY == 0:
            prune(path.parent, self.max_gb)
        return made


_written = itertools.count()  # The count starts at 0, so that the first entry prunes a folder that is too large.


def prune(folder: str | os.PathLike[str], max_gb: float) -> tuple[int, int]:
    """Remove the least recently used entries until the folder is smaller than ``max_gb``.

    Returns
    -------
    The number of removed entries, and the number of bytes that are left.
    """
    folder = Path(folder).expanduser()
    for partial in folder.glob(".*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > STALE_SECONDS:
                partial.unlink()
    entries = []
    for path in folder.glob("*.safetensors"):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # another process has removed it
        entries.append((stat.st_mtime_ns, stat.st_size, path))
    left, removed = sum(size for _, size, _ in entries), 0
    for _, size, path in sorted(entries):
        if left <= max_gb * 1e9:
            break
        path.unlink(missing_ok=True)
        left, removed = left - size, removed + 1
    return removed, left


def _key(arrays: dict[str, NDArray[Any] | None], settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for name, array in arrays.items():
        shape = None if array is None else (str(array.dtype), array.shape)
        digest.update(f"\0{name}{shape}\0".encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read(path: Path) -> dict[str, NDArray[np.float32]] | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(path.read_bytes())
        os.utime(path)  # marks the entry as recently used
    except (OSError, SafetensorError, ValueError):
        return None
    sound = arrays and all(array.dtype == np.float32 and array.ndim == 2 for array in arrays.values())
    return arrays if sound else None


def _write(path: Path, arrays: dict[str, NDArray[np.float32]]) -> None:
    from safetensors.numpy import save

    try:
        write_bytes(path, save(arrays))
    except OutputError as error:
        why = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise OutputError(f"the cache is not writable ({why})", path.parent) from error
