"""Graphs with named nodes, and the files that they come in.

Whatever a file says, what comes out is undirected, without loops and with one edge per pair; ``Counts`` tells what was
there before.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.tables import is_number, match_rows, read_classes, read_numbers, rows_of
from segspectral.types import Affinity

__all__ = [
    "FEATURES",
    "LABELS",
    "Counts",
    "EdgeList",
    "Graph",
    "read_edge_list",
    "read_graph",
    "sparse_parts",
    "undirected",
]

ENDS = (
    {"source", "from", "src", "node1", "id1", "start", "fromnodeid"},
    {"target", "to", "dst", "node2", "id2", "end", "tonodeid"},
)
WEIGHTS = {"weight", "value"}
FEATURES = ("features", "x", "X", "data", "arr_0")
LABELS = ("labels", "y", "Y", "label")


@dataclass(frozen=True)
class Counts:
    """What was listed, and what became of it.

    Parameters
    ----------
    listed : edges in the file
    loops : of a node to itself; left out
    repeated : listed once more in the same direction; the largest weight is kept
    reciprocal : pairs listed in both directions; one undirected edge, with the larger weight
    weightless : edges of weight 0; left out
    edges : undirected ones that remain
    nodes, isolated : nodes, and those of them without an edge
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
        parts = [f"{self.nodes} nodes, {self.edges} undirected edges"]
        if self.listed != self.edges:
            parts.append(f"of {self.listed} listed")
        told = {
            "listed in both directions": self.reciprocal,
            "repeated": self.repeated,
            "loops left out": self.loops,
            "of weight 0 left out": self.weightless,
            "isolated nodes": self.isolated,
        }
        return ", ".join(parts + [f"{count} {what}" for what, count in told.items() if count])


@dataclass(frozen=True, eq=False)
class EdgeList:
    """Edges as a file lists them.

    Parameters
    ----------
    names : of the nodes: in rising order if all are whole numbers, else as they come
    ends : (M, 2) int64, places in ``names``
    weights : (M,) float64, finite, not negative
    """

    names: tuple[str, ...]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network of named nodes.

    Parameters
    ----------
    names : (N,) all different
    affinity : of the N nodes
    attributes : (N, D) float64, finite, or None
    labels : (N,) int64, known classes of the nodes, or None
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
) -> Graph:
    """A network from a file.

    ::

        .txt .edges .csv .tsv   one edge a line: two names and, if it has one, a weight; comments begin with # or %.
                                More columns need a header that names source, target and weight
        .npz                    a matrix that scipy.sparse.save_npz wrote; or edges (M, 2) of node numbers from 0, with
                                num_nodes, weights, features and labels if it has them
        .graphml .gml           through networkx, with the edges' ``weight``

    Parameters
    ----------
    attributes : csv, tsv or txt, a line of numbers for each node after its name, or in the order of the nodes; npy or
        npz (N, D), dense or sparse, in the order of the nodes. Named nodes that the graph lacks are isolated ones
    labels : csv, tsv or txt, a name and a class a line, or classes in the order of the nodes; or npy, npz (N,)

    Raises
    ------
    DatasetError
        A file cannot be read or does not fit the graph; fewer than two nodes; no edge at all.
    """
    path = Path(path)
    inner: NDArray[Any] | None = None
    own: NDArray[Any] | None = None
    try:
        if path.suffix == ".npz":
            listed, inner, own = _from_npz(path)
        elif path.suffix in (".graphml", ".gml"):
            listed = _from_networkx(path)
        else:
            listed = read_edge_list(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such file") from error
    except (OSError, ValueError, UnicodeDecodeError, BadZipFile, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read as a graph ({error})") from error
    names, notes = list(listed.names), []
    if attributes is not None:
        given, rows = read_numbers(attributes, names)
        known = set(names)
        if given is not None and (further := [name for name in given if name not in known]):
            notes.append(f"{len(further)} nodes have attributes and no edges")
            names += further
        inner = match_rows(attributes, given, rows, names, "attributes")
    if labels is not None:
        given, classes = read_classes(labels)
        own = match_rows(labels, given, classes, names, "label")
        if given is not None and len(given) > len(names):
            notes.append(f"{len(given) - len(names)} labels are of nodes that the graph lacks")
    if len(names) < 2:
        raise DatasetError(f"{path}: has {len(names)} node{'s' * (len(names) != 1)}; communities need at least two")
    weights, counts = undirected(listed.ends, listed.weights, len(names))
    if counts.edges == 0:
        raise DatasetError(f"{path}: has no edges between different nodes, so there are no communities in it")
    if inner is not None:
        if len(inner) != len(names):
            raise DatasetError(f"{path}: has {len(names)} nodes and {len(inner)} rows of features")
        if not np.isfinite(inner).all():
            raise DatasetError(f"{attributes or path}: attributes hold NaN or infinity")
    if own is not None and len(own) != len(names):
        raise DatasetError(f"{path}: has {len(names)} nodes and {len(own)} labels")
    truth = None if own is None else np.unique(own, return_inverse=True)[1].ravel().astype(np.int64)
    return Graph(tuple(names), Affinity(weights), counts, inner, truth, tuple(notes))


def undirected(ends: NDArray[np.integer[Any]], weights: NDArray[np.float64], nodes: int) -> tuple[sp.csr_array, Counts]:
    """(N, N) symmetric weights: a pair that is listed in both directions, or twice, has its largest weight."""
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


def read_edge_list(path: str | os.PathLike[str]) -> EdgeList:
    """Edges of a text file; see ``read_graph``.

    Raises
    ------
    DatasetError
        A line is malformed; the message has its number.
    """
    path = Path(path)
    place: dict[str, int] = {}
    ends: list[int] = []
    weights: list[float] = []
    columns, rows = _columns(path, rows_of(path))
    source, target, weight = columns
    for number, cells in rows:
        if len(cells) <= max(source, target) or not cells[source] or not cells[target]:
            raise DatasetError(f"{path}, line {number}: an edge is two nodes and, if it has one, a weight")
        if weight is None and len(cells) > 3:
            raise DatasetError(
                f"{path}, line {number}: has {len(cells)} columns; an edge is two nodes and, if it has one, a weight. "
                "Name the columns source, target and weight in a first line"
            )
        value = 1.0
        at = 2 if weight is None else weight
        if len(cells) > at and cells[at]:
            if not is_number(cells[at]):
                raise DatasetError(f"{path}, line {number}: the weight '{cells[at]}' is no number")
            value = float(cells[at])
            if not 0 <= value < np.inf:
                raise DatasetError(f"{path}, line {number}: the weight {value:g} is not finite, or below 0")
        ends += (place.setdefault(cells[source], len(place)), place.setdefault(cells[target], len(place)))
        weights.append(value)
    names = list(place)
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    if all(_is_whole(name) for name in names):
        order = np.argsort(np.array([int(name) for name in names], dtype=object), kind="stable")
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        names, pairs = [names[i] for i in order], rank[pairs] if len(names) else pairs
    return EdgeList(tuple(names), pairs, np.array(weights, dtype=np.float64))


def _columns(
    path: Path, rows: Iterator[tuple[int, list[str]]]
) -> tuple[tuple[int, int, int | None], Iterable[tuple[int, list[str]]]]:
    """Where source, target and weight are, by a header if there is one, and the rows after it."""
    first = next(rows, None)
    if first is None:
        raise DatasetError(f"{path}: is empty; an edge is two nodes a line")
    second = next(rows, None)
    rest = _chained([row for row in (second,) if row is not None], rows)
    header = [cell.lower() for cell in first[1]]
    found = [next((i for i, cell in enumerate(header) if cell in names), None) for names in (*ENDS, WEIGHTS)]
    if found[0] is not None and found[1] is not None:
        return (found[0], found[1], found[2] if found[2] is not None else len(header)), rest
    if (
        second is not None
        and all(_is_whole(cell) for cell in second[1][:2])
        and not any(is_number(cell) for cell in first[1])
    ):
        return (0, 1, None), rest
    return (0, 1, None), _chained([first], rest)


def _chained(head: Sequence[Any], tail: Iterable[Any]) -> Iterator[Any]:
    yield from head
    yield from tail


def _is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def _from_npz(path: Path) -> tuple[EdgeList, NDArray[np.float64] | None, NDArray[Any] | None]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    label = next((name for name in LABELS if name in arrays), None)
    own = None if label is None else arrays[label].ravel()
    if "edges" in arrays:
        pairs = arrays["edges"]
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
            raise ValueError(f"edges are (M, 2) node numbers, not {pairs.dtype} {pairs.shape}")
        nodes = int(arrays["num_nodes"]) if "num_nodes" in arrays else int(pairs.max(initial=-1)) + 1
        if len(pairs) and (pairs.min() < 0 or pairs.max() >= nodes):
            raise ValueError(f"edges lead to nodes outside 0..{nodes - 1}")
        weights = arrays["weights"].astype(np.float64) if "weights" in arrays else np.ones(len(pairs))
        inner = None
        if "feat_indptr" in arrays:
            inner = sparse_parts(arrays, "feat_").toarray().astype(np.float64)
        elif (name := next((name for name in FEATURES if name in arrays), None)) is not None:
            inner = arrays[name].astype(np.float64)
    elif "format" in arrays:
        matrix = sp.coo_array(sp.load_npz(path))
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a graph is a square matrix, not {matrix.shape}")
        nodes, weights, inner = matrix.shape[0], matrix.data.astype(np.float64), None
        pairs = np.stack([matrix.row, matrix.col], axis=1)
        if (abs(matrix - matrix.T)).nnz == 0:
            # A symmetric matrix has each edge twice, which is its form and nothing to tell.
            upper = pairs[:, 0] <= pairs[:, 1]
            pairs, weights = pairs[upper], weights[upper]
    else:
        raise ValueError(
            f"holds {', '.join(sorted(arrays))}; looked for are edges, or what scipy.sparse.save_npz wrote"
        )
    if len(weights) != len(pairs) or (len(weights) and not (np.isfinite(weights).all() and weights.min() >= 0)):
        raise ValueError("weights are finite and not negative, one for each edge")
    names = tuple(map(str, range(nodes)))
    return EdgeList(names, pairs.astype(np.int64), weights), inner, own


def sparse_parts(arrays: dict[str, NDArray[Any]], prefix: str) -> sp.csr_array:
    """A CSR matrix from its parts ``prefix`` + data, indices, indptr and shape."""
    parts = (arrays[prefix + "data"], arrays[prefix + "indices"], arrays[prefix + "indptr"])
    return sp.csr_array(parts, shape=tuple(arrays[prefix + "shape"]))


def _from_networkx(path: Path) -> EdgeList:
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    try:
        if path.suffix == ".graphml":
            graph = nx.read_graphml(path)
        else:
            # Nodes without a label are told apart by their id.
            labelled = "label" in path.read_text(encoding="utf-8")
            graph = nx.read_gml(path, label="label" if labelled else "id")
    except (nx.NetworkXError, ParseError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    names = tuple(map(str, graph))
    place = {node: i for i, node in enumerate(graph)}
    listed = list(graph.edges(data="weight", default=1.0))
    weights = np.array([float(weight) for _, _, weight in listed])
    if len(weights) and not (np.isfinite(weights).all() and weights.min() >= 0):
        raise ValueError("an edge has a weight that is not finite, or below 0")
    pairs = np.array([(place[a], place[b]) for a, b, _ in listed], dtype=np.int64).reshape(-1, 2)
    return EdgeList(names, pairs, weights)
