"""Graphs with named nodes, and readers for their file formats.

The result is always undirected, without loops, and has at most one graph edge per pair of nodes. ``Counts`` describes
what the file listed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.networks.columns import Dialect
from segspectral.networks.graphfiles import read_listed
from segspectral.networks.rows import match_rows, read_classes, read_numbers
from segspectral.values import Affinity
from segspectral.wording import plural

__all__ = ["Counts", "Dialect", "Graph", "read_graph", "undirected"]


@dataclass(frozen=True)
class Counts:
    """The number of graph edges in a file, and what was done with them.

    Parameters
    ----------
    listed : edges in the file
    loops : edges from a node to itself, which are left out
    repeated : edges that are listed again in the same direction; the largest weight is kept
    reciprocal : pairs that are listed in both directions; they become one edge with the larger weight
    weightless : edges with weight 0, which are left out
    edges : undirected edges of the graph
    nodes : nodes of the graph
    isolated : nodes without an edge
    """

    listed: int
    loops: int
    repeated: int
    reciprocal: int
    weightless: int
    edges: int
    nodes: int
    isolated: int

    def __str__(self) -> str:
        parts = [f"{plural(self.nodes, 'node')}, {plural(self.edges, 'undirected edge')}"]
        if self.listed != self.edges:
            parts.append(f"of {self.listed} listed")
        counted = (
            (self.reciprocal, "listed in both directions", "listed in both directions"),
            (self.repeated, "repeated", "repeated"),
            (self.loops, "loop left out", "loops left out"),
            (self.weightless, "of weight 0 left out", "of weight 0 left out"),
            (self.isolated, "isolated node", "isolated nodes"),
        )
        return ", ".join(parts + [plural(count, one, many) for count, one, many in counted if count])


@dataclass(frozen=True, eq=False)
class Graph:
    """A network of named nodes.

    Parameters
    ----------
    names : (N,) names of the nodes, all different
    affinity : affinity of the N nodes
    counts : what the file listed
    attributes : (N, D) float64, finite, or None
    labels : (N,) int64, known classes of the nodes, or None
    notes : sentences for the user; the first one says how the file was read
    """

    names: tuple[str, ...]
    affinity: Affinity
    counts: Counts
    attributes: NDArray[np.float64] | None = None
    labels: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.names)


def read_graph(
    path: str | os.PathLike[str],
    attributes: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    *,
    dialect: Dialect | None = None,
) -> Graph:
    """Read a network from a file; the content of the file, and not its name, decides the format.

    ::

        text           one edge per line: two names and optionally a weight, as spreadsheets, pandas, networkx, igraph,
                       Gephi and SNAP write it; also gzip. More columns need a header, or a ``dialect``
        .npz           a matrix that scipy.sparse.save_npz wrote; or edges (M, 2) of node numbers, or edge_index (2, M),
                       and optionally num_nodes, weights, features and labels
        GraphML, GEXF, GML, Pajek, adjacency lists of networkx   by networkx, with the edges' ``weight`` or a similar
                       word
        Matrix Market  by scipy

    The nodes are those that the file mentions. Numbers between them are not nodes, unless the file has ``num_nodes``.

    Parameters
    ----------
    attributes : csv, tsv or txt with a line of numbers for each node, after its name or in the order of the nodes; or
        npy or npz (N, D), dense or sparse, in the order of the nodes. A named node that the graph does not have is
        added as an isolated node.
    labels : csv, tsv or txt with a name and a class per line, or classes in the order of the nodes; or npy, npz (N,)
    dialect : properties of a text file that the reader cannot find out

    Raises
    ------
    DatasetError
        A file cannot be read or does not fit the graph, or the graph has fewer than two nodes or no edges.
    SettingsError
        The dialect does not fit the file.
    """
    path = Path(path)
    listed = read_listed(path, dialect or Dialect())
    edges, rows, classes = listed.edges, listed.rows, listed.classes
    names, notes = list(edges.names), [edges.understood]
    if attributes is not None:
        given, rows = read_numbers(attributes, names)
        known = set(names)
        if further := [name for name in given or () if name not in known]:
            notes.append(f"{plural(len(further), 'node has', 'nodes have')} attributes and no edges")
            names += further
        rows = match_rows(attributes, given, rows, names, "attributes")
    if labels is not None:
        given, classes = read_classes(labels, names)
        classes = match_rows(labels, given, classes, names, "label")
        if (strangers := len(given or ()) - len(names)) > 0:
            count = plural(strangers, "label belongs", "labels belong")
            notes.append(f"{count} to nodes that the graph does not have")
    if len(names) < 2:
        raise DatasetError(f"has {plural(len(names), 'node')}; at least two are needed", path)
    weights, counts = undirected(edges.ends, edges.weights, len(names))
    if counts.edges == 0:
        raise DatasetError("has no edges between different nodes, so there is nothing to cluster", path)
    for values, what in ((rows, "rows of features"), (classes, "labels")):
        if values is not None and len(values) != len(names):
            raise DatasetError(f"has {len(names)} nodes and {len(values)} {what}", path)
    if rows is not None and not np.isfinite(rows).all():
        raise DatasetError("attributes hold NaN or infinity", attributes or path)
    truth = None if classes is None else np.unique(classes, return_inverse=True)[1].ravel().astype(np.int64)
    return Graph(tuple(names), Affinity(weights), counts, rows, truth, tuple(notes))


def undirected(ends: NDArray[np.integer[Any]], weights: NDArray[np.float64], nodes: int) -> tuple[sp.csr_array, Counts]:
    """Return symmetric weights (N, N) and the counts. A pair that is listed more than once has its largest weight."""
    i, j = ends.astype(np.int64).reshape(-1, 2).T
    kept = (i != j) & (weights > 0)
    loops, weightless = int((i == j).sum()), int(((i != j) & (weights == 0)).sum())
    i, j, value = i[kept], j[kept], weights[kept].astype(np.float64)
    directed = len(np.unique(i * nodes + j))
    pair = np.minimum(i, j) * nodes + np.maximum(i, j)
    order = np.lexsort((value, pair))
    last = np.append(np.diff(pair[order]) != 0, True)[: len(order)]
    pair, value = pair[order][last], value[order][last]
    upper = sp.csr_array((value, (pair // nodes, pair % nodes)), shape=(nodes, nodes))
    both = sp.csr_array(upper + upper.T)
    isolated = int((np.diff(both.indptr) == 0).sum())
    counts = Counts(len(ends), loops, len(i) - directed, directed - len(pair), weightless, len(pair), nodes, isolated)
    return both, counts
