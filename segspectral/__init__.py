"""Unsupervised image segmentation with superpixel graphs and neural spectral clustering.

>>> import segspectral
>>> s = segspectral.segment("cat.jpg", segments=5)   # doctest: +SKIP
>>> s.labels                                         # (H, W), segments 1..5    # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segspectral.imports import imported_on_use

if TYPE_CHECKING:
    from segspectral.evaluation import compare, evaluate
    from segspectral.evaluation.datasets import open_dataset
    from segspectral.images.reader import read_image
    from segspectral.pipeline import Pipeline, from_edges, segment
    from segspectral.teaching import teach
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
    "compare",
    "evaluate",
    "from_edges",
    "open_dataset",
    "read_image",
    "segment",
    "teach",
]

# Modules are imported when they are first used, because importing all of them takes half a second.
_HOMES = dict.fromkeys(__all__, "values") | {
    "Pipeline": "pipeline",
    "from_edges": "pipeline",
    "segment": "pipeline",
    "teach": "teaching",
    "read_image": "images.reader",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "open_dataset": "evaluation.datasets",
}
__getattr__ = imported_on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    """Return what a notebook completes: the names for users, not those of imports."""
    return sorted([*(name for name in globals() if name.startswith("__")), *__all__])
