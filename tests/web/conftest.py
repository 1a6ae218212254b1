"""A server with quick settings, in this process and over a socket."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

pytest.importorskip("fastapi", reason="the extra 'web' is not installed")
pytest.importorskip("python_multipart", reason="the extra 'web' is not installed")

from segspectral import Pipeline
from segspectral.settings import with_settings
from segspectral.web import Limits, Workers, create_app

QUICK = {"features": {"cnn": None}, "head": "exact", "refine": "guided", "superpixels": {"count": 120}, "segments": 4}
LIMITS = Limits(megabytes=2, pixels=400_000, queue=30, kept=40, kept_pixels=4_000_000)


def quick() -> Pipeline:
    return with_settings(Pipeline(), QUICK)


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photograph(quadrants: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> bytes:
    """A PNG of four coloured quadrants."""
    return png_of(quadrants[0])


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """The processes that segment for all tests, because they take seconds to start."""
    made = Workers(quick(), LIMITS)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(samples: Path, workers: Workers) -> Iterator[str]:
    """Address of a server that really listens."""
    uvicorn = pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(quick(), LIMITS, samples, workers=workers)
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(5)


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of ``segspectral serve`` as users start it."""
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segspectral", "serve", "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"http://127.0.0.1:{port} ")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


@pytest.fixture
def client(samples: Path, workers: Workers) -> Iterator[Any]:
    """httpx-like, straight into an application of its own."""
    testing = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    app = create_app(quick(), LIMITS, samples, workers=workers)
    with testing.TestClient(app, base_url="http://127.0.0.1:8000") as made:
        yield made
