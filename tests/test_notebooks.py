"""The notebooks run from top to bottom, on tiny data; and they hold what they showed on real data."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
REDUCED = {"limit=12": "limit=2", "nodes=2400": "nodes=600"}
"""What is made smaller: the names of the settings stay those of the notebook."""


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells with code."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def as_script(path: Path) -> str:
    """The code of a notebook; what a cell shows at its end is shown to nobody, but made."""
    parts = []
    for cell in cells(path):
        source = "".join(cell["source"])
        last = ast.parse(source).body[-1]
        if isinstance(last, ast.Expr):
            lines = source.splitlines(keepends=True)
            begin = "".join(lines[: last.lineno - 1])
            shown = "".join(lines[last.lineno - 1 :])
            source = f"{begin}shown = {shown}\nhasattr(shown, '_repr_html_') and shown._repr_html_()"
        parts.append(source)
    text = "\n".join(parts)
    for there, here in REDUCED.items():
        text = text.replace(there, here)
    return text


@pytest.fixture(scope="module")
def bsds(tmp_path_factory: pytest.TempPathFactory, cat: NDArray[np.uint8]) -> Path:
    """Two small images of BSDS500."""
    root = tmp_path_factory.mktemp("data") / "bsds500/val"
    for number, picture in enumerate((cat, cat[:, ::-1])):
        small = np.ascontiguousarray(picture[::2, ::2])
        for folder in ("images", "gt"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(small).save(root / f"images/{number}.jpg")
        segs = np.zeros((2, *small.shape[:2]), np.uint16)
        segs[:, :, small.shape[1] // 2 :] = 1
        borders = np.zeros(segs.shape, bool)
        borders[:, :, small.shape[1] // 2] = True
        np.savez(root / f"gt/{number}.npz", segs=segs, bdrys=np.packbits(borders, axis=-1))
    return root.parents[1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, bsds: Path, tmp_path: Path) -> None:
    (tmp_path / "DATA").symlink_to(bsds)
    script = tmp_path / "notebook.py"
    script.write_text(as_script(path), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_what_it_showed(path: Path) -> None:
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert all(cell["execution_count"] for cell in cells(path)), "run tools/run_notebooks.py"
    assert outputs
    assert path.stat().st_size < 400_000
