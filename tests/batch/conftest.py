"""Tiny images, a fast pipeline, and every engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from segspectral.batch import DaskCluster, Engine, InProcess, Processes, Segmenter
from segspectral.config import make_pipeline
from segspectral.pipeline import Pipeline

FAST = {
    "segments": 3,
    "features": {"cnn": None, "texture": None},
    "superpixels": {"count": 40},
    "head": "exact",
    "refine": "none",
}
FAST_OPTIONS = [
    *("-k", "3", "--head", "exact", "--refine", "none"),
    *("--set", "features={cnn: null, texture: null}", "--set", "superpixels.count=40"),
]

needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="dask (extra 'cluster') is not installed")

ISOLATING: dict[str, Callable[[float | None], Engine]] = {
    "processes": lambda timeout: Processes(2, timeout),
    "dask": lambda timeout: DaskCluster("local:2", timeout),
}
ENGINES: dict[str, Callable[[float | None], Engine]] = {"in process": lambda timeout: InProcess(), **ISOLATING}
ENGINE_OPTIONS = {
    "in process": ["--jobs", "0"],
    "processes": ["--jobs", "2"],
    "dask": ["--dask", "local:2"],
}


def parameters(names: dict[str, object]) -> list[object]:
    return [pytest.param(name, marks=needs_dask) if name == "dask" else name for name in names]


@pytest.fixture(scope="session", autouse=True)
def _workers_import_the_tests() -> Iterator[None]:
    """Dask's own workers are started with this process's environment, not with its sys.path."""
    before = os.environ.get("PYTHONPATH")
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(params=parameters(ENGINES))
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=parameters(ISOLATING))
def isolating(request: pytest.FixtureRequest) -> Callable[[float | None], Engine]:
    return ISOLATING[request.param]


@pytest.fixture(scope="session")
def fast() -> Pipeline:
    return make_pipeline(FAST)


@pytest.fixture
def segmenter(fast: Pipeline, tmp_path: Path) -> Segmenter:
    return Segmenter.of(fast, tmp_path / "out")


@pytest.fixture
def put(cat: NDArray[np.uint8], tmp_path: Path) -> Callable[..., Path]:
    """Writes images of different content into the folder ``in``, which it returns."""
    rng = np.random.default_rng(0)

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            row, col = rng.integers(0, 24), rng.integers(0, 32)
            PIL.Image.fromarray(cat[row : row + 40, col : col + 56]).save(path)
        return tmp_path / "in"

    return write
