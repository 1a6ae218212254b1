"""The pixel edge map, on a photograph and on planted borders."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from segspectral.features import Cnn, FeatureStack
from segspectral.features.backbones import ARCHITECTURE, PACKAGED, load_backbone
from segspectral.features.backbones.edge_decoder import CHANNELS
from segspectral.features.cnn import EDGES
from segspectral.features.contours import Contours
from segspectral.features.edges import edges_along
from segspectral.features.parts import Means
from segspectral.superpixels import Slic
from segspectral.values import Image, Superpixels


def edges(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    made = load_backbone().activations(Image(rgb).float32, edges=True).edges
    assert made is not None
    return made


def test_the_backbone_has_the_channels_that_the_decoder_was_trained_on() -> None:
    maps = load_backbone()(np.zeros((64, 64, 3), np.float32))
    assert {m.stride: m.values.shape[2] for m in maps} == CHANNELS


def test_a_planted_border_is_an_edge_and_flat_areas_are_not() -> None:
    rgb = np.full((121, 161, 3), 60, np.uint8)
    rgb[:, 80:] = (200, 150, 40)
    p = edges(rgb)
    assert p.shape == (121, 161)
    assert p.dtype == np.float32
    assert p[20:100, 78:82].max(axis=1).min() > 0.5
    assert p[20:100, 20:60].max() < 0.2
    assert p[20:100, 100:140].max() < 0.2


def test_a_mirrored_photograph_has_mirrored_edges(cat: NDArray[np.uint8]) -> None:
    # Not exactly: strided convolutions see another phase.
    straight, mirrored = edges(cat), edges(np.ascontiguousarray(cat[:, ::-1]))[:, ::-1]
    assert np.corrcoef(straight.ravel(), mirrored.ravel())[0, 1] > 0.8


def test_sizes_are_averaged(cat: NDArray[np.uint8]) -> None:
    image = Image(cat)
    height, width = image.shape
    small = cv2.resize(image.float32, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    other = load_backbone().activations(small, edges=True).edges
    assert other is not None
    expected = (edges(cat) + cv2.resize(other, (width, height), interpolation=cv2.INTER_LINEAR)) / 2
    one, two = Cnn(scales=(1,)), Cnn(scales=(1, 0.5))
    seen = two.activations(image, edges=True)
    assert seen.edges is not None
    np.testing.assert_allclose(seen.edges, expected, atol=1e-6)
    for ours, whole in zip(seen.maps, one.activations(image, edges=True).maps, strict=True):
        np.testing.assert_array_equal(ours.values, whole.values, "the features are those of the first size")
    assert one.key("") != two.key(""), "the cache does not mix them up"
    assert Cnn(scales=(0.1, 4)).activations(Image(cat[:8, :8]), edges=True).edges.shape == (8, 8)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.25, 2.0])
def test_features_stay_where_they_are_at_every_size(scale: float) -> None:
    """The left half differs from the right one, and superpixels do not see across the border between them."""
    rgb = np.full((96, 256, 3), 60, np.uint8)
    rgb[:, 128:] = np.random.default_rng(0).integers(0, 255, (96, 128, 3))
    labels = np.arange(256)[None].repeat(96, axis=0).astype(np.int32) // 32
    nodes = Cnn(scales=(scale,)).measure(Image(rgb), Superpixels(labels)).nodes[4]
    left, right = nodes[:3].mean(axis=0), nodes[5:].mean(axis=0)
    side = np.linalg.norm(nodes - left, axis=1) < np.linalg.norm(nodes - right, axis=1)
    assert side.tolist() == [True] * 4 + [False] * 4


def test_the_edge_map_makes_borders_likelier(cat: NDArray[np.uint8]) -> None:
    image = Image(cat)
    superpixels = Slic(count=60)(image)
    cnn, contours = Cnn().measure(image, superpixels, edges=True), Contours()
    learned = cnn.borders[EDGES]
    assert learned.shape == (len(superpixels.borders), 2)
    assert EDGES not in Cnn().measure(image, superpixels).borders
    graph, measured = superpixels.region_graph, contours.measure(image, superpixels)
    with_edges = contours.bounded(graph, measured, cnn).boundary
    without = contours.bounded(graph, measured, Means(cnn.nodes)).boundary
    assert np.abs(with_edges - without).max() > 0.05
    # A border is likelier where an edge runs along it, all else equal.
    certain = edges_along(superpixels, np.full(image.shape, 0.9, np.float32))
    likelier = contours.bounded(graph, measured, Means(cnn.nodes, {EDGES: certain})).boundary
    assert (likelier >= with_edges - 1e-9).mean() > 0.8


@pytest.mark.parametrize("cnn", [Cnn(backbone=ARCHITECTURE), Cnn(strides=(32,)), Cnn(channels=3, weight=9.0)])
def test_borders_are_the_same_whatever_the_features_come_from(cnn: Cnn, cat: NDArray[np.uint8]) -> None:
    image, superpixels = Image(cat), Slic(count=60)(Image(cat))
    features, graph = FeatureStack(cnn=cnn)(image, superpixels)
    default, expected = FeatureStack()(image, superpixels)
    assert graph.boundary is not None
    np.testing.assert_array_equal(graph.boundary, expected.boundary)
    assert not np.array_equal(features.nodes, default.nodes)
    # What a stage has seen already makes no difference.
    stack = FeatureStack(cnn=cnn)
    _, again = stack(image, superpixels, stack.see(image))
    np.testing.assert_array_equal(again.boundary, graph.boundary)


def test_without_a_network_borders_are_those_of_colour_and_texture(cat: NDArray[np.uint8]) -> None:
    image, superpixels = Image(cat), Slic(count=60)(Image(cat))
    stacks = [FeatureStack(cnn=None), FeatureStack(contours=Contours(edges=False))]
    plain, other = (stack(image, superpixels)[1].boundary for stack in stacks)
    assert all(stack.border_network is None and stack.see(image) is None for stack in stacks)
    np.testing.assert_array_equal(plain, other)


def test_a_fingerprint_names_every_network_that_counts() -> None:
    borders, kinds = (load_backbone(name).fingerprint for name in PACKAGED)
    assert FeatureStack().fingerprint == borders
    assert FeatureStack(cnn=Cnn(backbone=ARCHITECTURE)).fingerprint == f"{kinds}+{borders}"
    assert FeatureStack(cnn=Cnn(backbone=ARCHITECTURE), contours=None).fingerprint == kinds
    assert FeatureStack(cnn=None).fingerprint == ""
