"""The journal: what is written stays, what was torn does no harm, shards merge."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from segspectral.batch import Journal, Record, Shard, Status, read_history
from segspectral.batch.journal import RunStart
from segspectral.errors import BatchError, OutputError

DONE = Record("a.jpg", Status.DONE, size=3, mtime_ns=4, settings="s", version="v", outputs={"a.jpg.json": 5})


def write(out: Path, *lines: Record | RunStart, shard: Shard = Shard(0, 1)) -> None:
    with Journal(out, shard) as journal:
        for line in lines:
            journal.append(line)


def test_records_are_read_as_they_were_written(tmp_path: Path):
    odd = Record("b\udcff\n.jpg", Status.FAILED, "a sentence", traceback="Traceback")
    write(tmp_path, DONE, odd)
    latest = read_history(tmp_path).latest
    assert set(latest) == {DONE.image, odd.image}
    for record in (DONE, odd):
        read = latest[record.image]
        assert read.time > 1.6e9
        assert (read.status, read.reason, read.outputs, read.size) == (
            record.status,
            record.reason,
            record.outputs,
            record.size,
        )


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path, cut: int):
    write(tmp_path, DONE, Record("b.jpg", Status.DONE))
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert set(read_history(tmp_path).latest) == {"a.jpg"}
    write(tmp_path, Record("c.jpg", Status.DONE))
    history = read_history(tmp_path)
    assert set(history.latest) == {"a.jpg", "c.jpg"}
    assert history.unreadable == 0


def test_garbage_in_the_middle_costs_only_its_line(tmp_path: Path):
    write(tmp_path, DONE)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'\xff\xfe garbage\n[1]\n{"image": "x"}\n{"image": "y", "status": "odd"}\n' + path.read_bytes())
    history = read_history(tmp_path)
    assert set(history.latest) == {"a.jpg"}
    assert history.unreadable == 4


def test_fields_of_a_later_version_are_ignored(tmp_path: Path):
    (tmp_path / "journal.jsonl").write_text('{"image": "a", "status": "done", "mood": "good"}\n')
    assert read_history(tmp_path).latest["a"].status is Status.DONE


def test_a_second_run_is_locked_out_and_reported(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.append(DONE)
        assert read_history(tmp_path).running == {""}
        with pytest.raises(BatchError, match="another run"), Journal(tmp_path):
            pass
        write(tmp_path, Record("b.jpg", Status.DONE), shard=Shard(1, 2))
    history = read_history(tmp_path)
    assert not history.running
    assert set(history.latest) == {"a.jpg", "b.jpg"}


def test_the_latest_line_wins_across_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter([30.0, 10.0, 20.0])
    monkeypatch.setattr("time.time", lambda: next(clock))
    # One journal goes by its order, whatever the clock was set to meanwhile.
    write(tmp_path, DONE, Record("a.jpg", Status.RESET))
    assert read_history(tmp_path).latest["a.jpg"].status is Status.RESET
    write(tmp_path, Record("a.jpg", Status.FAILED), shard=Shard(1, 2))
    assert read_history(tmp_path).latest["a.jpg"].status is Status.FAILED


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, DONE)
    before = (tmp_path / "journal.jsonl").read_bytes()
    real = os.write
    calls = []

    def full(file: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:7])

    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OutputError, match="No space left"):
            journal.append(Record("b.jpg", Status.DONE))
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_reported(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written to"), Journal(tmp_path / "file" / "out"):
        pass


def test_a_run_knows_its_remaining_images_and_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = iter([110.0, 120.0])
    monkeypatch.setattr("time.time", lambda: next(clock))
    write(tmp_path, RunStart(100.0, 10, 3, "s", {}), Record("a", Status.DONE), Record("b", Status.FAILED, "no"))
    run = read_history(tmp_path).runs[""]
    assert (run.left, run.rate) == (5, pytest.approx(0.1))
