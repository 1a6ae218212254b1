"""The commands as users run them: killed at random moments, on full and read-only disks, with odd names."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from segspectral.batch import InProcess, Segmenter, Status, Tally, find_jobs, run
from segspectral.cli import app
from segspectral.pipeline import Pipeline
from tests.batch.conftest import ENGINE_OPTIONS, FAST_OPTIONS

Put = Callable[..., Path]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "segspectral", *map(str, arguments)]


def batch(folder: Path, out: Path, *options: object) -> list[str]:
    return command("batch", folder, "-o", out, "-r", *FAST_OPTIONS, *options)


def ran(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=120)
    assert result.returncode == code, result.stderr
    return result


def told(command: list[str], code: int) -> Result:
    """The same in this process, for what the command says: to import everything once more takes seconds."""
    result = CliRunner().invoke(app, command[3:])
    assert result.exit_code == code, result.output
    return result


def results(out: Path) -> dict[str, bytes]:
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in out.rglob("*")
        if p.is_file() and not p.name.startswith("journal")
    }


def done_lines(out: Path) -> list[str]:
    text = (out / "journal.jsonl").read_text() if (out / "journal.jsonl").exists() else ""
    return [json.loads(line)["image"] for line in text.splitlines(keepends=True) if '"status":"done"' in line[:-1]]


@pytest.fixture
def twenty(put: Put) -> Path:
    return put(*(f"{'x/' if i % 3 else ''}{i:02}.{'png' if i % 2 else 'jpg'}" for i in range(20)))


def test_a_batch_killed_at_random_moments_ends_with_the_same_results(
    twenty: Path, fast: Pipeline, engine_name: str, tmp_path: Path
):
    rng = random.Random(engine_name)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    run(find_jobs([twenty], recursive=True), Segmenter.of(fast, undisturbed), InProcess(), undisturbed)
    go = batch(twenty, out, *ENGINE_OPTIONS[engine_name])
    kills = 0
    for _ in range(2 if engine_name == "in process" else 1):  # the others take seconds to start
        before, further = len(done_lines(out)), rng.randint(1, 7)
        process = subprocess.Popen(go, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(done_lines(out)) < before + further:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills
    ran(*go)
    assert Counter(done_lines(out)) == Counter({p.relative_to(twenty).as_posix(): 1 for p in twenty.rglob("*.*")})
    assert results(out) == results(undisturbed)


def test_a_full_disk_stops_clearly_and_goes_on_when_there_is_room(twenty: Path, small_disk: Path):
    result = ran(*batch(twenty, small_disk, "-j", 1), code=2)
    assert "No space left on device" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    done = done_lines(small_disk)
    assert 0 < len(done) < 20
    whole = {
        f"{Path(name).with_suffix('')}{end}"
        for name in done
        for end in (".json", "_labels.png", "_overlay.png", "_segments.csv")
    }
    assert whole <= set(results(small_disk))
    assert not list(small_disk.rglob(".*"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    ran(*batch(twenty, small_disk, "-j", 0))
    assert len(done_lines(small_disk)) == len(set(done_lines(small_disk))) == 20


def test_a_read_only_output_is_reported_before_any_work(tmp_path: Path, small_disk: Path):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    (tmp_path / "a.png").write_bytes(b"no image")  # work on it would be a failure, and said first
    result = ran(*batch(tmp_path / "a.png", small_disk), code=2)
    assert result.stderr.startswith(f"error: {small_disk}: cannot be written to (Read-only file system)")
    assert "failed" not in result.stderr


def test_ctrl_c_finishes_the_images_in_progress_and_exits_130(twenty: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = subprocess.Popen(batch(twenty, out, "-j", 1), stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not done_lines(out):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on with them" in said
    assert len(done_lines(out)) < 20
    assert len(results(out)) == 4 * len(done_lines(out))


def test_status_exit_codes_and_progress(put: Put, tmp_path: Path):
    folder, out = put("a.png", "b.png"), tmp_path / "out"
    (folder / os.fsdecode(b"\xff\n\x1b[31m.png")).write_bytes(b"odd")
    result = ran(*batch(folder, out, "-j", 1, "--progress", "json"), code=1)
    last = json.loads(result.stdout.splitlines()[-1])
    assert (last["images"], last["left"], last["now"]) == (3, 0, {"done": 2, "failed": 1})
    status = ran(*command("status", out)).stdout
    assert "done       2" in status
    assert "failed     1" in status
    assert "left       0" in status
    assert "is text, not an image" in status
    assert "\x1b" not in status  # a name is no command to the terminal
    assert json.loads(told(command("status", out, "--json"), 0).stdout)["counts"] == {"done": 2, "failed": 1}
    again = told(batch(folder, out, "-j", 1), 1)
    assert "nothing to do" in again.stderr
    assert "--retry-failed" in again.stderr
    assert told(batch(folder / "*31m.png", tmp_path / "bad", "-j", 0), 3).stdout == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--shard", "9/8"], "--shard 9/8: write a shard as i/n"),
        (["--dask", "localhost"], "--dask localhost: write tcp://"),
        (["--dask", "local:2", "--jobs", "2"], "exclude each other"),
        (["--jobs", "0", "--timeout", "5"], "--timeout needs a process that can be stopped"),
        (["--tile", "64", "--format", "svg"], "--tile: svg can only be made of whole images"),
        (["--format", "coco,jpeg"], "unknown format 'jpeg'"),
        (["--ext", "webp"], "no images were found"),
        (["--head", "best"], "unknown head"),
        (["--bands", "4,3"], "--bands: reading.bands: write 3 numbers"),
        (["--bands", "0,1,2"], "--bands: "),
        (["--stretch", "98,2"], "below the second"),
        (["--stretch", "dark"], "--stretch: "),
    ],
)
def test_wrong_options_are_reported_in_one_sentence(put: Put, tmp_path: Path, options: list[str], sentence: str):
    result = told(batch(put("a.png"), tmp_path / "out", *options), 2)
    assert sentence in result.stderr
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_input_without_images_is_reported_and_the_rest_is_done(put: Put, tmp_path: Path):
    folder, out = put("p/a.png"), tmp_path / "out"
    (folder / "q").mkdir()
    result = told(command("batch", folder / "p", folder / "q", "-o", out, *FAST_OPTIONS, "-j", 0), 1)
    assert result.stderr.splitlines()[0].startswith(f"error: {folder / 'q'}: no images were found")
    assert done_lines(out) == ["p/a.png"]


def test_status_of_a_folder_without_batch_is_one_sentence(tmp_path: Path):
    assert "no batch has written there" in told(command("status", tmp_path), 2).stderr


def test_a_line_of_progress_for_log_files(monkeypatch: pytest.MonkeyPatch, capfd):
    module = import_module("segspectral.cli.progress")
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    tally = Tally(10)
    tally.now[Status.DONE] = 4
    tally.now[Status.CRASHED] = 1
    said, end = "", time.monotonic() + 60
    with module.Progress(tally, module.ProgressKind.AUTO):
        while said.count("\n") < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
            said += capfd.readouterr().err
    lines = said.splitlines()
    assert "5 of 10" in lines[0]
    assert "1 failed" in lines[0]
