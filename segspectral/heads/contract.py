"""The contract of all heads, and what they share: the graph they work on and the checks of what they are given."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from segspectral.affinity import Bandwidth, Symmetrization, knn_affinity
from segspectral.errors import GraphError, SettingsError
from segspectral.types import Affinity, Membership, Outcome

__all__ = ["Head"]


class Head(ClusterMixin, BaseEstimator):
    """Features and affinity -> membership: a scikit-learn clusterer.

    Parameters every head has
    -------------------------
    n_clusters : K, the number of clusters, 1 <= K <= N
    n_neighbors, bandwidth, symmetrize : of the kNN affinity that is built when ``fit`` gets none
    random_state : int; equal seeds give equal bytes

    Fitted attributes every head has
    --------------------------------
    labels_ : (N,) int64, clusters 0..K-1
    membership_ : Membership
    affinity_ : Affinity it was fitted on
    ncut_ : float, the normalized cut of ``labels_``
    eigenvalues_ : (>= K,) float64, of the normalized Laplacian, rising; None if the head has none
    outcome_ : Outcome
    loss_curve_ : (steps,) float64, empty if nothing was trained

    Laws
    ----
    1. All K clusters are used, or ``outcome_`` says FEWER, or CollapseError is raised; K is never changed silently.
    2. Memberships are finite and their rows sum to one; ``labels_`` is their argmax.
    3. X and the affinity are not changed, and no global random state is read or written.
    4. Multiplying all weights by a constant changes nothing; renumbering the nodes renumbers the labels.
    5. Equal seeds give equal bytes.
    6. ``ncut_`` is at least the sum of the K smallest eigenvalues (Ky Fan).
    """

    n_clusters: int
    n_neighbors: int
    bandwidth: Bandwidth
    symmetrize: Symmetrization
    random_state: int

    labels_: NDArray[np.int64]
    membership_: Membership
    affinity_: Affinity
    ncut_: float
    eigenvalues_: NDArray[np.float64] | None
    outcome_: Outcome
    loss_curve_: NDArray[np.float64]

    @abstractmethod
    def _solve(self, X: NDArray[np.float64], affinity: Affinity) -> tuple[Membership, NDArray[np.float64]]:
        """The membership of the nodes, and the loss at each step (empty if nothing was trained)."""

    def fit(self, X: Any, y: object = None, *, affinity: Affinity | sp.sparray | NDArray[Any] | None = None) -> Self:
        """Cluster the nodes of a graph.

        Parameters
        ----------
        X : (N, D) features
        y : ignored
        affinity : Affinity, sparse or dense (N, N); None builds a kNN affinity of X

        Raises
        ------
        SettingsError, GraphError, CollapseError
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        self._check_clusters(len(X))
        graph = self._graph(X, affinity)
        membership, losses = self._solve(X, graph)
        self.X_fit_ = X
        self.affinity_ = graph
        self.membership_ = membership
        self.labels_ = membership.labels
        self.eigenvalues_ = membership.eigenvalues
        self.outcome_ = membership.outcome
        self.ncut_ = graph.ncut(self.labels_)
        self.loss_curve_ = losses
        return self

    def fit_predict(self, X: Any, y: object = None, **options: Any) -> NDArray[np.int64]:
        """Fit and return ``labels_`` (N,)."""
        return self.fit(X, y, **options).labels_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """(N',) clusters of unseen points."""
        return self.predict_proba(X).argmax(axis=1)

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """(N', K) memberships of unseen points: those of the nearest fitted nodes, weighted by the kernel.

        The random walk of one step from the new point into the fitted graph (Nystroem's extension of a membership,
        Bengio et al. 2004, eq. 8 with its normalisation).
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        transition = extension(self.X_fit_, X, min(self.n_neighbors, len(self.X_fit_)))
        probabilities = transition @ self.membership_.probabilities
        return (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)

    def _check_clusters(self, nodes: int) -> None:
        k = self.n_clusters
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise SettingsError(f"n_clusters is a whole number from 1, not {k!r}")
        if k > nodes:
            raise SettingsError(f"n_clusters={k} is more than the n_samples={nodes} there are")

    def _graph(self, X: NDArray[np.float64], affinity: Affinity | sp.sparray | NDArray[Any] | None) -> Affinity:
        if affinity is None:
            return knn_affinity(X, neighbors=self.n_neighbors, bandwidth=self.bandwidth, symmetrize=self.symmetrize)
        graph = affinity if isinstance(affinity, Affinity) else Affinity(sp.csr_array(affinity))
        if len(graph) != len(X):
            raise GraphError(f"the affinity has {len(graph)} nodes, the features have {len(X)} rows")
        return graph


def extension(fitted: NDArray[np.float64], unseen: NDArray[np.float64], k: int) -> sp.csr_array:
    """(N', N) rows sum to one: Gaussian weights of the k nearest fitted points, scaled by the k-th distance."""
    from sklearn.neighbors import NearestNeighbors

    distance, neighbor = NearestNeighbors(n_neighbors=k).fit(fitted).kneighbors(unseen)
    scale = np.maximum(distance[:, -1:], np.finfo(np.float64).tiny)
    weights = np.exp(-((distance / scale) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    indptr = np.arange(0, weights.size + 1, k)
    return sp.csr_array((weights.ravel(), neighbor.ravel(), indptr), shape=(len(unseen), len(fitted)))
