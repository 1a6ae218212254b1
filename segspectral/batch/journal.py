"""What became of each image: JSON lines, only ever appended to, and the only truth about a batch.

A line about an image is written after its results stand under their names. So whatever kills the run, at any moment:
what the journal calls done is done, and anything else is done again. Each shard has a journal of its own; readers
merge them, and the latest line about an image holds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from segspectral.batch.jobs import WHOLE, Job, Shard
from segspectral.errors import BatchError, OutputError

try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two runs from writing to one folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["History", "Journal", "Record", "Run", "RunStart", "Status", "read_history"]


class Status(StrEnum):
    """How an image ended; the last two are not ends."""

    DONE = "done"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    STARTED = "started"
    """Begun in the journal's own process: the image that a run died of, if nothing follows."""
    RESET = "reset"
    """To be done again, whatever was said before."""

    @property
    def bad(self) -> bool:
        return self in (Status.FAILED, Status.CRASHED, Status.TIMED_OUT)


@dataclass(frozen=True)
class Record:
    """A line about an image.

    Parameters
    ----------
    image : Job.name
    reason : a sentence, unless it is done
    size, mtime_ns : of the file that was read
    settings : hash of the pipeline's settings
    version : of segspectral
    seconds : from reading to writing
    stages : stage -> seconds
    outputs : path below the output folder -> bytes
    formats : those of ``outputs`` beyond what every image gets
    notes : sentences about the results, such as how many pixels a format loses
    traceback : of an error that nobody foresaw
    worker : host and process
    time : seconds since 1970 when the line was written
    """

    image: str
    status: Status
    reason: str = ""
    size: int = -1
    mtime_ns: int = -1
    settings: str = ""
    version: str = ""
    seconds: float = 0.0
    segments: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    traceback: str = ""
    worker: str = ""
    time: float = 0.0

    def describes(self, job: Job, settings: str, version: str) -> bool:
        """Whether it is about this very file, under these settings and this version."""
        return (self.size, self.mtime_ns, self.settings, self.version) == (job.size, job.mtime_ns, settings, version)

    def intact(self, out: Path) -> bool:
        """Whether all its outputs are there, at their full size."""
        try:
            return all(os.stat(out / name).st_size == size for name, size in self.outputs.items())
        except OSError:
            return False


@dataclass(frozen=True)
class RunStart:
    """The line that begins a run: when, how many images its shard has, and how many of these were settled before."""

    started: float
    images: int
    before: int
    settings: str
    pipeline: dict[str, Any]


@dataclass
class Run:
    """The last run of a shard: its start, how many images it has settled since, and when the last of them."""

    start: RunStart
    settled: int = 0
    latest: float = 0.0

    @property
    def left(self) -> int:
        return max(self.start.images - self.start.before - self.settled, 0)

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.settled / max(self.latest - self.start.started, 1e-3) if self.settled else 0.0


@dataclass
class History:
    """All journals of an output folder.

    Parameters
    ----------
    latest : image -> what was last said about it
    runs : shard -> its last run
    running : the shards that are being worked on, as far as this machine can see
    unreadable : lines that are no records; one that is cut off at the end is not counted, it is still being written
    """

    latest: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    unreadable: int = 0

    @property
    def shards_not_begun(self) -> int:
        """Parts of the batch that no run has touched, as far as the names of the journals tell."""
        counts = {int(count) for _, of, count in (shard.partition("of") for shard in self.runs) if of}
        # A batch that was divided anew, or finished as a whole, has the numbers of several divisions.
        return counts.pop() - len(self.runs) if len(counts) == 1 and "" not in self.runs else 0


class Journal:
    """The journal of one shard, open for appending; a context manager that keeps a second run out.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    BatchError
        Another run has this journal open.
    """

    def __init__(self, out: str | os.PathLike[str], shard: Shard = WHOLE) -> None:
        self.path = Path(out) / _file_name(shard)
        self._file = -1

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{self.path.parent}: cannot be written to ({error.strerror})") from error
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise BatchError(
                    f"{self.path.parent}: another run is writing its results there; wait for it (segspectral status "
                    f"{self.path.parent}), stop it, or take another folder"
                ) from error
            except OSError:
                pass  # some network disks know no locks
        self._drop_torn_line()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def append(self, line: Record | RunStart) -> None:
        """Write one line; it has left this process when this returns. Raises OutputError; then nothing was written."""
        self.extend([line])

    def extend(self, lines: Iterable[Record | RunStart]) -> None:
        """Write lines, all or none."""
        data = b"".join(_encode(line) for line in lines)
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            if written < len(data):  # the disk is full; the next try says so, or there was room after all
                os.write(self._file, data[written:])
        except OSError as error:
            os.ftruncate(self._file, size)
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _drop_torn_line(self) -> None:
        data = self.path.read_bytes()
        os.ftruncate(self._file, data.rfind(b"\n") + 1)


def read_history(out: str | os.PathLike[str]) -> History:
    """Merge the journals of an output folder; an empty History if there are none."""
    history = History()
    for path in sorted(Path(out).glob("journal*.jsonl")):
        shard = path.name.removeprefix("journal").removesuffix(".jsonl").strip(".")
        latest: dict[str, Record] = {}
        *lines, _torn = path.read_bytes().split(b"\n")
        for line in lines:
            entry = _decode(line)
            if entry is None:
                history.unreadable += 1
            elif isinstance(entry, RunStart):
                history.runs[shard] = Run(entry)
            else:
                latest[entry.image] = entry
                if shard in history.runs and entry.status not in (Status.STARTED, Status.RESET):
                    history.runs[shard].settled += 1
                    history.runs[shard].latest = entry.time
        for image, entry in latest.items():
            # In one journal the order of lines says what is later, between journals only the clock does.
            if image not in history.latest or history.latest[image].time <= entry.time:
                history.latest[image] = entry
        if _locked(path):
            history.running.add(shard)
    return history


def _file_name(shard: Shard) -> str:
    return "journal.jsonl" if shard == WHOLE else f"journal.{shard}.jsonl"


def _encode(line: Record | RunStart) -> bytes:
    data = asdict(line)
    if isinstance(line, Record):
        data = {key: value for key, value in data.items() if value not in ("", {}, [])} | {
            "time": round(time.time(), 3)
        }
    # ASCII: names that are not UTF-8 survive as escaped surrogates.
    return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"


def _decode(line: bytes) -> Record | RunStart | None:
    try:
        data = json.loads(line)
        kind = Record if "image" in data else RunStart
        known = {f.name for f in fields(kind)}
        # A later version may say more; what it says more is passed over.
        entry = kind(**{key: value for key, value in data.items() if key in known})
        if isinstance(entry, Record):
            object.__setattr__(entry, "status", Status(entry.status))
        return entry
    except (ValueError, TypeError, AttributeError):
        return None


def _locked(path: Path) -> bool:
    if fcntl is None:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False
