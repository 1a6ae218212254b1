"""Journals that come from somebody else: no line ends a command with a traceback or leaves its folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.batch import InProcess, Record, Segmenter, Shard, Status, find_jobs, read_history, run
from segspectral.batch.journal import Journal
from segspectral.cli import app
from segspectral.config import make_pipeline
from tests.batch.conftest import FAST, FAST_OPTIONS
from tests.batch.test_run import Counting

NAN, INFINITE = float("nan"), float("inf")
FIELDS: dict[str, list[Any]] = {
    "image": ["../x", "/etc/passwd", "x/../../y", "..", ".", "", "a\0b", "\ud800", None, 3, True, [], {}],
    "status": ["odd", "", None, 1, True, [], {}],
    "reason": [3, None, ["x"], {}],
    "size": ["3", None, 1.5, NAN, True, 10**30, [1]],
    "mtime_ns": ["3", INFINITE, {}, -(10**30)],
    "seconds": [NAN, INFINITE, -1, "1", None, True, 10**30],
    "segments": [-1, "3", 2.5, 10**30, None],
    "stages": [{"head": NAN}, {"head": "1"}, {"head": None}, [1], None, "x"],
    "outputs": [
        *({"../victim": 1}, {"/victim": 1}, {"x/../../victim": 1}, {"": 1}, {".": 1}, {"\ud800": 1}, {"a\0": 1}),
        *({"journal.jsonl": 1}, {"journal.1of2.jsonl": 1}, {"a": -1}, {"a": 1.5}, {"a": "1"}, {"a": None}),
        *({"a": 10**30}, {"a": {}}, ["a"], None, "a", 3),
    ],
    "formats": [[None], "svg", {}, 3],
    "notes": [[1], "x", None, {"a": 1}],
    "turn": [-1, "1", 10**30, NAN, None],
    "time": [NAN, INFINITE, -INFINITE, -1, 1e300, "now", None, 10**30, True, []],
    "worker": [1, None],
    "traceback": [[], 0],
}
START = {"started": 1.0, "images": 1, "before": 0, "settings": "s", "pipeline": {}}
STARTS: dict[str, list[Any]] = {
    "started": [NAN, INFINITE, -1, "now", None, 1e300],
    "images": [-1, 1.5, "3", None, 10**30, NAN],
    "before": [-1, None, []],
    "settings": [None, 3],
    "pipeline": [[], None, "x"],
}
RAW = {
    "lists a hundred thousand deep": b"[" * 100_000,
    "objects ten thousand deep": b'{"image":' * 10_000 + b"1" + b"}" * 10_000,
    "a pipeline ten thousand deep": json.dumps(START).encode()[:-3] + b'{"a":' * 10_000 + b"1" + b"}" * 10_002,
    "a number of 5000 digits": json.dumps(START).encode()[:-1] + b',"images":' + b"9" * 5000 + b"}",
    "1e400": json.dumps(START).encode()[:-1] + b',"started":1e400}',
    "not UTF-8": b'{"image":"\xff\xfe","status":"done"}',
    "binary": bytes(set(range(256)) - {10}),
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "NaN": b"NaN",
    "a string": b'"image"',
    "nothing": b"",
    "blanks": b"   ",
    "half a line": b'{"image":"a.png","status":"do',
    "an image alone": b'{"image":"a.png"}',
    "an empty object": b"{}",
    "two objects": b"{} {}",
    "UTF-16": '{"image":"a.png"}'.encode("utf-16"),
}


def lines(of_each: int) -> list[Any]:
    """Return raw lines, and records and starts of runs with one odd value, the given number for each field."""
    record = {"image": "a.png", "status": "done", "time": 1.0}
    made = [pytest.param(data, id=name) for name, data in RAW.items()]
    for base, fields in ((record, FIELDS), (START, STARTS)):
        for name, values in fields.items():
            for value in values[:of_each]:
                data = json.dumps(base | {name: value}).encode()
                made.append(pytest.param(data, id=f"{name} {ascii(value)[:30]}"))
    return made


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def done(cat: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and its results."""
    home = tmp_path_factory.mktemp("done")
    (home / "in").mkdir()
    PIL.Image.fromarray(cat[10:50, 10:66]).save(home / "in" / "a.png")
    code, said = command("batch", home / "in", "-o", home / "out", "-j", 0, *FAST_OPTIONS)
    assert code == 0, said
    return home


@pytest.mark.parametrize("line", lines(100))
def test_a_foreign_line_is_counted(tmp_path: Path, line: bytes):
    sound = {"image": "a.png", "status": "failed"}
    (tmp_path / "journal.jsonl").write_bytes(line + b"\n" + json.dumps(sound).encode() + b"\n" + line + b"\n")
    history = read_history(tmp_path)
    assert history.unreadable == 2
    assert {name: record.status for name, record in history.latest.items()} == {"a.png": Status.FAILED}


@pytest.mark.parametrize("line", lines(2))
def test_a_foreign_line_does_not_stop_any_command(done: Path, tmp_path: Path, line: bytes):
    out = shutil.copytree(done / "out", tmp_path / "out")
    journal = out / "journal.jsonl"
    journal.write_bytes(line + b"\n" + journal.read_bytes() + line + b"\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != journal}
    code, said = command("status", out)
    assert code == 0
    assert "unreadable 2 lines of the journals" in said
    assert json.loads(command("status", out, "--json")[1])["unreadable_lines"] == 2
    code, said = command("batch", done / "in", "-o", out, "-j", 0, *FAST_OPTIONS)
    assert code == 0
    assert "nothing to do" in said
    assert "skipped 2 lines of the journals that cannot be read" in said
    assert {path: path.read_bytes() for path in before} == before
    code, said = command("report", out)
    assert code == 0
    assert "2 lines of the journals are not readable and ignored" in said
    assert "1 image -> " in said


def test_lines_of_a_later_version_and_odd_texts_are_read(done: Path, tmp_path: Path):
    out = shutil.copytree(done / "out", tmp_path / "out")
    deep: Any = 1
    for _ in range(400):
        deep = {"a": deep}
    more = [
        {"image": "b.png", "status": "failed", "reason": "\ud800 </script>\x1b[31m", "mood": deep},
        {"image": "c\udcff.png", "status": "failed", "reason": "bad"},
        START | {"pipeline": deep, "mood": NAN},
    ]
    (out / "journal.1of2.jsonl").write_text("".join(json.dumps(line) + "\n" for line in more))
    assert read_history(out).unreadable == 0
    code, said = command("status", out)
    assert code == 0
    assert "failed: b.png: \\ud800 </script>\\x1b[31m" in said
    assert command("report", out)[0] == 0
    assert command("batch", done / "in", "-o", out, "-j", 0, *FAST_OPTIONS)[0] == 0


@pytest.mark.parametrize("name", ["1ofx", "xof2", "(copy)", "9of2", ""])
def test_journals_of_any_name_are_read(done: Path, tmp_path: Path, name: str):
    out = shutil.copytree(done / "out", tmp_path / "out")
    (out / "journal.jsonl").rename(out / f"journal.{name}.jsonl")
    code, said = command("status", out)
    assert code == 0
    assert "done       1" in said
    assert read_history(out).shards_not_begun in (0, 1)


def test_a_journal_of_foreign_lines_alone_has_a_status(tmp_path: Path):
    (tmp_path / "journal.jsonl").write_text("[]\n")
    code, said = command("status", tmp_path)
    assert code == 0
    assert "unreadable 1 line of the journals" in said


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
@pytest.mark.parametrize("name", ["journal.jsonl", "journal.1of2.jsonl"])
def test_a_journal_that_is_not_a_file_is_reported(done: Path, tmp_path: Path, kind: str, name: str):
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    for arguments in (["status", tmp_path], ["batch", done / "in", "-o", tmp_path, "-j", 0, *FAST_OPTIONS]):
        code, said = command(*arguments)
        assert code == 2
        assert said.startswith(f"error: {tmp_path}")
        assert len(said.splitlines()) == 1


def test_no_journal_is_written_through_a_link(done: Path, tmp_path: Path):
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("a line that no newline ends")
    out.mkdir()
    (out / "journal.jsonl").symlink_to(victim)
    code, said = command("batch", done / "in", "-o", out, "-j", 0, *FAST_OPTIONS)
    assert (code, said.count("\n")) == (2, 1)
    assert "is a link" in said
    assert victim.read_text() == "a line that no newline ends"


@pytest.mark.parametrize("link", ["x", "labelme", "yolo"])
def test_no_results_are_written_through_a_link(done: Path, tmp_path: Path, link: str):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    out.mkdir()
    (out / link).symlink_to(outside)
    shutil.copytree(done / "in", tmp_path / "in" / "x")
    code, said = command(
        *("batch", tmp_path / "in", "-r", "-o", out, "-j", 0, *FAST_OPTIONS, "--format", "labelme,yolo")
    )
    assert (code, said.count("\n")) == (2, 1)
    assert f"this link leads out of {out}" in said
    assert not list(outside.iterdir())


def test_outdated_results_are_removed_and_nothing_else(done: Path, tmp_path: Path):
    out, outside = shutil.copytree(done / "out", tmp_path / "out"), tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").touch()
    (out / "link").symlink_to(outside)
    (out / "folder").mkdir()
    (out / "old").touch()
    (out / "old link").symlink_to(outside / "victim")
    (out / "of another").touch()
    names = ["old", "old link", "link/victim", "folder", "of another", "gone", "n" * 300]
    history = read_history(out).latest["a.png"]
    with Journal(out) as journal:
        journal.append(Record("b.png", Status.DONE, outputs={"of another": 0}))
        journal.append(Record("a.png", Status.DONE, outputs=history.outputs | dict.fromkeys(names, 0)))
    code, said = command("batch", done / "in", "-o", out, "-j", 0, *FAST_OPTIONS, "--seed", 1)
    assert code == 0, said
    assert "1 done" in said
    assert (outside / "victim").exists()
    assert (out / "folder").is_dir()
    assert (out / "of another").exists()
    assert not (out / "old").exists()
    assert not (out / "old link").is_symlink(), "the link itself lies in the folder"
    assert all((out / name).exists() for name in history.outputs)


@pytest.mark.parametrize("shard", [Shard(0, 1), Shard(0, 2), Shard(1, 2)])
def test_a_clock_that_was_set_back_does_not_block_later_runs(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: Shard
):
    (job,) = jobs = find_jobs([done / "in"])
    out, work = tmp_path / "out", Segmenter.of(make_pipeline(FAST), tmp_path / "out")
    mine = shard if job in shard else Shard(1 - shard.index, 2)
    bad = Record(job.name, Status.FAILED, "once", job.size, job.mtime_ns, work.settings, work.version)
    monkeypatch.setattr("time.time", lambda: 4e9)
    with Journal(out, Shard(0, 3)) as journal:
        journal.append(bad)
    monkeypatch.undo()
    run(jobs, work, InProcess(), out, mine, retry_failed=True)
    assert read_history(out).latest[job.name].status is Status.DONE
    again = Counting()
    run(jobs, work, again, out, Shard(0, 1))
    assert again.names == []
    assert read_history(out).runs[""].rate == 0


def test_a_run_whose_clock_was_set_back_has_no_rate(done: Path, tmp_path: Path):
    start = START | {"started": 4e9}
    line = {"image": "a.png", "status": "done", "time": 1e9}
    (tmp_path / "journal.jsonl").write_text(f"{json.dumps(start)}\n{json.dumps(line)}\n")
    code, said = command("status", tmp_path)
    assert code == 0
    assert "rate" not in said
