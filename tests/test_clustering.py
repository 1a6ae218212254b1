"""Clustering from files, and the agreement that is reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import make_blobs

from segspectral.affinity import knn_affinity
from segspectral.clustering import agreement, cluster_file, read_problem
from segspectral.errors import DatasetError, SegspectralError, SettingsError

X, y = make_blobs(90, centers=3, cluster_std=0.5, random_state=1)


def test_features_with_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X.reshape(90, 1, 2), y=y)
    result = cluster_file(tmp_path / "a.npz", 3, output=tmp_path / "labels.npz")
    assert result.agreement is not None
    assert (result.agreement.accuracy, result.agreement.nmi, result.agreement.ari) == pytest.approx((1, 1, 1))
    with np.load(tmp_path / "labels.npz", allow_pickle=False) as written:
        assert np.array_equal(written["labels"], result.labels)
        assert written["probabilities"].shape == (90, 3)
    np.save(tmp_path / "a.npy", X)
    same = cluster_file(tmp_path / "a.npy", 3, head={"name": "kmeans", "n_init": 3})
    assert same.agreement is None
    assert agreement(y, same.labels).nmi == pytest.approx(1)


def test_graphs_in_each_form_are_one(tmp_path: Path) -> None:
    graph = knn_affinity(X).weights.astype(np.float64)
    sp.save_npz(tmp_path / "graph.npz", graph)
    edges = sp.triu(graph).tocoo()
    rows = [f"{i},{j},{w!r}" for i, j, w in zip(edges.row, edges.col, edges.data.tolist(), strict=True)]
    (tmp_path / "graph.csv").write_text("\n".join(["source,target,weight", *rows]))
    (tmp_path / "graph.txt").write_text("\n".join(["# both directions", *rows, *rows]).replace(",", " "))
    expected = read_problem(tmp_path / "graph.npz").graph.affinity.weights
    for name in ("graph.csv", "graph.txt"):
        assert abs(read_problem(tmp_path / name).graph.affinity.weights - expected).max() < 1e-12
    assert agreement(y, cluster_file(tmp_path / "graph.csv", 3, head="exact").labels).ari == pytest.approx(1)
    np.savez(tmp_path / "edges.npz", num_nodes=90, edges=np.stack([edges.row, edges.col], axis=1), labels=y)
    assert cluster_file(tmp_path / "edges.npz", 3).agreement.nmi == pytest.approx(1)
    with pytest.raises(SettingsError, match="a graph alone has none"):
        cluster_file(tmp_path / "edges.npz", 3, head="kmeans")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"1,2,3,4\n", "line 1: has 4 columns; an edge is two nodes"),
        ("a.csv", b"0.5,2\n", "whole, from 0"),
        ("a.csv", b"0,1\nfoo,bar\n", "whole, from 0"),
        ("a.npz", b"junk", "cannot be read"),
        ("a.npy", b"junk", "cannot be read"),
        ("a.bin", b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=sentence):
        read_problem(tmp_path / name)


def test_names_that_are_missing_and_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_problem(tmp_path / "absent.npz")
    np.savez(tmp_path / "a.npz", something=X)
    with pytest.raises(DatasetError, match="holds something; features are looked for under"):
        read_problem(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="pickle"):
        read_problem(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", X)
    with pytest.raises(SettingsError, match="unknown head"):
        cluster_file(tmp_path / "c.npy", head="nohead")
    with pytest.raises(SegspectralError, match="cannot be written"):
        cluster_file(tmp_path / "c.npy", 3, output=tmp_path / "no" / "labels.npz")


def test_agreement_is_blind_to_names() -> None:
    assert agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 2])).accuracy == 1
    half = agreement(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    assert half.accuracy == 0.5
    assert half.nmi == pytest.approx(0, abs=1e-9)
