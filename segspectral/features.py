"""Image, Superpixels -> Features: colour, texture, position and a CNN, pooled per superpixel.

Each extractor gives (N, D) with a scale of its own; ``FeatureStack`` puts them on one scale (see there) and side by
side. To add an extractor: one class here and one field of ``FeatureStack``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

import segspectral
from segspectral.backbones import DEFAULT_BACKBONE, Backbone, load_backbone
from segspectral.cache import FeatureCache
from segspectral.contours import Activations, Contours, edges_along
from segspectral.settings import Settings
from segspectral.types import FeatureExtractor, Features, Image, Superpixels

__all__ = ["Cnn", "Colour", "FeatureStack", "Position", "Texture"]


class Colour(Settings):
    """Mean and standard deviation of CIELAB: (N, 6). Units: L* in 0..100, a* and b* about -100..100."""

    weight: float = Field(1.0, gt=0, description="share of this part in the distance between superpixels")
    spread: float = Field(0.5, ge=0, description="weight of the standard deviations beside the means")

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        import cv2

        lab = cv2.cvtColor(image.float32, cv2.COLOR_RGB2LAB)
        mean = superpixels.pool(lab)
        variance = superpixels.pool((lab - superpixels.spread(mean)) ** 2)
        return np.concatenate([mean, self.spread * np.sqrt(variance)], axis=1).astype(np.float32)


class Texture(Settings):
    """Mean absolute response of oriented derivative filters on lightness at several scales: (N, scales * 4 + 2).

    Per scale, second Gaussian derivatives steered to 0, 45, 90 and 135 degrees (a small Leung-Malik bank by separable
    OpenCV filters), and the local contrast at two scales.
    """

    weight: float = Field(0.5, gt=0, description="share of this part in the distance between superpixels")
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 2.0, 4.0), min_length=1, description="Gaussian sigmas in pixels"
    )

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        import cv2

        lightness = cv2.cvtColor(image.float32, cv2.COLOR_RGB2LAB)[..., 0] / np.float32(100)
        if image.mask is not None:
            # Void pixels take the mean of the valid ones, so that what they held has no influence.
            lightness = np.where(image.mask, lightness, lightness[image.mask].mean())
        responses = []
        for sigma in self.scales:
            smooth = cv2.GaussianBlur(lightness, (0, 0), sigma)
            rows, cols = cv2.Sobel(smooth, cv2.CV_32F, 0, 2), cv2.Sobel(smooth, cv2.CV_32F, 2, 0)
            both = cv2.Sobel(smooth, cv2.CV_32F, 1, 1)
            # A second derivative along angle t is cos^2 t f_xx + 2 cos t sin t f_xy + sin^2 t f_yy.
            diagonal = 0.5 * (rows + cols)
            responses += [np.abs(r) * sigma**2 for r in (rows, cols, diagonal + both, diagonal - both)]
        for sigma in (2.0, 6.0):
            mean = cv2.GaussianBlur(lightness, (0, 0), sigma)
            square = cv2.GaussianBlur(lightness**2, (0, 0), sigma)
            responses.append(np.sqrt(np.maximum(square - mean**2, 0)))
        pooled = superpixels.pool(np.stack(responses, axis=-1))
        # Responses are heavy-tailed; their square roots are close to normal.
        return np.sqrt(pooled).astype(np.float32)


class Position(Settings):
    """Row and column of the centre in units of the longer side: (N, 2), so that a pixel counts alike both ways."""

    weight: float = Field(0.5, gt=0, description="share of this part in the distance between superpixels")

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        return (superpixels.centre / max(image.shape)).astype(np.float32)


class Cnn(Settings):
    """Activations of a pretrained network, pooled from several strides and reduced by PCA: (N, channels).

    Each map is pooled as if upsampled bilinearly. Channels are centred, each map is scaled to unit total variance so
    that no stride drowns the others, and the principal components of all of them together are kept.
    """

    weight: float = Field(2.0, gt=0, description="share of this part in the distance between superpixels")
    backbone: str = Field(DEFAULT_BACKBONE, description="a timm model (timm.list_models())")
    weights: str | None = Field(None, description="a safetensors file with its tensors; default: see backbones")
    strides: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (4, 8, 16), min_length=1, description="of the maps used; missing ones are left out"
    )
    channels: int = Field(24, ge=1, le=4096, description="principal components kept")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: the GPU if there is one")
    cache: FeatureCache | None = Field(None, description="keep the result on disk, for the next number of segments")

    def load(self) -> Backbone:
        """The network, from memory after the first time. Raises BackboneError."""
        return load_backbone(self.backbone, self.weights, self.device)

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]:
        return self.reduce(self.pooled(image, superpixels).nodes)

    def pooled(self, image: Image, superpixels: Superpixels, edges: bool = False) -> Activations:
        """Mean activations, which ``reduce`` takes, for a whole image or gathered from tiles; with edges if asked."""
        if self.cache is None:
            return self._pool(image, superpixels, edges)

        def make() -> dict[str, NDArray[np.float32]]:
            made = self._pool(image, superpixels, edges)
            kept = {str(stride): values for stride, values in made.nodes.items()}
            return kept if made.edges is None else kept | {"edges": made.edges}

        settings = self.model_dump_json(include={"backbone", "strides"})
        kept = self.cache.get(
            {"rgb": image.rgb, "mask": image.mask, "superpixels": superpixels.labels},
            f"{segspectral.__version__} {settings} {edges} {self.load().fingerprint}",
            make,
        )
        return Activations({int(s): kept[s] for s in sorted(set(kept) - {"edges"}, key=int)}, kept.get("edges"))

    def _pool(self, image: Image, superpixels: Superpixels, edges: bool) -> Activations:
        backbone = self.load()
        rgb = image.float32
        if image.mask is not None:
            rgb = np.where(image.mask[..., None], rgb, rgb[image.mask].mean(axis=0))
        maps = backbone(rgb)
        deepest = {map_.stride: map_ for map_ in maps}  # the last of a stride
        chosen = sorted(s for s in set(self.strides) if s in deepest) or [max(deepest)]
        nodes = {s: superpixels.pool_grid(deepest[s].values, s).astype(np.float32) for s in chosen}
        if not edges or self.backbone != DEFAULT_BACKBONE:
            return Activations(nodes)
        from segspectral.edges import edge_probability

        return Activations(nodes, edges_along(superpixels, edge_probability(rgb, maps)))

    def reduce(self, pooled: Mapping[int, NDArray[np.floating]]) -> NDArray[np.float32]:
        """(N, channels): the maps on one scale, and the principal components of all of them."""
        scaled = []
        for values in pooled.values():
            nodes = values.astype(np.float64)
            nodes -= nodes.mean(axis=0)
            scaled.append(nodes / max(np.sqrt((nodes**2).sum(axis=1).mean()), 1e-12))
        return principal_components(np.concatenate(scaled, axis=1), self.channels).astype(np.float32)


def principal_axes(centred: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """(D, min(channels, N, D)) leading principal axes of centred rows (N, D), the entry of largest size positive."""
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, : min(channels, *centred.shape)]
    return axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])


def principal_components(rows: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """(N, min(channels, N, D)) projections on the leading principal axes, with their variances kept."""
    centred = rows - rows.mean(axis=0)
    keep = min(channels, *centred.shape)
    # The smaller Gram matrix has the same spectrum; eigh on it is far cheaper than an SVD of (N, D).
    if centred.shape[1] <= centred.shape[0]:
        _, axes = np.linalg.eigh(centred.T @ centred)
        scores = centred @ axes[:, ::-1][:, :keep]
    else:
        values, axes = np.linalg.eigh(centred @ centred.T)
        scores = axes[:, ::-1][:, :keep] * np.sqrt(np.maximum(values[::-1][:keep], 0))
    # Eigenvectors have no sign of their own; the entry of largest size is made positive.
    signs = np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(keep)])
    return scores * np.where(signs == 0, 1, signs)


EXTRACTORS = ("colour", "texture", "position", "cnn")
"""The fields of ``FeatureStack`` that give a row per superpixel, in the order of their columns."""


class FeatureStack(Settings):
    """All parts side by side, each scaled so that its mean squared distance between two nodes is its weight squared.

    A part set to null is left out. With this scale the weights say what matters, whatever the units and however many
    columns a part has. ``contours`` adds the probability of an object boundary at each border of the superpixels.
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

    def __call__(self, image: Image, superpixels: Superpixels) -> Features:
        deep = Activations({})
        if self.cnn is not None:
            deep = self.cnn.pooled(image, superpixels, edges=self.contours is not None and self.contours.edges)
        nodes = {
            name: extractor.reduce(deep.nodes) if isinstance(extractor, Cnn) else extractor(image, superpixels)
            for name, extractor in self.extractors().items()
        }
        features = self.combine(nodes)
        if self.contours is None:
            return features
        return replace(features, boundary=self.contours(image, superpixels, deep))

    def extractors(self) -> dict[str, FeatureExtractor]:
        """Name -> what is not left out, in order."""
        return {name: part for name in EXTRACTORS if (part := getattr(self, name)) is not None}

    def combine(self, parts: Mapping[str, NDArray[np.float32]]) -> Features:
        """The (N, D) of each extractor side by side, on one scale."""
        columns, places, first = [], {}, 0
        for name, extractor in self.extractors().items():
            nodes = parts[name].astype(np.float64)
            nodes -= nodes.mean(axis=0)
            # The mean squared distance of two nodes is twice the total variance.
            scale = np.sqrt(2 * (nodes**2).sum(axis=1).mean())
            columns.append((extractor.weight / max(scale, 1e-12)) * nodes if scale > 1e-9 else 0 * nodes)  # type: ignore[attr-defined]
            places[name] = (first, first := first + nodes.shape[1])
        return Features(np.concatenate(columns, axis=1).astype(np.float32), places)
