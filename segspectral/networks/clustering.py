"""Clustering of vectors or a sparse graph from a file, as ``segspectral cluster`` does it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, GraphError, SettingsError
from segspectral.files import check_folder, npz, write_bytes, write_npz
from segspectral.heads import DEFAULT_HEAD
from segspectral.heads.base import Head
from segspectral.heads.settings import head_from
from segspectral.heads.spaces import LEARNT, SpaceSettings
from segspectral.heads.storage import load
from segspectral.metrics.clustering import clustering_scores
from segspectral.networks.arrays import FEATURES, LABELS, Arrays, classes, is_array_file
from segspectral.networks.graphs import Dialect, Graph, read_graph
from segspectral.networks.vectors import Vectors
from segspectral.registry import SPACE_SOURCES, SPACES
from segspectral.wording import plural

__all__ = ["Clustering", "Problem", "cluster_file", "read_problem"]


Told = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""

Spread = Callable[[Callable[[Any], Any], Iterator[Any]], Iterator[Any]]
"""As the built-in ``map``: a function of one value and the values -> the results in their order."""

WHOLE = 200_000
"""A head is fitted on all vectors of a file if there are at most this many."""

SAMPLE = 100_000
"""If there are more vectors, a head is fitted on a sample of this size, unless another number is asked for."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The content of a file: N vectors or a graph of N nodes, and the true classes (N,) or None.

    ``understood`` says which arrays of a file of vectors are used, if it has others.
    """

    vectors: Vectors | None
    graph: Graph | None
    truth: NDArray[np.int64] | None
    understood: str = ""

    def __len__(self) -> int:
        if self.graph is not None:
            return self.graph.counts.nodes
        assert self.vectors is not None
        return len(self.vectors)

    def __str__(self) -> str:
        """How the file was read, in one line."""
        if self.graph is not None:
            unused = [] if self.graph.attributes is None else ["its features are not used"]
            return "; ".join([str(self.graph.counts), *self.graph.notes, *unused])
        assert self.vectors is not None
        return f"{plural(len(self.vectors), 'vector')} of {plural(self.vectors.width, 'number')}{self.understood}"


@dataclass(frozen=True, eq=False)
class Clustering:
    """The result of clustering a file.

    Parameters
    ----------
    problem : the content of the file
    head : the fitted head
    labels : (N,) cluster ids, in the order of the graph's ``names`` or of the rows
    fitted : how many of the vectors or nodes the head was fitted on; 0 if it had been fitted before
    agreement : scores against the classes of the file (``clustering_scores``), or None if it has no classes
    """

    problem: Problem
    head: Head
    labels: NDArray[np.int64]
    fitted: int
    agreement: dict[str, float] | None


def cluster_file(
    source: str | os.PathLike[str],
    clusters: int = 10,
    *,
    head: Any = DEFAULT_HEAD,
    space: str | None = None,
    of: str | None = None,
    model: str | os.PathLike[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    save: str | os.PathLike[str] | None = None,
    dialect: Dialect | None = None,
    spread: Spread | None = None,
    progress: Told | None = None,
) -> Clustering:
    """Cluster the rows of a file of features, or the nodes of a file of edges.

    Parameters
    ----------
    source : the file, see ``read_problem``; an .npy file may be larger than the memory
    clusters : K
    head : a Head, its name, or {"name": ..., settings}
    space : what vectors are turned into before they are compared and clustered, see ``Head``; None leaves it to the
        head
    of : what the networks of the spaces code, siamese and both learn from, see ``SpaceSettings``; None means auto
    model : a file that ``Head.save`` wrote: its clusters are predicted, and nothing is fitted
    sample : the head is fitted on this many vectors, drawn at random, and predicts the others. None takes all, or
        ``SAMPLE`` if there are more than ``WHOLE``
    output : .npz file to write: labels (N,) int64, probabilities (N, K) float32, and for a graph the node names (N,)
    save : file for the fitted head; it is written before the others are predicted
    dialect : properties of a text file that the reader cannot find out
    spread : applies the fitted head to the blocks of vectors that it predicts, elsewhere if it likes, such as
        ``segspectral.batch.DaskMap``; None does so here, one block after the other
    progress : see ``Told``

    Raises
    ------
    DatasetError
        The file cannot be read as features or edges.
    SettingsError, GraphError, CollapseError, OutputError
    """
    given = {"n_clusters": clusters, "random_state": seed} | _space(space, of)
    try:
        fitted = head_from(head).fresh(**given) if model is None else load(model)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    fitted.check_installed()
    problem = read_problem(source, dialect)
    for written in (output, save):
        if written is not None:
            check_folder(Path(written).parent)
    told = progress or (lambda what, done, count: None)
    chosen = _chosen(problem, clusters, seed, model=model, sample=sample, space=space, dask=spread)
    if problem.vectors is not None:
        _check_vectors(problem.vectors, fitted, source, model)
    if model is None:
        told("fitting", 0, len(problem))
        try:
            _fit(fitted, problem, chosen)
        except GraphError as error:  # the head does not know the file
            error.source = error.source or str(source)
            raise
    if save is not None:
        fitted.save(save)
    labels = _finish(fitted, problem, chosen, output, spread or map, told)
    known = None if problem.truth is None else clustering_scores(labels, problem.truth)
    return Clustering(problem, fitted, labels, len(labels) if chosen is None else len(chosen), known)


def _space(space: str | None, of: str | None) -> dict[str, Any]:
    """The setting of a head that says what vectors are turned into; none leaves it to the head.

    Raises SettingsError.
    """
    if space is not None and space not in SPACES:
        raise SettingsError(f"there is no space '{space}'; there are {', '.join(SPACES)}")
    if of is None:
        return {} if space is None else {"space": space}
    if of not in SPACE_SOURCES:
        raise SettingsError(f"a space cannot learn from '{of}'; there are {', '.join(SPACE_SOURCES)}")
    if space not in LEARNT:
        raise SettingsError(
            f"of={of} is for the networks of the spaces {', '.join(LEARNT)}; choose one of them, or leave it out"
        )
    return {"space": SpaceSettings.model_validate({"name": space, "of": of})}


def _chosen(problem: Problem, clusters: int, seed: int, **options: Any) -> NDArray[np.int64] | None:
    """The rising numbers of the vectors to fit on, none with a model; None stands for all, and for all nodes.

    SettingsError for the first of the ``options`` that is given and has nothing to do.
    """
    if problem.vectors is None:
        for option, value in options.items():
            if value is not None:
                raise SettingsError(f"{option} is for vectors, and this is a graph, whose nodes are clustered together")
        return None
    if options["model"] is not None:
        return np.empty(0, np.int64)
    chosen = _drawn(len(problem.vectors), options["sample"], clusters, seed)
    if chosen is None and options["dask"] is not None:
        raise SettingsError(
            f"dask is for vectors that are predicted, and here the head is fitted on all {len(problem.vectors)}; give "
            "a sample or a model, or leave dask out"
        )
    return chosen


def _check_vectors(
    vectors: Vectors, head: Head, source: str | os.PathLike[str], model: str | os.PathLike[str] | None
) -> None:
    """Raise DatasetError if the head cannot be fitted on the vectors, or if it is of a ``model``, predict them."""
    if model is None and len(vectors) < 2:
        raise DatasetError("has only one vector; at least two are needed", source)
    if model is not None and head.extension_.needs_features and vectors.width != head.n_features_in_:
        raise DatasetError(
            f"has vectors of {vectors.width} numbers, and {model} was fitted on vectors of {head.n_features_in_}",
            source,
        )


def _drawn(count: int, sample: int | None, clusters: int, seed: int) -> NDArray[np.int64] | None:
    """The rising numbers of the vectors that a head is fitted on; None stands for all of them."""
    if sample is not None and sample < clusters:
        raise SettingsError(f"sample is {sample}, and {clusters} clusters need at least that many vectors")
    size = (SAMPLE if count > WHOLE else count) if sample is None else sample
    return None if size >= count else np.sort(np.random.default_rng(seed).choice(count, size, replace=False))


def _fit(head: Head, problem: Problem, chosen: NDArray[np.int64] | None) -> None:
    if problem.vectors is not None:
        head.fit(problem.vectors[slice(None) if chosen is None else chosen])
    elif problem.graph is not None:
        head.fit(None, affinity=problem.graph.affinity)


def _finish(
    head: Head,
    problem: Problem,
    chosen: NDArray[np.int64] | None,
    output: str | os.PathLike[str] | None,
    spread: Spread,
    progress: Told,
) -> NDArray[np.int64]:
    """The labels (N,) of all vectors or nodes, which are written with their memberships if there is an ``output``."""
    if chosen is None or problem.vectors is None:
        if output is not None:
            names = {} if problem.graph is None else {"names": np.array(problem.graph.names)}
            arrays = {"labels": head.labels_, "probabilities": head.membership_.probabilities, **names}
            write_bytes(Path(output), npz(arrays))
        return head.labels_
    labels = np.empty(len(problem), np.int64)
    parts = _predicted(head, problem.vectors, chosen, labels, spread, progress)
    if output is None:
        deque(parts, maxlen=0)
    else:
        write_npz(Path(output), probabilities=((len(labels), head.n_clusters), parts), labels=labels)
    return labels


def _predicted(
    head: Head,
    vectors: Vectors,
    fitted: NDArray[np.int64],
    labels: NDArray[np.int64],
    spread: Spread,
    progress: Told,
) -> Iterator[NDArray[np.float32]]:
    """(n, K) memberships of the vectors, block by block; ``labels`` (N,) is filled on the way.

    Those that the head was ``fitted`` on keep the memberships of the fit.
    """
    rows = (vectors[block] for block in vectors.blocks())
    for block, P in zip(vectors.blocks(), spread(head.predict_proba, rows), strict=True):
        first, end = np.searchsorted(fitted, [block.start, block.stop])
        if end > first:
            P = P.copy()  # What comes from elsewhere may be read-only.
            P[fitted[first:end] - block.start] = head.membership_.probabilities[first:end]
        labels[block] = P.argmax(axis=1)
        progress("predicting", block.stop, len(vectors))
        yield P


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
        name, vectors = None, Vectors.checked(arrays.dense(matrix), path)
    else:
        name = arrays.first_of(FEATURES)
        if name is None:
            raise DatasetError(
                f"has the arrays {', '.join(sorted(arrays))}; features must be called {', '.join(FEATURES)}, and a "
                "graph must have edges",
                path,
            )
        vectors = Vectors.checked(arrays[name], path)
    label = arrays.first_of(LABELS)
    truth = None
    if label is not None:
        truth = np.unique(classes(path, label, arrays[label]), return_inverse=True)[1].astype(np.int64)
        if len(truth) != len(vectors):
            raise DatasetError(f"has {len(vectors)} rows of features and {len(truth)} {label}", path)
    unused = sorted(set(arrays) - {name, label}) if name is not None else []
    understood = f" from '{name}', left out: {', '.join(unused)}" if unused else ""
    return Problem(vectors, None, truth, understood)


def _of_graph(graph: Graph) -> Problem:
    return Problem(None, graph, graph.labels)
