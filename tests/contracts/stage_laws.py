"""The laws of the Protocols in ``segspectral.values``, as plain functions that any implementation can be run through.

A law takes the stage and its inputs, and raises AssertionError where the stage breaks it. ``test_stages`` runs them
over what segspectral lists and, to test the laws themselves, over stages with planted defects.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from segspectral.features import BandStatistics
from segspectral.values import Affinity, Features, Image, Membership, Superpixels
from segspectral.values.merging import Looks
from segspectral.values.regions import RegionGraph

Stage = Callable[..., Any]


# Every stage ---------------------------------------------------------------------------------------------------------


def arrays(value: Any) -> list[NDArray[Any]]:
    """The arrays of a value of the pipeline, and those that it has derived from them so far."""
    found = []
    if isinstance(value, tuple):
        return [array for part in value for array in arrays(part)]
    for part in vars(value).values():
        if isinstance(part, np.ndarray):
            found.append(part)
        elif hasattr(part, "indptr"):
            found += [part.data, part.indices, part.indptr]
    return found


def same_input_same_bytes(stage: Stage, *inputs: Any) -> None:
    """The result does not depend on the state of the global random generators."""
    results = []
    for seed in (0, 1, 2, 3):
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        torch.manual_seed(seed)
        results.append(content(stage(*inputs)))
    assert all(result == results[0] for result in results), "the same input gives different results"


def content(result: Any) -> list[bytes]:
    return [result.tobytes()] if isinstance(result, np.ndarray) else [array.tobytes() for array in arrays(result)]


def global_random_state_is_left_alone(stage: Stage, *inputs: Any) -> None:
    def state() -> tuple[Any, ...]:
        _, keys, place, *_ = np.random.get_state()  # noqa: NPY002
        return (keys.tobytes(), place, random.getstate(), torch.get_rng_state().numpy().tobytes())

    stage(*inputs)  # what is loaded once may draw numbers once
    before = state()
    stage(*inputs)
    assert state() == before, "a global random state has changed"


def inputs_are_not_changed(stage: Stage, *inputs: Any) -> None:
    before = [[array.copy() for array in arrays(value)] for value in inputs]
    stage(*inputs)
    for value, old in zip(inputs, before, strict=True):
        # Derived arrays come behind; the first ones are those that the value was made of.
        for now, then in zip(arrays(value), old, strict=False):
            assert np.array_equal(now, then), f"{type(value).__name__} has been changed"


EVERY_STAGE = (same_input_same_bytes, global_random_state_is_left_alone, inputs_are_not_changed)


def renumbered(superpixels: Superpixels, seed: int = 5) -> tuple[Superpixels, NDArray[np.int64]]:
    """The same superpixels with other ids, and the new id of each old one."""
    new = np.random.default_rng(seed).permutation(len(superpixels))
    return Superpixels(superpixels.to_pixels(new.astype(np.int32), void=-1)), new


def with_other_void(image: Image) -> Image:
    """The same image with other colours on void pixels."""
    assert image.mask is not None
    noise = np.random.default_rng(9).uniform(size=image.rgb.shape)
    noise = noise.astype(image.rgb.dtype) if image.rgb.dtype != np.uint8 else (255 * noise).astype(np.uint8)
    bands = image.bands
    if bands is not None:
        other = np.random.default_rng(9).integers(0, 500, bands.values.shape, bands.values.dtype)
        values = np.where(image.mask[..., None], bands.values, other)
        bands = replace(bands, values=values)
    return replace(image, rgb=np.where(image.mask[..., None], image.rgb, noise), bands=bands)


# Image -> Superpixels ------------------------------------------------------------------------------------------------


def superpixels_are_connected(method: Stage, image: Image) -> None:
    labels = method(image).labels
    for index in range(labels.max() + 1):
        assert ndimage.label(labels == index)[1] == 1, f"superpixel {index} is not one piece of 4-neighbours"


def void_and_only_void_is_minus_one(method: Stage, image: Image) -> None:
    labels = method(image).labels
    assert labels.shape == image.shape
    valid = np.ones(image.shape, bool) if image.mask is None else image.mask
    assert np.array_equal(labels >= 0, valid), "void pixels, and no others, are -1"


def void_does_not_move_superpixels(method: Stage, image: Image) -> None:
    if image.mask is not None:
        assert np.array_equal(method(image).labels, method(with_other_void(image)).labels), (
            "the values of void pixels have an influence"
        )


SUPERPIXEL_LAWS = (superpixels_are_connected, void_and_only_void_is_minus_one, void_does_not_move_superpixels)


# Image, Superpixels -> (N, D) ----------------------------------------------------------------------------------------


def rows(result: Any) -> NDArray[Any]:
    features = result[0] if isinstance(result, tuple) else result
    return features.nodes if isinstance(features, Features) else features


def close(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-3 * max(np.abs(a).max(initial=0), 1e-9))


def one_finite_row_per_superpixel(extractor: Stage, image: Image, superpixels: Superpixels) -> None:
    nodes = rows(extractor(image, superpixels))
    assert nodes.dtype == np.float32
    assert nodes.ndim == 2
    assert nodes.shape[0] == len(superpixels)
    assert nodes.shape[1] > 0 or (isinstance(extractor, BandStatistics) and image.bands is None)
    assert np.isfinite(nodes).all(), "the features contain NaN or infinity"


def renumbering_permutes_rows(extractor: Stage, image: Image, superpixels: Superpixels) -> None:
    other, new = renumbered(superpixels)
    old_rows, new_rows = rows(extractor(image, superpixels)), rows(extractor(image, other))
    assert close(old_rows, new_rows[new]), "the rows depend on the numbers of the superpixels"


def void_does_not_move_features(extractor: Stage, image: Image, superpixels: Superpixels) -> None:
    if image.mask is not None:
        a, b = rows(extractor(image, superpixels)), rows(extractor(with_other_void(image), superpixels))
        assert close(a, b), "the values of void pixels have an influence"


FEATURE_LAWS = (one_finite_row_per_superpixel, renumbering_permutes_rows, void_does_not_move_features)


# Features, RegionGraph -> Affinity -----------------------------------------------------------------------------------


def the_graph_has_a_node_per_superpixel_and_is_connected(
    builder: Stage, features: Features, graph: RegionGraph
) -> None:
    affinity = builder(features, graph)
    assert isinstance(affinity, Affinity)
    assert len(affinity) == len(graph)
    assert affinity.components.max() == 0, "the graph is not connected"
    assert affinity.weights.nnz < len(graph) ** 2 - len(graph) or len(graph) < 30, "dense"


def renumbering_renumbers_the_graph(builder: Stage, features: Features, graph: RegionGraph) -> None:
    if len(np.unique(features.nodes, axis=0)) < len(features.nodes):
        return  # which of two equal neighbours is nearer is anyone's choice
    new = np.random.default_rng(5).permutation(len(graph))
    nodes = np.empty_like(features.nodes)
    nodes[new] = features.nodes
    ends = np.sort(new[graph.borders], axis=1).astype(np.int32)
    order = np.lexsort(ends.T[::-1])
    boundary = None if graph.boundary is None else graph.boundary[order]
    old = np.argsort(new)
    looks = None if graph.looks is None else Looks(graph.looks.mean[old], graph.looks.square[old])
    other = RegionGraph(graph.area[old], ends[order], graph.border_length[order], boundary, looks)
    before = builder(features, graph).weights.toarray()
    after = builder(Features(nodes, features.parts), other).weights.toarray()
    assert close(before, after[np.ix_(new, new)]), "the weights depend on the numbers of the superpixels"


AFFINITY_LAWS = (the_graph_has_a_node_per_superpixel_and_is_connected, renumbering_renumbers_the_graph)


# Image, Superpixels, Membership -> label map -------------------------------------------------------------------------


def labels_are_clusters_and_void_stays_void(
    refiner: Stage, image: Image, superpixels: Superpixels, membership: Membership
) -> None:
    labels = refiner(image, superpixels, membership)
    assert labels.dtype == np.int32
    assert labels.shape == image.shape
    assert np.array_equal(labels == -1, ~superpixels.valid), "void pixels, and no others, are -1"
    assert labels.max() < membership.probabilities.shape[1], "a label is larger than the last cluster"
    assert labels.min() >= -1


def permuting_clusters_permutes_labels(
    refiner: Stage, image: Image, superpixels: Superpixels, membership: Membership
) -> None:
    order = np.random.default_rng(4).permutation(membership.probabilities.shape[1])
    labels = refiner(image, superpixels, membership)
    permuted = refiner(image, superpixels, membership.reordered(order))
    # Column c of the permuted membership is the old column order[c].
    back = np.where(permuted >= 0, order[permuted], -1)
    assert (back == labels).mean() > 0.999, "the labels depend on the order of the clusters"


def certain_memberships_that_follow_borders_are_kept(
    refiner: Stage, image: Image, superpixels: Superpixels, membership: Membership
) -> None:
    """The image is replaced by one in which each cluster has its own colour."""
    k = membership.probabilities.shape[1]
    certain = np.eye(k, dtype=np.float32)[membership.labels]
    expected = superpixels.to_pixels(membership.labels, void=-1)
    colours = np.random.default_rng(2).permutation(np.linspace(20, 235, k * 3)).reshape(k, 3).astype(np.uint8)
    painted = Image(superpixels.to_pixels(colours[membership.labels]), mask=image.mask)
    labels = refiner(painted, superpixels, Membership(certain))
    assert (labels == expected).mean() > 0.995, "a certain membership is not kept"


def void_does_not_move_labels(refiner: Stage, image: Image, superpixels: Superpixels, membership: Membership) -> None:
    if image.mask is not None:
        before = refiner(image, superpixels, membership)
        after = refiner(with_other_void(image), superpixels, membership)
        assert np.array_equal(before, after), "the values of void pixels have an influence"


REFINER_LAWS = (
    labels_are_clusters_and_void_stays_void,
    permuting_clusters_permutes_labels,
    certain_memberships_that_follow_borders_are_kept,
    void_does_not_move_labels,
)
