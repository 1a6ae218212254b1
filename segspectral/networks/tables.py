"""Text tables in the dialects that spreadsheets, statistics packages and network programs write."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, SettingsError
from segspectral.files import open_file
from segspectral.networks.arrays import check_unpacked, dense, is_array_file, load_arrays, load_sparse, most_unpacked

__all__ = [
    "SEPARATORS",
    "Table",
    "is_number",
    "is_word",
    "match_rows",
    "plain_word",
    "quoted",
    "read_bytes",
    "read_classes",
    "read_numbers",
    "read_table",
    "read_text",
    "to_number",
    "whole_names",
]

SEPARATORS = {"tab": "\t", "semicolon": ";", "comma": ",", "bar": "|", "blanks": None}
NODES = {"node", "nodes", "id", "name", "names"}
CLASSES = {"label", "labels", "class", "community"}
SAMPLE = 1000
"""Lines from which the separator and the columns are recognised."""

NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[-+]?\d{1,3}((\.\d{3})+,\d+|(,\d{3})+\.\d+)", re.ASCII)
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}
MAYBE_ROW = re.compile(r"[#%][^\s#%]")
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a text file: iterating gives the number of each line, from 1, and its cells.

    Parameters
    ----------
    text : with line breaks as \\n
    separator : between cells; None: any blanks
    marks : beginnings of comment lines
    kept : numbers of lines that begin with a mark and are rows all the same
    comments : how many lines are left out as comments
    doubtful : how many of these could be rows
    encoding : a word for the user if it is not Unicode, else empty
    """

    path: Path
    text: str
    separator: str | None
    marks: tuple[str, ...] = ()
    kept: frozenset[int] = frozenset()
    comments: int = 0
    doubtful: int = 0
    encoding: str = ""

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for number, cells, marked in _records(self.path, self.text, self.separator, self.marks):
            if not marked or number in self.kept:
                yield number, cells

    def __str__(self) -> str:
        """Separator, comments and encoding in words."""
        name = next(name for name, mark in SEPARATORS.items() if mark == self.separator)
        parts = [f"columns separated by {name if name == 'blanks' else f'{name}s'}"]
        if self.kept:
            parts.append(f"{len(self.kept)} lines that begin with {' or '.join(self.marks)} are rows, not comments")
        if self.comments:
            hint = " (--comments none reads them)" if self.doubtful else ""
            parts.append(f"{self.comments} comment line{'s' * (self.comments != 1)} left out{hint}")
        return ", ".join(parts + [self.encoding] * bool(self.encoding))


def read_bytes(path: Path) -> bytes:
    """The contents of a file, unpacked if it is gzip.

    Raises
    ------
    DatasetError
    """
    try:
        with open_file(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return file.read()
            with gzip.open(file) as stream:
                data = stream.read(most_unpacked(path) + 1)
        check_unpacked(path, len(data))
        return data
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"cannot be read ({error})", path) from error


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and its encoding in words if that had to be guessed.

    Raises
    ------
    DatasetError
        The file is no text.
    """
    data = read_bytes(path)
    if data.startswith(b"PK\x03\x04"):
        raise DatasetError("cannot be read as text: it is a zip file or a workbook; save the sheet as CSV", path)
    encoding = ""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise DatasetError("cannot be read: its mark says UTF-16, and it is not", path) from error
        # Every byte is a character of Latin-1; what it has as control characters are signs in Windows-1252.
        text = data.decode("cp1252", "replace") if re.search(rb"[\x80-\x9f]", data) else data.decode("latin-1")
        encoding = "read as Latin-1 (it is not UTF-8)"
    text = text.rstrip("\x1a")
    if found := re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text):
        raise DatasetError(f"cannot be read: it is no text (a character {ord(found[0]):#04x} at {found.start()})", path)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def read_table(
    path: str | os.PathLike[str],
    *,
    separator: str | None = None,
    comments: str | None = None,
    words: Collection[str] = frozenset(NODES),
) -> Table:
    """A text file as a table.

    Parameters
    ----------
    separator : a name in ``SEPARATORS``; None finds it
    comments : what comment lines begin with, or "none". None: lines that begin with # or % are comments, unless they
        read as rows: without a blank after the mark, with as many cells as the rows, numbers where these have
        numbers, and with names that occur in other rows
    words : of headers, which are comments after a mark

    Raises
    ------
    DatasetError, SettingsError
    """
    path = Path(path)
    if separator is not None and separator not in SEPARATORS:
        raise SettingsError(f"a separator is one of {', '.join(SEPARATORS)}, not {separator!r}")
    text, encoding = read_text(path)
    if told := re.match(r"sep=(.)\n", text):  # a line that spreadsheets write for themselves
        text = text[told.end() - 1 :]
        separator = separator or next((name for name, mark in SEPARATORS.items() if mark == told[1]), None)
    marks = ("#", "%") if comments is None else () if comments == "none" else (comments,)
    plain = (line for line in map(str.strip, io.StringIO(text)) if line and not line.startswith(marks))
    sample = list(islice(plain, SAMPLE))
    if not sample and comments is None:
        sample = [line for line in map(str.strip, io.StringIO(text)) if MAYBE_ROW.match(line)][:SAMPLE]
    mark = _separator(sample) if separator is None else SEPARATORS[separator]
    if not marks or not re.search(rf"(?m)^ *({'|'.join(map(re.escape, marks))})", text):
        return Table(path, text, mark, marks, encoding=encoding)
    begun = [(number, cells) for number, cells, marked in _records(path, text, mark, marks) if marked]
    maybe = [row for row in begun if MAYBE_ROW.match(row[1][0])] if comments is None else []
    kept = _rows_among(maybe, Table(path, text, mark, marks), words)
    return Table(path, text, mark, marks, kept, len(begun) - len(kept), len(maybe) - len(kept), encoding)


def _records(
    path: Path, text: str, separator: str | None, marks: tuple[str, ...]
) -> Iterator[tuple[int, list[str], bool]]:
    """The number of each line that is not empty, its cells, and whether it begins with a mark."""
    lines = enumerate(io.StringIO(text), start=1)
    for number, line in lines:
        line = line.strip(" \n")
        marked = line.startswith(marks)
        if '"' not in line or marked or line.endswith("}"):
            cells = _cells(line, separator)
        else:
            # A quoted cell may go on over lines; the reader takes as many as it needs.
            taken = [0]
            further = _counted((following for _, following in lines), taken)
            first = line if separator is not None else line.replace("\t", " ")
            try:
                cells = next(
                    csv.reader(
                        chain([first + "\n"], further), delimiter=separator or " ", skipinitialspace=True, strict=True
                    )
                )
            except csv.Error as error:
                if taken[0]:
                    raise DatasetError(
                        f"{path}, line {number}: a cell begins with a quotation mark that does not end it ({error})"
                    ) from error
                cells = _cells(line, separator)  # a program that does not quote, and a name with quotation marks
            if separator is None and cells and not cells[-1]:
                cells.pop()
        cells = list(map(str.strip, cells))
        if any(cells):
            yield number, cells, marked


def _counted(lines: Iterator[str], taken: list[int]) -> Iterator[str]:
    for line in lines:
        taken[0] += 1
        yield line


def _cells(line: str, separator: str | None) -> list[str]:
    """Cells of a line without quoted ones; a dict at the end, as networkx writes it, is one cell."""
    if line.endswith("}") and (at := line.find("{")) > 0:
        head = line[:at].rstrip(" ")
        if separator is None or head.endswith(separator):
            return [*head.removesuffix(separator or "").split(separator), line[at:]]
    return line.split(separator)


def _separator(lines: list[str]) -> str | None:
    """The separator by which most lines have equally many cells, two or more; blanks if there is none."""
    lines = [line[: line.find("{")].rstrip(" ,;|") if line.endswith("}") and "{" in line else line for line in lines]
    found: dict[str | None, list[list[str]]] = {}
    for mark in (*SEPARATORS.values(),):
        rows = [_quick(line, mark) for line in lines]
        if rows and sum(len(row) > 1 for row in rows) * 2 >= len(rows):
            found[mark] = rows
    if "\t" in found:
        return "\t"

    def decimals(mark: str | None) -> bool:
        """Whether all commas are those of decimal numbers, if cells end at this mark."""
        commas = [cell for row in found.get(mark, []) for cell in row if "," in cell]
        return bool(commas) and all(DECIMAL_COMMA.fullmatch(cell) for cell in commas)

    if "," in found:
        for mark in (";", "|", None):
            if decimals(mark):
                return mark

    def rank(mark: str) -> tuple[float, bool, int]:
        """Equally many cells; no blanks at their ends, which prose has after its commas; many cells."""
        rows = found[mark]
        width, count = Counter(map(len, rows)).most_common(1)[0]
        return count / len(rows), not all(" " in (cell[:1] for cell in row[1:]) for row in rows), width

    marks = [mark for mark in (";", ",", "|") if mark in found]
    return max(marks, key=rank) if marks else None


def _quick(line: str, separator: str | None) -> list[str]:
    if '"' in line:
        try:
            return next(csv.reader([line], delimiter=separator or " ", skipinitialspace=False))
        except csv.Error:
            pass
    return line.split(separator)


def _rows_among(maybe: list[tuple[int, list[str]]], table: Table, words: Collection[str]) -> frozenset[int]:
    """Which lines that begin with a mark are rows."""
    if not maybe:
        return frozenset()
    widths: Counter[int] = Counter()
    text_at: set[int] = set()
    names: set[str] = set()
    marked_names = any(len(cells) > 1 and MAYBE_ROW.match(cells[1]) for _, cells in maybe)
    for i, (_, cells) in enumerate(table):
        widths[len(cells)] += 1
        names.update(cells[:2])
        marked_names = marked_names or (len(cells) > 1 and MAYBE_ROW.match(cells[1]) is not None)
        if i:  # the first may be a header
            text_at.update(j for j, cell in enumerate(cells) if j not in text_at and not is_number(cell))
    alone = not widths
    if alone:
        widths.update(len(cells) for _, cells in maybe)
    width = widths.most_common(1)[0][0]

    def is_row(cells: list[str]) -> bool:
        if len(cells) != width or width < 2 or plain_word(cells[0]) in words or plain_word(cells[1]) in words:
            return False
        if alone:
            return True
        numbers = all(j in text_at or is_number(cell) for j, cell in enumerate(cells))
        known = marked_names or (cells[1] in names and cells[0][1:] not in names)
        return known and (numbers or sum(widths.values()) == 1)

    return frozenset(number for number, cells in maybe if is_row(cells))


def read_numbers(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[list[str] | None, NDArray[np.float64]]:
    """Names of the nodes, None if they are not given, and (N, D) numbers.

    In text the first column holds names if it is headed so, or is not all numbers, or has all ``names`` of a graph.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if is_array_file(path):
        values = _array(path, ("features", "x", "X", "attributes", "data", "arr_0"))
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise DatasetError(f"attributes are (N, D) numbers, not {values.dtype} {values.shape}", path)
        return None, values.astype(np.float64)
    table, lines = _lines(path)
    header = lines[0][1] if not any(is_number(cell) for cell in lines[0][1][1:] or lines[0][1]) else None
    lines = lines[1:] if header is not None else lines
    if not lines:
        raise DatasetError("holds no numbers", path)
    width = len(lines[0][1])
    for number, cells in lines:
        if len(cells) != width:
            raise DatasetError(f"{path}, line {number}: has {len(cells)} columns, the first has {width}")
    first = _as_names([cells[0] for _, cells in lines], names)
    headed = header is not None and plain_word(header[0]) in NODES
    named = headed or not all(map(is_number, first)) or (width > 1 and set(names) <= set(first))
    if not named and header is not None and header[0] == "" and width > 1:
        # The index that pandas writes: of rows, in the order of the nodes.
        lines = [(number, cells[1:]) for number, cells in lines]
    values = np.empty((len(lines), len(lines[0][1]) - named))
    for row, (number, cells) in zip(values, lines, strict=True):
        for j, cell in enumerate(cells[named:]):
            try:
                row[j] = to_number(cell, table.separator) if is_number(cell) else float("no number")
            except ValueError as error:
                reason = str(error) if is_number(cell) else f"{quoted(cell)} is no number"
                raise DatasetError(f"{path}, line {number}: the attribute {reason}") from error
    if values.shape[1] == 0:
        raise DatasetError("holds names and no attributes", path)
    return (first if named else None), values


def read_classes(path: str | os.PathLike[str], names: Sequence[str] = ()) -> tuple[list[str] | None, NDArray[Any]]:
    """Names of the nodes, None if they are not given, and (N,) classes. ``names`` are those of a graph.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if is_array_file(path):
        return None, _array(path, ("labels", "y", "Y", "label", "arr_0")).ravel()
    _, lines = _lines(path)
    header = lines[0][1]
    if plain_word(header[0]) in NODES | CLASSES or (len(header) > 1 and plain_word(header[1]) in CLASSES):
        lines = lines[1:]
    for number, cells in lines:
        if len(cells) != len(lines[0][1]) or len(cells) > 2:
            raise DatasetError(f"{path}, line {number}: a line is a node and its class, or a class alone")
    if not lines:
        raise DatasetError("holds no classes", path)
    if len(lines[0][1]) == 1:
        return None, np.array([cells[0] for _, cells in lines])
    return _as_names([cells[0] for _, cells in lines], names), np.array([cells[1] for _, cells in lines])


def match_rows(
    path: str | os.PathLike[str], given: list[str] | None, rows: NDArray[Any], names: Sequence[str], what: str
) -> NDArray[Any]:
    """The rows in the order of the nodes.

    Raises
    ------
    DatasetError
        Nodes are without a row, or have two; or, without names, there are more or fewer rows than nodes.
    """
    if given is None:
        if len(rows) != len(names):
            raise DatasetError(f"has {len(rows)} rows of {what}, and the graph has {len(names)} nodes", path)
        return rows
    place = {name: i for i, name in enumerate(given)}
    if len(place) < len(given):
        twice = next(name for i, name in enumerate(given) if place[name] != i)
        raise DatasetError(f"the node {quoted(twice)} has two lines", path)
    missing = [name for name in names if name not in place]
    if missing:
        raise DatasetError(f"{len(missing)} of {len(names)} nodes have no {what}, such as {quoted(missing[0])}", path)
    return rows[[place[name] for name in names]]


def is_number(text: str) -> bool:
    """Whether a cell is a number, with a decimal point or comma; NaN and infinity are words that are no names."""
    return any(form.fullmatch(text) for form in (NUMBER, THOUSANDS)) or text.lower().lstrip("+-") in (
        "nan",
        "inf",
        "infinity",
    )


def to_number(text: str, separator: str | None) -> float:
    """The number in a cell; a comma alone is the decimal one.

    Raises
    ------
    ValueError
        The comma could as well part thousands: so it does where commas separate the columns, too.
    """
    if "," not in text:
        return float(text)
    if separator == "," and re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text):
        raise ValueError(
            f"{quoted(text)} may be {text.replace(',', '')} or {text.replace(',', '.')}; use a decimal point"
        )
    if THOUSANDS.fullmatch(text):
        text = text.replace(min(".,", key=text.rfind), "")
    return float(text.replace(",", "."))


def is_word(text: str) -> bool:
    """Whether a cell can name a column: a word, and not one for a missing value."""
    return text[:1].isalpha() and text.lower() not in MISSING and not is_number(text)


def plain_word(text: str) -> str:
    """A word of a header without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", text).lower()


def quoted(text: str) -> str:
    """A cell in a message, on one line and not too long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def whole_names(names: Sequence[str]) -> list[str] | None:
    """Names that are all numbers, as whole ones: "2.0" is "2". None if there are words among them.

    Raises
    ------
    ValueError
        All are numbers and some are not whole; its argument is the first such.
    """
    if not all(NUMBER.fullmatch(name) for name in names):
        return None
    whole = [name if name.isdigit() else _whole(name) for name in names]
    if None in whole:
        raise ValueError(names[whole.index(None)])
    return [name for name in whole if name is not None]


def _whole(name: str) -> str | None:
    value = float(name.replace(",", "."))
    return str(int(value)) if abs(value) < 2**53 and value.is_integer() else None


def _as_names(given: list[str], names: Sequence[str]) -> list[str]:
    """Names in a table as the graph spells them: node numbers may have become "2.0"."""
    if not set(given).isdisjoint(names):
        return given
    try:
        return whole_names(given) or given
    except ValueError:
        return given


def _lines(path: Path) -> tuple[Table, list[tuple[int, list[str]]]]:
    table = read_table(path, words=NODES | CLASSES)
    lines = list(table)
    if not lines:
        raise DatasetError("is empty", path)
    return table, lines


def _array(path: Path, keys: Sequence[str]) -> NDArray[Any]:
    arrays = load_arrays(path)
    if "format" in arrays:
        return dense(path, load_sparse(path, arrays))
    name = next((key for key in keys if key in arrays), None)
    if name is None:
        raise DatasetError(f"holds {', '.join(arrays)}; looked for is one of {', '.join(keys)}", path)
    return arrays[name]
