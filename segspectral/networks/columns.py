"""The columns of an edge list: which of them are the nodes and the weight, as the user says or as the lines show."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segspectral.errors import DatasetError, SettingsError
from segspectral.networks.cells import is_number, is_word, plain_word, quoted
from segspectral.networks.tables import Table
from segspectral.wording import plural

__all__ = ["WORDS", "Columns", "Dialect", "best_weight", "chosen_weight", "columns_of"]

SOURCES = {
    *("source", "from", "src", "node1", "id1", "start", "fromnodeid", "fromnode", "fromid", "sourceid", "sourcenode"),
    *("user", "userid", "follower", "citing", "sender", "origin", "parent", "caller", "ego", "head", "nodea", "nodei"),
}
TARGETS = {
    *("target", "to", "dst", "node2", "id2", "end", "tonodeid", "tonode", "toid", "targetid", "targetnode", "dest"),
    *("friend", "friendid", "followee", "following", "cited", "receiver", "recipient", "destination", "child"),
    *("callee", "alter", "tail", "nodeb", "nodej", "neighbor", "neighbour"),
}
WEIGHTS = (
    *("weight", "weights", "edgeweight", "value", "values", "strength", "count", "counts", "n", "w", "freq"),
    *("frequency", "num", "number", "amount", "score", "combinedscore", "similarity", "correlation", "intensity"),
    *("times", "occurrences", "cooccurrences", "interactions", "volume", "total"),
)
NO_WEIGHTS = {
    *("id", "edgeid", "index", "key", "time", "timestamp", "unixts", "date", "year", "month", "day", "label", "type"),
    *("distance", "length", "cost", "duration", "rank", "sign", "group", "class"),
}
"""Columns of numbers that are not weights, or whose large values mean a weak connection."""

ARROW = re.compile(r"[<=>\-\u2013\u2014\u2190-\u2194]+")

WORDS = SOURCES | TARGETS | set(WEIGHTS)
"""Words by which a header is recognised."""


@dataclass(frozen=True)
class Dialect:
    """Properties of an edge list that the user states. The reader finds out those that are None.

    Parameters
    ----------
    separator : separator of columns: tab, semicolon, comma, bar or blanks
    comments : beginning of comment lines, or "none"
    header : whether the first line has the names of the columns
    source, target, weight : names of columns, or their numbers starting at 1; with weight "none" all weights are 1
    """

    separator: str | None = None
    comments: str | None = None
    header: bool | None = None
    source: str | None = None
    target: str | None = None
    weight: str | None = None

    def __bool__(self) -> bool:
        return self != Dialect()


@dataclass(frozen=True)
class Columns:
    """The columns of an edge list; they are counted from 0.

    Parameters
    ----------
    source, target : columns of the two nodes
    weight : column of the weight, or of the dict that holds it; None if all weights are 1
    width : largest number of cells in a line
    header : names of the columns, or None if the file has no header
    line : cells of the header line, or None
    key : key of the weight if its cell is a dict, as networkx writes it
    left_out : columns or keys that are not used
    assumption : what was assumed without evidence
    """

    source: int
    target: int
    weight: int | None
    width: int
    header: list[str] | None
    line: list[str] | None = None
    key: str | None = None
    left_out: tuple[str, ...] = ()
    assumption: str = ""

    def __str__(self) -> str:
        if self.header is None:
            parts = ["no header" + self.assumption]
        else:
            parts = [f"header: nodes from {self._name(self.source)} and {self._name(self.target)}"]
        if self.weight is None:
            parts.append("all weights 1")
        else:
            parts.append(f"weights from {self._name(self.weight) if self.key is None else repr(self.key)}")
        if self.left_out:
            parts.append(f"left out: {', '.join(self.left_out)}")
        return ", ".join(parts)

    def _name(self, column: int) -> str:
        name = self.header[column] if self.header is not None and column < len(self.header) else ""
        return quoted(name) if name else f"column {column + 1}"

    def nodes(self, table: Table, number: int, cells: list[str]) -> tuple[str, str]:
        """Return the names of both nodes of a line. Raises DatasetError."""
        if len(cells) <= max(self.source, self.target) or not cells[self.source] or not cells[self.target]:
            raise table.fault(number, "an edge is two nodes and optionally a weight")
        if len(cells) > self.width and any(cells[self.width :]):
            more = "" if self.header is not None else ". Name the columns source, target and weight in a first line"
            raise table.fault(
                number,
                f"has {len(cells)} columns, not {self.width}; an edge is two nodes and optionally a weight{more}",
            )
        return cells[self.source], cells[self.target]

    def weight_of(self, table: Table, number: int, cells: list[str]) -> Any:
        """Return the weight of a line as it stands there; "" if the line has none. Raises DatasetError."""
        cell = "" if self.weight is None or len(cells) <= self.weight else cells[self.weight]
        return cell if self.key is None else _from_dict(table, number, cell).get(self.key, "")


def best_weight(names: Sequence[str]) -> str | None:
    """Return the name among these that means a weight, or None."""
    words = [plain_word(name) for name in names]
    return next((names[words.index(weight)] for weight in WEIGHTS if weight in words), None)


def chosen_weight(path: Path, keys: Sequence[str], told: str | None) -> str | None:
    """Return the key of the weight in the data of edges: ``told``, or one that means a weight; None if there is none.

    Raises
    ------
    SettingsError
        No edge has the key ``told``.
    """
    if told is None:
        return best_weight(keys)
    if told != "none" and told not in keys:
        raise SettingsError(f"the edges have the data {', '.join(keys)}; there is no {quoted(told)}", path)
    return None if told == "none" else told


def columns_of(table: Table, lines: list[tuple[int, list[str]]], dialect: Dialect) -> Columns:
    """Return the columns of an edge list, as the user states them or as the first lines show them.

    Raises
    ------
    DatasetError, SettingsError
    """
    sample = [cells for _, cells in lines]
    first, rest = sample[0], sample[1:]
    if first[-1].startswith("{"):
        return _data_columns(table, lines, dialect)
    header = dialect.header
    if header is None:
        header = not all(map(str.isdigit, _stated(dialect))) or _is_header(first, rest)
    if header:
        return _columns_of_header(table, lines[0][0], first, rest, dialect)
    return _plain_columns(table.path, sample, dialect)


def _stated(dialect: Dialect) -> list[str]:
    return [name for name in (dialect.source, dialect.target, dialect.weight) if name not in (None, "none")]


def _plain_columns(path: Path, sample: list[list[str]], dialect: Dialect) -> Columns:
    """Return the columns of a file without a header: source, target and weight, in this order.

    An arrow between the nodes, or the relation that Cytoscape writes there in .sif, is a column of its own.
    """
    first = sample[0]
    width = max(i + 1 for row in sample for i, cell in enumerate(row) if cell)
    ends = [_column(path, name, None) for name in (dialect.source, dialect.target)]
    relations = path.suffix.lower() == ".sif"
    last = 2 if relations or all(len(row) > 2 and ARROW.fullmatch(row[1]) for row in sample) else 1
    source, target = _both(ends, [0, last])
    if dialect.weight is not None:
        weight = _column(path, dialect.weight, None)
    else:
        weight = last + 1 if width > last + 1 and last + 1 not in (source, target) and not relations else None
    if not (_stated(dialect) or dialect.weight):
        width = min(width, last + 1 + (not relations))
    left_out = tuple(f"column {i + 1}" for i in range(width) if i not in (source, target, weight))
    assumption = ""
    times = [row[weight] for row in sample if weight is not None and len(row) > weight]
    if times and all(cell.isdigit() and len(cell) in (9, 10, 13) for cell in times):
        assumption = " (column 3 may be times: use --weight none if it is)"
    elif dialect.header is None and not any(map(is_number, first)):
        line = quoted(" ".join(first[:3]))
        assumption = f" (the first line, {line}, is read as an edge: use --header if it is not an edge)"
    return Columns(source, target, weight, width, None, left_out=left_out, assumption=assumption)


def _columns_of_header(table: Table, number: int, line: list[str], rest: list[list[str]], dialect: Dialect) -> Columns:
    """Return the columns that a header names.

    Parameters
    ----------
    number : number of the header line
    line : its cells
    rest : the lines below it
    """
    path, names = table.path, line
    if rest and all(len(row) == len(line) + 1 and row[0] == str(i) for i, row in enumerate(rest, start=1)):
        names = ["", *line]  # R writes no header for the column of its row numbers
    words = [plain_word(cell) for cell in names]
    given = [_column(path, name, names) for name in (dialect.source, dialect.target)]
    free = [i for i, word in enumerate(words) if word and word not in WEIGHTS]
    source, target = _both([a if a is not None else b for a, b in zip(given, _pair(words), strict=True)], free)
    if max(source, target) >= len(names):
        raise table.fault(number, f"has {plural(len(names), 'column')}; an edge is two nodes")
    if {words[source], words[target]} <= {"id", "label", "name", "node", "nodes"}:
        raise DatasetError(
            f"the columns {', '.join(map(quoted, names))} describe nodes; a graph needs a list of edges", path
        )
    others = {
        i: [row[i] for row in rest if len(row) > i and row[i]] for i in range(len(names)) if i not in (source, target)
    }
    if dialect.weight is not None:
        weight = _column(path, dialect.weight, names)
    else:
        weight = _weight_column(names, words, others)
    unused = [i for i, cells in others.items() if i != weight and (names[i] or cells)]
    left_out = tuple(quoted(names[i]) if names[i] else f"column {i + 1}" for i in unused)
    return Columns(source, target, weight, len(names), names, line, left_out=left_out)


def _weight_column(names: list[str], words: list[str], cells: dict[int, list[str]]) -> int | None:
    """Return the column with a known word for a weight, or the only column of numbers, or None.

    Parameters
    ----------
    names : the header
    words : the same in small letters without punctuation
    cells : column -> its cells that are not empty, of the columns that hold no nodes
    """
    known = best_weight([names[i] for i in cells])
    if known is not None:
        return next(i for i in cells if names[i] == known)
    numbers = [i for i, column in cells.items() if words[i] and words[i] not in NO_WEIGHTS and column]
    numbers = [i for i in numbers if all(map(is_number, cells[i]))]
    return numbers[0] if len(numbers) == 1 else None


def _is_header(first: list[str], rest: list[list[str]]) -> bool:
    """Return whether the first line is a header.

    A header has known words, an empty first cell above an index, or a word above a column of numbers.
    """
    words = [plain_word(cell) for cell in first]
    if None not in (pair := _pair(words)) and pair[0] != pair[1]:
        names = {cell for row in rest for cell in row[:2] if row != first}
        stem = words[pair[0] or 0][:-1]
        numbered = any(re.fullmatch(re.escape(stem) + r"\d+", plain_word(name)) for name in names) if stem else False
        return not numbered and first[pair[0] or 0] not in names and first[pair[1] or 0] not in names
    if any(is_number(cell) for cell in first) or not rest:
        return False
    if first[0] == "" and len(first) > 2:
        return True
    columns = ([row[j] for row in rest if len(row) > j and row[j]] for j in range(len(first)))
    return any(column and is_word(first[j]) and all(map(is_number, column)) for j, column in enumerate(columns))


def _pair(words: list[str]) -> list[int | None]:
    """Return the columns of both ends, or None for an end that is not found.

    Their headers are known words, or the same word followed by 1 and 2, a and b, i and j, or x and y.
    """
    found = [next((i for i, word in enumerate(words) if word in known), None) for known in (SOURCES, TARGETS)]
    if None in found:
        for i, word in enumerate(words):
            for one, two in ("12", "ab", "ij", "xy"):
                if len(word) > 2 and word.endswith(one) and word[:-1] + two in words:
                    return [i, words.index(word[:-1] + two)]
    return found


def _both(ends: list[int | None], free: list[int]) -> tuple[int, int]:
    """Return the columns of both ends; an end that is not known gets the first free column."""
    source, target = ends
    left = [i for i in free if i not in ends] + [i for i in range(2 + len(free)) if i not in ends]
    if source is None:
        source = left.pop(0)
        left = [i for i in left if i != source]
    if target is None:
        target = left[0]
    return source, target


def _column(path: Path, name: str | None, header: list[str] | None) -> int | None:
    """Return the index of a column that is given by name or number."""
    if name is None or name == "none":
        return None
    for same in (str, plain_word):
        named = [same(cell) for cell in header or []]
        if same(name) in named:
            return named.index(same(name))
    if name.isascii() and name.isdigit() and 0 < int(name) < 1000 and (header is None or int(name) <= len(header)):
        return int(name) - 1
    has = f"has the columns {', '.join(map(quoted, header))}" if header is not None else "has no header"
    raise SettingsError(f"{has}; there is no column {quoted(name)}", path)


def _data_columns(table: Table, lines: list[tuple[int, list[str]]], dialect: Dialect) -> Columns:
    """Return the columns of lines that end with a dict, as networkx writes them."""
    number, first = lines[0]
    if len(first) != 3:
        before = plural(len(first) - 1, "column")
        raise table.fault(number, f"has {before} before the data in braces; an edge is two nodes")
    keys: dict[str, None] = {}
    for number, row in lines:
        if row[-1].startswith("{"):
            keys |= dict.fromkeys(map(str, _from_dict(table, number, row[-1])))
    key = chosen_weight(table.path, list(keys), dialect.weight)
    left_out = tuple(quoted(name) for name in keys if name != key)
    return Columns(0, 1, None if key is None else 2, 3, None, key=key, left_out=left_out)


def _from_dict(table: Table, number: int, cell: str) -> dict[Any, Any]:
    if not cell:
        return {}
    try:
        found = ast.literal_eval(cell)
        if isinstance(found, dict):
            return found
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    raise table.fault(number, f"the data {quoted(cell)} of an edge are not a dict of plain values")
