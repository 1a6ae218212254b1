"""Spectral clustering: eigenvectors of the normalized cut, the best of several discretisations, greedy moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.base import Head, Solution
from segspectral.spectral.discretise import most_eigenvectors, partition, soft_membership
from segspectral.spectral.eigen import EXACT_BELOW, spectral_embedding
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.run import Progress

__all__ = ["Exact"]


class Exact(Head):
    """Spectral clustering by the normalized cut, with the best of several discretisations.

    It minimises

        Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                                (Shi and Malik 2000, eq. 2)

    by its relaxation: the K smallest eigenvectors of I - D^-1/2 W D^-1/2.

    Parameters
    ----------
    greedy : whether to finish with moves of single nodes (``greedy_moves``)
    n_init : how often k-means is started; the best run is kept
    exact_below : up to this many nodes the eigenvectors are exact; ``spectral_embedding`` approximates those of larger
        graphs

    Differs from the paper
    ----------------------
    1. The partition is K-way from the start instead of by recursive bisection.
    2. There are four discretisations: k-means on the K rw-eigenvectors; pivoted QR (Damle, Minden and Ying 2019); and
       twice k-means weighted by the degrees (Dhillon, Guan and Kulis 2004), into K + 2 and into 2 K clusters on as many
       eigenvectors, after which the two clusters whose union has the lowest Ncut are merged until K are left. The
       partition with the lowest Ncut is taken; a merged one only if its Ncut is at least a tenth lower, or 3 % where
       the head has made the graph of vectors. Above 10000 nodes, or 200000 vectors, there is k-means alone.
    3. Greedy moves of single nodes follow, until no move of one node lowers the Ncut (``greedy``).
    4. The membership of a node is the share of its edge weight that goes into each cluster, sharpened until its
       argmax is the label.
    """

    greedy: bool = True
    n_init: Annotated[int, Field(ge=1, le=100)] = 10
    exact_below: Annotated[int, Field(ge=1)] = EXACT_BELOW

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        k, seed = self.n_clusters, self.random_state
        embedding, eigenvalues = spectral_embedding(
            affinity, most_eigenvectors(k), seed=seed, exact_below=self.exact_below
        )
        labels = partition(
            affinity, embedding, k, n_init=self.n_init, greedy=self.greedy, vectors=self._made_graph, seed=seed
        )
        outcome = Outcome.SOLVED if labels.max() + 1 == k else Outcome.FEWER
        probabilities = soft_membership(affinity, labels, k)
        return Solution(Membership(probabilities, embedding[:, :k], eigenvalues[: k + 1], outcome))
