"""A folder of images -> their regions, described once, so that they can be taught again and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.features.cnn import principal_axes
from segspectral.images.reader import as_image
from segspectral.resolution import downsampled
from segspectral.shared.model import Parts, Projection, said_of_keys
from segspectral.shared.taught import Lesson, TaughtModel
from segspectral.spectral.knn import knn_affinity
from segspectral.teaching.labels import Given
from segspectral.values import Image, Superpixels
from segspectral.values.regions import RegionGraph

__all__ = ["Album", "Described", "Page", "describe"]

FEWEST = 40
"""So many regions of an image without labels are drawn at least: more images than fit are not opened."""

ROWS = 20_000
"""The principal components are those of at most this many superpixels."""


class Described(NamedTuple):
    """An image of which everything is known that a model is taught by, and applied to.

    Parameters
    ----------
    path : its file
    shape : (H, W) of the image
    superpixels : at the working size
    parts : their features before they are scaled, and their region graph
    """

    path: Path
    shape: tuple[int, int]
    superpixels: Superpixels
    parts: Parts


@dataclass(frozen=True, eq=False)
class Page:
    """An image of an album.

    Parameters
    ----------
    path : its file
    shape : (H, W) of the image
    superpixels : at the working size
    graph : region graph of the N superpixels
    components : (N, D) principal components of their features
    drawn : the numbers of the superpixels that labels spread to
    """

    path: Path
    shape: tuple[int, int]
    superpixels: Superpixels
    graph: RegionGraph
    components: NDArray[np.float32]
    drawn: NDArray[np.int64]

    def superpixel(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.int32]:
        """(P,) the superpixel of each pixel of the image, -1 on void."""
        small, large = self.superpixels.shape, self.shape
        return self.superpixels.labels[rows * small[0] // large[0], cols * small[1] // large[1]]

    def pixel(self, row: int, col: int) -> tuple[int, int]:
        """The pixel of the image in the middle of a pixel of the working size."""
        found = []
        for place, small, large in zip((row, col), self.superpixels.shape, self.shape, strict=True):
            first, end = -(-place * large // small), -(-(place + 1) * large // small)
            found.append((first + end - 1) // 2)
        return found[0], found[1]

    def superpixels_of(self, given: Given) -> NDArray[np.int32]:
        """(P,) the superpixel of each pixel with a label, -1 on void. Raises SettingsError if one lies outside."""
        height, width = self.shape
        if (given.rows >= height).any() or (given.cols >= width).any():
            raise SettingsError(
                f"has pixels outside {self.path.name}, which has {height} rows and {width} columns as it is read",
                given.source,
            )
        return self.superpixel(given.rows, given.cols)


@dataclass(frozen=True, eq=False)
class Album:
    """The images of a folder, or a part of them, described.

    Parameters
    ----------
    lesson : the settings
    pages : path -> the image, those with labels first
    projection : the map of features to their principal components
    backbone : ``FeatureStack.fingerprint`` of the networks; "" without one
    bands : as of ``Model``
    left : how many images were not opened, because the graph was full
    """

    lesson: Lesson
    pages: dict[Path, Page]
    projection: Projection
    backbone: str
    bands: tuple[str, ...]
    left: int

    @classmethod
    def of(
        cls,
        images: Sequence[Path],
        lesson: Lesson | None = None,
        *,
        first: Collection[Path] = (),
        model: TaughtModel | None = None,
        observer: Callable[[Path, SegspectralError | None], None] | None = None,
        note: Callable[[Any, tuple[str, ...]], None] | None = None,
        described: Callable[[Path], Described] | None = None,
    ) -> Album:
        """Describe the images.

        Parameters
        ----------
        first : images with labels: all of them are opened. The others are drawn at random until the graph is full
        model : its settings and its projection are taken, so that it can be applied to ``drawn``; by default the
            projection is learned from the images
        observer : called after each image with its path, and with an error if it cannot be read; such images without
            labels are left out
        note : called with each image that is read, and with sentences about how it was read
        described : what describes an image instead of ``describe``, such as one that keeps what it has described

        Raises
        ------
        ImageError
            An image with labels cannot be read, or an image has other bands than those before it.
        BackboneError, SettingsError
            The model was made with other weights of the CNN, or is damaged.
        """
        lesson = lesson or (model.recipe if model is not None else Lesson())
        rng = np.random.default_rng(lesson.seed)
        others = [image for image in images if image not in set(first)]
        room = max(0, lesson.nodes // FEWEST - len(first)) if lesson.nodes else 0
        others = [others[i] for i in rng.permutation(len(others))]
        quota = lesson.nodes // max(1, len(first) + min(room, len(others)))
        described = described or partial(describe, lesson=lesson, model=model, note=note)
        found: list[Described] = []
        opened = 0
        with threadpool_limits(1, user_api="blas"):
            for path in [*first, *others]:
                if path not in first and len(found) >= len(first) + room:
                    break
                opened += 1
                failure = None
                try:
                    found.append(_like(found, described(path)))
                except ImageError as error:
                    failure = error
                if observer is not None:
                    observer(path, failure)
                if failure is not None and path in first:
                    raise failure
            projection = _projection(found, lesson, rng) if model is None else model.projection
        pages = {}
        for path, shape, superpixels, parts in found:
            drawn = np.sort(rng.choice(len(parts.graph), min(quota, len(parts.graph)), replace=False))
            components = projection(parts.rows) if model is None else model.components(parts)
            pages[path] = Page(path, shape, superpixels, parts.graph, components, drawn)
        backbone = lesson.features.fingerprint
        return cls(lesson, pages, projection, backbone, found[0].parts.bands, len(first) + len(others) - opened)

    def page_of(self, path: Path, given: Given) -> Page:
        """The page of an image with labels. Raises SettingsError if there is none."""
        if path not in self.pages:
            raise SettingsError(f"labels {path.name}, which is not among the images of the album", given.source)
        return self.pages[path]

    @cached_property
    def drawn(self) -> NDArray[np.float32]:
        """(M, D') the features of all drawn superpixels and of what surrounds them."""
        return np.concatenate(
            [self.lesson.surroundings(page.graph, page.components)[page.drawn] for page in self.pages.values()]
        )

    @cached_property
    def spreading(self) -> sp.csr_array:
        """(M, M) the share of each nearest neighbour of the drawn superpixels; rows sum to one."""
        nodes = np.concatenate([page.components[page.drawn] for page in self.pages.values()])
        nodes = nodes / np.maximum(np.linalg.norm(nodes, axis=1, keepdims=True), 1e-12)
        weights = knn_affinity(nodes, neighbors=min(self.lesson.neighbors, max(1, len(nodes) - 1))).weights
        return sp.csr_array(sp.diags_array(1 / np.maximum(weights.sum(axis=1), 1e-12)) @ weights)


def describe(
    path: Path,
    lesson: Lesson,
    model: TaughtModel | None = None,
    note: Callable[[Any, tuple[str, ...]], None] | None = None,
    image: Image | None = None,
) -> Described:
    """Describe an image, as the model asks for if there is one; it is read, if it is not here. Raises ImageError."""
    whole = image or as_image(path, reading=lesson.reading)
    if note is not None:
        note(path, whole.notes)
    work = downsampled(whole, lesson.working_pixels)
    superpixels = lesson.superpixels(work)
    return Described(path, whole.shape, superpixels, (model or lesson).parts(work, superpixels))


def _like(before: Sequence[Described], one: Described) -> Described:
    """The image itself. Raises ImageError if its bands are not those of the images before it."""
    if before and one.parts.bands != before[0].parts.bands:
        bands, known = said_of_keys(one.parts.bands), said_of_keys(before[0].parts.bands)
        raise ImageError(f"has {bands}, but the images before it have {known}", one.path)
    return one


def _projection(found: Sequence[Described], lesson: Lesson, rng: np.random.Generator) -> Projection:
    """The map to the principal components of standardised features; a component vector has mean squared length 1."""
    most = ROWS // len(found) + 1
    rows = np.concatenate(
        [parts.rows[rng.choice(len(parts.graph), min(most, len(parts.graph)), replace=False)] for *_, parts in found]
    ).astype(np.float64)
    shift, scale = rows.mean(axis=0), rows.std(axis=0)
    changes = scale > 1e-9
    # A column that never changes says nothing.
    inverse = np.where(changes, 1 / np.maximum(scale, 1e-9), 0.0) / np.sqrt(np.maximum(changes.sum(), 1))
    axes = inverse[:, None] * principal_axes((rows - shift) * inverse, lesson.components)
    return Projection(shift.astype(np.float32), axes.astype(np.float32))
