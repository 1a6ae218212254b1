"""The contract of a backbone."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ARCHITECTURE",
    "DEFAULT_BACKBONE",
    "PACKAGED",
    "WEIGHTS_VARIABLE",
    "Activations",
    "Backbone",
    "FeatureMap",
    "padded",
    "weights_in_folder",
]

DEFAULT_BACKBONE = "segspectral_lite0"
"""The network that comes with segspectral; it is the only one that has a pixel edge map."""

ARCHITECTURE = "tf_efficientnet_lite0"
"""timm's name of the model whose weights were trained further for the default network."""

PACKAGED = (DEFAULT_BACKBONE, ARCHITECTURE)
"""The networks that come with segspectral; the second has the weights of ImageNet."""

WEIGHTS_VARIABLE = "SEGSPECTRAL_WEIGHTS"


@dataclass(frozen=True)
class FeatureMap:
    """Activations (h, w, C) float32; cell (r, c) covers ``stride`` x ``stride`` pixels from (r, c) * stride."""

    values: NDArray[np.float32]
    stride: int


class Activations(NamedTuple):
    """What a backbone computes from one image (H, W)."""

    maps: list[FeatureMap]
    """One map per stride of the backbone, in the same order."""
    edges: NDArray[np.float32] | None
    """(H, W) the pixel edge map; None if it was not asked for or the backbone has none."""


class Backbone(ABC):
    """A network that computes feature maps.

    Attributes
    ----------
    name : DEFAULT_BACKBONE, or timm's name of the model
    source : the file or package of the weights, for messages
    strides : (L,) pixels per cell of each map, finest first; for a ViT, the patch size occurs several times
    """

    name: str
    source: str
    strides: tuple[int, ...]

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the architecture's name and all weights. Models are applied with the fingerprint of their fit."""

    @property
    def engine(self) -> str:
        """What computes the maps. Two engines agree up to rounding."""
        return type(self).__name__

    @abstractmethod
    def activations(self, rgb: NDArray[np.float32], *, edges: bool = False) -> Activations:
        """The maps, and with ``edges`` the pixel edge map, of one image (H, W, 3) in [0, 1].

        The image is padded at the bottom and at the right to a multiple of the largest stride by repeating its last
        row and column. It is never rescaled, so that cells and pixels stay aligned.

        Raises
        ------
        BackboneError
            The network accepts only one image size, or its maps are not aligned with the pixels.
        """

    def __call__(self, rgb: NDArray[np.float32]) -> list[FeatureMap]:
        """The maps of ``activations``."""
        return self.activations(rgb).maps


def padded(rgb: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """The image (H, W, C), with its last row and column repeated until both sides are multiples of ``step``."""
    pad = [(-size) % step for size in rgb.shape[:2]]
    return np.pad(rgb, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")


def weights_in_folder(name: str) -> Path | None:
    """The file of a backbone's weights in the folder that ``SEGSPECTRAL_WEIGHTS`` names, if there is one."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    file = Path(folder) / f"{name}.safetensors" if folder else None
    return file if file is not None and file.exists() else None
