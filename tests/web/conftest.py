"""A server with quick settings, in this process and over a socket."""

from __future__ import annotations

import io
import json
import os
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
from segspectral.values import Image
from segspectral.web import Limits, Workers, create_app
from segspectral.web.work import read_upload

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
def serving(*options: str, temporary: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of ``segspectral serve`` as users start it, with another place for temporary files."""
    pytest.importorskip("uvicorn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segspectral", "serve", "--port", str(port), *options]
    place = {} if temporary is None else {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | place) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(
                (f"http://127.0.0.1:{port} ", f"http://127.0.0.1:{port}/label.html ")
            )
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def client(samples: Path, workers: Workers) -> Iterator[Any]:
    """Return a client with the interface of httpx that calls an application of its own without a socket."""
    testing = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")
    app = create_app(quick(), LIMITS, samples, workers=workers)
    with testing.TestClient(app, base_url="http://127.0.0.1:8000") as made:
        yield made


def submit(client: Any, data: bytes, name: str = "photo.png", **settings: Any) -> Any:
    return client.post("/api/jobs", files={"file": (name, data)}, data={"settings": json.dumps(settings)})


def wait(client: Any, job: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        state: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        if state["status"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.03)
    raise AssertionError("the job did not end")


def done(client: Any, data: bytes, **settings: Any) -> dict[str, Any]:
    answer = submit(client, data, **settings)
    assert answer.status_code == 202, answer.text
    state = wait(client, answer.json()["id"])
    assert state["status"] == "done", state
    return state


def image_of(data: bytes, folder: Path) -> Image:
    (folder / "photo.png").write_bytes(data)
    return read_upload(folder / "photo.png", "photo.png", 10**6)[0]


def labels_of(client: Any, state: dict[str, Any], query: str = "") -> np.ndarray:
    answer = client.get(f"/api/jobs/{state['id']}/labels{query}")
    return np.frombuffer(answer.content, "<u2").reshape(state["height"], state["width"])


def edit(client: Any, state: dict[str, Any], **change: Any) -> dict[str, Any]:
    answer = client.post(f"/api/jobs/{state['id']}/edits", json=change)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
