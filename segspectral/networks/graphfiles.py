"""Readers for the files of networks: numpy's arrays, sparse matrices, and the formats that networkx reads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError, SettingsError
from segspectral.images.formats import HEAD, what_is
from segspectral.networks.arrays import FEATURES, LABELS, SPARE, Arrays, classes, is_array_file, vectors
from segspectral.networks.columns import Dialect, chosen_weight
from segspectral.networks.edgelists import EdgeList, read_edge_list
from segspectral.networks.sections import looks_like_lgl, parse_lgl, parse_pajek
from segspectral.networks.tables import PACKED, read_bytes, read_text
from segspectral.wording import first_line, plural

__all__ = ["Listed", "read_listed"]

BEGIN = 4000
"""The format of a text is recognised by this many characters."""


@dataclass(frozen=True, eq=False)
class Listed:
    """The edges in a file, and ``rows`` (N, D) of features and ``classes`` (N,) of the nodes if it has them."""

    edges: EdgeList
    rows: NDArray[np.float64] | None = None
    classes: NDArray[Any] | None = None


def read_listed(path: Path, dialect: Dialect) -> Listed:
    """Read the file of a network; see ``segspectral.networks.graphs.read_graph``.

    Raises
    ------
    DatasetError, SettingsError
    """
    arrays = is_array_file(path)
    text = "" if arrays else read_text(path)[0].lstrip()
    kind = "npz" if arrays else _kind(path, text[:BEGIN])
    if kind != "text" and dialect != Dialect(weight=dialect.weight if kind in PARSERS else None):
        raise SettingsError(f"is {kind}, which has no columns: leave out the options for columns", path)
    try:
        if kind == "text":
            if dialect.comments is None and looks_like_lgl(text):
                raise DatasetError(
                    "can be LGL, or edges with headings; name it .lgl, or leave the headings out by --comments '#'",
                    path,
                )
            return Listed(read_edge_list(path, dialect))
        if kind == "npz":
            return _from_arrays(path, Arrays(path))
        if kind == "Matrix Market":
            return Listed(_from_matrix(path, _matrix_market(path), kind))
        return Listed(_from_networkx(path, kind, dialect.weight))
    except MemoryError as error:
        raise DatasetError("is larger than the memory", path) from error


def _kind(path: Path, text: str) -> str:
    """Return the format of a file by its beginning, or by its suffix where the text can be taken for edges.

    Raises
    ------
    DatasetError
        The format is known but not supported.
    """
    suffix = (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()
    lines = [line.strip().lower() for line in text.splitlines()]
    # Programs write their name and a date at the beginning of a file of GML or DOT.
    body = " ".join(line for line in lines if line and not line.startswith(("#", "creator", "version", "comment")))
    body = re.sub(r"/\*.*?\*/", "", body).lstrip()
    if text.startswith("<"):
        if isinstance(page := what_is(text.encode()[:HEAD]), tuple) and page[0] == "a web page":
            raise DatasetError("is a web page, not a graph; download the file itself", path)
        return "GEXF" if "<gexf" in text else "GraphML"
    if body.startswith(("graph [", "graph[")) or suffix == ".gml":
        return "GML"
    if text.lower().startswith("%%matrixmarket"):
        return "Matrix Market"
    if any(line.startswith("*vertices") for line in lines[:20]):
        return "Pajek"
    if len(lines) > 1 and lines[0].startswith("#") and lines[1].startswith("# gmt "):
        # networkx dates its adjacency lists, and only these. In the one of many lines each edge ends with a dict.
        return "a multi-line adjacency list" if "{" in body else "an adjacency list"
    if suffix == ".lgl":
        return "LGL"
    if (refused := _refused(suffix, text, body)) is not None:
        raise DatasetError(f"cannot be read as a graph: it is {refused}; write GraphML, or edges as CSV", path)
    return "text"


def _refused(suffix: str, text: str, body: str) -> str | None:
    """Return the name of a format that is known but not read, or None.

    Parameters
    ----------
    text : the beginning of the file
    body : the same on one line in small letters, without comments
    """
    if text.startswith(("{", "[")) or suffix == ".json":
        return "JSON"
    if re.match(r"(strict\s+)?(di)?graph\b[^{]*\{", body):
        return "DOT"
    if body.startswith("leda.graph"):
        return "LEDA"
    if re.match(r"(c .*)?p (edge|col|sp|max|cnf|tw) \d", body):
        return "DIMACS"
    if suffix in (".graph", ".metis") and re.match(r"\d+ \d+( \d+)* ", body):
        return "METIS, an adjacency list"
    return None


def _from_arrays(path: Path, arrays: Arrays) -> Listed:
    label = arrays.first_of(LABELS)
    own = None if label is None else classes(path, label, arrays[label])
    if arrays.holds_matrix:
        return Listed(_from_matrix(path, arrays.matrix(), "a sparse matrix"), None, own)
    key = arrays.first_of(("edges", "edge_index"))
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
        rows = arrays.dense(arrays.matrix("feat_")).astype(np.float64)
    elif (name := arrays.first_of(FEATURES)) is not None:
        rows = vectors(path, name, arrays[name])
    weight = arrays.first_of(("weights", "weight", "edge_weight"))
    weights = np.ones(len(whole)) if weight is None else _checked(path, arrays[weight], len(whole))
    numbers, ends = _nodes(path, whole, _number_of_nodes(path, arrays, rows, own))
    notes = [f"{key} of an npz", "all weights 1" if weight is None else f"weights from {weight!r}"]
    used = {key, weight, label, "num_nodes", *(name for name in arrays if name.startswith("feat_")), *FEATURES}
    if unused := sorted(set(arrays) - used):
        notes.append(f"left out: {', '.join(unused)}")
    names = tuple(map(str, numbers.tolist()))
    return Listed(EdgeList(names, ends, weights, ", ".join(notes)), rows, own)


def _number_of_nodes(path: Path, arrays: Arrays, rows: NDArray[Any] | None, own: NDArray[Any] | None) -> int | None:
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


PARSERS: Mapping[str, Callable[[Any, Path], Any]] = {
    "GraphML": lambda nx, path: nx.read_graphml(io.BytesIO(read_bytes(path))),
    "GEXF": lambda nx, path: nx.read_gexf(io.BytesIO(read_bytes(path))),
    "GML": lambda nx, path: nx.parse_gml(read_text(path)[0], label="id"),
    "Pajek": lambda nx, path: parse_pajek(nx, path, read_text(path)[0]),
    "LGL": lambda nx, path: parse_lgl(nx, path, read_text(path)[0]),
    "an adjacency list": lambda nx, path: nx.parse_adjlist(read_text(path)[0].splitlines()),
    "a multi-line adjacency list": lambda nx, path: nx.parse_multiline_adjlist(iter(read_text(path)[0].splitlines())),
}
"""Format -> from networkx and a file to its graph."""


def _from_networkx(path: Path, kind: str, told_weight: str | None) -> EdgeList:
    import networkx

    try:
        graph = PARSERS[kind](networkx, path)
    except DatasetError:
        raise
    except Exception as error:  # networkx can raise any kind of error here, and XML can exceed the recursion limit
        raise DatasetError(f"cannot be read as a graph ({kind}: {first_line(error)})", path) from error
    names, notes = _names(graph)
    index = {node: i for i, node in enumerate(graph)}
    listed = [(index[a], index[b], data) for a, b, data in graph.edges(data=True)]
    keys = list(dict.fromkeys(key for _, _, data in listed for key in data))
    weight = chosen_weight(path, keys, told_weight)
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
    return EdgeList(names, pairs, weights, ", ".join([kind, *notes]))


def _names(graph: Any) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the nodes, which are labels if all nodes have different ones, and a note about labels."""
    ids = tuple(map(str, graph))
    for key in ("label", "name"):
        given = tuple(str(name) for _, name in graph.nodes(data=key, default=""))
        if all(given) and len(set(given)) == len(given):
            return given, [f"names from {key!r}"] if given != ids else []
    return ids, []
