"""Graphs with named nodes, and readers for their file formats.

The result is always undirected, without loops, and has at most one graph edge per pair of nodes. ``Counts`` describes
what the file listed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError, SettingsError
from segspectral.networks.arrays import SPARE, dense, is_array_file, load_arrays, load_sparse
from segspectral.networks.edgelists import Dialect, EdgeList, best_weight, read_edge_list
from segspectral.networks.tables import match_rows, read_bytes, read_classes, read_numbers, read_text
from segspectral.values import Affinity
from segspectral.wording import plural

__all__ = [
    "FEATURES",
    "LABELS",
    "Counts",
    "Dialect",
    "EdgeList",
    "Graph",
    "read_edge_list",
    "read_graph",
    "undirected",
]

FEATURES = ("features", "x", "X", "data", "arr_0")
LABELS = ("labels", "y", "Y", "label")
"""Names that .npz files use for features and classes, most usual first; numpy itself calls an unnamed array arr_0."""


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
    try:
        listed = _listed(path, dialect or Dialect())
    except MemoryError as error:
        raise DatasetError("is larger than the memory", path) from error
    edges, inner, own = listed.edges, listed.rows, listed.classes
    names, notes = list(edges.names), [edges.understood]
    if attributes is not None:
        given, rows = read_numbers(attributes, names)
        known = set(names)
        if given is not None and (further := [name for name in given if name not in known]):
            notes.append(f"{plural(len(further), 'node has', 'nodes have')} attributes and no edges")
            names += further
        inner = match_rows(attributes, given, rows, names, "attributes")
    if labels is not None:
        given, classes = read_classes(labels, names)
        own = match_rows(labels, given, classes, names, "label")
        if given is not None and len(given) > len(names):
            count = plural(len(given) - len(names), "label belongs", "labels belong")
            notes.append(f"{count} to nodes that the graph does not have")
    if len(names) < 2:
        raise DatasetError(f"has {plural(len(names), 'node')}; at least two are needed", path)
    weights, counts = undirected(edges.ends, edges.weights, len(names))
    if counts.edges == 0:
        raise DatasetError("has no edges between different nodes, so there is nothing to cluster", path)
    if inner is not None:
        if len(inner) != len(names):
            raise DatasetError(f"has {len(names)} nodes and {len(inner)} rows of features", path)
        if not np.isfinite(inner).all():
            raise DatasetError("attributes hold NaN or infinity", attributes or path)
    if own is not None and len(own) != len(names):
        raise DatasetError(f"has {len(names)} nodes and {len(own)} labels", path)
    truth = None if own is None else np.unique(own, return_inverse=True)[1].ravel().astype(np.int64)
    return Graph(tuple(names), Affinity(weights), counts, inner, truth, tuple(notes))


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


@dataclass(frozen=True, eq=False)
class _Listed:
    """The edges in a file, and ``rows`` (N, D) of features and ``classes`` (N,) of the nodes if it has them."""

    edges: EdgeList
    rows: NDArray[np.float64] | None = None
    classes: NDArray[Any] | None = None


def _listed(path: Path, dialect: Dialect) -> _Listed:
    kind = "npz" if is_array_file(path) else _kind(path, read_bytes(path)[:4000])
    if kind == "text":
        return _Listed(read_edge_list(path, dialect))
    networked = kind not in ("npz", "Matrix Market")
    if dialect != Dialect(weight=dialect.weight if networked else None):
        raise SettingsError(f"is {kind}, which has no columns: leave out the options for columns", path)
    if kind == "npz":
        return _from_arrays(path, load_arrays(path))
    if kind == "Matrix Market":
        return _Listed(_from_matrix(path, _matrix_market(path), kind))
    return _Listed(_from_networkx(path, kind, dialect.weight))


def _kind(path: Path, begin: bytes) -> str:
    """Return the format of a file by its first bytes.

    Raises
    ------
    DatasetError
        The format is known but not supported.
    """
    text = begin.decode("latin-1").removeprefix("\xef\xbb\xbf").lstrip()
    lines = [line.strip().lower() for line in text.splitlines()]
    # Programs write their name and a date at the beginning of a GML file.
    body = " ".join(line for line in lines if line and not line.startswith(("#", "creator", "version", "comment")))
    if text.startswith("<"):
        return "GEXF" if "<gexf" in text else "GraphML"
    if body.startswith(("graph [", "graph[")) or path.suffix.lower() == ".gml":
        return "GML"
    if text.lower().startswith("%%matrixmarket"):
        return "Matrix Market"
    if any(line.startswith("*vertices") for line in lines[:20]):
        return "Pajek"
    if len(lines) > 1 and lines[0].startswith("#") and lines[1].startswith("# gmt "):
        # networkx dates its adjacency lists, and only these. In the one of many lines each edge ends with a dict.
        return "a multi-line adjacency list" if "{" in body else "an adjacency list"
    refused = None
    if text.startswith(("{", "[")) or path.suffix.lower() == ".json":
        refused = "JSON"
    elif body.startswith(("digraph", "strict ")) or (body.startswith("graph") and "--" in body and "{" in body):
        refused = "DOT"
    elif path.suffix.lower() == ".lgl":
        refused = "LGL"
    if refused is not None:
        raise DatasetError(f"cannot be read as a graph: it is {refused}; write GraphML, or edges as CSV", path)
    return "text"


def _from_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> _Listed:
    label = next((name for name in LABELS if name in arrays), None)
    own = None if label is None else arrays[label].ravel()
    if holds_matrix(arrays):
        return _Listed(_from_matrix(path, load_sparse(path, arrays), "a sparse matrix"), None, own)
    key = next((key for key in ("edges", "edge_index") if key in arrays), None)
    if key is None:
        raise DatasetError(
            f"cannot be read as a graph: it has the arrays {', '.join(sorted(arrays))}, but neither edges nor a matrix "
            "of scipy.sparse.save_npz",
            path,
        )
    pairs = arrays[key].T if key == "edge_index" else arrays[key]
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iuf":
        raise DatasetError(f"edges must be (M, 2) node numbers, not {arrays[key].dtype} {arrays[key].shape}", path)
    if pairs.size and not (np.isfinite(pairs).all() and pairs.min() >= 0 and pairs.max() < 2**53):
        raise DatasetError(f"{key} contain negative node numbers, numbers above 2^53, NaN or infinity", path)
    whole = pairs.astype(np.int64)
    if (whole != pairs).any():
        raise DatasetError(f"{key} contain the node {pairs[whole != pairs][0]:g}; node numbers must be whole", path)
    rows = None
    if "feat_indptr" in arrays:
        rows = dense(path, load_sparse(path, arrays, "feat_")).astype(np.float64)
    elif (name := next((name for name in FEATURES if name in arrays), None)) is not None:
        if arrays[name].ndim != 2 or arrays[name].dtype.kind not in "biuf":
            raise DatasetError(f"{name} must be (N, D) numbers, not {arrays[name].dtype} {arrays[name].shape}", path)
        rows = arrays[name].astype(np.float64)
    weight = next((name for name in ("weights", "weight", "edge_weight") if name in arrays), None)
    weights = np.ones(len(whole)) if weight is None else _checked(path, arrays[weight], len(whole))
    numbers, ends = _nodes(path, whole, _number_of_nodes(path, arrays, rows, own))
    notes = [f"{key} of an npz", "all weights 1" if weight is None else f"weights from {weight!r}"]
    used = {key, weight, label, "num_nodes", *(name for name in arrays if name.startswith("feat_")), *FEATURES}
    if unused := sorted(set(arrays) - used):
        notes.append(f"left out: {', '.join(unused)}")
    names = tuple(map(str, numbers.tolist()))
    return _Listed(EdgeList(names, ends, weights, ", ".join(notes)), rows, own)


def holds_matrix(arrays: Iterable[str]) -> bool:
    """Return whether the arrays of a file are the parts of a sparse matrix."""
    return "format" in arrays or {"data", "indices", "indptr", "shape"} <= set(arrays)


def _number_of_nodes(
    path: Path, arrays: dict[str, NDArray[Any]], rows: NDArray[Any] | None, own: NDArray[Any] | None
) -> int | None:
    """Return ``num_nodes``, or the number of feature rows or classes; None if the file has none of these."""
    if "num_nodes" in arrays:
        told = arrays["num_nodes"]
        if told.size != 1 or told.dtype.kind not in "iuf" or not 0 <= float(told.item()) < 2**53 or told.item() % 1:
            raise DatasetError(f"num_nodes must be a whole number, not {told.dtype} {told.shape}", path)
        return int(told.item())
    return next((len(each) for each in (rows, own) if each is not None), None)


def _nodes(path: Path, ends: NDArray[np.int64], nodes: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the nodes in ascending order, and the indices (M, 2) of the ends among them."""
    numbers, indices = np.unique(ends, return_inverse=True)
    if nodes is None:
        return numbers, indices.reshape(-1, 2)
    # Node numbers that start at 1 are as common as those that start at 0.
    begin = int(len(numbers) > 0 and numbers[0] > 0 and numbers[-1] == nodes)
    if len(numbers) and numbers[-1] >= nodes + begin:
        raise DatasetError(f"edges lead to nodes outside 0..{nodes - 1}, such as {numbers[-1]}", path)
    _check_isolated(path, nodes, len(numbers))
    return np.arange(begin, nodes + begin), ends - begin


def _check_isolated(path: Path, nodes: int, linked: int) -> None:
    if nodes - linked > SPARE:
        raise DatasetError(f"says {nodes} nodes, of which {linked} have edges; at most {SPARE} may have none", path)


def _checked(path: Path, weights: NDArray[Any], count: int) -> NDArray[np.float64]:
    if weights.dtype.kind not in "biuf" or weights.size != count:
        raise DatasetError(
            f"weights must be one number for each of {plural(count, 'edge')}, not {weights.dtype} {weights.shape}", path
        )
    weights = weights.ravel().astype(np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise DatasetError("weights must be finite and not negative", path)
    return weights


def _from_matrix(path: Path, matrix: sp.coo_array, kind: str) -> EdgeList:
    """Return the edges of a square matrix; if the matrix is symmetric, each edge is listed once."""
    nodes = matrix.shape[0]
    if matrix.shape[0] != matrix.shape[1]:
        raise DatasetError(f"a graph must be a square matrix, not {matrix.shape}", path)
    _check_isolated(path, nodes, len(np.unique(np.concatenate([matrix.row, matrix.col]))))
    matrix.sum_duplicates()
    weights = _checked(path, matrix.data, matrix.nnz)
    square = sp.csr_array((weights, (matrix.row, matrix.col)), shape=matrix.shape)
    differing = abs(square - square.T)
    notes = [kind, "weights from its entries"]
    pairs = np.stack([matrix.row, matrix.col], axis=1).astype(np.int64)
    if differing.nnz == 0 or differing.max() <= 1e-6 * weights.max():
        # A symmetric matrix always has each edge twice, so the counts do not report it.
        larger = sp.coo_array(sp.triu(square.maximum(square.T)))
        pairs, weights = np.stack([larger.row, larger.col], axis=1).astype(np.int64), larger.data
    else:
        pairs_differ = plural(differing.count_nonzero() // 2, "pair differs", "pairs differ")
        notes.append(f"not symmetric ({pairs_differ}, the larger weight is kept)")
    return EdgeList(tuple(map(str, range(nodes))), pairs, weights, ", ".join(notes))


def _matrix_market(path: Path) -> sp.coo_array:
    import scipy.io

    data = read_bytes(path)
    try:
        rows, columns, entries, *_ = scipy.io.mminfo(io.BytesIO(data))
        if entries > len(data):
            raise ValueError(f"says {rows} x {columns} and {entries} entries, and has {len(data)} bytes")
        matrix = sp.coo_array(scipy.io.mmread(io.BytesIO(data)))
    except Exception as error:  # scipy can raise any kind of error for a file that breaks its format
        raise DatasetError(f"cannot be read as a graph ({error})", path) from error
    return matrix


def _from_networkx(path: Path, kind: str, told_weight: str | None) -> EdgeList:
    import networkx as nx

    try:
        if kind == "GraphML":
            graph = nx.read_graphml(io.BytesIO(read_bytes(path)))
        elif kind == "GEXF":
            graph = nx.read_gexf(io.BytesIO(read_bytes(path)))
        elif kind == "Pajek":
            graph = nx.parse_pajek(read_text(path)[0])
        elif kind == "an adjacency list":
            graph = nx.parse_adjlist(read_text(path)[0].splitlines())
        elif kind == "a multi-line adjacency list":
            graph = nx.parse_multiline_adjlist(iter(read_text(path)[0].splitlines()))
        else:
            graph = nx.parse_gml(read_text(path)[0], label="id")
    except DatasetError:
        raise
    except Exception as error:  # networkx can raise any kind of error here, and XML can exceed the recursion limit
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"cannot be read as a graph ({kind}: {reason})", path) from error
    notes = [kind]
    names = list(map(str, graph))
    for key in ("label", "name"):
        given = [str(name) for _, name in graph.nodes(data=key, default="")]
        if all(given) and len(set(given)) == len(given):
            notes += [f"names from {key!r}"] if given != names else []
            names = given
            break
    index = {node: i for i, node in enumerate(graph)}
    listed = [(index[a], index[b], data) for a, b, data in graph.edges(data=True)]
    keys = list(dict.fromkeys(key for _, _, data in listed for key in data))
    weight = best_weight(keys) if told_weight is None else None if told_weight == "none" else told_weight
    if told_weight is not None and weight is not None and weight not in keys:
        raise SettingsError(f"the edges have the data {', '.join(keys)}; there is no {told_weight!r}", path)
    values: list[Any] = [1.0 if weight is None else data.get(weight, 1.0) for _, _, data in listed]
    try:
        weights = _checked(path, np.array([float(value) for value in values]), len(listed))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"cannot be read as a graph (a weight is not a number: {error})", path) from error
    notes.append("all weights 1" if weight is None else f"weights from {weight!r}")
    if weight is not None and (without := sum(weight not in data for _, _, data in listed)):
        notes.append(f"{plural(without, 'edge without a weight has', 'edges without a weight have')} weight 1")
    if left := [repr(other) for other in keys if other not in (weight, "id")]:
        notes.append(f"left out: {', '.join(left)}")
    pairs = np.array([(a, b) for a, b, _ in listed], dtype=np.int64).reshape(-1, 2)
    return EdgeList(tuple(names), pairs, weights, ", ".join(notes))
