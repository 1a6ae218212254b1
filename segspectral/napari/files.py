"""Files that napari opens by the plug-in: label maps and contour maps of segspectral, and a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from segspectral.errors import SegspectralError
from segspectral.export import read_label_map
from segspectral.images.reader import read_image
from segspectral.napari.layers import LayerData, labels_layer
from segspectral.registry import shipped

__all__ = ["reader_of", "sample"]

CONTOURS = "_ucm.png"


def reader_of(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """The function that reads these files, or None if one of them is not ours: napari then asks other readers."""
    paths = [path] if isinstance(path, str) else list(path)
    for one in paths:
        if not one.endswith(CONTOURS):
            try:
                read_label_map(one)
            except SegspectralError:
                return None
    return read


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Label maps (PNG, TIFF, npz) as Labels layers; contour maps as Image layers with values from 0 to 1.

    Raises
    ------
    ImageError
    """
    layers: list[LayerData] = []
    for one in [path] if isinstance(path, str) else path:
        name = Path(one).stem
        if one.endswith(CONTOURS):
            levels = read_image(one, stretch="none").float32[..., 0]
            layers.append((levels, {"name": name, "contrast_limits": (0, 1), "blending": "additive"}, "image"))
        else:
            layers.append(labels_layer(read_label_map(one), name))
    return layers


def sample() -> list[LayerData]:
    """The sample ``coffee.jpg``."""
    return [(np.asarray(read_image(shipped("sample_images") / "coffee.jpg").uint8), {"name": "coffee"}, "image")]
