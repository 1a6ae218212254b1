"""The boundary probability of each border between two superpixels.

The cues of a border are differences of colour, texture and CNN features, and the means of gradients and of the pixel
edge map along it. Logistic regression turns them into one probability, in two passes. The first pass compares a
superpixel only with its neighbour. Its probabilities make a graph on which the features diffuse: a lazy random walk
rarely crosses a likely boundary, so it averages over one object. The second pass compares the features after a few and
after many steps. They are low-pass filtered by the graph's Laplacian, like the spectral part of gPb (Arbelaez et al.
2011, section 3.2), but by a few sparse products instead of an eigendecomposition.

``tools/fit_contours.py`` fitted the weights on the training images of BSDS500, on which those of gPb were fitted, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.features.cnn import EDGES, principal_components
from segspectral.features.parts import Means, Texture
from segspectral.settings import Settings
from segspectral.values import Image, Superpixels
from segspectral.values.merging import Looks
from segspectral.values.regions import RegionGraph

__all__ = ["Contours", "Cues", "Logistic", "border_graph", "described", "edge_cues", "looks_of"]

Cues = dict[str, NDArray[np.float64]]
"""Name of a cue -> (M,) non-negative values, one per border."""

STRIDES = (4, 8, 16)
"""Strides of the maps of the default network that the weights were fitted with."""

SIGMAS = (1, 2, 4)
"""Widths in pixels of the Gaussians that smooth the image before its gradients are taken."""

CNN_CHANNELS = 16
"""Number of principal components of each CNN map that the weights were fitted with."""

HISTOGRAMS = ("hist_l", "hist_a", "hist_b")
BINS = 25
"""Bins of each histogram that the weights were fitted with."""

GRADIENTS = "gradients"

OWN = "own"
"""Key of the mean of the user's edge map along borders, (M, 1)."""

LAB_RANGE = ((0, 100), (-60, 60), (-60, 60))
"""Range of the histograms of L*, a* and b*. a* and b* can reach about -128..127, but values beyond 60 are rare in
photographs; they are counted in the outermost bins."""

MOST_ODDS = 30
"""Log odds are clipped to this size, so that exp does not overflow. Their probability differs from 1 by 1e-13."""

ODDS_SHIFT = 7
"""Added to the log odds of the pixel edge map, so that this cue is not negative; ``edges.CLIP`` bounds them by -7."""

LEAST_PROBABILITY = 1e-3
"""Boundary probabilities are clipped by this much, so that no weight of the random walk is zero or infinite."""


class Logistic:
    """P(boundary) = 1 / (1 + exp(-(bias + sum_c weight_c sqrt(cue_c)))). The roots make cues less heavy-tailed."""

    def __init__(self, bias: float, weights: Mapping[str, float]) -> None:
        self.bias, self.weights = bias, dict(weights)

    def __call__(self, cues: Cues) -> NDArray[np.float64]:
        score = self.bias + sum(weight * np.sqrt(cues[name]) for name, weight in self.weights.items())
        return 1 / (1 + np.exp(-np.clip(score, -MOST_ODDS, MOST_ODDS)))


@cache
def fitted(variant: str) -> tuple[Logistic, Logistic]:
    """The regressions of the two passes; ``variant`` is ``edges`` with the default network, ``plain`` without."""
    data = json.loads(files("segspectral").joinpath("features/weights/contours.json").read_text())[variant]
    first, second = (Logistic(pass_["bias"], pass_["weights"]) for pass_ in (data["first"], data["second"]))
    return first, second


Steps = Annotated[int, Field(ge=0, le=1000)]
"""After 1000 steps the walk has mixed; a file that asks for millions would never end."""


class Contours(Settings):
    """The boundary probability (M,) of each border between superpixels."""

    edges: bool = Field(
        True,
        description="use the default network, which has learned borders from human drawings, whatever the backbone of "
        "features.cnn is; if features.cnn is null, no network is used",
    )
    own: float = Field(
        1.0,
        ge=0,
        le=1,
        description="weight of the edge map that a user gives; the learned boundary probability gets the rest",
    )
    steps: tuple[Steps, Steps] = Field((4, 32), description="numbers of steps of the random walk: few, and many")
    sharpness: float = Field(0.7, gt=0, description="how strongly likely boundaries block the random walk")

    def measure(self, image: Image, superpixels: Superpixels, texture: Means | None = None) -> Means:
        """All measurements of pixels that the cues need.

        Parameters
        ----------
        texture : what ``Texture()`` has measured, if it is known

        Returns
        -------
        ``nodes`` contains means of CIELAB, its square and texture, and histograms of L*, a* and b*. ``borders``
        contains the gradient magnitudes (M, 6) of lightness and of chroma at three scales, and the mean (M, 1) of the
        edge map if the image has one.
        """
        lab = image.lab
        nodes: dict[str, NDArray[Any]] = {"lab": superpixels.pool(lab), "square": superpixels.pool(lab**2)}
        nodes |= (texture or Texture().measure(image, superpixels)).nodes
        for channel, name, (low, high) in zip(cv2.split(lab), HISTOGRAMS, LAB_RANGE, strict=True):
            nodes[name] = _histogram(channel, superpixels, low, high)
        gradients = superpixels.along_borders(_gradients(image.filled(lab)))
        borders = {GRADIENTS: gradients}
        if image.edges is not None:
            borders[OWN] = superpixels.along_borders(image.edges[..., None])
        return Means({name: values.astype(np.float64) for name, values in nodes.items()}, borders)

    def bounded(self, graph: RegionGraph, measured: Means, cnn: Means | None = None) -> RegionGraph:
        """The graph with its boundary probabilities.

        It also gets the appearance of the regions if only learned edges are used, because the weights of the
        hierarchy's last merges were fitted to learned edges.

        Parameters
        ----------
        measured : the result of ``measure``
        cnn : activations of the default network at the strides 4, 8 and 16, and its pixel edge map along borders.
            Without the edge map, only colour and texture are used
        """
        if len(graph.borders) == 0:
            return graph.with_boundary(np.empty(0))
        if OWN not in measured.borders:
            return self._learned(graph, measured, cnn)
        own = measured.borders[OWN][:, 0].astype(np.float64)
        if self.own == 1:
            return graph.with_boundary(own)
        learned = self._learned(graph, measured, cnn).boundary
        assert learned is not None
        return graph.with_boundary(self.own * own + (1 - self.own) * learned)

    def _learned(self, graph: RegionGraph, measured: Means, cnn: Means | None) -> RegionGraph:
        """The graph with the boundary probabilities of the regressions, and the looks if there are learned edges."""
        learned = cnn if cnn is not None and EDGES in cnn.borders else None
        first, second = fitted("plain" if learned is None else "edges")
        nodes = described(measured, {} if learned is None else learned.nodes)
        cues = self.local_cues(graph, nodes, measured)
        if learned is not None:
            cues |= edge_cues(learned.borders[EDGES])
        boundary = second(cues | self.diffused_cues(graph, nodes, first(cues)))
        return graph.with_boundary(boundary, None if learned is None else looks_of(nodes))

    def local_cues(self, graph: RegionGraph, nodes: Mapping[str, NDArray[np.float64]], measured: Means) -> Cues:
        """The cues of the first pass, which compare two superpixels directly."""
        i, j = graph.borders.T
        cues = _differences(nodes, i, j)
        cues["lightness"] = np.abs(nodes["colour"][i, 0] - nodes["colour"][j, 0])
        cues["chroma"] = np.linalg.norm((nodes["colour"][i] - nodes["colour"][j])[:, 1:], axis=1)
        names = [f"gradient_{what}{sigma}" for sigma in SIGMAS for what in ("l", "c")]
        return cues | dict(zip(names, measured.borders[GRADIENTS].T, strict=True))

    def diffused_cues(
        self, graph: RegionGraph, nodes: Mapping[str, NDArray[np.float64]], boundary: NDArray[np.float64]
    ) -> Cues:
        """Differences of the features after few and after many steps of the walk, which ``boundary`` (M,) blocks."""
        i, j = graph.borders.T
        weights = border_graph(graph, boundary, self.sharpness)
        step = sp.diags_array(0.5 / np.maximum(weights.sum(axis=1), 1e-12)) @ weights
        step = sp.csr_array(step + 0.5 * sp.eye_array(len(graph)))
        widths = np.cumsum([0, *(values.shape[1] for values in nodes.values())])
        state = np.concatenate(list(nodes.values()), axis=1)
        cues: Cues = {}
        done = 0
        for name, steps in zip(("few", "many"), self.steps, strict=True):
            for _ in range(done, steps):
                state = step @ state
            done = steps
            parts = {key: state[:, a:b] for key, a, b in zip(nodes, widths[:-1], widths[1:], strict=True)}
            cues |= {f"{key}_{name}": value for key, value in _differences(parts, i, j).items()}
        return cues


def edge_cues(edges: NDArray[np.floating]) -> Cues:
    """The two columns of the pixel edge map along borders (M, 2) as cues, which must not be negative."""
    odds = np.maximum(edges[:, 1] + ODDS_SHIFT, 0)
    return {"edge": edges[:, 0].astype(np.float64), "edge_odds": odds.astype(np.float64)}


def border_graph(graph: RegionGraph, boundary: NDArray[np.float64], sharpness: float) -> sp.csr_array:
    """(N, N) weights of the random walk: a power of the odds against a boundary, times the root of the length."""
    i, j = graph.borders.T
    p = np.clip(boundary, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    length = graph.border_length / graph.border_length.mean()
    weights = ((1 - p) / p) ** sharpness * np.sqrt(length)
    half = sp.csr_array((weights, (i, j)), shape=(len(graph), len(graph)))
    return sp.csr_array(half + half.T)


def described(measured: Means, maps: Mapping[int, NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
    """Name -> (N, D): mean and deviation of CIELAB, texture, colour histograms, principal components of CNN maps."""
    mean = measured.nodes["lab"]
    spread = np.sqrt(np.maximum(measured.nodes["square"] - mean**2, 0))
    texture = np.sqrt(measured.nodes["responses"].astype(np.float32)).astype(np.float64)
    nodes = {"colour": mean, "spread": spread, "texture": texture}
    nodes |= {name: measured.nodes[name] for name in HISTOGRAMS}
    for stride, values in maps.items():
        if stride in STRIDES:
            scale = np.sqrt(((values - values.mean(axis=0)) ** 2).sum(axis=1).mean())
            nodes[f"cnn{stride}"] = principal_components(values / max(scale, 1e-12), CNN_CHANNELS)
    return nodes


def looks_of(nodes: Mapping[str, NDArray[np.float64]]) -> Looks:
    """What the hierarchy compares, of the features of ``described``: the principal components of each CNN map."""
    return Looks.of([nodes[f"cnn{stride}"] for stride in STRIDES])


def _differences(nodes: Mapping[str, NDArray[np.float64]], i: NDArray[Any], j: NDArray[Any]) -> Cues:
    """Name -> (M,) Euclidean distances; chi-squared distances between histograms."""
    cues = {}
    for name, values in nodes.items():
        a, b = values.take(i, axis=0), values.take(j, axis=0)
        if name.startswith("hist"):
            cues[name] = 0.5 * ((a - b) ** 2 / (a + b + 1e-9)).sum(axis=1)
        else:
            cues[name] = np.linalg.norm(a - b, axis=1)
    return cues


def _histogram(channel: NDArray[Any], superpixels: Superpixels, low: float, high: float) -> NDArray[np.float64]:
    """(N, BINS) the histogram of one channel in each superpixel, smoothed over bins; rows sum to about one."""
    bins = np.clip((channel - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64)
    # Void pixels, whose label is -1, are counted in a row of their own.
    index = (superpixels.labels + 1) * BINS + bins
    counts = np.bincount(index.ravel(), minlength=(len(superpixels) + 1) * BINS).reshape(-1, BINS)[1:]
    apart = np.subtract.outer(np.arange(BINS), np.arange(BINS))
    weights = np.exp(-0.5 * apart**2.0)
    # A Gaussian with a standard deviation of one bin, cut off at four of them.
    weights = np.where(np.abs(apart) <= 4, weights, 0) / np.exp(-0.5 * np.arange(-4, 5) ** 2.0).sum()
    return counts / superpixels.area[:, None] @ weights


def _gradients(lab: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W, 6) the gradient magnitudes of lightness and of chroma at three scales."""
    planes, magnitudes = cv2.split(lab), []
    for sigma in SIGMAS:
        lightness, a, b = (_squared_gradient(cv2.GaussianBlur(plane, (0, 0), sigma)) for plane in planes)
        # The last bits of cv2.magnitude depend on where an array lies in memory.
        magnitudes += [np.sqrt(lightness), np.sqrt(a + b)]
    return np.asarray(cv2.merge(magnitudes))


def _squared_gradient(plane: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W) the squared length of the gradient per pixel; the weights of a Sobel filter sum to 8."""
    rows, columns = (cv2.Sobel(plane, cv2.CV_32F, dx, dy, scale=1 / 8) for dx, dy in ((0, 1), (1, 0)))
    return np.asarray(rows**2 + columns**2, np.float32)
