"""Work that goes wrong on purpose, by the image's name. Its own module, so that worker processes can import it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from segspectral.batch import Job, Record, Segmenter, Status
from segspectral.batch.worker import CAPPED, PASSIVE
from segspectral.errors import BackboneError, OutputError

SLEEP = "1234.5"
"""An unusual number of seconds, by which the tests find programs that were left asleep in the output folder."""


@dataclass(frozen=True)
class Sabotaged:
    """A Segmenter that goes wrong on some images.

    The names of these images begin with segfault, hang, once, threads, defect, slow, full or family.
    ``long`` hangs too, but as a raster in tiles, which has a time limit of its own.
    ``slow`` makes the file ``.slow`` and waits for the file ``.go``.
    ``family_X_`` starts a program that starts another, both of which sleep and hold all that they inherit, as well as a
    fork and a daemon, which leads a session of its own, and then ends as X says.
    """

    inner: Segmenter

    @property
    def settings(self) -> str:
        return self.inner.settings

    @property
    def version(self) -> str:
        return self.inner.version

    @property
    def formats(self) -> tuple[str, ...]:
        return self.inner.formats

    def prepare(self) -> None:
        self.inner.prepare()

    def takes_long(self, job: Job) -> bool:
        return job.name.startswith("long")

    def __call__(self, job: Job) -> Record:
        kind = job.name.partition("_")[0]
        marker = Path(self.inner.out, f".{kind}")
        if kind == "family":
            self._start_family()
            kind = job.name.split("_")[1]
        if kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif kind in ("hang", "long"):
            time.sleep(1000)
        elif kind == "once" and not marker.exists():
            # Someone from outside kills the worker, which is not the image's fault.
            marker.touch()
            Path(self.inner.out, f".{job.stem}_labels.png.1.partial").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "defect":
            return _Broken(self.inner)(job)
        elif kind == "slow":
            marker.touch()
            end = time.monotonic() + 100
            while not Path(self.inner.out, ".go").exists() and time.monotonic() < end:
                time.sleep(0.01)
        elif kind == "threads":
            return Record(job.name, Status.FAILED, " ".join(f"{n}={os.environ.get(n)}" for n in (*CAPPED, *PASSIVE)))
        elif kind == "full":
            raise OutputError("no space") from OSError(28, "No space left on device")
        return self.inner(job)

    def _start_family(self) -> None:
        subprocess.Popen(["sh", "-c", f"sleep {SLEEP} & sleep {SLEEP}"], close_fds=False, cwd=self.inner.out)
        daemon = ["sh", "-c", f"sleep {SLEEP} & exit"]
        subprocess.run(daemon, cwd=self.inner.out, start_new_session=True, check=True)
        if os.fork() == 0:
            os.chdir(self.inner.out)
            os.execvp("sleep", ["sleep", SLEEP])
        Path(self.inner.out, ".family").touch()


class Unprepared(Sabotaged):
    """Cannot start, as a Segmenter whose weights are not there; without the import of timm, which takes seconds."""

    def prepare(self) -> None:
        raise BackboneError("there is no such weights file")


class _Broken(Segmenter):
    def __init__(self, inner: Segmenter) -> None:
        super().__init__(inner.pipeline, inner.out, inner.settings)

    def _segment(self, *_: object) -> tuple[int, dict[str, float], dict[str, int]]:
        raise ZeroDivisionError("a planted defect")
