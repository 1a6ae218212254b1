"""Projects: images that a person labels with classes, saved after every change, so that a crash loses nothing.

A project's folder holds ``STEM_labels.png`` for each labelled image, with the names and colours of the classes, and
``labelling.json``, which lists the classes, the stems and the images that are done. Each file is written whole.
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Lock, RLock
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.export import EXPORTERS, LabelMap, colour_table, label_png, read_georeference, read_label_map
from segspectral.export.naming import result_stems
from segspectral.files import check_inside, read_file, whole_set, write_bytes, zipped
from segspectral.images.reader import image_size
from segspectral.wording import plural

__all__ = [
    "MOST_CLASSES",
    "Class",
    "ConflictError",
    "Picture",
    "Project",
    "Projects",
    "State",
    "first_classes",
    "unpacked",
]

MOST_CLASSES = 255
"""A label map of the page has 8 bits per pixel; 0 is unlabelled."""

MOST_MEGABYTES = 500
"""An archive holds photographs up to this size, because it is made in memory."""

SAVED = "labelling.json"


class ConflictError(SegspectralError):
    """Another window has saved the same image, or changed the classes, since they were read here."""


class Class(BaseModel):
    """A class: its number in label maps, its name, which is its category in exports, and its colour."""

    model_config = ConfigDict(extra="forbid")
    number: int = Field(ge=1, le=MOST_CLASSES, strict=True)
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
    colour: str = Field(pattern="^#[0-9a-fA-F]{6}$")

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("a name has printable characters only")
        return name


def first_classes() -> list[Class]:
    """The classes that a project begins with."""
    colours = colour_table(3)[1:]
    return [Class(number=n, name=f"class {n}", colour="#" + bytes(c).hex()) for n, c in enumerate(colours, start=1)]


class Entry(BaseModel):
    """An image of a project. ``revision`` counts its saves since the server started."""

    number: int
    name: str
    labelled: bool
    done: bool
    revision: int


class State(BaseModel):
    """A project as the page shows it; ``folder`` is where it is saved, "" for uploads, which end with the server.

    ``classes_revision`` counts the changes of the classes since the server started.
    """

    id: str
    folder: str
    notes: list[str]
    classes: list[Class]
    classes_revision: int
    images: list[Entry]


class _Saved(BaseModel):
    """The contents of ``labelling.json``."""

    version: int = Field(1, ge=1, le=1)
    classes: list[Class]
    stems: dict[str, str]
    done: list[str]

    @field_validator("stems")
    @classmethod
    def _inside(cls, stems: dict[str, str]) -> dict[str, str]:
        for stem in stems.values():
            check_inside(stem)
        return stems


class Picture(NamedTuple):
    """An image of a project: number, file, name, the file of its labels or None, and whether it is done."""

    number: int
    source: Path
    name: str
    labels: Path | None
    done: bool = False


@dataclass
class _Image:
    source: Path
    name: str
    done: bool = False
    revision: int = 0


@dataclass(eq=False)
class Project:
    """The images, the classes, and where they are saved; safe to use from several threads.

    Parameters
    ----------
    folder : of the label maps
    shown : what the page says about where it is saved
    notes : sentences for the page, such as which files of a folder were left out
    colours : of new classes

    Raises
    ------
    ImageError
        ``labelling.json`` is damaged; it is left as it is.
    """

    folder: Path
    shown: str = ""
    notes: list[str] = field(default_factory=list)
    classes: list[Class] = field(default_factory=list)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    used: float = field(default_factory=time.monotonic)
    size: int = 0

    def __post_init__(self) -> None:
        self._lock = RLock()
        self._images: list[_Image] = []
        self._stems: dict[str, str] = {}
        self._done: set[str] = set()
        self._classes_revision = 0
        path = self.folder / SAVED
        if path.exists():
            try:
                saved = _Saved.model_validate_json(read_file(path))
            except (ValidationError, OSError) as error:
                raise ImageError(f"is damaged; move it away to start again ({_short(error)})", path) from error
            self.classes, self._stems, self._done = saved.classes, saved.stems, set(saved.done)

    def add(self, images: Iterable[tuple[Path, str]]) -> None:
        """Add images as (file, name); a name that is taken already gets a number."""
        with self._lock:
            names = {image.name for image in self._images}
            for source, name in images:
                stem, dot, suffix = name.rpartition(".")
                number = 2
                while name in names:
                    name = f"{stem} ({number}){dot}{suffix}"
                    number += 1
                names.add(name)
                self._images.append(_Image(source, name, name in self._done))
            self._stems = result_stems([image.name for image in self._images], self._stems) | self._stems

    def state(self) -> State:
        with self._lock:
            return State(
                id=self.id,
                folder=self.shown,
                notes=self.notes,
                classes=self.classes,
                classes_revision=self._classes_revision,
                images=[
                    Entry(
                        number=number,
                        name=image.name,
                        labelled=self._path(image).exists(),
                        done=image.done,
                        revision=image.revision,
                    )
                    for number, image in enumerate(self._images)
                ],
            )

    def image(self, number: int) -> _Image | None:
        return self._images[number] if 0 <= number < len(self._images) else None

    def __len__(self) -> int:
        return len(self._images)

    def pictures(self) -> list[Picture]:
        """The images as they are now, in their order."""
        with self._lock:
            return [
                Picture(number, one.source, one.name, path if (path := self._path(one)).exists() else None, one.done)
                for number, one in enumerate(self._images)
            ]

    def labels(self, number: int) -> NDArray[np.uint8] | None:
        """(H, W) the class of each pixel, 0 = unlabelled; None if nothing of the image is labelled.

        Raises
        ------
        ImageError
            The label map is damaged, or has classes beyond 255.
        """
        with self._lock:
            path = self._path(self._images[number])
            if not path.exists():
                return None
            labels = read_label_map(path).labels
        if labels.max() > MOST_CLASSES:
            raise ImageError(f"has classes beyond {MOST_CLASSES}", path)
        return labels.astype(np.uint8)

    def save(self, number: int, packed: bytes, shape: tuple[int, int], revision: int, done: bool) -> State:
        """Save the classes of an image's pixels: deflated bytes, row by row, at the image's size.

        Raises
        ------
        ConflictError
            The image is not at this revision any more.
        SettingsError
            The bytes are not those of a label map of the image, or name a class that does not exist.
        OutputError
        """
        image = self._images[number]
        try:
            size = image_size(image.source)
        except ImageError as error:
            raise ImageError(error.message, image.name) from error
        if sorted(shape) != sorted(size):  # it may be turned by its EXIF
            raise SettingsError(f"{image.name}: labels of {shape[1]} x {shape[0]} pixels are not of its size")
        labels = unpacked(packed, shape, image.name)
        with self._lock:
            unknown = set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0, *(c.number for c in self.classes)}
            if unknown:
                raise SettingsError(f"{image.name}: there is no class {min(unknown)}")
            if revision != image.revision:
                raise ConflictError(f"{image.name} was saved from another window; open it again to go on from there")
            ended = self._done | {image.name} if done else self._done - {image.name}
            with whole_set():
                if labels.any():
                    write_bytes(self._path(image), self._png(labels))
                self._write(self.classes, ended)
            if not labels.any():
                self._path(image).unlink(missing_ok=True)
            image.done, self._done = done, ended
            image.revision += 1
        return self.state()

    def set_classes(self, classes: list[Class], revision: int) -> State:
        """Replace the classes.

        Raises
        ------
        ConflictError
            The classes are not at this revision any more.
        SettingsError
            Two classes have one number or name, or one that is gone is in use.
        """
        if len({c.number for c in classes}) < len(classes) or len({c.name for c in classes}) < len(classes):
            raise SettingsError("two classes have one name; give each its own")
        kept = {c.number for c in classes}
        with self._lock:  # also while the labels are read, so that nobody saves a class that goes
            if revision != self._classes_revision:
                raise ConflictError("the classes were changed from another window; make your change once more")
            gone = {c.number: c.name for c in self.classes if c.number not in kept}
            for number, image in enumerate(self._images if gone else []):
                labels = self.labels(number)
                found = [] if labels is None else [n for n in gone if (labels == n).any()]
                if found:
                    raise SettingsError(f"the class {gone[found[0]]} is used in {image.name}; paint over it first")
            self._write(classes, self._done)
            self.classes = classes
            self._classes_revision += 1
        return self.state()

    def exported(self, format: str, only_done: bool = False) -> tuple[bytes, int, str]:
        """A zip archive of all labelled images in a format, how many images it has, and a sentence or "".

        It has the photographs, too, if readers of the format expect them beside the labels, and they are not too large.

        Raises
        ------
        SettingsError
            No image is labelled (or done), or the format needs a module that is not installed.
        """
        exporter = EXPORTERS[format]
        exporter.check()
        files: dict[str, bytes] = {}
        photographs: dict[str, Path] = {}
        parts: list[Any] = []
        count = 0
        for number, image in enumerate(self._images):
            labels = self.labels(number) if image.done or not only_done else None
            if labels is None:
                continue
            count += 1
            place = read_georeference(image.source) if exporter.placed else None
            pixels, source = labels.astype(np.int32), image.source
            label_map = LabelMap(
                pixels, image.name, source, names=self._names, colours=self._colours, georeference=place
            )
            stem = self._stems[image.name]
            if exporter.image is not None:
                made = exporter.image(label_map, stem, None)
                files.update(made.files)
                photographs.update(made.links)
            if exporter.part is not None:
                parts.append(exporter.part(label_map, stem))
        if not count:
            raise SettingsError(f"no image is {'done' if only_done else 'labelled'} yet")
        if exporter.together is not None:
            files.update(exporter.together(parts, None))
        kept, note = _small_enough(photographs)
        return zipped(chain(files.items(), ((name, path.read_bytes()) for name, path in kept.items()))), count, note

    @property
    def _names(self) -> dict[int, str]:
        return {c.number: c.name for c in self.classes}

    @property
    def _colours(self) -> dict[int, tuple[int, int, int]]:
        return {c.number: tuple(bytes.fromhex(c.colour[1:])) for c in self.classes}  # type: ignore[misc]

    def _png(self, labels: NDArray[np.uint8]) -> bytes:
        return label_png(labels.astype(np.int32), self._names, self._colours)

    def _path(self, image: _Image) -> Path:
        return self.folder / f"{self._stems[image.name]}_labels.png"

    def _write(self, classes: list[Class], done: set[str]) -> None:
        saved = _Saved(version=1, classes=classes, stems=self._stems, done=sorted(done))
        write_bytes(self.folder / SAVED, json.dumps(saved.model_dump(), indent=1, ensure_ascii=False).encode())


class Projects:
    """The projects of a server: the one of its folder, which stays, and those of uploads, forgotten when idle.

    Parameters
    ----------
    folder : project of the folder that the server was started with, or None
    root : folder for the projects of uploads, which is deleted when the server ends
    megabytes, images : of all uploads together, and of one project
    """

    def __init__(self, folder: Project | None, root: Path, megabytes: int, images: int) -> None:
        self.folder, self.megabytes, self.images = folder, megabytes, images
        self._root, self._lock = root, Lock()
        self._all: dict[str, Project] = {} if folder is None else {folder.id: folder}

    IDLE = 24 * 3600.0
    MOST = 100

    def new(self, classes: list[Class]) -> Project:
        """Raises SettingsError when there are too many."""
        with self._lock:
            now = time.monotonic()
            self._all = {id_: one for id_, one in self._all.items() if one is self.folder or now - one.used < self.IDLE}
            if len(self._all) >= self.MOST:
                raise SettingsError(f"this server has {plural(self.MOST, 'project')} of uploads already; try later")
            path = self._root / f"project-{secrets.token_hex(16)}"
            path.mkdir()
            project = Project(path, classes=classes)
            self._all[project.id] = project
            return project

    def get(self, id_: str) -> Project | None:
        project = self._all.get(id_)
        if project is not None:
            project.used = time.monotonic()
        return project

    def make_room(self, project: Project, size: int) -> None:
        """Count an upload of this many bytes. Raises SettingsError when there is no room for it."""
        with self._lock:
            if project is self.folder:
                raise SettingsError("this project has the images of a folder; put more images there, and start again")
            if len(project) >= self.images:
                raise SettingsError(
                    f"a project of uploads has up to {plural(self.images, 'image')}; serve their folder"
                )
            if sum(one.size for one in self._all.values()) + size > self.megabytes * 1e6:
                raise SettingsError(f"the uploads fill the {self.megabytes} MB of this server; serve their folder")
            project.size += size


def _small_enough(photographs: dict[str, Path]) -> tuple[dict[str, Path], str]:
    """The photographs that an archive can hold, and a sentence about those that are left out, or ""."""
    there = {name: path for name, path in photographs.items() if path.is_file()}
    gone, size = len(photographs) - len(there), sum(path.stat().st_size for path in there.values()) / 1e6
    if size > MOST_MEGABYTES:
        folder = Path(next(iter(there))).parent.as_posix()
        return {}, f"the photographs have {size:.0f} MB and are left out; copy them to {folder}"
    return (
        there,
        f"{plural(gone, 'photograph is', 'photographs are')} left out, because the file is gone" if gone else "",
    )


def unpacked(packed: bytes, shape: tuple[int, int], name: str) -> NDArray[np.uint8]:
    """Inflate the labels of an image, and no more than it has pixels. Raises SettingsError."""
    size = shape[0] * shape[1]
    try:
        data = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error as error:
        raise SettingsError(f"{name}: the labels are not deflated bytes") from error
    if len(data) != size:
        raise SettingsError(f"{name}: there are labels of {len(data)} pixels, not of {size}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
