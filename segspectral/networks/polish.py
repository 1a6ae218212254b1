"""Moves of single nodes between communities, which raise the modularity after a head has found them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segspectral.values import Affinity

__all__ = ["polished"]

ROUNDS = 200

LEAST_GAIN = 1e-9
"""A move that raises the modularity by less than this share of its largest value, 1, is rounding."""


def polished(affinity: Affinity, labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """(N,) labels whose modularity is at least that of ``labels``: no move of a single node raises it further.

    A node i with degree d_i and edge weight t_ic into community c, whose volume is v_c, changes the modularity by
    2 (t_ic - t_io) / 2m - 2 d_i (v_c - v_o + d_i) / (2m)^2 when it goes from o to c (Blondel et al. 2008, eq. 2). In
    each round half of the nodes that would gain are moved at once, or fewer, until the modularity does rise. No
    community becomes empty, and equal labels give equal bytes.

    Parameters
    ----------
    labels : (N,) 0..k-1
    """
    n, rng = len(labels), np.random.default_rng(0)
    weights, degree = affinity.weights.astype(np.float64), affinity.degree.astype(np.float64)
    total = float(degree.sum())
    if total <= 0 or k < 2:
        return labels
    here = np.arange(n)

    def ties(labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """(N, K) weight from each node into each community."""
        return np.asarray(weights @ np.eye(k)[labels])

    def modularity(labels: NDArray[np.int64], into: NDArray[np.float64]) -> float:
        volume = np.bincount(labels, degree, k) / total
        return float(into[here, labels].sum() / total - (volume**2).sum())

    into = ties(labels)
    quality = modularity(labels, into)
    for _ in range(ROUNDS):
        volume = np.bincount(labels, degree, k)
        kept = into[here, labels] / total - degree * (volume[labels] - degree) / total**2
        gain = 2 * (into / total - degree[:, None] * volume / total**2 - kept[:, None])
        gain[here, labels] = 0
        target, most = gain.argmax(axis=1), gain.max(axis=1)
        moving = _some_stay(rng.permutation(np.flatnonzero(most > LEAST_GAIN / n)), labels, k)
        while len(moving):
            moving = moving[: -(-len(moving) // 2)]
            trial = labels.copy()
            trial[moving] = target[moving]
            trial_into = ties(trial)
            if (reached := modularity(trial, trial_into)) > quality:
                labels, into, quality = trial, trial_into, reached
                break
            if len(moving) == 1:
                return labels
        else:
            return labels
    return labels


def _some_stay(moving: NDArray[np.int64], labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The nodes without the first of each community that all of its nodes would leave."""
    size, leaving = np.bincount(labels, minlength=k), np.bincount(labels[moving], minlength=k)
    emptied = np.flatnonzero((leaving == size) & (size > 0))
    first = [int(np.flatnonzero(labels[moving] == community)[0]) for community in emptied]
    return np.delete(moving, first)
