"""Benchmark data sets, read from their official folder layouts.

A data set is a list of samples in a fixed order. A sample knows its id, its image file and how to load its truth. All
truths have one form: class ids 0..C-1 and one void label for semantic sets, or A label maps for sets with several
annotators. A file that does not fit the layout raises a ``DatasetError``, whose sentence names the file. Files that are
left out on purpose are counted and named in ``Dataset.notes``.

``READERS`` lists them all; to add one, write a function, add it there, and add its title to
``segspectral.registry.DATASETS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets.bsds import read_bsds
from segspectral.evaluation.datasets.classes import read_camvid, read_cityscapes, read_voc
from segspectral.evaluation.datasets.files import read_ids, repeated, repeated_ids
from segspectral.evaluation.datasets.folder import read_folder
from segspectral.evaluation.datasets.samples import Dataset, Sample, Truth
from segspectral.evaluation.maskfiles import read_label_ids, read_mask
from segspectral.evaluation.masks import Void
from segspectral.files import composed
from segspectral.registry import DATASETS
from segspectral.wording import few

__all__ = ["READERS", "Dataset", "Sample", "Truth", "open_dataset", "read_label_ids", "read_mask"]

READERS: Mapping[str, Callable[..., Dataset]] = {
    "voc": read_voc,
    "cityscapes": partial(read_cityscapes, classes=27),
    "cityscapes19": partial(read_cityscapes, classes=19),
    "camvid": read_camvid,
    "bsds": read_bsds,
    "folder": read_folder,
}
"""Name on the command line -> from the folder of a data set and the name of a split to the data set."""


def open_dataset(
    name: str,
    root: str | Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    ids: Iterable[str] | str | Path | None = None,
    with_class: str | None = None,
    void: Void | None = None,
) -> Dataset:
    """Open a data set of ``READERS``, or a part of it.

    Parameters
    ----------
    name : str
        A name of ``READERS``.
    root : path
        The folder of the data set; the official folder or one a few levels above it.
    split : str, optional
        The part; the default is "val". For ``folder`` it is a subfolder; the default is "val" if it exists, else all.
    limit : int, optional
        Keep only the first ``limit`` samples.
    ids : list of str, or a file with one id per line, optional
        Keep only these samples, in the order of the data set.
    with_class : str, optional
        Keep only images whose truth has this class.
    void : int or "none", optional
        For ``folder`` only: the value of mask pixels that are not scored, or "none" if all pixels are scored. It is
        required if masks have the value 255 (or 65535, or a negative number) beside other classes. The other data sets
        define their void value themselves.

    Raises
    ------
    DatasetError
        The root does not have this layout, a file is missing, two files have the same name, the void value is unknown,
        an id or class is unknown, or no sample is left.
    """
    if name not in READERS:
        raise DatasetError(f"unknown data set {name!r}: the known ones are {', '.join(READERS)}")
    base = Path(root)
    if not base.is_dir():
        raise DatasetError(f"is not a folder; it should be the root of {DATASETS[name]}", base)
    if name == "folder":
        dataset = read_folder(base, split, void)
    elif void is None:
        dataset = READERS[name](base, split or "val")
    else:
        raise DatasetError(f"{name} defines its void label itself: leave out void (--void), which is only for folder")
    which = f"the {split or 'val'} split of {name}"
    if ids is not None:
        dataset = _with_ids(dataset, ids, which)
    if with_class is not None:
        dataset = _with_class(dataset, with_class)
    if limit is not None:
        dataset = replace(dataset, samples=dataset.samples[: max(limit, 0)])
    if not dataset.samples:
        raise DatasetError(f"no image is left in {which} with these restrictions", base)
    return dataset


def _with_ids(dataset: Dataset, ids: Iterable[str] | str | Path, which: str) -> Dataset:
    if isinstance(ids, str | Path):
        named, notes = read_ids(Path(ids), dataset.known.__contains__)
    else:
        named, notes = tuple(map(composed, ids)), ()
    if unknown := sorted(set(named) - dataset.known):
        raise DatasetError(f"{which} has no image {few(unknown)}", dataset.root)
    if repeated(named):
        notes += (repeated_ids("ids", named),)
    samples = tuple(sample for sample in dataset.samples if sample.id in set(named))
    return replace(dataset, samples=samples, notes=dataset.notes + notes)


def _with_class(dataset: Dataset, name: str) -> Dataset:
    if name not in dataset.classes:
        names = ", ".join(dataset.classes) or "none, because its truths are regions"
        raise DatasetError(f"{dataset.name} has no class {name!r}: its classes are {names}")
    label = dataset.classes.index(name)
    return replace(dataset, samples=tuple(s for s in dataset.samples if (s.truth().labels == label).any()))
