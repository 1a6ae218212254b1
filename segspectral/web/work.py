"""What runs in a worker process: an upload is decoded and segmented there, so that it can be killed at any moment."""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from segspectral.errors import ImageError, SegspectralError
from segspectral.export import read_georeference
from segspectral.images.reader import Reading, image_size, read_image
from segspectral.pipeline import Observer, Pipeline
from segspectral.values import Image, Scene, Segmentation, Superpixels
from segspectral.values.place import Georeference

__all__ = [
    "Done",
    "End",
    "Event",
    "Failed",
    "Order",
    "Segmenting",
    "Stage",
    "Task",
    "clean_name",
    "read_upload",
    "shape_of_upload",
]

log = logging.getLogger(__name__)

NO_MEMORY = "the image does not fit into the memory that one job may take; send a smaller one, or ask for less"


class Event:
    """What a process says of a task."""


class End(Event):
    """The last thing that it says."""


@dataclass(frozen=True)
class Stage(Event):
    """A stage that has ended, and its seconds."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Done(End):
    result: Segmentation
    georeference: Georeference | None


@dataclass(frozen=True)
class Failed(End):
    sentence: str


class Order(ABC):
    """What a process is asked to do."""

    @abstractmethod
    def done_by(self, work: Segmenting, tell: Callable[[Event], None]) -> End:
        """Do it, in the process. Raises SegspectralError."""

    def discard(self) -> None:  # noqa: B027 - most orders keep nothing
        """Delete what was kept for it, in the server; it has ended."""


@dataclass(frozen=True)
class Task(Order):
    """An image in a file, called ``name`` by its owner, or that of an ``earlier`` result; and how to segment it."""

    source: Path | None
    name: str
    pipeline: Pipeline
    earlier: Segmentation | None = None
    georeference: Georeference | None = None

    def done_by(self, work: Segmenting, tell: Callable[[Event], None]) -> Done:
        return work.segmented(self, lambda name, seconds: tell(Stage(name, seconds)))

    def discard(self) -> None:
        if self.source is not None:
            with suppress(OSError):  # Windows does not delete a file that is open; the folder is deleted at the end
                self.source.unlink(missing_ok=True)


class Segmenting:
    """The work of a ``segspectral.batch.worker.Worker``: a task is answered by its first event, None by the next one.

    None without a task is answered by None as soon as the process is ready.

    Parameters
    ----------
    pipeline : what is loaded before the first task
    pixels : that an image may have
    gigabytes : of memory that the process may take, where the system can limit it; None for no limit
    """

    def __init__(self, pipeline: Pipeline, pixels: int, gigabytes: float | None) -> None:
        self.pipeline, self.pixels, self.gigabytes = pipeline, pixels, gigabytes
        self._events: queue.SimpleQueue[Event] | None = None

    def prepare(self) -> None:
        """Raises BackboneError."""
        if self.gigabytes is not None:
            _limit_memory(int(self.gigabytes * 1e9))
        self.pipeline.prepare()

    def takes_long(self, task: Order | None, /) -> bool:
        """No task does: the page has limits."""
        return False

    def __call__(self, task: Order | None, /) -> Event | None:
        if task is not None:
            self._events = queue.SimpleQueue()
            threading.Thread(target=self._do, args=(task, self._events), daemon=True).start()
        if self._events is None:
            return None
        event = self._events.get()
        if isinstance(event, End):
            self._events = None
        return event

    def _do(self, task: Order, events: queue.SimpleQueue[Event]) -> None:
        """Every end is an event, none an exception."""
        try:
            end = task.done_by(self, events.put)
        except SegspectralError as error:
            end = Failed(str(error))
        except Exception as error:
            if isinstance(error, MemoryError) or "memory" in str(error):  # torch's is a RuntimeError
                end = Failed(NO_MEMORY)
            else:
                log.exception("job failed")
                end = Failed("it failed unexpectedly; the server's log says where")
        events.put(end)

    def segmented(self, task: Task, observer: Observer | None = None) -> Done:
        """Do it, in this process. Raises SegspectralError."""
        pipeline, georeference = task.pipeline, task.georeference
        if task.earlier is not None:
            scene = pipeline.describe(task.earlier.image, observer, known=task.earlier.scene)
        else:
            assert task.source is not None
            image, georeference = read_upload(task.source, task.name, self.pixels, pipeline.reading)
            scene = pipeline.describe(image, observer)
        result = pipeline.solve(scene, observer=observer)
        return Done(replace(result, scene=_bare(scene)), georeference)


def _bare(scene: Scene) -> Scene:
    """The scene without what its parts have derived and kept, and with an image of 8 bits."""
    image = replace(scene.image, rgb=scene.image.uint8)
    work = image if scene.work is scene.image else replace(scene.work, rgb=scene.work.uint8)
    return replace(scene, image=image, work=work, work_superpixels=Superpixels(scene.work_superpixels.labels))


@contextmanager
def _called(name: str) -> Iterator[None]:
    """Errors within are about the client's file, whatever its path on this machine is."""
    try:
        yield
    except SegspectralError as error:
        error.source = name
        raise


def read_upload(path: Path, name: str, pixels: int, reading: Reading = Reading()) -> tuple[Image, Georeference | None]:
    """An image from a file that a client sent; its content alone decides what it is.

    Raises
    ------
    ImageError
        It is not an image, is damaged, or has too many pixels.
    SettingsError
        There is no such page or band. All sentences call the file by ``name``.
    """
    with _called(name):
        image = read_image(path, reading)
    height, width = image.shape
    if height * width > pixels:
        raise ImageError(f"{_too_many(width, height, pixels)}", name)
    return replace(image, name=name), read_georeference(path, reading.number)


def clean_name(name: str) -> str:
    """A client's name of a file, without folders and without what cannot be printed."""
    return "".join(c for c in name.replace("\\", "/").rsplit("/", 1)[-1] if c.isprintable())[-80:] or "image"


def shape_of_upload(path: Path, name: str, pixels: int) -> tuple[int, int]:
    """Rows and columns as the header says, before anything is decoded.

    Raises
    ------
    ImageError
        It is not an image, its header is damaged, or there are more than ``pixels``.
    """
    with _called(name):
        width, height = image_size(path)
    if width * height > pixels:
        raise ImageError(f"{_too_many(width, height, pixels)}", name)
    return height, width


def _too_many(width: int, height: int, pixels: int) -> str:
    return f"has {width} x {height} pixels; this server takes up to {pixels / 1e6:g} million, scale it down"


def _limit_memory(size: int) -> None:
    """Of this process, in bytes: allocations beyond it fail. Nothing happens where the system has no such limit."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or size < most:
        resource.setrlimit(resource.RLIMIT_DATA, (size, most))
