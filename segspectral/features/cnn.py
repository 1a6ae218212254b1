"""Mean activations of a pretrained network over each superpixel, at several strides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import segspectral
from segspectral.features.backbones import DEFAULT_BACKBONE, Activations, Backbone, load_backbone
from segspectral.features.cache import FeatureCache
from segspectral.features.edges import edges_along
from segspectral.features.parts import Extractor, Means
from segspectral.spectral.signs import column_signs
from segspectral.values import Image, Superpixels

__all__ = ["EDGES", "Cnn", "Seen", "principal_axes", "principal_components", "seen_at"]

EDGES = "edges"
"""Key of the means of the pixel edge map along borders: (M, 2), the probability of an edge and its log odds."""


class Seen:
    """The output of a network for one image, computed on first use and only once."""

    def __init__(self, cnn: Cnn, image: Image) -> None:
        self.cnn, self.image = cnn, image

    @cached_property
    def activations(self) -> Activations:
        """The maps, and the pixel edge map (H, W)."""
        return self.cnn.activations(self.image, edges=True)

    @cached_property
    def edges(self) -> NDArray[np.float32] | None:
        """(H, W) the probability that a person would draw an edge at each pixel; None if the network has no decoder."""
        cnn = self.cnn
        if cnn.cache is None or not cnn.is_default:
            return self.activations.edges

        def make() -> dict[str, NDArray[np.float32]]:
            edges = self.activations.edges
            assert edges is not None
            return {EDGES: edges}

        return cnn.cache.get({"rgb": self.image.rgb, "mask": self.image.mask}, cnn.key("edge map"), make)[EDGES]


class Cnn(Extractor):
    """Mean activations of a pretrained network at several strides, reduced by PCA: (N, channels).

    The mean over a superpixel is that of the bilinearly upsampled map. Channels are centred, and each map is scaled to
    a total variance of one so that no stride dominates. The leading principal components of all maps together are kept.
    """

    weight: float = Field(2.0, gt=0, description="weight of these features in the distance between superpixels")
    backbone: str = Field(DEFAULT_BACKBONE, description="name of a timm model (timm.list_models())")
    weights: str | None = Field(
        None, description="safetensors file with the weights of the backbone; null: search for them"
    )
    strides: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (4, 8, 16),
        min_length=1,
        max_length=16,
        description="strides of the maps that are used; strides that the network does not have are ignored",
    )
    scales: tuple[Annotated[float, Field(ge=0.1, le=4)], ...] = Field(
        (1.25,),
        min_length=1,
        max_length=8,
        description="sizes at which the default network sees the image, relative to the image's own size: the features "
        "are those of the first size, the edge map is the mean over all",
    )
    channels: int = Field(24, ge=1, le=4096, description="number of principal components")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="device of the network; auto: the CPU for the default network, for others the GPU if there is one",
    )
    cache: FeatureCache | None = Field(
        None, description="cache of the activations on disk, for further runs on the same image"
    )

    @property
    def is_default(self) -> bool:
        """Whether this is the default network, the only one that has a pixel edge map."""
        return self.backbone == DEFAULT_BACKBONE

    def load(self) -> Backbone:
        """The network; it is loaded once per process. Raises BackboneError."""
        return load_backbone(self.backbone, self.weights, self.device)

    @property
    def scale(self) -> float:
        """The relative size at which the network sees the image for its features; timm models see it as it is."""
        return self.scales[0] if self.is_default else 1.0

    def activations(self, image: Image, *, edges: bool) -> Activations:
        """The maps of an image (H, W), and with ``edges`` its pixel edge map (H, W) if the network has one."""
        network, rgb = self.load(), image.filled(image.float32)
        return seen_at(network, rgb, self.scales if self.is_default else (1.0,), edges=edges)

    def key(self, what: str) -> str:
        """A key for the cache: what is stored, and all settings and weights that it depends on."""
        backbone, settings = self.load(), self.model_dump_json(include={"backbone", "strides", "scales"})
        return f"{segspectral.__version__} {settings} {what} {backbone.engine} {backbone.fingerprint}"

    def measure(
        self,
        image: Image,
        superpixels: Superpixels,
        corner: tuple[int, int] = (0, 0),
        *,
        edges: bool = False,
        seen: Seen | None = None,
    ) -> Means:
        """Stride -> (N, C) mean activations; with ``edges`` also the means of the pixel edge map along the borders.

        Only the default backbone has a pixel edge map. ``seen`` is what the network has seen in this image already.
        """
        if self.cache is None:
            return self._pool(image, superpixels, edges, seen)

        def make() -> dict[str, NDArray[np.floating]]:
            made = self._pool(image, superpixels, edges, seen)
            return {str(key): values for key, values in (*made.nodes.items(), *made.borders.items())}

        arrays = {"rgb": image.rgb, "mask": image.mask, "superpixels": superpixels.labels}
        kept = self.cache.get(arrays, self.key(str(edges)), make)
        return Means({int(s): kept[s] for s in sorted(set(kept) - {EDGES}, key=int)}, _only(kept, EDGES))

    def finish(self, means: Means, shape: tuple[int, int]) -> NDArray[np.float32]:
        """(N, channels) the principal components of all maps, each of which is scaled to a total variance of one."""
        scaled = []
        for values in means.nodes.values():
            nodes = values.astype(np.float32).astype(np.float64)
            nodes -= nodes.mean(axis=0)
            scaled.append(nodes / max(np.sqrt((nodes**2).sum(axis=1).mean()), 1e-12))
        return principal_components(np.concatenate(scaled, axis=1), self.channels).astype(np.float32)

    def by_stride(self, means: Means, shape: tuple[int, int]) -> Mapping[int, NDArray[np.float32]]:
        """Stride -> (N, C) mean activations, neither scaled nor reduced."""
        return {stride: values.astype(np.float32) for stride, values in means.nodes.items()}

    def _pool(self, image: Image, superpixels: Superpixels, edges: bool, seen: Seen | None) -> Means:
        if seen is None:
            maps, edge_map = self.activations(image, edges=edges)
        else:
            maps, edge_map = seen.activations
        deepest = {map_.stride: map_ for map_ in maps}  # the last map of each stride
        chosen = sorted(s for s in set(self.strides) if s in deepest) or [max(deepest)]
        nodes = {s: superpixels.pool_grid(deepest[s].values, s / self.scale).astype(np.float32) for s in chosen}
        return Means(nodes, {} if edge_map is None or not edges else {EDGES: edges_along(superpixels, edge_map)})


def seen_at(network: Backbone, rgb: NDArray[np.float32], scales: Sequence[float], *, edges: bool) -> Activations:
    """The maps of an image (H, W, 3) at the first of several sizes, and its pixel edge map, the mean over all sizes.

    People draw the borders of large things and of small ones, and several sizes show both (Xie and Tu 2015, Arbelaez et
    al. 2011). A larger image also gives finer edges, because the decoder works at half the resolution.

    Parameters
    ----------
    scales : shares of the image's own size
    edges : whether the edge map is wanted; without it one pass is enough
    """
    seen = []
    for scale in scales if edges else scales[:1]:
        if scale == 1:
            scaled = rgb
        else:
            # Given this way, the factor is exact for every size of tile.
            by = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            scaled = np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=by), np.float32)
        seen.append(network.activations(scaled, edges=edges))
    if seen[0].edges is None:
        return seen[0]
    size = (rgb.shape[1], rgb.shape[0])
    each = [cv2.resize(one.edges, size, interpolation=cv2.INTER_LINEAR) for one in seen if one.edges is not None]
    return seen[0]._replace(edges=np.asarray(each[0] if len(each) == 1 else np.mean(each, axis=0), np.float32))


def _only(arrays: Mapping[str, NDArray[np.float32]], name: str) -> dict[str, NDArray[np.float32]]:
    return {name: arrays[name]} if name in arrays else {}


def principal_axes(centred: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """(D, min(channels, N, D)) the leading principal axes of centred rows (N, D), with ``column_signs`` of +1."""
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, : min(channels, *centred.shape)]
    return axes * column_signs(axes)


def principal_components(rows: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """(N, min(channels, N, D)) the projections of rows (N, D) on their leading principal axes."""
    centred = rows - rows.mean(axis=0)
    keep = min(channels, *centred.shape)
    # Both Gram matrices have the same spectrum, and the smaller one is used. scikit-learn's PCA with
    # svd_solver="covariance_eigh" gives the same up to 1e-12, but it always uses the (D, D) one: for 600 superpixels
    # and 176 channels both take 5 ms, for 2304 channels (three maps of a ViT) it takes 2.6 s instead of 0.09 s.
    if centred.shape[1] <= centred.shape[0]:
        _, axes = np.linalg.eigh(centred.T @ centred)
        scores = centred @ axes[:, ::-1][:, :keep]
    else:
        values, axes = np.linalg.eigh(centred @ centred.T)
        scores = axes[:, ::-1][:, :keep] * np.sqrt(np.maximum(values[::-1][:keep], 0))
    return scores * column_signs(scores)
