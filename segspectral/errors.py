"""All errors that segspectral raises on purpose.

::

    SegspectralError                what the command line prints as one sentence, without a traceback
    ├── ImageError                  a file or an array that is not a usable image
    ├── SettingsError               an unknown or impossible setting (exit code 2 on the command line)
    ├── BackboneError               CNN weights that cannot be found or do not fit
    ├── GraphError                  an affinity that breaks its contract (negative, asymmetric, not finite)
    ├── CollapseError               a head that used fewer clusters than requested, also at its second attempt
    ├── DatasetError                a data set, ground truth or prediction that is missing or has the wrong format
    ├── OutputError                 a file or folder that cannot be written
    └── BatchError                  a batch that cannot start or continue

Bad values are also ``ValueError`` (``GraphError``, ``SettingsError``, ``ImageError``), so that code written against
numpy's and scikit-learn's habits keeps working. An error has a ``message`` and a ``source``, the file or folder that it
is about. Code that does not know the file leaves the source out, and its caller adds it: ``with about(path): ...``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

__all__ = [
    "BackboneError",
    "BatchError",
    "CollapseError",
    "DatasetError",
    "GraphError",
    "ImageError",
    "OutputError",
    "SegspectralError",
    "SettingsError",
    "about",
]


class SegspectralError(Exception):
    """The base class of all errors with a message for the user.

    Parameters
    ----------
    message : the sentence without the name of the file
    source : what the error is about, most often a file; ``str(error)`` is "source: message"

    >>> str(SegspectralError("there is no such file", "cat.jpg"))
    'cat.jpg: there is no such file'
    """

    def __init__(self, message: object = "", source: object = None) -> None:
        super().__init__(message)
        self.message = str(message)
        self.source = None if source is None else str(source)

    def __str__(self) -> str:
        return self.message if self.source is None else f"{self.source}: {self.message}"


@contextmanager
def about(source: object) -> Iterator[None]:
    """Errors within are about ``source``.

    An error that has another source keeps it in its message: "cat.jpg: out/cat.png: cannot be written". A source that
    is the bare name of the same file is replaced by the full path.

    >>> with about("photos/cat.jpg"):
    ...     raise ImageError("is damaged", "cat.jpg")
    Traceback (most recent call last):
    segspectral.errors.ImageError: photos/cat.jpg: is damaged
    """
    try:
        yield
    except SegspectralError as error:
        if error.source not in (None, str(source), PurePath(str(source)).name):
            error.message = str(error)
        error.source = str(source)
        raise


class ImageError(SegspectralError, ValueError):
    """A file or an array is not a usable image."""


class SettingsError(SegspectralError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""


class BackboneError(SegspectralError):
    """The weights of a CNN cannot be found, read, or do not fit the architecture."""


class GraphError(SegspectralError, ValueError):
    """An affinity breaks its contract: square, symmetric, finite, non-negative."""


class CollapseError(SegspectralError):
    """A head used fewer clusters than requested, also at its second attempt. Such a result is never returned."""


class DatasetError(SegspectralError):
    """A data set, a ground truth or a prediction is missing or does not have the expected format."""


class OutputError(SegspectralError):
    """A result cannot be written to the requested file or folder."""

    @property
    def no_room(self) -> bool:
        """Whether the disk or the quota is full, so that no other result can be written either."""
        return isinstance(self.__cause__, OSError) and self.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)


class BatchError(SegspectralError):
    """A batch cannot start or continue: another one writes to the same folder, or its workers do not start."""
