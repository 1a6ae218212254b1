"""Any clusterer of scikit-learn's kind as a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import CollapseError, SettingsError
from segspectral.heads.base import Head, Solution
from segspectral.heads.extension import RandomWalk
from segspectral.spectral.discretise import soft_membership
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.run import Progress

__all__ = ["NOT_SETTINGS", "Clusterer", "is_clusterer"]

NOT_SETTINGS = ("n_clusters", "random_state", "memory")
"""Parameters of an estimator that are not settings: the head sets the first two, and pickles are read from the last."""


class Clusterer(Head):
    """An estimator with ``fit_predict``, such as those in ``sklearn.cluster``.

    It is given the features, with ``affinity="precomputed"`` the affinity matrix W, and with ``metric="precomputed"``
    the distances 1 - W / max W. Its ``n_clusters`` (``n_components`` of a mixture) and ``random_state``, also those of
    the steps of a pipeline of scikit-learn, are set to those of the head.

    Parameters
    ----------
    estimator : it is cloned, and stays as it is

    Differs from the estimator
    --------------------------
    1. The memberships are softened as those of ``Exact``: a node's share of edge weight into each cluster.
    2. A node without a cluster (label -1) joins the clusters where a random walk from it first arrives.
    3. ``predict`` for unseen points is that of ``Exact``, whether or not the estimator has one.
    """

    estimator: Any = None

    def _parameter(self, name: str) -> list[str]:
        """The parameters of the estimator, or of its parts, that have this name."""
        return [key for key in self.estimator.get_params() if key.rpartition("__")[2] == name]

    def _precomputed(self, name: str) -> bool:
        parameters = self.estimator.get_params()
        values = [parameters[key] for key in self._parameter(name)]
        return any(isinstance(value, str) and value == "precomputed" for value in values)

    def _needs_features(self) -> bool:
        return not (self._precomputed("affinity") or self._precomputed("metric"))

    @property
    def _told_apart_by(self) -> Literal["features", "graph"]:
        return "features" if self._needs_features() else "graph"

    def _check_settings(self) -> None:
        if not is_clusterer(type(self.estimator)):
            raise SettingsError(
                f"estimator is a clusterer of scikit-learn's kind, with get_params and fit_predict, not "
                f"{type(self.estimator).__name__}"
            )
        super()._check_settings()

    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution:
        from sklearn.base import clone

        k, name = self.n_clusters, type(self.estimator).__name__
        numbers = self._parameter("n_clusters")
        if not numbers and hasattr(self.estimator, "predict_proba"):
            numbers = self._parameter("n_components")  # of a mixture
        given = dict.fromkeys(numbers, k) | dict.fromkeys(self._parameter("random_state"), self.random_state)
        estimator = clone(self.estimator).set_params(**given)
        try:
            labels = np.asarray(estimator.fit_predict(self._input(estimator, X, affinity)))
        except (ValueError, TypeError, np.linalg.LinAlgError) as error:
            why = " ".join(str(error).split())[:300]
            raise SettingsError(f"{name} does not cluster these {len(X)} nodes: {why}") from error
        if labels.shape != (len(X),) or labels.dtype.kind not in "iu":
            raise SettingsError(f"{name} gave labels of {labels.dtype} {labels.shape}, not one integer for each node")
        clusters, inside = np.unique(labels[labels >= 0]), labels >= 0
        if len(clusters) > k:
            raise SettingsError(
                f"{name} found {len(clusters)} clusters where {k} were asked for, and it has no n_clusters that could "
                f"be set; ask for {len(clusters)} clusters, or give it other settings"
            )
        if not len(clusters):
            raise CollapseError(f"{name} put none of the {len(X)} nodes into a cluster; give it other settings")
        number = np.searchsorted(clusters, labels)
        if not inside.all():
            number[~inside] = _arrivals(affinity, number[inside], inside, k)
        outcome = Outcome.SOLVED if len(clusters) == k else Outcome.FEWER
        return Solution(Membership(soft_membership(affinity, number, k), outcome=outcome))

    def _input(self, estimator: Any, X: NDArray[np.float64], affinity: Affinity) -> Any:
        if self._needs_features():
            return X
        weights = affinity.weights.astype(np.float64)
        weights.data /= max(weights.data.max(initial=0.0), 1e-300)
        if self._precomputed("metric"):
            distances = 1 - weights.toarray()
            np.fill_diagonal(distances, 0)
            return distances
        from sklearn.utils import get_tags

        if not get_tags(estimator).input_tags.sparse:
            return weights.toarray()
        weights.indices, weights.indptr = weights.indices.astype(np.int32), weights.indptr.astype(np.int32)
        return weights


def is_clusterer(cls: type) -> bool:
    """Whether a class has what ``Clusterer`` asks for."""
    return all(callable(getattr(cls, name, None)) for name in ("fit_predict", "get_params", "set_params"))


def _arrivals(affinity: Affinity, labels: NDArray[np.int64], inside: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """(M,) clusters of the M nodes that are not ``inside``, by ``RandomWalk`` to those that are."""
    rows = affinity.weights[~inside].astype(np.float64)
    links = sp.csr_array(sp.hstack([rows[:, inside], rows[:, ~inside]]))
    known = RandomWalk(None, Membership(np.eye(k, dtype=np.float32)[labels]))
    return known.memberships(None, walk_matrix(links, first=len(labels))).argmax(axis=1)
