"""Teaching in the page: what is painted in some images of a project -> a guess for every image.

A process describes the images, once, and learns from the labels as they are saved. Guesses are kept beside the labels
and never become labels by themselves: the page paints them when a person accepts those of an image, and saves that as
it saves all that is painted. The model is ``classes.safetensors`` in the project's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.export import png, read_label_map
from segspectral.features.backbones import DEFAULT_BACKBONE
from segspectral.features.cache import prune
from segspectral.files import write_bytes
from segspectral.pipeline import Pipeline
from segspectral.settings import with_settings
from segspectral.shared.taught import Lesson, TaughtModel
from segspectral.teaching.album import Album, Described
from segspectral.teaching.labels import Labels, painted
from segspectral.teaching.learn import learn
from segspectral.teaching.places import suggest
from segspectral.teaching.shelf import Shelf, guess_of, thumb_of
from segspectral.values import Features
from segspectral.values.regions import RegionGraph
from segspectral.web.jobs import Errand, Jobs, Status
from segspectral.web.labelling import Class, ConflictError, Picture, Project
from segspectral.web.work import End, Event, Order, Segmenting, shape_of_upload
from segspectral.wording import few, plural

__all__ = ["MODEL", "Course", "CourseState", "Courses", "Preparation"]

MODEL = "classes.safetensors"
"""The taught model, in the folder of a project."""

MOST_PIXELS = 60_000
"""At most this many painted pixels of an image teach, drawn at random: 40 for each of its superpixels."""

MOST_REGIONS = 5000
"""At most this many superpixels with labels teach, so that teaching again takes seconds."""

OVER = 0.55
"""How strongly the classes cover a small picture."""


class Guess(NamedTuple):
    """What the model says of an image.

    Parameters
    ----------
    place : the image on the shelf
    classes : (N,) the number of the class of each superpixel
    unsure : the share of the image that the model expects to have wrong
    """

    place: Path
    classes: NDArray[np.uint8]
    unsure: float


@dataclass(frozen=True)
class Seen(Event):
    """So many images are described, of all."""

    images: int
    of: int


@dataclass(frozen=True)
class Taught(End):
    """The file of the model, image -> guess, what to label next, and sentences about what was left out."""

    model: bytes
    guesses: dict[int, Guess]
    places: list[PlaceState]
    said: list[str]


@dataclass(frozen=True)
class Teach(Order):
    """Learn from what is painted, and guess.

    Parameters
    ----------
    pictures : the images
    names : number -> class
    lesson : how images are described, and what is learned
    folder, gigabytes : of the shelf of described images
    total : how many images the project has
    """

    pictures: tuple[Picture, ...]
    names: dict[int, str]
    lesson: Lesson
    folder: Path
    gigabytes: float
    total: int

    def done_by(self, work: Segmenting, tell: Callable[[Event], None]) -> Taught:
        reader = _Reader(self.pictures, Shelf(self.folder, self.lesson), work.pixels, tell)
        labels = painted(reader.maps(list(self.names)), self.names, MOST_PIXELS)
        images, first = list(reader.called), list(labels.given)
        album = Album.of(images, self.lesson, first=first, described=reader, observer=reader.failed)
        model = learn(album, labels, MOST_REGIONS)
        guesses = self._guesses(model, album, reader)
        prune(self.folder, self.gigabytes)
        said, left = [*labels.notes, *model.about["notes"]], list(reader.left.values())
        if self.total > len(self.pictures):
            said.append(f"{len(self.pictures)} of {plural(self.total, 'image')} have guesses; the model takes them all")
        if left:
            said.append(f"{plural(len(left), 'image is', 'images are')} left out: {few(left)}")
        with TemporaryDirectory(dir=self.folder) as folder:
            model.save(Path(folder) / MODEL)
            return Taught((Path(folder) / MODEL).read_bytes(), guesses, self._places(model, album, labels), said)

    def _places(self, model: TaughtModel, album: Album, labels: Labels) -> list[PlaceState]:
        """What to label next, in images that are not done; nothing if all is labelled."""
        number = {one.source: one.number for one in self.pictures}
        closed = {one.source for one in self.pictures if one.done}
        of = dict(zip(model.classes, sorted(self.names), strict=True))
        try:
            found = suggest(album, labels, model, closed=closed)
        except SettingsError:
            return []
        return [
            PlaceState(
                number=number[place.image],
                row=place.row,
                col=place.col,
                guess=of[place.guess],
                confidence=round(place.confidence, 4),
                speaks_for=place.speaks_for,
            )
            for place in found
        ]

    def _guesses(self, model: TaughtModel, album: Album, reader: _Reader) -> dict[int, Guess]:
        """The guesses of all images that can be read."""
        numbers, guesses = np.array(sorted(self.names), np.uint8), {}
        for picture in self.pictures:
            if picture.source in reader.left:
                continue
            try:
                graph, features = self._described(picture.source, model, album, reader)
            except (ImageError, SettingsError) as error:  # the latter if it has other bands
                reader.failed(picture.source, error)
                continue
            P = model.probabilities(features)
            unsure = float(np.average(1 - P.max(axis=1), weights=graph.area))
            guesses[picture.number] = Guess(reader.shelf.place(picture.source), numbers[P.argmax(axis=1)], unsure)
        return guesses

    def _described(self, path: Path, model: TaughtModel, album: Album, reader: _Reader) -> tuple[RegionGraph, Features]:
        """The regions of an image and what the model sees of them; the album may know it."""
        if page := album.pages.get(path):
            return page.graph, Features(self.lesson.surroundings(page.graph, page.components))
        parts = reader(path).parts
        return parts.graph, model.described(parts)


@dataclass(frozen=True)
class Ready(End):
    """An image is described."""


@dataclass(frozen=True)
class Describe(Order):
    """Describe an image before somebody teaches; parameters as of ``Teach``."""

    picture: Picture
    lesson: Lesson
    folder: Path

    def done_by(self, work: Segmenting, tell: Callable[[Event], None]) -> Ready:
        _Reader([self.picture], Shelf(self.folder, self.lesson), work.pixels, tell)(self.picture.source)
        return Ready()


class _Reader:
    """Reads label maps, and images by the shelf; tells how many images it has seen, and calls them by their names.

    ``left`` holds the images that are left out, and why.
    """

    def __init__(self, pictures: Sequence[Picture], shelf: Shelf, pixels: int, tell: Callable[[Event], None]) -> None:
        self.pictures, self.shelf, self.pixels, self.tell = pictures, shelf, pixels, tell
        self.called = {one.source: one.name for one in pictures}
        self.left: dict[Path, str] = {}
        self._shapes: dict[Path, tuple[int, ...]] = {}
        self._seen: set[Path] = set()

    def maps(self, numbers: list[int]) -> Iterator[tuple[Path, NDArray[np.integer]]]:
        """The label maps, without numbers that are not classes."""
        for one in self.pictures:
            if one.labels is not None and one.source.exists():  # what is gone is left out like any other image
                labels = read_label_map(one.labels).labels
                self._shapes[one.source] = labels.shape
                yield one.source, np.where(np.isin(labels, numbers), labels, 0)

    def __call__(self, path: Path) -> Described:
        """Raises ImageError."""
        name = self.called[path]
        try:
            shape_of_upload(path, name, self.pixels)
            one = self.shelf(path)
        except ImageError as error:
            raise ImageError(error.message, name) from error
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror or error})", name) from error
        finally:
            self._seen.add(path)
            self.tell(Seen(len(self._seen), len(self.called)))
        if self._shapes.get(path, one.shape) != one.shape:
            raise ImageError("has another size than its labels; label it again", name)
        return one

    def failed(self, path: Path, error: SegspectralError | None) -> None:
        if error is not None:
            self.left[path] = str(error)


@dataclass(eq=False)
class Teaching(Errand):
    """One teaching of a project, and how far it is."""

    course: Course
    seen: int = 0
    of: int = 0
    gone: set[int] = field(default_factory=set)
    """Classes that were removed meanwhile."""

    advice: ClassVar[str] = "teach again: images that were described are kept"
    by_events: ClassVar[bool] = True

    def heard(self, event: Event) -> None:
        assert isinstance(event, Seen)
        self.seen, self.of = event.images, event.of

    def keep(self, end: End) -> None:
        assert isinstance(end, Taught)
        self.course.keep(end, self.gone)


class Preparation(BaseModel):
    """How many images are not described yet."""

    left: int


class PlaceState(BaseModel):
    """A place to label next, as of ``segspectral suggest``: image, pixel, and the class that is guessed, 0 for none."""

    number: int
    row: int
    col: int
    guess: int
    confidence: float
    speaks_for: int


class GuessState(BaseModel):
    """``unsure``: the share of the image that the model expects to have wrong."""

    number: int
    unsure: float


class CourseState(BaseModel):
    """How far the teaching of a project is, null if it was never taught; and what the last one that ended well said.

    ``round`` counts those. ``seen`` of ``of`` images are described. ``model`` says whether there is one to download.
    ``places`` are to be labelled next, image by image.
    """

    status: Status | None = None
    error: str = ""
    seen: int = 0
    of: int = 0
    round: int = 0
    said: list[str] = []
    guesses: list[GuessState] = []
    places: list[PlaceState] = []
    model: bool = False


@dataclass(eq=False)
class Course:
    """The teachings of one project, of which one runs at a time; safe to use from several threads.

    Parameters
    ----------
    model : the file of the model
    round : how many ended well
    teaching, describing : the last ones
    described : files of images that were described in advance, or could not be
    guesses : image -> guess, and ``places`` and ``said``: of the last one that ended well
    """

    model: Path
    round: int = 0
    teaching: Teaching | None = None
    describing: Errand | None = None
    described: set[Path] = field(default_factory=set)
    guesses: dict[int, Guess] = field(default_factory=dict)
    places: list[PlaceState] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def keep(self, taught: Taught, gone: set[int]) -> None:
        """Raises OutputError if the model cannot be saved."""
        write_bytes(self.model, taught.model)
        self.guesses, self.places, self.said = taught.guesses, taught.places, taught.said
        self.forget(gone)
        self.round += 1

    def forget(self, numbers: set[int]) -> None:
        """Guesses of classes that are gone are none, because their numbers may be given to others."""
        if self.teaching is not None:
            self.teaching.gone |= numbers
        for guess in self.guesses.values():
            guess.classes[np.isin(guess.classes, list(numbers))] = 0
        self.places = [one.model_copy(update={"guess": 0}) if one.guess in numbers else one for one in self.places]

    def guess(self, number: int) -> NDArray[np.uint8] | None:
        """(H, W) the class of each pixel of an image, None if there is no guess (any more)."""
        guess = self.guesses.get(number)
        with suppress(OSError):
            return None if guess is None else guess_of(guess.place, guess.classes)
        return None

    def thumb(self, number: int, classes: list[Class]) -> bytes | None:
        """A small picture of an image in the colours of its classes, as PNG; None if there is no guess (any more)."""
        guess = self.guesses.get(number)
        if guess is None:
            return None
        try:
            photo, of = thumb_of(guess.place, guess.classes)
        except OSError:
            return None
        table = np.zeros((256, 3))
        for one in classes:
            table[one.number] = list(bytes.fromhex(one.colour[1:]))
        share = np.where(of > 0, OVER, 0.0)[..., None]
        return png(np.round((1 - share) * photo + share * table[of]).astype(np.uint8))

    def state(self) -> CourseState:
        teaching, guesses = self.teaching, self.guesses
        about: dict[str, Any] = {}
        if teaching is not None:
            about = {"status": teaching.status, "error": teaching.error, "seen": teaching.seen, "of": teaching.of}
        return CourseState(
            **about,
            round=self.round,
            said=self.said,
            guesses=[GuessState(number=number, unsure=round(one.unsure, 4)) for number, one in guesses.items()],
            places=self.places,
            model=self.model.exists(),
        )


class Courses:
    """The courses of all projects of a server.

    Parameters
    ----------
    base : the settings of the server
    jobs : the queue in which teachings wait
    """

    def __init__(self, base: Pipeline, jobs: Jobs) -> None:
        self._jobs, self._lesson = jobs, _lesson(base)
        self._lock = Lock()
        self._all: WeakKeyDictionary[Project, Course] = WeakKeyDictionary()

    def of(self, project: Project) -> Course:
        with self._lock:
            return self._all.setdefault(project, Course(project.folder / MODEL))

    def teach(self, project: Project) -> CourseState:
        """Put a teaching by the labels that are saved now into the queue.

        Raises
        ------
        SettingsError
            Nothing is painted.
        ConflictError
            The project is being taught.
        BusyError
        """
        course, limits = self.of(project), self._jobs.limits
        pictures = project.pictures()
        chosen = self._chosen(pictures)
        if all(one.labels is None for one in chosen):
            raise SettingsError("nothing is painted yet; paint two classes at least, in one image or several")
        names = {one.number: one.name for one in project.classes}
        order = Teach(tuple(chosen), names, self._lesson, self._folder, limits.shelf_gigabytes, len(pictures))
        with self._lock:
            if course.teaching is not None and not course.teaching.status.final:
                raise ConflictError("the classes are being taught already; wait for that, or cancel it")
            teaching = Teaching(course, of=len({one.source for one in chosen}), task=order)
            self._jobs.add(teaching)
            course.teaching = teaching
        return course.state()

    def prepare(self, project: Project) -> Preparation:
        """Describe one more image, unless one is being described or the project is being taught. Raises BusyError."""
        course = self.of(project)
        left = [one for one in self._chosen(project.pictures()) if one.source not in course.described]
        with self._lock:
            busy = [one for one in (course.teaching, course.describing) if one is not None and not one.status.final]
            if left and not busy:
                course.describing = Errand(task=Describe(left[0], self._lesson, self._folder))
                self._jobs.add(course.describing)
                course.described.add(left[0].source)
        return Preparation(left=len(left))

    def _chosen(self, pictures: list[Picture]) -> list[Picture]:
        """Those that are described: those with labels, then the others, each in their order, up to the limit."""
        return sorted(pictures, key=lambda one: one.labels is None)[: self._jobs.limits.taught_images]

    @property
    def _folder(self) -> Path:
        return self._jobs.folder / "shelf"

    def cancel(self, project: Project) -> CourseState:
        """End a teaching at once; the guesses of the one before it stay."""
        course = self.of(project)
        if course.teaching is not None:
            self._jobs.cancel(course.teaching)
        return course.state()


def _lesson(base: Pipeline) -> Lesson:
    """Images are read as everywhere on this server; guesses are there at once, because there is no refiner."""
    lesson = Lesson(seed=base.seed, reading=base.reading, working_pixels=base.working_pixels, refine="none")
    given = base.features.cnn
    if given is None:
        return with_settings(lesson, {"features": {"cnn": None}})
    # `teach` has a default of its own; a network that was chosen for this server replaces it.
    own = ("device",) if given.backbone == DEFAULT_BACKBONE else ("device", "backbone", "weights")
    return with_settings(lesson, {"features": {"cnn": {name: getattr(given, name) for name in own}}})
