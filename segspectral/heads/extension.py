"""How a fitted head treats nodes that it has not been fitted on.

Three ways exist: a network of the features of a node, a network on the graph, and a random walk from the new nodes to
the fitted ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import SettingsError
from segspectral.heads.gcn import Gcn
from segspectral.heads.networks import Mlp
from segspectral.heads.readout import Readout
from segspectral.spectral.search import Search
from segspectral.spectral.walk import walk_matrix
from segspectral.values import Affinity, Membership

__all__ = ["PARTS", "Extension", "FeatureMap", "GraphMap", "Learnt", "RandomWalk", "extension_from", "extension_of"]

PARTS = {"network_": Mlp | Gcn, "readout_": Readout, "X_fit_": NDArray[np.float64]}
"""What extensions have beside the attributes of the fitted head: names in a saved file -> types."""

ARRIVALS = 300
"""Steps of a random walk after which nearly all walkers from new nodes have come to fitted ones."""


class Learnt(NamedTuple):
    """A trained network, and what turns its outputs into memberships."""

    network: Mlp | Gcn
    readout: Readout


class Extension(ABC):
    """The memberships and embeddings of new nodes.

    All methods get the features X (N', D) of the new nodes, or None for an extension that does not need them, and the
    random walk ``links`` (N', N + N') from the new nodes to the N fitted ones and among themselves, which only those
    that need the graph look at.
    """

    needs_features: bool
    needs_graph: bool
    inductive: ClassVar[bool]
    """Whether nodes of another graph can be mapped, and not only nodes that join the fitted one."""
    KEPT: ClassVar[tuple[str, ...] | None]
    """Names in a saved file that are enough to extend; None stands for all that a fitted head has."""

    @abstractmethod
    def memberships(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float32]:
        """(N', K), rows sum to one."""

    @abstractmethod
    def embedding(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float64] | None:
        """(N', K) spectral embedding; None if the head has none."""

    @abstractmethod
    def outputs(
        self, X: NDArray[np.float64] | None, links: sp.csr_array, *, hidden: bool = False
    ) -> NDArray[np.float64]:
        """(N', outputs) of the network, or (N', width) its last hidden layer. SettingsError if there is no network."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Those of ``PARTS`` that it has."""

    @cached_property
    def _fitted(self) -> Search:
        return Search(self.parts()["X_fit_"])

    def nearest(self, X: NDArray[np.float64], k: int) -> sp.csr_array:
        """(N', N) walk from new points to their k nearest fitted ones, by a Gaussian of the distance to the k-th."""
        fitted = self._fitted
        distance, neighbor = fitted.nearest(k, X)
        scale = np.maximum(distance[:, -1:], np.finfo(np.float64).tiny)
        weights = np.exp(-((distance / scale) ** 2) / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        indptr = np.arange(0, weights.size + 1, k)
        return sp.csr_array((weights.ravel(), neighbor.ravel(), indptr), shape=(len(X), len(fitted)))


@dataclass(frozen=True, eq=False)
class _Network(Extension):
    network: Mlp | Gcn
    readout: Readout
    needs_features = True
    inductive = True

    def memberships(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float32]:
        return self.readout.memberships(self.outputs(X, links))

    def embedding(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float64] | None:
        return self.readout.embedding(self.outputs(X, links))

    def parts(self) -> dict[str, Any]:
        return {"network_": self.network, "readout_": self.readout}


@dataclass(frozen=True, eq=False)
class FeatureMap(_Network):
    """A network of the features of each node by itself."""

    network: Mlp
    needs_graph = False
    KEPT = ("network_", "readout_", "n_features_in_", "space_")

    def outputs(
        self, X: NDArray[np.float64] | None, links: sp.csr_array, *, hidden: bool = False
    ) -> NDArray[np.float64]:
        assert X is not None
        return self.network.hidden(X) if hidden else self.network(X)


@dataclass(frozen=True, eq=False)
class GraphMap(_Network):
    """A graph network. Fitted nodes do not see the new ones, and so keep their outputs.

    Parameters
    ----------
    nodes : (N, D) features of the fitted nodes
    affinity : of the fitted nodes
    """

    network: Gcn
    nodes: NDArray[np.float64]
    affinity: Affinity
    needs_graph = True
    KEPT = None

    def outputs(
        self, X: NDArray[np.float64] | None, links: sp.csr_array, *, hidden: bool = False
    ) -> NDArray[np.float64]:
        assert X is not None
        n = len(self.nodes)
        old = walk_matrix(self.affinity.weights)
        old.resize((n, n + len(X)))
        layer = self.network.hidden if hidden else self.network
        return layer(np.concatenate([self.nodes, X]), sp.csr_array(sp.vstack([old, links])))[n:]

    def parts(self) -> dict[str, Any]:
        return super().parts() | {"X_fit_": self.nodes}


@dataclass(frozen=True, eq=False)
class RandomWalk(Extension):
    """The memberships of the fitted nodes, carried over to new ones by a random walk.

    A new node gets the mean over the fitted nodes where a random walk from it first arrives (Zhu, Ghahramani and
    Lafferty 2003, eq. 5); for points that see fitted ones only this is one step (Bengio et al. 2004, eq. 8).

    Parameters
    ----------
    nodes : (N, D) features of the fitted nodes; None if they were those of a graph without features
    membership : of the fitted nodes
    """

    nodes: NDArray[np.float64] | None
    membership: Membership
    needs_graph = True
    inductive = False
    KEPT = ("X_fit_", "labels_", "membership_", "eigenvalues_", "n_features_in_", "space_")

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        return self.nodes is not None

    def memberships(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float32]:
        known = self.membership.probabilities.astype(np.float64)
        first, further = links[:, : len(known)] @ known, links[:, len(known) :]
        found = first
        for _ in range(ARRIVALS if further.nnz else 0):
            before, found = found, first + further @ found
            if np.abs(found - before).max() < 1e-9:
                break
        # Nodes without a way into the fitted graph may belong anywhere.
        found[found.sum(axis=1) <= 0] = 1.0
        return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)

    def embedding(self, X: NDArray[np.float64] | None, links: sp.csr_array) -> NDArray[np.float64] | None:
        """By Nystroem's extension of the eigenvectors, v_k(x) = sum_i p(x, i) v_k(i) / (1 - lambda_k)."""
        vectors, eigenvalues = self.membership.embedding, self.membership.eigenvalues
        if vectors is None or eigenvalues is None:
            return None
        return (links[:, : len(vectors)] @ vectors) / np.maximum(1 - eigenvalues[: vectors.shape[1]], 1e-3)

    def outputs(
        self, X: NDArray[np.float64] | None, links: sp.csr_array, *, hidden: bool = False
    ) -> NDArray[np.float64]:
        raise SettingsError(
            "the head has no network that could embed new nodes: it was fitted on a graph without "
            "features, or on no more distinct nodes than clusters"
        )

    def parts(self) -> dict[str, Any]:
        return {} if self.nodes is None else {"X_fit_": self.nodes}


def extension_of(
    learnt: Learnt | None, nodes: NDArray[np.float64] | None, affinity: Affinity, membership: Membership
) -> Extension:
    """The extension of a fitted head.

    Parameters
    ----------
    learnt : None if there is no network that maps other nodes
    nodes : (N, D) features of the fitted nodes; None for a graph without features
    affinity, membership : of the fitted nodes
    """
    if learnt is None:
        return RandomWalk(nodes, membership)
    if isinstance(learnt.network, Mlp):
        return FeatureMap(learnt.network, learnt.readout)
    assert nodes is not None
    return GraphMap(learnt.network, learnt.readout, nodes, affinity)


def extension_from(state: Mapping[str, Any]) -> Extension:
    """The extension of a fitted head from its attributes and ``PARTS``, under their names in a saved file."""
    learnt = Learnt(state["network_"], state["readout_"]) if "network_" in state else None
    return extension_of(learnt, state.get("X_fit_"), state.get("affinity_"), state.get("membership_"))  # type: ignore[arg-type]
