"""Clustering of vectors or a sparse graph from a file, as ``segspectral cluster`` does it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, SettingsError
from segspectral.files import check_folder, npz, write_bytes
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.base import Head
from segspectral.heads.settings import head_from
from segspectral.metrics.clustering import clustering_scores
from segspectral.networks.arrays import FEATURES, LABELS, Arrays, is_array_file
from segspectral.networks.graphs import Dialect, Graph, read_graph

__all__ = ["Clustering", "Problem", "cluster_file", "read_problem"]


@dataclass(frozen=True, eq=False)
class Problem:
    """The content of a file: features (N, D) or a graph of N nodes, and the true classes (N,) or None."""

    features: NDArray[np.float64] | None
    graph: Graph | None
    truth: NDArray[np.int64] | None

    def __str__(self) -> str:
        """How the file was read, in one line."""
        if self.graph is not None:
            unused = [] if self.graph.attributes is None else ["its features are not used"]
            return "; ".join([str(self.graph.counts), *self.graph.notes, *unused])
        assert self.features is not None
        return f"{self.features.shape[0]} vectors of {self.features.shape[1]} numbers"


@dataclass(frozen=True, eq=False)
class Clustering:
    """The result of clustering a file.

    Parameters
    ----------
    problem : the content of the file
    head : the fitted head
    labels : (N,) cluster ids, in the order of the graph's ``names`` or of the rows
    agreement : scores against the classes of the file (``clustering_scores``), or None if it has no classes
    """

    problem: Problem
    head: Head
    labels: NDArray[np.int64]
    agreement: dict[str, float] | None


def cluster_file(
    source: str | os.PathLike[str],
    clusters: int = 10,
    *,
    head: Any = DEFAULT_HEAD,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    dialect: Dialect | None = None,
) -> Clustering:
    """Cluster the rows of a file of features, or the nodes of a file of edges.

    Parameters
    ----------
    source : the file, see ``read_problem``
    clusters : K
    head : a Head, its name, or {"name": ..., settings}
    output : .npz file to write: labels (N,) int64, probabilities (N, K) float32, and for a graph the node names (N,)
    dialect : properties of a text file that the reader cannot find out

    Raises
    ------
    DatasetError
        The file cannot be read as features or edges.
    SettingsError, GraphError, CollapseError, OutputError
    """
    try:
        fitted = head_from(head).fresh(n_clusters=clusters, random_state=seed)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    problem = read_problem(source, dialect)
    if output is not None:
        check_folder(Path(output).parent)
    graph = problem.graph
    fitted.fit(problem.features, affinity=None if graph is None else graph.affinity)
    if output is not None:
        arrays: dict[str, Any] = {"labels": fitted.labels_, "probabilities": fitted.membership_.probabilities}
        if graph is not None:
            arrays["names"] = np.array(graph.names)
        write_bytes(Path(output), npz(arrays))
    known = None if problem.truth is None else clustering_scores(fitted.labels_, problem.truth)
    return Clustering(problem, fitted, fitted.labels_, known)


def read_problem(path: str | os.PathLike[str], dialect: Dialect | None = None) -> Problem:
    """Read features or a graph from a file; pickles are refused.

    ::

        .npy      features (N, ...); each sample is flattened
        .npz      features under ``features``, ``x`` or ``data``, and optionally classes under ``labels`` or ``y``;
                  or a matrix that ``scipy.sparse.save_npz`` wrote: a graph if it is square, else features
        a graph   see ``segspectral.networks.graphs.read_graph``

    Parameters
    ----------
    dialect : properties of a text file that the reader cannot find out

    Raises
    ------
    DatasetError, SettingsError
    """
    path = Path(path)
    arrays = Arrays(path) if is_array_file(path) else None
    if arrays is None or "edges" in arrays or "edge_index" in arrays:
        return _of_graph(read_graph(path, dialect=dialect))
    if arrays.holds_matrix:
        matrix = arrays.matrix()
        if matrix.shape[0] == matrix.shape[1]:
            return _of_graph(read_graph(path, dialect=dialect))
        features = _rows(path, arrays.dense(matrix))
    else:
        name = arrays.first_of(FEATURES)
        if name is None:
            raise DatasetError(
                f"has the arrays {', '.join(sorted(arrays))}; features must be called {', '.join(FEATURES)}, and a "
                "graph must have edges",
                path,
            )
        features = _rows(path, arrays[name])
    label = arrays.first_of(LABELS)
    truth = None if label is None else np.unique(arrays[label].ravel(), return_inverse=True)[1].astype(np.int64)
    if truth is not None and len(truth) != len(features):
        raise DatasetError(f"has {len(features)} rows of features and {len(truth)} {label}", path)
    return Problem(features, None, truth)


def _of_graph(graph: Graph) -> Problem:
    return Problem(None, graph, graph.labels)


def _rows(path: Path, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.ndim < 2 or values.size == 0 or values.dtype.kind not in "biuf":
        raise DatasetError(f"features must be (N, D) numbers, not {values.dtype} {values.shape}", path)
    if len(values) < 2:
        raise DatasetError("has only one vector; at least two are needed", path)
    scale = 255.0 if values.dtype == np.uint8 else 1.0
    rows = values.reshape(len(values), -1).astype(np.float64) / scale
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).argmax())
        raise DatasetError(f"features contain NaN or infinity, first in row {bad}", path)
    return rows
