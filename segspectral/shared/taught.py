"""A model that labels have taught: its segments are classes with names.

::

    Image -> Superpixels -> parts -> one fixed linear map -> own, and means over what surrounds -> one linear map
    -> softmax -> Membership

All of it is linear up to the softmax, so a file holds two matrices, and needs neither scikit-learn nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import SettingsError
from segspectral.features import Cnn, FeatureStack
from segspectral.features.backbones import ARCHITECTURE
from segspectral.shared.model import Description, Model, Parts, Projection, area_means
from segspectral.superpixels import Slic
from segspectral.values import Features, Membership
from segspectral.values.regions import RegionGraph

__all__ = ["Lesson", "TaughtModel", "softmax"]


class Lesson(Description):
    """The settings with which a model is taught; ``--config`` and ``--set`` of ``segspectral teach`` change them."""

    superpixels: Slic = Slic(count=1500)
    features: FeatureStack = FeatureStack(cnn=Cnn(backbone=ARCHITECTURE, strides=(2, 4, 8, 16, 32), channels=64))
    components: int = Field(128, ge=1, le=4096, description="number of principal components of all features")
    levels: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        (0.05, 0.1, 0.2),
        description="levels of the hierarchy: features are averaged over the region of each level around a superpixel",
    )
    whole: bool = Field(True, description="the mean over the whole image belongs to the features, too")
    penalty: float = Field(
        0.3, gt=0, description="strength of the penalty on large weights; higher: smoother, for very few labels"
    )
    even: float = Field(
        0.0,
        ge=0,
        le=1,
        description="0: features that vary much count more; 1: all count the same, even those of the whole image. "
        "Photographs of objects gain by 0.5, street scenes do not",
    )
    balance: float = Field(0.4, ge=0, le=1, description="0: each label counts the same; 1: each class counts the same")
    nodes: int = Field(
        4000,
        ge=0,
        le=100_000,
        description="maximum number of regions without a label that labels spread to; 0: they do not spread",
    )
    neighbors: int = Field(20, ge=1, le=1000, description="number of nearest neighbours of a region, over all images")
    spread: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share that a region takes from its neighbours in each step of the spreading",
    )
    trust: float = Field(
        0.5, ge=0, le=1, description="weight of a region that labels have spread to, relative to one with a label"
    )
    spreading: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether labels spread; auto: if labels of held-out images then clearly get a higher probability",
    )
    refine: Literal["auto", "crf", "guided", "none"] = Field(
        "auto",
        description="the refiner that the model asks for; auto: the CRF if by labels of held-out images it clearly "
        "raises the mIoU, else none",
    )
    unknown: float = Field(
        0.0, ge=0, lt=1, description="what no class has with this probability becomes the segment `unknown`; 0: never"
    )

    def surroundings(self, graph: RegionGraph, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D') features ``rows`` (N, D) side by side with their means over what surrounds each superpixel."""
        blocks = [rows]
        for level in self.levels:
            if graph.boundary is None:
                blocks.append(rows)
                continue
            region = graph.hierarchy.regions(level=level)
            blocks.append(area_means(region, graph.area, rows)[region])
        if self.whole:
            everywhere = np.zeros(len(rows), np.int32)
            blocks.append(area_means(everywhere, graph.area, rows)[everywhere])
        return np.concatenate(blocks, axis=1)

    @property
    def views(self) -> int:
        """How often the features of a superpixel and of what surrounds it stand side by side."""
        return 1 + len(self.levels) + self.whole


@dataclass(frozen=True, eq=False, kw_only=True)
class TaughtModel(Model):
    """Classes with names that labels have taught.

    Parameters
    ----------
    classes : K names
    projection : the map of the features of a superpixel to their principal components
    weights, bias : (D', K) and (K,) float32, the logits of the classes
    """

    recipe: Lesson
    classes: tuple[str, ...]
    projection: Projection
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def segments(self) -> int:
        return len(self.classes) + (self.recipe.unknown > 0)

    @property
    def names(self) -> dict[int, str]:
        return dict(enumerate((*self.classes, "unknown")[: self.segments], 1))

    @property
    def made_by(self) -> str:
        pixels, labelled, images = (self._count(name) for name in ("pixels", "labelled", "images"))
        return f"{pixels} labels in {labelled} of {images} images"

    def defaults(self) -> dict[str, Any]:
        # The CRF is the default of each pipeline, which may replace it where pydensecrf is not installed.
        return {} if self.recipe.refine in ("auto", "crf") else {"refine": self.recipe.refine}

    def described(self, parts: Parts) -> Features:
        """``features`` for parts that have been computed: the components of each superpixel and of its surroundings."""
        return Features(self.recipe.surroundings(parts.graph, self.components(parts)))

    def components(self, parts: Parts) -> NDArray[np.float32]:
        """(N, D) the principal components of each superpixel. Raises SettingsError if the model is damaged."""
        self._check_width(parts, len(self.projection.shift))
        return self.projection(parts.rows)

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        """(N, K) the probability of each class."""
        return softmax(features.nodes @ self.weights + self.bias)

    def membership(self, features: Features) -> Membership:
        """(N, K) the probabilities; with ``unknown``, (N, K + 1).

        The last column is then the threshold itself, before rows are scaled to one. It is the largest where no class
        has this probability, and the ratios of the others stay what they are.
        """
        P = self.probabilities(features)
        if self.recipe.unknown:
            P = np.concatenate([P, np.full((len(P), 1), self.recipe.unknown, np.float32)], axis=1)
            P /= np.float32(1 + self.recipe.unknown)
        return Membership(P)

    def _packed(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors = {
            "shift": self.projection.shift,
            "axes": self.projection.axes,
            "weights": self.weights,
            "bias": self.bias,
        }
        return tensors, {"classes": list(self.classes)}

    @classmethod
    def unpacked(cls, header: dict[str, Any], tensors: dict[str, NDArray[Any]], common: dict[str, Any]) -> TaughtModel:
        """The model of a file, whose header and arrays go together; call it within ``whole``."""
        classes = header["classes"]
        if not (isinstance(classes, list) and len(classes) > 1 and all(isinstance(name, str) for name in classes)):
            raise SettingsError("its classes are not names")
        if len(set(classes)) < len(classes) or not all(name.strip() and name.isprintable() for name in classes):
            raise SettingsError("its classes are not different names")
        model = cls(
            recipe=Lesson.model_validate(header["recipe"]).without_places(),
            classes=tuple(classes),
            projection=Projection(tensors["shift"], tensors["axes"]),
            weights=tensors["weights"],
            bias=tensors["bias"],
            **common,
        )
        model.projection.checked()
        for array in (model.weights, model.bias):
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise SettingsError("its weights are not finite numbers of 32 bits")
        columns = model.projection.axes.shape[1] * model.recipe.views
        if model.weights.shape != (columns, len(classes)) or model.bias.shape != (len(classes),):
            raise SettingsError("its arrays do not fit together")
        return model


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(N, K) float32 rows that sum to one."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
