"""One head fitted on many images, so that segment 3 is the same thing in every picture.

::

    Image -> Superpixels -> parts -> one fixed linear map -> means over regions -> head -> merged -> Membership

What a pipeline learns anew from each image, the scale of its features and the clusters of its graph, is here learnt
once: the features of all images are standardised and reduced together, one kNN graph spans the regions of all of them,
united with those that touch within an image, and one head is trained on it. Applying the model to an image needs no
graph and no training.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, WithJsonSchema

from segspectral.affinity import KnnAffinity
from segspectral.errors import BackboneError, SettingsError
from segspectral.features import Cnn, FeatureStack
from segspectral.features.backbones import WEIGHTS_VARIABLE
from segspectral.features.cnn import principal_axes
from segspectral.heads.base import Head
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.settings import AnyHead
from segspectral.heads.storage import pack, read_tensors, unpack, whole, write_tensors
from segspectral.resolution import WORKING_PIXELS, WorkingPixels
from segspectral.settings import Settings
from segspectral.superpixels import Slic
from segspectral.values import Features, Image, Membership, Superpixels
from segspectral.values.regions import RegionGraph

__all__ = ["AnyModel", "Model", "Parts", "Projection", "Recipe", "Regions", "model_from", "unit"]

FORMAT = 1


class Block(NamedTuple):
    """Which columns of the rows these are: the extractor's name and the stride of its map in pixels."""

    extractor: str
    stride: int


class Parts(NamedTuple):
    """What the extractors give of one image, before anything is scaled."""

    nodes: Mapping[Block, NDArray[np.float32]]
    """(N, D) of each extractor; of a CNN one for each stride."""
    graph: RegionGraph
    """Of the N superpixels, with boundary probabilities if ``features.contours`` is set."""

    @property
    def rows(self) -> NDArray[np.float32]:
        """(N, D) all of them side by side."""
        return np.concatenate(list(self.nodes.values()), axis=1)


class Regions(Settings):
    """What a node of the model is: a region of the image's hierarchy, described by itself and by what it lies in.

    A superpixel of a cat's ear says little; the means of features over regions that contours enclose say what a thing
    is, and regions, unlike pixels, do not count a thing by its size.
    """

    level: float = Field(0.1, ge=0, le=1, description="of the hierarchy at which nodes are cut; 0: superpixels")
    context: float = Field(
        0.2, ge=0, le=1, description="level of the larger region whose features are added; not above `level`: none"
    )

    def __call__(
        self, graph: RegionGraph, values: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(R, D) means of values (N, D), and the region of each superpixel (N,).

        Without boundary probabilities each superpixel is a region.
        """
        if graph.boundary is None or self.level == 0:
            return values, np.arange(len(graph), dtype=np.int32)
        region = graph.hierarchy.regions(level=self.level)
        rows = _means(region, graph.area, values)
        if self.context > self.level:
            wider = graph.hierarchy.regions(level=self.context)
            around = np.empty(len(rows), dtype=np.int32)
            around[region] = wider
            rows = (rows + _means(wider, graph.area, values)[around]) / np.float32(2)
        return rows, region


def _means(region: NDArray[np.int32], area: NDArray[Any], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(R, D) means of values (N, D) over regions, weighted by area."""
    sums = sp.csr_array((area.astype(np.float64), (region, np.arange(len(region)))))
    return np.asarray((sums @ values) / sums.sum(axis=1)[:, None], dtype=np.float32)


class Recipe(Settings):
    """How a model is fitted: what ``--config`` and ``--set`` of ``segspectral fit`` change."""

    segments: int = Field(21, ge=2, le=10_000, description="how many, over all images")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="equal seeds give equal models")
    nodes: int = Field(16_000, ge=100, description="regions in the graph at most, of images drawn from the folder")
    working_pixels: WorkingPixels = WORKING_PIXELS
    superpixels: Slic = Slic()
    features: FeatureStack = FeatureStack(
        colour=None, texture=None, position=None, cnn=Cnn(strides=(4, 8, 16, 32), channels=64)
    )
    coarseness: float = Field(
        1.0, ge=0, description="maps of a CNN weigh stride^coarseness: coarse ones know more of what things are"
    )
    regions: Regions = Regions()
    across: bool = Field(True, description="seek the nearest neighbours of a region in other images than its own")
    affinity: KnnAffinity = KnnAffinity(neighbors=80, bandwidth="self_tuning", scale=1.0)
    head: AnyHead = Field(default_factory=lambda: NeuNcut(hidden=(256,), greedy=False, steps=200, subsample=20_000))
    fine: int = Field(3, ge=1, le=100, description="clusters of the head for each segment, at most; they are merged")
    damping: float = Field(
        0.8,
        ge=0,
        le=1,
        description="of sizes when clusters are merged; 1: average linkage, less: larger ones grow",
    )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def without_places(self) -> Recipe:
        """The recipe without the files and folders that it names: those of a file from elsewhere are never opened."""
        if self.features.cnn is None:
            return self
        cnn = self.features.cnn.model_copy(update={"weights": None, "cache": None})
        return self.model_copy(update={"features": self.features.model_copy(update={"cnn": cnn})})

    def parts(self, image: Image, superpixels: Superpixels) -> Parts:
        """What the extractors give before anything is scaled; a CNN gives one part per stride."""
        measured = self.features.measure(image, superpixels)
        nodes = {
            Block(name, stride): values
            for name, extractor in self.features.extractors().items()
            for stride, values in extractor.by_stride(measured[name], image.shape).items()
        }
        return Parts(nodes, self.features.with_boundary(measured, superpixels.region_graph))


@dataclass(frozen=True, eq=False)
class Projection:
    """The fixed map (x - shift) @ axes of the parts side by side, learnt over a folder.

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
        """Each part on one scale, times its weight, and of the CNN's the principal axes; all from rows (N, D).

        Rows count by their area (N,), and maps of the CNN by their stride to the power ``coarseness``.
        """
        share = area / area.sum()
        shift = share @ rows.astype(np.float64)
        scale = np.sqrt(share @ (rows - shift) ** 2)
        coarsest = max(block.stride for block in widths)
        blocks, first = [], 0
        cnn: list[int] = []
        for (name, stride), width in widths.items():
            columns = np.arange(first, first := first + width)
            total = max(float(np.sqrt((scale[columns] ** 2).sum())), 1e-12)
            extractor = features.extractors()[name]
            if extractor is features.cnn:
                scale[columns] = (stride / coarsest) ** coarseness / total
                cnn += columns.tolist()
            else:
                block = np.zeros((len(shift), width))
                block[columns, np.arange(width)] = extractor.weight / total
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


@dataclass(frozen=True, eq=False)
class Model:
    """A head with the features it was fitted on: Image, Superpixels -> Features -> Membership.

    Law: what it says of an image depends on that image alone; equal images get equal segments.

    Parameters
    ----------
    recipe : what it was fitted with
    projection : of the parts
    head : fitted, with ``recipe.segments * recipe.fine`` clusters or fewer
    segment_of : (clusters,) segment 0..K-1 of each cluster of the head
    backbone : fingerprint of the CNN's weights; "" without a CNN
    about : what it was fitted on, for people
    file : where it was read from
    """

    recipe: Recipe
    projection: Projection
    head: Head
    segment_of: NDArray[np.int64]
    backbone: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""

    @property
    def segments(self) -> int:
        return self.recipe.segments

    def features(self, image: Image, superpixels: Superpixels) -> tuple[Features, RegionGraph]:
        """The superpixels as the head knows them, rows of unit length that are equal within a region; and their graph.

        Raises
        ------
        BackboneError
            The CNN has other weights than the one that the model was fitted with.
        """
        cnn = self.recipe.features.cnn
        if cnn is not None and cnn.load().fingerprint != self.backbone:
            raise BackboneError(
                f"was fitted with other weights of '{cnn.backbone}' than the ones here "
                f"({cnn.load().source}); put the same ones as {cnn.backbone}.safetensors into the folder that "
                f"{WEIGHTS_VARIABLE} names, or fit again",
                self.file or "the model",
            )
        parts = self.recipe.parts(image, superpixels)
        return self.described(parts), parts.graph

    def described(self, parts: Parts) -> Features:
        """``features`` of parts that are there already."""
        if (width := parts.rows.shape[1]) != len(self.projection.shift):
            raise SettingsError(
                f"is damaged: it maps {len(self.projection.shift)} features, and its settings give {width}",
                self.file or "the model",
            )
        # Map and means are both linear; after the map there are fewer columns to average.
        rows, region = self.recipe.regions(parts.graph, self.projection(parts.rows))
        return Features(unit(rows)[region])

    def membership(self, features: Features) -> Membership:
        """(N, K) memberships in the segments, in the model's order."""
        clusters = self.head.predict_proba(features.nodes)
        merged = np.eye(self.segments, dtype=np.float32)[self.segment_of]
        return Membership(clusters @ merged)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with anything that results depend on."""
        tensors, header = self._packed()
        digest = hashlib.sha256(json.dumps({k: v for k, v in header.items() if k != "about"}, sort_keys=True).encode())
        for name in sorted(tensors):
            digest.update(name.encode() + np.ascontiguousarray(tensors[name]).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one safetensors file, settings as JSON in its header. OutputError if it cannot."""
        write_tensors(path, *self._packed())

    def _packed(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors: dict[str, NDArray[Any]] = {}
        head = pack(self.head, tensors, self.head.extension_.KEPT)
        tensors |= {"shift": self.projection.shift, "axes": self.projection.axes, "segment_of": self.segment_of}
        header = {
            "model": FORMAT,
            "recipe": self.recipe.without_places().model_dump(mode="json"),
            "backbone": self.backbone,
            "about": dict(self.about),
            "fitted": head,
        }
        return tensors, header

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """The model that ``save`` wrote, or of a folder as ``segspectral models save`` writes them.

        Once read, it is kept in memory until the file changes.

        Raises
        ------
        SettingsError
            There is no such file, or it is no model.
        """
        if os.path.isdir(path):
            path = os.path.join(path, "model.safetensors")
        try:
            stat = os.stat(path)
        except (OSError, ValueError) as error:
            raise SettingsError("there is no such model; `segspectral fit` makes one", path) from error
        return _read(os.fspath(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: str, mtime_ns: int, size: int) -> Model:
    with whole(path, "a model that `segspectral fit` has written"):
        header, tensors = read_tensors(path)
        if header["model"] != FORMAT:
            raise SettingsError("is a model of another version of segspectral; fit it again", path)
        if not isinstance(header["backbone"], str) or not isinstance(header["about"], dict):
            raise SettingsError("its backbone or what it says of itself is of another type")
        model = Model(
            Recipe.model_validate(header["recipe"]).without_places(),
            Projection(tensors["shift"], tensors["axes"]),
            unpack(header["fitted"], tensors),
            tensors["segment_of"],
            header["backbone"],
            header["about"],
            path,
        )
        _try(model)
    return model


def _try(model: Model) -> None:
    """Shapes that do not go together are found here and not at the first image."""
    shift, axes, segment_of = model.projection.shift, model.projection.axes, model.segment_of
    if any(array.dtype.kind != "f" or not np.isfinite(array).all() for array in (shift, axes)):
        raise SettingsError("its projection holds something else than finite numbers")
    if shift.ndim != 1 or axes.ndim != 2 or segment_of.ndim != 1 or segment_of.dtype.kind != "i":
        raise SettingsError("its arrays have other dimensions")
    # Each segment has a cluster of the head, so that no number in the header is larger than the file is.
    if set(segment_of.tolist()) != set(range(model.segments)) or len(segment_of) != model.head.n_clusters:
        raise SettingsError(f"its clusters do not make {model.segments} segments")
    cnn = model.recipe.features.cnn
    if cnn is not None and not re.fullmatch(r"\w+(\.\w+)*", cnn.backbone, re.ASCII):
        raise SettingsError("its backbone is not one of timm's names")
    model.membership(Features(unit(model.projection(np.ones((1, len(shift)), np.float32)))))


def model_from(value: Any) -> Any:
    """A model from itself, its file, or {"file", "fingerprint"}. ValueError (pydantic's) if it is another by now."""
    if isinstance(value, str | os.PathLike):
        return Model.load(value)
    if isinstance(value, Mapping):
        if not isinstance(value.get("file"), str):
            raise ValueError("a model is given by its file")
        model = Model.load(value["file"])
        if value.get("fingerprint", model.fingerprint) != model.fingerprint:
            raise ValueError(f"{value['file']} is another model than the one these settings were made with")
        return model
    return value


AnyModel = Annotated[
    InstanceOf[Model],
    BeforeValidator(model_from),
    PlainSerializer(lambda model: {"file": model.file, "fingerprint": model.fingerprint}, when_used="json"),
    WithJsonSchema({"type": "string", "description": "a file that segspectral fit has written"}),
]
"""A model as a field of settings."""


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length one: directions say what a superpixel shows, lengths how strongly."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
