"""Seeds from files: label images, labelme's JSON, and CSV."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from segspectral.errors import SettingsError
from segspectral.files import parse_json, read_file
from segspectral.images.planes import PLANES, check_shape, read_plane
from segspectral.seeds.given import Seeds, seeds_of_shapes
from segspectral.wording import first_line

__all__ = ["SEED_SUFFIXES", "csv_lines", "pixel", "read_seeds"]

SEED_SUFFIXES = (*PLANES, ".json", ".csv")

MOST_BYTES = 64 * 2**20
"""The largest JSON or CSV file of seeds."""


def read_seeds(path: str | os.PathLike[str], shape: tuple[int, int], fewest: int = 2) -> Seeds:
    """The seeds of an image of ``shape`` (H, W).

    Parameters
    ----------
    path : a label image (PNG, TIFF or .npy) in which 0 is unknown; a JSON file of labelme, whose names are numbered
        from 1 in order of appearance; or a CSV file with the header row,col,label, pixels from 0 and numbers or names

    Raises
    ------
    SettingsError
        One sentence: the file cannot be read, has another size, lies outside the image, or has fewer than ``fewest``
        labels.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SEED_SUFFIXES:
        raise SettingsError(f"is not a file of seeds; seeds are {', '.join(SEED_SUFFIXES)}", path)
    if kind in PLANES:
        values = read_plane(path, "seeds")
        check_shape(values.shape, shape, "seeds", path)
        if values.dtype.kind == "f":
            if not (values == np.floor(values)).all():
                raise SettingsError("the labels of seeds are whole numbers, 0 is unknown", path)
            values = np.clip(values, -1, 2**31 - 1).astype(np.int64)
        return Seeds(values, source=str(path), fewest=fewest)
    return _of_labelme(path, shape, fewest) if kind == ".json" else _of_csv(path, shape, fewest)


def _read(path: Path) -> bytes:
    """The bytes of a JSON or CSV file. Raises SettingsError."""
    try:
        data = read_file(path)
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror or first_line(error)})", path) from error
    if len(data) > MOST_BYTES:
        raise SettingsError(f"has more than {MOST_BYTES // 2**20} MiB; store many labels as a label image", path)
    return data


def csv_lines(path: Path, header: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines of a CSV file that are not blank: number, from 2, and the cells of the columns ``header``.

    Spreadsheets write semicolons where a comma is the decimal point, and tabs and UTF-16 as "Unicode text".

    Raises
    ------
    SettingsError
        The file cannot be read, lacks a column, or a line is too short.
    """
    data = _read(path)
    try:
        text = data.decode("utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
        separator = next((mark for mark in ";\t" if mark in text.partition("\n")[0]), ",")
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"is not a CSV file in UTF-8 ({first_line(error)}); save it as one", path) from error
    found = [cell.strip().lower() for cell in rows[0]] if rows else []
    if not set(header) <= set(found):
        raise SettingsError(f"needs the header {','.join(header)}, and has {','.join(found)[:60] or 'no line'}", path)
    at = [found.index(name) for name in header]
    for number, line in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) <= max(at):
            raise SettingsError(
                f"has no cell for each of {','.join(header)}: {','.join(line)[:60]}", f"{path}, line {number}"
            )
        yield number, [line[place].strip() for place in at]


def pixel(row: str, col: str, shape: tuple[int, int], where: str) -> tuple[int, int]:
    """A pixel of an image of ``shape`` (H, W), from two cells. Raises SettingsError."""
    try:
        place = _whole(row), _whole(col)
    except (ValueError, OverflowError):
        raise SettingsError(f"the pixel '{row},{col}' is not two whole numbers, row and column from 0", where) from None
    if not (0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]):
        raise SettingsError(
            f"the pixel ({row}, {col}) is outside the image of {shape[0]} rows and {shape[1]} columns", where
        )
    return place


def _whole(cell: str) -> int:
    """A whole number, also as ``5.0``: programs write a column so that once had an empty cell."""
    try:
        return int(cell)
    except ValueError:
        if (number := float(cell)) != int(number):
            raise
        return int(number)


def _of_labelme(path: Path, shape: tuple[int, int], fewest: int) -> Seeds:
    try:
        found = parse_json(_read(path))
    except ValueError as error:
        raise SettingsError(f"is not a JSON file of labelme ({first_line(error)})", path) from error
    if not isinstance(found, dict) or not isinstance(found.get("shapes"), list):
        raise SettingsError("is not a JSON file of labelme; it has no list 'shapes'", path)
    height, width = found.get("imageHeight"), found.get("imageWidth")
    if isinstance(height, int) and isinstance(width, int):
        check_shape((height, width), shape, "seeds", path)
    return seeds_of_shapes(found["shapes"], shape, source=str(path), fewest=fewest)


def _of_csv(path: Path, shape: tuple[int, int], fewest: int) -> Seeds:
    cells: dict[tuple[int, int], str] = {}
    for number, (row, col, label) in csv_lines(path, ("row", "col", "label")):
        where = f"{path}, line {number}"
        if not label:
            raise SettingsError("has no label", where)
        cell = pixel(row, col, shape, where)
        if cells.setdefault(cell, label) != label:
            raise SettingsError(f"gives pixel {cell} the label {label}, but it has {cells[cell]}", where)
    labels = np.zeros(shape, np.int64)
    numbers = all(label.isdecimal() for label in cells.values())
    names = {} if numbers else {label: place for place, label in enumerate(dict.fromkeys(cells.values()), 1)}
    for cell, name in cells.items():
        labels[cell] = min(int(name), 2**31) if numbers else names[name]
    return Seeds(labels, {place: label for label, place in names.items()}, str(path), fewest)
