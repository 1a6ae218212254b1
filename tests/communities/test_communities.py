"""``segspectral communities``: what it finds, writes and says."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.errors import CollapseError, SettingsError
from segspectral.networks import choose_number, extend_communities, find_communities
from segspectral.networks.graphs import Graph, read_graph, undirected
from segspectral.networks.pictures import adjacency_picture
from segspectral.values import Affinity
from tests.heads.data import accuracy, block_model

SIZES = (50, 40, 30)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["communities", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def error(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def write_network(folder: Path, seed: int = 0, inside: float = 0.35) -> NDArray[Any]:
    """Three blocks of named people, with two noisy attributes: edges.csv, people.csv, teams.csv."""
    affinity, truth = block_model(SIZES, inside, 0.02, seed)
    edges = affinity.weights.tocoo()
    names = [f"p{i:03}" for i in range(len(truth))]
    lines = [f"{names[i]},{names[j]}" for i, j in zip(edges.row, edges.col, strict=True) if i < j]
    (folder / "edges.csv").write_text("\n".join(["source,target", *lines]))
    X = np.eye(3)[truth][:, :2] * 4 + np.random.default_rng(seed).normal(size=(len(truth), 2))
    rows = [f"{name},{a:.4f},{b:.4f}" for name, (a, b) in zip(names, X, strict=True)]
    (folder / "people.csv").write_text("\n".join(["node,height,age", *rows]))
    teams = [f"{name},{'abc'[t]}" for name, t in zip(names, truth, strict=True)]
    (folder / "teams.csv").write_text("\n".join(["node,team", *teams]))
    return truth


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    write_network(folder)
    return folder


def test_the_files_and_the_output_of_the_command(network: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = ["--attributes", network / "people.csv", "--labels", network / "teams.csv"]
    done = run(network / "edges.csv", *files, "-k", 3, "-o", out)
    assert done.exit_code == 0, done.output
    assert "120 nodes, " in done.stdout
    assert "3 communities of 50, 40, 30 nodes" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["adjacency.png", "communities.csv", "graph.png", "summary.json"]
    with (out / "communities.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["node", "community", "probability"]
    assert {row["node"] for row in rows} == {f"p{i:03}" for i in range(120)}
    assert {row["community"] for row in rows} == {"1", "2", "3"}
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["nmi"] == summary["ari"] == summary["accuracy"] == 1
    assert 0 < summary["modularity"] < summary["coverage"] < 1
    assert summary["sizes"] == {"1": 50, "2": 40, "3": 30}
    assert set(summary["conductance"]) == {"1", "2", "3"}
    assert summary["graph"]["nodes"] == 120
    assert summary["graph"]["attributes"] == 2
    assert summary["head"]["name"] == "modularity"
    assert summary["effective_rank"] > 1
    for name in ("adjacency.png", "graph.png"):
        with PIL.Image.open(out / name) as picture:
            assert min(picture.size) > 400
            assert len(picture.convert("RGB").getcolors(10**6)) >= 5


@pytest.mark.parametrize("head", ["exact", "mincut", "spectralnet"])
def test_other_heads_find_the_same_communities(network: Path, tmp_path: Path, head: str) -> None:
    encoder = ["--encoder", "gcn"] if head == "spectralnet" else []
    done = run(
        network / "edges.csv", "--labels", network / "teams.csv", "-k", 3, "--head", head, *encoder, "-o", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "summary.json").read_text())["accuracy"] > 0.95


def test_auto_finds_the_number_of_planted_blocks(network: Path, tmp_path: Path) -> None:
    done = run(network / "edges.csv", "-k", "auto", "--head", "exact", "-o", tmp_path)
    assert done.exit_code == 0
    choice = json.loads((tmp_path / "summary.json").read_text())["choice"]
    assert choice["number"] == 3
    assert len(choice["numbers"]) == len(choice["eigengap"]) == len(choice["modularity"]) == len(choice["silhouette"])
    assert (tmp_path / "choice.png").exists()
    for seed in range(3):
        for sizes in ((60, 60), (60, 50, 40, 30, 30), (30,) * 8):
            affinity, _ = block_model(sizes, 0.4, 0.02, seed)
            found = choose_number(affinity)
            assert found.number == len(sizes)
    assert choose_number(block_model((3, 2), 1, 1, 0)[0]).number <= 4


def test_equal_seeds_give_equal_files(network: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(network / "edges.csv", "-k", 3, "--seed", 5, "-o", tmp_path / name).exit_code == 0
    for file in ("communities.csv", "adjacency.png", "graph.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("head", ["modularity", "exact"])
def test_later_nodes_join_communities_and_the_other_nodes_keep_theirs(
    tmp_path: Path, head: str, attributes: bool
) -> None:
    truth = write_network(tmp_path)
    lines = (tmp_path / "edges.csv").read_text().splitlines()
    late = {f"p{i:03}" for i in range(0, 120, 10)}
    early = [line for line in lines if not late & set(line.split(","))]
    (tmp_path / "early.csv").write_text("\n".join(early))
    people = (tmp_path / "people.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(line for line in people if line.split(",")[0] not in late))
    model = tmp_path / "model.safetensors"
    known = ["--attributes", tmp_path / "few.csv"] if attributes else []
    first = run(tmp_path / "early.csv", *known, "-k", 3, "--head", head, "--save", model, "-o", tmp_path / "a")
    assert first.exit_code == 0, first.output
    known = ["--attributes", tmp_path / "people.csv"] if attributes else []
    labels = ["--labels", tmp_path / "teams.csv"]
    then = run(tmp_path / "edges.csv", *known, *labels, "--model", model, "-o", tmp_path / "b")
    assert then.exit_code == 0, then.output
    assert "12 nodes are new" in then.stdout
    tables = []
    for name in ("a", "b"):
        with (tmp_path / name / "communities.csv").open() as file:
            tables.append({row["node"]: row for row in csv.DictReader(file)})
    assert all(tables[1][node] == row for node, row in tables[0].items()), "those that were there keep theirs"
    assert set(tables[1]) - set(tables[0]) == late
    labels_now = np.array([int(tables[1][f"p{i:03}"]["community"]) for i in range(120)]) - 1
    assert accuracy(truth, labels_now) >= 0.97
    assert json.loads((tmp_path / "b" / "summary.json").read_text())["accuracy_new"] >= 0.9


def test_a_network_serves_a_graph_of_other_nodes(tmp_path: Path) -> None:
    truth = write_network(tmp_path)
    graph = read_graph(tmp_path / "edges.csv", tmp_path / "people.csv")
    model = tmp_path / "model"
    find_communities(graph, 3).save(model)
    other = tmp_path / "other"
    other.mkdir()
    write_network(other, seed=7)
    read = read_graph(other / "edges.csv", other / "people.csv")
    moved = Graph(tuple(f"new {name}" for name in read.names), read.affinity, read.counts, read.attributes)
    assert accuracy(truth[np.argsort(np.argsort(read.names))], extend_communities(moved, model).labels - 1) >= 0.95
    find_communities(graph, 3, head="exact").save(model)
    with pytest.raises(SettingsError, match="knows none of the graph's nodes"):
        extend_communities(moved, model)


def test_attributes_count_by_their_weight() -> None:
    """On a graph that says nothing, communities are those of the attributes, unless they have no weight."""
    affinity, _ = block_model((120,), 0.05, 0, 0)
    truth = np.arange(120) % 3
    X = np.eye(3)[truth] * 6 + np.random.default_rng(0).normal(size=(120, 3))
    counts = undirected(np.empty((0, 2), int), np.empty(0), 120)[1]
    graph = Graph(tuple(map(str, range(120))), affinity, counts, X)
    found = [accuracy(truth, find_communities(graph, 3, head="exact", weight=w).labels - 1) for w in (0.0, 0.9)]
    assert found[0] < 0.6
    assert found[1] > 0.95
    # Seldom and never negative: counts, whose length says how much there is and not of what.
    louder = Graph(graph.names, affinity, counts, np.eye(30)[np.arange(120) % 30] * np.arange(1, 121)[:, None])
    plain = Graph(graph.names, affinity, counts, np.eye(30)[np.arange(120) % 30])
    a, b = (find_communities(g, 4, head="exact", weight=0.9).labels for g in (louder, plain))
    assert np.array_equal(a, b)


def test_isolated_nodes_and_small_graphs_are_handled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", edges=np.array([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]), num_nodes=8)
    for head in ("modularity", "exact", "mincut"):
        done = run(tmp_path / "a.npz", "-k", 2, "--head", head, "-o", tmp_path / head)
        assert done.exit_code == 0, done.output
        assert "2 isolated nodes" in done.stdout
        with (tmp_path / head / "communities.csv").open() as file:
            labels = [row["community"] for row in csv.DictReader(file)]
        assert len(labels) == 8
        assert len(set(labels[:3])) == len(set(labels[3:6])) == 1
        assert labels[0] != labels[3]
    (tmp_path / "two.txt").write_text("a b\n")
    assert run(tmp_path / "two.txt", "-k", 2, "--head", "exact", "-o", tmp_path / "two").exit_code == 0


def test_the_adjacency_shows_the_blocks(network: Path) -> None:
    found = find_communities(read_graph(network / "edges.csv"), 3, head="exact")
    picture = adjacency_picture(found)
    scale = picture.shape[0] // 120
    ink = (picture != 255).any(axis=2)
    first = ink[: 50 * scale, : 50 * scale].mean()
    across = ink[: 50 * scale, 50 * scale :].mean()
    assert first > 8 * across > 0


def test_wrong_input_raises_one_sentence(network: Path, tmp_path: Path) -> None:
    edges, out = network / "edges.csv", ["-o", tmp_path / "out"]
    (tmp_path / "bad.csv").write_text("a,b\nc\n")
    assert "bad.csv, line 2" in error(tmp_path / "bad.csv", *out)
    assert "no such file" in error(tmp_path / "absent.csv", *out)
    (tmp_path / "empty.csv").write_text("")
    assert "is empty" in error(tmp_path / "empty.csv", *out)
    (tmp_path / "one.csv").write_text("a,a\n")
    assert "1 node" in error(tmp_path / "one.csv", *out)
    assert "121 communities are more than the graph's 120 nodes" in error(edges, "-k", 121, *out)
    for k in ("0", "-3", "many"):
        assert "-k is a whole number" in error(edges, "-k", k, *out)
    assert "unknown head 'nohead'" in error(edges, "--head", "nohead", *out)
    assert "encoder" in error(edges, "--encoder", "gat", *out)
    assert "unknown setting head.encoder" in error(edges, "--head", "exact", "--encoder", "gcn", *out)
    assert "maps features" in error(edges, "--head", "kmeans", *out)
    assert "between 0 and 1" in error(edges, "--attribute-weight", 1.5, *out)
    (tmp_path / "labels.csv").write_text("p000,a\np001,b\n")
    assert "118 of 120 nodes have no label" in error(edges, "--labels", tmp_path / "labels.csv", *out)
    np.save(tmp_path / "x.npy", np.ones((7, 2)))
    assert "has 7 rows of attributes" in error(edges, "--attributes", tmp_path / "x.npy", *out)
    assert "is not a head" in error(edges, "--model", edges, *out)
    assert "leave out -k" in error(edges, "--model", edges, "-k", 3, *out)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in error(edges, "-k", 3, "--head", "exact", "-o", tmp_path / "file")
    assert not (tmp_path / "out").exists()


def test_models_that_do_not_fit_raise_one_sentence(network: Path, tmp_path: Path) -> None:
    graph = read_graph(network / "edges.csv", network / "people.csv")
    model = tmp_path / "model"
    find_communities(graph, 3, head={"name": "modularity", "steps": 5}).save(model)
    out = ["--model", model, "-o", tmp_path / "out"]
    (tmp_path / "later.csv").write_text("p000,later\n")
    assert "was fitted on attributes" in error(tmp_path / "later.csv", *out)
    (tmp_path / "three.csv").write_text("node,a,b,c\np000,1,2,3\nlater,1,2,3\n")
    assert "does not go with this graph" in error(tmp_path / "later.csv", "--attributes", tmp_path / "three.csv", *out)
    from segspectral.heads.exact import Exact

    Exact(2).fit(np.random.default_rng(0).normal(size=(20, 2))).save(model)
    assert "without the names of its nodes" in error(network / "edges.csv", *out)


def test_the_command_reports_a_collapse_in_one_sentence(network: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def collapse(*_: Any, **__: Any) -> None:
        raise CollapseError("Modularity gave all nodes nearly one embedding (effective rank 0.00) in 3 trainings")

    monkeypatch.setattr("segspectral.heads.modularity.Modularity._solve", collapse)
    assert "nearly one embedding" in error(network / "edges.csv", "-k", 3, "-o", tmp_path)


def test_a_graph_of_ten_thousand_edges_is_sampled() -> None:
    """More nodes than a batch: neighbours are drawn. Figures of size are the benchmark's."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 1000)
    i = rng.integers(0, 5000, 30_000)
    j = np.where(
        rng.random(30_000) < 0.8, truth[i] * 1000 + rng.integers(0, 1000, 30_000), rng.integers(0, 5000, 30_000)
    )
    weights, counts = undirected(np.stack([i, j], axis=1), np.ones(30_000), 5000)
    graph = Graph(tuple(map(str, range(5000))), Affinity(weights), counts, labels=truth)
    head = {"name": "modularity", "steps": 10, "batch_size": 512}
    assert find_communities(graph, 5, head=head).scores()["accuracy"] > 0.97
