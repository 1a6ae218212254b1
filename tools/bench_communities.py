"""Benchmark of communities: Cora, planted blocks, nodes that arrive later, and graphs of up to a million edges.

Each result is one JSON line in ``--results``; results that exist are not computed again. "Seconds" are CPU seconds, and
"wall" is wall-clock time.

    python tools/bench_communities.py cora blocks later size
    python tools/bench_communities.py cora --rows modularity louvain --seeds 1

The row "leiden" is there where the package leidenalg is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from result_rows import Results, table
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from segspectral.heads.soft_assignment import spectral_communities
from segspectral.metrics.clustering import clustering_scores
from segspectral.metrics.communities import conductance, modularity
from segspectral.networks import find_communities
from segspectral.networks.find import extend_communities, scaled
from segspectral.networks.graphs import Graph, read_graph, undirected
from segspectral.networks.number import choose_number
from segspectral.values import Affinity

COMMUNITIES = 16

POLISHED = ", polished"
"""What the name of a row ends with if single nodes move after the head."""

CORA: dict[str, tuple[Any, float]] = {
    "modularity": ("modularity", 0.2),
    "mincut": ("mincut", 0.2),
    "modularity, cold": ({"name": "modularity", "warm_start": False, "collapse": 1.0, "steps": 1000}, 0.2),
    "modularity, cold, edges alone": (
        {"name": "modularity", "warm_start": False, "collapse": 1.0, "steps": 1000},
        0.0,
    ),
    "modularity, attributes reconstructed": ({"name": "modularity", "reconstruction": 0.1}, 0.2),
    "spectralnet, gcn": ({"name": "spectralnet", "encoder": "gcn", "hidden": (64, 16)}, 0.2),
    "neuncut": ("neuncut", 0.2),
    "neuncut, edges alone": ("neuncut", 0.0),
    "exact": ("exact", 0.2),
    "exact, edges alone": ("exact", 0.0),
}
"""Row of the table -> head and weight of the attributes."""

BLOCKS: dict[str, Any] = {
    "exact": "exact",
    "neuncut": "neuncut",
    "neuncut, gcn": {"name": "neuncut", "encoder": "gcn", "hidden": (64, 16)},
    "spectral_clustering": "spectral_clustering",
    "spectralnet, gcn": {"name": "spectralnet", "encoder": "gcn", "hidden": (64, 16)},
    "neuralef, gcn": {"name": "neuralef", "encoder": "gcn", "hidden": (64, 16)},
    "rsm, gcn": {"name": "rsm", "encoder": "gcn", "hidden": (64, 16)},
    "modularity": "modularity",
    "mincut": "mincut",
    "modularity, cold": {"name": "modularity", "warm_start": False, "collapse": 1.0, "steps": 400},
    "mincut, cold": {"name": "mincut", "warm_start": False, "steps": 400},
}


def scores(graph: Graph, labels: Any) -> dict[str, float]:
    found = {
        "modularity": modularity(graph.affinity, labels),
        "conductance": float(conductance(graph.affinity, labels).mean()),
        "used": float(len(np.unique(labels))),
    }
    return clustering_scores(labels, graph.labels) | found


def timed(run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    begin, clock = time.process_time(), time.perf_counter()
    result = run()
    return result, {"seconds": time.process_time() - begin, "wall": time.perf_counter() - clock}


def cora_row(graph: Graph, row: str, seed: int) -> dict[str, float]:
    if row == "k-means on attributes":
        model = KMeans(COMMUNITIES, n_init=10, random_state=seed)
        labels, spent = timed(lambda: model.fit_predict(scaled(graph.attributes)))
    elif row == "louvain":
        network = nx.from_scipy_sparse_array(graph.affinity.weights)
        parts, spent = timed(lambda: nx.community.louvain_communities(network, seed=seed))
        labels = np.empty(len(graph), dtype=np.int64)
        for community, nodes in enumerate(parts):
            labels[list(nodes)] = community
    elif row == "leiden":
        labels, spent = timed(lambda: leiden(graph, seed))
    elif row == "regularized spectral, edges alone":
        labels, spent = timed(lambda: spectral_communities(graph.affinity, COMMUNITIES, seed=seed))
    else:
        head, weight = CORA[row.removesuffix(POLISHED)]
        found, spent = timed(
            lambda: find_communities(
                graph, COMMUNITIES, head=head, weight=weight, polish=row.endswith(POLISHED), seed=seed
            )
        )
        labels = found.labels
    return scores(graph, labels) | spent


def leiden(graph: Graph, seed: int) -> Any:
    """The communities (N,) of highest modularity that leidenalg finds (Traag, Waltman and van Eck 2019)."""
    import igraph
    import leidenalg

    edges = sp.triu(graph.affinity.weights).tocoo()
    network = igraph.Graph(len(graph), np.stack([edges.row, edges.col], axis=1).tolist())
    way = leidenalg.ModularityVertexPartition
    return np.array(leidenalg.find_partition(network, way, weights=edges.data.tolist(), seed=seed).membership)


def blocks(sizes: tuple[int, ...], seed: int) -> Graph:
    """Draw a planted partition: the probability of an edge is 0.15 inside a block and 0.01 between blocks."""
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    same = truth[:, None] == truth
    upper = np.triu(rng.random(same.shape) < np.where(same, 0.15, 0.01), 1)
    weights, counts = undirected(np.argwhere(upper), np.ones(int(upper.sum())), len(truth))
    return Graph(tuple(map(str, range(len(truth)))), Affinity(weights), counts, labels=truth)


def later_row(graph: Graph, head: Any, seed: int, folder: Path) -> dict[str, float]:
    """Fit a head without a tenth of the nodes, then assign these nodes by their edges."""
    rng = np.random.default_rng(seed)
    seen = np.sort(rng.permutation(len(graph))[len(graph) // 10 :])
    inner = sp.triu(graph.affinity.weights[seen][:, seen]).tocoo()
    weights, counts = undirected(np.stack([inner.row, inner.col], axis=1), inner.data, len(seen))
    names = tuple(graph.names[i] for i in seen)
    part = Graph(names, Affinity(weights), counts, graph.attributes[seen], graph.labels[seen])
    fitted = find_communities(part, COMMUNITIES, head=head, seed=seed)
    path = folder / f"later-{os.getpid()}.safetensors"
    fitted.save(path)
    try:
        grown, spent = timed(lambda: extend_communities(graph, path))
    finally:
        path.unlink()
    new = clustering_scores(grown.labels[grown.new], graph.labels[grown.new])
    old = clustering_scores(fitted.labels, part.labels)
    # Small samples have a higher NMI: seen nodes in samples as large as the new ones are the fair comparison.
    draws = [rng.permutation(len(seen))[: int(grown.new.sum())] for _ in range(50)]
    alike = np.mean([clustering_scores(fitted.labels[d], part.labels[d])["nmi"] for d in draws])
    stay = float((grown.labels[seen] == fitted.labels).mean())
    return {
        "nmi_seen": old["nmi"], "nmi_seen_same_size": float(alike), "nmi_new": new["nmi"],
        "accuracy_seen": old["accuracy"], "accuracy_new": new["accuracy"], "stay": stay, **spent,
    }  # fmt: skip


def planted(edges: int, groups: int = COMMUNITIES, degree: int = 20, inside: float = 0.7) -> Graph:
    """Draw about ``edges`` edges, of which the share ``inside`` lies inside groups, without a dense matrix."""
    rng = np.random.default_rng(0)
    nodes = 2 * edges // degree
    truth = np.sort(rng.integers(0, groups, nodes))
    first = np.searchsorted(truth, np.arange(groups + 1))
    i = rng.integers(0, nodes, edges)
    own = first[truth[i]] + (rng.random(edges) * (first[truth[i] + 1] - first[truth[i]])).astype(np.int64)
    j = np.where(rng.random(edges) < inside, own, rng.integers(0, nodes, edges))
    weights, counts = undirected(np.stack([i, j], axis=1), np.ones(edges), nodes)
    return Graph(tuple(map(str, range(nodes))), Affinity(weights), counts, labels=truth)


def child(edges: int, head: str) -> None:
    """Read a text file and find communities in a separate process, whose peak of memory is that of this run."""
    graph = planted(edges)
    upper = sp.triu(graph.affinity.weights).tocoo()
    truth, listed = graph.labels, graph.counts.edges
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edges.txt"
        np.savetxt(path, np.stack([upper.row, upper.col], axis=1), fmt="%d")
        del graph, upper
        read, reading = timed(lambda: read_graph(path))
    truth = truth[np.array([int(name) for name in read.names])]
    found, spent = timed(lambda: find_communities(replace(read, labels=truth), COMMUNITIES, head=head))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = {"edges": listed, "reading": reading["seconds"], **spent, "gib": peak, **scores(found.graph, found.labels)}
    print(json.dumps(row))


def in_child(edges: int, head: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(edges), head]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=7200)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def cora(results: Results, graph: Graph, rows: list[str], seeds: int) -> None:
    peers = ["louvain", *(["leiden"] if find_spec("leidenalg") else [])]
    polished = [f"{name}{POLISHED}" for name in ("modularity", "exact")]
    every = [*CORA, *polished, "regularized spectral, edges alone", *peers, "k-means on attributes"]
    for row, seed in product(rows or every, range(seeds)):
        results.once(f"Cora, K = 16/{row}/{seed}", partial(cora_row, graph, row, seed))


def numbers(results: Results, seeds: int) -> None:
    """Let ``-k auto`` choose the number of 4, 8 and 16 planted blocks of 60 nodes, on seeds from 100 on."""

    def run(count: int, seed: int) -> dict[str, float]:
        graph = blocks((60,) * count, seed)
        choice, spent = timed(lambda: choose_number(graph.affinity, seed=seed))
        return {"right": float(choice.number == count), "chosen": float(choice.number), **spent}

    for count, seed in product((4, 8, 16), range(100, 100 + seeds)):
        results.once(f"-k auto/{count} planted blocks/{seed}", partial(run, count, seed))


def planted_blocks(results: Results, rows: list[str], seeds: int) -> None:
    def run(sizes: tuple[int, ...], row: str, seed: int) -> dict[str, float]:
        graph = blocks(sizes, seed)
        found, spent = timed(lambda: find_communities(graph, 4, head=BLOCKS[row], seed=seed))
        return scores(graph, found.labels) | spent

    for sizes, row, seed in product(((150, 150, 150, 150), (400, 120, 60, 20)), rows or BLOCKS, range(seeds)):
        results.once(f"blocks {', '.join(map(str, sizes))}/{row}/{seed}", partial(run, sizes, row, seed))


def tables(results: Results) -> Iterator[str]:
    """Markdown tables of all results."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for key, row in results.rows.items():
        title, line, _ = key.split("/")
        groups[title][line].append(row)
    return (table(title, lines) for title, lines in groups.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="any of cora, blocks, numbers, later, size; none prints the tables")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    parser.add_argument("--results", type=Path, default=Path("out/bench_communities.jsonl"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", default=[], help="of cora and blocks; default all")
    parser.add_argument("--edges", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="of the sizes")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder, parts = options.results.resolve().parent, set(options.parts)
    with threadpool_limits(1, user_api="blas"):
        import torch

        torch.set_num_threads(1)
        if options.child:
            return child(int(options.child[0]), options.child[1])
        results = Results(options.results)
        if {"cora", "later"} & parts:
            graph = read_graph(options.data / "cora" / "cora.npz")
            print(f"Cora: {graph.counts}", flush=True)
        if "cora" in parts:
            cora(results, graph, options.rows, options.seeds)
        if "blocks" in parts:
            planted_blocks(results, options.rows, options.seeds)
        if "numbers" in parts:
            numbers(results, options.seeds)
        if "later" in parts:
            for row, seed in product(("modularity", "mincut", "exact"), range(options.seeds)):
                results.once(f"Cora, a tenth later/{row}/{seed}", partial(later_row, graph, row, seed, folder))
        if "size" in parts:
            for edges in options.edges:
                results.once(f"size/{edges}/modularity", partial(in_child, edges, "modularity"))
    print("\n".join(tables(results)))


if __name__ == "__main__":
    main()
