"""Clustering from files, and the agreement that is reported."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import tracemalloc
import zipfile
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import Result
from sklearn.datasets import make_blobs
from typer.testing import CliRunner

from segspectral.batch import DaskMap
from segspectral.cli import app
from segspectral.errors import DatasetError, SegspectralError, SettingsError
from segspectral.metrics.clustering import clustering_scores
from segspectral.networks.clustering import cluster_file, read_problem
from segspectral.shared import hub
from segspectral.spectral.eigen import spectral_embedding
from segspectral.spectral.knn import knn_affinity
from segspectral.values import Affinity

X, y = make_blobs(90, centers=3, cluster_std=0.5, random_state=1)


def test_features_with_labels_are_clustered_and_scored(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X.reshape(90, 1, 2), y=y)
    result = cluster_file(tmp_path / "a.npz", 3, output=tmp_path / "labels.npz")
    assert result.agreement == pytest.approx({"accuracy": 1, "nmi": 1, "ari": 1})
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as written:
        assert np.array_equal(written["labels"], result.labels)
        assert written["probabilities"].shape == (90, 3)
    np.save(tmp_path / "a.npy", X)
    same = cluster_file(tmp_path / "a.npy", 3, head={"name": "kmeans", "n_init": 3})
    assert same.agreement is None
    assert clustering_scores(same.labels, y)["nmi"] == pytest.approx(1)


def test_every_file_format_gives_the_same_graph(tmp_path: Path) -> None:
    graph = knn_affinity(X).weights.astype(np.float64)
    sp.save_npz(tmp_path / "graph.npz", graph)
    edges = sp.triu(graph).tocoo()
    rows = [f"{i},{j},{w!r}" for i, j, w in zip(edges.row, edges.col, edges.data.tolist(), strict=True)]
    (tmp_path / "graph.csv").write_text("\n".join(["source,target,weight", *rows]))
    (tmp_path / "graph.txt").write_text("\n".join(["# both directions", *rows, *rows]).replace(",", " "))
    expected = read_problem(tmp_path / "graph.npz").graph.affinity.weights
    for name in ("graph.csv", "graph.txt"):
        assert abs(read_problem(tmp_path / name).graph.affinity.weights - expected).max() < 1e-12
    assert clustering_scores(cluster_file(tmp_path / "graph.csv", 3, head="exact").labels, y)["ari"] == pytest.approx(1)
    np.savez(tmp_path / "edges.npz", num_nodes=90, edges=np.stack([edges.row, edges.col], axis=1), labels=y)
    assert cluster_file(tmp_path / "edges.npz", 3).agreement["nmi"] == pytest.approx(1)
    with pytest.raises(SettingsError, match="a graph alone has none"):
        cluster_file(tmp_path / "edges.npz", 3, head="kmeans")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"1,2,3,4\n", "line 1: has 4 columns, not 3; an edge is two nodes"),
        ("a.csv", b"0.5,2\n", "'0.5' is a number that is not whole"),
        ("a.npz", b"junk", "cannot be read"),
        ("a.npy", b"junk", "cannot be read"),
        ("a.bin", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_raises_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=sentence):
        read_problem(tmp_path / name)


def test_missing_arrays_and_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_problem(tmp_path / "absent.npz")
    np.savez(tmp_path / "a.npz", something=X)
    with pytest.raises(DatasetError, match="has the arrays something; features must be called"):
        read_problem(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="pickle"):
        read_problem(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", X)
    with pytest.raises(SettingsError, match="unknown head"):
        cluster_file(tmp_path / "c.npy", head="nohead")
    with pytest.raises(SegspectralError, match="cannot be written"):
        cluster_file(tmp_path / "c.npy", 3, output=tmp_path / "c.npy" / "labels.npz")


def test_labels_are_written_with_the_names_of_their_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("30,20\n20,10\n10,30\n7,8\n8,9\n9,7\n10,9\n")
    result = cluster_file(tmp_path / "a.csv", 2, head="exact", output=tmp_path / "new" / "labels.npz")
    with np.load(tmp_path / "new" / "labels.npz", allow_pickle=False) as written:
        assert written["names"].tolist() == ["7", "8", "9", "10", "20", "30"]
        assert np.array_equal(written["labels"], result.labels)
    assert len(set(result.labels[:3])) == len(set(result.labels[3:])) == 1


def test_weights_and_node_numbers_of_an_npz_are_used(tmp_path: Path) -> None:
    pairs = np.argwhere(np.triu(np.ones((12, 12)), 1))
    weights = np.where((pairs[:, 0] < 6) == (pairs[:, 1] < 6), 1.0, 0.01)
    for name, arrays in {
        "whole": {"edges": pairs, "num_nodes": 12},
        "floats": {"edges": pairs.astype(np.float64)},
        "from one": {"edges": pairs + 1, "num_nodes": 12},
        "with gaps": {"edges": pairs * 1000 + 10**9},
        "of torch": {"edge_index": pairs.T},
    }.items():
        np.savez(tmp_path / "a.npz", weights=weights, **arrays)
        found = cluster_file(tmp_path / "a.npz", 2, head="exact")
        assert clustering_scores(found.labels, np.arange(12) < 6)["ari"] == 1, name
        assert found.problem.graph.counts.nodes == 12


def test_sparse_matrices_of_every_kind_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    dense = np.kron(np.eye(2), np.ones((5, 5))) - np.eye(10)
    dense[0, 5] = dense[5, 0] = 1
    for kind in ("csr", "csc", "coo", "bsr", "dia"):
        for dtype in (np.bool_, np.uint8, np.float32):
            sp.save_npz(tmp_path / "a.npz", sp.coo_array(dense.astype(dtype)).asformat(kind))
            found = cluster_file(tmp_path / "a.npz", 2, head="exact")
            assert found.labels.tolist() in ([0] * 5 + [1] * 5, [1] * 5 + [0] * 5), (kind, dtype)
    directed = np.triu(dense)
    directed[5, 0] = 7
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(directed))
    problem = read_problem(tmp_path / "a.npz")
    assert problem.graph.affinity.weights.toarray()[0, 5] == 7
    assert "not symmetric" in str(problem)
    broken = {"format": "csr", "shape": [10, 10], "data": np.ones(4), "indptr": np.array([0, *[4] * 10])}
    for changes, sentence in (
        ({"indices": np.array([1, 2, 3, 99])}, "sparse matrix"),
        ({"indices": np.array([1, 2, 3, -1])}, "sparse matrix"),
        ({"indices": np.arange(4), "indptr": np.array([0, 4, 1, *[4] * 8])}, "sparse matrix"),
        ({"indices": np.arange(4), "indptr": np.arange(3)}, "sparse matrix"),
        ({"indices": np.arange(4), "format": "what"}, "sparse matrix"),
        ({"indices": np.arange(4), "data": np.full(4, np.nan), "indptr": np.array([0, *[4] * 10])}, "finite"),
        (
            {"indices": np.arange(4), "data": np.full(4, 1j), "indptr": np.array([0, *[4] * 10])},
            "not a matrix of numbers",
        ),
        ({"format": "coo", "row": [0], "col": [1], "data": [1.0], "shape": [10**10] * 2}, "says 10000000000 nodes"),
        ({"format": "coo", "row": [0], "col": [1], "data": [1.0], "shape": [10**10, 10**9]}, "need more than"),
    ):
        np.savez(tmp_path / "a.npz", **(broken | changes))
        with pytest.raises(DatasetError, match=sentence) as error:
            read_problem(tmp_path / "a.npz")
        assert "\n" not in str(error.value)


def test_headers_are_checked_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    (tmp_path / "a.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DatasetError, match=r"\(1000000, 1000000\) would take 8,000,000,000,000 bytes"):
            read_problem(tmp_path / name)
    monkeypatch.setattr("segspectral.networks.arrays.UNPACKED", 10_000)
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros((1000, 100)))
    with pytest.raises(DatasetError, match="unpacks to more than"):
        read_problem(tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", x=np.zeros((1000, 100)))
    assert read_problem(tmp_path / "b.npz").vectors is not None


def test_infinite_values_and_single_vectors_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", X[:1])
    with pytest.raises(DatasetError, match="at least two"):
        cluster_file(tmp_path / "one.npy", 1)
    for bad in (np.nan, np.inf):
        features = X.copy()
        features[7, 1] = bad
        np.save(tmp_path / "a.npy", features)
        with pytest.raises(DatasetError, match="features contain NaN or infinity, first in row 7"):
            read_problem(tmp_path / "a.npy")


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_values_that_cannot_be_computed_with_are_refused_by_the_name_of_the_file(factor: float, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X * factor)
    with pytest.raises(SegspectralError, match=r"a\.npy: the features are of size"):
        cluster_file(tmp_path / "a.npy", 3)


def test_missing_classes_are_no_class(tmp_path: Path) -> None:
    """NaN and empty cells were a class of their own, and the agreement that of another truth."""
    some = y.astype(float)
    some[4] = np.nan
    edges = np.array([(i, i + 1) for i in range(89)])
    for number, (truth, words) in enumerate(
        [
            (some, r"y has no class in row 4 \(nan\)"),
            (np.where(np.arange(90) == 4, "", y.astype(str)), "y has no class in row 4"),
            (np.eye(3)[y], r"one class for each row \(N,\), not \(90, 3\)"),
            (y.reshape(45, 2), r"one class for each row \(N,\), not \(45, 2\)"),
        ]
    ):
        for kind, arrays in (("vectors", {"x": X}), ("graph", {"edges": edges})):
            path = tmp_path / f"{kind}{number}.npz"
            np.savez(path, y=truth, **arrays)
            with pytest.raises(DatasetError, match=words):
                read_problem(path)
    for name, good in (("column", y[:, None]), ("row", y[None]), ("floats", y.astype(float)), ("text", y.astype(str))):
        np.savez(tmp_path / f"{name}.npz", x=X, y=good)
        assert (read_problem(tmp_path / f"{name}.npz").truth == y).all()


def test_arrays_that_are_not_used_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, X=X, target=y)
    assert str(read_problem(tmp_path / "a.npz")) == "90 vectors of 2 numbers from 'x', left out: X, target"
    np.savez(tmp_path / "b.npz", x=X, y=y)
    assert str(read_problem(tmp_path / "b.npz")) == "90 vectors of 2 numbers"


def test_isolated_nodes_cost_no_more_than_their_number() -> None:
    n = 3000
    i = np.array([0, 1, 2, 3, 4, 5, 2])
    j = np.array([1, 2, 0, 4, 5, 3, 3])
    upper = sp.coo_array((np.ones(7), (i, j)), shape=(n, n))
    tracemalloc.start()
    vectors, values = spectral_embedding(Affinity(sp.csr_array(upper + upper.T)), 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values.tolist() == pytest.approx([0] * 4)
    assert (np.count_nonzero(vectors, axis=0) > 0).all()
    # A column for each component would take 72 MB.
    assert peak < 10e6


def test_agreement_does_not_depend_on_the_names_of_clusters() -> None:
    assert clustering_scores([5, 5, 2, 2], [0, 0, 1, 1])["accuracy"] == 1
    half = clustering_scores([0, 1, 0, 1], [0, 0, 1, 1])
    assert half["accuracy"] == 0.5
    assert half["nmi"] == pytest.approx(0, abs=1e-9)


def test_a_sample_is_fitted_and_the_others_are_predicted_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, classes = make_blobs(5000, centers=4, n_features=6, cluster_std=1.2, random_state=2)
    np.save(tmp_path / "a.npy", many.astype(np.float32))
    monkeypatch.setattr("segspectral.networks.vectors.BLOCK", 6 * 700)
    told: list[tuple[str, int, int]] = []
    found = cluster_file(
        *(tmp_path / "a.npy", 4),
        sample=900,
        output=tmp_path / "out.npz",
        save=tmp_path / "head.safetensors",
        progress=lambda *step: told.append(step),
    )
    assert found.fitted == 900
    assert len(found.head.labels_) == 900
    assert clustering_scores(found.labels, classes)["nmi"] > 0.97
    assert told == [("fitting", 0, 5000), *(("predicting", min(i, 5000), 5000) for i in range(700, 5601, 700))]
    with np.load(tmp_path / "out.npz", allow_pickle=False) as written:
        assert np.array_equal(written["labels"], found.labels)
        assert written["probabilities"].dtype == np.float32
        np.testing.assert_allclose(written["probabilities"].sum(axis=1), 1, rtol=1e-5)
        assert np.array_equal(written["probabilities"].argmax(axis=1), found.labels)
    again = cluster_file(tmp_path / "a.npy", 4, sample=900, output=tmp_path / "again.npz")
    assert np.array_equal(again.labels, found.labels)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "out.npz").read_bytes()
    # The saved head goes on from there: it gives the same clusters, and those of other points.
    applied = cluster_file(tmp_path / "a.npy", model=tmp_path / "head.safetensors", output=tmp_path / "third.npz")
    assert applied.fitted == 0
    assert (applied.labels != found.labels).mean() < 0.01
    assert clustering_scores(cluster_file(tmp_path / "a.npy", 4, sample=5000).labels, found.labels)["nmi"] > 0.97


def _not_the_seventh(item: int) -> int:
    if item == 7:
        raise SettingsError("the seventh")
    return item


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "more"),
    [("SIGTERM", []), ("SIGHUP", []), ("SIGTERM", ["--dask", "local:2"]), ("SIGINT", ["--dask", "local:2"])],
)
def test_a_process_that_is_ended_leaves_nothing_half_written(number: str, more: list[str], tmp_path: Path) -> None:
    if more:
        pytest.importorskip("distributed", reason="dask (extra 'cluster') is not installed")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(400_000, 32)).astype(np.float32))
    out = tmp_path / "out"
    arguments = ["cluster", str(tmp_path / "a.npy"), "-k", "4", "--head", "kmeans", "--sample", "500", *more]
    with Popen([sys.executable, "-m", "segspectral", *arguments, "-o", str(out / "a.npz")], stderr=PIPE) as process:
        # The file is begun when the first vectors are predicted; there are seconds of them.
        while not list(out.glob(".a.npz.*.partial")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(getattr(signal, number))
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert list(out.iterdir()) == []


@pytest.mark.skipif(find_spec("distributed") is None, reason="dask (extra 'cluster') is not installed")
def test_the_workers_of_a_cluster_predict_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, _ = make_blobs(3000, centers=4, n_features=6, cluster_std=1.2, random_state=2)
    np.save(tmp_path / "a.npy", many.astype(np.float32))
    monkeypatch.setattr("segspectral.networks.vectors.BLOCK", 6 * 200)
    run = ["cluster", str(tmp_path / "a.npy"), "-k", "4", "--sample", "500"]
    written = []
    for name, more in {"here": [], "there": ["--dask", "local:2"]}.items():
        result = CliRunner().invoke(app, [*run, *more, "-o", str(tmp_path / f"{name}.npz")])
        assert result.exit_code == 0, result.output
        written.append((tmp_path / f"{name}.npz").read_bytes())
    assert written[0] == written[1]

    items = iter(range(100))
    spread = DaskMap("local:2")
    assert list(spread(abs, iter([-3, -1, -2]))) == [3, 1, 2]
    with pytest.raises(SettingsError, match="the seventh"):
        list(spread(_not_the_seventh, items))
    assert next(items) < 20, "what is not yet needed is not asked for"
    for options, sentence in {
        ("--dask", "local:2"): "dask is for vectors that are predicted, and here the head is fitted on all 3000",
        ("--dask", "somewhere", "--sample", "500"): "--dask somewhere: write tcp://HOST:PORT",
    }.items():
        refused = CliRunner().invoke(app, [*run[:4], *options])
        assert refused.exit_code == 2
        assert sentence in " ".join(refused.stderr.split())


@pytest.mark.skipif(find_spec("distributed") is None, reason="dask (extra 'cluster') is not installed")
@pytest.mark.parametrize(
    ("address", "sentence"),
    {
        "http://127.0.0.1:80": "http://127.0.0.1:80: is not the address of a Dask scheduler",
        "tcp://": "tcp://: is not the address of a Dask scheduler",
        "tcp://127.0.0.1:1": "tcp://127.0.0.1:1: no Dask scheduler answers there",
    }.items(),
)
def test_a_wrong_address_of_a_cluster_is_reported_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setattr("segspectral.networks.clustering.cluster_file", lambda *_, **__: pytest.fail("was fitted"))
    refused = CliRunner().invoke(app, ["cluster", str(tmp_path / "a.npy"), "--sample", "50", "--dask", address])
    assert refused.exit_code == 2, refused.output
    assert sentence in " ".join(refused.stderr.split())


def test_a_saved_head_predicts_one_vector_from_its_folder_and_none_of_another_width(tmp_path: Path) -> None:
    head = tmp_path / "head.safetensors"
    np.save(tmp_path / "all.npy", X)
    fitted = cluster_file(tmp_path / "all.npy", 3, head="kmeans", save=head)
    folder = hub.save(head, tmp_path / "folder")
    np.save(tmp_path / "one.npy", X[:1])
    assert cluster_file(tmp_path / "one.npy", model=folder).labels == fitted.labels[:1]
    np.save(tmp_path / "wide.npy", np.hstack([X, X]))
    with pytest.raises(DatasetError, match=rf"has vectors of {2 * X.shape[1]} numbers, and .* of {X.shape[1]}$"):
        cluster_file(tmp_path / "wide.npy", model=folder)
    np.save(tmp_path / "none.npy", X[:0])
    with pytest.raises(DatasetError, match="has no vectors"):
        cluster_file(tmp_path / "none.npy", model=folder)


def test_large_files_are_sampled_unless_all_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.networks.clustering.WHOLE", 80)
    monkeypatch.setattr("segspectral.networks.clustering.SAMPLE", 40)
    np.save(tmp_path / "a.npy", X)
    assert cluster_file(tmp_path / "a.npy", 3).fitted == 40
    assert cluster_file(tmp_path / "a.npy", 3, sample=90).fitted == 90
    assert cluster_file(tmp_path / "a.npy", 3, sample=10**9).fitted == 90
    with pytest.raises(SettingsError, match="sample is 2, and 3 clusters need at least that many vectors"):
        cluster_file(tmp_path / "a.npy", 3, sample=2)
    (tmp_path / "a.csv").write_text("a,b\nb,c\n")
    with pytest.raises(SettingsError, match="sample is for vectors, and this is a graph"):
        cluster_file(tmp_path / "a.csv", 2, sample=2)


def test_a_file_of_vectors_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.networks.vectors.BLOCK", 100 * 2000)
    path = tmp_path / "a.npy"
    values = np.lib.format.open_memmap(path, "w+", np.float32, (60_000, 100))
    values[:] = np.random.default_rng(0).normal(size=(1, 100)) + np.arange(60_000)[:, None] % 3 * 5
    values[:, 0] += np.random.default_rng(1).normal(size=60_000)
    values.flush()
    del values
    tracemalloc.start()
    found = cluster_file(path, 3, sample=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clustering_scores(found.labels, np.arange(60_000) % 3)["accuracy"] > 0.999
    assert peak < 60_000 * 100 * 8 / 2
    np.save(path, np.full((30, 4), np.nan))
    with pytest.raises(DatasetError, match="first in row 0"):
        cluster_file(path, 3)


def test_the_command_says_what_was_fitted_and_refuses_options_that_a_fitted_head_has_already(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    runner = CliRunner()

    def cluster(*words: object) -> Result:
        return runner.invoke(app, ["cluster", *map(str, words)])

    head = tmp_path / "head.safetensors"
    fitted = cluster(tmp_path / "a.npy", "-k", 3, "--sample", 40, "--save", head)
    assert fitted.exit_code == 0, fitted.output
    assert "90 vectors in 3 clusters, normalized cut of the sample" in fitted.output
    assert (
        "fitted on 40 vectors, drawn at random, and predicted the others; --sample 90 fits it on all" in fitted.output
    )
    applied = cluster(tmp_path / "a.npy", "--model", head)
    assert f"90 vectors in 3 clusters, predicted by {head}" in applied.output
    refused = cluster(tmp_path / "a.npy", "--model", head, "-k", 4)
    assert refused.exit_code == 2
    assert "-k is for a fit, but --model gives a head that has been fitted" in " ".join(refused.stderr.split())
    np.save(tmp_path / "wide.npy", np.ones((5, 9)))
    wide = cluster(tmp_path / "wide.npy", "--model", head)
    assert wide.exit_code == 2
    assert "was fitted on vectors of 2" in wide.stderr
