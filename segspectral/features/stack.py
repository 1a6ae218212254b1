"""All extractors side by side on one scale, and the boundary probabilities of the region graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from segspectral.features.cnn import Cnn
from segspectral.features.contours import Contours
from segspectral.features.parts import Colour, Extractor, Means, Position, Texture
from segspectral.settings import Settings
from segspectral.values import Features, Image, Superpixels
from segspectral.values.regions import RegionGraph

__all__ = ["EXTRACTORS", "FeatureStack", "Measured"]

EXTRACTORS = ("colour", "texture", "position", "cnn")
"""The fields of ``FeatureStack`` that give a row per superpixel, in the order of their columns."""

Measured = Mapping[str, Means]
"""Field of ``FeatureStack`` -> what it has measured."""


class FeatureStack(Settings):
    """All parts side by side, each scaled so that its mean squared distance between two nodes is its weight squared.

    With this scale the weights say what matters, whatever the units and however many columns a part has. A part that is
    set to null is left out. ``contours`` adds a boundary probability to each border of the superpixels.

    A whole image takes one call. A raster is measured tile by tile; the means of all tiles are then finished together.
    """

    colour: Colour | None = Colour()
    texture: Texture | None = Texture()
    position: Position | None = Position()
    cnn: Cnn | None = Cnn()
    contours: Contours | None = Contours()

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if not self.extractors():
            raise ValueError(f"at least one of {', '.join(EXTRACTORS)} is needed")
        return self

    def __call__(self, image: Image, superpixels: Superpixels) -> tuple[Features, RegionGraph]:
        """Features (N, D) of the superpixels, and their region graph."""
        return self.finish(self.measure(image, superpixels), superpixels.region_graph, image.shape)

    def extractors(self) -> dict[str, Extractor]:
        """Name -> what is not left out, in order."""
        return {name: part for name in EXTRACTORS if (part := getattr(self, name)) is not None}

    def measure(self, image: Image, superpixels: Superpixels, corner: tuple[int, int] = (0, 0)) -> Measured:
        """What all parts measure of an image, or of a tile whose first pixel lies at ``corner`` (row, column)."""
        measured: dict[str, Means] = {}
        for name, part in self.extractors().items():
            if part is self.cnn:
                # The decoder of learned edges reads the maps of the same pass.
                edges = self.contours is not None and self.contours.edges
                measured[name] = self.cnn.measure(image, superpixels, corner, edges=edges)
            else:
                measured[name] = part.measure(image, superpixels, corner)
        if self.contours is not None:
            measured["contours"] = self.contours.measure(image, superpixels)
        return measured

    def finish(self, measured: Measured, graph: RegionGraph, shape: tuple[int, int]) -> tuple[Features, RegionGraph]:
        """Features (N, D) and region graph from the means over the whole image, whose ``shape`` is (H, W)."""
        rows = {name: part.finish(measured[name], shape) for name, part in self.extractors().items()}
        return self.combine(rows), self.with_boundary(measured, graph)

    def with_boundary(self, measured: Measured, graph: RegionGraph) -> RegionGraph:
        """The graph with its boundary probabilities; unchanged if ``contours`` is left out."""
        if self.contours is None:
            return graph
        return graph.with_boundary(self.contours.probability(graph, measured["contours"], measured.get("cnn")))

    def combine(self, parts: Mapping[str, NDArray[np.float32]]) -> Features:
        """The (N, D) of each extractor side by side, on one scale."""
        columns, places, first = [], {}, 0
        for name, extractor in self.extractors().items():
            nodes = parts[name].astype(np.float64)
            nodes -= nodes.mean(axis=0)
            # The mean squared distance of two nodes is twice the total variance.
            scale = np.sqrt(2 * (nodes**2).sum(axis=1).mean())
            columns.append((extractor.weight / max(scale, 1e-12)) * nodes if scale > 1e-9 else 0 * nodes)
            places[name] = (first, first := first + nodes.shape[1])
        return Features(np.concatenate(columns, axis=1).astype(np.float32), places)
