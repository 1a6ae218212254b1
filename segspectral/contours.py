"""How likely it is that an object ends where two superpixels touch.

Cues of each border (differences of colour, texture and CNN features, gradients and learned edges along it) become one
probability by logistic regression, twice. The first pass sees a superpixel and its neighbour only. Its probabilities
make a graph on which the features diffuse: a lazy random walk that hardly crosses likely contours, and so averages over
what belongs together. The second pass sees the differences that are left after a few and after many steps: they are
low-pass filtered by the graph's Laplacian, as the spectral part of gPb is (Arbelaez et al. 2011, section 3.2), by a few
sparse products instead of an eigen-decomposition.

The weights were fitted on the training images of BSDS500 by ``tools/fit_contours.py``; gPb's were, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.settings import Settings
from segspectral.types import Image, Superpixels

__all__ = [
    "Activations",
    "Contours",
    "Cues",
    "Logistic",
    "Measured",
    "border_graph",
    "described",
    "edge_cues",
    "edges_along",
    "measure",
]

Cues = dict[str, NDArray[np.float64]]
"""Name -> (M,) non-negative, one value per border."""

STRIDES = (4, 8, 16)
SIGMAS = (1, 2, 4)
HISTOGRAMS = ("hist_l", "hist_a", "hist_b")
BINS = 25
LAB_RANGE = ((0, 100), (-60, 60), (-60, 60))


class Activations(NamedTuple):
    """What a network says of superpixels and of the borders between them."""

    nodes: dict[int, NDArray[np.float32]]
    """Stride -> (N, C) mean activations."""
    edges: NDArray[np.float32] | None = None
    """(M, 2) mean along each border of the probability of an edge and of its log odds; None: not known."""


class Measured(NamedTuple):
    """What the pixels say, as means: those of parts of an image, by area and length, are those of the whole."""

    nodes: dict[str, NDArray[np.float64]]
    """Name -> (N, D) means over superpixels: CIELAB and its square, texture, histograms of L*, a* and b*."""
    borders: NDArray[np.float64]
    """(M, 6) mean gradient magnitude along each border, of lightness and of chroma, at three scales."""


class Logistic:
    """P(boundary) = 1 / (1 + exp(-(bias + sum_c weight_c sqrt(cue_c)))); cues are heavy-tailed, their roots are not."""

    def __init__(self, bias: float, weights: Mapping[str, float]) -> None:
        self.bias, self.weights = bias, dict(weights)

    def __call__(self, cues: Cues) -> NDArray[np.float64]:
        score = self.bias + sum(weight * np.sqrt(cues[name]) for name, weight in self.weights.items())
        return 1 / (1 + np.exp(-np.clip(score, -30, 30)))


@cache
def fitted(variant: str) -> tuple[Logistic, Logistic]:
    """The two passes: ``edges``, ``cnn`` or ``plain``."""
    data = json.loads(files("segspectral").joinpath("contours.json").read_text())[variant]
    first, second = (Logistic(pass_["bias"], pass_["weights"]) for pass_ in (data["first"], data["second"]))
    return first, second


class Contours(Settings):
    """Superpixels -> probability of an object boundary at each of their borders: (M,)."""

    edges: bool = Field(True, description="also edges that were learned from people, where the backbone is the default")
    steps: tuple[int, int] = Field((4, 32), description="of the random walk, few and many")
    sharpness: float = Field(0.7, gt=0, description="how strongly likely contours hold the walk back")

    def __call__(self, image: Image, superpixels: Superpixels, deep: Activations) -> NDArray[np.float64]:
        """What ``deep`` lacks is left out; without strides 4, 8 and 16 colour and texture decide."""
        if len(superpixels.borders) == 0:
            return np.empty(0)
        return self.probability(superpixels, measure(image, superpixels), deep)

    def probability(self, superpixels: Superpixels, measured: Measured, deep: Activations) -> NDArray[np.float64]:
        """As a call, from what was measured before; of the superpixels only their borders are looked at."""
        if any(stride not in deep.nodes for stride in STRIDES):
            variant, deep = "plain", Activations({})
        else:
            variant = "cnn" if deep.edges is None else "edges"
        first, second = fitted(variant)
        nodes = described(measured, deep.nodes)
        cues = self.local_cues(superpixels, nodes, measured)
        if deep.edges is not None:
            cues |= edge_cues(deep.edges)
        return second(cues | self.diffused_cues(superpixels, nodes, first(cues)))

    def local_cues(
        self, superpixels: Superpixels, nodes: Mapping[str, NDArray[np.float64]], measured: Measured
    ) -> Cues:
        """What two superpixels alone say of their border."""
        i, j = superpixels.borders.T
        cues = _differences(nodes, i, j)
        cues["lightness"] = np.abs(nodes["colour"][i, 0] - nodes["colour"][j, 0])
        cues["chroma"] = np.linalg.norm((nodes["colour"][i] - nodes["colour"][j])[:, 1:], axis=1)
        names = [f"gradient_{what}{sigma}" for sigma in SIGMAS for what in ("l", "c")]
        return cues | dict(zip(names, measured.borders.T, strict=True))

    def diffused_cues(
        self, superpixels: Superpixels, nodes: Mapping[str, NDArray[np.float64]], boundary: NDArray[np.float64]
    ) -> Cues:
        """Differences of the features after few and after many steps of the walk that ``boundary`` (M,) holds back."""
        i, j = superpixels.borders.T
        weights = border_graph(superpixels, boundary, self.sharpness)
        step = sp.diags_array(0.5 / np.maximum(weights.sum(axis=1), 1e-12)) @ weights
        widths = np.cumsum([0, *(values.shape[1] for values in nodes.values())])
        state = np.concatenate(list(nodes.values()), axis=1)
        cues: Cues = {}
        done = 0
        for name, steps in zip(("few", "many"), self.steps, strict=True):
            for _ in range(done, steps):
                state = 0.5 * state + step @ state
            done = steps
            parts = {key: state[:, a:b] for key, a, b in zip(nodes, widths[:-1], widths[1:], strict=True)}
            cues |= {f"{key}_{name}": value for key, value in _differences(parts, i, j).items()}
        return cues


def edge_cues(edges: NDArray[np.floating]) -> Cues:
    """The two columns of ``Activations.edges`` as cues."""
    return {"edge": edges[:, 0].astype(np.float64), "edge_odds": np.maximum(edges[:, 1] + 7, 0).astype(np.float64)}


def edges_along(superpixels: Superpixels, probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, 2) ``Activations.edges`` from a probability per pixel (H, W)."""
    p = np.clip(probability, 1e-3, 1 - 1e-3)
    return superpixels.along_borders(np.stack([probability, np.log(p / (1 - p))], axis=-1)).astype(np.float32)


def border_graph(superpixels: Superpixels, boundary: NDArray[np.float64], sharpness: float) -> sp.csr_array:
    """(N, N) weights of superpixels that touch: odds against a boundary to a power, times the root of the length."""
    i, j = superpixels.borders.T
    p = np.clip(boundary, 1e-3, 1 - 1e-3)
    length = superpixels.border_length / superpixels.border_length.mean()
    weights = ((1 - p) / p) ** sharpness * np.sqrt(length)
    half = sp.csr_array((weights, (i, j)), shape=(len(superpixels), len(superpixels)))
    return sp.csr_array(half + half.T)


def measure(image: Image, superpixels: Superpixels) -> Measured:
    """All that ``Contours`` wants to know of the pixels, but for what a network says."""
    import cv2

    from segspectral.features import Texture  # which imports this module

    lab = cv2.cvtColor(image.float32, cv2.COLOR_RGB2LAB)
    nodes = {"lab": superpixels.pool(lab), "lab_squared": superpixels.pool(lab**2)}
    nodes["texture"] = Texture()(image, superpixels)
    for channel, name in enumerate(HISTOGRAMS):
        nodes[name] = _histogram(lab[..., channel], superpixels, *LAB_RANGE[channel])
    gradients = superpixels.along_borders(_gradients(lab, image.mask))
    return Measured({name: values.astype(np.float64) for name, values in nodes.items()}, gradients.astype(np.float64))


def described(measured: Measured, maps: Mapping[int, NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
    """Name -> (N, D): mean CIELAB, its spread, texture, histograms of its channels, principal activations by stride."""
    from segspectral.features import principal_components

    mean = measured.nodes["lab"]
    spread = np.sqrt(np.maximum(measured.nodes["lab_squared"] - mean**2, 0))
    nodes = {"colour": mean, "spread": spread}
    nodes |= {name: measured.nodes[name] for name in ("texture", *HISTOGRAMS)}
    for stride, values in maps.items():
        if stride in STRIDES:
            scale = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean())
            nodes[f"cnn{stride}"] = principal_components(values / max(scale, 1e-12), 16)
    return nodes


def _differences(nodes: Mapping[str, NDArray[np.float64]], i: NDArray[Any], j: NDArray[Any]) -> Cues:
    """Euclidean distances; chi-squared ones between histograms."""
    cues = {}
    for name, values in nodes.items():
        a, b = values[i], values[j]
        if name.startswith("hist"):
            cues[name] = 0.5 * ((a - b) ** 2 / (a + b + 1e-9)).sum(axis=1)
        else:
            cues[name] = np.linalg.norm(a - b, axis=1)
    return cues


def _histogram(channel: NDArray[Any], superpixels: Superpixels, low: float, high: float) -> NDArray[np.float64]:
    """(N, BINS) histogram of one channel in each superpixel, smoothed over neighbouring bins, rows sum to about one."""
    from scipy.ndimage import gaussian_filter1d

    bins = np.clip((channel - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64)
    keep = superpixels.valid
    index = superpixels.labels[keep].astype(np.int64) * BINS + bins[keep]
    counts = np.bincount(index, minlength=len(superpixels) * BINS).reshape(-1, BINS)
    return gaussian_filter1d(counts / superpixels.area[:, None], 1.0, axis=1, mode="constant")


def _gradients(lab: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """(H, W, 6) gradient magnitude of lightness and of chroma at three scales."""
    import cv2

    if mask is not None:
        lab = np.where(mask[..., None], lab, lab[mask].mean(axis=0))
    magnitudes = []
    for sigma in SIGMAS:
        smooth = cv2.GaussianBlur(lab, (0, 0), sigma)
        rows = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
        cols = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
        squared = rows**2 + cols**2
        magnitudes += [np.sqrt(squared[..., 0]), np.sqrt(squared[..., 1] + squared[..., 2])]
    return np.stack(magnitudes, axis=-1)
