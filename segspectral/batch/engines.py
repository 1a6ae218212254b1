"""Engines run the work of a batch in this process, in several processes, or on the workers of a Dask cluster.

To add an engine, write a class that keeps the contract ``Engine`` and add it to the list of engines in the tests.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from queue import SimpleQueue
from typing import ClassVar, Protocol
from uuid import uuid4

from segspectral.batch.clients import connect, local_workers
from segspectral.batch.jobs import Job
from segspectral.batch.journal import Record, Status
from segspectral.batch.work import Work
from segspectral.batch.worker import Limits, Worker, WorkerDiedError
from segspectral.errors import BatchError

__all__ = ["DaskCluster", "Engine", "InProcess", "Processes", "usable_cores"]


class Engine(Protocol):
    """Does the work on the images of jobs.

    Laws:

    - Each job that was taken from ``jobs`` has exactly one record, in any order, even if its image kills the process
      that works on it.
    - A job is taken only when a worker is free. So if the stream of jobs ends early, the run ends after the images in
      progress.
    - A SegspectralError of the work is raised and ends the run immediately, and so does closing the generator. After
      that nothing continues to work (on remote nodes, the image in progress is finished).
    """

    isolates: bool
    """Whether this process survives an image that kills the process working on it."""

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]: ...


class InProcess:
    """Does one image after the other in this process. An image that crashes ends the run; the journal names it."""

    isolates = False

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]:
        work.prepare()
        for job in jobs:
            yield work(job)


class Processes:
    """Does images in several processes on this machine.

    Parameters
    ----------
    count : number of processes; None uses one per core
    timeout : seconds that one image may take, or two such limits; None for no limit
    """

    isolates = True

    def __init__(self, count: int | None = None, timeout: Limits | float | None = None) -> None:
        self.count = count or usable_cores()
        self.timeout = timeout

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]:
        threads = max(1, usable_cores() // self.count)
        payload = pickle.dumps(work)
        workers = [Worker(payload, threads, self.timeout) for _ in range(self.count)]
        idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def do(job: Job) -> Record:
            worker = idle.get()
            try:
                return worker(job)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(self.count, "segspectral-batch") as executor:
            try:
                yield from _outcomes(executor, do, jobs, self.count, (WorkerDiedError,))
            finally:
                for worker in workers:
                    worker.close()


class DaskCluster:
    """Does images on the workers of a Dask cluster, which must have the input and output under the same paths.

    Each Dask worker passes the images to a process of its own. An image that crashes or hangs kills this process and
    not the Dask worker, so Dask only has to handle lost nodes. Start the workers with
    ``PYTHONSAFEPATH=1 dask worker ADDRESS --nthreads 1 --death-timeout 60``. Without ``--death-timeout`` they wait
    forever for a scheduler that has ended. Without PYTHONSAFEPATH, Dask imports modules from the current folder.
    Dask accepts commands from everybody who can reach its ports: keep them in a private network, or use its TLS.

    Parameters
    ----------
    target : ``tcp://host:8786``, or ``local:4`` for four workers that only this machine can reach
    timeout : seconds that one image may take, or two such limits; None for no limit

    Raises
    ------
    SettingsError
        The target has neither form, or Dask is not installed.
    """

    isolates = True

    def __init__(self, target: str, timeout: Limits | float | None = None) -> None:
        self.target, self.local, self.timeout = target, local_workers(target), timeout

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        with ExitStack() as stack:
            # Dask's own workers can be threads of this process, because our own processes do the work.
            client = connect(self.target, stack)
            threads = max(1, usable_cores() // self.local) if self.local else 1
            do = _OnDaskWorker(uuid4().hex, pickle.dumps(work), threads, self.timeout)
            stack.callback(do.close)
            # Remote workers get two images per thread, so the next image is there when one is done.
            slots = sum(client.nthreads().values())
            executor = client.get_executor(pure=False)
            try:
                yield from _outcomes(
                    executor, do, jobs, slots if self.local else 2 * slots, (WorkerDiedError, KilledWorker)
                )
            except (FutureCancelledError, CancelledError) as error:
                raise BatchError(
                    f"the Dask scheduler {self.target} is lost; finished images are kept: run the same command again"
                ) from error


class _OnDaskWorker:
    """A callable for Dask that passes a job to the process belonging to this thread of this Dask worker."""

    _own = threading.local()
    _started: ClassVar[dict[str, list[Worker]]] = {}
    _ended: ClassVar[set[str]] = set()

    def __init__(self, run: str, work: bytes, threads: int, timeout: Limits | float | None) -> None:
        self.run, self.arguments = run, (work, threads, timeout)

    def __call__(self, job: Job) -> Record:
        own = self._own
        if getattr(own, "run", None) != self.run:
            if hasattr(own, "run"):
                own.worker.close()
                self._started.pop(own.run, None)
            own.run, own.worker = self.run, Worker(*self.arguments)
            self._started.setdefault(self.run, []).append(own.worker)
            if self.run in self._ended:
                own.worker.close()
        return own.worker(job)

    def close(self) -> None:
        """End the run's processes that Dask workers in this process have started, and prevent new ones."""
        self._ended.add(self.run)
        for worker in self._started.pop(self.run, ()):
            worker.close()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcomes(
    executor: Executor,
    do: Callable[[Job], Record],
    jobs: Iterator[Job],
    window: int,
    lost: tuple[type[BaseException], ...],
) -> Generator[Record]:
    """Keep ``window`` jobs in progress. Jobs that were lost with their worker run again at the end, one at a time.

    A worker may also die for other reasons (memory, a lost node, a kill by somebody else). So an image is blamed only
    if its worker dies again while no other image is in progress.
    """
    suspects: list[Job] = []
    in_progress: dict[Future[Record], Job] = {executor.submit(do, job): job for job in islice(jobs, window)}
    try:
        while in_progress:
            finished, _ = wait(in_progress, return_when=FIRST_COMPLETED)
            for future in finished:
                job = in_progress.pop(future)
                try:
                    yield _about(job, future.result())
                except lost:
                    suspects.append(job)
                in_progress |= {executor.submit(do, job): job for job in islice(jobs, 1)}
        for job in suspects:
            future = executor.submit(do, job)
            in_progress[future] = job
            try:
                record = future.result()
            except lost as error:
                how = f" ({error})" if isinstance(error, WorkerDiedError) else ""
                record = Record(
                    job.name, Status.CRASHED, f"killed its worker process twice{how}, the second time alone"
                )
            yield _about(job, record)
    finally:
        for future in in_progress:
            future.cancel()


def _about(job: Job, record: Record) -> Record:
    """Add the size and time of the listed file to a record that no worker wrote."""
    if record.status in (Status.CRASHED, Status.TIMED_OUT):
        return replace(record, size=job.size, mtime_ns=job.mtime_ns)
    return record
