"""Jobs of the API stay bounded: in time, in memory and in number."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segspectral.web import Limits, Workers, create_app
from tests.web.conftest import done, png_of, quick, submit, wait

SLOW = {"head": {"name": "neuncut", "steps": 2000, "hidden": [1024, 1024]}}


def train(client: Any, data: bytes) -> str:
    """A job that trains for long, when it has begun to."""
    job: str = submit(client, data, **SLOW).json()["id"]
    end = time.monotonic() + 60
    while "affinity" not in client.get(f"/api/jobs/{job}").json()["stages"]:
        assert time.monotonic() < end
        time.sleep(0.03)
    return job


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_running_job_ends_at_once(client: Any, photograph: bytes, way: str) -> None:
    """A job is ended even while its head is trained, and the next job runs in the spare process."""
    job = train(client, photograph)
    if way == "cancel":
        assert client.post(f"/api/jobs/{job}/cancel").json()["status"] == "cancelled"
        assert client.get(f"/api/jobs/{job}/labels").status_code == 409
    else:
        assert client.delete(f"/api/jobs/{job}").status_code == 204
    assert list(client.app.state.jobs.folder.iterdir()) == [], "its upload is deleted"
    assert done(client, photograph)["status"] == "done"


def test_a_job_that_takes_too_long_is_ended(workers: Workers, photograph: bytes) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(seconds=0.3), workers=workers)
    with testing.TestClient(app, base_url="http://127.0.0.1") as client:
        state = wait(client, submit(client, photograph, **SLOW).json()["id"])
    assert state["status"] == "failed"
    assert "longer than 0.3 seconds" in state["error"]


def test_a_process_that_dies_ends_its_job_only(client: Any, photograph: bytes, workers: Workers) -> None:
    job = train(client, photograph)
    client.app.state.jobs.get(job).worker._process.kill()
    state = wait(client, job)
    assert state["status"] == "failed"
    assert "ended (signal 9, SIGKILL)" in state["error"]
    assert done(client, photograph)["status"] == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_an_image_that_needs_too_much_memory_is_reported(samples: Path) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    limits = Limits(gigabytes=0.5)
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8)
    large = png_of(np.tile(noise, (120, 120, 1)))
    with testing.TestClient(create_app(quick(), limits), base_url="http://127.0.0.1") as client:
        state = wait(client, submit(client, large, working_pixels=16_000_000).json()["id"])
    assert state["status"] == "failed"
    assert "memory" in state["error"]


def test_a_waiting_job_is_cancelled_at_once_and_the_queue_is_bounded(
    photograph: bytes, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    hold = threading.Event()
    take = workers.take

    def held() -> Any:
        hold.wait(30)
        return take()

    monkeypatch.setattr(workers, "take", held)
    app = create_app(quick(), Limits(queue=2, workers=1), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    ids = [submit(client, photograph).json()["id"] for _ in range(2)]
    refused = submit(client, photograph)
    assert refused.status_code == 503
    assert "2 images are waiting already; try again in" in refused.json()["detail"]
    assert f"in {refused.headers['retry-after']} second" in refused.json()["detail"]
    assert client.get(f"/api/jobs/{ids[1]}").json()["position"] == 1
    assert client.post(f"/api/jobs/{ids[1]}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/api/jobs/{ids[0]}").status_code == 204
    assert client.get(f"/api/jobs/{ids[0]}").status_code == 404
    hold.set()


def test_a_full_queue_refuses_an_upload_before_it_is_received(workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(queue=1), workers=workers)
    place = app.state.jobs.reserve()
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    read: list[int] = []

    def chunks() -> Any:
        for number in range(50):
            read.append(number)
            yield b"x" * 100_000

    headers = {"content-type": "multipart/form-data; boundary=a"}
    assert client.post("/api/jobs", content=chunks(), headers=headers).status_code == 503
    app.state.jobs.release(place)
    assert client.post("/api/jobs", content=b"", headers=headers).status_code in (400, 422)
    assert app.state.jobs.reserve(), "the place of a request that failed is free again"


def test_results_that_were_not_used_longest_are_forgotten_first(photograph: bytes, workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(kept_pixels=3 * 96 * 112), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    first, second, third = (done(client, photograph)["id"] for _ in range(3))
    client.get(f"/api/jobs/{first}")
    fourth = done(client, photograph)["id"]
    alive = [client.get(f"/api/jobs/{job}").status_code for job in (first, second, third, fourth)]
    assert alive == [200, 404, 200, 200]


def test_idle_results_are_forgotten(photograph: bytes, workers: Workers) -> None:
    testing = pytest.importorskip("fastapi.testclient")
    app = create_app(quick(), Limits(idle_seconds=0.2), workers=workers)
    client = testing.TestClient(app, base_url="http://127.0.0.1")
    job = submit(client, photograph).json()["id"]
    client.app.state.jobs._pool.shutdown(wait=True)
    time.sleep(0.3)
    assert client.get(f"/api/jobs/{job}").status_code == 404


def test_twenty_clients_at_once(server: str, photograph: bytes) -> None:
    httpx = pytest.importorskip("httpx")
    ends: list[str] = []

    def one() -> None:
        with httpx.Client(base_url=server, timeout=60) as client:
            ends.append(done(client, photograph)["status"])

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    meanwhile = 0
    while any(thread.is_alive() for thread in threads):
        jobs = httpx.get(f"{server}/api/health", timeout=60).raise_for_status().json()["jobs"]
        meanwhile += jobs["queued"] + jobs["running"] > 0
        time.sleep(0.05)
    assert ends == ["done"] * 20
    assert meanwhile > 1, "it answers while it works; tools/bench_web.py measures how soon"
