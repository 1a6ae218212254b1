"""The journal of a batch: JSON lines with the outcome of each image, to which lines are only appended.

The line about an image is written after all of its results have been written. So a run may be killed at any moment:
images that the journal calls done are done, and all others are done again. Each shard has its own journal. Readers
merge the journals, and the latest line about an image is valid.

A journal may come from somebody else, and its lines decide which files are removed. So a line is accepted only if all
of its fields have the right types and ranges and its names stay below the output folder. Other lines are counted as
unreadable.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, TypeAdapter

from segspectral.batch.jobs import WHOLE, Job, Shard
from segspectral.errors import BatchError, OutputError
from segspectral.files import check_folder

try:
    import fcntl
except ImportError:  # Windows has no fcntl, so two runs can write to the same folder there
    fcntl = None  # type: ignore[assignment]

__all__ = ["History", "Journal", "Record", "Run", "RunStart", "Status", "read_history"]


class Status(StrEnum):
    """The outcome of an image; the last two values are not outcomes.

    (The status of a job of the web page is a different class, ``segspectral.web.jobs.Status``.)
    """

    DONE = "done"
    FAILED = "failed"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    STARTED = "started"
    """The image was started in the process that writes the journal. If no line follows, the run died on this image."""
    RESET = "reset"
    """The image is to be done again, whatever earlier lines say."""

    @property
    def bad(self) -> bool:
        return self in (Status.FAILED, Status.CRASHED, Status.TIMED_OUT)


def _below(name: str) -> str:
    """Return a relative path that stays below its folder. Raises ValueError."""
    path = PurePath(name)
    if path.anchor or not path.name or ".." in path.parts or "\0" in name:
        raise ValueError("leaves its folder")
    os.fsencode(name)
    return name


def _output(name: str) -> str:
    """Return a relative path that stays below its folder and is not a journal. Raises ValueError."""
    if "/" not in name and PurePath(name).match(JOURNALS):
        raise ValueError("is a journal")
    return _below(name)


JOURNALS = "journal*.jsonl"

Name = Annotated[str, AfterValidator(_below)]
Output = Annotated[str, AfterValidator(_output)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**53)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=1e11, allow_inf_nan=False)]


@dataclass(frozen=True)
class Record:
    """A line about an image.

    Parameters
    ----------
    image : name of the job
    status : outcome
    reason : a sentence, unless the image is done
    size, mtime_ns : size and time of change of the file that was read
    settings : hash of the pipeline's settings
    version : version of segspectral
    seconds : time from reading to writing
    segments : number of segments
    stages : stage -> seconds
    outputs : path below the output folder -> bytes
    formats : names of exporters whose files are in ``outputs``
    notes : sentences about the results, such as how many pixels a format loses
    traceback : traceback of an unexpected error
    worker : host and process
    turn : one more than the turn of the latest line about the image when the run began. If several journals have lines
        about an image, the line with the greatest turn is the latest, whatever the clocks of the machines say
    time : seconds since 1970 when the line was written; of lines with equal turns it decides which is later
    """

    image: Name
    status: Annotated[Status, Field(strict=False)]
    reason: str = ""
    size: Whole = -1
    mtime_ns: Whole = -1
    settings: str = ""
    version: str = ""
    seconds: Seconds = 0.0
    segments: Count = 0
    stages: dict[str, Seconds] = field(default_factory=dict)
    outputs: dict[Output, Count] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    traceback: str = ""
    worker: str = ""
    turn: Count = 0
    time: Seconds = 0.0

    def describes(self, job: Job, settings: str, version: str) -> bool:
        """Return whether the line is about exactly this file, these settings and this version."""
        return (self.size, self.mtime_ns, self.settings, self.version) == (job.size, job.mtime_ns, settings, version)

    def intact(self, out: Path) -> bool:
        """Return whether all outputs exist and have their full size."""
        try:
            return all(os.stat(out / name).st_size == size for name, size in self.outputs.items())
        except OSError:
            return False


@dataclass(frozen=True)
class RunStart:
    """The first line of a run: its time, the images of its shard, and how many of them earlier runs settled."""

    started: Seconds
    images: Count
    before: Count
    settings: str
    pipeline: dict[str, Any]


ABOUT_IMAGES, ABOUT_RUNS = TypeAdapter(Record), TypeAdapter(RunStart)


@dataclass
class Run:
    """The last run of a shard: its first line, the number of images it has settled, and the time of the latest one."""

    start: RunStart
    settled: int = 0
    latest: float = 0.0

    @property
    def left(self) -> int:
        return max(self.start.images - self.start.before - self.settled, 0)

    @property
    def rate(self) -> float:
        """Images per second; 0 if it is unknown, because no image is settled yet or the clock was set back."""
        return self.settled / (self.latest - self.start.started) if self.latest > self.start.started else 0.0


@dataclass
class History:
    """All journals of an output folder.

    Parameters
    ----------
    latest : image -> the latest line about it
    runs : shard -> its last run
    running : shards with a run in progress, as far as this machine can see
    unreadable : number of lines that are not records; an incomplete last line is not counted, as it may be in progress
    """

    latest: dict[str, Record] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    unreadable: int = 0

    @property
    def shards_not_begun(self) -> int:
        """Number of shards that no run has begun, as far as the names of the journals show."""
        shards = [re.fullmatch(r"\d+of(\d+)", shard, re.ASCII) for shard in self.runs]
        counts = {int(shard[1]) for shard in shards if shard is not None}
        # A batch that was divided again, or finished as a whole, has journals of several divisions.
        return max(counts.pop() - len(self.runs), 0) if len(counts) == 1 and None not in shards else 0


class Journal:
    """The journal of one shard, open for appending; a context manager that locks out a second run.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    BatchError
        Another run has this journal open.
    """

    def __init__(self, out: str | os.PathLike[str], shard: Shard = WHOLE) -> None:
        self.path = Path(out) / ("journal.jsonl" if shard == WHOLE else f"journal.{shard}.jsonl")
        self._file = -1
        self._turns: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # In a folder from somebody else, a link could lead to a file of the user, and a pipe would block.
            only_files = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | only_files, 0o666)
        except OSError as error:
            if self.path.is_symlink():
                raise OutputError("is a link, and a journal must be a file; remove it", self.path) from error
            check_folder(self.path.parent)  # names a file in the way
            raise OutputError(f"cannot be written to ({error.strerror})", self.path.parent) from error
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise BatchError(
                    f"another run is writing its results there; wait for it (segspectral status "
                    f"{self.path.parent}), stop it, or choose another folder",
                    self.path.parent,
                ) from error
            except OSError:
                pass  # some network disks have no locks
        try:
            os.ftruncate(self._file, _contents(self.path).rfind(b"\n") + 1)  # drops a line that is cut off
        except OutputError:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def history(self) -> History:
        """Return the history of the folder. Lines that are written after this call have a later turn."""
        history = read_history(self.path.parent)
        self._turns = {name: record.turn for name, record in history.latest.items()}
        return history

    def append(self, line: Record | RunStart) -> None:
        """Write one line; it is in the file when the call returns. If OutputError is raised, nothing was written."""
        self.extend([line])

    def extend(self, lines: Iterable[Record | RunStart]) -> None:
        """Write lines, all or none."""
        data = b"".join(map(self._encode, lines))
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            if written < len(data):  # the disk is nearly full; the second try raises an error or writes the rest
                os.write(self._file, data[written:])
        except OSError as error:
            os.ftruncate(self._file, size)
            raise OutputError(f"cannot be written ({error.strerror})", self.path) from error

    def _encode(self, line: Record | RunStart) -> bytes:
        data = asdict(line)
        if isinstance(line, Record):
            data = {key: value for key, value in data.items() if value not in ("", {}, [])} | {
                "turn": self._turns.get(line.image, 0) + 1,
                "time": round(time.time(), 3),
            }
        # ASCII keeps names that are not UTF-8, as escaped surrogates.
        return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"


def read_history(out: str | os.PathLike[str]) -> History:
    """Merge the journals of an output folder; without journals the history is empty.

    Raises
    ------
    OutputError
        A journal cannot be read, or is not a regular file.
    """
    history = History()
    for path in sorted(Path(out).glob(JOURNALS)):
        shard = path.name.removeprefix("journal").removesuffix(".jsonl").strip(".")
        latest: dict[str, Record] = {}
        *lines, _torn = _contents(path).split(b"\n")
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
            # Within one journal the order of the lines is the order in time.
            known = history.latest.get(image)
            if known is None or (known.turn, known.time) <= (entry.turn, entry.time):
                history.latest[image] = entry
        if _locked(path):
            history.running.add(shard)
    return history


def _contents(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise OutputError("is not a regular file and cannot be a journal; move it away", path)
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"the journal cannot be read ({error.strerror})", path) from error


def _decode(line: bytes) -> Record | RunStart | None:
    try:
        data = json.loads(line)
        # A later version may write further fields; pydantic ignores them.
        return (ABOUT_IMAGES if "image" in data else ABOUT_RUNS).validate_python(data)
    except (ValueError, TypeError, RecursionError):  # pydantic's errors are ValueErrors
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
