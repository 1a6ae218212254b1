"""The run of a batch: it chooses the images to do, lets an engine do them, and writes the journal."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from segspectral.batch.engines import Engine, Processes
from segspectral.batch.jobs import WHOLE, Job, Shard
from segspectral.batch.journal import History, Journal, Record, RunStart, Status
from segspectral.batch.work import Work
from segspectral.errors import OutputError
from segspectral.export.naming import FOLDERS, result_stems, short_stem, stem_in
from segspectral.files import is_inside, shortened

__all__ = ["Tally", "run"]

Observer = Callable[[Record], None]


@dataclass
class Tally:
    """The progress of a batch, as counts.

    Parameters
    ----------
    total : images of this shard
    before : images that ended in earlier runs and are not done again, by status
    now : images that ended in this run, by status
    redone : images that were done before with other settings, another version, a changed file, or fewer formats
    unreadable : lines of the journals that could not be read
    began : ``time.monotonic`` when the first image was started
    interrupted : whether the run was asked to end early
    longer : images whose results have a longer name than usual because of other images (``result_stems``)
    """

    total: int
    before: Counter[Status] = field(default_factory=Counter)
    now: Counter[Status] = field(default_factory=Counter)
    redone: int = 0
    unreadable: int = 0
    began: float = field(default_factory=time.monotonic)
    interrupted: bool = False
    longer: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.total - self.before.total() - self.now.total()

    @property
    def bad(self) -> int:
        """Images without a result in this or an earlier run: failed, crashed or timed out."""
        return sum(count for status, count in (self.before + self.now).items() if status.bad)

    @property
    def rate(self) -> float:
        """Images per second, of this run."""
        return self.now.total() / max(time.monotonic() - self.began, 1e-6)

    @property
    def seconds_left(self) -> float | None:
        return self.left / self.rate if self.now else None


def run(
    jobs: Iterable[Job],
    work: Work,
    engine: Engine,
    out: Path,
    shard: Shard = WHOLE,
    *,
    pipeline: dict[str, Any] | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    tally: Tally | None = None,
    observe: Observer = lambda record: None,
) -> Tally:
    """Do all jobs of a shard that are not done, and keep the journal.

    An image is not done again if it was done for the same file with the same settings and version. Failed images are
    repeated only with ``retry_failed``; ``fresh`` repeats everything. The first SIGINT or SIGTERM ends the run after
    the images in progress, a second one ends it immediately.

    Parameters
    ----------
    pipeline : settings of the pipeline, for the journal
    tally : a Tally that is updated and may be displayed by another thread
    observe : called with each new record after it was written to the journal

    Raises
    ------
    OutputError
        The output cannot be written to, or a link leads out of it. Images that the journal calls done stay done.
    BatchError
        Another run writes to the folder, workers cannot be started, or the cluster is lost.
    KeyboardInterrupt
        A second signal arrived.
    """
    tally = tally or Tally(0)
    with Journal(out, shard) as journal:
        history = journal.history()
        outdated = _Outdated(out, history)
        jobs = list(jobs)
        in_use = {name: stem_in(record.outputs) for name, record in history.latest.items()}
        stems = result_stems((job.name for job in jobs), in_use)
        jobs = [replace(job, stem=stems[job.name]) for job in jobs]
        _check_folders(out, jobs)
        mine = [job for job in jobs if job in shard]
        tally.longer = [job.name for job in mine if job.stem != short_stem(job.name)]
        if fresh:
            again = [Record(job.name, Status.RESET) for job in mine if job.name in history.latest]
            journal.extend(again)
            history.latest.clear()
        pending = list(_pending(mine, history, work, out, retry_failed, tally))
        tally.total, tally.unreadable, tally.began = len(mine), history.unreadable, time.monotonic()
        journal.append(
            RunStart(round(time.time(), 3), tally.total, tally.total - len(pending), work.settings, pipeline or {})
        )
        _sweep(out, jobs, pending)
        try:
            with (
                _interruptible(tally) as stopped,
                closing(_work_through(pending, history, work, engine, journal, stopped)) as records,
            ):
                for record in records:
                    outdated.remove(record)
                    journal.append(record)
                    tally.now[record.status] += 1
                    observe(record)
        finally:
            _sweep(out, jobs, pending)
    return tally


def _check_folders(out: Path, jobs: Iterable[Job]) -> None:
    """Raise OutputError if results would be written outside the folder: one from somebody else may contain links."""
    for below in {Path(job.stem).parent for job in jobs}:
        for folder in (out / below, *(out / format_folder / below for format_folder in FOLDERS)):
            if not is_inside(out, folder / "result"):
                raise OutputError(f"this link leads out of {out}, and no results are written there; remove it", folder)


def _pending(
    jobs: Sequence[Job], history: History, work: Work, out: Path, retry_failed: bool, tally: Tally
) -> Iterator[Job]:
    """Yield the jobs that must be done, and count the others."""
    for job in jobs:
        record = history.latest.get(job.name)
        if record is None or record.status in (Status.STARTED, Status.RESET):
            yield job
        elif not record.describes(job, work.settings, work.version) or (
            record.status is Status.DONE and not set(work.formats) <= set(record.formats)
        ):
            tally.redone += record.status is Status.DONE
            yield job
        elif retry_failed if record.status.bad else not record.intact(out):
            yield job
        else:
            tally.before[record.status] += 1


def _work_through(
    pending: list[Job], history: History, work: Work, engine: Engine, journal: Journal, stopped: threading.Event
) -> Generator[Record]:
    def until_stopped(jobs: list[Job]) -> Iterator[Job]:
        for job in jobs:
            if stopped.is_set():
                return
            if not engine.isolates:
                journal.append(Record(job.name, Status.STARTED))
            yield job

    def through(engine: Engine, jobs: Iterator[Job]) -> Generator[Record]:
        # Close the generator explicitly: an exception that keeps its frames alive must not keep workers alive.
        with closing(engine.run(jobs, work)) as records:
            for record in records:
                # The record of a worker that died does not contain the settings and the version.
                yield replace(record, settings=work.settings, version=work.version)

    if not engine.isolates and pending:
        # The image on which an earlier run was working when it ended may have killed it. A separate process does it.
        unended = {name for name, record in history.latest.items() if record.status is Status.STARTED}
        suspects = [job for job in pending if job.name in unended]
        pending = [job for job in pending if job.name not in unended]
        if suspects:
            yield from through(Processes(1), (job for job in suspects if not stopped.is_set()))
    if pending:
        yield from through(engine, until_stopped(pending))


@contextmanager
def _interruptible(tally: Tally) -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second signal raises KeyboardInterrupt."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        tally.interrupted = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Outdated:
    """Files that an image had under other settings and does not have any more.

    A journal may come from somebody else. So a file is not removed if it lies outside the output folder (for instance
    behind a link to another folder), or if it is a result of another image.
    """

    def __init__(self, out: Path, history: History) -> None:
        self.out = out
        self.outputs = {name: record.outputs.keys() for name, record in history.latest.items()}
        self.owners = Counter(name for outputs in self.outputs.values() for name in outputs)

    def remove(self, now: Record) -> None:
        """Remove the files that the image had before and does not have now."""
        if now.status is not Status.DONE:
            return
        before = self.outputs.get(now.image, {}.keys())
        self.outputs[now.image] = now.outputs.keys()
        self.owners.update(now.outputs.keys())
        self.owners.subtract(before)
        for name in before - now.outputs.keys():
            if self.owners[name] <= 0 and is_inside(self.out, self.out / name):
                with suppress(OSError):  # for instance a folder of that name, which no batch has written
                    (self.out / name).unlink(missing_ok=True)


def _sweep(out: Path, jobs: Iterable[Job], mine: Iterable[Job]) -> None:
    """Remove partial files of this run's jobs, left by a killed process; those of other runs may be in use."""

    def start(name: str) -> str:
        return (Path(name).parent / shortened(Path(name).name)).as_posix()

    every, own = {start(job.stem) for job in jobs}, {start(job.stem) for job in mine}
    for below in {Path(name).parent for name in own}:
        for root in (out, *(out / folder for folder in FOLDERS)):
            for partial in (root / below).glob(".*.partial"):
                # .a_labels.png.1234.partial belongs to the stem a, or to a_labels if there is one.
                name = (below / partial.name[1:]).as_posix()
                ends = (end for end in range(len(name), 0, -1) if name[end : end + 1] in ("", "_", "."))
                owner = next((name[:end] for end in ends if name[:end] in every), None)
                if owner in own and is_inside(out, partial):
                    partial.unlink(missing_ok=True)
