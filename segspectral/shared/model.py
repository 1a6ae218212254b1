"""Models: segment 3 means the same in every image. A fitted model has one head that was fitted on many images.

::

    Image -> Superpixels -> parts -> one fixed linear map -> means over regions -> head -> merged -> Membership

The other kind of model is taught by labels (``taught``). A pipeline learns the scale of the features and the clusters
of the graph from each image. A fitted model learns them once: the features of all images are standardised and reduced
together, one graph contains the regions of all images, and one head is trained on it. In this graph, a region is
connected to its nearest neighbours and to the regions that it touches. To apply the model to an image, neither a graph
nor training is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, WithJsonSchema

from segspectral.affinity import KnnAffinity
from segspectral.errors import BackboneError, ImageError, SettingsError
from segspectral.features import Cnn, FeatureStack
from segspectral.features.backbones import ARCHITECTURE, PACKAGED, WEIGHTS_VARIABLE
from segspectral.features.cnn import principal_axes
from segspectral.heads.base import Head
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.settings import AnyHead
from segspectral.heads.storage import pack, read_tensors, unpack, whole, write_tensors
from segspectral.images.interpret import Reading
from segspectral.resolution import WORKING_PIXELS, WorkingPixels
from segspectral.settings import Settings
from segspectral.superpixels import Slic
from segspectral.values import Bands, Features, Image, Membership, Superpixels
from segspectral.values.regions import RegionGraph
from segspectral.wording import plural

__all__ = [
    "AnyModel",
    "Description",
    "FittedModel",
    "Model",
    "Parts",
    "Projection",
    "Recipe",
    "Regions",
    "area_means",
    "model_from",
    "unit",
]

FORMAT = 5
"""Version of the file format, and of the regions that models see. Files with another number are refused.

It rises when the weights of the boundary probability or of the last merges change: an image would have other regions
than those with which a model was made. (The networks have fingerprints of their own.)
"""

KINDS = {"fitted": "segspectral.shared.model:FittedModel", "taught": "segspectral.shared.taught:TaughtModel"}
"""Kind of model -> where its class is, which has ``unpacked``. A taught model has classes in its header."""


class Block(NamedTuple):
    """Names some columns of the features: the extractor, and the stride of its map in pixels."""

    extractor: str
    stride: int


class Parts(NamedTuple):
    """The features of one image before they are scaled, and its region graph."""

    nodes: Mapping[Block, NDArray[np.float32]]
    """Block -> (N, D) features. A CNN has one block per stride, any other extractor has one."""
    graph: RegionGraph
    """The region graph of the N superpixels, with boundary probabilities if ``features.contours`` is set."""
    bands: tuple[str, ...] = ()
    """``Bands.keys`` of the image, if bands that it does not show are features."""

    @property
    def rows(self) -> NDArray[np.float32]:
        """(N, D) all features side by side."""
        return np.concatenate(list(self.nodes.values()), axis=1)


class Regions(Settings):
    """The nodes of a model are regions of an image's hierarchy, with features of the region and of its surroundings.

    A superpixel of a cat's ear says little. The mean over a region that a boundary encloses shows what an object is.
    Unlike pixels, regions do not give an object more weight because it is large.
    """

    level: float = Field(
        0.1, ge=0, le=1, description="level of the hierarchy at which the regions are cut; 0: superpixels"
    )
    context: float = Field(
        0.2,
        ge=0,
        le=1,
        description="level of the larger region whose features are averaged in; none if it is not above `level`",
    )

    def __call__(
        self, graph: RegionGraph, values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Features (R, D) of regions from features ``values`` (N, D) of superpixels, and each superpixel's region (N,).

        Without boundary probabilities, each superpixel is a region.
        """
        if graph.boundary is None or self.level == 0:
            return values, np.arange(len(graph), dtype=np.int32)
        region = graph.hierarchy.regions(level=self.level)
        rows = area_means(region, graph.area, values)
        if self.context > self.level:
            wider = graph.hierarchy.regions(level=self.context)
            around = np.empty(len(rows), dtype=np.int32)
            around[region] = wider
            rows = (rows + area_means(wider, graph.area, values)[around]) / np.float32(2)
        return rows, region


def area_means(region: NDArray[np.int32], area: NDArray[Any], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, D) the means of values (N, D) over regions, weighted by area."""
    sums = sp.csr_array((area.astype(np.float64), (region, np.arange(len(region)))))
    return np.asarray((sums @ values) / sums.sum(axis=1)[:, None], dtype=np.float32)


class Description(Settings):
    """How a model reads and describes images."""

    seed: int = Field(0, ge=0, le=2**32 - 1, description="random seed; equal seeds give equal models")
    nodes: int = Field(
        16_000, ge=100, description="maximum number of regions in the graph, from images that are drawn at random"
    )
    reading: Reading = Reading()
    working_pixels: WorkingPixels = WORKING_PIXELS
    superpixels: Slic = Slic()
    features: FeatureStack = FeatureStack()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def without_places(self) -> Self:
        """A copy without names of files and folders, because a model from elsewhere must not open any of them."""
        if self.features.cnn is None:
            return self
        cnn = self.features.cnn.model_copy(update={"weights": None, "cache": None})
        return self.model_copy(update={"features": self.features.model_copy(update={"cnn": cnn})})

    def parts(self, image: Image, superpixels: Superpixels) -> Parts:
        """The features of an image before they are scaled, and its region graph."""
        measured = self.features.measure(image, superpixels)
        nodes = {
            Block(name, stride): values
            for name, extractor in self.features.extractors().items()
            for stride, values in extractor.by_stride(measured[name], image.shape).items()
        }
        return Parts(nodes, self.features.with_boundary(measured, superpixels.region_graph), self.bands_of(image))

    def bands_of(self, image: Image) -> tuple[str, ...]:
        """``Bands.keys`` of the image, if bands that it does not show are features."""
        known = self.features.bands is not None and image.bands is not None and image.bands.unseen
        return image.bands.keys if known and image.bands is not None else ()


class Recipe(Description):
    """The settings with which a model is fitted; ``--config`` and ``--set`` of ``segspectral fit`` change them."""

    segments: int = Field(21, ge=2, le=10_000, description="number of segments over all images")
    features: FeatureStack = FeatureStack(
        colour=None,
        texture=None,
        position=None,
        bands=None,
        # The weights of ImageNet know kinds of objects; those of the default network were trained on for borders.
        cnn=Cnn(backbone=ARCHITECTURE, strides=(4, 8, 16, 32), channels=64),
    )
    coarseness: float = Field(
        1.0,
        ge=0,
        description="maps of a CNN have the weight stride^coarseness; coarse maps show better what an object is",
    )
    regions: Regions = Regions()
    across: bool = Field(True, description="nearest neighbours of a region are in other images than its own")
    affinity: KnnAffinity = KnnAffinity(neighbors=80, bandwidth="self_tuning", scale=1.0)
    head: AnyHead = Field(default_factory=lambda: NeuNcut(hidden=(256,), greedy=False, steps=200, subsample=20_000))
    fine: int = Field(
        3, ge=1, le=100, description="maximum number of clusters of the head per segment; they are merged into segments"
    )
    damping: float = Field(
        0.8,
        ge=0,
        le=1,
        description="exponent of the sizes when clusters are merged; 1: average linkage; lower: large ones grow larger",
    )


@dataclass(frozen=True, eq=False)
class Projection:
    """The fixed linear map (x - shift) @ axes of all features side by side, learned from many images.

    Parameters
    ----------
    shift : (D,) float32
    axes : (D, D') float32
    """

    shift: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def learn(
        cls,
        rows: NDArray[np.float32],
        area: NDArray[np.float64],
        widths: Mapping[Block, int],
        features: FeatureStack,
        coarseness: float = 0.0,
    ) -> Projection:
        """Learn the map from features (N, D) of regions with areas (N,), which are their weights.

        The features of each extractor are scaled to a total variance of one and multiplied by the extractor's weight.
        Maps of the CNN are also multiplied by their stride to the power ``coarseness``, and reduced to their principal
        axes.
        """
        share = area / area.sum()
        shift = share @ rows.astype(np.float64)
        scale = np.sqrt(share @ (rows - shift) ** 2)
        coarsest = max(block.stride for block in widths)
        blocks, first = [], 0
        cnn: list[int] = []
        for (name, stride), width in widths.items():
            columns = np.arange(first, first := first + width)
            extractor = features.extractors()[name]
            if extractor is features.cnn:
                scale[columns] = (stride / coarsest) ** coarseness / extractor.divisors(scale[columns])
                cnn += columns.tolist()
            else:
                block = np.zeros((len(shift), width))
                block[columns, np.arange(width)] = extractor.weight / extractor.divisors(scale[columns])
                blocks.append(block)
        if cnn and features.cnn is not None:
            centred = np.sqrt(share)[:, None] * (rows[:, cnn] - shift[cnn]) * scale[cnn]
            axes = principal_axes(centred, features.cnn.channels)
            block = np.zeros((len(shift), axes.shape[1]))
            block[cnn] = features.cnn.weight * scale[cnn][:, None] * axes
            blocks.append(block)
        return cls(shift.astype(np.float32), np.concatenate(blocks, axis=1).astype(np.float32))

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((rows - self.shift) @ self.axes, dtype=np.float32)

    def checked(self) -> int:
        """D, if the shapes fit together and all numbers are finite. Raises SettingsError."""
        if any(array.dtype.kind != "f" or not np.isfinite(array).all() for array in (self.shift, self.axes)):
            raise SettingsError("its projection does not consist of finite numbers")
        if self.shift.ndim != 1 or self.axes.ndim != 2 or len(self.axes) != len(self.shift):
            raise SettingsError("its arrays have the wrong dimensions")
        return len(self.shift)


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(ABC):
    """What gives the segments of an image the same meaning in all images: Image, Superpixels -> Features -> Membership.

    Law: the result for an image depends on that image alone; equal images get equal segments.

    Parameters
    ----------
    recipe : the settings with which it was made
    backbone : ``FeatureStack.fingerprint`` of the networks; "" without a CNN
    about : facts about how it was made, for people
    bands : ``Bands.keys`` of the images that it was made from, if bands that they do not show are features
    file : path of the file that it was read from
    """

    FIXED: ClassVar[tuple[str, ...]] = ("segments", "working_pixels", "superpixels", "features")
    """Settings of a pipeline that belong to the model, because it can only be applied with them."""

    recipe: Description
    backbone: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    bands: tuple[str, ...] = ()

    @property
    @abstractmethod
    def segments(self) -> int:
        """How many segments there are, over all images."""

    @property
    def names(self) -> dict[int, str]:
        """Segment -> name, for segments that are classes; only taught models have names."""
        return {}

    @property
    @abstractmethod
    def made_by(self) -> str:
        """By what it was made from what, for people."""

    @abstractmethod
    def described(self, parts: Parts) -> Features:
        """``features`` for parts that have been computed."""

    @abstractmethod
    def membership(self, features: Features) -> Membership:
        """(N, K) the memberships in the model's segments, in their fixed order."""

    @abstractmethod
    def _packed(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The arrays of the file, and what its header holds beside ``_header``."""

    def settings(self) -> dict[str, Any]:
        """The settings of a pipeline that belong to the model."""
        return {name: getattr(self if name == "segments" else self.recipe, name) for name in self.FIXED}

    def defaults(self) -> dict[str, Any]:
        """Settings of a pipeline that go well with the model, and that a user may replace."""
        return {}

    def features(self, image: Image, superpixels: Superpixels) -> tuple[Features, RegionGraph]:
        """The features of the superpixels for the model, and their region graph. Raises as ``parts``."""
        parts = self.parts(image, superpixels)
        return self.described(parts), parts.graph

    def parts(self, image: Image, superpixels: Superpixels) -> Parts:
        """``Description.parts`` of the image as the model sees it.

        Raises
        ------
        BackboneError
            The CNN has other weights than when the model was made.
        ImageError
            The image has other bands than those that it was made from.
        """
        if not self.bands:
            image = replace(image, bands=None)
        elif self.recipe.bands_of(image) != self.bands:
            raise ImageError(
                f"has {said_of_keys(self.recipe.bands_of(image))}, but the model {self.file} was made from images with "
                f"{said_of_keys(self.bands)}",
                image.name,
            )
        known = self.backbone.split("+")
        for network in self.recipe.features.load():
            if network.fingerprint not in known:
                file = f"{network.name}.safetensors"
                right = f"save the right ones as {file} in the folder that {WEIGHTS_VARIABLE} names, or "
                raise BackboneError(
                    f"was made with other weights of '{network.name}' than those found here ({network.source}); "
                    f"{right if network.name not in PACKAGED else ''}make the model again",
                    self.file or "the model",
                )
        return self.recipe.parts(image, superpixels)

    def said_of(self, bands: Bands | None) -> str:
        """A sentence about what becomes of the bands of an image that are not shown; empty if there are none."""
        if self.bands or bands is None or not bands.unseen:
            return self.recipe.features.said_of(bands)
        return "the model uses only the shown bands, as in the images that it was made from"

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of everything that results depend on."""
        tensors, header = self._whole()
        digest = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "about"}, sort_keys=True).encode())
        for name in sorted(tensors):
            digest.update(name.encode() + np.ascontiguousarray(tensors[name]).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file with its settings as JSON in the header. Raises OutputError."""
        write_tensors(path, *self._whole())

    def _whole(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors, own = self._packed()
        header = {
            "model": FORMAT,
            "recipe": self.recipe.without_places().model_dump(mode="json"),
            "backbone": self.backbone,
            "about": dict(self.about),
            **own,
        }
        if self.bands:
            header["bands"] = list(self.bands)
        return tensors, header

    def _count(self, name: str) -> int | str:
        """A number of ``about``, as far as the file gives it."""
        return value if isinstance(value := self.about.get(name), int) else "?"

    def _check_width(self, parts: Parts, expected: int) -> None:
        """Raise SettingsError if the settings give another number of features than the model takes."""
        if (width := parts.rows.shape[1]) != expected:
            raise SettingsError(
                f"is damaged: it maps {expected} features, but its settings give {width}", self.file or "the model"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Load a model of any kind from a file of ``save``, or from a folder of ``segspectral models save``.

        It is kept in memory until the file changes.

        Raises
        ------
        SettingsError
            There is no such file, or it is not a model.
        """
        if os.path.isdir(path):
            path = os.path.join(path, "model.safetensors")
        try:
            stat = os.stat(path)
        except (OSError, ValueError) as error:
            raise SettingsError("there is no such model; `segspectral fit` and `teach` make one", path) from error
        return _read(os.fspath(path), stat.st_mtime_ns, stat.st_size)


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedModel(Model):
    """A head that was fitted without labels, and the map to its features.

    Parameters
    ----------
    projection : the map to the head's features
    head : the fitted head, with at most ``recipe.segments * recipe.fine`` clusters
    segment_of : (clusters,) the segment 0..K-1 of each cluster of the head
    """

    FIXED = (*Model.FIXED, "head")

    recipe: Recipe
    projection: Projection
    head: Head
    segment_of: NDArray[np.int64]

    @property
    def segments(self) -> int:
        return self.recipe.segments

    @property
    def made_by(self) -> str:
        nodes, images = (self._count(name) for name in ("nodes", "images"))
        return f"a {type(self.head).__name__} fitted on {nodes} superpixels of {images} images"

    def described(self, parts: Parts) -> Features:
        """``features`` for parts that have been computed. They have unit length and are equal within a region."""
        self._check_width(parts, len(self.projection.shift))
        # The map and the means are linear, so their order does not matter. There are fewer columns after the map.
        rows, region = self.recipe.regions(parts.graph, self.projection(parts.rows))
        return Features(unit(rows)[region])

    def membership(self, features: Features) -> Membership:
        clusters = self.head.predict_proba(features.nodes)
        # The most likely cluster decides, as in the fit. In a sum, many vague clusters would outweigh it.
        best = np.stack([clusters[:, self.segment_of == k].max(axis=1) for k in range(self.segments)], axis=1)
        return Membership(best / best.sum(axis=1, keepdims=True))

    def _packed(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        head = pack(self.head, tensors, self.head.extension_.KEPT)
        tensors |= {"shift": self.projection.shift, "axes": self.projection.axes, "segment_of": self.segment_of}
        return tensors, {"fitted": head}

    @classmethod
    def unpacked(cls, header: dict[str, Any], tensors: dict[str, NDArray[Any]], common: dict[str, Any]) -> FittedModel:
        """The model of a file, whose header and arrays go together; call it within ``whole``."""
        model = cls(
            recipe=Recipe.model_validate(header["recipe"]).without_places(),
            projection=Projection(tensors["shift"], tensors["axes"]),
            head=unpack(header["fitted"], tensors),
            segment_of=tensors["segment_of"],
            **common,
        )
        segment_of = model.segment_of
        shift = model.projection.checked()
        if segment_of.ndim != 1 or segment_of.dtype.kind != "i":
            raise SettingsError("its arrays have the wrong dimensions")
        # Each segment must have a cluster. This also bounds the numbers in the header by the size of the file.
        if set(segment_of.tolist()) != set(range(model.segments)) or len(segment_of) != model.head.n_clusters:
            raise SettingsError(f"its clusters do not form {model.segments} segments")
        model.membership(Features(unit(model.projection(np.ones((1, shift), np.float32)))))
        return model


@lru_cache(maxsize=4)
def _read(path: str, mtime_ns: int, size: int) -> Model:
    with whole(path, "a model that `segspectral fit` or `teach` has written"):
        header, tensors = read_tensors(path)
        if header["model"] != FORMAT:
            raise SettingsError("is a model of another version of segspectral; make it again", path)
        if not isinstance(header["backbone"], str) or not isinstance(header["about"], dict):
            raise SettingsError("its fields backbone or about have the wrong type")
        if not all(isinstance(key, str) for key in header.get("bands", ())):
            raise SettingsError("its field bands has the wrong type")
        common = {
            "backbone": header["backbone"],
            "about": header["about"],
            "file": path,
            "bands": tuple(header.get("bands", ())),
        }
        home, name = KINDS["taught" if "classes" in header else "fitted"].split(":")
        model: Model = getattr(import_module(home), name).unpacked(header, tensors, common)
        cnn = model.recipe.features.cnn
        if cnn is not None and not re.fullmatch(r"\w+(\.\w+)*", cnn.backbone, re.ASCII):
            raise SettingsError("its backbone is not a name of a timm model")
    return model


def said_of_keys(keys: tuple[str, ...]) -> str:
    """What ``Bands.keys`` are, for messages.

    >>> said_of_keys(("band1", "band2", "ndvi")), said_of_keys(())
    ('2 bands and ndvi', 'no bands beside the shown ones')
    """
    indices = [key for key in keys if not re.fullmatch(r"band\d+", key)]
    return (
        " and ".join([plural(len(keys) - len(indices), "band"), *indices]) if keys else "no bands beside the shown ones"
    )


def model_from(value: Any) -> Any:
    """A model from its file, from {"file", "fingerprint"}, or itself. ValueError if the fingerprint differs."""
    if isinstance(value, str | os.PathLike):
        return Model.load(value)
    if isinstance(value, Mapping):
        if not isinstance(value.get("file"), str):
            raise ValueError("a model must be given by its file")
        model = Model.load(value["file"])
        if value.get("fingerprint", model.fingerprint) != model.fingerprint:
            raise ValueError(f"{value['file']} is not the model with which these settings were made")
        return model
    return value


AnyModel = Annotated[
    InstanceOf[Model],
    BeforeValidator(model_from),
    PlainSerializer(lambda model: {"file": model.file, "fingerprint": model.fingerprint}, when_used="json"),
    WithJsonSchema({"type": "string", "description": "file of a model, from segspectral fit or teach"}),
]
"""The type of a field of settings that is a model."""


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows scaled to length one: directions show the kind of object, lengths only how strong the activations are."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
