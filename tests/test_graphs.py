"""Graphs from files: each form gives the same graph, what was odd is counted, what is wrong is one sentence."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from segspectral.errors import DatasetError
from segspectral.graphs import read_graph
from segspectral.networks.graphs import undirected

EDGES = [("ann", "bob", 2.0), ("bob", "cy", 1.0), ("cy", "ann", 0.5), ("dora", "cy", 3.0)]
DENSE = np.array([[0, 2, 0.5, 0], [2, 0, 1, 0], [0.5, 1, 0, 3], [0, 0, 3, 0]])


def test_every_file_format_gives_the_same_graph(tmp_path: Path) -> None:
    lines = [f"{a},{b},{w}" for a, b, w in EDGES]
    (tmp_path / "plain.csv").write_text("\n".join(lines))
    (tmp_path / "headed.csv").write_text(
        "weight;target;kind;source\n" + "\n".join(f'{w};{b};"a;b";{a}' for a, b, w in EDGES)
    )
    (tmp_path / "tabs.tsv").write_text("\n".join(["# people", "source\ttarget\tweight", *lines]).replace(",", "\t"))
    (tmp_path / "blanks.txt").write_text("% people\n\n" + "\n".join(lines).replace(",", "  ") + "\n")
    (tmp_path / "bom.edges").write_text("﻿" + "\n".join(lines), encoding="utf-8")
    network = nx.Graph()
    network.add_weighted_edges_from(EDGES)
    nx.write_graphml(network, tmp_path / "a.graphml")
    nx.write_gml(network, tmp_path / "a.gml")
    nx.write_multiline_adjlist(network, tmp_path / "a.multiline")
    texts = ("plain.csv", "headed.csv", "tabs.tsv", "blanks.txt", "bom.edges")
    for name in (*texts, "a.graphml", "a.gml", "a.multiline"):
        graph = read_graph(tmp_path / name)
        assert graph.names == ("ann", "bob", "cy", "dora"), name
        assert np.array_equal(graph.affinity.weights.toarray(), DENSE), name
        assert str(graph.counts) == "4 nodes, 4 undirected edges"
    nx.write_adjlist(network, tmp_path / "a.adjlist")
    graph = read_graph(tmp_path / "a.adjlist")
    assert graph.names == ("ann", "bob", "cy", "dora")
    assert np.array_equal(graph.affinity.weights.toarray(), DENSE > 0)
    sp.save_npz(tmp_path / "a.npz", sp.csr_array(DENSE))
    sp.save_npz(tmp_path / "directed.npz", sp.coo_array(np.triu(DENSE)))
    pairs = np.argwhere(np.triu(DENSE))
    np.savez(tmp_path / "pairs.npz", edges=pairs, weights=DENSE[tuple(pairs.T)], num_nodes=5, labels=list("aabbc"))
    for name in ("a.npz", "directed.npz", "pairs.npz"):
        graph = read_graph(tmp_path / name)
        assert graph.counts.edges == 4
        assert np.array_equal(graph.affinity.weights.toarray()[:4, :4], DENSE)
    assert graph.counts.isolated == 1
    assert graph.labels is not None
    assert graph.labels.tolist() == [0, 0, 1, 1, 2]


def test_node_numbers_are_sorted_and_headers_of_unknown_words_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("paper,cited\n10,2\n2,9\n")
    assert read_graph(tmp_path / "a.csv").names == ("2", "9", "10")
    (tmp_path / "b.txt").write_text("10 2\n2 x1\n")
    assert read_graph(tmp_path / "b.txt").names == ("10", "2", "x1")


def test_loops_and_repeated_edges_are_counted() -> None:
    ends = np.array([(0, 1), (1, 0), (0, 1), (2, 2), (1, 2), (3, 4), (4, 1)])
    weights, counts = undirected(ends, np.array([1.0, 5, 2, 1, 1, 0, 1]), 7)
    assert weights.toarray()[0, 1] == weights.toarray()[1, 0] == 5
    assert str(counts) == (
        "7 nodes, 3 undirected edges, of 7 listed, 1 listed in both directions, 1 repeated, 1 loop left out, "
        "1 of weight 0 left out, 3 isolated nodes"
    )
    assert counts.listed == counts.edges + counts.reciprocal + counts.repeated + counts.loops + counts.weightless


def test_attributes_and_labels_are_matched_by_name_or_by_order(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("ann,bob\nbob,cy\n")
    (tmp_path / "named.csv").write_text("node,age,height\ncy,3,1.5\nann,1,1.7\nbob,2,1.6\neve,4,1.8\n")
    (tmp_path / "classes.csv").write_text("node,team\nann,red\ncy,blue\nbob,red\neve,blue\nzoe,red\n")
    graph = read_graph(tmp_path / "g.csv", tmp_path / "named.csv", tmp_path / "classes.csv")
    assert graph.names == ("ann", "bob", "cy", "eve")
    assert graph.attributes is not None
    assert graph.attributes[:, 0].tolist() == [1, 2, 3, 4]
    assert graph.labels is not None
    assert graph.labels.tolist() == [1, 1, 0, 0]
    assert graph.counts.isolated == 1
    assert graph.notes[1:] == (
        "1 node has attributes and no edges",
        "1 label belongs to nodes that the graph does not have",
    )
    X = np.array([[1, 1.7], [2, 1.6], [3, 1.5]])
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", features=X)
    sp.save_npz(tmp_path / "sparse.npz", sp.csr_array(X))
    (tmp_path / "rows.csv").write_text("age,height\n1,1.7\n2,1.6\n3,1.5\n")
    (tmp_path / "y.txt").write_text("red\nred\nblue\n")
    for name in ("x.npy", "x.npz", "sparse.npz", "rows.csv"):
        graph = read_graph(tmp_path / "g.csv", tmp_path / name, tmp_path / "y.txt")
        assert graph.attributes is not None
        assert np.array_equal(graph.attributes, X), name
    assert graph.labels is not None
    assert graph.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\nc\n", "line 2: an edge is two nodes"),
        ("# x\n\na,b,1\nc,d,heavy\n", "line 4: the weight 'heavy' is not a number"),
        ("a,b,1\nc,d,-2\n", "line 2: the weight -2 is negative or not finite"),
        ("a,b,nan\n", "line 1: the weight nan"),
        ("a,b,1,2\nc,d,1,2\n", "line 1: has 4 columns"),
        ("a,\n", "line 1: an edge is two nodes"),
        ("", "is empty"),
        ("source,target\n", "has 0 nodes"),
        ("a,a\n", "has 1 node; at least two are needed"),
        ("a,a\nb,b\n", "has no edges between different nodes"),
    ],
)
def test_a_bad_edge_list_raises_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "g.csv").write_text(content)
    with pytest.raises(DatasetError, match=sentence) as error:
        read_graph(tmp_path / "g.csv")
    assert str(tmp_path / "g.csv") in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.npz", b"junk", "cannot be read"),
        ("a.graphml", b"<graphml", "cannot be read as a graph"),
        ("a.gml", b"graph [ node [ id 1", "cannot be read as a graph"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read: it begins like UTF-16, but is not"),
        ("a.txt", b"a,b\n\x00\x01,c\n", "cannot be read: it is not a text"),
        ("a.csv", b"PK\x03\x04junk", "save the sheet as CSV"),
        ("a.csv", b'{"nodes": []}', "it is JSON"),
        ("a.json", b"[" * 100_000, "it is JSON"),
        ("a.dot", b"digraph { a -> b }", "it is DOT"),
        ("a.txt", b"/* by a program */\ngraph {\n a -- b;\n}", "it is DOT"),
        ("a.txt", b"c comment\np edge 2 1\ne 1 2\n", "it is DIMACS"),
        ("a.txt", b"LEDA.GRAPH\nstring\n", "it is LEDA"),
        ("a.graph", b"3 3\n2 3\n1 3\n1 2\n", "it is METIS"),
        ("a.csv", b"<!DOCTYPE html><html>not found", "is a web page"),
        ("a.csv", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "it is JPEG"),
        ("a.lgl", b"a 1\n", "line 1: is neither '# node' nor a neighbour"),
        ("a.net", b"*Vertices 99999999999\n*Edges\n1 2\n", "line 1: '99999999999' is not a whole number from 1 to"),
        ("a.net", b"*Vertices 3\n*Edges\n1 4\n", "line 3: '4' is not a whole number from 1 to 3"),
        ("a.net", b"*Vertices 3\n*Edges\n1\n", "line 3: an edge is two nodes"),
        ("a.net", b"*Vertices 3\n*Vector a\n1\n", "line 2: begins '\\*Vector a'"),
        ("a.net", b"*Vertices 3\n*Matrix\n0 1 0\n", "line 3: is row 1, the last, of a matrix of 3 nodes"),
        ("a.net", b"*Vertices 3\n*Vertices 3\n", "line 2: begins a second network"),
        ("a.gml", b"graph [ " + b"a [ " * 100_000, "cannot be read as a graph"),
        ("a.graphml", b"<a>" * 100_000, "cannot be read as a graph"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n9999999999 9999999999 1\n1 2 1\n", "9999999999"),
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n3 3 99999999999\n1 2 1\n", "99999999999 entries"),
    ],
)
def test_a_broken_file_raises_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=sentence):
        read_graph(tmp_path / name)
    with pytest.raises(DatasetError, match="no such file"):
        read_graph(tmp_path / f"absent-{name}")


def test_bad_arrays_raise_one_sentence(tmp_path: Path) -> None:
    for arrays, sentence in (
        ({"edges": np.ones((3, 3), int)}, r"edges must be \(M, 2\)"),
        ({"edges": np.array([[0, 5]]), "num_nodes": 3}, r"outside 0\.\.2"),
        ({"edges": np.array([[0, 1]]), "weights": np.array([-1.0])}, "not negative"),
        ({"edges": np.array([[0, 3]]), "labels": np.arange(3)[:2]}, r"outside 0\.\.1"),
        ({"edges": np.array([[0, 1]]), "labels": np.arange(3), "num_nodes": 2}, "2 nodes and 3 labels"),
        ({"edges": np.array([[0, 1]]), "features": np.ones((3, 2)), "num_nodes": 2}, "2 nodes and 3 rows of features"),
        ({"edges": np.array([[0, 1]]), "num_nodes": 10**10}, "says 10000000000 nodes"),
        ({"edges": np.array([[0, 1]]), "num_nodes": "many"}, "num_nodes must be a whole number"),
        ({"edges": np.array([[0, -1]])}, "negative node numbers"),
        ({"edges": np.array([[0, 0.5]])}, "node numbers must be whole"),
        ({"edges": np.array([[0, np.nan]])}, "NaN or infinity"),
        ({"edges": np.array([[0, 1]]), "weights": np.array([np.nan])}, "finite"),
        ({"edges": np.array([[0, 1]]), "weights": np.ones(2)}, "one number for each of 1 edge"),
        ({"edges": np.array([["a", "b"]])}, r"edges must be \(M, 2\) node numbers"),
        ({"edges": np.array([[0, 1]]), "features": np.full((2, 2), np.nan)}, "NaN"),
        ({"something": np.arange(3)}, "has the arrays something"),
        ({"edges": np.array([{}], dtype=object)}, "pickle"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DatasetError, match=sentence):
            read_graph(tmp_path / "a.npz")
    sp.save_npz(tmp_path / "b.npz", sp.csr_array(np.ones((2, 3))))
    with pytest.raises(DatasetError, match="square"):
        read_graph(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("node,x\nann,1\n", "1 of 2 nodes has no attributes, such as 'bob'"),
        ("node,x\nann,1\nbob,tall\n", "line 3: the attribute 'tall' is not a number"),
        ("node,x\nann,1\nbob,1,2\n", "line 3: has 3 columns, but the first has 2"),
        ("node,x\nann,1\nbob,1\nann,2\n", "'ann' has two lines"),
        ("0.5,1\n1.5,2\n0.5,3\n", "has 3 rows of attributes, but the graph has 2 nodes"),
        ("ann\nbob\n", "has names but no attributes"),
        ("node,x\n", "has no numbers"),
        ("", "is empty"),
    ],
)
def test_bad_attributes_raise_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "g.csv").write_text("ann,bob\n")
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DatasetError, match=sentence) as error:
        read_graph(tmp_path / "g.csv", tmp_path / "x.csv")
    assert str(tmp_path / "x.csv") in str(error.value)


def test_bad_labels_raise_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("ann,bob\nbob,cy\n")
    for content, sentence in (
        ("ann,red\nbob,blue\n", "1 of 3 nodes has no label, such as 'cy'"),
        ("red\nblue\n", "has 2 rows of label"),
        ("ann,red,1\n", "line 1: a line must be a node and its class"),
    ):
        (tmp_path / "y.csv").write_text(content)
        with pytest.raises(DatasetError, match=sentence):
            read_graph(tmp_path / "g.csv", labels=tmp_path / "y.csv")
    with pytest.raises(DatasetError, match="no such file"):
        read_graph(tmp_path / "g.csv", labels=tmp_path / "absent.csv")
    np.save(tmp_path / "bad.npy", np.array(["a"]))
    with pytest.raises(DatasetError, match="must be \\(N, D\\) numbers"):
        read_graph(tmp_path / "g.csv", tmp_path / "bad.npy")


@pytest.mark.parametrize("cell", ["", "nan", "NaN"])
def test_a_node_without_a_class_is_refused(cell: str, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("a,b\nb,c\n")
    (tmp_path / "classes.csv").write_text(f"node,class\na,1\nb,{cell}\nc,2\n")
    with pytest.raises(DatasetError, match=r"classes\.csv, line 3: the node has no class"):
        read_graph(tmp_path / "g.csv", labels=tmp_path / "classes.csv")
    np.save(tmp_path / "classes.npy", np.array([1, np.nan, 2]))
    with pytest.raises(DatasetError, match="no class in row 1"):
        read_graph(tmp_path / "g.csv", labels=tmp_path / "classes.npy")
