"""A scene, which is an image and everything that does not depend on the number of segments, and its segmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from segspectral.registry import Look
from segspectral.values.affinity import Affinity
from segspectral.values.features import Features
from segspectral.values.image import Image
from segspectral.values.later import Later
from segspectral.values.membership import Membership
from segspectral.values.regions import Hierarchy, RegionGraph
from segspectral.values.superpixels import Superpixels

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

__all__ = ["ImageHierarchy", "Scene", "Segmentation"]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image with its superpixels, features, region graph and affinity.

    ``Pipeline.describe`` makes a scene once; ``Pipeline.solve`` segments it, for any number of segments. A cut of the
    hierarchy needs neither features nor affinity, so these two are computed on first use.

    Parameters
    ----------
    image : the image as it was given
    work : the image at its working size; ``image`` itself if it is small enough
    work_superpixels : the N superpixels of ``work``
    graph : the region graph of the superpixels, with boundary probabilities if the pipeline computes them
    later_features : one feature vector per superpixel
    later_affinity : the affinity of the superpixels
    pipeline : the pipeline that made the scene
    notes : sentences for the user
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    """

    image: Image
    work: Image
    work_superpixels: Superpixels
    graph: RegionGraph
    later_features: Later[Features]
    later_affinity: Later[Affinity]
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def features(self) -> Features:
        """One feature vector per superpixel."""
        return self.later_features.value

    @property
    def affinity(self) -> Affinity:
        """The affinity of the superpixels."""
        return self.later_affinity.value

    @cached_property
    def superpixels(self) -> Superpixels:
        """The superpixels at the size of ``image``."""
        return self.work_superpixels if self.work is self.image else self.work_superpixels.upsampled(self.image)

    @cached_property
    def hierarchy(self) -> ImageHierarchy:
        """The tree that merges superpixels across their weakest borders; its cuts give every number of segments.

        Raises
        ------
        SettingsError
            The pipeline computes no boundary probabilities (``features.contours`` is null).
        """
        tree = self.graph.hierarchy
        return ImageHierarchy(tree.graph, tree.merges, tree.altitudes, superpixels=self.superpixels)


@dataclass(frozen=True, eq=False)
class ImageHierarchy(Hierarchy):
    """The hierarchy of an image; its cuts are label maps.

    Parameters
    ----------
    superpixels : the leaves, at the size of the image
    """

    superpixels: Superpixels = field(kw_only=True)

    def labels(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(H, W) label map 1..K in order of descending area, 0 on void: K segments, or the horizontal cut at a level.

        Raises
        ------
        SettingsError
            As ``regions``.
        """
        return self.superpixels.to_pixels(self.regions(segments, level) + np.int32(1), void=0)

    @cached_property
    def contour_map(self) -> NDArray[np.float32]:
        """(H, W) the ultrametric contour map: the higher altitude between a pixel and its right or lower neighbour."""
        touching = self.superpixels.touching
        out = np.zeros(self.superpixels.labels.size, dtype=np.float32)
        levels = self.border_levels[self.graph.border_index(touching.pairs)].astype(np.float32)
        np.maximum.at(out, touching.here, levels)
        return out.reshape(self.superpixels.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The label map of one image, and what it was made from.

    Parameters
    ----------
    labels : (H, W) int32
        Segments 1..K in order of descending area before refinement; 0 on void pixels.
    scene : the image with its superpixels, features, region graph and affinity
    later_membership : the membership of the superpixels; that of a cut of the hierarchy needs the affinity
    pipeline : the pipeline that was run, with ``segments`` as a number
    notes : sentences for the user, such as which strategies had to be replaced
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    names : segment -> name, if the seeds or the classes of the model have names
    """

    labels: NDArray[np.int32]
    scene: Scene
    later_membership: Later[Membership]
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        return self.scene.image

    @property
    def superpixels(self) -> Superpixels:
        """The superpixels at the size of the image."""
        return self.scene.superpixels

    @property
    def membership(self) -> Membership:
        """How much each superpixel belongs to each segment."""
        return self.later_membership.value

    @property
    def features(self) -> Features:
        return self.scene.features

    @property
    def affinity(self) -> Affinity:
        return self.scene.affinity

    @property
    def hierarchy(self) -> ImageHierarchy:
        """The hierarchy of the image; see ``Scene.hierarchy``."""
        return self.scene.hierarchy

    @property
    def segments(self) -> int:
        """How many segments occur in the label map. With a model, some numbers may not occur."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))

    @property
    def ncut(self) -> float:
        """The normalized cut of the superpixels' labels."""
        return self.affinity.ncut(self.membership.labels)

    def with_seeds(self, seeds: Any, by: Literal["walker", "hierarchy"] = "walker") -> Segmentation:
        """Return the partition of this image in which each seed keeps its label; nothing is computed twice.

        Parameters
        ----------
        seeds : (H, W) integers: the label of a pixel from 1, or 0 where it is unknown; or ``segspectral.seeds.Seeds``
        by : ``walker``: each superpixel takes the label that a random walk from it meets first (Grady 2006), and
            ``membership`` holds the probabilities of all labels; ``hierarchy``: each region takes the label that it
            meets first when the weakest borders are removed

        Raises
        ------
        SettingsError
            The seeds have another size than the image, or fewer than two labels.
        """
        return self._shown_by("pipeline", "with_seeds", seeds, by)

    def overlay(self, style: str = "both", opacity: float = 0.5, numbers: bool = False) -> NDArray[np.uint8]:
        """Return the photograph (H, W, 3) with its segments.

        Parameters
        ----------
        style : ``borders``, ``tint``, or ``both``; ``mean`` is both, and the tint of a segment is its own mean colour
        opacity : strength of the colours, from 0 to 1
        numbers : whether to write the number of each segment on it

        Raises
        ------
        SettingsError
            There is no such style, or the opacity is outside [0, 1].
        """
        return self._shown_by("export", "overlay", Look(style, opacity, numbers))

    def figure(self) -> NDArray[np.uint8]:
        """Return a picture (H, W, 3) of all stages, as ``segspectral segment --figure`` draws it."""
        return self._shown_by("figures", "figure")

    def table(self) -> Any:
        """Return area, place and colour of each segment: a pandas DataFrame, or a list of rows without pandas."""
        return self._shown_by("display", "table")

    def show(self) -> None:
        """Show the overlay in the notebook, or in a window of the desktop."""
        self._shown_by("display", "show")

    def save(
        self, folder: str | os.PathLike[str], formats: str | Sequence[str] = (), stem: str | None = None
    ) -> list[Path]:
        """Write label map, overlay, table and summary, as ``segspectral segment`` does; return the paths.

        Parameters
        ----------
        formats : further formats, as of ``--format``: "coco" or ["coco", "labelme"]; warnings say what a format loses
        stem : what the names of the files begin with; by default, the name of the image without its suffix

        Raises
        ------
        SettingsError
            A format is unknown, or its extra is not installed.
        OutputError
            The folder cannot be written to.
        """
        return self._shown_by("display", "save", folder, formats, stem)

    def __repr__(self) -> str:
        return self._shown_by("display", "as_text")

    def _repr_html_(self) -> str:
        return self._shown_by("display", "as_html")

    def _repr_png_(self) -> bytes:
        return self._shown_by("display", "as_png")

    def _shown_by(self, module: str, function: str, *arguments: Any) -> Any:
        # The modules that make pictures and files import this one, so they are imported here, on demand.
        return getattr(import_module(f"segspectral.{module}"), function)(self, *arguments)
