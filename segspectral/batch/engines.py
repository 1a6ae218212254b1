"""Where the work is done: in this process, in several, or by the workers of a Dask cluster.

To add an engine: one class that keeps the contract ``Engine``, and a line in the tests' list of engines.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from queue import SimpleQueue
from typing import Any, ClassVar, Protocol
from uuid import uuid4

from segspectral.batch.jobs import Job
from segspectral.batch.journal import Record, Status
from segspectral.batch.work import Work
from segspectral.batch.worker import Worker, WorkerDiedError
from segspectral.errors import BatchError, SettingsError

__all__ = ["DaskCluster", "Engine", "InProcess", "Processes", "usable_cores"]


class Engine(Protocol):
    """Does work to jobs.

    Laws: each job that was taken from ``jobs`` ends in exactly one record, in any order, whatever its image does to
    the process that works on it; jobs are taken when there is a hand free for them, so that a stream which ends early
    ends the run after what is in flight; a SegspectralError of the work is raised and ends it at once, and so does
    closing the generator: when it has returned, nothing works on (on remote nodes, the image in hand is finished).
    """

    isolates: bool
    """Whether an image that kills its process leaves this one alive."""

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]: ...


class InProcess:
    """One after the other, here. An image that crashes takes the run with it; the journal tells which it was."""

    isolates = False

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]:
        work.prepare()
        for job in jobs:
            yield work(job)


class Processes:
    """Some processes on this machine.

    Parameters
    ----------
    count : processes; None takes one per core
    timeout : seconds that one image may take; None for no limit
    """

    isolates = True

    def __init__(self, count: int | None = None, timeout: float | None = None) -> None:
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
    """The workers of a Dask cluster, which see the input and the output under the same paths as this machine.

    Each Dask worker hands the images to a process of its own: an image that crashes or hangs costs that process and
    not the Dask worker, and what remains for Dask to mend is a lost node. Start the workers by
    ``PYTHONSAFEPATH=1 dask worker ADDRESS --nthreads 1 --death-timeout 60``. Without ``--death-timeout`` they wait
    for ever for a scheduler that has gone; without PYTHONSAFEPATH, Dask imports modules from the current folder.
    Dask's ports take commands from whoever reaches them: keep them on a private network, or use its TLS.

    Parameters
    ----------
    target : ``tcp://host:8786``, or ``local:4`` for four workers here, reachable from this machine alone
    timeout : seconds that one image may take; None for no limit

    Raises
    ------
    SettingsError
        The target is neither, or Dask is not installed.
    """

    isolates = True

    def __init__(self, target: str, timeout: float | None = None) -> None:
        kind, _, count = target.partition(":")
        if not ((kind == "local" and count.isdecimal() and int(count) > 0) or "://" in target):
            raise SettingsError(f"--dask {target}: write tcp://HOST:PORT of a scheduler, or local:4 for four workers")
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise SettingsError("--dask needs dask: pip install 'segspectral[cluster]'") from error
        self.target, self.local, self.timeout = target, int(count) if kind == "local" else 0, timeout

    def run(self, jobs: Iterator[Job], work: Work) -> Generator[Record]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        with ExitStack() as stack:
            client = self._connect(stack)
            threads = max(1, usable_cores() // self.local) if self.local else 1
            do = _OnDaskWorker(uuid4().hex, pickle.dumps(work), threads, self.timeout)
            stack.callback(do.close)
            # Twice as many as there are hands: the next image is there when one is done.
            slots = sum(client.nthreads().values())
            executor = client.get_executor(pure=False)
            try:
                yield from _outcomes(
                    executor, do, jobs, slots if self.local else 2 * slots, (WorkerDiedError, KilledWorker)
                )
            except (FutureCancelledError, CancelledError) as error:
                raise BatchError(
                    f"the Dask scheduler {self.target} is lost; what is done is kept: run the same command again"
                ) from error

    def _connect(self, stack: ExitStack) -> Any:
        import dask
        from distributed import Client, LocalCluster

        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is one sentence of ours
        stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": "10s"}))
        if self.local:
            # Dask's workers are threads of this process, as the work is done by processes of ours.
            cluster = LocalCluster(
                n_workers=self.local,
                threads_per_worker=1,
                processes=False,
                host="tcp://127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
            stack.enter_context(cluster)
            return stack.enter_context(Client(cluster))
        try:
            client = stack.enter_context(Client(self.target))
            client.wait_for_workers(1, timeout=30)
            client.get_versions(check=True)
        except TimeoutError as error:
            raise BatchError(
                f"the scheduler has no workers; start some by: dask worker {self.target} --nthreads 1 "
                "--death-timeout 60",
                self.target,
            ) from error
        except OSError as error:
            raise BatchError("no Dask scheduler answers there", self.target) from error
        except ValueError as error:
            raise BatchError(f"other versions of packages there than here: {error}", self.target) from error
        return client


class _OnDaskWorker:
    """Dask calls this: it hands the job to the process that belongs to this thread of this Dask worker."""

    _own = threading.local()
    _started: ClassVar[dict[str, list[Worker]]] = {}
    _ended: ClassVar[set[str]] = set()

    def __init__(self, run: str, work: bytes, threads: int, timeout: float | None) -> None:
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
        """End the run's processes that Dask workers of this very process have started, and let none start."""
        self._ended.add(self.run)
        for worker in self._started.pop(self.run, ()):
            worker.close()


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _outcomes(
    executor: Executor,
    do: Callable[[Job], Record],
    jobs: Iterator[Job],
    window: int,
    lost: tuple[type[BaseException], ...],
) -> Generator[Record]:
    """Keep ``window`` jobs in flight. Those that were lost with their worker run again at the end, each alone.

    A worker also dies for another's fault (memory, a lost node, someone's kill); only an image that is alone on the
    stage when its worker dies again is blamed.
    """
    suspects: list[Job] = []
    flying: dict[Future[Record], Job] = {executor.submit(do, job): job for job in islice(jobs, window)}
    try:
        while flying:
            landed, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in landed:
                job = flying.pop(future)
                try:
                    yield _about(job, future.result())
                except lost:
                    suspects.append(job)
                flying |= {executor.submit(do, job): job for job in islice(jobs, 1)}
        for job in suspects:
            future = executor.submit(do, job)
            flying[future] = job
            try:
                record = future.result()
            except lost as error:
                how = f" ({error})" if isinstance(error, WorkerDiedError) else ""
                record = Record(
                    job.name, Status.CRASHED, f"killed its worker process twice{how}, the second time alone"
                )
            yield _about(job, record)
    finally:
        for future in flying:
            future.cancel()


def _about(job: Job, record: Record) -> Record:
    """A record that no worker wrote does not know the file; what was listed is what was tried."""
    if record.status in (Status.CRASHED, Status.TIMED_OUT):
        return replace(record, size=job.size, mtime_ns=job.mtime_ns)
    return record
