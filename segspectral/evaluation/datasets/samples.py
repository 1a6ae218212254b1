"""Samples of a data set: images with their truths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets.files import repeated
from segspectral.wording import few

__all__ = ["Dataset", "Sample", "Truth"]


@dataclass(frozen=True)
class Truth:
    """The annotations of one image: ``labels`` (A, H, W) integers by A annotators; A = 1 for semantic sets.

    ``boundaries`` (A, H, W) bool are the annotators' boundary maps if the data set has them, else None.
    """

    labels: NDArray[np.integer]
    boundaries: NDArray[np.bool_] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.labels.shape[1], self.labels.shape[2]


@dataclass(frozen=True)
class Sample:
    """One image of a data set; ``truth()`` reads ``truth_file`` or raises ``DatasetError``."""

    id: str
    image: Path
    truth_file: Path
    read: Callable[[Path], Truth] = field(repr=False, compare=False)

    def truth(self) -> Truth:
        return self.read(self.truth_file)


@dataclass(frozen=True)
class Dataset:
    """The samples of a data set, in order.

    Parameters
    ----------
    classes : names of the classes; empty if truths are regions without classes
    void : label of the pixels that are not scored, or None
    ids : pixel values that stand for the classes in predictions, if they are not 0, 1, 2, ...
    notes : sentences about decisions that were made and files that were left out
    known : ids of all samples of the split, including those that ``open_dataset`` was told to leave out

    Raises
    ------
    DatasetError
        Two samples have the same id, or an id cannot be printed.
    """

    name: str
    split: str
    root: Path
    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    void: int | None = None
    ids: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        ids = [sample.id for sample in self.samples]
        if twice := repeated(ids):
            raise DatasetError(f"several images have the id {few(twice)}, rename them", self.root)
        if strange := [id for id in ids if not id.isprintable()]:
            raise DatasetError(f"the name {strange[0]!a} cannot be printed, rename the image", self.root)
        object.__setattr__(self, "known", self.known or frozenset(ids))

    @property
    def binary(self) -> bool:
        """Whether there are two classes, background and object, whatever numbers a mask stores for them."""
        return self.void is None and self.ids in ((0, 1), (0, 255), (0, 65535))

    def __len__(self) -> int:
        return len(self.samples)

    def fingerprint(self) -> str:
        """Return a SHA-256 over ids and truth files. Results with the same fingerprint come from the same data."""
        digest = hashlib.sha256()
        for sample in self.samples:
            digest.update(sample.id.encode() + b"\0")
            digest.update(hashlib.sha256(sample.truth_file.read_bytes()).digest())
        return digest.hexdigest()
