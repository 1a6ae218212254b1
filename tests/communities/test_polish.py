"""Moves of single nodes after a head: the modularity never falls, and rises where a node is in the wrong community."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from segspectral.metrics.communities import modularity
from segspectral.networks import find_communities
from segspectral.networks.find import extend_communities
from segspectral.networks.graphs import Graph, undirected
from segspectral.networks.polish import polished
from segspectral.values import Affinity


def drawn(seed: int, n: int = 60, k: int = 4) -> tuple[Affinity, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) * k // n
    chance = np.where(truth[:, None] == truth, 0.5, 0.05)
    upper = np.triu(rng.random((n, n)) < chance, 1) * rng.uniform(0.5, 2, (n, n))
    return Affinity(sp.csr_array(upper + upper.T)), truth


@pytest.mark.parametrize("seed", range(6))
def test_no_single_move_is_left_and_the_modularity_does_not_fall(seed: int) -> None:
    affinity, _ = drawn(seed)
    labels = np.random.default_rng(seed).integers(0, 4, 60)
    labels[:4] = np.arange(4)
    found = polished(affinity, labels, 4)
    best = modularity(affinity, found)
    assert best > modularity(affinity, labels)
    assert set(found.tolist()) == {0, 1, 2, 3}
    for node in range(60):
        if (found == found[node]).sum() == 1:
            continue
        for community in range(4):
            moved = found.copy()
            moved[node] = community
            assert modularity(affinity, moved) <= best + 1e-6
    assert np.array_equal(polished(affinity, labels, 4), found)


def test_wrong_nodes_go_home_and_a_best_partition_stays() -> None:
    affinity, truth = drawn(0)
    wrong = truth.copy()
    wrong[[3, 20, 40]] = [3, 0, 1]
    assert np.array_equal(polished(affinity, wrong, 4), truth)
    assert np.array_equal(polished(affinity, truth, 4), truth)
    none = Affinity(sp.csr_array((60, 60)))
    assert np.array_equal(polished(none, wrong, 4), wrong), "a graph without edges has no modularity to raise"


def test_a_polished_search_keeps_its_communities_in_the_file(tmp_path: Path) -> None:
    affinity, _ = drawn(2, n=80, k=8)
    upper = sp.triu(affinity.weights).tocoo()
    weights, counts = undirected(np.stack([upper.row, upper.col], axis=1), upper.data, 80)
    graph = Graph(tuple(map(str, range(80))), Affinity(weights), counts)
    plain = find_communities(graph, 5, head="exact")
    found = find_communities(graph, 5, head="exact", polish=True)
    assert found.scores()["modularity"] > plain.scores()["modularity"], "the cut is not the modularity"
    assert found.head.ncut_ == pytest.approx(found.head.affinity_.ncut(found.head.labels_))
    found.save(tmp_path / "head.safetensors")
    again = extend_communities(graph, tmp_path / "head.safetensors")
    assert np.array_equal(again.labels, found.labels)
