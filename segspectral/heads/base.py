"""The contract of all heads, and what they share: the graph they work on and the checks of what they are given."""

from __future__ import annotations

import inspect
import os
from abc import abstractmethod
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_type_hints

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from segspectral.errors import GraphError, SettingsError
from segspectral.heads.copies import equal_rows, one_each, together, twins
from segspectral.heads.gcn import Gcn
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Readout
from segspectral.settings import explain
from segspectral.spectral.knn import Bandwidth, Symmetrization, knn_affinity
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership, Outcome

if TYPE_CHECKING:
    from segspectral.heads.training.loop import Progress

__all__ = ["Head", "parameter_model"]

NEAREST, FARTHEST = 1e-30, 1e30
"""Features that differ by less or are larger are refused: their squares, or the float32 of networks, would not hold
them."""

ARRIVALS = 300
"""Steps of a random walk after which nearly all walkers from new nodes have come to fitted ones."""


class NotNumbersError(GraphError, TypeError):
    """Features are of a type that scikit-learn answers with a TypeError."""


class Head(ClusterMixin, TransformerMixin, BaseEstimator):
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
    eigenvalues_ : (>= K,) float64, of the normalized Laplacian, or Ritz values, each at least the eigenvalue of its
        rank; rising; None if the head has none
    outcome_ : Outcome
    loss_curve_ : (steps,) float64, empty if nothing was trained
    network_, readout_ : of heads that have learnt a map from features to memberships; the others extend the
        memberships of their nodes ``X_fit_``. A ``Gcn`` needs both

    Laws
    ----
    1. All K clusters are used, or ``outcome_`` says FEWER, or CollapseError is raised; K is never changed silently.
    2. Memberships are finite and their rows sum to one; ``labels_`` is their argmax.
    3. X and the affinity are not changed, and no global random state is read or written.
    4. Multiplying all weights by a constant changes nothing; renumbering the nodes renumbers the labels; the copy of
       a node is in the cluster of its original. What a copy is depends on what the head sees: an equal row of X; of a
       graph that is given, a node with equal weights to all others (``twins``); or both. Where there are no more
       distinct nodes than clusters, each is a cluster of its own, nothing is learnt, and ``outcome_`` says FEWER if
       there are less.
    5. Equal seeds give equal bytes.
    6. ``ncut_`` is at least the sum of the K smallest eigenvalues (Ky Fan); the embedding V has V' D V = I.
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
    network_: Mlp | Gcn
    readout_: Readout
    X_fit_: NDArray[np.float64]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    @abstractmethod
    def _solve(
        self, X: NDArray[np.float64], affinity: Affinity, progress: Progress | None
    ) -> tuple[Membership, NDArray[np.float64]]:
        """The membership of the nodes, and the loss at each step (empty if nothing was trained).

        A head that learns a map sets ``network_`` and ``readout_``.
        """

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
        """(N, D) what stands for the features of a graph that has none."""
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
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        affinity = None if affinity is None else as_affinity(affinity)
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
        graph = self._graph(X, affinity)
        copies = self._copies(X, None if affinity is None else graph, bare)
        if copies.max() < self.n_clusters:
            membership, losses = one_each(copies, self.n_clusters), np.empty(0)
        else:
            membership, losses = self._solve(X, graph, progress)
            membership = together(membership, copies)
            if len(np.unique(membership.labels)) < self.n_clusters:
                membership = replace(membership, outcome=Outcome.FEWER)
        if bare and hasattr(self, "network_"):
            # It maps positions in this graph, and new nodes have none.
            del self.network_, self.readout_
        if not bare and not isinstance(getattr(self, "network_", None), Mlp):
            self.X_fit_ = X.copy()
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

    def predict(self, X: Any, *, affinity: Any = None) -> NDArray[np.int64]:
        """(N',) clusters of unseen points or nodes; see ``predict_proba``."""
        return self.predict_proba(X, affinity=affinity).argmax(axis=1)

    def predict_proba(self, X: Any, *, affinity: Any = None) -> NDArray[np.float32]:
        """(N', K) memberships of unseen points, or of nodes that have joined the graph; those of the fitted ones stay.

        By the network if the head has learnt one: of the features alone (MLP), or on the graph (graph convolution).
        Else the mean over the fitted nodes where a random walk from the new one first arrives (Zhu, Ghahramani and
        Lafferty 2003, eq. 5), which for points that see fitted ones only is one step (Bengio et al. 2004, eq. 8).

        Parameters
        ----------
        X : (N', D) features; None if the head was fitted on a bare graph
        affinity : (N', N + N') weights of the new nodes to the N fitted ones and among themselves, or (N', N') among
            themselves alone; None: to the nearest fitted points, by the kernel. An MLP does not look at it
        """
        X, links = self._unseen(X, affinity)
        if hasattr(self, "network_"):
            return self.readout_.memberships(self._outputs(X, links))
        n, known = len(self.labels_), self.membership_.probabilities.astype(np.float64)
        first, further = links[:, :n] @ known, links[:, n:]
        found = first
        for _ in range(ARRIVALS if further.nnz else 0):
            before, found = found, first + further @ found
            if np.abs(found - before).max() < 1e-9:
                break
        # Nodes without a way into the fitted graph may belong anywhere.
        found[found.sum(axis=1) <= 0] = 1.0
        return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)

    def transform(self, X: Any, *, affinity: Any = None) -> NDArray[np.float64]:
        """(N', K) spectral embedding of points: of the network, or Nystroem's extension of the eigenvectors.

        v_k(x) = sum_i p(x, i) v_k(i) / (1 - lambda_k) for a step p of the random walk (Bengio et al. 2004, eq. 8).
        ``affinity`` as in ``predict_proba``.
        """
        X, links = self._unseen(X, affinity)
        embedding: NDArray[np.float64] | None = None
        if hasattr(self, "network_"):
            embedding = self.readout_.embedding(self._outputs(X, links))
        elif self.membership_.embedding is not None and self.eigenvalues_ is not None:
            vectors = self.membership_.embedding
            walked = links[:, : len(vectors)] @ vectors
            embedding = walked / np.maximum(1 - self.eigenvalues_[: vectors.shape[1]], 1e-3)
        if embedding is None:
            raise SettingsError(f"{type(self).__name__} with these settings has no spectral embedding")
        return embedding

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

    def _unseen(self, X: Any, affinity: Any) -> tuple[NDArray[np.float64], sp.csr_array]:
        """The features, checked, and the walk (N', N + N') from the new nodes to the fitted ones and each other."""
        check_is_fitted(self)
        alone = isinstance(getattr(self, "network_", None), Mlp)
        if not alone and not hasattr(self, "X_fit_"):
            if affinity is None:
                raise SettingsError(
                    "the head was fitted on a graph without features, so it has no place for new points; give the "
                    "affinity of new nodes to the fitted ones"
                )
            X = None
        elif X is None:
            raise SettingsError(f"{type(self).__name__} was fitted on features; give those of the new nodes, too")
        else:
            X = self._rows(X, fitting=False)
        if alone:
            return X, sp.csr_array((len(X), 0))
        n = len(self.labels_)
        if affinity is None:
            links = extension(self.X_fit_, X, min(self.n_neighbors, n))
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

    def _outputs(self, X: NDArray[np.float64], links: sp.csr_array, *, hidden: bool = False) -> NDArray[np.float64]:
        """(N', outputs) of the network, or its last hidden layer. Fitted nodes do not see the new ones, and so stay."""
        layer = self.network_.hidden if hidden else self.network_
        if isinstance(self.network_, Mlp):
            return layer(X, None)
        n = len(self.X_fit_)
        old = walk_matrix(self.affinity_.weights)
        old.resize((n, n + len(X)))
        walk = sp.csr_array(sp.vstack([old, links]))
        return layer(np.concatenate([self.X_fit_, X]), walk)[n:]

    def _check_settings(self) -> None:
        given = {
            key: value.item() if isinstance(value, np.generic) else value
            for key, value in self.get_params(deep=False).items()
            if key != "n_clusters"
        }
        model = parameter_model(type(self))  # type: ignore[arg-type]
        try:
            model.model_validate(given)
        except ValidationError as error:
            raise SettingsError(explain(error, model)) from error

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
            rows: NDArray[np.float64] = validate_data(
                self,
                X,
                dtype=np.float64,
                reset=fitting,
                ensure_all_finite=False,
                ensure_min_samples=2 if fitting else 1,
            )
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


@cache
def parameter_model(cls: type[Head], leave_out: tuple[str, ...] = ("n_clusters",)) -> type[BaseModel]:
    """A pydantic model of the constructor of a head: scikit-learn forbids constructors to check anything."""
    hints = get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], parameter.default)
        for parameter in inspect.signature(cls).parameters.values()
        if parameter.name not in leave_out
    }
    return create_model(cls.__name__, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def extension(fitted: NDArray[np.float64], unseen: NDArray[np.float64], k: int) -> sp.csr_array:
    """(N', N) rows sum to one: Gaussian weights of the k nearest fitted points, scaled by the k-th distance."""
    from sklearn.neighbors import NearestNeighbors

    distance, neighbor = NearestNeighbors(n_neighbors=k).fit(fitted).kneighbors(unseen)
    scale = np.maximum(distance[:, -1:], np.finfo(np.float64).tiny)
    weights = np.exp(-((distance / scale) ** 2) / 2)
    weights /= weights.sum(axis=1, keepdims=True)
    indptr = np.arange(0, weights.size + 1, k)
    return sp.csr_array((weights.ravel(), neighbor.ravel(), indptr), shape=(len(unseen), len(fitted)))
