"""``tools/bench_peers.py``: what its table says of runs, and that a package that is missing is named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import bench_peers

    return bench_peers


def test_the_time_to_equal_nmi_is_that_of_the_cheapest_run_that_reaches_it(tool: ModuleType, tmp_path: Path) -> None:
    results = tool.Results(tmp_path / "results.jsonl")
    rows = {
        "exact/0": (0.9, 5.0),
        "spectralnet/100": (0.8, 3.0),
        "spectralnet/200": (0.896, 7.0),
        "package spectralnet/1": (0.2, 2.0),
        "package spectralnet/3": (0.7, 40.0),
    }
    for key, (nmi, cpu) in rows.items():
        row = {"nmi": nmi, "acc": nmi, "cpu": cpu, "budget": int(key.rpartition("/")[2])}
        results.once(f"x/{key}", lambda row=row: row)
    results.once("x/package ncut-pytorch/1000", lambda: {"budget": 1000, "error": "no memory"})
    table = "\n".join(tool.tables(results))
    assert "| exact | 0.900 | 0.900 | 5 | 5 |" in table
    assert "| spectralnet, 200 steps | 0.896 | 0.896 | 7 | 7 |" in table
    assert "| package spectralnet, 3 epochs | 0.700 | 0.700 | 40 | not within 40 |" in table
    assert "| package ncut-pytorch | no memory |" in table
    assert "neuncut" not in table


def test_a_package_that_is_missing_is_named_and_the_others_run(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tool.Method("no_such_module", "no-such-package")
    monkeypatch.setitem(tool.METHODS, "package ncut-pytorch", absent)
    (tmp_path / "mnist").mkdir()
    y = np.arange(60) % 10
    images = np.random.default_rng(0).random((60, 8, 8)) + 8 * np.eye(64)[y * 6].reshape(60, 8, 8)
    np.savez(tmp_path / "mnist" / "train60k.npz", x=(images * 20).astype(np.uint8), y=y)
    options = f"--data {tmp_path} --results {tmp_path / 'r.jsonl'} --spaces raw --fitted 60 --rows exact".split()
    monkeypatch.setattr(sys, "argv", ["bench_peers", *options, "package ncut-pytorch"])
    tool.main()
    said = capsys.readouterr().out
    assert "no-such-package is not installed, so its row is left out; to have it: pip install no-such-package" in said
    assert "| exact | 1.000 | 1.000 |" in said
    assert "| package ncut-pytorch" not in said
