"""The contract of all heads, and what they share: the graph they work on and the checks of what they are given."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import ValidationError

from segspectral.errors import GraphError, SettingsError
from segspectral.heads.copies import equal_rows, one_each, together, twins
from segspectral.heads.estimator import Estimator
from segspectral.heads.extension import Extension, Learnt, RandomWalk, extension_of
from segspectral.heads.networks import Mlp
from segspectral.heads.parameters import Parameters, parameter_model
from segspectral.heads.spaces import Scattering, Space, check_space, into, learn_space, space_name
from segspectral.settings import explain
from segspectral.spectral.knn import Bandwidth, Neighbors, Symmetrization, knn_affinity
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.run import Progress

__all__ = ["Head", "Solution"]

NEAREST, FARTHEST = 1e-30, 1e30
"""Features that differ by less or are larger are refused: their squares, or the float32 of networks, would not hold
them."""


class NotNumbersError(GraphError, TypeError):
    """Features are of a type that scikit-learn answers with a TypeError."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What a head has found for the nodes of a graph.

    Parameters
    ----------
    membership : of the nodes
    losses : (steps,) of the training; empty if nothing was trained
    learnt : the trained network, if it also maps other nodes
    """

    membership: Membership
    losses: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    learnt: Learnt | None = None


class Fitted:
    """What every fitted head has.

    Attributes
    ----------
    labels_ : (N,) int64, clusters 0..K-1
    membership_ : Membership
    affinity_ : Affinity that the head was fitted on
    ncut_ : float, the normalized cut of ``labels_``
    eigenvalues_ : (>= K,) float64, rising: eigenvalues of the normalized Laplacian, or Ritz values, each at least the
        eigenvalue of its rank; None if the head has none
    outcome_ : Outcome
    loss_curve_ : (steps,) float64, empty if nothing was trained
    extension_ : Extension, which gives the memberships of other nodes: by the network that was trained or, if there is
        none, by a random walk to the fitted nodes
    space_ : the map from features into the ``space`` of the head; None if the features stay as they are
    """

    labels_: NDArray[np.int64]
    membership_: Membership
    affinity_: Affinity
    ncut_: float
    eigenvalues_: NDArray[np.float64] | None
    outcome_: Outcome
    loss_curve_: NDArray[np.float64]
    extension_: Extension
    space_: Mlp | Scattering | None = None
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    effective_rank_: float


class Head(Fitted, Parameters, Estimator):
    """Features and affinity -> membership: a scikit-learn clusterer.

    The annotated attributes of a head are its parameters (see ``Parameters``); a head implements ``_solve``.

    Parameters
    ----------
    n_clusters : K, the number of clusters, 1 <= K <= N; the only parameter that may be given by position
    n_neighbors, bandwidth, symmetrize : of the kNN affinity that ``fit`` builds when it is given none, see
        ``knn_affinity``
    space : what the features are turned into before they are compared and clustered: "raw" leaves them as they are,
        "code" takes the codes of an autoencoder, "siamese" the outputs of a Siamese network of the features, "both" of
        the codes, and "scattering" the scattering transform of square images, with which these networks begin where
        the features look like such; ``SpaceSettings`` has their settings
    random_state : int; equal seeds give equal bytes

    Laws
    ----
    1. All K clusters are used, or ``outcome_`` says FEWER, or CollapseError is raised; K is never changed silently.
    2. Memberships are finite and their rows sum to one; ``labels_`` is their argmax.
    3. X and the affinity are not changed, and no global random state is read or written.
    4. Multiplying all weights by a constant changes nothing; renumbering the nodes renumbers the labels; the copy of
       a node is in the cluster of its original. What a copy is depends on what the head sees: an equal row of X; of a
       graph that is given, a node with equal weights to all others (``twins``); or both. Where there are no more
       distinct nodes than clusters, each is a cluster of its own, nothing is learned, and ``outcome_`` says FEWER if
       there are fewer.
    5. Equal seeds give equal bytes.
    6. ``ncut_`` is at least the sum of the K smallest eigenvalues (Ky Fan); the embedding V has V' D V = I.
    """

    n_clusters: int = field(default=8, kw_only=False)
    n_neighbors: Neighbors = 10
    bandwidth: Bandwidth = "self_tuning"
    symmetrize: Symmetrization = "max"
    space: Space = "raw"
    random_state: int = 0

    _made_graph = False
    """Whether ``fit`` was given features alone, and has made the graph of them."""

    @abstractmethod
    def _solve(self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None) -> Solution | Membership:
        """Cluster a graph with more distinct nodes than ``n_clusters``.

        Parameters
        ----------
        X : (N, D) features, finite; what ``_positions`` gives for a graph without features
        affinity : of the N nodes
        progress : called after each step of training
        """

    def check_installed(self) -> None:
        """Raise SettingsError if the head needs a package that is not installed; the message says how to install it."""
        check_space(self.space, type(self).__name__)

    def _needs_features(self) -> bool:
        """Whether the head maps features, and cannot cluster a bare graph."""
        return False

    @property
    def learns_map(self) -> bool:
        """Whether a network of the features alone is trained: the fit then knows of the graph what they know."""
        return False

    @property
    def _told_apart_by(self) -> Literal["features", "graph", "both"]:
        """By what nodes of a graph that is given beside the features can differ for this head."""
        return "features" if self._needs_features() else "graph"

    def _positions(self, affinity: Affinity) -> NDArray[np.float64]:
        """(N, D) numbers that stand for the features of a graph that has none."""
        return np.zeros((len(affinity), 1))

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        affinity: Affinity | sp.sparray | sp.spmatrix | NDArray[Any] | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Cluster the nodes of a graph.

        Parameters
        ----------
        X : (N, D) features; None if there is only a graph, for heads that do not map features
        y : ignored
        affinity : Affinity, sparse or dense (N, N); None builds a kNN affinity of X
        progress : called after each step of training with its number and a dict of scalars

        Raises
        ------
        SettingsError, GraphError, CollapseError
        """
        self._check_settings()
        self.check_installed()
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        affinity = None if affinity is None else as_affinity(affinity)
        if affinity is not None and self.space != "raw":
            raise SettingsError(
                f"space={space_name(self.space)} makes the graph of the features it has turned into others; give "
                "features without an affinity, or space=raw"
            )
        bare = X is None and affinity is not None
        if X is None and affinity is not None:
            if self._needs_features():
                raise SettingsError(
                    f"{type(self).__name__} maps features to clusters, and a graph alone has none; give features, or "
                    "use a head such as NeuNcut or Exact"
                )
            self._check_clusters(len(affinity))
            X = self._positions(affinity)
        X = self._rows(X)
        self._check_clusters(len(X))
        space = learn_space(self.space, X, seed=self.random_state, device=getattr(self, "device", "cpu"))
        X = into(space, X)
        self._made_graph = affinity is None
        graph = self._graph(X, affinity)
        copies = self._copies(X, None if affinity is None else graph, bare)
        if copies.max() < self.n_clusters:
            solution = Solution(one_each(copies, self.n_clusters))
        else:
            solution = self._checked(self._solve(X, graph, progress), len(X))
            membership = together(solution.membership, copies)
            if len(np.unique(membership.labels)) < self.n_clusters:
                membership = replace(membership, outcome=Outcome.FEWER)
            solution = replace(solution, membership=membership)
        membership = solution.membership
        # A network of a graph without features maps positions in that graph, and new nodes have none.
        learnt, nodes = (None, None) if bare else (solution.learnt, X.copy())
        self.extension_ = extension_of(learnt, nodes, graph, membership)
        if space is not None:
            self.space_ = space
        self.affinity_ = graph
        self.membership_ = membership
        self.labels_ = membership.labels
        self.eigenvalues_ = membership.eigenvalues
        self.outcome_ = membership.outcome
        self.ncut_ = graph.ncut(self.labels_)
        self.loss_curve_ = solution.losses
        return self

    def fit_predict(self, X: Any, y: object = None, **options: Any) -> NDArray[np.int64]:
        """Fit and return ``labels_`` (N,)."""
        return self.fit(X, y, **options).labels_

    def predict(self, X: Any, *, affinity: Any = None) -> NDArray[np.int64]:
        """(N',) clusters of unseen points or nodes; see ``predict_proba``."""
        return self.predict_proba(X, affinity=affinity).argmax(axis=1)

    def predict_proba(self, X: Any, *, affinity: Any = None) -> NDArray[np.float32]:
        """(N', K) memberships of unseen points, or of nodes that have joined the graph; those of the fitted ones stay.

        See ``heads.extension`` for the three ways: by the trained network of the head, from the features alone or on
        the graph, or by a random walk to the fitted nodes.

        Parameters
        ----------
        X : (N', D) features; None if the head was fitted on a graph without features
        affinity : (N', N + N') weights of the new nodes to the N fitted ones and among themselves, or (N', N') among
            themselves alone; None links them to the nearest fitted points, by the kernel. A network of the features
            alone does not look at it
        """
        unseen = self._unseen(X, affinity)
        return self.extension_.memberships(*unseen)

    def transform(self, X: Any, *, affinity: Any = None) -> NDArray[np.float64]:
        """(N', K) spectral embedding of points: that of the network, or Nystroem's extension of the eigenvectors.

        ``affinity`` is as for ``predict_proba``.
        """
        unseen = self._unseen(X, affinity)
        embedding = self.extension_.embedding(*unseen)
        if embedding is None:
            raise SettingsError(f"{type(self).__name__} with these settings has no spectral embedding")
        return embedding

    def relabel(self, labels: NDArray[np.int64]) -> None:
        """Give the fitted nodes other clusters (N,): each takes the membership of its old one, and the other way round.

        A random walk carries them over to new nodes; a network is as it was trained, and maps new nodes as before.
        """
        self._check_is_fitted()
        P, rows = self.membership_.probabilities.copy(), np.arange(len(labels))
        P[rows, self.labels_], P[rows, labels] = P[rows, labels], P[rows, self.labels_]
        self.membership_ = replace(self.membership_, probabilities=P)
        self.labels_ = self.membership_.labels
        self.ncut_ = self.affinity_.ncut(self.labels_)
        if isinstance(self.extension_, RandomWalk):
            self.extension_ = replace(self.extension_, membership=self.membership_)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted head to one safetensors file, settings as JSON in its header; ``segspectral.heads.load``."""
        from segspectral.heads.storage import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A fitted head of this class from what ``save`` wrote. SettingsError if the file is of another class."""
        from segspectral.heads.storage import load

        head = load(path)
        if not isinstance(head, cls):
            raise SettingsError(f"holds a head of class {type(head).__name__}, not {cls.__name__}", path)
        return head

    def __sklearn_is_fitted__(self) -> bool:
        return "extension_" in vars(self)

    def _check_is_fitted(self) -> None:
        """Raise scikit-learn's NotFittedError unless ``fit`` has come to its end."""
        if not self.__sklearn_is_fitted__():
            from sklearn.utils.validation import check_is_fitted

            check_is_fitted(self)

    def _unseen(self, X: Any, affinity: Any) -> tuple[NDArray[np.float64] | None, sp.csr_array]:
        """The features, checked, and the walk (N', N + N') from the new nodes to the fitted ones and each other."""
        self._check_is_fitted()
        if not self.extension_.needs_features:
            if affinity is None:
                raise SettingsError(
                    "the head was fitted on a graph without features, so it has no place for new points; give the "
                    "affinity of new nodes to the fitted ones"
                )
            X = None
        elif X is None:
            raise SettingsError(f"{type(self).__name__} was fitted on features; give those of the new nodes, too")
        else:
            X = into(self.space_, self._rows(X, fitting=False))
        if not self.extension_.needs_graph:
            return X, sp.csr_array((len(X), 0))
        n = len(self.labels_)
        if affinity is None:
            links = self.extension_.nearest(X, min(self.n_neighbors, n))
            return X, sp.csr_array(sp.hstack([links, sp.csr_array((len(X), len(X)))]))
        links = affinity.weights if isinstance(affinity, Affinity) else as_sparse(affinity)
        count = links.shape[0] if X is None else len(X)
        if links.shape == (count, count):
            links = sp.csr_array(sp.hstack([sp.csr_array((count, n)), links]))
        if links.shape != (count, n + count):
            raise GraphError(
                f"the affinity of {count} new nodes to {n} fitted ones and each other is {(count, n + count)}, "
                f"not {links.shape}"
            )
        if links.nnz and not (np.isfinite(links.data).all() and links.data.min() >= 0):
            raise GraphError("an affinity is finite and non-negative")
        return X, walk_matrix(links, first=n)

    def _check_settings(self) -> None:
        given = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in self.get_params(deep=False).items()
            if key != "n_clusters"
        }
        model = parameter_model(type(self), ("n_clusters",))  # type: ignore[arg-type]
        try:
            model.model_validate(given)
        except ValidationError as error:
            raise SettingsError(explain(error, model)) from error

    def _checked(self, solution: Solution | Membership, nodes: int) -> Solution:
        """The solution, which may be a bare membership, if it is of the right shape."""
        if isinstance(solution, Membership):
            solution = Solution(solution)
        if not isinstance(solution, Solution):
            raise SettingsError(f"{type(self).__name__}._solve returns a Membership, not {type(solution).__name__}")
        if (shape := solution.membership.probabilities.shape) != (nodes, self.n_clusters):
            raise SettingsError(
                f"{type(self).__name__}._solve gave memberships {shape}, not one row for each of {nodes} nodes and one "
                f"column for each of {self.n_clusters} clusters"
            )
        return solution

    def _check_clusters(self, nodes: int) -> None:
        k = self.n_clusters
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise SettingsError(f"n_clusters is a whole number from 1, not {k!r}")
        if k > nodes:
            raise SettingsError(f"n_clusters={k} is more than the n_samples={nodes} there are")

    def _rows(self, X: Any, *, fitting: bool = True) -> NDArray[np.float64]:
        """X as (N, D) float64, finite and of a size that can be computed with. GraphError if it is not."""
        try:
            shape = tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
            if len(shape) != 2:
                raise GraphError(f"features are (N, D), not {shape}. Reshape your data: one row for each sample")
            rows = self._validated(X, fitting=fitting)
        except TypeError as error:
            raise NotNumbersError(str(error)) from error
        except ValueError as error:
            # Below may stand the values themselves.
            raise GraphError(str(error).partition("\n[")[0]) from error
        size = float(np.abs(rows).max())
        if not np.isfinite(size):
            raise GraphError("Input X contains NaN or infinity (inf); fill such values, or leave out their rows")
        spread = float(np.ptp(rows, axis=0).max()) if size <= FARTHEST else size
        if spread > FARTHEST or (fitting and 0 < spread < NEAREST):
            raise GraphError(
                f"the features are of size {spread:.1g}, too {'large' if spread > 1 else 'small'} to compute with; "
                f"multiply them by a constant that brings them between {NEAREST:g} and {FARTHEST:g}"
            )
        return rows

    def _graph(self, X: NDArray[np.float64], affinity: Affinity | None) -> Affinity:
        if affinity is None:
            return self._knn(X)
        if len(affinity) != len(X):
            raise GraphError(f"the affinity has {len(affinity)} nodes, the features have {len(X)} rows")
        return affinity

    def _copies(self, X: NDArray[np.float64], affinity: Affinity | None, bare: bool) -> NDArray[np.int64]:
        """(N,) numbers 0..M-1 of the distinct nodes; ``affinity`` is None where the graph was made of X."""
        if affinity is None or self._told_apart_by == "features":
            return equal_rows(X)
        if bare or self._told_apart_by == "graph":
            return twins(affinity)
        return equal_rows(np.stack([equal_rows(X), twins(affinity)], axis=1).astype(np.float64))

    def _knn(self, X: NDArray[np.float64]) -> Affinity:
        return knn_affinity(X, neighbors=self.n_neighbors, bandwidth=self.bandwidth, symmetrize=self.symmetrize)


def as_affinity(affinity: Affinity | sp.sparray | sp.spmatrix | NDArray[Any]) -> Affinity:
    return affinity if isinstance(affinity, Affinity) else Affinity(as_sparse(affinity))


def as_sparse(affinity: Any) -> sp.csr_array:
    """A sparse or dense matrix of real numbers as CSR. GraphError if it is none."""
    try:
        matrix = affinity if sp.issparse(affinity) else np.asarray(affinity)
        if matrix.dtype.kind == "O" and not sp.issparse(matrix):
            matrix = matrix.astype(np.float64)
        if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
            raise GraphError(f"an affinity is a matrix of real numbers, not {matrix.dtype} {matrix.shape}")
        if matrix.dtype == np.float16:  # of which scipy knows no sparse arrays
            matrix = matrix.astype(np.float32)
        return sp.csr_array(matrix)
    except (TypeError, ValueError) as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(f"an affinity is a sparse or dense matrix of numbers ({error})") from error
