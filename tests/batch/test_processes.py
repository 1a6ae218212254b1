"""Child processes import nothing from the current folder, and none of them is left when it should have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segspectral.batch import Engine, Segmenter, Status, find_jobs, read_history, run
from segspectral.safepath import safe_path
from tests.batch.conftest import ENGINE_OPTIONS, FAST_OPTIONS, ISOLATING, parameters
from tests.batch.sabotage import SLEEP, Sabotaged

Put = Callable[..., Path]
MakeEngine = Callable[[float | None], Engine]

PLANTED = ("queue", "numpy", "sitecustomize", "usercustomize", "multiprocessing", "pydensecrf", "pickle")
ROOT = Path(__file__).parents[2]


def left_over(out: Path) -> list[str]:
    """Return the command lines of the sleeping programs of this run; others may run the same tests."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if SLEEP in line and "sleep" in line and Path(os.readlink(process / "cwd")) == out:
                found.append(line)
        except (OSError, UnicodeDecodeError):
            continue
    return found


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="there is no /proc")


@needs_proc
@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("family_hang_.png", Status.TIMED_OUT),
        ("family_segfault_.png", Status.CRASHED),
        ("family_done_.png", Status.DONE),
    ],
)
def test_processes_started_by_an_image_end_with_the_batch(
    put: Put, segmenter: Segmenter, isolating: MakeEngine, tmp_path: Path, image: str, status: Status
):
    out = tmp_path / "out"
    # That others hold the pipe of a dead worker does not hide its death: the time would be over, and so the status.
    run(find_jobs([put(image)]), Sabotaged(segmenter), isolating(4.0 if "hang" in image else 200), out)
    assert read_history(out).latest[image].status is status
    wait_until(lambda: not left_over(out))


@needs_proc
@pytest.mark.parametrize("engine", parameters(ISOLATING))
def test_processes_started_by_an_image_end_with_the_parent(put: Put, segmenter: Segmenter, tmp_path: Path, engine: str):
    folder, out = put("family_hang_.png"), tmp_path / "out"
    program = tmp_path / "program.py"
    program.write_text(f"""
from pathlib import Path
from segspectral.batch import Segmenter, find_jobs, run
from segspectral.config import make_pipeline
from tests.batch.conftest import FAST, ISOLATING
from tests.batch.sabotage import Sabotaged
out = Path({str(out)!r})
run(find_jobs([{str(folder)!r}]), Sabotaged(Segmenter.of(make_pipeline(FAST), out)), ISOLATING[{engine!r}](None), out)
""")
    parent = subprocess.Popen([sys.executable, program], stderr=subprocess.DEVNULL)
    try:
        wait_until((out / ".family").exists)
        wait_until(lambda: bool(left_over(out)))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not left_over(out))


def plant(here: Path, *names: str) -> None:
    for name in names:
        (here / f"{name}.py").write_text(f"open('RAN-{name}', 'w')\nraise SystemExit('{name}.py ran')\n")


@pytest.mark.parametrize("engine", [*parameters(ENGINE_OPTIONS), "processes, with an empty entry in PYTHONPATH"])
def test_no_command_runs_code_of_the_current_folder(put: Put, engine: str):
    engine, _, empty = engine.partition(",")
    here = put("a.png")
    plant(here, *PLANTED)
    if empty:  # then Python imports these from there before anybody can say no
        for name in ("sitecustomize", "usercustomize"):
            (here / f"{name}.py").unlink()
    ended = subprocess.run(
        [sys.executable, "-m", "segspectral", "batch", "a.png", "-o", "out", *FAST_OPTIONS, *ENGINE_OPTIONS[engine]],
        cwd=here,
        env=os.environ | {"PYTHONPATH": (os.pathsep if empty else "") + str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr
    assert not list(here.rglob("RAN*"))
    assert read_history(here / "out").latest["a.png"].status is Status.DONE


def test_no_worker_runs_code_of_the_current_folder(
    put: Put, segmenter: Segmenter, isolating: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = put("a.png")
    plant(here, *PLANTED)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep + os.environ["PYTHONPATH"])
    run(find_jobs(["a.png"]), segmenter, isolating(None), tmp_path / "out")
    assert not list(here.rglob("RAN*"))
    assert read_history(tmp_path / "out").latest["a.png"].status is Status.DONE


def test_the_current_folder_is_not_on_the_path_unless_it_holds_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(tmp_path / "link"), ".", str(ROOT), "/elsewhere"])
    assert safe_path() == [str(ROOT), "/elsewhere"]
    monkeypatch.chdir(ROOT)
    assert safe_path() == ["", str(tmp_path), str(tmp_path / "link"), ".", str(ROOT), "/elsewhere"]


def test_a_deleted_current_folder_is_not_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", ["", "lib", str(ROOT)])
    assert safe_path() == [str(ROOT)]
