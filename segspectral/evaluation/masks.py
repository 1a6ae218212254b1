"""The meaning of the values in a set of masks: which values are classes, and which one is void.

A mask file stores numbers, and programs store the same mask in many ways: 0 and 1, 0 and 255, booleans, a palette of
black and white. A single file does not tell whether its 255 is the object, a class or void. So the values of all files
are counted first (``Survey``), and one decision holds for all files (``meaning_of``). If the files leave it open, an
error asks for ``--void``; the program never guesses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError

__all__ = ["Mask", "Meaning", "Survey", "Void", "meaning_of", "translated"]

Void = int | Literal["none"]
"""The declared void value, or "none" if every value is a class."""

FULL = (255, 65535)
"""The largest values of 8 and 16 bits. They mean the object of a binary mask, or void."""

MOST_CLASSES = 1024
"""Masks with more ids are refused as instance maps. The usual data sets have far fewer classes: COCO-Stuff has 171."""

MOST_IN_ONE = 64
"""A mask with more values is refused as a grey picture: few photographs show that many classes, and most grey pictures
have more than 100 of the 256 values."""

Values = NDArray[np.integer] | NDArray[np.bool_]
Colour = tuple[int, int, int]
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as its file stores it: ``values`` (H, W), integers or bool, and ``palette`` (n, 3) uint8 or None."""

    values: Values
    palette: NDArray[np.uint8] | None = None

    def colours(self) -> dict[int, Colour]:
        """Return the colour of every palette index that occurs."""
        palette = self.palette if self.palette is not None else np.zeros((0, 3), np.uint8)
        found: dict[int, Colour] = {}
        for index in np.unique(self.values).tolist():
            r, g, b = palette[index].tolist() if index < len(palette) else BLACK
            found[index] = (r, g, b)
        return found

    def object(self, by_colour: bool) -> NDArray[np.bool_]:
        """Return the object of a binary mask (H, W): white pixels if ``by_colour`` and it has a palette, else not 0."""
        if self.palette is None or not by_colour:
            return np.asarray(self.values != 0)
        white = [index for index, colour in self.colours().items() if colour == WHITE]
        return np.isin(self.values, white)


@dataclass
class Survey:
    """The number of pixels of every value in a set of masks, separately for plain numbers, booleans and palettes.

    ``areas`` counts the blocks of 2 x 2 pixels with equal values. A value that occurs only at soft edges has few.
    """

    plain: Counter[int] = field(default_factory=Counter)
    booleans: Counter[int] = field(default_factory=Counter)
    indices: Counter[int] = field(default_factory=Counter)
    areas: Counter[int] = field(default_factory=Counter)
    first: dict[int, Path | str] = field(default_factory=dict)
    colours: dict[int, tuple[Colour, Path | str]] = field(default_factory=dict)
    clash: str = ""
    most: tuple[int, Path | str] = (0, "")
    black_and_white: bool = True

    def add(self, where: Path | str, mask: Mask) -> None:
        """Count one mask; ``where`` names it in messages."""
        numbers = mask.values.astype(np.uint8) if mask.values.dtype == bool else mask.values
        values, pixels = np.unique(numbers, return_counts=True)
        counts = dict(zip(values.tolist(), pixels.tolist(), strict=True))
        if len(counts) > 2:
            corner = numbers[..., 1:, 1:]
            same = (
                (corner == numbers[..., :-1, :-1])
                & (corner == numbers[..., 1:, :-1])
                & (corner == numbers[..., :-1, 1:])
            )
            blocks, number = np.unique(corner[same], return_counts=True)
            self.areas.update(dict(zip(blocks.tolist(), number.tolist(), strict=True)))
        for value in counts:
            self.first.setdefault(value, where)
        self.most = max(self.most, (len(counts), where), key=lambda pair: pair[0])
        if mask.values.dtype == bool:
            self.booleans.update(counts)
        elif mask.palette is None:
            self.plain.update(counts)
        else:
            self.indices.update(counts)
            for index, colour in mask.colours().items():
                other, place = self.colours.setdefault(index, (colour, where))
                if other != colour and not self.clash:
                    self.clash = f"the palette index {index} is the colour {other} in {place} but {colour} in {where}"
                self.black_and_white &= colour in (BLACK, WHITE)

    def object(self) -> int | None:
        """Return the value of the object if all masks are binary, in one or in several encodings; else None.

        Booleans and palettes of black and white are always binary. Numbers are binary if all of them are 0 and 1, or
        all are 0 and 255 (or 65535).
        """
        numbers = set(self.plain)
        if not self.black_and_white:
            if self.clash:
                return None
            numbers |= set(self.indices)
        for value in (1, *FULL):
            if numbers <= {0, value} and (value in numbers or value == 1):
                return value
        return None

    def values(self) -> Counter[int]:
        """Return the number of pixels of every value; for palettes the value is the index.

        Raises
        ------
        DatasetError
            One palette index has two colours, so it is unknown whether the index or the colour is the class.
        """
        if self.clash:
            raise DatasetError(
                f"{self.clash}, so it is not known which of them is the class: save all masks with one palette, or "
                "without a palette"
            )
        return self.plain + self.booleans + self.indices


@dataclass(frozen=True)
class Meaning:
    """The meaning of the values in a set: class k has the value ``ids[k]``, and ``void`` is the label of void.

    ``binary`` means two classes, background and object, however a file stores them. ``said`` is the decision as a
    line for the user.
    """

    classes: tuple[str, ...]
    ids: tuple[int, ...]
    void: int | None
    binary: bool
    by_colour: bool
    said: str
    table: dict[int, int]

    def labels(self, mask: Mask) -> NDArray[np.int32]:
        """Return class indices and the void label (H, W); -2 marks a value that the survey did not count."""
        if self.binary and (mask.values.dtype == bool or (mask.palette is not None and self.by_colour)):
            return mask.object(self.by_colour).astype(np.int32)
        return translated(mask.values, self.table, -2)


def meaning_of(survey: Survey, names: Sequence[str], void: Void | None, folder: Path) -> Meaning:
    """Decide what the values mean in all masks of a folder.

    Parameters
    ----------
    survey : Survey
        All masks of the folder.
    names : sequence of str
        The declared classes with the ids 0, 1, ...; if empty, the ids that occur are the classes.
    void : int, "none" or None
        The declared void value; None if nothing is declared.

    Raises
    ------
    DatasetError
        A value may be void or a class and nothing is declared, the values are those of a grey picture, or a value is
        not among the declared classes.
    """
    one = survey.object() if void is None or void == "none" else None
    if one is not None and len(names) in (0, 2):
        lit = {v != 0 for v in (*survey.plain, *survey.booleans)}
        lit |= {c == WHITE if survey.black_and_white else v != 0 for v, (c, _) in survey.colours.items()}
        if not names and len(lit) < 2:
            raise _alone(folder, one if lit.pop() else 0)
        classes = tuple(names) or ("background", "object")
        said = f"masks: 2 classes, 0 and {one}, none void"
        return Meaning(classes, (0, one), None, True, survey.black_and_white, said, {0: 0, one: 1})
    pixels = survey.values()
    total = pixels.total()
    share = pixels.pop(void, 0) / total if isinstance(void, int) else 0.0
    if not pixels:
        raise DatasetError(f"the masks hold only the void value {void}, there is nothing to score", folder)
    doubtful = sorted(v for v in pixels if (v in FULL or v < 0) and not 0 <= v < len(names))
    if void is None and doubtful:
        v = doubtful[-1] if doubtful[-1] in FULL else doubtful[0]
        raise DatasetError(
            f"the masks hold {_listed(sorted(pixels))}, and it is not declared whether {v} "
            f"({pixels[v] / total:.1%} of the pixels, first in {survey.first[v]}) is void or a class: give --void {v} "
            f"(in Python void={v}) if these pixels are not to be scored, or --void none if {v} is a class; if the "
            "masks show one object, save all of them with the same two values, without soft edges",
            folder,
        )
    if names:
        ids: tuple[int, ...] = tuple(range(len(names)))
        unknown = sorted(set(pixels) - set(ids))
        if unknown:
            raise DatasetError(
                f"holds the unknown label id {unknown[0]}, but classes.txt names the ids 0 to {len(names) - 1}",
                survey.first[unknown[0]],
            )
    else:
        ids = tuple(sorted(pixels))
        _check_classes(survey, pixels, folder)
        if len(ids) == 1:
            raise _alone(folder, ids[0])
        if ids[0] < 0:
            raise DatasetError(f"holds the id {ids[0]}, ids of classes begin at 0", survey.first[ids[0]])
    classes = tuple(names) or tuple(str(v) for v in ids)
    label = None if not isinstance(void, int) else void if not 0 <= void < len(classes) else -1
    table = {v: k for k, v in enumerate(ids)} | ({void: label} if isinstance(void, int) and label is not None else {})
    what = f"void {void} ({share:.1%} of the pixels)" if label is not None else "none void"
    said = f"masks: {len(classes)} classes, {_listed(ids)}, {what}"
    return Meaning(classes, ids, label, False, False, said, table)


def translated(values: Values, table: dict[int, int], default: int) -> NDArray[np.int32]:
    """Look up values (H, W) in a table; values that are not in it become ``default``."""
    found, inverse = np.unique(values, return_inverse=True)
    new = np.array([table.get(v, default) for v in found.tolist()], dtype=np.int32)
    return new[inverse.reshape(values.shape)]


def _check_classes(survey: Survey, pixels: Counter[int], folder: Path) -> None:
    """Refuse grey pictures: they have many values in one mask, or values between black and white that form no areas."""
    count, where = survey.most
    low, high = min(pixels), max(pixels)
    between = [v for v in pixels if 16 < v < high]
    areas = sum(survey.areas[v] for v in between) / max(1, sum(pixels[v] for v in between))
    # JPEG changes white to values just below it. The pixels of a class form blocks of equal values, but the values at
    # a soft edge change from pixel to pixel.
    noise = any(v > 239 for v in between) or (between and areas < 0.25)
    if count > MOST_IN_ONE or (low < 6 and 249 < high <= 255 and noise):
        raise DatasetError(
            f"holds {count} values and all masks together {_listed(sorted(pixels))}: this is a grey picture "
            "or a mask with soft edges (scaled or saved with loss), not a map of classes; save masks without loss and "
            "with one value per class, 0, 1, 2, ...",
            where,
        )
    if len(pixels) > MOST_CLASSES:
        raise DatasetError(
            f"the masks hold {len(pixels)} different ids, more than the {MOST_CLASSES} that can be classes: "
            "these may be maps of single objects",
            folder,
        )


def _alone(folder: Path, value: int) -> DatasetError:
    return DatasetError(
        f"all masks hold only the class {value}, so that a prediction of one segment would always be right; "
        "name all classes in classes.txt, one a line, if this is meant",
        folder,
    )


def _listed(values: Sequence[int]) -> str:
    """Return ``0, 1 and 255``; for many values only the first and the last."""
    if len(values) > 8:
        return f"{len(values)} values from {values[0]} to {values[-1]}"
    return " and ".join(filter(None, (", ".join(str(v) for v in values[:-1]), str(values[-1]))))
