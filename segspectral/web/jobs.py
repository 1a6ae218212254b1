"""Jobs: a bounded queue, a few worker processes, and a bounded store of results.

A job's id is a secret that cannot be guessed: only those who have it may see, edit and delete the job.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import queue
import secrets
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from segspectral.batch.worker import Worker, WorkerDiedError
from segspectral.errors import BatchError, SegspectralError
from segspectral.export import LabelMap
from segspectral.files import scratch_folder
from segspectral.images.reader import EXTENSIONS
from segspectral.pipeline import Pipeline
from segspectral.values import Segmentation
from segspectral.values.place import Georeference
from segspectral.web.edits import Edits
from segspectral.web.work import (
    Done,
    End,
    Event,
    Failed,
    Order,
    Segmenting,
    Stage,
    Task,
    clean_name,
    shape_of_upload,
)
from segspectral.wording import plural

__all__ = ["BusyError", "Errand", "Job", "Jobs", "Limits", "Status", "Workers"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is taken on.

    Parameters
    ----------
    megabytes : of an upload
    pixels : of an image
    queue : jobs that wait, uploads that are being received included
    workers : jobs that run at a time
    seconds : that a job may run
    gigabytes : of memory that a job may take; None for no limit
    kept_pixels : of all results that are kept, at about 40 bytes each; the longest unused are forgotten first
    kept : results that are kept
    idle_seconds : after which a result is forgotten
    project_megabytes : of the uploads of all projects together
    project_images : of a project of uploads
    taught_images : of a project that are described and guessed when it is taught; more take too long
    shelf_gigabytes : on disk, of all described images, at about 3 MB each; the longest unused are forgotten first
    """

    megabytes: int = 50
    pixels: int = 16_000_000
    queue: int = 32
    workers: int = 1
    seconds: float = 300.0
    gigabytes: float | None = 8.0
    kept_pixels: int = 48_000_000
    kept: int = 64
    idle_seconds: float = 3600.0
    project_megabytes: int = 2000
    project_images: int = 500
    taught_images: int = 300
    shelf_gigabytes: float = 4.0


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (Status.DONE, Status.FAILED, Status.CANCELLED)


class BusyError(SegspectralError):
    """There is no room now. The sentence and the headers of the answer say in how many seconds to try again."""

    def __init__(self, why: str, seconds: int) -> None:
        super().__init__(f"{why}; try again in {plural(seconds, 'second')}")
        self.headers = {"retry-after": str(seconds)}


class Workers:
    """Processes that segment: as many as work at a time, and a spare one that takes over when one is killed.

    A process starts when it is first needed, or by ``prepare``: the imports take seconds.
    """

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self._work = pickle.dumps(Segmenting(pipeline, limits.pixels, limits.gigabytes))
        self._threads = max(1, (os.cpu_count() or 1) // limits.workers)
        self._lock = Lock()
        self._all: set[Worker] = set()
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._closed = False
        for _ in range(limits.workers + 1):
            self._idle.put(self._new())

    def prepare(self) -> None:
        """Start one process and wait until it is ready; start the others meanwhile.

        Raises
        ------
        BackboneError, BatchError
        """
        cold = [self.take() for _ in range(self._idle.qsize())]
        first, *others = cold
        for worker in others:
            self._warm(worker)
        ask(first, None)
        self.give(first)

    def take(self) -> Worker:
        """A process that is idle, after waiting for one. Raises BatchError when all is closed."""
        worker = self._idle.get()
        if worker is None:
            self._idle.put(None)  # for the next one that waits
            raise BatchError("the server has ended")
        return worker

    def give(self, worker: Worker) -> None:
        self._idle.put(worker)

    def replace(self, worker: Worker) -> None:
        """Kill a process, from any thread, and start another one in its place."""
        worker.close()
        with self._lock:
            self._all.discard(worker)
        if not self._closed:
            self._warm(self._new())

    def close(self) -> None:
        """Kill all."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.close()
        self._idle.put(None)

    def _new(self) -> Worker:
        worker = Worker(self._work, self._threads)
        with self._lock:
            self._all.add(worker)
            if self._closed:
                worker.close()
        return worker

    def _warm(self, worker: Worker) -> None:
        def run() -> None:
            with suppress(SegspectralError, WorkerDiedError):  # the first task tells
                ask(worker, None)
            self.give(worker)

        threading.Thread(target=run, daemon=True).start()


def ask(worker: Worker, task: Order | None) -> Event | None:
    """The next event of a worker whose work is ``Segmenting``. Raises WorkerDiedError, SegspectralError."""
    call: Any = worker
    event: Event | None = call(task)
    return event


@dataclass(eq=False, kw_only=True)
class Errand:
    """Something that a process is asked to do, and how far it is.

    Parameters
    ----------
    task : what the worker is asked, until it has ended
    """

    task: Order | None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = Status.QUEUED
    error: str = ""
    worker: Worker | None = None
    used: float = field(default_factory=time.monotonic)

    advice: ClassVar[str] = "send a smaller image, or ask for less"
    """What may help if it takes too long, or too much memory."""

    stays: ClassVar[bool] = False
    """Whether it can be asked for when it has ended."""

    by_events: ClassVar[bool] = False
    """Whether the limit of seconds starts again with each event."""

    @property
    def pixels(self) -> int:
        """That its result keeps."""
        return 0

    def heard(self, event: Event) -> None:
        """Take note of how far it is."""

    def keep(self, end: End) -> None:
        """Keep the result. Raises SegspectralError if that cannot be."""

    def drop(self) -> None:
        """It did not end well: nothing is kept."""


@dataclass(eq=False)
class Job(Errand):
    """One image to be segmented, and what came of it.

    Parameters
    ----------
    shape : of the image, as its header says
    """

    name: str
    shape: tuple[int, int]
    pipeline: Pipeline
    stages: dict[str, float] = field(default_factory=dict)
    result: Segmentation | None = None
    georeference: Georeference | None = None
    edits: Edits | None = None

    stays: ClassVar[bool] = True

    @classmethod
    def of_upload(cls, path: Path, name: str, pipeline: Pipeline, pixels: int) -> Job:
        """Raises ImageError if the file is not an image, or its header says that it has more pixels than that."""
        name = clean_name(name)
        return cls(name, shape_of_upload(path, name, pixels), pipeline, task=Task(path, name, pipeline))

    def again(self, pipeline: Pipeline) -> Job:
        """The same image with other settings."""
        task = Task(None, self.name, pipeline, self.result, self.georeference)
        return Job(self.name, self.shape, pipeline, task=task)

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    def heard(self, event: Event) -> None:
        assert isinstance(event, Stage)
        self.stages[event.name] = event.seconds

    def keep(self, end: End) -> None:
        assert isinstance(end, Done)
        result = end.result
        earlier = self.task.earlier if isinstance(self.task, Task) else None
        if earlier is not None:  # one copy of the image for both
            scene = result.scene
            work = earlier.image if scene.work is scene.image else scene.work
            result = replace(result, scene=replace(scene, image=earlier.image, work=work))
        self.shape, self.georeference = result.image.shape, end.georeference
        self.result = result
        self.edits = Edits(LabelMap.of(result, georeference=end.georeference), result)

    def drop(self) -> None:
        self.result = self.edits = None


class Jobs:
    """The queue and the store; safe to use from several threads.

    Parameters
    ----------
    workers : processes to use, which stay with their owner; None to start our own

    ``folder`` holds uploads, and is deleted at the end.
    """

    def __init__(self, pipeline: Pipeline, limits: Limits, workers: Workers | None = None) -> None:
        self.limits = limits
        self.workers = workers or Workers(pipeline, limits)
        self._own_workers = workers is None
        self._lock = Lock()
        self._jobs: OrderedDict[str, Errand] = OrderedDict()
        self._places: set[object] = set()
        self._seconds = 5.0
        self._scratch = ExitStack()
        self.folder = self._scratch.enter_context(scratch_folder())
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="segspectral-job")

    def reserve(self) -> object:
        """A place in the queue for an upload that has yet to be received. Raises BusyError if the queue is full."""
        with self._lock:
            self._check_queue()
            place = object()
            self._places.add(place)
            return place

    def release(self, place: object) -> None:
        with self._lock:
            self._places.discard(place)

    def new_file(self, name: str) -> Path:
        """Where an upload is kept until its job has ended. The client's name never becomes one on this disk."""
        suffix = Path(name).suffix.lower()
        return self.folder / f"upload-{secrets.token_hex(16)}{suffix if suffix in EXTENSIONS else ''}"

    def add(self, job: Errand, place: object = None) -> None:
        """Put it into the queue, at the place that was reserved. Raises BusyError if that is full."""
        with self._lock:
            self._forget_old(job.pixels)
            self._places.discard(place)
            self._check_queue()
            unfinished = any(not other.status.final for other in self._jobs.values())
            if unfinished and self._pixels() + job.pixels > self.limits.kept_pixels:
                raise BusyError("the images that are worked on now fill the memory", self._soon())
            self._jobs[job.id] = job
        self._pool.submit(self._run, job)

    def get(self, id_: str) -> Errand | None:
        with self._lock:
            self._forget_old(0)
            job = self._jobs.get(id_)
            if job is not None:
                self._jobs.move_to_end(id_)
                job.used = time.monotonic()
            return job

    def cancel(self, job: Errand) -> None:
        """End a job at once; the process of a running one is killed, whatever it is doing."""
        self._kill(job, Status.CANCELLED)

    def remove(self, job: Errand) -> None:
        self.cancel(job)
        with self._lock:
            self._jobs.pop(job.id, None)

    def position(self, job: Errand) -> int:
        """How many jobs are before it in the queue."""
        with self._lock:
            before = takewhile(lambda other: other is not job, self._jobs.values())
            return sum(not other.status.final for other in before) if job.status == Status.QUEUED else 0

    def counts(self) -> dict[str, int]:
        """Status -> how many jobs."""
        with self._lock:
            return {str(s): sum(job.status == s for job in self._jobs.values()) for s in Status}

    def close(self) -> None:
        """End all jobs and processes at once."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            self.cancel(job)
        if self._own_workers:
            self.workers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._scratch.close()

    def _run(self, job: Errand) -> None:
        """Segment; every end is a status, none an exception."""
        try:
            worker = self.workers.take()
        except BatchError:
            return
        with self._lock:
            task = None if job.status.final else job.task
            if task is not None:
                job.status, job.worker = Status.RUNNING, worker
        if task is None:
            self.workers.give(worker)
            return
        begin = time.monotonic()
        try:
            self._end(job, *self._done(job, task, worker))
        finally:
            with self._lock:
                ours, job.worker = job.worker, None
                self._seconds += (time.monotonic() - begin - self._seconds) / 4
                if job.status != Status.DONE:
                    job.drop()
            if ours is not None:  # else it was killed
                self.workers.give(ours)

    def _done(self, job: Errand, task: Order, worker: Worker) -> tuple[Status, str]:
        """Let a process do it, and return how that ended and why it failed."""
        timer = None
        try:
            ask(worker, None)  # the seconds that a process needs to start are not the job's
            timer = self._timer(job)
            event = ask(worker, task)
            while event is not None and not isinstance(event, End):
                job.heard(event)
                if job.by_events:
                    timer.cancel()
                    timer = self._timer(job)
                event = ask(worker, None)
            if isinstance(event, Failed):
                return Status.FAILED, event.sentence
            assert event is not None
            job.keep(event)
            return Status.DONE, ""
        except WorkerDiedError as error:
            why = f"the process that worked on it ended ({error}); most often memory was short: {job.advice}"
            return Status.FAILED, why
        except SegspectralError as error:
            return Status.FAILED, str(error)
        except Exception:
            log.exception("job failed")
            return Status.FAILED, "it failed unexpectedly; the server's log says where"
        finally:
            if timer is not None:
                timer.cancel()

    def _timer(self, job: Errand) -> threading.Timer:
        """Ends a job when its seconds are over."""
        seconds = plural(float(self.limits.seconds), "second")
        late = f"it took longer than {seconds}, the limit of this server; {job.advice}"
        timer = threading.Timer(self.limits.seconds, self._kill, (job, Status.FAILED, late))
        timer.daemon = True
        timer.start()
        return timer

    def _kill(self, job: Errand, status: Status, error: str = "") -> None:
        """End a job from outside; whatever its process is doing, it is killed and replaced."""
        if self._end(job, status, error):
            with self._lock:
                worker, job.worker = job.worker, None
            if worker is not None:
                self.workers.replace(worker)

    def _end(self, job: Errand, status: Status, error: str = "") -> bool:
        """Set the end of a job, unless it has one; its upload is deleted."""
        with self._lock:
            if job.status.final:
                return False
            job.status, job.error = status, error
            task, job.task = job.task, None
            if not job.stays:
                self._jobs.pop(job.id, None)
        if task is not None:
            task.discard()
        return True

    def _check_queue(self) -> None:
        waiting = sum(job.status == Status.QUEUED for job in self._jobs.values()) + len(self._places)
        if waiting >= self.limits.queue:
            raise BusyError(f"{plural(waiting, 'image is', 'images are')} waiting already", self._soon())

    def _soon(self) -> int:
        """Seconds until a place in the queue becomes free, judged by the last jobs."""
        return max(1, math.ceil(self._seconds / self.limits.workers))

    def _pixels(self) -> int:
        return sum(job.pixels for job in self._jobs.values())

    def _forget_old(self, coming: int) -> None:
        """Make room: what was used longest ago goes first, what is not finished stays."""
        now = time.monotonic()
        finished = sorted((job for job in self._jobs.values() if job.status.final), key=lambda job: job.used)
        for job in finished:
            full = self._pixels() + coming > self.limits.kept_pixels or len(self._jobs) >= self.limits.kept
            if (coming and full) or now - job.used > self.limits.idle_seconds:
                del self._jobs[job.id]
