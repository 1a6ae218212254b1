"""Many images -> one ``FittedModel``: a sample of their regions makes one graph, which one head clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segspectral.affinity import KnnAffinity
from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.heads.storage import saved_name
from segspectral.images.reader import as_image
from segspectral.resolution import downsampled
from segspectral.shared.model import Block, FittedModel, Parts, Projection, Recipe, said_of_keys, unit
from segspectral.spectral.discretise import agglomerate
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity

if TYPE_CHECKING:
    from segspectral.heads.training.run import Progress

__all__ = ["fit_described", "fit_model", "merge_clusters"]

FEWEST = 8
"""Average number of regions per cluster of the head, at least. A cluster of very few regions is not a kind of thing."""

FEWEST_IMAGES = 200
"""From a folder of this many images or more, each image contributes at most 1/FEWEST_IMAGES of the graph's nodes.
Keeping images whole matters: on VOC, all regions of 110 images reached an mIoU of 15.2 (P1) and 15.8 (P2); the same
number of regions, drawn from 220 images, reached 13.2 and 14.3."""


def fit_model(
    sources: Iterable[Any],
    recipe: Recipe | None = None,
    *,
    observer: Callable[[Any, SegspectralError | None], None] | None = None,
    note: Callable[[Any, tuple[str, ...]], None] | None = None,
    progress: Progress | None = None,
) -> FittedModel:
    """Fit one head over many images.

    Parameters
    ----------
    sources : paths, Pillow images, arrays (H, W, 3) or Images
    observer : called after each image with the image, and with an error if it cannot be read; such images are left out.
        Images are not opened any more when the graph is full
    note : called with each image that is read, and with sentences about how it was read
    progress : called after each training step of the head with its number and a dict of scalars

    Raises
    ------
    ImageError
        There is no image, or none that can be read.
    SettingsError
        The images have fewer regions than requested segments, or the head is of a kind that cannot be saved.
    BackboneError, CollapseError

    Notes
    -----
    Images are drawn in random order until the graph is full. At any time, memory contains at most ``recipe.nodes`` rows
    and one image, whatever the number of images is.
    """
    recipe = recipe or Recipe()
    recipe.head.check_installed()
    saved_name(recipe.head)  # a model that cannot be saved is not worth minutes
    sources = list(sources)
    if not sources:
        raise ImageError("there is no image to fit a model on")
    order = np.random.default_rng(recipe.seed).permutation(len(sources))
    backbone = recipe.features.fingerprint
    bands: list[tuple[str, ...]] = []

    def described() -> Iterator[Parts]:
        for i in order:
            made, failure = None, None
            try:
                whole = as_image(sources[i], reading=recipe.reading)
                if note is not None:
                    note(sources[i], whole.notes)
                image = downsampled(whole, recipe.working_pixels)
                bands.append(recipe.bands_of(image))
                if bands[-1] != bands[0]:
                    raise ImageError(
                        f"has {said_of_keys(bands.pop())}, but the images before it have {said_of_keys(bands[0])}"
                    )
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
) -> FittedModel:
    """``fit_model`` for about ``images`` images whose parts have been computed, in this order."""
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
                f"{recipe.segments} segments are more than the {len(rows)} regions of the {sample.images} images; "
                "request fewer segments, or give more images"
            )
        clusters = max(recipe.segments, min(recipe.segments * recipe.fine, len(rows) // FEWEST))
        projection = Projection.learn(rows, area, sample.widths, recipe.features, recipe.coarseness)
        nodes = unit(projection(rows)).astype(np.float64)
        # The neighbours of a node are at most half of an average segment, or most of them would be in other segments.
        neighbors = max(1, min(recipe.affinity.neighbors, len(rows) // (2 * recipe.segments)))
        settings = recipe.affinity.model_copy(update={"neighbors": neighbors})
        affinity = weighted(global_affinity(nodes, edges, of_image if recipe.across else None, settings), area)
        head = recipe.head.fresh(n_clusters=clusters, random_state=recipe.seed)
        head.fit(nodes, affinity=affinity, progress=progress)
        memberships = head.predict_proba(nodes)
        labels = memberships.argmax(axis=1)
        segment_of = merge_clusters(affinity, memberships, recipe.segments, recipe.damping)
        # Segments are numbered in order of descending area over all images.
        order = np.argsort(-np.bincount(segment_of[labels], area, recipe.segments), kind="stable")
        segment_of = np.argsort(order)[segment_of]
    shares = np.bincount(segment_of[labels], area, recipe.segments) / area.sum()
    about = {
        "images": sample.images,
        "nodes": len(rows),
        "ncut": affinity.ncut(segment_of[labels]),
        "shares": [round(float(share), 4) for share in shares],
    }
    return FittedModel(
        recipe=recipe,
        projection=projection,
        head=head,
        segment_of=segment_of,
        backbone=backbone,
        about=about,
        bands=sample.bands,
    )


class _Sample:
    """At most ``recipe.nodes`` regions of many images, with the borders between them.

    All regions of an image are taken, unless they are more than its quota.
    """

    def __init__(self, recipe: Recipe, images: int) -> None:
        self.recipe = recipe
        self.quota = max(1, recipe.nodes // min(images, FEWEST_IMAGES))
        self.widths: dict[Block, int] = {}
        self.images = self.nodes = 0
        self.bands: tuple[str, ...] = ()
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
        node = np.full(n, -1)
        node[chosen] = np.arange(len(chosen)) + self.nodes
        edges = node[graph.borders]
        edges = edges[(edges >= 0).all(axis=1)]
        self.widths = {block: part.shape[1] for block, part in parts.nodes.items()}
        self.bands = parts.bands
        self._rows.append(rows[chosen])
        self._edges.append(edges)
        self._area.append(area[chosen])
        self._of_image.append(np.full(len(chosen), self.images))
        self.nodes += len(chosen)
        self.images += 1

    def whole(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Features (N, D), borders (M, 2), shares of the area of the image (N,), and the number of the image (N,)."""
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
    """One graph over all images: a region is connected to its nearest neighbours and to regions that it touches.

    Parameters
    ----------
    of_image : (N,) the number of each node's image: nearest neighbours are in other images. None: they are in any
        image, often in the node's own; then clusters tend to be single images, and no segments are shared
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
    """W_ij sqrt(a_i a_j): large regions count more than small ones, but less than in proportion to their area."""
    root = sp.diags_array(np.sqrt(area / area.mean()))
    return Affinity(sp.csr_array(root @ affinity.weights @ root, dtype=np.float32))


def merge_clusters(
    affinity: Affinity, memberships: NDArray[np.floating[Any]], segments: int, damping: float
) -> NDArray[np.int64]:
    """(C,) the segment of each of C clusters, from memberships (N, C) of the nodes.

    Repeatedly, the two groups of clusters with the largest W(a, b) / (vol(a) vol(b))^damping are merged. With damping
    1, this is average linkage. A lower damping lets large groups grow larger: normalized cuts are balanced, but classes
    are not. A cluster may be the most likely one of no node, because networks leave some clusters empty. Such a cluster
    joins the segment whose nodes have the largest membership in it; otherwise it would be a segment of its own.
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
