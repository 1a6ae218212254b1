"""Cluster anybody's vectors or sparse graph, read from a file: what ``segspectral cluster`` does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import clone

from segspectral.errors import DatasetError, OutputError, SettingsError
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.contract import Head
from segspectral.heads.settings import head_from

__all__ = ["Agreement", "Clustering", "Problem", "agreement", "cluster_file", "read_problem"]

FEATURES = ("features", "x", "X", "data", "arr_0")
LABELS = ("labels", "y", "Y", "label")


@dataclass(frozen=True, eq=False)
class Problem:
    """What a file asks for: features (N, D), or a graph (N, N), or both, and the true classes (N,) if it has them."""

    features: NDArray[np.float64] | None
    affinity: sp.csr_array | None
    truth: NDArray[np.int64] | None


@dataclass(frozen=True)
class Agreement:
    """How well clusters agree with classes; each is 1 for equal partitions."""

    accuracy: float
    nmi: float
    ari: float


@dataclass(frozen=True, eq=False)
class Clustering:
    """The fitted head, its labels (N,), and the agreement with the file's classes if it has any."""

    head: Head
    labels: NDArray[np.int64]
    agreement: Agreement | None


def cluster_file(
    source: str | os.PathLike[str],
    clusters: int = 10,
    *,
    head: Any = DEFAULT_HEAD,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
) -> Clustering:
    """Cluster the rows of a file of features, or the nodes of a file of edges.

    Parameters
    ----------
    source : see ``read_problem``
    clusters : K
    head : a Head, its name, or {"name": ..., settings}
    output : npz to write: labels (N,) int64, probabilities (N, K) float32

    Raises
    ------
    DatasetError
        The file cannot be read as features or edges.
    SettingsError, GraphError, CollapseError, OutputError
    """
    problem = read_problem(source)
    try:
        fitted = clone(head_from(head)).set_params(n_clusters=clusters, random_state=seed)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    fitted.fit(problem.features, affinity=problem.affinity)
    if output is not None:
        path = Path(output)
        try:
            with path.open("wb") as file:
                np.savez_compressed(file, labels=fitted.labels_, probabilities=fitted.membership_.probabilities)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    known = None if problem.truth is None else agreement(problem.truth, fitted.labels_)
    return Clustering(fitted, fitted.labels_, known)


def agreement(truth: NDArray[Any], labels: NDArray[Any]) -> Agreement:
    """Accuracy under the best one-to-one naming of the clusters (Hungarian method), NMI (arithmetic mean), ARI."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    count = contingency_matrix(truth, labels)
    rows, cols = linear_sum_assignment(count, maximize=True)
    return Agreement(
        accuracy=float(count[rows, cols].sum() / len(truth)),
        nmi=float(normalized_mutual_info_score(truth, labels)),
        ari=float(adjusted_rand_score(truth, labels)),
    )


def read_problem(path: str | os.PathLike[str]) -> Problem:
    """Features or a graph, from a file without pickle.

    ::

        .npy   features (N, ...), each sample flattened
        .npz   features under ``features``, ``x`` or ``data`` and, if it has them, classes under ``labels`` or ``y``;
               or a matrix that ``scipy.sparse.save_npz`` wrote: a graph if it is square and symmetric, else features;
               or num_nodes and edges (M, 2)
        .csv, .tsv, .txt, .edges   one edge a line: two node numbers from 0 and, if it has one, a weight

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            return Problem(_rows(np.load(path, allow_pickle=False)), None, None)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            return _from_arrays(arrays, path)
        return Problem(None, _edge_list(path), None)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such file") from error
    except (OSError, ValueError, BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read as features or edges ({error})") from error


def _from_arrays(arrays: dict[str, NDArray[Any]], path: Path) -> Problem:
    label = next((name for name in LABELS if name in arrays), None)
    truth = None if label is None else np.unique(arrays[label].ravel(), return_inverse=True)[1].astype(np.int64)
    if {"data", "indices", "indptr", "shape"} <= arrays.keys():
        matrix = sp.csr_array(sp.load_npz(path)) if "format" in arrays else _csr(arrays, "")
        if matrix.shape[0] == matrix.shape[1] and abs(matrix - matrix.T).max() <= 1e-6 * abs(matrix).max():
            return Problem(None, _without_loops(matrix), truth)
        return Problem(matrix.toarray().astype(np.float64), None, truth)
    if "edges" in arrays:
        nodes = int(arrays["num_nodes"]) if "num_nodes" in arrays else int(arrays["edges"].max()) + 1
        graph = _graph(arrays["edges"], np.ones(len(arrays["edges"])), nodes)
        return Problem(None, graph, truth)
    name = next((name for name in FEATURES if name in arrays), None)
    if name is None:
        raise DatasetError(
            f"{path}: holds {', '.join(sorted(arrays))}; features are looked for under {', '.join(FEATURES)}, a graph "
            "under edges"
        )
    return Problem(_rows(arrays[name]), None, truth)


def _rows(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim < 2 or values.size == 0:
        raise ValueError(f"features are (N, D), not {values.shape}")
    scale = 255.0 if values.dtype == np.uint8 else 1.0
    return values.reshape(len(values), -1).astype(np.float64) / scale


def _csr(arrays: dict[str, NDArray[Any]], prefix: str) -> sp.csr_array:
    parts = (arrays[prefix + "data"], arrays[prefix + "indices"], arrays[prefix + "indptr"])
    return sp.csr_array(parts, shape=tuple(arrays[prefix + "shape"]))


def _edge_list(path: Path) -> sp.csr_array:
    text = path.read_text(encoding="utf-8")
    delimiter = "," if "," in text else None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", "%"))]
    if lines and not lines[0].strip()[0].isdigit():
        lines = lines[1:]  # a header
    table = np.loadtxt(lines, delimiter=delimiter, ndmin=2)
    if table.size == 0 or table.shape[1] not in (2, 3):
        raise ValueError("an edge is two node numbers and, if it has one, a weight")
    edges = table[:, :2].astype(np.int64)
    if (edges != table[:, :2]).any() or edges.min() < 0:
        raise ValueError("node numbers are whole, from 0")
    return _graph(edges, table[:, 2] if table.shape[1] == 3 else np.ones(len(table)), int(edges.max()) + 1)


def _graph(edges: NDArray[Any], weights: NDArray[np.float64], nodes: int) -> sp.csr_array:
    """Undirected: an edge that is listed in both directions, or twice, counts once, with its largest weight."""
    i, j = edges.astype(np.int64).T
    kept = i != j
    first, second = np.minimum(i, j)[kept], np.maximum(i, j)[kept]
    order = np.lexsort((weights[kept], second, first))
    first, second, value = first[order], second[order], weights[kept][order]
    last = np.append((np.diff(first) != 0) | (np.diff(second) != 0), True) if len(first) else np.empty(0, bool)
    upper = sp.csr_array((value[last], (first[last], second[last])), shape=(nodes, nodes))
    return sp.csr_array(upper + upper.T)


def _without_loops(matrix: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(matrix - sp.diags_array(matrix.diagonal()))
