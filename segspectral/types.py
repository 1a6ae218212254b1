"""The values that flow through segspectral, each checked when it is made, and the words of the field.

::

    Image -> Superpixels -> Features, RegionGraph -> Affinity     (together: a Scene)     -> Membership -> Segmentation

Every value is frozen. numpy stands between the stages; torch stays inside them.

Glossary
--------
superpixel      a small connected group of similar pixels, a node of the graph; ids 0..N-1, -1 on void pixels
affinity        W, symmetric (N, N), W_ij >= 0: how alike the superpixels i and j are
degree          d_i = sum_j W_ij;  D = diag(d);  vol(A) = sum of d over A
Laplacian       L = D - W (none), I - D^-1/2 W D^-1/2 (sym), I - D^-1 W (rw)
normalized cut  Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                       (Shi and Malik 2000, eq. 2)
embedding       the K eigenvectors of the rw-Laplacian with the smallest eigenvalues, one row per node
eigengap        lambda_{k+1} - lambda_k; a large one says that k groups are natural
membership      P (N, K), rows sum to one: how much each node belongs to each cluster
head            what turns features and affinity into a membership (``segspectral.heads``)
backbone        the pretrained CNN or ViT that features come from (``segspectral.features.backbones``)
refiner         what turns memberships of superpixels into a label map of pixels (``segspectral.refine``)
cluster         a column of a membership;  segment: a region of one image;  class: a name shared over images
label map       (H, W) integers; segments are 1..K
void            pixels that belong to nothing (transparent, nodata): 0 in a label map, False in a mask

Positions are row and column, never x and y; shapes are written (H, W): height and width in pixels.
N superpixels, D feature channels, K clusters, M borders between superpixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import GraphError, ImageError
from segspectral.hierarchy import Hierarchy, RegionGraph

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

__all__ = [
    "Affinity",
    "AffinityBuilder",
    "FeatureExtractor",
    "Features",
    "Image",
    "ImageHierarchy",
    "Membership",
    "Outcome",
    "Refiner",
    "Scene",
    "Segmentation",
    "SuperpixelMethod",
    "Superpixels",
]


@dataclass(frozen=True, eq=False)
class Image:
    """A colour image, finite and in range, with at least one valid pixel.

    Parameters
    ----------
    rgb : (H, W, 3) uint8, or floating point in [0, 1]
    name : what messages and output files call it
    mask : (H, W) bool or None
        True where the pixel is valid; None where all are.

    Raises
    ------
    ImageError
        Wrong shape or type, values out of range or not finite, a mask of another shape, no valid pixel.
    """

    rgb: NDArray[Any]
    name: str = "image"
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        rgb = self.rgb
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
            raise ImageError(f"an image is an array (H, W, 3), this one has shape {rgb.shape}")
        if rgb.dtype != np.uint8:
            if not np.issubdtype(rgb.dtype, np.floating):
                raise ImageError(f"an image holds uint8, or floats in [0, 1], not {rgb.dtype}")
            if not np.isfinite(rgb).all():
                raise ImageError("an image holds NaN or infinity; mark such pixels as void in the mask instead")
            if rgb.min() < 0 or rgb.max() > 1:
                raise ImageError(f"a floating-point image lies in [0, 1], not [{rgb.min():g}, {rgb.max():g}]")
        if self.mask is not None:
            if self.mask.shape != rgb.shape[:2] or self.mask.dtype != np.bool_:
                raise ImageError(f"the mask is bool of shape {rgb.shape[:2]}, not {self.mask.dtype} {self.mask.shape}")
            if not self.mask.any():
                raise ImageError("no pixel is valid (is the image wholly transparent?)")

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @cached_property
    def flat(self) -> bool:
        """Whether all valid pixels have one colour."""
        pixels = self.rgb.reshape(-1, 3) if self.mask is None else self.rgb[self.mask]
        return bool((pixels == pixels[0]).all())

    @cached_property
    def float32(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 in [0, 1]."""
        if self.rgb.dtype == np.uint8:
            return self.rgb.astype(np.float32) / np.float32(255)
        return self.rgb.astype(np.float32, copy=False)

    def filled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """``values`` (H, W, ...) with the mean of the valid pixels on void ones, so that these have no influence."""
        if self.mask is None:
            return values
        mask = self.mask.reshape(self.mask.shape + (1,) * (values.ndim - 2))
        return np.where(mask, values, values[self.mask].mean(axis=0))

    @cached_property
    def uint8(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8, rounded."""
        if self.rgb.dtype == np.uint8:
            return self.rgb
        return np.round(self.rgb * 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A partition of the valid pixels into N connected pieces.

    Parameters
    ----------
    labels : (H, W) int32
        Ids 0..N-1, all of which occur; -1 on void pixels.

    Raises
    ------
    ImageError
        An id is missing, or there is no superpixel at all.
    """

    labels: NDArray[np.int32]

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.int32:
            raise ImageError(f"superpixel labels are (H, W) int32, not {self.labels.dtype} {self.labels.shape}")
        if self.labels.size == 0 or self.labels.min() < -1 or len(self.area) == 0 or (self.area == 0).any():
            raise ImageError("superpixel ids are 0..N-1 without gaps, and -1 on void pixels")

    @property
    def shape(self) -> tuple[int, int]:
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(H, W) True off the void."""
        return self.labels >= 0

    def __len__(self) -> int:
        return len(self.area)

    @cached_property
    def area(self) -> NDArray[np.int64]:
        """(N,) pixels."""
        flat = self.labels.ravel()
        return np.bincount(flat[flat >= 0])

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """(N, 2) mean row and column."""
        rows, cols = np.indices(self.shape, dtype=np.float64)
        return self.pool(np.stack([rows, cols], axis=-1))

    @cached_property
    def _adjacency(self) -> sp.csr_array:
        """(N, N) upper triangle: how many pairs of 4-neighbours the superpixels i < j share."""
        pairs = []
        for a, b in ((self.labels[:-1], self.labels[1:]), (self.labels[:, :-1], self.labels[:, 1:])):
            cut = (a != b) & (a >= 0) & (b >= 0)
            pairs.append(np.stack([np.minimum(a[cut], b[cut]), np.maximum(a[cut], b[cut])]))
        i, j = np.concatenate(pairs, axis=1)
        graph = sp.coo_array((np.ones(len(i), dtype=np.float64), (i, j)), shape=(len(self), len(self))).tocsr()
        graph.sort_indices()
        return graph

    @cached_property
    def borders(self) -> NDArray[np.int32]:
        """(M, 2) pairs i < j of superpixels that touch, in lexicographic order."""
        return np.stack(self._adjacency.nonzero(), axis=1).astype(np.int32)

    @cached_property
    def border_length(self) -> NDArray[np.float64]:
        """(M,) length of each border, in pairs of touching pixels."""
        return self._adjacency.data.copy()

    @cached_property
    def region_graph(self) -> RegionGraph:
        """The region adjacency graph of the superpixels, without boundary probabilities."""
        return RegionGraph(self.area, self.borders, self.border_length)

    def along_borders(self, values: NDArray[Any]) -> NDArray[Any]:
        """Mean of ``values`` (H, W, D) along each border: (M, D). Of two touching pixels the larger value counts."""
        n = len(self)
        total = np.zeros((len(self.borders), values.shape[2]))
        keys = self.borders[:, 0].astype(np.int64) * n + self.borders[:, 1]
        for here, there in ((np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])):
            a, b = self.labels[here], self.labels[there]
            cut = (a != b) & (a >= 0) & (b >= 0)
            border = np.searchsorted(keys, np.minimum(a[cut], b[cut]).astype(np.int64) * n + np.maximum(a[cut], b[cut]))
            pairs = np.maximum(values[here][cut], values[there][cut])
            total += np.stack([np.bincount(border, v, len(keys)) for v in pairs.T], axis=-1)
        return total / self.border_length[:, None]

    @cached_property
    def _indicator(self) -> sp.csr_array:
        """(N, H W) one where the pixel belongs to the superpixel."""
        flat = self.labels.ravel()
        order = np.argsort(flat, kind="stable")[np.count_nonzero(flat < 0) :]
        indptr = np.concatenate([[0], np.cumsum(self.area)])
        return sp.csr_array((np.ones(len(order), np.float32), order, indptr), shape=(len(self), flat.size))

    def pool(self, values: NDArray[Any]) -> NDArray[Any]:
        """Mean of ``values`` (H, W, D) or (H, W) over each superpixel: (N, D) or (N,)."""
        flat = values.reshape(self.labels.size, -1)
        means = (self._indicator @ flat) / self.area[:, None]
        means = means.astype(np.result_type(values.dtype, np.float32), copy=False)
        return means.reshape((len(self), *values.shape[2:]))

    def pool_grid(self, values: NDArray[Any], stride: float, offset: float = 0.0) -> NDArray[Any]:
        """Mean over each superpixel of a coarse grid upsampled bilinearly, without upsampling it.

        Parameters
        ----------
        values : (h, w, D)
            Cell (r, c) covers the pixels from ``offset + r * stride`` to ``offset + (r + 1) * stride``; its value
            stands at the cell's centre. Outside the outermost centres the border value goes on.
        stride : pixels per cell
        offset : pixels by which the grid begins before (negative) or after the image's first pixel

        Returns
        -------
        (N, D)
        """
        height, width = values.shape[:2]
        return self._grid_operator(height, width, stride, offset) @ values.reshape(height * width, -1)

    def _grid_operator(self, height: int, width: int, stride: float, offset: float) -> sp.csr_array:
        """(N, height width): the pooled value of each superpixel as weights on the cells of a grid.

        Bilinear upsampling and averaging are both linear, so their product is one sparse matrix with a few entries
        per superpixel: it replaces an (H, W, D) array.
        """

        def axis(size: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            at = np.clip((np.arange(size) + 0.5 - offset) / stride - 0.5, 0, cells - 1)
            low = np.minimum(at.astype(np.int64), max(cells - 2, 0))
            return low, at - low

        (row, row_part), (col, col_part) = axis(self.shape[0], height), axis(self.shape[1], width)
        row, row_part = row[:, None, None], row_part[:, None, None]
        col, col_part = col[None, :, None], col_part[None, :, None]
        down, right = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        cells = np.minimum(row + down, height - 1) * width + np.minimum(col + right, width - 1)
        weights = np.where(down, row_part, 1 - row_part) * np.where(right, col_part, 1 - col_part)
        pixels = self.labels.size
        bilinear = sp.csr_array(
            (weights.reshape(-1).astype(np.float32), cells.reshape(-1), np.arange(0, 4 * pixels + 1, 4)),
            shape=(pixels, height * width),
        )
        return sp.csr_array(sp.diags_array(1 / self.area) @ (self._indicator @ bilinear))

    def upsampled(self, image: Image) -> Superpixels:
        """The superpixels on the pixels of a larger image: each valid pixel belongs to the pixel here that it lies in.

        Void pixels between two of them may separate what touches here.
        """
        rows, cols = (np.arange(fine) * coarse // fine for fine, coarse in zip(image.shape, self.shape, strict=True))
        labels = self.labels[np.ix_(rows, cols)]
        if image.mask is not None:
            labels = np.where(image.mask, labels, np.int32(-1))
        return Superpixels(np.ascontiguousarray(labels))

    def spread(self, values: NDArray[Any], void: Any = 0) -> NDArray[Any]:
        """Give each pixel the value (N, ...) of its superpixel: (H, W, ...); void pixels get ``void``."""
        pixels = np.asarray(values)[self.labels]
        if not self.valid.all():
            pixels[~self.valid] = void
        return pixels


@dataclass(frozen=True, eq=False)
class Features:
    """One finite row per superpixel.

    Parameters
    ----------
    nodes : (N, D) float32
    parts : what made them, in order: name -> the columns ``(first, after the last)``
    """

    nodes: NDArray[np.float32]
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.nodes.ndim != 2 or self.nodes.dtype != np.float32 or self.nodes.shape[1] == 0:
            raise ImageError(f"features are (N, D) float32, not {self.nodes.dtype} {self.nodes.shape}")
        if not np.isfinite(self.nodes).all():
            raise ImageError("features hold NaN or infinity")

    def part(self, name: str) -> NDArray[np.float32]:
        """The (N, D') columns that the extractor ``name`` made."""
        first, last = self.parts[name]
        return self.nodes[:, first:last]


@dataclass(frozen=True, eq=False)
class Affinity:
    """A weighted undirected graph, and the one yardstick for all heads: its normalized cut.

    Parameters
    ----------
    weights : (N, N) sparse, real numbers of any kind
        Symmetric, finite, non-negative, zero diagonal. Stored as CSR of float32 or float64 with sorted indices and
        without explicit zeros. Weights have no unit: where the largest is beyond 2^-32..2^32, all are multiplied by
        the power of four that brings it near 1, and none is less than 2^-300 of it.

    Raises
    ------
    GraphError
        A law is broken; the message says which and where.
    """

    weights: sp.csr_array

    def __post_init__(self) -> None:
        w = self.weights
        if not sp.issparse(w):
            raise GraphError(f"an affinity is a scipy sparse array, not {type(w).__name__}")
        if w.ndim != 2 or w.shape[0] != w.shape[1] or w.shape[0] == 0:
            raise GraphError(f"an affinity is square (N, N), not {w.shape}")
        if w.dtype.kind not in "biuf":
            raise GraphError(f"the weights of an affinity are real numbers, not {w.dtype}")
        w = sp.csr_array(w, copy=True)
        if w.dtype not in (np.float32, np.float64):
            w = w.astype(np.float64 if w.dtype.itemsize > 8 else np.float32)
        w.sum_duplicates()
        w.eliminate_zeros()
        w.sort_indices()
        if not np.isfinite(w.data).all():
            raise GraphError("an affinity holds NaN or infinity")
        if w.nnz and w.data.min() < 0:
            i, j = (int(index[np.argmin(w.data)]) for index in w.nonzero())
            raise GraphError(f"affinities are non-negative, the one of nodes {i} and {j} is {w.data.min():g}")
        if w.diagonal().any():
            raise GraphError(f"the diagonal is zero; node {int(np.argmax(w.diagonal() != 0))} has an edge to itself")
        w = _near_one(w)
        skew = abs(w - w.T)
        if skew.nnz and skew.max() > 1e-6 * float(w.max()):
            i, j = (int(index[0]) for index in (skew > 0.5 * skew.max()).nonzero())
            raise GraphError(f"an affinity is symmetric; the weights of ({i}, {j}) and ({j}, {i}) differ")
        if w.nnz < 2**31 and w.indices.dtype != np.int32:
            # scikit-learn's solvers take no other index type.
            w = sp.csr_array((w.data, w.indices.astype(np.int32), w.indptr.astype(np.int32)), shape=w.shape)
        object.__setattr__(self, "weights", w)

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    @cached_property
    def degree(self) -> NDArray[np.float64]:
        """(N,) sum of the weights of each node."""
        return np.asarray(self.weights.sum(axis=1, dtype=np.float64)).ravel()

    @cached_property
    def components(self) -> NDArray[np.int32]:
        """(N,) number of the connected component of each node, from 0."""
        return sp.csgraph.connected_components(self.weights, directed=False)[1]

    @cached_property
    def normalized(self) -> sp.csr_array:
        """D^-1/2 W D^-1/2 in float64; rows of isolated nodes are zero."""
        scale = np.zeros(len(self))
        np.divide(1.0, np.sqrt(self.degree), out=scale, where=self.degree > 0)
        scaled = self.weights.astype(np.float64)
        scaled.data *= np.repeat(scale, np.diff(scaled.indptr)) * scale[scaled.indices]
        return scaled

    def laplacian(self, kind: Literal["none", "sym", "rw"] = "sym") -> sp.csr_array:
        """D - W (``none``), I - D^-1/2 W D^-1/2 (``sym``) or I - D^-1 W (``rw``); von Luxburg 2007, section 3."""
        if kind == "none":
            return sp.csr_array(sp.diags_array(self.degree) - self.weights)
        if kind == "sym":
            return sp.csr_array(sp.eye_array(len(self)) - self.normalized)
        if kind == "rw":
            inverse = np.zeros(len(self))
            np.divide(1.0, self.degree, out=inverse, where=self.degree > 0)
            return sp.csr_array(sp.eye_array(len(self)) - sp.diags_array(inverse) @ self.weights)
        raise ValueError(f"kind is 'none', 'sym' or 'rw', not {kind!r}")

    def ncut(self, labels: NDArray[np.integer[Any]]) -> float:
        """Normalized cut of a partition, summed over the clusters that occur (Shi and Malik 2000, eq. 2).

        Parameters
        ----------
        labels : (N,) integers

        Notes
        -----
        Compare values of equal numbers of used clusters only: the minimum grows with their number.
        """
        _, cluster = np.unique(labels, return_inverse=True)
        one_hot = sp.csr_array((np.ones(len(cluster)), (np.arange(len(cluster)), cluster)))
        volume = one_hot.T @ self.degree
        inside = (one_hot.multiply(self.weights @ one_hot)).sum(axis=0)
        cut = np.maximum(volume - np.asarray(inside).ravel(), 0)
        return float(np.divide(cut, volume, out=np.zeros_like(cut), where=volume > 0).sum())


def _near_one(weights: sp.csr_array) -> sp.csr_array:
    """Positive weights whose sums and products neither overflow nor vanish; see ``Affinity``."""
    largest = float(weights.data.max(initial=0.0))
    exponent = int(np.frexp(largest)[1])
    if abs(exponent) > 32:
        weights = weights.astype(np.float64)
        # By a power of four, of which the square root is exact, too: no bit of a result is lost.
        weights.data = np.ldexp(weights.data, -2 * (exponent // 2))
        largest = float(weights.data.max())
    if weights.nnz and weights.data.min() < (faintest := largest * 2.0**-300):
        weights.data = np.maximum(weights.data, faintest)
    return weights


class Outcome(Enum):
    """How a head ended; the value is the sentence for the user."""

    SOLVED = "solved"
    RETRIED = "solved at the second try: the first one left clusters empty"
    STOPPED = "stopped at the last step or at the time limit, still improving; give more steps"
    FEWER = "used fewer clusters than asked: more would not be distinct, or better by the head's criterion"

    @property
    def sentence(self) -> str:
        return str(self.value)


@dataclass(frozen=True, eq=False)
class Membership:
    """How much each node belongs to each cluster.

    Parameters
    ----------
    probabilities : (N, K) float32, finite, rows sum to one
    embedding : (N, K') float64 or None
        Spectral embedding: eigenvectors of the rw-Laplacian, smallest eigenvalue first.
    eigenvalues : (K'',) float64 or None
        Eigenvalues of the normalized Laplacian, rising from 0; as many as were computed, for the eigengap.
    outcome : how the head ended
    """

    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float64] | None = None
    eigenvalues: NDArray[np.float64] | None = None
    outcome: Outcome = Outcome.SOLVED

    def __post_init__(self) -> None:
        p = self.probabilities
        if p.ndim != 2 or p.shape[1] == 0:
            raise GraphError(f"memberships are (N, K), not {p.shape}")
        if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-4:
            raise GraphError("memberships are finite and non-negative, and each row sums to one")

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) the likeliest cluster of each node."""
        return self.probabilities.argmax(axis=1)

    def reordered(self, order: NDArray[np.integer[Any]], eigenvalues: NDArray[np.float64] | None = None) -> Membership:
        """The same with column ``order[c]`` as cluster c, and with ``eigenvalues`` if these are given."""
        kept = self.eigenvalues if eigenvalues is None else eigenvalues
        return replace(self, probabilities=np.ascontiguousarray(self.probabilities[:, order]), eigenvalues=kept)


@dataclass(frozen=True, eq=False)
class Scene:
    """An image, described once so that it can be segmented often: all that comes before the number of segments.

    Parameters
    ----------
    image : the image as it was given
    work : the image at its working size; ``image`` itself if that is small enough
    work_superpixels : of ``work``
    features : of the N superpixels
    graph : region graph of the N superpixels, with boundary probabilities if the pipeline computes them
    affinity : of the N superpixels
    pipeline : what described it
    notes : sentences for the user
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    """

    image: Image
    work: Image
    work_superpixels: Superpixels
    features: Features
    graph: RegionGraph
    affinity: Affinity
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def superpixels(self) -> Superpixels:
        """The superpixels on the pixels of ``image``."""
        return self.work_superpixels if self.work is self.image else self.work_superpixels.upsampled(self.image)

    @cached_property
    def hierarchy(self) -> ImageHierarchy:
        """All numbers of segments at once, by merging superpixels over their weakest borders.

        Raises
        ------
        SettingsError
            The pipeline computes no boundary probabilities (``features.contours`` is null).
        """
        tree = self.graph.hierarchy
        return ImageHierarchy(tree.graph, tree.merges, tree.altitudes, self.superpixels)


@dataclass(frozen=True, eq=False)
class ImageHierarchy(Hierarchy):
    """The hierarchy of an image, whose cuts are label maps.

    Parameters
    ----------
    superpixels : the leaves, on the pixels of the image
    """

    superpixels: Superpixels

    def labels(self, segments: int | None = None, level: float | None = None) -> NDArray[np.int32]:
        """(H, W) label map 1..K in order of falling area, 0 on void: K segments, or the horizontal cut at a level.

        Raises
        ------
        SettingsError
            As ``regions``.
        """
        return self.superpixels.spread(self.regions(segments, level) + np.int32(1), void=0)

    @cached_property
    def contour_map(self) -> NDArray[np.float32]:
        """(H, W) the ultrametric contour map: at each pixel the highest level to its right or lower neighbour."""
        labels, n = self.superpixels.labels, len(self.superpixels)
        borders = self.graph.borders.astype(np.int64)
        keys = borders[:, 0] * n + borders[:, 1]
        out = np.zeros(labels.shape, dtype=np.float32)
        here = (slice(None, -1), slice(None)), (slice(None), slice(None, -1))
        there = (slice(1, None), slice(None)), (slice(None), slice(1, None))
        for at, to in zip(here, there, strict=True):
            a, b = labels[at].astype(np.int64), labels[to].astype(np.int64)
            apart = (a != b) & (a >= 0) & (b >= 0)
            key = np.minimum(a, b)[apart] * n + np.maximum(a, b)[apart]
            values = np.zeros(a.shape, dtype=np.float32)
            values[apart] = self.border_levels[np.searchsorted(keys, key)]
            out[at] = np.maximum(out[at], values)
        return out


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The label map of one image, and what it was made from.

    Parameters
    ----------
    labels : (H, W) int32
        Segments 1..K in order of falling area before refinement; 0 on void pixels.
    scene : the image and its description
    membership : of the superpixels
    pipeline : what was run, ``segments`` as a number
    notes : sentences for the user, such as strategies that had to be replaced
    seconds : stage -> wall-clock seconds, in the order in which the stages ran
    """

    labels: NDArray[np.int32]
    scene: Scene
    membership: Membership
    pipeline: Pipeline
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def image(self) -> Image:
        return self.scene.image

    @property
    def superpixels(self) -> Superpixels:
        """The superpixels on the pixels of the image."""
        return self.scene.superpixels

    @property
    def features(self) -> Features:
        return self.scene.features

    @property
    def affinity(self) -> Affinity:
        return self.scene.affinity

    @property
    def hierarchy(self) -> ImageHierarchy:
        """All numbers of segments at once; see ``Scene.hierarchy``."""
        return self.scene.hierarchy

    @property
    def segments(self) -> int:
        """How many segments the label map has; those of a model have gaps between their numbers."""
        return int(np.count_nonzero(np.bincount(self.labels.ravel())[1:]))

    @property
    def ncut(self) -> float:
        """Normalized cut of the superpixels' memberships."""
        return self.affinity.ncut(self.membership.labels)


class SuperpixelMethod(Protocol):
    """Image -> Superpixels.

    Laws: ids are 0..N-1 without gaps and each superpixel is 4-connected; void pixels, and only they, are -1; the
    same image gives the same labels; the image is not changed.
    """

    def __call__(self, image: Image) -> Superpixels: ...


class FeatureExtractor(Protocol):
    """Image, Superpixels -> (N, D) float32.

    Laws: one finite row per superpixel; renumbering the superpixels permutes the rows; void pixels have no
    influence; the same input gives the same bytes; the input is not changed.
    """

    def __call__(self, image: Image, superpixels: Superpixels) -> NDArray[np.float32]: ...


class AffinityBuilder(Protocol):
    """Features, RegionGraph -> Affinity.

    Laws: what ``Affinity`` asks for; connected; renumbering the superpixels renumbers the graph, where no two
    neighbours are equally near; the same input gives the same bytes; the input is not changed.
    """

    def __call__(self, features: Features, graph: RegionGraph) -> Affinity: ...


class Refiner(Protocol):
    """Image, Superpixels, Membership -> label map (H, W) int32 of clusters 0..K-1, -1 on void pixels.

    Laws: void stays void; no label outside 0..K-1; permuting the clusters permutes the labels; a membership that
    is certain everywhere and follows the image's borders is kept; what void pixels hold has no influence; the same
    input gives the same bytes; the input is not changed.
    """

    def __call__(self, image: Image, superpixels: Superpixels, membership: Membership) -> NDArray[np.int32]: ...
