"""Jobs: a bounded queue, a few workers, and a bounded store of results.

A job's id is a secret that cannot be guessed: who has it may see, edit and delete the job, nobody else.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from threading import Lock

from segspectral.errors import ImageError, SegspectralError
from segspectral.export import LabelMap, read_place
from segspectral.export.geo import Place
from segspectral.figures import with_stages_of
from segspectral.images import EXTENSIONS, image_size, read_image
from segspectral.pipeline import Pipeline
from segspectral.types import Image, Segmentation, Superpixels
from segspectral.web.edits import Edits

__all__ = ["BusyError", "Job", "Jobs", "Limits", "Status", "read_upload"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is taken on.

    Parameters
    ----------
    megabytes : of an upload
    pixels : of an image
    queue : jobs that wait
    workers : jobs that run at a time
    kept_pixels : of all results that are kept, at about 40 bytes each; the longest unused are forgotten first
    kept : results that are kept
    idle_seconds : after which a result is forgotten
    """

    megabytes: int = 50
    pixels: int = 16_000_000
    queue: int = 32
    workers: int = 1
    kept_pixels: int = 48_000_000
    kept: int = 64
    idle_seconds: float = 3600.0


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
    """The queue is full."""


class _CancelledError(Exception):
    pass


@dataclass(eq=False)
class Job:
    """One image to be segmented, and what came of it."""

    image: Image
    pipeline: Pipeline
    place: Place | None = None
    earlier: Segmentation | None = None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: Status = Status.QUEUED
    stages: dict[str, float] = field(default_factory=dict)
    error: str = ""
    result: Segmentation | None = None
    edits: Edits | None = None
    cancelled: bool = False
    used: float = field(default_factory=time.monotonic)

    @property
    def pixels(self) -> int:
        return self.image.shape[0] * self.image.shape[1]

    def run(self) -> None:
        """Segment; every end is a status, none an exception."""
        try:
            self._check()
            self.status = Status.RUNNING
            pipeline = self.pipeline if self.earlier is None else with_stages_of(self.earlier, self.pipeline)
            result = pipeline(self.image, self._observe)
            resolved = {"segments": result.pipeline.segments, "refine": result.pipeline.refine}
            result = replace(result, pipeline=self.pipeline.model_copy(update=resolved))
            self._check()
            # Anew, without what they have cached.
            image = Image(self.image.uint8, self.image.name, self.image.mask)
            self.image = image
            self.result = replace(result, image=image, superpixels=Superpixels(result.superpixels.labels))
            self.edits = Edits(LabelMap.of(self.result, place=self.place), self.result)
            self.status = Status.DONE
        except _CancelledError:
            self.status = Status.CANCELLED
        except SegspectralError as error:
            self.error, self.status = str(error), Status.FAILED
        except MemoryError:
            self.error, self.status = "the image does not fit into memory; send a smaller one", Status.FAILED
        except Exception:
            log.exception("job failed")
            self.error, self.status = "it failed unexpectedly; the server's log says where", Status.FAILED
        finally:
            self.earlier = None

    def _observe(self, stage: str, seconds: float) -> None:
        self.stages[stage] = seconds
        self._check()

    def _check(self) -> None:
        if self.cancelled:
            raise _CancelledError


class Jobs:
    """The queue and the store; safe to use from several threads."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="segspectral-job")

    def add(self, job: Job) -> None:
        """Put it into the queue. Raises BusyError if that is full."""
        with self._lock:
            self._forget_old(job.pixels)
            waiting = sum(other.status == Status.QUEUED for other in self._jobs.values())
            unfinished = sum(not other.status.final for other in self._jobs.values())
            if waiting >= self.limits.queue:
                raise BusyError(f"{waiting} images are waiting already; try again in a minute")
            if unfinished and self._pixels() + job.pixels > self.limits.kept_pixels:
                raise BusyError("images that are being worked on fill the memory; try again in a minute")
            self._jobs[job.id] = job
        self._pool.submit(job.run)

    def get(self, id_: str) -> Job | None:
        with self._lock:
            self._forget_old(0)
            job = self._jobs.get(id_)
            if job is not None:
                self._jobs.move_to_end(id_)
                job.used = time.monotonic()
            return job

    def cancel(self, job: Job) -> None:
        """A waiting job ends at once, a running one after its present stage."""
        job.cancelled = True
        if job.status == Status.QUEUED:
            job.status = Status.CANCELLED

    def remove(self, job: Job) -> None:
        self.cancel(job)
        with self._lock:
            self._jobs.pop(job.id, None)

    def position(self, job: Job) -> int:
        """How many jobs are before it in the queue."""
        with self._lock:
            before = 0
            for other in self._jobs.values():
                if other is job:
                    break
                before += not other.status.final
            return before if job.status == Status.QUEUED else 0

    def counts(self) -> dict[str, int]:
        """Status -> how many jobs."""
        with self._lock:
            return {str(s): sum(job.status == s for job in self._jobs.values()) for s in Status}

    def close(self) -> None:
        for job in list(self._jobs.values()):
            self.cancel(job)
        self._pool.shutdown(wait=False, cancel_futures=True)

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


def read_upload(data: bytes, name: str, pixels: int) -> tuple[Image, Place | None]:
    """An image from what a client sent; its content alone decides what it is.

    Raises
    ------
    ImageError
        It is no image, damaged, or has too many pixels; the sentence calls it by ``name``.
    """
    name = "".join(c for c in name.replace("\\", "/").rsplit("/", 1)[-1] if c.isprintable())[-80:] or "image"
    suffix = Path(name).suffix.lower()
    with tempfile.TemporaryDirectory(prefix="segspectral-") as folder:
        # The client's name never becomes one on this disk.
        path = Path(folder) / f"upload{suffix if suffix in EXTENSIONS else ''}"
        path.write_bytes(data)
        try:
            _check_pixels(path, pixels)
            image = read_image(path)
        except ImageError as error:
            raise ImageError(str(error).replace(str(path), name)) from error
        if image.shape[0] * image.shape[1] > pixels:
            raise ImageError(f"{name}: {_too_many(image.shape[1], image.shape[0], pixels)}")
        return Image(image.rgb, name, image.mask), read_place(path)


def _check_pixels(path: Path, pixels: int) -> None:
    """Look at the size in the header before the pixels are unpacked."""
    width, height = image_size(path)
    if width * height > pixels:
        raise ImageError(f"{path}: {_too_many(width, height, pixels)}")


def _too_many(width: int, height: int, pixels: int) -> str:
    return f"has {width} x {height} pixels; this server takes up to {pixels / 1e6:.0f} million, scale it down"
