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
from segspectral.graphs import FEATURES, LABELS, read_edge_list, sparse_parts, undirected
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.contract import Head
from segspectral.heads.settings import head_from
from segspectral.metrics.clustering import clustering_scores

__all__ = ["Agreement", "Clustering", "Problem", "agreement", "cluster_file", "read_problem"]


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
    return Agreement(**clustering_scores(labels, truth))


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
        matrix = sp.csr_array(sp.load_npz(path)) if "format" in arrays else sparse_parts(arrays, "")
        if matrix.shape[0] == matrix.shape[1] and abs(matrix - matrix.T).max() <= 1e-6 * abs(matrix).max():
            return Problem(None, _without_loops(matrix), truth)
        return Problem(matrix.toarray().astype(np.float64), None, truth)
    if "edges" in arrays:
        nodes = int(arrays["num_nodes"]) if "num_nodes" in arrays else int(arrays["edges"].max()) + 1
        graph, _ = undirected(arrays["edges"], np.ones(len(arrays["edges"])), nodes)
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


def _edge_list(path: Path) -> sp.csr_array:
    listed = read_edge_list(path)
    if not listed.names or not all(name.isdigit() for name in listed.names):
        raise ValueError("node numbers are whole, from 0; segspectral communities takes any names")
    number = np.array([int(name) for name in listed.names])
    return undirected(number[listed.ends], listed.weights, int(number.max()) + 1)[0]


def _without_loops(matrix: sp.csr_array) -> sp.csr_array:
    return sp.csr_array(matrix - sp.diags_array(matrix.diagonal()))
