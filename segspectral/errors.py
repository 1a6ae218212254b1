"""Every error that segspectral raises on purpose, in one tree.

::

    SegspectralError                what the command line prints as one sentence, without a traceback
    ├── ImageError                  a file or an array that is no usable image
    ├── SettingsError               an unknown or impossible setting (exit code 2 on the command line)
    ├── BackboneError               CNN weights that cannot be found or do not fit
    ├── GraphError                  an affinity that breaks its contract (negative, asymmetric, not finite)
    ├── CollapseError               a head that put everything into fewer segments than asked, after its retry
    ├── DatasetError                a data set, truth or prediction that is not as it should be
    ├── OutputError                 a place that cannot be written to
    └── BatchError                  a batch that cannot begin or go on

Bad values are also ``ValueError`` (``GraphError``, ``SettingsError``, ``ImageError``), so that code written against
numpy's and scikit-learn's habits keeps working. Messages are terse inside; the outer boundary (the command line)
adds the caller's words: which file, which stage.
"""

from __future__ import annotations

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
]


class SegspectralError(Exception):
    """Root of all errors that have a sentence for the user."""


class ImageError(SegspectralError, ValueError):
    """A file or an array is not a usable image."""


class SettingsError(SegspectralError, ValueError):
    """A setting is unknown, out of range, or does not go with the others."""


class BackboneError(SegspectralError):
    """The weights of a CNN cannot be found, read, or do not fit the architecture."""


class GraphError(SegspectralError, ValueError):
    """An affinity breaks its contract: square, symmetric, finite, non-negative."""


class CollapseError(SegspectralError):
    """A head used fewer clusters than asked, also after its retry; never returned as a result."""


class DatasetError(SegspectralError):
    """A data set, a truth or a prediction is missing or is not what its format says."""


class OutputError(SegspectralError):
    """A result cannot be written where it was asked for."""


class BatchError(SegspectralError):
    """A batch cannot begin or go on: another one writes to the same place, or its workers do not start."""
