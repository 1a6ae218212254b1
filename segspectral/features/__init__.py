"""Image, Superpixels -> Features, RegionGraph: what the superpixels look like, and where objects end between them.

::

    parts      the contract of an extractor; colour, texture and position
    backbones  pretrained networks, from a package, a local file or the model hub
    cnn        activations of a backbone
    edges      a decoder of learned edges on the maps of the default backbone
    contours   a boundary probability for each border of two superpixels
    stack      all of them side by side: one walk for whole images, tiles and models
    cache      pooled activations kept on disk
"""

from segspectral.features.cnn import Cnn
from segspectral.features.parts import Colour, Extractor, Means, Position, Texture
from segspectral.features.stack import FeatureStack

__all__ = ["Cnn", "Colour", "Extractor", "FeatureStack", "Means", "Position", "Texture"]
