"""``segspectral serve`` up to where it would listen."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from segspectral.cli import app

QUICK = ["--set", "features.cnn=null"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    uvicorn = pytest.importorskip("uvicorn")
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: calls.append({"app": app, **options}))
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
    assert (call["host"], call["port"], call["access_log"]) == ("127.0.0.1", port, False)


def test_another_address_is_warned_of(started: list[dict[str, Any]], port: int) -> None:
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--port", str(port), *QUICK])
    assert f"everyone who reaches 0.0.0.0:{port} can send images" in result.output
    assert started[0]["host"] == "0.0.0.0"


def test_a_port_in_use_is_a_sentence(started: list[dict[str, Any]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["serve", "--port", str(taken.getsockname()[1]), *QUICK])
    assert result.exit_code == 2
    assert "choose another --port" in result.output
    assert not started


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, ["serve", *QUICK])
    assert result.exit_code == 2
    assert "pip install 'segspectral[web]'" in result.output
