"""The reference: normalized-cut eigenvectors, the best of several discretisations, greedy moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.base import Head
from segspectral.spectral.discretise import most_eigenvectors, partition, soft_membership
from segspectral.spectral.eigen import EXACT_BELOW, spectral_embedding
from segspectral.spectral.knn import Bandwidth, Neighbors, Symmetrization
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.loop import Progress

__all__ = ["Exact"]


class Exact(Head):
    """Spectral clustering by the normalized cut, as good as its discretisation can be made.

    minimise  Ncut(A_1..A_K) = sum_c cut(A_c, rest) / vol(A_c)                          (Shi and Malik 2000, eq. 2)

    by its relaxation, the K smallest eigenvectors of I - D^-1/2 W D^-1/2.

    Parameters
    ----------
    greedy : finish with moves of single nodes (``greedy_moves``)
    n_init : starts of the k-means among the discretisations
    exact_below : nodes up to which the eigenvectors are exact; of larger graphs see ``spectral_embedding``

    Differs from the paper
    ----------------------
    1. K-way from the start, not by recursive bisection.
    2. Four discretisations: k-means on the K rw-eigenvectors; pivoted QR (Damle, Minden and Ying 2019); and k-means
       weighted by the degrees (Dhillon, Guan and Kulis 2004) into K + 2 and into 2 K clusters, on as many
       eigenvectors, from which the two whose union has the least Ncut are merged until K are left. The one with the
       least Ncut is taken, of the latter two only where it is lower by a tenth. Above 10000 nodes k-means alone.
    3. Greedy single-node moves from there, until no move of one node lowers the Ncut (``greedy``).
    4. The membership of a node is its share of edge weight into each cluster, sharpened until its argmax is the label.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        greedy: bool = True,
        n_init: Annotated[int, Field(ge=1, le=100)] = 10,
        exact_below: Annotated[int, Field(ge=1)] = EXACT_BELOW,
        n_neighbors: Neighbors = 10,
        bandwidth: Bandwidth = "self_tuning",
        symmetrize: Symmetrization = "max",
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.greedy = greedy
        self.n_init = n_init
        self.exact_below = exact_below
        self.n_neighbors = n_neighbors
        self.bandwidth = bandwidth
        self.symmetrize = symmetrize
        self.random_state = random_state

    def _solve(
        self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None
    ) -> tuple[Membership, NDArray[np.float64]]:
        k, seed = self.n_clusters, self.random_state
        embedding, eigenvalues = spectral_embedding(
            affinity, most_eigenvectors(k), seed=seed, exact_below=self.exact_below
        )
        labels = partition(affinity, embedding, k, n_init=self.n_init, greedy=self.greedy, seed=seed)
        outcome = Outcome.SOLVED if labels.max() + 1 == k else Outcome.FEWER
        probabilities = soft_membership(affinity, labels, k)
        return Membership(probabilities, embedding[:, :k], eigenvalues[: k + 1], outcome), np.empty(0)
