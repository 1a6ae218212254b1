"""Edges in text: every dialect gives the same graph in both commands; what was decided is said; faults are one line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import DatasetError, SettingsError
from segspectral.networks.clustering import cluster_file, read_problem
from segspectral.networks.columns import Dialect
from segspectral.networks.graphs import Graph, read_graph

EDGES = [("ann", "bob", 2.5), ("bob", "cy", 1.0), ("cy", "ann", 0.5), ("dora", "cy", 30.0), ("dora", "eve", 4.0)]
NUMBERS = {"ann": "1", "bob": "2", "cy": "3", "dora": "20000", "eve": "20007"}


def as_dict(graph: Graph) -> dict[tuple[str, ...], float]:
    """Return the weight of each pair of names."""
    upper = graph.affinity.weights.tocoo()
    pairs = zip(upper.row, upper.col, upper.data.tolist(), strict=True)
    return {tuple(sorted((graph.names[i], graph.names[j]))): w for i, j, w in pairs if i < j}


def expected(numbered: bool = False, weighted: bool = True) -> dict[tuple[str, ...], float]:
    rename = NUMBERS if numbered else {name: name for name in NUMBERS}
    return {tuple(sorted((rename[a], rename[b]))): w if weighted else 1.0 for a, b, w in EDGES}


def lines(pattern: str, *, first: str = "", numbered: bool = False, comma: bool = False, end: str = "\n") -> str:
    """Write the edges by a pattern of a, b, w, and their number: i from 0, or n from 1."""
    rows = []
    for i, (a, b, w) in enumerate(EDGES):
        a, b = (NUMBERS[a], NUMBERS[b]) if numbered else (a, b)
        weight = f"{w}".replace(".", ",") if comma else f"{w}"
        rows.append(pattern.format(a=a, b=b, w=weight, i=i, n=i + 1))
    return end.join([*([first] if first else []), *rows, ""])


def network() -> nx.Graph:
    graph = nx.Graph()
    graph.add_weighted_edges_from(EDGES)
    return graph


GEPHI = "Source{0}Target{0}Type{0}Id{0}Label{0}Weight"
NX_EDGES = nx.Graph([(a, b, {"weight": w, "x": i, "note": "it's {odd}, yes"}) for i, (a, b, w) in enumerate(EDGES)])

NAMED: dict[str, str] = {
    "commas": lines("{a},{b},{w}"),
    "semicolons": lines("{a};{b};{w}"),
    "tabs": lines("{a}\t{b}\t{w}"),
    "blanks": lines("{a}   {b} {w}"),
    "bars": lines("{a}|{b}|{w}"),
    "blanks after commas": lines("{a}, {b}, {w}"),
    "lines end with CR LF": lines("{a},{b},{w}", end="\r\n"),
    "lines end with CR": lines("{a},{b},{w}", end="\r"),
    "a mark of byte order": "\ufeff" + lines("{a},{b},{w}"),
    "all cells quoted": lines('"{a}","{b}","{w}"', first='"from","to","weight"'),
    "empty last columns": lines("{a},{b},{w},,", first="source,target,weight,,"),
    "empty rows of a spreadsheet": lines("{a},{b},{w}", first="source,target,weight") + ",,\n,,\n",
    "the separator told as spreadsheets do": "sep=;\n" + lines("{a};{b};{w}"),
    "decimal commas": lines("{a};{b};{w}", first="Source;Target;Weight", comma=True),
    "decimal commas between tabs": lines("{a}\t{b}\t{w}", comma=True),
    "decimal commas between blanks": lines("{a} {b} {w}", comma=True),
    "decimal commas in quotes": lines('{a},{b},"{w}"', comma=True),
    "pandas with its index": lines("{i},{a},{b},{w}", first=",source,target,weight"),
    "pandas with other names": lines("{i},{a},{b},{w}", first=",paper,cites,strength"),
    "R with row names": lines('"{n}" "{a}" "{b}" {w}', first='"from" "to" "weight"'),
    "R as CSV": lines('"{n}","{a}","{b}",{w}', first='"","from","to","weight"'),
    "Gephi": lines("{a},{b},Undirected,{i},,{w}", first=GEPHI.format(",")),
    "Gephi with semicolons": lines("{a};{b};Undirected;{i};;{w}", first=GEPHI.format(";")),
    "igraph ncol": lines("{a} {b} {w}"),
    "networkx with data": "\n".join(nx.generate_edgelist(NX_EDGES)),
    "networkx with data and commas": "\n".join(nx.generate_edgelist(NX_EDGES, delimiter=",")),
    "networkx with data and tabs": "\n".join(nx.generate_edgelist(NX_EDGES, delimiter="\t")),
    "networkx weighted": "\n".join(nx.generate_edgelist(network(), data=["weight"])),
    "comments at the top": "# people\n% that meet\n#\n" + lines("{a}\t{b}\t{w}"),
    "comments in between": lines("{a},{b},{w}\n# so, far"),
    "an edge that is commented out": lines("{a},{b},{w}") + "#ann,eve,9\n",
    "the weight in front": lines("{w},{b},x,{a}", first="weight,target,kind,source"),
    "a header of other words": lines("{a},{b},{w}", first="person,other,meetings"),
    "a header of a count": lines("{a},{b},{w}", first="USER,Friend,Count"),
    "a header of numbered words": lines("{a},{b},{w}", first="person_1,person_2,n"),
    "a header of years beside": lines("{a},{b},2019,{w}", first="From Node,To Node,year,Weights"),
}
ALL_ONE: dict[str, str] = {
    "two columns": lines("{a},{b}"),
    "arrows": lines("{a} -> {b}"),
    "arrows between tabs": lines("{a}\t--\t{b}"),
    "networkx without data": "\n".join(nx.generate_edgelist(nx.Graph([edge[:2] for edge in EDGES]))),
    "networkx without data, told": "\n".join(nx.generate_edgelist(network(), data=False)),
    "a header": lines("{a},{b}", first="user,friend"),
    "distances are no weights": lines("{a},{b},{w}", first="source,target,distance"),
    "times are no weights": lines("{a},{b},{w}", first="source,target,unix_ts"),
    "two numbers without a known word": lines("{a},{b},{w},{n}", first="source,target,p,q"),
}
NUMBERED: dict[str, str] = {
    "whole numbers": lines("{a},{b},{w}", numbered=True),
    "arrows and weights": lines("{a} -> {b} {w}", numbered=True),
    "made floats by pandas": lines("{a}.0,{b}.0,{w}", first="u,v,weight", numbered=True),
    "one column made floats": lines("{a},{b}.0,{w}", numbered=True),
    "floats with decimal commas": lines("{a},0;{b},0;{w}", numbered=True, comma=True),
    "SNAP": "# Undirected graph: ../../data\n# Nodes: 5 Edges: 5\n# FromNodeId\tToNodeId\n"
    + lines("{a}\t{b}\t{w}", numbered=True),
    "KONECT": "% sym weighted\n% 5 5 5\n" + lines("{a} {b} {w}", numbered=True),
    "a commented edge among numbers": lines("{a} {b} {w}", numbered=True) + "#1 20000 7\n",
}


def check(path: Path, wanted: dict[tuple[str, ...], float]) -> None:
    graph = read_graph(path)
    assert as_dict(graph) == wanted
    problem = read_problem(path)
    assert problem.graph is not None
    assert problem.graph.names == graph.names
    assert as_dict(problem.graph) == wanted


@pytest.mark.parametrize("name", [*NAMED, *ALL_ONE, *NUMBERED])
def test_every_dialect_gives_the_same_graph_in_both_commands(tmp_path: Path, name: str) -> None:
    text = (NAMED | ALL_ONE | NUMBERED)[name]
    wanted = expected(name in NUMBERED, name not in ALL_ONE)
    (tmp_path / "edges.txt").write_bytes(text.encode())
    check(tmp_path / "edges.txt", wanted)
    (tmp_path / "excel.csv").write_bytes(text.removeprefix("\ufeff").encode("utf-16"))
    check(tmp_path / "excel.csv", wanted)
    for pack in (gzip, bz2, lzma):
        (tmp_path / "packed.tsv").write_bytes(pack.compress(text.encode()))  # type: ignore[attr-defined]
        check(tmp_path / "packed.tsv", wanted)
    (tmp_path / "unmarked.csv").write_bytes(text.removeprefix("\ufeff").encode("utf-16-le"))
    check(tmp_path / "unmarked.csv", wanted)


WRITERS: dict[str, Callable[[nx.Graph, Path], None]] = {
    "edgelist": nx.write_edgelist,
    "weighted": nx.write_weighted_edgelist,
    "gml": nx.write_gml,
    "graphml": nx.write_graphml,
    "gexf": nx.write_gexf,
    "pajek": nx.write_pajek,
}


VERTICES = "*Vertices 4\r\n" + "".join(f'{i} "no. {i}" 0.5 0.5\r\n' for i in range(1, 5))
SECTIONS = {
    "of igraph without lines of vertices": "*Vertices 4\n*Edges\n1 2 2.5\n2 3 1\n1 3 0.5\n",
    "with arcs and a comment": '% a\n*Network f\n*vertices 4 4\n*arcs :1 "knows"\n1 2 2.5\n2 3\n3 1 0.5 c Blue\n',
    "with a matrix": "*Vertices 4\n*Matrix\n0 2.5 .5 0\n2.5 0 1 0\n.5 1 0.0 0\n0 0 0 0\n",
}


@pytest.mark.parametrize("name", SECTIONS)
def test_pajek_is_read_in_all_its_sections(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.net").write_text(SECTIONS[name])
    graph = read_graph(tmp_path / "a.net")
    assert as_dict(graph) == {("1", "2"): 2.5, ("2", "3"): 1.0, ("1", "3"): 0.5}
    assert graph.names == ("1", "2", "3", "4")


def test_lists_of_pajek_and_equal_labels(tmp_path: Path) -> None:
    (tmp_path / "a.net").write_text(VERTICES + "*Edgeslist\r\n1 2 3\r\n*Arcslist\r\n3 4\r\n")
    wanted = {("no. 1", "no. 2"): 1.0, ("no. 1", "no. 3"): 1.0, ("no. 3", "no. 4"): 1.0}
    assert as_dict(read_graph(tmp_path / "a.net")) == wanted
    (tmp_path / "b.net").write_text('*Vertices 3\n1 "Ann"\n2 "Ann"\n3 "Bob"\n*Edges\n1 2 1\n2 3 1\n')
    assert read_graph(tmp_path / "b.net").names == ("1", "2", "3")


def test_lgl_is_read_by_its_suffix_and_never_taken_for_edges(tmp_path: Path) -> None:
    text = "# ann\nbob 2.5\ncy 0.5\n# bob\ncy 1\n# dora\ncy 30\neve 4\n"
    (tmp_path / "a.lgl").write_text(text)
    check(tmp_path / "a.lgl", expected())
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DatasetError, match="can be LGL, or edges with headings"):
        read_graph(tmp_path / "a.txt")
    assert len(read_graph(tmp_path / "a.txt", dialect=Dialect(comments="#", weight="none")).names) > 5


def test_the_relation_of_cytoscape_is_no_node(tmp_path: Path) -> None:
    (tmp_path / "a.sif").write_text("0\tpp\t1\n1\tpd\t2\n")
    check(tmp_path / "a.sif", {("0", "1"): 1.0, ("1", "2"): 1.0})
    (tmp_path / "a.sif").write_text("0\tpp\t1\t2\n")
    with pytest.raises(DatasetError, match="line 1: has 4 columns, not 3"):
        read_graph(tmp_path / "a.sif")


@pytest.mark.parametrize("kind", WRITERS)
def test_files_of_networkx_are_recognised_by_their_content(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](network(), tmp_path / "graph.dat")
    check(tmp_path / "graph.dat", expected())


def test_an_adjacency_matrix_with_names_is_a_graph(tmp_path: Path) -> None:
    names = list(NUMBERS)
    dense = nx.to_numpy_array(network(), nodelist=names)
    rows = [",".join([name, *map(str, row)]) for name, row in zip(names, dense.tolist(), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["," + ",".join(names), *rows]))
    check(tmp_path / "a.csv", expected())
    for wrong in (rows[:-1], [*rows, rows[0]], [rows[0], rows[1][:-2]]):
        (tmp_path / "a.csv").write_text("\n".join(["," + ",".join(names), *wrong]))
        with pytest.raises(DatasetError, match=r"a matrix (is square|must have the same names)"):
            read_graph(tmp_path / "a.csv")


def test_an_adjacency_list_without_the_comments_of_networkx_is_refused_as_an_edge_list(tmp_path: Path) -> None:
    (tmp_path / "a.adjlist").write_text("\n".join(nx.generate_adjlist(network())))
    with pytest.raises(DatasetError, match="line"):
        read_graph(tmp_path / "a.adjlist")


def test_a_sparse_matrix_of_diagonals_may_not_claim_any_number_of_nodes(tmp_path: Path) -> None:
    parts = {"format": np.array(b"dia"), "data": np.ones((1, 3)), "offsets": np.array([1])}
    np.savez(tmp_path / "a.npz", **parts, shape=np.array([10**9, 10**9]))
    with pytest.raises(DatasetError, match="holds too little for it"):
        read_graph(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", **parts, shape=np.array([3, 3]))
    assert read_graph(tmp_path / "a.npz").counts.edges == 2


def test_gml_and_graphml_of_igraph_keep_the_names_of_the_user(tmp_path: Path) -> None:
    graph = nx.convert_node_labels_to_integers(network(), label_attribute="name")
    nx.write_graphml(graph, tmp_path / "a.graphml")
    check(tmp_path / "a.graphml", expected())
    body = [f'node [ id {i} name "{name}" ]' for i, name in graph.nodes(data="name")]
    body += [f"edge [ source {a} target {b} value {w} ]" for a, b, w in graph.edges(data="weight")]
    (tmp_path / "a.gml").write_text("\n".join(['Creator "igraph"', "Version 1", "graph [", *body, "]"]))
    check(tmp_path / "a.gml", expected())


def test_separators_of_thousands_are_read_and_times_are_not_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;b;1.234,5\nb;c;2,5\n")
    assert as_dict(read_graph(path)) == {("a", "b"): 1234.5, ("b", "c"): 2.5}
    path.write_text('a,b,"1,234.5"\nb,c,2.5\n')
    assert as_dict(read_graph(path)) == {("a", "b"): 1234.5, ("b", "c"): 2.5}
    path.write_text("1 2 1082040961\n2 3 1082155839\n")
    assert "column 3 may be times" in read_graph(path).notes[0]


def test_the_weight_of_graphml_can_be_chosen(tmp_path: Path) -> None:
    nx.write_graphml(NX_EDGES, tmp_path / "a.graphml")
    assert as_dict(read_graph(tmp_path / "a.graphml", dialect=Dialect(weight="x")))["bob", "cy"] == 1
    assert set(as_dict(read_graph(tmp_path / "a.graphml", dialect=Dialect(weight="none"))).values()) == {1}
    with pytest.raises(SettingsError, match="there is no 'size'"):
        read_graph(tmp_path / "a.graphml", dialect=Dialect(weight="size"))


def test_letters_beyond_ascii_and_cells_with_line_breaks_are_read(tmp_path: Path) -> None:
    text = 'Jörg,"Zoë, die\nÄltere",2\nJörg,"say ""hi""",1\n'
    for encoding in ("utf-8", "utf-16", "latin-1"):
        (tmp_path / "a.csv").write_bytes(text.encode(encoding))
        graph = read_graph(tmp_path / "a.csv")
        assert graph.names == ("Jörg", "Zoë, die\nÄltere", 'say "hi"')
        assert ("Latin-1" in graph.notes[0]) == (encoding == "latin-1")
    (tmp_path / "a.gml").write_text(
        'graph [ node [ id 1 label "Jörg" ] node [ id 2 label "b" ] edge [source 1 target 2] ]'
    )
    assert read_graph(tmp_path / "a.gml").names == ("Jörg", "b")


def test_names_that_begin_with_a_mark_are_names_and_comments_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("#cats,#dogs,3\n#dogs,birds,1\nbirds,#cats,2\nbirds,fish,1\n#fish,#cats,5\n")
    graph = read_graph(path)
    assert graph.names == ("#cats", "#dogs", "birds", "fish", "#fish")
    assert "3 lines that begin with # or % are rows" in graph.notes[0]
    assert read_graph(path, dialect=Dialect(comments="#")).counts.edges == 2
    path.write_text("#cats,#dogs\n#dogs,#birds\n")
    assert read_graph(path).names == ("#cats", "#dogs", "#birds")
    # Nothing tells a tag that occurs once from an edge that is commented out: it is said, and may be told.
    path.write_text("a,b\nb,c\n#x,y\n")
    graph = read_graph(path)
    assert graph.counts.edges == 2
    assert "1 comment line left out (--comments none reads them)" in graph.notes[0]
    assert read_graph(path, dialect=Dialect(comments="none")).counts.edges == 3
    path.write_text("// x\na b\n")
    assert read_graph(path, dialect=Dialect(comments="//")).names == ("a", "b")


def test_a_first_line_of_words_is_an_edge_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("paper,cites\nx,y\ny,z\n")
    graph = read_graph(path)
    assert graph.names == ("paper", "cites", "x", "y", "z")
    assert "'paper cites', is read as an edge" in graph.notes[0]
    assert read_graph(path, dialect=Dialect(header=True)).names == ("x", "y", "z")
    path.write_text("source,target\nsource,x\n")
    assert read_graph(path).names == ("source", "target", "x")
    path.write_text("node1,node2\nnode7,node8\nnode8,node9\n")
    assert read_graph(path).counts.edges == 3
    path.write_text("from,to\na,b\n")
    assert read_graph(path, dialect=Dialect(header=False)).names == ("from", "to", "a", "b")


def test_columns_can_be_chosen_by_name_or_number(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("day,who,whom,mails,calls\n1,a,b,2,7\n2,b,c,3,9\n")
    graph = read_graph(path, dialect=Dialect(source="Who", target="whom", weight="calls"))
    assert as_dict(graph) == {("a", "b"): 7, ("b", "c"): 9}
    assert "left out: 'day', 'mails'" in graph.notes[0]
    path.write_text("1,a,b,7\n2,b,c,9\n")
    told = Dialect(source="2", target="3", weight="4")
    assert as_dict(read_graph(path, dialect=told)) == {("a", "b"): 7, ("b", "c"): 9}
    path.write_text("a,b,7\nb,c,9\n")
    assert set(as_dict(read_graph(path, dialect=Dialect(weight="none"))).values()) == {1}
    path.write_text("source,target\na,b\n")
    for wrong, sentence in (
        (Dialect(weight="size"), "has the columns 'source', 'target'; there is no column 'size'"),
        (Dialect(separator="dots"), "a separator must be one of"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            read_graph(path, dialect=wrong)
    nx.write_graphml(network(), tmp_path / "a.graphml")
    with pytest.raises(SettingsError, match="is GraphML, which has no columns"):
        read_graph(tmp_path / "a.graphml", dialect=Dialect(header=True))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("source,target,weight\na,b,1\nc,d,heavy\n", "line 3: the weight 'heavy' is not a number"),
        ("source,target,weight\na,b,1,9\n", "line 2: has 4 columns, not 3"),
        ("a b {'weight': 1}\nb c {'weight': [1]}\n", r"line 2: the weight '\[1\]' is not a number"),
        ("a b {'weight': 1}\nb c {'weight': -1}\n", "line 2: the weight -1 is negative or not finite"),
        ("a b {}\nb c {open('x')}\n", "line 2: the data .* are not a dict of plain values"),
        ("a b {}\nb c " + "{1:" * 5000 + "}\n", "line 2: the data .* are not a dict of plain values"),
        ('a,b\nb,"c\nd,e\n', "line 2: a cell begins with a quotation mark"),
        ("a,b,inf\n", "line 1: the weight inf"),
        ("a,b,1_0\n", "line 1: the weight '1_0' is not a number"),
        ('a,b,"1,234"\nb,c,"2"\n', "line 1: the weight '1,234' may be 1234 or 1.234"),
        ("source\na\nb\n", "line 1: an edge is two nodes"),
        ("Id,Label\n1,Ann\n2,Bob\n", "the columns 'Id', 'Label' describe nodes"),
        ("a,b,NA\nb,c,2\n", "line 1: the weight 'NA' is not a number"),
        ("1,2\n" + "9" * 5000 + ",2\n", "the name of a node has 5000 characters"),
        ("# x\n% y\n", "has only 2 comment lines"),
        ("0.5,1.5\n1.5,2.5\n", "line 1: the node '0.5' is a number that is not whole"),
        ("a,b\n" + "x" * 2000 + ",b\n", "the name of a node has 2000 characters"),
    ],
)
def test_a_bad_line_raises_one_sentence_in_both_commands(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "g.csv").write_text(content)
    for read in (read_graph, read_problem):
        with pytest.raises(DatasetError, match=sentence) as error:
            read(tmp_path / "g.csv")
        assert "\n" not in str(error.value)


def test_a_compressed_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.networks.arrays.UNPACKED", 10_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 100_000))
    with pytest.raises(DatasetError, match="unpacks to more than"):
        read_graph(tmp_path / "a.csv.gz")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 100)[:-12])
    with pytest.raises(DatasetError, match="cannot be read"):
        read_graph(tmp_path / "b.csv.gz")


def planted() -> list[tuple[int, int]]:
    """Return three cliques of six nodes that a chain connects."""
    cliques = [[(6 * c + i, 6 * c + j) for i in range(6) for j in range(i)] for c in range(3)]
    return [*chain(*cliques), (0, 6), (7, 12)]


def partition(path: Path) -> set[frozenset[str]]:
    found = cluster_file(path, 3, head="exact")
    assert found.problem.graph is not None
    names = np.array(found.problem.graph.names)
    return {frozenset(names[found.labels == c].tolist()) for c in range(3)}


def test_order_names_gaps_and_separators_do_not_change_the_partition(tmp_path: Path) -> None:
    pairs, path = planted(), tmp_path / "edges.txt"
    rename: dict[str, Callable[[int], str]] = {
        "from zero": str,
        "from one": lambda i: str(i + 1),
        "with gaps": lambda i: str(10**9 + 1000 * i),
        "large": lambda i: str(10**30 + i),
        "words": lambda i: f"node {i}",
        "tags": lambda i: f"#{i}",
    }
    for case, name in rename.items():
        wanted = {frozenset(name(6 * c + i) for i in range(6)) for c in range(3)}
        for seed in range(3):
            shuffled = random.Random(seed).sample(pairs, len(pairs)) if seed else pairs
            separator = ",;\t"[seed]
            path.write_text("\n".join(separator.join((name(a), name(b))[:: 1 - 2 * (seed % 2)]) for a, b in shuffled))
            assert partition(path) == wanted, (case, seed)
    path.write_text("\n".join(f"{b} {a}" for a, b in reversed(pairs)))
    assert read_graph(path).names == tuple(map(str, range(18)))


def test_both_commands_print_one_line_about_how_the_file_was_read(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    header, rows = "# c\nuser,friend,count,year\n", [f"{a},{b},2,2020" for a, b in planted()]
    path.write_text(header + "\n".join([*rows, rows[0], "3,3,1,2020"]))
    for command in (["cluster", path, "-k", "3"], ["communities", path, "-k", "3", "-o", tmp_path / "out"]):
        result = CliRunner().invoke(app, [*map(str, command), "--head", "exact"])
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == (
            f"{path}: 18 nodes, 47 undirected edges, of 49 listed, 1 repeated, 1 loop left out; columns separated by "
            "commas, 1 comment line left out, header: nodes from 'user' and 'friend', weights from 'count', left out: "
            "'year'"
        )
        wrong = CliRunner().invoke(app, [*map(str, command), "--head", "exact", "--weight", "size"])
        assert (wrong.exit_code, len(wrong.stderr.splitlines())) == (2, 1)
