"""The usual baselines, unchanged: k-means and scikit-learn's spectral clustering."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.base import Head, Solution
from segspectral.heads.extension import FeatureMap, Learnt
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Centres, fit_centres
from segspectral.spectral.discretise import soft_membership
from segspectral.spectral.eigen import spectral_embedding
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.run import Progress

__all__ = ["KMeans", "SpectralClustering"]

Starts = Annotated[int, Field(ge=1, le=1000)]


class KMeans(Head):
    """k-means (Lloyd 1982, started by k-means++), which minimises sum_i min_c |x_i - m_c|^2.

    It does not look at the graph.

    Parameters
    ----------
    n_init : how often k-means is started; the best run is kept. scikit-learn's own default is 1, the usual one 10

    Differs from the paper
    ----------------------
    1. It has memberships: softmax(-|x - m_c|^2 / T), with T set as in ``NeuNcut``. The labels are those of k-means.
    """

    n_init: Starts = 10

    def _needs_features(self) -> bool:
        return True

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        readout = fit_centres(X, affinity, self.n_clusters, seed=self.random_state, n_init=self.n_init)
        probabilities = readout.memberships(X)
        membership = Membership(probabilities, outcome=outcome_of(probabilities))
        return Solution(membership, learnt=Learnt(Mlp((), (), np.empty(0)), readout))

    def transform(self, X: Any, *, affinity: Any = None) -> NDArray[np.float64]:
        """(N', K) distances to the centres."""
        unseen = self._unseen(X, affinity)
        extension = self.extension_
        rows = extension.outputs(*unseen)
        assert isinstance(extension, FeatureMap)
        assert isinstance(extension.readout, Centres)
        return np.sqrt(np.maximum(-extension.readout.logits(rows), 0))


class SpectralClustering(Head):
    """``sklearn.cluster.SpectralClustering`` on the same affinity as all other heads.

    It takes the K smallest eigenvectors of I - D^-1/2 W D^-1/2, divides them by sqrt(d) (von Luxburg 2007, section 4)
    and runs k-means on their rows.

    Parameters
    ----------
    assign_labels : how the eigenvectors become clusters: kmeans, discretize or cluster_qr; scikit-learn's default is
        kmeans
    n_init : how often k-means is started; scikit-learn's default is 10

    Differs from the paper
    ----------------------
    1. It has memberships and a ``predict`` for unseen points, both as ``Exact`` has them.
    2. Where ``discretize`` or k-means leaves clusters empty, ``outcome_`` says so.
    """

    assign_labels: Literal["kmeans", "discretize", "cluster_qr"] = "kmeans"
    n_init: Starts = 10

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        from sklearn.cluster import SpectralClustering as Reference

        k = self.n_clusters
        embedding, eigenvalues = spectral_embedding(affinity, k + 1, seed=self.random_state)
        if k == 1:
            labels = np.zeros(len(affinity), dtype=np.int64)  # scikit-learn's embedding has no columns then
        else:
            weights = affinity.weights.astype(np.float64)
            weights.data /= max(weights.data.max(initial=0.0), 1e-300)  # ARPACK's tolerance has a unit
            weights.indices, weights.indptr = weights.indices.astype(np.int32), weights.indptr.astype(np.int32)
            reference = Reference(
                k,
                affinity="precomputed",
                assign_labels=self.assign_labels,
                n_init=self.n_init,
                random_state=self.random_state,
                eigen_solver="arpack" if len(affinity) > max(k + 2, 20) else None,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of graphs that are not connected, and of too few distinct rows
                labels = reference.fit_predict(weights).astype(np.int64)
        probabilities = soft_membership(affinity, labels, k)
        return Solution(Membership(probabilities, embedding[:, :k], eigenvalues, outcome_of(probabilities)))


def outcome_of(probabilities: NDArray[np.float32]) -> Outcome:
    used = len(np.unique(probabilities.argmax(axis=1)))
    return Outcome.SOLVED if used == probabilities.shape[1] else Outcome.FEWER
