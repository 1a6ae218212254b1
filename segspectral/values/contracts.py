"""The contracts of the stages, with their laws; ``tests/contracts`` runs every implementation through them."""

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

    Laws: ids are 0..N-1 without gaps and each superpixel is 4-connected; void pixels, and only they, are -1; the
    same image gives the same labels; the image is not changed.
    """

    def __call__(self, image: Image) -> Superpixels: ...


class AffinityBuilder(Protocol):
    """Features, RegionGraph -> Affinity.

    Laws: what ``Affinity`` asks for; connected; renumbering the superpixels renumbers the graph, where no two
    neighbours are equally near; the same input gives the same bytes; the input is not changed.
    """

    def __call__(self, features: Features, graph: RegionGraph) -> Affinity: ...


class Refiner(Protocol):
    """Image, Superpixels, Membership -> label map (H, W) int32 of clusters 0..K-1, -1 on void pixels.

    Laws: void stays void; no label outside 0..K-1; permuting the clusters permutes the labels; a membership that
    is certain everywhere and follows the image's borders is kept; what void pixels hold has no influence; the same
    input gives the same bytes; the input is not changed.
    """

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]: ...
