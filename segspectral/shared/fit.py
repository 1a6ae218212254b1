"""Many images -> one ``Model``: a sample of their regions, one graph, one head, and its clusters merged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from segspectral.affinity import KnnAffinity
from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.heads.base import Head
from segspectral.heads.storage import saved_name
from segspectral.images.reader import as_image
from segspectral.resolution import downsampled
from segspectral.shared.model import Block, Model, Parts, Projection, Recipe, unit
from segspectral.spectral.discretise import agglomerate
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity

if TYPE_CHECKING:
    from segspectral.heads.training.loop import Progress

__all__ = ["fit_described", "fit_model", "merge_clusters"]

FEWEST = 8
"""Regions for each cluster of the head."""

FEWEST_IMAGES = 200
"""If there are so many, no image gives more than this share of the graph. Up to that images are whole: all regions of
110 images of VOC gave an mIoU of 15.2 (P1) and 15.8 (P2), as many regions of 220 images 13.2 and 14.3."""


def fit_model(
    sources: Iterable[Any],
    recipe: Recipe | None = None,
    *,
    observer: Callable[[Any, SegspectralError | None], None] | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit one head over many images.

    Parameters
    ----------
    sources : paths, Pillow images, arrays (H, W, 3) or Images
    observer : called after each image with it, and with its error if it cannot be read; such images are left out. Those
        that no longer fit into the graph are not opened
    progress : called after each step of the head's training with its number and a dict of scalars

    Raises
    ------
    ImageError
        There is no image, or none that can be read.
    SettingsError
        More segments are asked for than the images have regions, or the head is of a kind that cannot be saved.
    BackboneError, CollapseError

    Notes
    -----
    Memory: ``recipe.nodes`` rows and one image at a time, however many images there are. They are drawn in random order
    until the graph is full.
    """
    recipe = recipe or Recipe()
    saved_name(recipe.head)  # a model that cannot be saved is not worth minutes
    sources = list(sources)
    if not sources:
        raise ImageError("there is no image to fit a model on")
    order = np.random.default_rng(recipe.seed).permutation(len(sources))
    backbone = recipe.features.cnn.load().fingerprint if recipe.features.cnn is not None else ""

    def described() -> Iterator[Parts]:
        for i in order:
            made, failure = None, None
            try:
                image = downsampled(as_image(sources[i]), recipe.working_pixels)
                made = recipe.parts(image, recipe.superpixels(image))
            except ImageError as error:
                failure = error
            if observer is not None:
                observer(sources[i], failure)
            if made is not None:
                yield made

    return fit_described(described(), len(sources), recipe, backbone=backbone, progress=progress)


def fit_described(
    described: Iterable[Parts],
    images: int,
    recipe: Recipe,
    *,
    backbone: str = "",
    progress: Progress | None = None,
) -> Model:
    """``fit_model`` of about ``images`` images whose parts are there already, drawn in this order."""
    with threadpool_limits(1, user_api="blas"):
        sample = _Sample(recipe, images)
        for parts in described:
            sample.add(parts)
            if sample.nodes == recipe.nodes:
                break
        if sample.images == 0:
            raise ImageError(f"none of the {images} images can be read")
        rows, edges, area, of_image = sample.whole()
        if recipe.segments > len(rows):
            raise SettingsError(
                f"{recipe.segments} segments are more than the {len(rows)} regions of the {sample.images} images; ask "
                "for fewer segments, or give more images"
            )
        # A cluster of a few regions is no kind of thing.
        clusters = max(recipe.segments, min(recipe.segments * recipe.fine, len(rows) // FEWEST))
        projection = Projection.learn(rows, area, sample.widths, recipe.features, recipe.coarseness)
        nodes = unit(projection(rows)).astype(np.float64)
        # A node has no more neighbours than half of a segment of average size.
        neighbors = max(1, min(recipe.affinity.neighbors, len(rows) // (2 * recipe.segments)))
        settings = recipe.affinity.model_copy(update={"neighbors": neighbors})
        affinity = weighted(global_affinity(nodes, edges, of_image if recipe.across else None, settings), area)
        head: Head = clone(recipe.head).set_params(n_clusters=clusters, random_state=recipe.seed)
        head.fit(nodes, affinity=affinity, progress=progress)
        memberships = head.predict_proba(nodes)
        labels = memberships.argmax(axis=1)
        segment_of = merge_clusters(affinity, memberships, recipe.segments, recipe.damping)
        # The largest segment over the folder is the first.
        order = np.argsort(-np.bincount(segment_of[labels], area, recipe.segments), kind="stable")
        segment_of = np.argsort(order)[segment_of]
    about = {"images": sample.images, "nodes": len(rows), "ncut": affinity.ncut(segment_of[labels])}
    return Model(recipe, projection, head, segment_of, backbone, about)


class _Sample:
    """At most ``recipe.nodes`` rows, all of an image if that is not too many, with the borders among them."""

    def __init__(self, recipe: Recipe, images: int) -> None:
        self.recipe = recipe
        self.quota = max(1, recipe.nodes // min(images, FEWEST_IMAGES))
        self.widths: dict[Block, int] = {}
        self.images = self.nodes = 0
        self._rng = np.random.default_rng(recipe.seed)
        self._rows: list[NDArray[np.float32]] = []
        self._edges: list[NDArray[np.int64]] = []
        self._area: list[NDArray[np.float64]] = []
        self._of_image: list[NDArray[np.int64]] = []

    def add(self, parts: Parts) -> None:
        rows, region = self.recipe.regions(parts.graph, parts.rows)
        graph = parts.graph.merged(region)
        n = len(graph)
        area = graph.area / graph.area.sum()
        chosen = np.sort(self._rng.choice(n, min(self.quota, n, self.recipe.nodes - self.nodes), replace=False))
        place = np.full(n, -1)
        place[chosen] = np.arange(len(chosen)) + self.nodes
        edges = place[graph.borders]
        edges = edges[(edges >= 0).all(axis=1)]
        self.widths = {block: part.shape[1] for block, part in parts.nodes.items()}
        self._rows.append(rows[chosen])
        self._edges.append(edges)
        self._area.append(area[chosen])
        self._of_image.append(np.full(len(chosen), self.images))
        self.nodes += len(chosen)
        self.images += 1

    def whole(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Rows (N, D), edges (M, 2), the share of each node in its image (N,), and which image that is (N,)."""
        return (
            np.concatenate(self._rows),
            np.concatenate(self._edges),
            np.concatenate(self._area),
            np.concatenate(self._of_image),
        )


def global_affinity(
    nodes: NDArray[np.float64],
    edges: NDArray[np.int64],
    of_image: NDArray[np.int64] | None,
    settings: KnnAffinity,
) -> Affinity:
    """One graph over all images: each region and its nearest in other images, united with those that touch.

    Parameters
    ----------
    of_image : (N,) number of each node's image; None seeks the nearest in all images. Those in its own are often
        nearer: with them a cluster soon is an image, and nothing is shared
    """
    return knn_affinity(
        nodes,
        neighbors=settings.neighbors,
        bandwidth=settings.bandwidth,
        scale=settings.scale,
        symmetrize=settings.symmetrize,
        edges=edges if settings.adjacency else None,
        groups=of_image,
    )


def weighted(affinity: Affinity, area: NDArray[np.float64]) -> Affinity:
    """W_ij sqrt(a_i a_j): large regions count for more than small ones, and for less than their pixels do."""
    root = sp.diags_array(np.sqrt(area / area.mean()))
    return Affinity(sp.csr_array(root @ affinity.weights @ root, dtype=np.float32))


def merge_clusters(
    affinity: Affinity, memberships: NDArray[np.floating[Any]], segments: int, damping: float
) -> NDArray[np.int64]:
    """(C,) which of ``segments`` groups each of C clusters belongs to, by memberships (N, C) of the nodes.

    Agglomeration of the two with the largest W(a, b) / (vol(a) vol(b))^damping. With damping 1 that is average linkage;
    less lets large groups grow larger, where normalized cuts are balanced and classes are not. A cluster that is no
    node's first, as networks leave some, would stay a group of its own while others must merge: it goes to the group
    whose nodes are in it most.
    """

    def linkage(between: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.maximum(between.sum(axis=1), 1e-100) ** damping
        return between / np.outer(size, size)

    used, first = np.unique(memberships.argmax(axis=1), return_inverse=True)
    group_of = agglomerate(affinity, first, len(used), segments, linkage)
    shared = np.eye(segments)[group_of[first]].T @ memberships
    merged = shared.argmax(axis=0)
    merged[used] = group_of
    return merged
