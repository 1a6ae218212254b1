"""BSDS500: regions and boundaries by several annotators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.evaluation.datasets.files import contents, pairs_of
from segspectral.evaluation.datasets.samples import Dataset, Sample, Truth
from segspectral.files import read_npz
from segspectral.wording import first_line

__all__ = ["read_bsds"]


def read_bsds(root: Path, split: str) -> Dataset:
    folders = [
        (base / a, base / b)
        for base in (root / inner for inner in ("", "data", "BSDS500/data", "BSR/BSDS500/data"))
        for a, b in ((f"images/{split}", f"groundTruth/{split}"), (f"{split}/images", f"{split}/gt"))
        if (base / a).is_dir() and (base / b).is_dir()
    ]
    if not folders:
        raise DatasetError(
            f"is not a BSDS500 root with a {split} split: expected images/{split} and "
            f"groundTruth/{split} (.mat), or {split}/images and {split}/gt (.npz), found {contents(root)}",
            root,
        )
    if len(folders) > 1:
        raise DatasetError(
            f"holds the {split} split twice, in {folders[0][0]} and {folders[1][0]}: name one of them", root
        )
    pairs, notes = pairs_of(*folders[0], (".mat", ".npz"))
    samples = tuple(
        Sample(i, image, truth, _read_npz if truth.suffix.lower() == ".npz" else _read_mat) for i, image, truth in pairs
    )
    return Dataset("bsds", split, root, samples, notes=notes)


def _read_mat(path: Path) -> Truth:
    from scipy.io import loadmat

    try:
        cells = loadmat(path)["groundTruth"].ravel()
        segmentations = np.stack([cell["Segmentation"][0, 0] for cell in cells])
        boundaries = np.stack([cell["Boundaries"][0, 0] for cell in cells]) > 0
    except Exception as error:  # scipy's reader can raise any kind of error for damaged files
        raise DatasetError(
            f"cannot be read as a BSDS ground truth ({first_line(error)}), get the file again", path
        ) from error
    return _regions(path, segmentations, boundaries)


def _read_npz(path: Path) -> Truth:
    try:
        parts = read_npz(path, names=("segs", "bdrys"))
        segmentations = parts["segs"]
        boundaries = np.unpackbits(parts["bdrys"], axis=-1)[..., : segmentations.shape[-1]] > 0
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DatasetError(f"cannot be read as `segs` and `bdrys` of BSDS ({first_line(error)})", path) from error
    return _regions(path, segmentations, boundaries)


def _regions(path: Path, segmentations: NDArray[np.integer], boundaries: NDArray[np.bool_]) -> Truth:
    if segmentations.ndim != 3 or 0 in segmentations.shape or boundaries.shape != segmentations.shape:
        raise DatasetError(
            f"segmentations {segmentations.shape} and boundaries {boundaries.shape} are not of one shape (A, H, W)",
            path,
        )
    if segmentations.dtype.kind not in "iub":
        raise DatasetError(f"segmentations are {segmentations.dtype}, expected integers", path)
    return Truth(segmentations.astype(np.int32), boundaries)
