"""The contracts of the stages and their laws; ``tests/contracts`` checks every implementation against them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segspectral.values.affinity import Affinity
from segspectral.values.features import Features
from segspectral.values.image import Image
from segspectral.values.membership import Membership
from segspectral.values.regions import RegionGraph
from segspectral.values.superpixels import Superpixels

__all__ = ["AffinityBuilder", "Refiner", "SuperpixelMethod"]


class SuperpixelMethod(Protocol):
    """Image -> Superpixels.

    Laws: ids are 0..N-1 without gaps; each superpixel is 4-connected; void pixels, and no others, are -1; the same
    image gives the same labels; the image is not changed.
    """

    def __call__(self, image: Image) -> Superpixels: ...


class AffinityBuilder(Protocol):
    """Features, RegionGraph -> Affinity.

    Laws: the result keeps the laws of ``Affinity`` and is connected; renumbering the superpixels renumbers the graph if
    no two neighbours are equally near; the same input gives the same bytes; the input is not changed.
    """

    def __call__(self, features: Features, graph: RegionGraph) -> Affinity: ...


class Refiner(Protocol):
    """Image, Superpixels, Membership -> label map (H, W) int32 of clusters 0..K-1, -1 on void pixels.

    Laws: void pixels stay void; all other labels are in 0..K-1; permuting the clusters permutes the labels; a
    membership that is certain everywhere and follows the edges of the image is kept; the values of void pixels have no
    influence; the same input gives the same bytes; the input is not changed.
    """

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]: ...
