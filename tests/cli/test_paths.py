"""Paths that are no files or folders of this machine are told by every command, before anything is read or written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import one_error, run

COMMANDS = {
    "segment": ("photo.png", "-o", "{}"),
    "batch": ("photo.png", "-o", "{}"),
    "fit": ("photo.png", "-o", "{}"),
    "status": ("{}",),
    "report": ("{}",),
    "convert": ("{}", "--to", "coco"),
    "evaluate": ("folder", "{}", "-o", "out"),
    "compare": ("{}", "{}"),
    "communities": ("{}", "-o", "out"),
    "cluster": ("{}",),
    "serve": ("{}",),
}
WRITING = {
    "segment": ("photo.png", "-o"),
    "batch": ("photo.png", "-o"),
    "convert": ("labels", "--to", "coco", "-o"),
    "communities": ("edges.csv", "-o"),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    (tmp_path / "edges.csv").write_text("a,b\nb,c\nc,a\n")
    (tmp_path / "file").write_text("important")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "photo_labels.png").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["s3://bucket/a", "https://example.org/a.csv", "-", ""])
def test_addresses_dashes_and_empty_arguments_are_reported(tmp_path: Path, command: str, path: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = run(command, *(argument.format(path) for argument in COMMANDS[command]))
    assert result.exit_code == 2
    if path:
        assert path in one_error(result)
        assert "is an address" in result.output or "standard input" in result.output
    else:
        assert "An argument is empty" in result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_place_of_the_output_is_reported_before_the_work(tmp_path: Path, command: str, out: str) -> None:
    result = run(command, *WRITING[command], out)
    assert result.exit_code == 2
    assert one_error(result).startswith(f"error: {out}: cannot be written to, because file is a file")
    assert (tmp_path / "file").read_text() == "important"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_neither_replaced_by_results_nor_read_for_ever(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe_labels.png"
    os.mkfifo(pipe)
    result = run("cluster", "edges.csv", "--head", "exact", "-k", 2, "-o", pipe)
    assert "is a device or a pipe" in one_error(result)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert "is a device or a pipe" in one_error(run("convert", pipe, "--to", "coco", "-o", "out"))
    assert "is a folder; name a file" in one_error(
        run("cluster", "edges.csv", "--head", "exact", "-k", 2, "-o", "labels")
    )
