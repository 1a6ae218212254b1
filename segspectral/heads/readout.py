"""Readouts turn the raw outputs of a network into an embedding and memberships, by numbers fixed when it was fitted.

They compute with numpy arrays and, for models that are exported, with torch tensors: the code is the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.heads.gcn import Gcn
from segspectral.heads.networks import Mlp
from segspectral.spectral.discretise import WORTHWHILE_OF_VECTORS, merged
from segspectral.spectral.kmeans import kmeans
from segspectral.spectral.ritz import rayleigh_ritz
from segspectral.values import Affinity

__all__ = [
    "Centres",
    "Readout",
    "Softmax",
    "SpectralMap",
    "fit_centres",
    "fit_spectral_map",
    "with_best_last_layer",
]


class Readout(Protocol):
    """What turns outputs into memberships. Law: the membership of a row depends on that row only."""

    def memberships(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N, outputs) -> (N, K), rows sum to one."""
        ...

    def embedding(self, raw: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """(N, outputs) -> (N, K) spectral embedding; None if there is none."""
        ...


@dataclass(frozen=True, eq=False)
class Softmax:
    """Memberships softmax(raw / temperature)."""

    temperature: float = 1.0

    def memberships(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        return softmax(raw / self.temperature)

    def embedding(self, raw: NDArray[np.float64]) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Centres:
    """Memberships softmax(-|raw - c|^2 / temperature): the nearest of the stored centres is the most likely.

    Parameters
    ----------
    centres : (C, D)
    groups : (C,) the cluster 0..K-1 of each centre; None if each is a cluster of its own
    """

    centres: NDArray[np.float64]
    temperature: float = 1.0
    groups: NDArray[np.int64] | None = None

    @property
    def clusters(self) -> int:
        """K."""
        return len(self.centres) if self.groups is None else int(self.groups.max()) + 1

    def logits(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        # About their own middle: the squares of numbers far from 0 would swallow the distances.
        xp = _namespace(raw)
        middle = self.centres.mean(axis=0)
        raw, centres = raw - xp.asarray(middle), xp.asarray(self.centres - middle)
        near = 2 * raw @ centres.T - (centres**2).sum(axis=1) - (raw**2).sum(axis=1, keepdims=True)
        if self.groups is None:
            return near
        members = [np.flatnonzero(self.groups == group).tolist() for group in range(self.clusters)]
        return xp.stack([xp.amax(near[:, some], axis=1) for some in members], 1)

    def memberships(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        return softmax(self.logits(raw) / self.temperature)

    def embedding(self, raw: NDArray[np.float64]) -> None:
        return None


@dataclass(frozen=True, eq=False)
class SpectralMap:
    """Outputs are rotated to Ritz vectors, whose memberships stored centres give.

    Parameters
    ----------
    rotation : (outputs, M), M >= K; raw @ rotation is orthonormal under the degrees of the graph it was fitted on
    eigenvalues : (M,) Ritz values, rising
    directions : whether the centres lie on the unit sphere (Ng, Jordan and Weiss 2002) or in the embedding itself
    """

    rotation: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    directions: bool
    centres: Centres

    def embedding(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._rotated(raw)[:, : self.centres.clusters]

    def memberships(self, raw: NDArray[np.float64]) -> NDArray[np.float32]:
        rows = self._rotated(raw)[:, : self.centres.centres.shape[1]]
        return self.centres.memberships(unit_rows(rows) if self.directions else rows)

    def _rotated(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return raw @ _namespace(raw).asarray(self.rotation)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    xp = _namespace(logits)
    P = xp.exp(logits - xp.amax(logits, axis=1, keepdims=True))
    return xp.asarray(P / P.sum(axis=1, keepdims=True), dtype=xp.float32)


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / _namespace(rows).sqrt((rows**2).sum(axis=1, keepdims=True)).clip(1e-300)


def _namespace(values: Any) -> Any:
    """numpy or torch, whichever the values belong to."""
    return np if isinstance(values, np.ndarray) else import_module(type(values).__module__.partition(".")[0])


def temperature(logits: NDArray[np.float64], degree: NDArray[np.float64], uncertainty: float) -> float:
    """T such that the degree-weighted mean of 1 - max_c softmax(logits / T)_ic is ``uncertainty``, by bisection.

    The mean rises with T from 0 to 1 - 1/K.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    unit = max(float(-shifted.mean()), 1e-12)
    weight = np.maximum(degree, 1e-300)
    low, high = -9.0, 9.0
    for _ in range(40):
        middle = (low + high) / 2
        likeliest = 1 / np.exp(shifted / (unit * np.exp(middle))).sum(axis=1)
        if np.average(1 - likeliest, weights=weight) < uncertainty:
            low = middle
        else:
            high = middle
    return unit * float(np.exp(middle))


def with_best_last_layer(
    network: Mlp | Gcn,
    X: NDArray[np.float64],
    affinity: Affinity,
    k: int,
    walk: sp.csr_array | None = None,
    *,
    most: int | None = None,
) -> Mlp | Gcn:
    """The network with the linear last layer of k outputs whose sum of Ritz values is lowest.

    For given hidden layers it has a closed form: Rayleigh-Ritz in the span of the hidden units and a constant. Where
    these span fewer than k dimensions the network is returned unchanged.

    Parameters
    ----------
    most : the number of outputs, if the hidden units span that many dimensions
    """
    units = np.column_stack([network.hidden(X, walk), np.ones(len(X))])
    found = None
    for count in sorted({most or k, k}, reverse=True):
        found = found or rayleigh_ritz(units, affinity, count, tolerance=1e-9)
    if found is None:
        return network
    rotation = found[0].T.astype(np.float32)
    return network.with_last(Mlp((rotation[:, :-1],), (rotation[:, -1],), np.ones(1)))


def fit_spectral_map(raw: NDArray[np.float64], affinity: Affinity, k: int, *, seed: int) -> SpectralMap | None:
    """Rayleigh-Ritz on the whole graph, then centres in the embedding or of its directions, whichever Ncut is lower.

    Where there are outputs beyond k, more and smaller clusters in all of them, merged to k, are a third candidate; see
    ``partition``. None if the outputs span fewer than k dimensions, or no candidate uses k clusters.
    """
    found = rayleigh_ritz(raw, affinity, raw.shape[1]) or rayleigh_ritz(raw, affinity, k)
    if found is None:
        return None
    rotation, eigenvalues = found
    every = raw @ rotation
    rows, maps = every[:, :k], []
    for directions in (False, True):
        points = unit_rows(rows) if directions else rows
        # Weighted by the degrees, k-means on the embedding relaxes the normalized cut (Dhillon, Guan and Kulis 2004);
        # without them, outliers of tiny degree, which have large entries, would take the centres.
        centres = Centres(
            kmeans(points, k, n_init=5, seed=seed, weight=None if directions else affinity.degree).centres
        )
        maps.append(SpectralMap(rotation, eigenvalues, directions, calibrated(centres, points, affinity)))
    for fine in sorted({min(k + 2, every.shape[1]), every.shape[1]} - {k}):
        points = every[:, :fine]
        pieces = kmeans(points, fine, n_init=3, seed=seed, weight=affinity.degree)
        groups = merged(affinity, pieces.labels, fine, k)
        centres = calibrated(Centres(pieces.centres, groups=groups), points, affinity)
        maps.append(SpectralMap(rotation, eigenvalues, False, centres))
    labels = [m.memberships(raw).argmax(axis=1) for m in maps]
    used = [len(np.unique(line)) for line in labels]
    handicap = [1.0 if m.centres.groups is None else 1 / (1 - WORTHWHILE_OF_VECTORS) for m in maps]
    best = min(range(len(maps)), key=lambda i: (-used[i], handicap[i] * affinity.ncut(labels[i])))
    return maps[best] if used[best] == k else None


def fit_centres(points: NDArray[np.float64], affinity: Affinity, k: int, *, seed: int, n_init: int = 10) -> Centres:
    return calibrated(Centres(kmeans(points, k, seed=seed, n_init=n_init).centres), points, affinity)


def calibrated(centres: Centres, points: NDArray[np.float64], affinity: Affinity) -> Centres:
    """Centres with the temperature at which the mean uncertainty is the chance that one step of a random walk leaves
    its cluster."""
    logits = centres.logits(points)
    uncertainty = affinity.ncut(logits.argmax(axis=1)) / centres.clusters
    return replace(centres, temperature=temperature(logits, affinity.degree, uncertainty))
