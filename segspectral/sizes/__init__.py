"""Limits on the sizes of segments: small pieces join a neighbour, holes are filled, large and touching parts divided.

A *piece* is a connected part of a segment; pixels are connected by their sides. All limits are about pieces. All but
the split decide on a graph, so images and rasters in tiles share them. The graph is that of the *fragments* of a label
map: what lies in one superpixel and one segment (``values.fragments``). The level of a border between two pieces is the
mean altitude along it at which the hierarchy joins its two sides. Without one it is the mean difference of colour.
"""

from segspectral.sizes.leaves import LargeLeaves, work_leaves
from segspectral.sizes.pieces import Between, Limits, Pieces, level_between
from segspectral.sizes.settings import Sizes

__all__ = ["Between", "LargeLeaves", "Limits", "Pieces", "Sizes", "level_between", "work_leaves"]
