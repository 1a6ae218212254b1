"""An image that has been described, and its segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segspectral.values.affinity import Affinity
from segspectral.values.features import Features
from segspectral.values.image import Image
from segspectral.values.membership import Membership
from segspectral.values.regions import Hierarchy, RegionGraph
from segspectral.values.superpixels import Superpixels

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

__all__ = ["ImageHierarchy", "Scene", "Segmentation"]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, described once so that it can be segmented often: all that comes before the number of segments.

    Parameters
    ----------
    image : the image as it was given
    work : the image at its working size; ``image`` itself if that is small enough
    work_superpixels : of ``work``
    features : of the N superpixels
    graph : region graph of the N superpixels, with boundary probabilities if the pipeline computes them
    affinity : of the N superpixels
    pipeline : what described it
    notes : sentences for the user
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    """

    image: Image
    work: Image
    work_superpixels: Superpixels
    features: Features
    graph: RegionGraph
    affinity: Affinity
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def superpixels(self) -> Superpixels:
        """The superpixels on the pixels of ``image``."""
        return self.work_superpixels if self.work is self.image else self.work_superpixels.upsampled(self.image)

    @cached_property
    def hierarchy(self) -> ImageHierarchy:
        """All numbers of segments at once, by merging superpixels over their weakest borders.

        Raises
        ------
        SettingsError
            The pipeline computes no boundary probabilities (``features.contours`` is null).
        """
        tree = self.graph.hierarchy
        return ImageHierarchy(tree.graph, tree.merges, tree.altitudes, self.superpixels)


@dataclass(frozen=True, eq=False)
class ImageHierarchy(Hierarchy):
    """The hierarchy of an image, whose cuts are label maps.

    Parameters
    ----------
    superpixels : the leaves, on the pixels of the image
    """

    superpixels: Superpixels

    def labels(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(H, W) label map 1..K in order of falling area, 0 on void: K segments, or the horizontal cut at a level.

        Raises
        ------
        SettingsError
            As ``regions``.
        """
        return self.superpixels.to_pixels(self.regions(segments, level) + np.int32(1), void=0)

    @cached_property
    def contour_map(self) -> NDArray[np.float32]:
        """(H, W) the ultrametric contour map: at each pixel the highest level to its right or lower neighbour."""
        labels, n = self.superpixels.labels, len(self.superpixels)
        borders = self.graph.borders.astype(np.int64)
        keys = borders[:, 0] * n + borders[:, 1]
        out = np.zeros(labels.shape, dtype=np.float32)
        here = (slice(None, -1), slice(None)), (slice(None), slice(None, -1))
        there = (slice(1, None), slice(None)), (slice(None), slice(1, None))
        for at, to in zip(here, there, strict=True):
            a, b = labels[at].astype(np.int64), labels[to].astype(np.int64)
            apart = (a != b) & (a >= 0) & (b >= 0)
            key = np.minimum(a, b)[apart] * n + np.maximum(a, b)[apart]
            values = np.zeros(a.shape, dtype=np.float32)
            values[apart] = self.border_levels[np.searchsorted(keys, key)]
            out[at] = np.maximum(out[at], values)
        return out


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The label map of one image, and what it was made from.

    Parameters
    ----------
    labels : (H, W) int32
        Segments 1..K in order of falling area before refinement; 0 on void pixels.
    scene : the image and its description
    membership : of the superpixels
    pipeline : what was run, ``segments`` as a number
    notes : sentences for the user, such as strategies that had to be replaced
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    """

    labels: NDArray[np.int32]
    scene: Scene
    membership: Membership
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        return self.scene.image

    @property
    def superpixels(self) -> Superpixels:
        """The superpixels on the pixels of the image."""
        return self.scene.superpixels

    @property
    def features(self) -> Features:
        return self.scene.features

    @property
    def affinity(self) -> Affinity:
        return self.scene.affinity

    @property
    def hierarchy(self) -> ImageHierarchy:
        """All numbers of segments at once; see ``Scene.hierarchy``."""
        return self.scene.hierarchy

    @property
    def segments(self) -> int:
        """How many segments the label map has; those of a model have gaps between their numbers."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))

    @property
    def ncut(self) -> float:
        """Normalized cut of the superpixels' memberships."""
        return self.affinity.ncut(self.membership.labels)
