"""The recipes of configs/papers: they load, they say what they are, and they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.config import load, load_onto, with_settings
from segspectral.errors import SettingsError
from segspectral.images.reader import as_image
from segspectral.networks import Search, find_communities
from segspectral.networks.graphs import Graph, undirected
from segspectral.values import Affinity

PAPERS = Path(__file__).parents[1] / "configs" / "papers"
RECIPES = sorted(path.stem for path in PAPERS.glob("*.yaml") if path.stem != "communities")
QUICK = {"superpixels": {"count": 150}, "head": {"steps": 8}}
SLOW = {
    "neuncut": {"segments": 2, "head": {"hidden": [64, 64], "steps": 150}},
    "neural_eigenfunctions_quantized": {"segments": 2, "head": {"steps": 200}},
}
"""Memberships need more steps from a cold start: with clusters that nobody is in yet, the fit is an error."""


@pytest.mark.parametrize("name", [*RECIPES, "communities"])
def test_the_header_says_paper_command_cost_and_result(name: str) -> None:
    header = "".join(x for x in (PAPERS / f"{name}.yaml").read_text().splitlines(True) if x.startswith("#"))
    assert f"--config configs/papers/{name}.yaml" in header
    assert "Published" in header
    assert "CPU s" in header


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_on_a_small_image(name: str, cat: NDArray[np.uint8]) -> None:
    pipeline = with_settings(load(PAPERS / f"{name}.yaml"), QUICK | SLOW.get(name, {}))
    result = pipeline(as_image(cat))
    assert result.labels.shape == cat.shape[:2]
    assert 2 <= result.segments <= pipeline.segments
    assert result.membership.eigenvalues is not None
    assert result.ncut >= result.membership.eigenvalues[: pipeline.segments].sum() - 1e-6  # Ky Fan


def test_the_features_of_the_guide_have_30_columns(cat: NDArray[np.uint8]) -> None:
    pipeline = load(PAPERS / "spectralnet_guide.yaml")
    assert pipeline.describe(as_image(cat)).features.nodes.shape[1] == 30


def test_the_recipe_of_communities_runs() -> None:
    rng = np.random.default_rng(0)
    block = np.repeat([0, 1], 30)
    ends = np.argwhere(np.triu(rng.random((60, 60)) < np.where(block[:, None] == block, 0.4, 0.02), 1))
    weights, counts = undirected(ends, np.ones(len(ends)), 60)
    graph = Graph(tuple(map(str, range(60))), Affinity(weights), counts)
    search = load_onto(Search(), PAPERS / "communities.yaml")
    head = with_settings(search, {"head": {"steps": 20}}).head
    found = find_communities(graph, 2, head=head, weight=search.attribute_weight)
    agreement = (found.labels - 1 == block).mean()
    assert max(agreement, 1 - agreement) > 0.9


def test_a_misspelt_setting_of_communities_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("comunities: 4\n")
    with pytest.raises(SettingsError, match="unknown setting comunities; did you mean communities"):
        load_onto(Search(), tmp_path / "mine.yaml")


def test_options_replace_parts_of_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").write_text("".join(f"{a},{b}\n" for a in range(12) for b in range(a) if a % 3 == b % 3))
    (tmp_path / "mine.yaml").write_text("communities: 2\nhead: exact\n")
    for options, number in (([], 2), (["-k", "3"], 3)):
        out = tmp_path / f"out{number}"
        words = [
            "communities",
            str(tmp_path / "edges.csv"),
            "-o",
            str(out),
            "-c",
            str(tmp_path / "mine.yaml"),
            *options,
        ]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert f"{number} communities of" in result.output
