"""A worker process that does one image at a time, so that an image that crashes does not kill the main process.

The worker is a new interpreter. It is not forked, because a fork copies the locks of threads but not the threads. It
does not use multiprocessing's spawn, because that runs the caller's script again if it has no ``__main__`` guard; so
pebble's ``ProcessPool``, which is built on multiprocessing, cannot replace this module.

The process leads its own process group, to which the processes that an image starts belong, unless they leave it (as
daemons do, by ``setsid``). Their environment names the worker, so on Linux those that have left are found, too. All of
them are killed when the worker ends for any reason, and when the process that started the worker ends.
"""

from __future__ import annotations

import glob
import os
import pickle
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from segspectral.batch.jobs import Job
from segspectral.batch.journal import Record, Status
from segspectral.batch.work import Work
from segspectral.errors import BatchError, SegspectralError
from segspectral.imports import no_collection
from segspectral.safepath import safe_path

__all__ = ["Limits", "Worker", "WorkerDiedError"]

START_SECONDS = 300.0
"""A worker that is not ready after this time is stuck: importing torch from a slow network disk takes a minute."""

STOP_SECONDS = 5.0
"""A killed process ends immediately, unless the kernel is waiting for a disk; then this is long enough to wait."""

START_TRIES = 3
"""A worker may die at its start because memory is short for a moment; three failures in a row have another cause."""

CAPPED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Environment variables that limit the threads of numpy, OpenCV and torch."""

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""With these settings, threads that wait for each other sleep. By default they spin, which took six times the processor
time per image on a machine with other work."""


MARK = "SEGSPECTRAL_WORKER"
"""Environment variable with a number of each worker process, which all processes that it starts inherit."""

KILL_ROUNDS = 10
"""How often processes are looked for that have left the group: those that are found may just have started others."""

LONG = "in tiles"
"""What a worker sends before an image that is read in tiles, which may take hours."""


class Limits(NamedTuple):
    """Seconds that an image may take, including reading and writing; None for no limit.

    Parameters
    ----------
    whole : for an image that is held in memory
    tiled : for a raster that is read in tiles
    """

    whole: float | None
    tiled: float | None


class WorkerDiedError(Exception):
    """The process ended while it was working on an image; the message says how."""


class Worker:
    """One process; it is started for the first job, and again after it has died.

    Parameters
    ----------
    work : pickled Work
    threads : number of threads that it may use
    timeout : seconds that an image may take, or two such limits; None for no limit
    """

    def __init__(self, work: bytes, threads: int = 1, timeout: Limits | float | None = None) -> None:
        self.work, self.threads = work, threads
        self.limits = timeout if isinstance(timeout, Limits) else Limits(timeout, timeout)
        self._process: subprocess.Popen[bytes] | None = None
        self._follower = threading.Thread()
        self._pipe: Connection | None = None
        self._closed = False
        self._starting = threading.Lock()
        self._mark = ""

    def __call__(self, job: Job) -> Record:
        """Do one image.

        Raises
        ------
        WorkerDiedError
            The process died. The image or something else, such as lack of memory, may be the cause.
        SegspectralError
            The batch must end.
        """
        pipe = self._pipe or self._start()
        begin = time.perf_counter()
        try:
            pipe.send(job)
            limit: float | None = self.limits.whole
            answer: Any = LONG
            while answer == LONG:
                if not pipe.poll(limit):
                    self._stop()
                    return Record(
                        job.name,
                        Status.TIMED_OUT,
                        f"took longer than {limit:g} seconds",
                        seconds=round(time.perf_counter() - begin, 4),
                    )
                answer, limit = pipe.recv(), self.limits.tiled
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._stop()) from error
        if isinstance(answer, SegspectralError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process and all processes that it has started immediately; any thread may call this."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                if self._process.returncode is None:
                    _kill_family(self._process.pid, self._mark)
                self._follower.join(STOP_SECONDS)

    def _start(self) -> Connection:
        for _ in range(START_TRIES):
            pipe = self._spawn()
            try:
                pipe.send_bytes(self.work)
                answer: Any = pipe.recv() if pipe.poll(START_SECONDS) else None
            except (EOFError, OSError):
                how = self._stop()
                continue
            if answer is None:
                self._stop()
                raise BatchError(f"a worker process was not ready within {START_SECONDS:.0f} seconds")
            if isinstance(answer, SegspectralError):
                self._stop()
                raise answer
            self._pipe = pipe
            return pipe
        raise BatchError(f"a worker process could not be started: {how}; see its last output above")

    def _spawn(self) -> Connection:
        ours, theirs = socket.socketpair()
        threads = PASSIVE | dict.fromkeys(CAPPED, str(self.threads)) | os.environ  # the user's values win
        with self._starting:  # so that close() does not miss a process
            if self._closed:
                raise BatchError("the batch has ended")
            self._mark = secrets.token_hex(16)
            with theirs:
                code = f"from segspectral.batch.worker import serve; serve({theirs.fileno()})"
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", code],
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C on the terminal must only reach the parent, which handles it
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                    env=threads | {"PYTHONPATH": os.pathsep.join(safe_path()), "PYTHONSAFEPATH": "1", MARK: self._mark},
                )
                self._follower = threading.Thread(target=_follow, args=[self._process, self._mark], daemon=True)
                self._follower.start()
        return Connection(ours.detach())

    def _stop(self) -> str:
        """Kill the process, if it is alive, and all processes that it has started. Return how it ended."""
        assert self._process is not None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._follower.join(0.5)  # if the process dies by itself, its exit code says more than our signal
        if self._process.returncode is None:
            _kill_family(self._process.pid, self._mark)
            self._follower.join()
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.Signals(-code).name}"


def serve(descriptor: int) -> None:
    """Run the worker in the new process; it ends when the process that started it ends."""
    # Schedulers send their signals to every process of a job. The worker ignores them, and the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    pipe = Connection(descriptor)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        # This thread runs beside the work. When the parent is killed, nobody waits for the image, and the worker ends.
        try:
            while True:
                received.put(pipe.recv_bytes())
        except (EOFError, OSError):
            _kill_family(os.getpid(), os.environ[MARK])

    threading.Thread(target=listen, daemon=True).start()
    try:
        data = received.get()
        with no_collection():
            work: Work = pickle.loads(data)  # the pickle comes from the parent over a socket that nobody else can use
        work.prepare()
        pipe.send("ready")
    except SegspectralError as error:
        pipe.send(error)
        return
    while True:
        job: Job = pickle.loads(received.get())
        try:
            if work.takes_long(job):
                pipe.send(LONG)
            pipe.send(work(job))
        except SegspectralError as error:
            pipe.send(error)
        except BrokenPipeError:
            _kill_family(os.getpid(), os.environ[MARK])


def _follow(process: subprocess.Popen[bytes], mark: str) -> None:
    """Wait for the end of a process and kill the processes it has started, which may keep its pipe open or go on."""
    process.wait()
    _kill_family(process.pid, mark)


def _kill_family(leader: int, mark: str) -> None:
    """Kill a worker and all processes that it has started; if the worker calls this, it is the last one."""
    for _ in range(KILL_ROUNDS):
        left = [pid for pid in _marked(mark) if pid != os.getpid()]
        for pid in left:
            _kill(os.kill, pid)
        if not left:
            break
    _kill(os.killpg, leader)


def _marked(mark: str) -> Iterator[int]:
    """The processes with a mark in the environment they began with; none where there is no /proc, as on macOS."""
    wanted = f"{MARK}={mark}".encode()
    for environment in glob.iglob("/proc/[0-9]*/environ"):
        with suppress(OSError), open(environment, "rb") as file:  # it has ended, or it is another user's
            if wanted in file.read().split(b"\0"):
                yield int(environment.split("/")[2])


def _kill(kill: Callable[[int, int], None], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        kill(number, signal.SIGKILL)


def _has_file(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
