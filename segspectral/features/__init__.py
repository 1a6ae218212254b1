"""Image, Superpixels -> Features, RegionGraph: feature vectors of superpixels, and boundary probabilities.

::

    parts      the contract of an extractor; colour, texture, position and bands
    backbones  pretrained networks: the default one, and those of timm; and the decoder of the pixel edge map
    cnn        activations of a backbone
    edges      the pixel edge map of the default backbone
    contours   the boundary probability of each border
    stack      all extractors side by side, for whole images, tiles and models
    cache      pooled activations on disk
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segspectral.imports import imported_on_use

if TYPE_CHECKING:
    from segspectral.features.cnn import Cnn
    from segspectral.features.parts import BandStatistics, Colour, Extractor, Means, Position, Texture
    from segspectral.features.stack import FeatureStack

__all__ = ["BandStatistics", "Cnn", "Colour", "Extractor", "FeatureStack", "Means", "Position", "Texture"]

_HOMES = dict.fromkeys(__all__, "parts") | {"Cnn": "cnn", "FeatureStack": "stack"}
__getattr__ = imported_on_use(__name__, _HOMES)
