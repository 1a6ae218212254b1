"""The features of all extractors on one scale, and the boundary probabilities of the region graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from segspectral.features.backbones import Backbone
from segspectral.features.cnn import Cnn, Seen
from segspectral.features.contours import STRIDES, Contours
from segspectral.features.parts import BandStatistics, Colour, Extractor, Means, Position, Texture
from segspectral.settings import Settings
from segspectral.values import Bands, Features, Image, Superpixels
from segspectral.values.regions import RegionGraph

__all__ = ["EXTRACTORS", "FeatureStack", "Measured"]

EXTRACTORS = ("colour", "texture", "position", "cnn", "bands")
"""The fields of ``FeatureStack`` that are extractors, in the order of their columns."""

Measured = Mapping[str, Means]
"""Name of a field of ``FeatureStack`` -> what it has measured; BORDERS -> what the network of borders has."""

BORDERS = "borders"
"""Key of what ``FeatureStack.border_network`` has measured, if it is not ``cnn`` itself."""


class FeatureStack(Settings):
    """The columns of all extractors, scaled so that the mean squared distance of two nodes is the squared weight.

    This scaling makes the weights comparable, whatever the units and the number of columns of an extractor are. An
    extractor that is set to null is left out. ``contours`` computes the boundary probability of each border.

    A whole image takes one call. A raster is measured tile by tile, and then the means of all tiles are finished
    together.
    """

    colour: Colour | None = Colour()
    texture: Texture | None = Texture()
    position: Position | None = Position()
    cnn: Cnn | None = Cnn()
    bands: BandStatistics | None = BandStatistics()
    contours: Contours | None = Contours()

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        # Most images have no further bands.
        needed = [name for name in EXTRACTORS if name != "bands"]
        if not any(name in self.extractors() for name in needed):
            raise ValueError(f"at least one of {', '.join(needed)} is needed")
        return self

    def __call__(
        self, image: Image, superpixels: Superpixels, seen: Seen | None = None
    ) -> tuple[Features, RegionGraph]:
        """The features (N, D) of the superpixels, and their region graph with boundary probabilities."""
        measured, graph = self.borders(image, superpixels, seen)
        return self.of_superpixels(image, superpixels, measured), graph

    def borders(self, image: Image, superpixels: Superpixels, seen: Seen | None = None) -> tuple[Measured, RegionGraph]:
        """The region graph with boundary probabilities, and what was measured for it; a hierarchy needs no more."""
        measured = self.measure_borders(image, superpixels, seen=seen)
        return measured, self.with_boundary(measured, superpixels.region_graph)

    def of_superpixels(self, image: Image, superpixels: Superpixels, measured: Measured) -> Features:
        """The features (N, D) of the superpixels; ``measured`` is what ``borders`` has measured already."""
        return self.features(self.measure(image, superpixels, known=measured), image.shape)

    @property
    def border_network(self) -> Cnn | None:
        """The default network, which knows where people draw borders, whatever the backbone of ``cnn`` is.

        It is ``cnn`` itself if that has all that the contours need, so that one pass serves both. None if there is no
        CNN at all, or the contours use none.
        """
        cnn = self.cnn
        if cnn is None or self.contours is None or not self.contours.edges:
            return None
        if not cnn.is_default:
            return Cnn(scales=cnn.scales, cache=cnn.cache)
        if set(STRIDES) <= set(cnn.strides):
            return cnn
        return cnn.model_copy(update={"strides": STRIDES})

    def load(self) -> tuple[Backbone, ...]:
        """The networks of the features and of the borders; each is loaded once per process. Raises BackboneError."""
        return tuple(cnn.load() for cnn in (self.cnn, self.border_network) if cnn is not None)

    @property
    def fingerprint(self) -> str:
        """The fingerprints of all networks that the features and the borders depend on; "" without any."""
        return "+".join(dict.fromkeys(network.fingerprint for network in self.load()))

    def see(self, image: Image) -> Seen | None:
        """What the network of borders sees in an image; None if there is none."""
        return None if (network := self.border_network) is None else Seen(network, image)

    def extractors(self) -> dict[str, Extractor]:
        """Name -> extractor, in order, without those that are null."""
        return {name: part for name in EXTRACTORS if (part := getattr(self, name)) is not None}

    def said_of(self, bands: Bands | None, hierarchy: bool = False) -> str:
        """A sentence about what becomes of bands that are not shown; empty if there are none.

        Parameters
        ----------
        hierarchy : whether segments are a cut of the hierarchy, which uses only boundaries
        """
        if bands is None or not bands.unseen:
            return ""
        if hierarchy:
            return "the hierarchy uses only the shown bands; --bands chooses them"
        if self.bands is None:
            return "the features use only the shown bands, because features.bands is null"
        return f"features in addition to what is shown: {bands.unseen_said} (--set features.bands=null leaves them out)"

    def measure(
        self,
        image: Image,
        superpixels: Superpixels,
        corner: tuple[int, int] = (0, 0),
        *,
        known: Measured | None = None,
    ) -> Measured:
        """Measure an image, or a tile whose first pixel is at ``corner`` (row, column), with all extractors.

        ``known`` is what ``measure_borders`` has measured in it already.
        """
        measured = dict(self.measure_borders(image, superpixels, corner) if known is None else known)
        for name, part in self.extractors().items():
            if name not in measured:
                measured[name] = part.measure(image, superpixels, corner)
        return measured

    def measure_borders(
        self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0), *, seen: Seen | None = None
    ) -> Measured:
        """Measure what the boundary probabilities need, and what the same pass of the network gives for features.

        ``seen`` is the output of the network of borders for this image, if it is known.
        """
        measured: dict[str, Means] = {}
        if self.contours is None:
            return measured
        cnn, network, seen = self.cnn, self.border_network, seen or self.see(image)
        if network is not None:
            if cnn is not None and cnn.is_default:
                # The pixel edge map is decoded from the activations of the same pass.
                measured["cnn"] = cnn.measure(image, superpixels, corner, edges=cnn is network, seen=seen)
            if cnn is not network:
                measured[BORDERS] = network.measure(image, superpixels, corner, edges=True, seen=seen)
        # The cues of borders need texture at the default scales, whatever its weight here is.
        texture = self.texture
        if texture is not None and texture.scales == Texture().scales:
            measured["texture"] = texture.measure(image, superpixels, corner)
        measured["contours"] = self.contours.measure(image, superpixels, measured.get("texture"))
        return measured

    def finish(self, measured: Measured, graph: RegionGraph, shape: tuple[int, int]) -> tuple[Features, RegionGraph]:
        """The features (N, D) and the region graph, from the means over the whole image of ``shape`` (H, W)."""
        return self.features(measured, shape), self.with_boundary(measured, graph)

    def features(self, measured: Measured, shape: tuple[int, int]) -> Features:
        """The features (N, D), from the means over the whole image of ``shape`` (H, W)."""
        return self.combine({name: part.finish(measured[name], shape) for name, part in self.extractors().items()})

    def with_boundary(self, measured: Measured, graph: RegionGraph) -> RegionGraph:
        """The graph with its boundary probabilities and looks; the same graph if ``contours`` is null."""
        if self.contours is None:
            return graph
        seen = measured.get(BORDERS, measured.get("cnn"))
        return self.contours.bounded(graph, measured["contours"], seen)

    def combine(self, parts: Mapping[str, NDArray[np.float32]]) -> Features:
        """Scale the features (N, D) of each extractor and put them side by side."""
        columns, parts_of, first = [], {}, 0
        for name, extractor in self.extractors().items():
            if parts[name].shape[1] == 0:
                continue  # an image whose bands are all shown has no columns of bands
            nodes = parts[name].astype(np.float64)
            nodes -= nodes.mean(axis=0)
            # The mean squared distance between two nodes is twice the total variance.
            scale = np.sqrt(2 * (nodes**2).sum(axis=1).mean())
            # Features that are equal for all superpixels, up to rounding errors, become zero columns.
            columns.append((extractor.weight / max(scale, 1e-12)) * nodes if scale > 1e-9 else 0 * nodes)
            parts_of[name] = (first, first := first + nodes.shape[1])
        return Features(np.concatenate(columns, axis=1).astype(np.float32), parts_of)
