"""Running the command line, and what its results are called."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app

ROOT = Path(__file__).parents[2]
FAST = ("--set", "superpixels.count=80", "--set", "features.cnn=null", "--head", "exact", "--refine", "none")
"""Settings for tests that are about something else."""

EXPECTED = {"{}_labels.png", "{}_overlay.png", "{}_segments.csv", "{}.json"}


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, **options
    )


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def expected(*stems: str) -> list[str]:
    return sorted(name.format(stem) for name in EXPECTED for stem in stems)


def one_error(result: Result) -> str:
    """The only line on stderr that is an error."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1, result.stderr
    return errors[0]


@pytest.fixture
def photo(cat: NDArray[np.uint8], tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    PIL.Image.fromarray(cat).save(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Callable[[], None]:
    yield
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob(".segspectral"))
