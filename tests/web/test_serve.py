"""``segspectral serve`` up to where it would listen."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from segspectral.cli import app
from tests.web.conftest import LIMITS, quick, serving

QUICK = ["--set", "features.cnn=null"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr("segspectral.web.jobs.Workers.prepare", lambda workers: None)  # starts processes
    calls: list[dict[str, Any]] = []

    def run(server: Any, sockets: list[socket.socket]) -> None:
        (listening,) = sockets
        calls.append({"address": listening.getsockname(), "access_log": server.config.access_log})

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return calls


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_it_listens_on_this_computer_only(started: list[dict[str, Any]], port: int) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", str(port), *QUICK])
    assert result.exit_code == 0, result.output
    assert f"http://127.0.0.1:{port}" in result.output
    assert "no password" not in result.output
    (call,) = started
    assert call == {"address": ("127.0.0.1", port), "access_log": False}


def test_port_0_is_any_free_port_and_the_port_is_reported(started: list[dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, ["serve", "--port", "0", *QUICK])
    (call,) = started
    assert f"http://127.0.0.1:{call['address'][1]} " in result.output


def test_another_address_is_warned_of(started: list[dict[str, Any]], port: int) -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--port", str(port), *QUICK])
    assert f"everyone who reaches 0.0.0.0:{port} can send images" in result.output
    assert started[0]["address"] == ("0.0.0.0", port)


def test_a_port_in_use_is_a_sentence(started: list[dict[str, Any]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["serve", "--port", str(taken.getsockname()[1]), *QUICK])
    assert result.exit_code == 2
    assert "choose another --port" in result.output
    assert not started


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segspectral.extras.installed", lambda module: module != "uvicorn")
    result = CliRunner().invoke(app, ["serve", *QUICK])
    assert result.exit_code == 2
    assert "pip install 'segspectral[web]'" in result.output


def children(process: int) -> list[int]:
    """Linux lists a child under the thread that started it, so the threads of a process are all asked."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, (thread / "children").read_text().split())
    return found


def wait_until(true: Callable[[], bool], why: str = "") -> None:
    """On a busy machine, nothing has happened at a given moment."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, why
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in Linux's /proc")
def test_an_interruption_ends_the_running_job_and_leaves_no_process() -> None:
    httpx = pytest.importorskip("httpx")
    with serving(*QUICK) as (address, process):
        steps = {"sample": "cat.jpg", "settings": "head.steps: 2000\nhead.hidden: [1024, 1024]"}
        job = httpx.post(f"{address}/api/jobs", data=steps, timeout=30).json()["id"]
        wait_until(lambda: "affinity" in httpx.get(f"{address}/api/jobs/{job}", timeout=30).json()["stages"])
        wait_until(lambda: len(children(process.pid)) == 2, "one that trains, and a spare one")
        workers = children(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        wait_until(lambda: not [child for child in workers if Path(f"/proc/{child}").exists()], "none is left")


def uploaded(address: str, temporary: Path) -> Path:
    """The folder of a server that keeps an upload, which is not done yet."""
    httpx = pytest.importorskip("httpx")
    steps = {"sample": "cat.jpg", "settings": "head.steps: 2000\nhead.hidden: [1024, 1024]"}
    assert httpx.post(f"{address}/api/jobs", data=steps, timeout=30).status_code == 202
    (folder,) = temporary.iterdir()
    assert list(folder.iterdir())
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_ended_leaves_no_files(number: signal.Signals, tmp_path: Path) -> None:
    with serving(*QUICK, temporary=tmp_path) as (address, process):
        uploaded(address, tmp_path)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert list(tmp_path.iterdir()) == []


def test_the_next_server_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    with serving(*QUICK, temporary=tmp_path) as (address, process):
        left = uploaded(address, tmp_path)
        process.kill()
        process.wait()
    assert left.exists()
    with serving(*QUICK, temporary=tmp_path) as (address, _):
        assert not left.exists()
        kept = uploaded(address, tmp_path)
        with serving(*QUICK, temporary=tmp_path):
            assert list(kept.iterdir())


def test_requests_that_are_never_completed_are_cut_off(samples: Path, workers: Any) -> None:
    """Some connections send nothing, half of the headers or half of a body; others are more than the server takes."""
    uvicorn = pytest.importorskip("uvicorn")
    from segspectral.web import create_app
    from segspectral.web.connection import PatientProtocol

    class Impatient(PatientProtocol):
        HEAD_SECONDS = 1.0
        BODY_SECONDS = 2.0
        MOST = 20

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = create_app(quick(), LIMITS, samples, workers=workers)
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=Impatient, ws="none", log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    head = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\nContent-Type: multipart/form-data; "
    halves = [b"", b"GET / HTTP/1.1\r\nHost:", head + b"boundary=a\r\n\r\n--a"]

    def half(text: bytes) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), timeout=20)
        made.sendall(text)
        return made

    begun = [half(text) for text in halves]
    for one in begun:
        with contextlib.suppress(ConnectionResetError):
            while one.recv(1000):
                pass
    wait_until(lambda: not app.state.jobs._places, "the place in the queue is free again")
    Impatient.HEAD_SECONDS = Impatient.BODY_SECONDS = 1000.0  # from here on, none is cut off by the clock
    many = [half(halves[i % 2]) for i in range(60)]
    with half(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n") as asked:
        assert asked.recv(100).startswith(b"HTTP/1.1 200"), "who asks in one go is answered"
    wait_until(lambda: len(server.server_state.connections) <= Impatient.MOST, "the others are cut off")
    for one in many:
        one.close()
    server.should_exit = True
    thread.join(10)
