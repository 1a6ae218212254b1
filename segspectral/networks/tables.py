"""Readers for text tables in the dialects of spreadsheets, statistics packages and network programs."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from segspectral.errors import DatasetError, SettingsError
from segspectral.files import open_file
from segspectral.images.formats import HEAD, TEXT, Format, what_is
from segspectral.networks.arrays import check_unpacked, most_unpacked
from segspectral.networks.cells import is_number, plain_word
from segspectral.wording import plural

__all__ = ["NODES", "PACKED", "SAMPLE", "SEPARATORS", "Table", "read_bytes", "read_table", "read_text"]

SEPARATORS = {"tab": "\t", "semicolon": ";", "comma": ",", "bar": "|", "blanks": None}
NODES = {"node", "nodes", "id", "name", "names"}
SAMPLE = 1000
"""The separator and the columns are recognised from this many lines: enough for rare cells, and still instant."""

PACKED: Mapping[str, tuple[bytes, Callable[..., Any]]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\0", lzma.open),
}
"""Suffix -> the first bytes of a packed file, by which it is recognised, and the function that unpacks it."""

MAYBE_ROW = re.compile(r"[#%][^\s#%]")
"""A line that begins with a comment mark but may be a row, because names can begin with # or %."""

DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a text file; iteration yields the number of each line, starting at 1, and its cells.

    Parameters
    ----------
    text : text with \\n as line breaks
    separator : separator between cells; None for any blanks
    marks : beginnings of comment lines
    kept : numbers of lines that begin with a mark but are rows
    comments : number of lines that are left out as comments
    doubtful : number of comment lines that may be rows
    encoding : a note for the user if the text is not Unicode, else empty
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
        return ((number, cells) for number, cells, marked in self.records() if not marked or number in self.kept)

    def records(self) -> Iterator[tuple[int, list[str], bool]]:
        """Yield the number of each line that is not empty, its cells, and whether it begins with a mark."""
        lines, marks, separator = enumerate(io.StringIO(self.text), start=1), self.marks, self.separator
        for number, line in lines:
            line = line.strip(" \n")
            marked = line.startswith(marks)
            if '"' not in line or marked or line.endswith("}"):
                cells = _cells(line, separator)
            else:
                cells = self._quoted_cells(number, line, (following for _, following in lines))
            cells = list(map(str.strip, cells))
            if any(cells):
                yield number, cells, marked

    def _quoted_cells(self, number: int, line: str, following: Iterator[str]) -> list[str]:
        """Return the cells of a line with quotation marks; a quoted cell may continue on the following lines."""
        taken = 0

        def further() -> Iterator[str]:
            nonlocal taken
            yield (line if self.separator is not None else line.replace("\t", " ")) + "\n"
            for more in following:
                taken += 1
                yield more

        reader = csv.reader(further(), delimiter=self.separator or " ", skipinitialspace=True, strict=True)
        try:
            cells = next(reader)
        except csv.Error as error:
            if taken:
                what = f"a cell begins with a quotation mark and has none at its end ({error})"
                raise self.fault(number, what) from error
            cells = _cells(line, self.separator)  # the program does not quote, and a name contains quotation marks
        return cells[:-1] if self.separator is None and cells and not cells[-1] else cells

    def fault(self, number: int, what: str) -> DatasetError:
        """Return an error about a line."""
        return DatasetError(what, f"{self.path}, line {number}")

    def __str__(self) -> str:
        """The separator, the comments and the encoding in words."""
        name = next(name for name, mark in SEPARATORS.items() if mark == self.separator)
        parts = [f"columns separated by {name if name == 'blanks' else f'{name}s'}"]
        if self.kept:
            marks = " or ".join(self.marks)
            one = f"line that begins with {marks} is a row, not a comment"
            many = f"lines that begin with {marks} are rows, not comments"
            parts.append(plural(len(self.kept), one, many))
        if self.comments:
            hint = " (--comments none reads them)" if self.doubtful else ""
            parts.append(f"{plural(self.comments, 'comment line')} left out{hint}")
        return ", ".join(parts + [self.encoding] * bool(self.encoding))


def read_bytes(path: Path) -> bytes:
    """Return the contents of a file; gzip, bzip2 and xz are unpacked. Raises DatasetError."""
    try:
        with open_file(path) as file:
            begin = file.read(6)
            unpack = next((unpack for start, unpack in PACKED.values() if begin.startswith(start)), None)
            file.seek(0)
            if unpack is None:
                return file.read()
            with unpack(file) as stream:
                data: bytes = stream.read(most_unpacked(path) + 1)
        check_unpacked(path, len(data))
        return data
    except FileNotFoundError as error:
        raise DatasetError("there is no such file", path) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DatasetError(f"cannot be read ({error})", path) from error


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a file, and a note about its encoding if that had to be guessed.

    Raises
    ------
    DatasetError
        The file is not a text.
    """
    data = read_bytes(path)
    if data.startswith(b"PK\x03\x04"):
        raise DatasetError("cannot be read as text: it is a zip file or a workbook; save the sheet as CSV", path)
    encoding = ""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        elif utf16 := re.match(rb"(?P<be>(\0[\t\n\r -~]){4,})|([\t\n\r -~]\0){4,}", data):
            text = data.decode("utf-16-be" if utf16["be"] else "utf-16-le")
            encoding = "read as UTF-16 (it has no byte order mark)"
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise DatasetError(f"cannot be read: it begins like UTF-16, but is not ({error.reason})", path) from error
        # Every byte is a character in Latin-1. Bytes that are control characters there are signs in Windows-1252.
        text = data.decode("cp1252", "replace") if re.search(rb"[\x80-\x9f]", data) else data.decode("latin-1")
        encoding = "read as Latin-1 (it is not UTF-8)"
    text = text.rstrip("\x1a")
    if found := re.search(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]", text):
        what = f"not a text (it has the character {ord(found[0]):#04x} at {found.start()})"
        if (known := what_is(data[:HEAD])) is not None and known != TEXT:
            what = known.name if isinstance(known, Format) else known[0]
        raise DatasetError(f"cannot be read: it is {what}", path)
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def read_table(
    path: str | os.PathLike[str],
    *,
    separator: str | None = None,
    comments: str | None = None,
    words: Collection[str] = frozenset(NODES),
) -> Table:
    """Read a text file as a table.

    Parameters
    ----------
    separator : a name in ``SEPARATORS``; None recognises it
    comments : beginning of comment lines, or "none" if there are none. With None, lines that begin with # or % are
        comments unless they look like rows: they have no blank after the mark, as many cells as the rows, numbers
        where the rows have numbers, and names that occur in other rows
    words : words of headers; a header after a mark is a comment

    Raises
    ------
    DatasetError, SettingsError
    """
    path = Path(path)
    if separator is not None and separator not in SEPARATORS:
        raise SettingsError(f"a separator must be one of {', '.join(SEPARATORS)}, not {separator!r}")
    text, encoding = read_text(path)
    if declared := re.match(r"sep=(.)\n", text):  # a first line that Excel writes and reads
        text = text[declared.end() - 1 :]
        separator = separator or next((name for name, mark in SEPARATORS.items() if mark == declared[1]), None)
    marks = ("#", "%") if comments is None else () if comments == "none" else (comments,)
    plain = (line for line in map(str.strip, io.StringIO(text)) if line and not line.startswith(marks))
    sample = list(islice(plain, SAMPLE))
    if not sample and comments is None:
        sample = [line for line in map(str.strip, io.StringIO(text)) if MAYBE_ROW.match(line)][:SAMPLE]
    mark = _separator(sample) if separator is None else SEPARATORS[separator]
    table = Table(path, text, mark, marks, encoding=encoding)
    if not marks or not re.search(rf"(?m)^ *({'|'.join(map(re.escape, marks))})", text):
        return table
    begun = [(number, cells) for number, cells, marked in table.records() if marked]
    maybe = [row for row in begun if MAYBE_ROW.match(row[1][0])] if comments is None else []
    kept = _rows_among(maybe, table, words)
    return replace(table, kept=kept, comments=len(begun) - len(kept), doubtful=len(maybe) - len(kept))


def _cells(line: str, separator: str | None) -> list[str]:
    """Return the cells of a line without quoted cells; a dict at the end, as networkx writes it, is one cell."""
    if line.endswith("}") and (at := line.find("{")) > 0:
        head = line[:at].rstrip(" ")
        if separator is None or head.endswith(separator):
            return [*head.removesuffix(separator or "").split(separator), line[at:]]
    return line.split(separator)


def _separator(lines: list[str]) -> str | None:
    """Return the separator with which most lines have the same number of cells, at least two; None stands for blanks.

    ``csv.Sniffer`` is not used: it does not know blanks, decimal commas or the dicts of networkx.
    """
    lines = [line[: line.find("{")].rstrip(" ,;|") if line.endswith("}") and "{" in line else line for line in lines]
    found: dict[str | None, list[list[str]]] = {}
    for mark in (*SEPARATORS.values(),):
        rows = [_quick(line, mark) for line in lines]
        if rows and sum(len(row) > 1 for row in rows) * 2 >= len(rows):
            found[mark] = rows
    if "\t" in found:
        return "\t"

    def decimals(mark: str | None) -> bool:
        """Return whether all commas are decimal commas if this mark separates the cells."""
        commas = [cell for row in found.get(mark, []) for cell in row if "," in cell]
        return bool(commas) and all(DECIMAL_COMMA.fullmatch(cell) for cell in commas)

    if "," in found:
        for mark in (";", "|", None):
            if decimals(mark):
                return mark

    def rank(mark: str) -> tuple[float, bool, int]:
        """Return the share of lines with the usual width, whether cells begin without blanks, and the width."""
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
    """Return the numbers of the lines that begin with a mark and are rows."""
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
        if i:  # the first line may be a header
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
