"""What became of each image: JSON lines, only ever appended to, and the only truth about a batch.

A line about an image is written after its results stand under their names. So whatever kills the run, at any moment:
what the journal calls done is done, and anything else is done again. Each shard has a journal of its own; readers
merge them, and the latest line about an image holds.

A journal may also come from somebody else, and its lines decide which files are removed. So a line is read only if all
of its fields are of their types and ranges and its names stay below the output folder; any other counts as unreadable.
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

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

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


def _below(name: str) -> str:
    """A path that stays below the folder that it is seen from. Raises ValueError."""
    path = PurePath(name)
    if path.anchor or not path.name or ".." in path.parts or "\0" in name:
        raise ValueError("leaves its folder")
    os.fsencode(name)
    return name


def _output(name: str) -> str:
    """As above, and no journal. Raises ValueError."""
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
    turn : one more than that of the line about the image that its run found. Between journals, the line of the greater
        turn is the later one, whatever the clocks of their machines say
    time : seconds since 1970 when the line was written; between journals, it tells which of equal turns is later
    """

    image: Name
    status: Annotated[Status, BeforeValidator(Status)]
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

    started: Seconds
    images: Count
    before: Count
    settings: str
    pipeline: dict[str, Any]


ABOUT_IMAGES, ABOUT_RUNS = TypeAdapter(Record), TypeAdapter(RunStart)


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
        """Images per second; 0 where it is not known, because no image is settled or the clock was set back."""
        return self.settled / (self.latest - self.start.started) if self.latest > self.start.started else 0.0


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
        shards = [re.fullmatch(r"\d+of(\d+)", shard, re.ASCII) for shard in self.runs]
        counts = {int(shard[1]) for shard in shards if shard is not None}
        # A batch that was divided anew, or finished as a whole, has the numbers of several divisions.
        return max(counts.pop() - len(self.runs), 0) if len(counts) == 1 and None not in shards else 0


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
        self._turns: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A link would lead somebody else's journal to a file of the user's. A pipe would be waited for.
            only_files = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | only_files, 0o666)
        except OSError as error:
            if self.path.is_symlink():
                raise OutputError("is a link, through which no journal is written; remove it", self.path) from error
            raise OutputError(f"cannot be written to ({error.strerror})", self.path.parent) from error
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._file)
                raise BatchError(
                    f"another run is writing its results there; wait for it (segspectral status "
                    f"{self.path.parent}), stop it, or take another folder",
                    self.path.parent,
                ) from error
            except OSError:
                pass  # some network disks know no locks
        try:
            self._drop_torn_line()
        except OutputError:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def history(self) -> History:
        """What all journals of the folder say; the lines that are written from now on are later than that."""
        history = read_history(self.path.parent)
        self._turns = {name: record.turn for name, record in history.latest.items()}
        return history

    def append(self, line: Record | RunStart) -> None:
        """Write one line; it has left this process when this returns. Raises OutputError; then nothing was written."""
        self.extend([line])

    def extend(self, lines: Iterable[Record | RunStart]) -> None:
        """Write lines, all or none."""
        data = b"".join(map(self._encode, lines))
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, data)
            if written < len(data):  # the disk is full; the next try says so, or there was room after all
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
        # ASCII: names that are not UTF-8 survive as escaped surrogates.
        return json.dumps(data, separators=(",", ":")).encode("ascii") + b"\n"

    def _drop_torn_line(self) -> None:
        data = _contents(self.path)
        os.ftruncate(self._file, data.rfind(b"\n") + 1)


def read_history(out: str | os.PathLike[str]) -> History:
    """Merge the journals of an output folder; an empty History if there are none.

    Raises
    ------
    OutputError
        A journal cannot be read, or is no file.
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
            # In one journal the order of lines says what is later.
            known = history.latest.get(image)
            if known is None or (known.turn, known.time) <= (entry.turn, entry.time):
                history.latest[image] = entry
        if _locked(path):
            history.running.add(shard)
    return history


def _contents(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OutputError("is no file and cannot be a journal; move it away", path)
        return path.read_bytes()
    except OSError as error:
        raise OutputError(f"the journal cannot be read ({error.strerror})", path) from error


def _file_name(shard: Shard) -> str:
    return "journal.jsonl" if shard == WHOLE else f"journal.{shard}.jsonl"


def _decode(line: bytes) -> Record | RunStart | None:
    try:
        data = json.loads(line)
        # A later version may say more; what it says more is passed over.
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
