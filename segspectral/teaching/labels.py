"""Labels of some pixels of a folder's images: one CSV file, or a folder with a file for each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import SettingsError, about
from segspectral.files import composed, read_file
from segspectral.images.reader import image_size
from segspectral.seeds.files import SEED_SUFFIXES, csv_lines, pixel, read_seeds
from segspectral.wording import few, first_line, plural

__all__ = ["UNKNOWN", "Given", "Labels", "names_of", "painted", "read_labels"]

HEADER = ("image", "row", "col", "class")

UNKNOWN = "unknown"
"""The name of what belongs to no class with certainty; no class may have this name."""

NAMES = "names.txt"
"""A file of this name in a folder of label images: line 3 is the name of the number 3."""

ENDING = "_labels"
"""What the names of label images end with that segspectral writes."""


class Given(NamedTuple):
    """The labels of one image: P pixels, from 0, and the number 0..K-1 of the class of each."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    classes: NDArray[np.int64]
    source: str
    """Where they come from, in messages."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of some pixels of some images.

    Parameters
    ----------
    classes : names, in the order of their numbers
    given : image -> its labels
    notes : sentences for the user
    """

    classes: tuple[str, ...]
    given: Mapping[Path, Given]
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> int:
        """How many pixels have labels."""
        return sum(len(one.rows) for one in self.given.values())


_Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Rows, columns and classes of some pixels."""


@dataclass
class _Collected:
    """Labels while they are read: image -> parts of rows, columns and classes; classes in order of appearance."""

    classes: dict[str, str] = field(default_factory=dict)
    """Name -> where it was first seen."""
    parts: dict[Path, list[_Part]] = field(default_factory=dict)
    sources: dict[Path, str] = field(default_factory=dict)

    def number(self, name: str, where: str) -> int:
        """The number of a class. Raises SettingsError if the name is reserved, or like another one."""
        name = name.strip()
        if not name or not name.isprintable():
            raise SettingsError("a class needs a name of printable characters", where)
        if name.casefold() == UNKNOWN:
            raise SettingsError(
                f"no class may be called '{name}': it is the name of what is no class for certain", where
            )
        if name not in self.classes:
            same = next((known for known in self.classes if _plain(known) == _plain(name)), None)
            if same is not None:
                raise SettingsError(
                    f"the class '{name}' is written '{same}' at {self.classes[same]}; write one class in one way", where
                )
            self.classes[name] = where
        return list(self.classes).index(name)

    def add(self, image: Path, part: _Part, source: str) -> None:
        self.parts.setdefault(image, []).append(part)
        self.sources.setdefault(image, source)


def _plain(name: str) -> str:
    """A name without what is easily mistyped: case and blanks.

    >>> _plain("Tall  Tree") == _plain("tall tree ")
    True
    """
    return " ".join(name.casefold().replace("_", " ").split())


def read_labels(path: Path | Sequence[Path], images: Sequence[Path], names: Mapping[int, str] | None = None) -> Labels:
    """Read labels, before any image is decoded.

    Parameters
    ----------
    path : a CSV file with the header ``image,row,col,class``, pixels from 0, in which lines without a class do not
        count; or a folder with a label image (0 is unknown), a JSON file of labelme or a CSV file ``row,col,label`` for
        some of the images, of the image's name; or several of these
    images : all images of the folder
    names : number -> class, for label images; by default line N of ``names.txt`` in the folder, or "class N"

    Raises
    ------
    SettingsError
        One sentence that names the file, and the line if there is one: it cannot be read, names an unknown image, has a
        pixel outside its image, or there are fewer than two classes, two that differ by case or blanks only, or one
        called "unknown".
    ImageError
        The header of an image with labels cannot be read.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    for one in paths:
        if not one.exists():
            raise SettingsError("there is no such file or folder of labels", one)
    made, notes = _Collected(), list[str]()
    if names and not any(one.is_dir() for one in paths):
        raise SettingsError("names belong to the numbers in label images; this file has names of its own", paths[0])
    for one in paths:
        if one.is_dir():
            notes += _of_folder(one, images, dict(names or {}), made)
        else:
            notes += _of_table(one, images, made)
    return _joined(made, ", ".join(str(one) for one in paths), notes)


def painted(maps: Iterable[tuple[Path, NDArray[np.integer]]], names: Mapping[int, str], most: int) -> Labels:
    """The labels of label maps of images, as a person paints them.

    Parameters
    ----------
    maps : images with the number of the class of each pixel, (H, W), 0 where it has none
    names : number -> class; the classes are all of these, by their numbers
    most : if an image has more labels than this, this many are drawn at random

    Raises
    ------
    SettingsError
        Fewer than two classes are painted, or the names of classes are as ``read_labels`` refuses them.
    """
    source, made, rng = "what is painted", _Collected(), np.random.default_rng(0)
    place = {number: made.number(names[number], f"class {number}") for number in sorted(names)}
    numbers = np.array([place.get(number, 0) for number in range(max(names, default=0) + 1)], np.int64)
    for image, labels in maps:
        at = np.flatnonzero(labels)
        if len(at) > most:
            at = np.sort(rng.choice(at, most, replace=False))
        if len(at):
            rows, cols = np.divmod(at, labels.shape[1])
            made.add(image, (rows, cols, numbers[labels.reshape(-1)[at]]), source)
    return _joined(made, source, [])


def _joined(made: _Collected, where: str, notes: list[str]) -> Labels:
    """What was collected. Raises SettingsError if there are fewer than two classes."""
    if not made.parts:
        raise SettingsError("; ".join(["has no labels", *notes]), where)
    used = sorted({number for parts in made.parts.values() for *_, of in parts for number in np.unique(of).tolist()})
    if len(used) < 2:
        raise SettingsError(
            f"has only the class '{list(made.classes)[used[0]]}'; give labels of two classes at least", where
        )
    if missing := [name for number, name in enumerate(made.classes) if number not in used]:
        notes.append(f"no pixel is labelled {few(missing)}, so nothing will be")
    given = {
        image: Given(
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
            made.sources[image],
        )
        for image, parts in made.parts.items()
    }
    return Labels(tuple(made.classes), given, tuple(notes))


def shape_of(image: Path) -> tuple[int, int]:
    """(H, W) of an image as it is read, from its header. Raises ImageError."""
    import PIL.Image
    from PIL.ExifTags import Base

    width, height = image_size(image)
    try:
        with PIL.Image.open(image, formats=("JPEG", "PNG", "WEBP")) as picture:
            turned = picture.getexif().get(Base.Orientation, 1) > 4
    except (OSError, ValueError, SyntaxError):
        turned = False
    return (width, height) if turned else (height, width)


def names_of(images: Sequence[Path], among: Sequence[Path]) -> list[str]:
    """The shortest end of the path of each image by which ``read_labels`` finds it among these."""
    find = _Finder(among)
    return [find.shortest(image) for image in images]


class _Finder:
    """Finds the image that a text means: its path, the end of its path, or its name with or without the suffix."""

    def __init__(self, images: Iterable[Path]) -> None:
        self._by: dict[str, list[Path]] = {}
        for image in images:
            parts = image.parts
            ends = {"/".join(parts[place:]) for place in range(len(parts))} | {image.as_posix()}
            for text in map(composed, ends | {str(Path(end).with_suffix("")).replace("\\", "/") for end in ends}):
                self._by.setdefault(text, []).append(image)

    def __call__(self, text: str, where: object) -> Path:
        found = self._by.get(composed(text.replace("\\", "/").removeprefix("./")), [])
        if len(found) == 1:
            return found[0]
        if not found:
            raise SettingsError(f"there is no image '{text}' in the folder", where)
        raise SettingsError(f"'{text}' may be {few([str(one) for one in found])}; write more of its path", where)

    def shortest(self, image: Path) -> str:
        """The shortest end of the path of an image by which it is found."""
        ends = ("/".join(image.parts[-count:]) for count in range(1, len(image.parts)))
        found = next((end for end in ends if self._by[composed(end)] == [image]), image.as_posix())
        # What begins like a formula is changed when a table is written, so that programs do not run it.
        return f"./{found}" if found[0] in "=+-@" else found


def _of_table(path: Path, images: Sequence[Path], made: _Collected) -> list[str]:
    """Collect the lines of a table; a sentence about those without a class, if there are some."""
    find, shapes, empty = _Finder(images), dict[Path, tuple[int, int]](), 0
    cells: dict[Path, list[tuple[int, int, int]]] = {}
    for number, (name, row_text, col_text, label) in csv_lines(path, HEADER):
        where = f"{path}, line {number}"
        image = find(name, where)
        if image not in shapes:
            shapes[image] = shape_of(image)
        row, col = pixel(row_text, col_text, shapes[image], where)
        if not label:
            empty += 1
            continue
        cells.setdefault(image, []).append((row, col, made.number(label, where)))
    for image, found in cells.items():
        rows, cols, of = np.array(found, np.int64).T
        made.add(image, (rows, cols, of), str(path))
    some = plural(empty, "line has no class and does", "lines have no class and do")
    return [f"{path}: {some} not count"] if empty else []


def _of_folder(path: Path, images: Sequence[Path], names: dict[int, str], made: _Collected) -> list[str]:
    """Collect the files of a folder; sentences about what was left out."""
    listing = path / NAMES
    if not names and listing.is_file():
        try:
            lines = read_file(listing).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot be read as names in UTF-8 ({first_line(error)})", listing) from error
        names = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
        for number, name in names.items():
            made.number(name, f"{listing}, line {number}")
    else:
        for number in sorted(names):
            made.number(names[number], f"the name of {number}")
    wanted = {composed(image.stem): image for image in images}
    if len(wanted) < len(images):
        raise SettingsError("images of one name cannot be told apart in a folder of labels; give a CSV file", path)
    strangers, seen = [], dict[Path, Path]()
    for file in sorted(file for file in path.iterdir() if file.suffix.lower() in SEED_SUFFIXES):
        stem = composed(file.stem)
        image = wanted.get(stem, wanted.get(stem.removesuffix(ENDING)))
        if image is None or file in images:
            strangers.append(file.name)
            continue
        if image in seen:
            raise SettingsError(f"{seen[image]} has labels of the same image; leave one of them", file)
        seen[image] = file
        with about(file):
            seeds = read_seeds(file, shape_of(image), fewest=1)
        called = {**seeds.names} or names
        rows, cols = np.nonzero(seeds.labels)
        numbers, place = np.unique(seeds.labels[rows, cols], return_inverse=True)
        classes = [made.number(called.get(number, f"class {number}"), str(file)) for number in numbers.tolist()]
        made.add(image, (rows, cols, np.array(classes, np.int64)[place]), str(file))
    if not seen and strangers:
        raise SettingsError(f"no file has the name of an image of the folder: {few(strangers)}", path)
    left = plural(len(strangers), "file belongs", "files belong")
    return [f"{path}: {left} to no image: {few(strangers)}"] if strangers else []
