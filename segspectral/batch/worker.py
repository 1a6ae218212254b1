"""A process that does one image at a time, and dies in place of the one that started it.

It is a fresh interpreter, not forked and not made by multiprocessing's spawn: a fork copies the locks of threads that
it does not copy, and spawn runs the caller's script again where that has no ``__main__`` guard.

The process leads a group of its own, and whatever an image makes it start belongs to that group. The whole group is
killed when the process ends, for whatever reason, and when the process that started it ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from segspectral.batch.jobs import Job
from segspectral.batch.journal import Record, Status
from segspectral.batch.work import Work
from segspectral.errors import BatchError, SegspectralError
from segspectral.safepath import safe_path

__all__ = ["Worker", "WorkerDiedError"]

START_SECONDS = 300.0
"""A worker that is not ready by then is stuck: torch from a slow network disk takes most of a minute."""

STOP_SECONDS = 5.0
"""A process that is killed ends at once, unless the kernel waits for a disk on its behalf."""

START_TRIES = 3

CAPPED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Threads that wait for each other sleep. By default they spin, which on a machine with other work took six times the
processor time per image."""


class WorkerDiedError(Exception):
    """The process ended in the midst of an image; the message says how."""


class Worker:
    """One process, started when the first job comes and again after it has died.

    Parameters
    ----------
    work : pickled Work
    threads : that it may use
    timeout : seconds that an image may take, reading and writing included; None for no limit
    """

    def __init__(self, work: bytes, threads: int = 1, timeout: float | None = None) -> None:
        self.work, self.threads, self.timeout = work, threads, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._follower = threading.Thread()
        self._pipe: Connection | None = None
        self._closed = False
        self._starting = threading.Lock()

    def __call__(self, job: Job) -> Record:
        """Do one image.

        Raises
        ------
        WorkerDiedError
            By the image's fault or by another's: who knows only the death cannot tell.
        SegspectralError
            The batch must end.
        """
        pipe = self._pipe or self._start()
        begin = time.perf_counter()
        try:
            pipe.send(job)
            if not pipe.poll(self.timeout):
                self._stop()
                assert self.timeout is not None
                return Record(
                    job.name,
                    Status.TIMED_OUT,
                    f"took longer than {self.timeout:g} seconds",
                    seconds=round(time.perf_counter() - begin, 4),
                )
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._stop()) from error
        if isinstance(answer, SegspectralError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process and all that it has started at once, from any thread."""
        with self._starting:
            self._closed = True
            if self._process is not None:
                if self._process.returncode is None:
                    _kill_group(self._process.pid)
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
        raise BatchError(f"a worker process could not be started: {how}; what it said last stands above")

    def _spawn(self) -> Connection:
        ours, theirs = socket.socketpair()
        threads = PASSIVE | dict.fromkeys(CAPPED, str(self.threads)) | os.environ  # what the user says holds
        with self._starting:  # so that close() misses no process
            if self._closed:
                raise BatchError("the batch has ended")
            with theirs:
                code = f"from segspectral.batch.worker import serve; serve({theirs.fileno()})"
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", code],
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C on the terminal is for the parent, which decides what it means
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
                    env=threads | {"PYTHONPATH": os.pathsep.join(safe_path()), "PYTHONSAFEPATH": "1"},
                )
                self._follower = threading.Thread(target=_follow, args=[self._process], daemon=True)
                self._follower.start()
        return Connection(ours.detach())

    def _stop(self) -> str:
        """Kill the process if it lives, and all that it has started; says how it ended."""
        assert self._process is not None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._follower.join(0.5)  # what the process died of by itself tells more than our kill
        if self._process.returncode is None:
            _kill_group(self._process.pid)
            self._follower.join()
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.Signals(-code).name}"


def serve(descriptor: int) -> None:
    """Be a worker: this runs in the new process, which ends with the one that started it."""
    # Schedulers send their signals to every process of a job: what is in flight is finished, the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    pipe = Connection(descriptor)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        # This thread runs beside the work: when the parent is killed, nobody waits for the image any more.
        try:
            while True:
                received.put(pipe.recv_bytes())
        except (EOFError, OSError):
            _kill_group(os.getpid())

    threading.Thread(target=listen, daemon=True).start()
    try:
        work: Work = pickle.loads(received.get())  # from our own parent, over a socket that only we two hold
        work.prepare()
        pipe.send("ready")
    except SegspectralError as error:
        pipe.send(error)
        return
    while True:
        job: Job = pickle.loads(received.get())
        try:
            pipe.send(work(job))
        except SegspectralError as error:
            pipe.send(error)
        except BrokenPipeError:
            _kill_group(os.getpid())


def _follow(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process and end what it has started, which may hold its pipe open or work on."""
    process.wait()
    _kill_group(process.pid)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _has_file(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
