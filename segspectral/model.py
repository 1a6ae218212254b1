"""One head fitted on many images, so that segment 3 is the same thing in every picture.

::

    Image -> Superpixels -> parts -> one fixed linear map -> walk over the superpixels -> head -> merged -> Membership

What a pipeline learns anew from each image, the scale of its features and the clusters of its graph, is here learnt
once: the features of all images are standardised and reduced together, one kNN graph spans the superpixels of all of
them, united with those that touch within an image, and one head is trained on it. Applying the model to an image needs
no graph and no training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, InstanceOf, PlainSerializer, WithJsonSchema

from segspectral.affinity import KnnAffinity
from segspectral.errors import BackboneError, SettingsError
from segspectral.features import Cnn, FeatureStack, principal_axes
from segspectral.heads.contract import Head
from segspectral.heads.networks import Mlp
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.settings import AnyHead
from segspectral.heads.storage import pack, read_tensors, unpack, write_tensors
from segspectral.resolution import WORKING_PIXELS, WorkingPixels
from segspectral.settings import Settings
from segspectral.superpixels import Slic
from segspectral.types import Features, Image, Membership, Superpixels

if TYPE_CHECKING:
    pass

__all__ = ["AnyModel", "Context", "Model", "Parts", "Projection", "Recipe", "model_from", "unit"]

FORMAT = 1

ROW_STATE = ("network_", "readout_", "n_features_in_")
GRAPH_STATE = ("X_fit_", "labels_", "membership_", "eigenvalues_", "n_features_in_")
"""What a head needs to place unseen points: a network of features, or the nodes it was fitted on; or all, for both."""

Parts = Mapping[str, NDArray[np.float32]]
"""Name -> (N, D) of one image, in units of its own."""


class Context(Settings):
    """Features averaged along a lazy random walk over the superpixels that touch, so that a node knows its object.

    The walk crosses a border with a probability proportional to exp(-sharpness d^2 / median d^2), d the distance of the
    two superpixels in the image's own features: it goes on inside an object and seldom leaves it.
    """

    steps: int = Field(32, ge=0, le=1000, description="of the walk; 0: each superpixel by itself")
    sharpness: float = Field(3.0, ge=0, description="how strongly differences hold the walk back")

    def __call__(self, parts: Parts, superpixels: Superpixels, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) values after the walk, guided by ``parts``."""
        if self.steps == 0 or len(superpixels.borders) == 0:
            return values
        walk = self._walk(parts, superpixels)
        for _ in range(self.steps):
            values = walk @ values
        return values

    def _walk(self, parts: Parts, superpixels: Superpixels) -> sp.csr_array:
        i, j = superpixels.borders.T
        squared = np.zeros(len(i))
        for part in parts.values():
            difference = part[i] - part[j]
            squared += np.einsum("md,md->m", difference, difference) / max(float(part.var(axis=0).sum()), 1e-12)
        median = float(np.median(squared))
        weight = np.exp(-self.sharpness * squared / max(median, 1e-12)) + 1e-4  # none is cut off
        n = len(superpixels)
        W = sp.csr_array((np.tile(weight, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n))
        degree = np.asarray(W.sum(axis=1)).ravel()
        step = sp.diags_array(0.5 / np.where(degree > 0, degree, 1.0)) @ W
        return sp.csr_array(step + sp.diags_array(np.where(degree > 0, 0.5, 1.0)), dtype=np.float32)


class Recipe(Settings):
    """How a model is fitted: what ``--config`` and ``--set`` of ``segspectral fit`` change."""

    segments: int = Field(21, ge=2, le=10_000, description="how many, over all images")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="equal seeds give equal models")
    nodes: int = Field(8000, ge=100, description="superpixels in the graph, equally many of each image")
    working_pixels: WorkingPixels = WORKING_PIXELS
    superpixels: Slic = Slic()
    features: FeatureStack = FeatureStack(
        colour=None, texture=None, position=None, contours=None, cnn=Cnn(strides=(16, 32), channels=64)
    )
    context: Context = Context()
    across: bool = Field(True, description="seek the nearest neighbours of a superpixel in other images than its own")
    affinity: KnnAffinity = KnnAffinity(neighbors=20, bandwidth="self_tuning", scale=1.0)
    head: AnyHead = Field(default_factory=lambda: NeuNcut(hidden=(256,), greedy=False, steps=200))
    fine: int = Field(1, ge=1, le=100, description="clusters of the head for each segment; they are merged")
    damping: float = Field(
        0.6,
        ge=0,
        le=1,
        description="of sizes when clusters are merged; 1: average linkage, less: larger ones grow",
    )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    def parts(self, image: Image, superpixels: Superpixels) -> dict[str, NDArray[np.float32]]:
        """What the extractors give before anything is scaled; a CNN one part per stride."""
        parts: dict[str, NDArray[np.float32]] = {}
        for name, extractor in self.features.extractors().items():
            if isinstance(extractor, Cnn):
                pooled = extractor.pooled(image, superpixels).nodes
                parts |= {f"{name} stride {stride}": values for stride, values in pooled.items()}
            else:
                parts[name] = extractor(image, superpixels)
        return parts


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
    def learn(cls, rows: NDArray[np.float32], widths: Mapping[str, int], features: FeatureStack) -> Projection:
        """Each part on one scale, times its weight, and of the CNN's the principal axes; all from rows (N, D)."""
        shift = rows.mean(axis=0, dtype=np.float64)
        scale = np.sqrt(rows.var(axis=0, dtype=np.float64))
        blocks, first = [], 0
        cnn: list[int] = []
        for name, width in widths.items():
            columns = np.arange(first, first := first + width)
            total = max(float(np.sqrt((scale[columns] ** 2).sum())), 1e-12)
            scale[columns] = 1 / total
            extractor = features.extractors()[name.partition(" ")[0]]
            if isinstance(extractor, Cnn):
                cnn += columns.tolist()
            else:
                block = np.zeros((len(shift), width))
                block[columns, np.arange(width)] = extractor.weight / total  # type: ignore[attr-defined]
                blocks.append(block)
        if cnn and features.cnn is not None:
            axes = principal_axes((rows[:, cnn] - shift[cnn]) * scale[cnn], features.cnn.channels)
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

    def features(self, image: Image, superpixels: Superpixels) -> Features:
        """The superpixels as the head knows them: rows of unit length.

        Raises
        ------
        BackboneError
            The CNN has other weights than the one that the model was fitted with.
        """
        cnn = self.recipe.features.cnn
        if cnn is not None and cnn.load().fingerprint != self.backbone:
            raise BackboneError(
                f"{self.file or 'the model'}: was fitted with other weights of '{cnn.backbone}' than the ones here "
                f"({cnn.load().source}); use the same ones, or fit again"
            )
        return self.described(self.recipe.parts(image, superpixels), superpixels)

    def described(self, parts: Parts, superpixels: Superpixels) -> Features:
        """``features`` of parts that are there already."""
        rows = self.projection(np.concatenate(list(parts.values()), axis=1))
        # Map and walk are both linear; after the map there are fewer columns to walk with.
        return Features(unit(self.recipe.context(parts, superpixels, rows)))

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
        network = getattr(self.head, "network_", None)
        kept = GRAPH_STATE if network is None else ROW_STATE if isinstance(network, Mlp) else None
        head = pack(self.head, tensors, kept)
        tensors |= {"shift": self.projection.shift, "axes": self.projection.axes, "segment_of": self.segment_of}
        header = {
            "model": FORMAT,
            "recipe": self.recipe.model_dump(mode="json"),
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
        except OSError as error:
            raise SettingsError(f"{path}: there is no such model; `segspectral fit` makes one") from error
        return _read(os.fspath(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: str, mtime_ns: int, size: int) -> Model:
    from safetensors import SafetensorError

    try:
        header, tensors = read_tensors(path)
        if header["model"] != FORMAT:
            raise SettingsError(f"{path}: is a model of another version of segspectral; fit it again")
        model = Model(
            Recipe.model_validate(header["recipe"]),
            Projection(tensors["shift"], tensors["axes"]),
            unpack(header["fitted"], tensors),
            tensors["segment_of"],
            header["backbone"],
            header["about"],
            path,
        )
        _try(model)
    except SettingsError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SettingsError(f"{path}: is no model that `segspectral fit` has written, or it is damaged") from error
    return model


def _try(model: Model) -> None:
    """A row through all of it: shapes that do not go together are found here and not at the first image."""
    row = unit(model.projection(np.ones((1, len(model.projection.shift)), np.float32)))
    model.membership(Features(row))


def model_from(value: Any) -> Any:
    """A model from itself, its file, or {"file", "fingerprint"}. ValueError (pydantic's) if it is another by now."""
    if isinstance(value, str | os.PathLike):
        return Model.load(value)
    if isinstance(value, Mapping):
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
