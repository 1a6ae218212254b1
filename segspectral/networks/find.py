"""Communities of a graph, and the assignment of new nodes to fitted communities."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field

from segspectral.errors import SettingsError
from segspectral.heads.base import Head
from segspectral.heads.networks import standardization
from segspectral.heads.settings import AnyHead, head_from
from segspectral.heads.storage import load_with_notes, save
from segspectral.metrics.clustering import clustering_scores
from segspectral.metrics.communities import conductance, coverage, modularity
from segspectral.networks.graphs import Graph
from segspectral.networks.number import Choice, choose_number
from segspectral.networks.polish import polished
from segspectral.registry import ATTRIBUTE_WEIGHT, COMMUNITIES
from segspectral.settings import Settings
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity

__all__ = ["DEFAULT_HEAD", "Communities", "Search", "extend_communities", "find_communities"]

DEFAULT_HEAD = "modularity"

BRUTE = 20_000
"""Above this many nodes, attributes are reduced to 12 principal components before the neighbour search.

The time of the exact search grows with the square of the number of nodes.
"""


class Search(Settings):
    """The settings of a search for communities, which ``segspectral communities --config`` reads."""

    communities: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        COMMUNITIES, description="largest number of communities; auto chooses it by eigengap, modularity and silhouette"
    )
    attribute_weight: float = Field(
        ATTRIBUTE_WEIGHT,
        ge=0,
        le=1,
        description="weight of the similarity of attributes against the edges; 0 uses only the edges",
    )
    polish: bool = Field(
        False, description="whether single nodes move at the end as long as that raises the modularity of the edges"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="equal seeds give equal communities")
    head: AnyHead = Field(default_factory=lambda: head_from(DEFAULT_HEAD))


@dataclass(frozen=True, eq=False)
class Communities:
    """The communities of a graph.

    Parameters
    ----------
    labels : (N,) int64, communities 1, 2, ... in descending order of their sizes at the fit
    probabilities : (N,) float32, probability that the node belongs to its community
    head : the fitted head, whose column ``order[c - 1]`` is community c
    nodes : names of the nodes on which the head was fitted
    new : (N,) bool, nodes that were not in the fitted graph
    weight : weight of the similarity of attributes in the graph that the head saw
    choice : the criteria behind the chosen number, or None if the number was given
    seconds : stage -> wall-clock seconds
    """

    graph: Graph
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    head: Head
    order: NDArray[np.int64]
    nodes: tuple[str, ...]
    new: NDArray[np.bool_]
    weight: float
    choice: Choice | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[int, int]:
        """Community -> number of nodes, for communities that have nodes."""
        community, size = np.unique(self.labels, return_counts=True)
        return dict(zip(community.tolist(), size.tolist(), strict=True))

    def scores(self) -> dict[str, float]:
        """Return the scores: modularity, coverage, mean and largest conductance use only the edges.

        If classes are known, nmi, ari and accuracy are added, over all nodes and over the new nodes if there are any.
        """
        structure = self.graph.affinity
        each = conductance(structure, self.labels)
        found = {
            "modularity": modularity(structure, self.labels),
            "coverage": coverage(structure, self.labels),
            "conductance_mean": float(each.mean()),
            "conductance_max": float(each.max()),
        }
        truth = self.graph.labels
        if truth is not None:
            found |= clustering_scores(self.labels, truth)
            if self.new.any():
                unseen = clustering_scores(self.labels[self.new], truth[self.new])
                found |= {f"{name}_new": value for name, value in unseen.items()}
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head and the names of its nodes to one safetensors file, which ``extend_communities`` reads."""
        notes = {"nodes": list(self.nodes), "order": self.order.tolist(), "weight": self.weight}
        save(self.head, path, notes)


def find_communities(
    graph: Graph,
    k: int | Literal["auto"] = COMMUNITIES,
    *,
    head: Any = DEFAULT_HEAD,
    weight: float = ATTRIBUTE_WEIGHT,
    most: int = 20,
    polish: bool = False,
    seed: int = 0,
) -> Communities:
    """Find the communities of a graph.

    Parameters
    ----------
    k : largest number of communities; "auto" chooses the number (``choose_number``)
    head : a Head, its name, or {"name": ..., settings}
    weight : weight of the similarity of attributes in the graph that the head sees, from 0 (only edges) to 1
    most : largest number that "auto" may choose
    polish : whether single nodes move at the end as long as that raises the modularity of the edges (``polished``)

    Raises
    ------
    SettingsError, GraphError, CollapseError
    """
    if not 0 <= weight <= 1:
        raise SettingsError(f"the weight of the attributes must lie between 0 and 1, not {weight:g}")
    begin = time.perf_counter()
    X = None if graph.attributes is None else scaled(graph.attributes)
    affinity = combined(graph.affinity, X, weight)
    after_graph = time.perf_counter()
    choice = choose_number(affinity, most, seed=seed) if k == "auto" else None
    number = choice.number if choice is not None else k
    if not isinstance(number, str) and number > len(graph):
        raise SettingsError(f"{number} communities are more than the graph's {len(graph)} nodes")
    after_choice = time.perf_counter()
    try:
        fitted = head_from(head).fresh(n_clusters=number, random_state=seed)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    fitted.fit(X, affinity=affinity)
    if polish:
        fitted.relabel(polished(graph.affinity, fitted.labels_, fitted.n_clusters))
    seconds = {"graph": after_graph - begin, "number": after_choice - after_graph}
    seconds["head"] = time.perf_counter() - after_choice
    P = fitted.membership_.probabilities
    order = np.argsort(-np.bincount(fitted.labels_, minlength=P.shape[1]), kind="stable")
    new = np.zeros(len(graph), dtype=np.bool_)
    numbered = _numbered(P, order)
    return Communities(graph, *numbered, fitted, order, graph.names, new, weight, choice, seconds)


def extend_communities(graph: Graph, model: str | os.PathLike[str]) -> Communities:
    """Communities of a graph by a saved head: nodes it was fitted on keep theirs, nodes that came later get theirs.

    With attributes and a network, later nodes are run through it with their edges; otherwise their community is that
    of the fitted nodes where a random walk from them first arrives.

    Parameters
    ----------
    graph : old and new nodes under their names; edges among old nodes are not looked at again
    model : what ``Communities.save`` wrote

    Raises
    ------
    SettingsError
        The model does not go with the graph.
    """
    head, notes = load_with_notes(model)
    if "nodes" not in notes:
        raise SettingsError("holds a head without the names of its nodes; save it by segspectral communities", model)
    begin = time.perf_counter()
    nodes, order, weight = tuple(notes["nodes"]), np.array(notes["order"]), float(notes["weight"])
    place = {name: i for i, name in enumerate(nodes)}
    known = np.array([place.get(name, -1) for name in graph.names])
    new = np.flatnonzero(known < 0)
    featured = head.extension_.needs_features
    if featured and graph.attributes is None:
        raise SettingsError("was fitted on attributes; give those of this graph, too", model)
    if len(new) == len(graph) and not head.extension_.inductive:
        raise SettingsError("knows none of the graph's nodes, and has no network to carry to other graphs", model)
    X = scaled(graph.attributes) if featured and graph.attributes is not None else None
    P = np.empty((len(graph), len(order)), dtype=np.float32)
    old = np.flatnonzero(known >= 0)
    P[old] = head.membership_.probabilities[known[old]]
    if len(new):
        rows = sp.coo_array(combined(graph.affinity, X, weight).weights[new])
        # Columns: the fitted nodes in their order, then the new ones; nodes that have left the graph have no edges.
        column = np.empty(len(graph), dtype=np.int64)
        column[old], column[new] = known[old], len(nodes) + np.arange(len(new))
        shape = (len(new), len(nodes) + len(new))
        links = sp.csr_array((rows.data, (rows.row, column[rows.col])), shape=shape)
        try:
            P[new] = head.predict_proba(None if X is None else X[new], affinity=links)
        except ValueError as error:
            raise SettingsError(f"does not go with this graph ({error})", model) from error
    seconds = {"head": time.perf_counter() - begin}
    return Communities(graph, *_numbered(P, order), head, order, nodes, known < 0, weight, None, seconds)


def scaled(attributes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return attributes in the form that a head sees: rows of counts are scaled to unit length.

    Attributes count as counts if they are never negative and at least half of them are zero.
    """
    if _counts(attributes):
        return attributes / np.maximum(np.linalg.norm(attributes, axis=1, keepdims=True), 1e-300)
    return attributes


def _counts(attributes: NDArray[np.float64]) -> bool:
    return bool(attributes.min() >= 0 and np.count_nonzero(attributes) <= attributes.size / 2)


def combined(structure: Affinity, X: NDArray[np.float64] | None, weight: float) -> Affinity:
    """Return (1 - weight) W + weight S, each scaled to mean degree 1, where S is the kNN affinity of the attributes."""
    if X is None or weight == 0:
        return structure
    if not _counts(X):
        shift, scale = standardization(X)
        X = (X - shift) / scale
    if len(X) > BRUTE and X.shape[1] > 12:
        from sklearn.decomposition import PCA

        X = PCA(12, svd_solver="randomized", random_state=0).fit_transform(X)
    similar = knn_affinity(X)
    parts = [(1 - weight, structure), (weight, similar)]
    total = sum(part / max(a.degree.mean(), 1e-300) * a.weights.astype(np.float64) for part, a in parts)
    return Affinity(sp.csr_array(total))


def _numbered(P: NDArray[np.float32], order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return communities, numbered from 1 in the given order of columns, and each node's probability of its own."""
    column = P.argmax(axis=1)
    return np.argsort(order)[column] + 1, P[np.arange(len(P)), column]
