"""A batch on every engine: how images end, which are done again, and which files are left."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segspectral.batch import (
    Engine,
    InProcess,
    Job,
    Limits,
    Processes,
    Record,
    Segmenter,
    Shard,
    Status,
    Tally,
    find_jobs,
    read_history,
    run,
)
from segspectral.cli import app
from segspectral.errors import BackboneError, OutputError
from segspectral.pipeline import STAGES, Pipeline
from segspectral.rasters.segment import Tiles
from segspectral.report import build
from segspectral.settings import with_settings
from tests.batch.conftest import ENGINES, FAST_OPTIONS
from tests.batch.sabotage import Sabotaged, Unprepared

Put = Callable[..., Path]
MakeEngine = Callable[[float | None], Engine]


def outputs_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith("journal")
    }


def statuses(out: Path) -> dict[str, str]:
    return {name: record.status.value for name, record in read_history(out).latest.items()}


class Counting:
    """An engine in this process that remembers what it was given."""

    isolates = True

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, jobs, work):
        for job in jobs:
            self.names.append(job.name)
            yield work(job)


def test_good_and_bad_images_all_end(put: Put, segmenter: Segmenter, engine_name: str, tmp_path: Path):
    folder = put("a.jpg", "a.png", "x/a.jpg", "gone.png", "defect_.png")
    (folder / "bad.jpg").write_bytes(b"no image")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:500])
    jobs = find_jobs([folder], recursive=True)
    (folder / "gone.png").unlink()
    out = tmp_path / "out"
    tally = run(jobs, Sabotaged(segmenter), ENGINES[engine_name](20), out)
    assert dict(tally.now) == {Status.DONE: 3, Status.FAILED: 4}
    history = read_history(out).latest
    assert {name for name, r in history.items() if r.status is Status.DONE} == {"a.jpg", "a.png", "x/a.jpg"}
    for name, reason in {
        "gone.png": "there is no such file",
        "bad.jpg": "is text, not an image that can be read",
        "cut.png": "damaged or cut off",
        "defect_.png": "please report it .*a planted defect",
    }.items():
        assert history[name].status is Status.FAILED
        assert re.search(reason, history[name].reason)
    assert "ZeroDivisionError" in history["defect_.png"].traceback
    assert sorted(outputs_of(out)) == sorted(
        f"{name}{end}"
        for name in ("a.jpg", "a.png", "x/a")
        for end in (".json", "_labels.png", "_overlay.png", "_segments.csv")
    )
    # Nothing twice, and no failure again before it is asked for.
    again = Counting()
    jobs = find_jobs([folder, folder / "gone.png"], recursive=True)
    assert run(jobs, Sabotaged(segmenter), again, out).before == tally.now
    assert again.names == []
    run(jobs, Sabotaged(segmenter), again, out, retry_failed=True)
    assert sorted(again.names) == ["bad.jpg", "cut.png", "defect_.png", "gone.png"]


def test_engines_write_the_same_bytes(put: Put, fast: Pipeline, tmp_path: Path):
    jobs = find_jobs([put("a.jpg", "b.png")])
    results = []
    for name in ("in process", "processes"):
        out = tmp_path / name
        run(jobs, Segmenter.of(fast, out), ENGINES[name](None), out)
        results.append(outputs_of(out))
    assert results[0] == results[1]
    assert len(results[0]) == 8


def test_crashes_hangs_and_kills_are_told_apart(put: Put, segmenter: Segmenter, isolating: MakeEngine, tmp_path: Path):
    names = ["segfault_1.png", "hang_1.png", "once_1.png", *(f"{i}.png" for i in range(6))]
    out = tmp_path / "out"
    tally = run(find_jobs([put(*names)]), Sabotaged(segmenter), isolating(6.0), out)
    assert dict(tally.now) == {Status.DONE: 7, Status.CRASHED: 1, Status.TIMED_OUT: 1}
    latest = read_history(out).latest
    assert latest["segfault_1.png"].status is Status.CRASHED
    assert "SIGSEGV" in latest["segfault_1.png"].reason
    assert latest["hang_1.png"].status is Status.TIMED_OUT
    assert latest["hang_1.png"].reason == "took longer than 6 seconds"
    assert latest["once_1.png"].status is Status.DONE
    assert not list(out.rglob("*.partial"))
    # Their records name the file and the settings: they are not tried again unasked.
    again = Counting()
    run(find_jobs([tmp_path / "in"]), Sabotaged(segmenter), again, out)
    assert again.names == []


def test_an_image_that_killed_the_run_is_tried_in_a_separate_process(put: Put, segmenter: Segmenter, tmp_path: Path):
    jobs = find_jobs([put("a.png", "segfault_1.png", "z.png")])
    out = tmp_path / "out"
    # Not a fork, which would wait for ever on the threads that OpenMP had here.
    spawn = multiprocessing.get_context("spawn")
    child = spawn.Process(target=run, args=(jobs, Sabotaged(segmenter), InProcess(), out))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGSEGV
    assert statuses(out) == {"a.png": "done", "segfault_1.png": "started"}
    run(jobs, Sabotaged(segmenter), InProcess(), out)
    assert statuses(out) == {"a.png": "done", "segfault_1.png": "crashed", "z.png": "done"}


def test_resume_notices_what_has_changed(put: Put, segmenter: Segmenter, fast: Pipeline, tmp_path: Path):
    folder, out = put("a.png", "b.png", "c.png", "d.png"), tmp_path / "out"
    run(find_jobs([folder]), segmenter, Counting(), out)

    def done_again(work: Segmenter = segmenter, **options: bool) -> list[str]:
        engine = Counting()
        run(find_jobs([folder]), work, engine, out, **options)
        return engine.names

    assert done_again() == []
    put("b.png")  # another picture under the old name
    (out / "c_overlay.png").unlink()
    (out / "d.json").write_text("{}")  # not the size that it had
    assert done_again() == ["b.png", "c.png", "d.png"]
    assert done_again() == []
    assert done_again(fresh=True) == ["a.png", "b.png", "c.png", "d.png"]
    assert done_again() == []
    assert done_again(Segmenter.of(fast.model_copy(update={"seed": 1}), out)) == ["a.png", "b.png", "c.png", "d.png"]
    assert done_again(replace(segmenter, version="0.0.1")) == ["a.png", "b.png", "c.png", "d.png"]


def test_an_interrupted_fresh_run_is_resumed(put: Put, segmenter: Segmenter, tmp_path: Path):
    jobs, out = find_jobs([put("a.png", "b.png", "c.png")]), tmp_path / "out"
    run(jobs, segmenter, Counting(), out)

    class Short(Counting):
        def run(self, jobs, work):
            yield work(next(jobs))

    run(jobs, segmenter, Short(), out, fresh=True)
    engine = Counting()
    run(jobs, segmenter, engine, out)
    assert engine.names == ["b.png", "c.png"]


def test_shards_do_every_image_once_and_merge(put: Put, segmenter: Segmenter, tmp_path: Path):
    jobs, out = find_jobs([put(*(f"{i}.png" for i in range(9)))]), tmp_path / "out"
    done = []
    for i in (1, 2, 3):
        engine = Counting()
        run(jobs, segmenter, engine, out, Shard.parse(f"{i}/3"))
        assert read_history(out).shards_not_begun == 3 - i
        done += engine.names
    assert Counter(done) == Counter(job.name for job in jobs)
    assert len(list(out.glob("journal*.jsonl"))) == 3
    engine = Counting()
    assert run(jobs, segmenter, engine, out).before[Status.DONE] == 9
    assert engine.names == []
    assert read_history(out).shards_not_begun == 0


def test_a_file_that_changes_while_it_is_read_is_reported(
    put: Put, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import segspectral.images.reader

    real = segspectral.images.reader.read_image

    def slow(path, reading):
        image = real(path, reading)
        put("a.png")
        return image

    monkeypatch.setattr(segspectral.images.reader, "read_image", slow)
    record = segmenter(find_jobs([put("a.png")])[0])
    assert record.status is Status.FAILED
    assert "changed while it was read" in record.reason
    # It is another file now, so the next run does it without being asked.
    assert not record.describes(find_jobs([tmp_path / "in"])[0], record.settings, record.version)


def test_a_full_disk_ends_the_run_and_keeps_finished_images(
    put: Put, segmenter: Segmenter, engine_name: str, tmp_path: Path
):
    jobs, out = find_jobs([put("a.png", "full_.png", *(f"g{i}.png" for i in range(6)))]), tmp_path / "out"
    with pytest.raises(OutputError, match="no space"):
        run(jobs, Sabotaged(segmenter), ENGINES[engine_name](None), out)
    before = statuses(out)
    assert before.get("full_.png") in (None, "started")
    assert not list(out.rglob("*.partial"))
    # There is room again.
    run(jobs, segmenter, Counting(), out)
    assert set(statuses(out).values()) == {"done"}
    assert len(statuses(out)) == 8


def interrupted(tally: Tally, out: Path) -> None:
    """Send the first signal as soon as an image is in progress, and wait until it has been noticed."""
    while not (out / ".slow").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    while not tally.interrupted:
        time.sleep(0.01)


def test_the_first_signal_finishes_the_images_in_progress(
    put: Put, segmenter: Segmenter, engine_name: str, tmp_path: Path
):
    jobs, out = find_jobs([put(*(f"slow_{i:02}.png" for i in range(12)))]), tmp_path / "out"

    def interrupt() -> None:
        interrupted(tally, out)
        (out / ".go").touch()

    handler, tally = signal.getsignal(signal.SIGINT), Tally(0)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    run(jobs, Sabotaged(segmenter), ENGINES[engine_name](None), out, tally=tally)
    thread.join()
    assert 1 <= tally.now[Status.DONE] <= 4
    assert tally.left == 12 - tally.now[Status.DONE]
    assert Counter(statuses(out).values()) == {"done": tally.now[Status.DONE]}
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_second_signal_stops_immediately(put: Put, segmenter: Segmenter, isolating: MakeEngine, tmp_path: Path):
    jobs, out = find_jobs([put("hang_1.png", "slow_1.png", "slow_2.png", "slow_3.png")]), tmp_path / "out"

    def interrupt() -> None:
        interrupted(tally, out)
        os.kill(os.getpid(), signal.SIGINT)

    tally = Tally(0)
    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(jobs, Sabotaged(segmenter), isolating(None), out, tally=tally)
    thread.join()
    assert statuses(out) == {}, "none of them is waited for"


def test_workers_share_the_cores_and_waiting_threads_sleep(
    put: Put, segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from segspectral.batch import engines

    monkeypatch.setattr(engines, "usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("MKL_NUM_THREADS", "5")  # what the user says holds
    run(find_jobs([put("threads_.png")]), Sabotaged(segmenter), Processes(2), tmp_path / "out")
    said = read_history(tmp_path / "out").latest["threads_.png"].reason.split()
    assert {"OMP_NUM_THREADS=3", "MKL_NUM_THREADS=5", "OMP_WAIT_POLICY=PASSIVE"} <= set(said)


def test_a_worker_that_cannot_start_is_reported(put: Put, segmenter: Segmenter, tmp_path: Path):
    with pytest.raises(BackboneError, match="no such weights file"):
        run(find_jobs([put("a.png")]), Unprepared(segmenter), Processes(1), tmp_path / "out")


def test_jobs_of_another_shard_keep_their_half_written_files(put: Put, segmenter: Segmenter, tmp_path: Path):
    jobs, out = find_jobs([put(*(f"{i}.png" for i in range(8)))]), tmp_path / "out"
    out.mkdir()
    for job in jobs:
        (out / f".{Path(job.name).stem}_labels.png.77.partial").touch()
    shard = Shard(0, 2)
    run(jobs, segmenter, Counting(), out, shard)
    kept = {path.name.removesuffix("_labels.png.77.partial")[1:] for path in out.glob(".*.partial")}
    assert kept == {Path(job.name).stem for job in jobs if job not in shard}
    assert 0 < len(kept) < 8


def test_times_are_in_the_journal_and_not_in_the_results(put: Put, segmenter: Segmenter, tmp_path: Path):
    out = tmp_path / "out"
    run(find_jobs([put("a.png")]), segmenter, Processes(1), out)
    record = read_history(out).latest["a.png"]
    assert set(record.stages) == set(STAGES)
    assert record.seconds >= sum(record.stages.values())
    assert json.loads((out / "a.json").read_text())["seconds"] == {}


def test_a_replaced_refiner_is_reported_once_and_noted_with_each_image(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("segspectral.pipeline.crf_installed", lambda: False)
    options = [*FAST_OPTIONS, "-j", "0"]
    options.remove("--refine")
    options.remove("none")
    said = CliRunner().invoke(app, ["batch", str(put("a.png", "b.png")), "-o", str(tmp_path / "out"), *options]).output
    assert said.count("pydensecrf is not installed") == 1
    assert "with notes" not in said, "what is said of all images is not counted again"
    for name, record in read_history(tmp_path / "out").latest.items():
        summary = json.loads((tmp_path / "out" / name).with_suffix(".json").read_text())
        assert record.notes == summary["notes"]
        assert [note.partition(",")[0] for note in record.notes] == ["pydensecrf is not installed"]
        assert summary["pipeline"]["refine"]["name"] == "guided"


def test_large_tiffs_are_segmented_in_tiles(put: Put, fast: Pipeline, tmp_path: Path):
    pytest.importorskip("rasterio", reason="rasterio (extra 'geo') is not installed")
    folder, out = put("a.png", "b.tif"), tmp_path / "out"
    fast = with_settings(fast, {"superpixels": {"count": 3000}})  # for photographs: here it means a side of 9 pixels
    (folder / "bad.tif").write_bytes(b"II*\0")
    run(find_jobs([folder]), Segmenter.of(fast, out, Tiles(tile=64)), InProcess(), out)
    latest = read_history(out).latest
    assert statuses(out) == {"a.png": "done", "b.tif": "done", "bad.tif": "failed"}
    assert set(latest["b.tif"].outputs) == {"b_labels.tif", "b.json", "b_overlay.png"}
    assert latest["bad.tif"].reason.startswith("is a TIFF that cannot be read")
    assert "a_labels.png" in latest["a.png"].outputs
    assert build(out)[1:] == (2, 1)  # rasters are in the gallery, too
    again = Counting()
    run(find_jobs([folder]), Segmenter.of(fast, out, Tiles(tile=128)), again, out)
    assert sorted(again.names) == ["a.png", "b.tif", "bad.tif"]


def test_rasters_in_tiles_have_a_time_limit_of_their_own(put: Put, segmenter: Segmenter, tmp_path: Path):
    """What hangs as a raster in tiles does is stopped after the second limit, not after the first."""
    jobs, out = find_jobs([put("long_1.png")]), tmp_path / "out"
    run(jobs, Sabotaged(segmenter), Processes(1, Limits(60, 0.5)), out)
    assert read_history(out).latest["long_1.png"].reason == "took longer than 0.5 seconds"


def test_records_can_be_pickled_and_compared():
    job = Job("/x/a.png", "a.png", 3, 4)
    record = Record("a.png", Status.DONE, size=3, mtime_ns=4, settings="s", version="v")
    assert record.describes(job, "s", "v")
    for other in ({"size": 5}, {"mtime_ns": 5}):
        assert not record.describes(replace(job, **other), "s", "v")
    assert not record.describes(job, "t", "v")
    assert not record.describes(job, "s", "w")
