"""Temporary folders, which are removed with the process that made them, however it ends."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from segspectral.errors import OutputError

__all__ = ["scratch_folder"]

PREFIX = "segspectral-scratch-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder in the system's place for temporary files; it is removed at the end.

    It is also removed if the program ends within. A process that is killed can remove nothing, so the next one that
    makes such a folder does it: each holds a lock on its own, which the system releases however the process ends.
    Where folders cannot be locked (on Windows, and in some network folders), what killed processes leave stays.

    Raises
    ------
    OutputError
        There is no place for temporary files that can be written to, or it becomes full within.
    """
    with suppress(OSError):
        _sweep()
    while True:
        folder = _made()
        try:
            lock = _locked(Path(folder.name))
        except (BlockingIOError, FileNotFoundError):  # another process took it for a dead one's before it was locked
            folder.cleanup()
            continue
        except (ImportError, OSError):
            lock = None
        break
    try:
        with folder:
            yield Path(folder.name)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        why = f"the folder for temporary files cannot be written to ({error.strerror})"
        raise OutputError(f"{why}; make room, or set TMPDIR to a folder on another disk") from error
    finally:
        if lock is not None:
            os.close(lock)


def _made() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    except OSError as error:
        why = f"no folder for temporary files can be made ({error.strerror})"
        raise OutputError(f"{why}; set TMPDIR to a folder that can be written to") from error


def _sweep() -> None:
    """Remove the folders of processes that are dead."""
    for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(ImportError, OSError):
            lock = _locked(place)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(lock)


def _locked(place: Path) -> int:
    """A descriptor of a folder that locks it until it is closed.

    Raises
    ------
    BlockingIOError
        Another descriptor locks it, of this process or another.
    FileNotFoundError
        It is gone.
    ImportError, OSError
        Folders cannot be locked here.
    """
    import fcntl

    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(place)  # it may have been removed by the one that locked it before
    except OSError:
        os.close(lock)
        raise
    return lock
