"""The leaves of a hierarchy whose small ones have joined others, so that limits hold in every cut of it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.resolution import joint_upsampling
from segspectral.sizes.pieces import Limits, Pieces
from segspectral.spectral.discretise import soft_membership
from segspectral.values import Affinity, Membership, Scene
from segspectral.values.fragments import Fragments
from segspectral.values.regions import Hierarchy

__all__ = ["LargeLeaves", "most_frequent", "work_leaves"]


class LargeLeaves(NamedTuple):
    """The leaves of a hierarchy after small ones have joined others, so that no cut has a small piece.

    Regions of the hierarchy that are large enough stay regions, so all cuts are nested as before.

    Parameters
    ----------
    leaf : (F,) the leaf that each fragment belongs to now
    area : (N,) the area of each leaf now
    tree : the hierarchy, in which leaves that have joined are one leaf
    """

    leaf: NDArray[np.int32]
    area: NDArray[np.integer | np.floating]
    tree: Hierarchy

    @classmethod
    def of(cls, fragments: Fragments, tree: Hierarchy, least: float) -> LargeLeaves:
        """From the fragments of the leaves, each a segment of its own; no piece of them is smaller than ``least``."""
        pieces, n = Pieces.of(fragments, tree.levels_between), len(tree.graph)
        leaf = pieces.cleaned(fragments.label, Limits(least)) - np.int32(1)
        group = most_frequent(fragments.leaf, leaf, fragments.graph.area, n)
        return cls(leaf, np.bincount(leaf, fragments.graph.area, n), tree.grouped(group))

    def within(self, most: float, membership: Membership, affinity: Affinity) -> Membership:
        """The membership of a cut of ``tree`` after regions larger than ``most`` have been divided."""
        region = self.tree.divided(membership.labels, self.area, most)
        k = int(region.max()) + 1
        if k == membership.probabilities.shape[1]:
            return membership
        return replace(membership, probabilities=soft_membership(affinity, region.astype(np.int64), k))


def work_leaves(scene: Scene) -> NDArray[np.int32]:
    """(H, W) the superpixels of a scene at the size of its image; their borders follow the colours of the image."""
    leaves = scene.work_superpixels.labels
    return leaves if scene.work is scene.image else joint_upsampling(leaves, scene.work, scene.image, void=-1)


def most_frequent(
    leaf: NDArray[np.int32],
    value: NDArray[np.int32],
    area: NDArray[np.integer | np.floating] | None,
    count: int,
) -> NDArray[np.int64]:
    """(N,) the value, from 0, that has most of each of N leaves; a leaf without pixels has its own number.

    Parameters
    ----------
    leaf, value : of each pixel or fragment; leaves below 0 are void
    area : of each; None means 1
    """
    known = leaf >= 0
    width = max(int(value.max()) + 1, count)
    keys = leaf[known].astype(np.int64) * width + value[known]
    pairs, index = np.unique(keys, return_inverse=True)
    order = np.argsort(np.bincount(index, None if area is None else area[known]), kind="stable")
    out = np.arange(count)
    out[pairs[order] // width] = pairs[order] % width
    return out
