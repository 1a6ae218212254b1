"""Image, Superpixels -> Features, RegionGraph: feature vectors of superpixels, and boundary probabilities.

::

    parts      the contract of an extractor; colour, texture and position
    backbones  pretrained networks: the default one, and those of timm; and the decoder of the pixel edge map
    cnn        activations of a backbone
    edges      the pixel edge map of the default backbone
    contours   the boundary probability of each border
    stack      all extractors side by side, for whole images, tiles and models
    cache      pooled activations on disk
"""

from segspectral.features.cnn import Cnn
from segspectral.features.parts import Colour, Extractor, Means, Position, Texture
from segspectral.features.stack import FeatureStack

__all__ = ["Cnn", "Colour", "Extractor", "FeatureStack", "Means", "Position", "Texture"]
