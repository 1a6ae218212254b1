"""From the seeds of an image and its scene to a partition in which each seed keeps its label."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.features.contours import border_graph
from segspectral.images.planes import check_shape
from segspectral.seeds.given import By, Seeds
from segspectral.spectral.walker import first_seed
from segspectral.values import Affinity, Features, Image, Membership, Scene, Superpixels
from segspectral.values.labels import pieces
from segspectral.values.later import Later
from segspectral.values.regions import seeded_regions
from segspectral.wording import plural

__all__ = ["Seeded", "seeded", "split_superpixels", "walk_weights"]

SHARPNESS, BORDERS, ROOT = 1.5, 3.0, 0.5
"""The weights of the walk, see ``walk_weights``. With one click in each human region, they gave the best covering among
60 combinations on 30 images of BSDS500 train (``tools/bench_seeds.py weights``)."""


@dataclass(frozen=True, eq=False)
class Seeded:
    """The partition that seeds give.

    Parameters
    ----------
    scene : the scene, in which superpixels with several labels are split
    membership : the probability of each label (N, L); column c is label c + 1
    notes : sentences for the user
    """

    scene: Scene
    membership: Membership
    notes: tuple[str, ...]


def seeded(scene: Scene, seeds: Seeds, by: By = "walker") -> Seeded:
    """Spread seeds over the superpixels of a scene.

    Parameters
    ----------
    seeds : at the size of ``scene.image``
    by : ``walker``: the label that a random walk meets first (Grady 2006); ``hierarchy``: the one that a region meets
        first when the weakest borders are removed

    Raises
    ------
    SettingsError
        The seeds have another size than the image or lie on void pixels only; or ``by`` is hierarchy, and the scene has
        no boundary probabilities.
    """
    check_shape(seeds.labels.shape, scene.image.shape, "seeds", seeds.source)
    notes = []
    given = seeds.labels
    if (mask := scene.image.mask) is not None:
        lost = int(((given > 0) & ~mask).sum())
        given = np.where(mask, given, 0)
        if not given.any():
            raise SettingsError("all seeds lie on void pixels, which belong to no segment", seeds.source)
        if lost:
            notes.append(f"{plural(lost, 'pixel')} of the seeds left out, because they are void")
    labels = int(seeds.labels.max())
    whole = len(scene.graph)
    scene, node = split_superpixels(scene, given)
    if len(scene.graph) > whole:
        parts = len(scene.graph) - whole
        notes.append(f"superpixels with several labels were split; there are {plural(parts, 'superpixel')} more")
    if by == "walker":
        probability = first_seed(walk_weights(scene), node, labels)
    else:
        found = seeded_regions(scene.graph, node)
        probability = np.zeros((len(found), labels))
        probability[np.flatnonzero(found), found[found > 0] - 1] = 1
    unmet = np.flatnonzero(probability.sum(axis=1) == 0)
    if len(unmet):
        met = np.flatnonzero(probability.sum(axis=1))
        nodes = scene.features.nodes.astype(np.float64)
        squares = (nodes[met] ** 2).sum(axis=1)
        nearest = (squares - 2 * nodes[unmet] @ nodes[met].T).argmin(axis=1)
        probability[unmet] = probability[met[nearest]]
        notes.append(
            f"no seed can be reached from {plural(len(unmet), 'superpixel')}; the label is that of the most similar one"
        )
    return Seeded(scene, Membership(probability.astype(np.float32)), tuple(notes))


def walk_weights(scene: Scene) -> sp.csr_array:
    """(N, N) the weights of the random walk: the root of the affinity, and the odds against a boundary.

    Both graphs are scaled to a mean degree of one. The affinity connects similar superpixels at any distance, so that a
    seed also reaches parts of an object behind another; the borders keep the walk from leaking.
    """
    affinity = sp.csr_array(scene.affinity.weights, dtype=np.float64)
    affinity.data = affinity.data**ROOT
    total = _scaled(affinity)
    if scene.graph.boundary is not None and len(scene.graph.borders):
        total = total + BORDERS * _scaled(border_graph(scene.graph, scene.graph.boundary, SHARPNESS))
    return sp.csr_array(total)


def _scaled(weights: sp.csr_array) -> sp.csr_array:
    return weights * (weights.shape[0] / max(weights.sum(), np.finfo(float).tiny))


def split_superpixels(scene: Scene, given: NDArray[np.integer]) -> tuple[Scene, NDArray[np.int32]]:
    """The scene after superpixels with seeds of several labels are split, and the label (N,) of each superpixel, or 0.

    A superpixel is split by a watershed of the colour gradient from its seeds. The parts have its features and its
    neighbours, and an object surely ends between them.

    Parameters
    ----------
    given : (H, W) the seeds at the size of ``scene.image``, 0 elsewhere and on void pixels
    """
    superpixels = scene.work_superpixels
    row, col = np.nonzero(given)
    label = given[row, col]
    # The cell of the working size that contains the pixel, as ``Superpixels.upsampled`` takes it.
    row, col = (
        place * small // large for place, small, large in zip((row, col), superpixels.shape, given.shape, strict=True)
    )
    of = superpixels.labels[row, col]
    known = of >= 0  # a thin void in the working size may hide a pixel
    row, col, label, of = row[known], col[known], label[known], of[known]
    node = np.zeros(len(superpixels), np.int32)
    node[of] = label
    mixed = np.unique(of[node[of] != label])
    if not len(mixed):
        return scene, node
    seeds = np.zeros(superpixels.shape, np.int32)
    seeds[row, col] = label
    part = _watershed(scene.work, superpixels, seeds, mixed)
    finer = Superpixels(part)
    first = np.unique(part, return_index=True)[1][-len(finer) :]
    parent = superpixels.labels.reshape(-1)[first]
    node = np.append(node, np.zeros(len(finer) - len(node), np.int32))
    node[part[row, col]] = seeds[row, col]
    return _of_parts(scene, finer, parent), node


def _watershed(
    work: Image, superpixels: Superpixels, seeds: NDArray[np.int32], mixed: NDArray[np.int32]
) -> NDArray[np.int32]:
    """(h, w) the superpixels after the mixed ones are split; the first part of each keeps its number."""
    import cv2
    from scipy.ndimage import find_objects
    from skimage.segmentation import watershed

    smooth = cv2.GaussianBlur(work.filled(work.lab), (0, 0), 1)
    slope = sum(cv2.Sobel(smooth, cv2.CV_32F, *way) ** 2 for way in ((0, 1), (1, 0))).sum(axis=2)  # type: ignore[union-attr]
    part, fresh = superpixels.labels.copy(), len(superpixels)
    boxes = find_objects(superpixels.labels + 1)
    for number in mixed.tolist():
        box = boxes[number]
        mask = superpixels.labels[box] == number
        if len(np.unique(seeds[box][mask & (seeds[box] > 0)])) < 2:
            continue  # at the working size, one label covers the others
        basin = watershed(slope[box], np.where(mask, seeds[box], 0), mask=mask)
        found = pieces(np.where(mask, basin, -1))
        here = part[box]
        here[mask] = np.where(found[mask] == 0, number, fresh + found[mask] - 1)
        fresh += int(found.max())
    return part


def _of_parts(scene: Scene, finer: Superpixels, parent: NDArray[np.int32]) -> Scene:
    """The scene with superpixels that are parts of others; ``parent`` (N,) is the superpixel that each is a part of."""
    coarse, graph = scene.graph, finer.region_graph
    if coarse.boundary is not None:
        ends = np.sort(parent[graph.borders], axis=1)
        boundary = np.ones(len(ends))
        outer = ends[:, 0] != ends[:, 1]
        boundary[outer] = coarse.boundary[coarse.border_index(ends[outer])]
        graph = graph.with_boundary(boundary)
    features = Later(lambda: Features(scene.features.nodes[parent], scene.features.parts))
    affinity = Later(lambda: _affinity_of_parts(scene, finer, parent))
    return replace(scene, work_superpixels=finer, graph=graph, later_features=features, later_affinity=affinity)


def _affinity_of_parts(scene: Scene, finer: Superpixels, parent: NDArray[np.int32]) -> Affinity:
    """The affinity, in which the weight of a superpixel is divided among its parts by their areas.

    All parts have seeds, so weights between parts of two superpixels do not matter to the walk. Only the largest parts
    keep them: otherwise, seeds in every pixel would give a dense matrix.
    """
    weights, coarse = sp.coo_array(sp.triu(scene.affinity.weights)), len(scene.graph)
    i, j = weights.coords
    split = np.bincount(parent, minlength=coarse) > 1
    both = split[i] & split[j]
    order = np.argsort(finer.area, kind="stable")
    largest = np.empty(coarse, np.int64)
    largest[parent[order]] = order
    share = (finer.area / scene.work_superpixels.area[parent]).astype(np.float64)
    spread = sp.csr_array((share, (np.arange(len(finer)), parent)), shape=(len(finer), coarse))
    main = sp.csr_array((np.ones(coarse), (largest, np.arange(coarse))), shape=spread.shape)

    def between(chosen: NDArray[np.bool_], ends: sp.csr_array) -> sp.csr_array:
        part = sp.csr_array((weights.data[chosen].astype(np.float64), (i[chosen], j[chosen])), shape=weights.shape)
        return ends @ part @ ends.T

    half = sp.csr_array((between(~both, spread) + between(both, main)).astype(scene.affinity.weights.dtype))
    return Affinity(sp.csr_array(half + half.T))
