"""Unsupervised image segmentation with superpixel graphs and neural spectral clustering.

>>> import segspectral
>>> s = segspectral.segment("cat.jpg", segments=5)   # doctest: +SKIP
>>> s.labels                                         # (H, W), segments 1..5    # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segspectral.images.reader import read_image
    from segspectral.pipeline import Pipeline, segment
    from segspectral.values import Affinity, Features, Image, Membership, Segmentation, Superpixels

__version__ = "0.1.0"

__all__ = [
    "Affinity",
    "Features",
    "Image",
    "Membership",
    "Pipeline",
    "Segmentation",
    "Superpixels",
    "read_image",
    "segment",
]

_HOMES = {"Pipeline": "pipeline", "segment": "pipeline", "read_image": "images.reader"}


def __getattr__(name: str) -> Any:
    # Modules are imported when they are first used, because importing torch and timm takes seconds.
    if name not in __all__:
        raise AttributeError(f"module 'segspectral' has no attribute '{name}'")
    return getattr(import_module(f"segspectral.{_HOMES.get(name, 'values')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
