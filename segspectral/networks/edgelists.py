"""The reader for edge lists in text: it recognises which columns are the nodes and the weight, and reads them."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError, SettingsError
from segspectral.networks.tables import (
    SAMPLE,
    Table,
    is_number,
    is_word,
    plain_word,
    quoted,
    read_table,
    to_number,
    whole_names,
)
from segspectral.wording import plural

__all__ = ["Dialect", "EdgeList", "best_weight", "read_edge_list"]

SOURCES = {
    *("source", "from", "src", "node1", "id1", "start", "fromnodeid", "fromnode", "fromid", "sourceid", "sourcenode"),
    *("user", "userid", "follower", "citing", "sender", "origin", "parent", "caller", "ego", "head", "nodea", "nodei"),
}
TARGETS = {
    *("target", "to", "dst", "node2", "id2", "end", "tonodeid", "tonode", "toid", "targetid", "targetnode", "dest"),
    *(
        "friend",
        "friendid",
        "followee",
        "following",
        "cited",
        "receiver",
        "recipient",
        "destination",
        "child",
        "callee",
    ),
    *("alter", "tail", "nodeb", "nodej", "neighbor", "neighbour"),
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

LONGEST_NAME = 1000
"""A name with more characters comes from a broken file: an unclosed quotation mark turns the rest into one cell."""


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


@dataclass(frozen=True, eq=False)
class EdgeList:
    """The edges in a file.

    Parameters
    ----------
    names : names of the nodes, in ascending order if all are whole numbers, else in the order of the file
    ends : (M, 2) int64, indices in ``names``
    weights : (M,) float64, finite, not negative
    understood : how the file was read, in words
    """

    names: tuple[str, ...]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    understood: str = ""


@dataclass(frozen=True)
class Columns:
    """The columns of an edge list; they are counted from 0.

    Parameters
    ----------
    source, target : columns of the two nodes
    weight : column of the weight, or None if all weights are 1
    width : largest number of cells in a line
    header : names of the columns, or None if the file has no header
    line : cells of the header line, or None
    data : whether the cell of the weight is a dict, as networkx writes it
    key : key of the weight in the dict, or None if it has no weight
    left_out : columns or keys that are not used
    assumption : what was assumed without evidence
    """

    source: int
    target: int
    weight: int | None
    width: int
    header: list[str] | None
    line: list[str] | None = None
    data: bool = False
    key: str | None = None
    left_out: tuple[str, ...] = ()
    assumption: str = ""

    def __str__(self) -> str:
        if self.header is None:
            parts = ["no header" + self.assumption]
        else:
            parts = [f"header: nodes from {self._name(self.source)} and {self._name(self.target)}"]
        if self.data:
            parts.append(f"weights from {self.key!r}" if self.key is not None else "all weights 1")
        elif self.weight is None:
            parts.append("all weights 1")
        else:
            parts.append(f"weights from {self._name(self.weight)}")
        if self.left_out:
            parts.append(f"left out: {', '.join(self.left_out)}")
        return ", ".join(parts)

    def _name(self, column: int) -> str:
        named = self.header is not None and column < len(self.header) and self.header[column]
        return quoted(self.header[column]) if named and self.header is not None else f"column {column + 1}"


def best_weight(names: Sequence[str]) -> str | None:
    """Return the name among these that means a weight, or None."""
    words = [plain_word(name) for name in names]
    return next((names[words.index(weight)] for weight in WEIGHTS if weight in words), None)


def read_edge_list(path: str | os.PathLike[str], dialect: Dialect | None = None) -> EdgeList:
    """Read the edges of a text file; see ``segspectral.networks.graphs.read_graph``.

    Raises
    ------
    DatasetError
        A line is malformed; the message has its number.
    SettingsError
        The dialect names a column that does not exist.
    """
    path, dialect = Path(path), dialect or Dialect()
    table = read_table(
        path, separator=dialect.separator, comments=dialect.comments, words=SOURCES | TARGETS | set(WEIGHTS)
    )
    sample = list(islice(table, SAMPLE))
    if not sample:
        what = f"has only {plural(table.comments, 'comment line')}" if table.comments else "is empty"
        raise DatasetError(f"{what}; write one edge per line: two nodes", path)
    if not dialect and (matrix := _from_matrix(path, table, [cells for _, cells in sample])):
        return matrix
    columns = _columns(path, sample, dialect)
    index: dict[str, int] = {}
    ends: list[int] = []
    weights: list[float] = []
    without = again = 0
    begun = columns.header is None
    source, target, at = columns.source, columns.target, columns.weight
    for number, cells in table:
        if not begun or cells == columns.line:
            again += begun
            begun = True
            continue
        if len(cells) <= max(source, target) or not cells[source] or not cells[target]:
            raise DatasetError(f"{path}, line {number}: an edge is two nodes and optionally a weight")
        if len(cells) > columns.width and any(cells[columns.width :]):
            more = "" if columns.header is not None else ". Name the columns source, target and weight in a first line"
            raise DatasetError(
                f"{path}, line {number}: has {len(cells)} columns, not {columns.width}; an edge is two nodes and "
                f"optionally a weight{more}"
            )
        value = 1.0
        if at is not None:
            cell = cells[at] if len(cells) > at else ""
            if columns.data:
                cell = _from_dict(path, number, cell).get(columns.key, "") if columns.key is not None else ""
            if cell != "":
                value = _weight(path, number, cell, table)
            else:
                without += 1
        ends += (index.setdefault(cells[source], len(index)), index.setdefault(cells[target], len(index)))
        weights.append(value)
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    if index and len(longest := max(index, key=len)) > LONGEST_NAME:
        raise DatasetError(f"the name of a node has {len(longest)} characters ({quoted(longest)})", path)
    names, pairs, renamed = _in_order(path, list(index), pairs, table)
    parts = [str(table), str(columns)]
    if without and at is not None and not (columns.data and columns.key is None):
        parts.append(f"{plural(without, 'edge without a weight has', 'edges without a weight have')} weight 1")
    if again:
        parts.append(f"{plural(again, 'repeated header')} left out")
    if renamed:
        parts.append(renamed)
    return EdgeList(tuple(names), pairs, np.array(weights, dtype=np.float64), ", ".join(parts))


def _from_matrix(path: Path, table: Table, sample: list[list[str]]) -> EdgeList | None:
    """Return the edges if the table is an adjacency matrix, which has the same names in its header and first column."""
    names = sample[0][1:]
    column = [row[0] for row in sample[1:]]
    if len(names) < 2 or len(set(names)) < len(names) or not column or column[: len(names)] != names[: len(column)]:
        return None
    whole = len(column) == len(names) > 2 and all(is_number(cell) for row in sample[1:] for cell in row[1:])
    if sample[0][0] and not whole:
        return None
    ends, weights = [], []
    for i, (number, cells) in enumerate(table):
        if i == 0:
            continue
        if i > len(names) or cells[0] != names[i - 1] or len(cells) != len(names) + 1:
            raise DatasetError(
                f"{path}, line {number}: a matrix must have the same names in its header and its first column"
            )
        for j, cell in enumerate(cells[1:]):
            value = _weight(path, number, cell or "0", table)
            if value > 0:
                ends.append((i - 1, j))
                weights.append(value)
    if i != len(names):
        raise DatasetError(f"has {i} rows under {len(names)} names; a matrix is square", path)
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    return EdgeList(tuple(names), pairs, np.array(weights), f"{table}, a matrix, weights from its cells")


def _weight(path: Path, number: int, cell: Any, table: Table) -> float:
    if isinstance(cell, str):
        if not is_number(cell):
            raise DatasetError(f"{path}, line {number}: the weight {quoted(cell)} is not a number")
        try:
            value = to_number(cell, table.separator)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: the weight {error}") from error
    elif isinstance(cell, int | float):
        value = float(cell) if abs(cell) < 1e308 else np.inf
    else:
        raise DatasetError(f"{path}, line {number}: the weight {quoted(str(cell))} is not a number")
    if not 0 <= value < np.inf:
        raise DatasetError(f"{path}, line {number}: the weight {value:g} is negative or not finite")
    return value


def _in_order(
    path: Path, names: list[str], pairs: NDArray[np.int64], table: Table
) -> tuple[list[str], NDArray[np.int64], str]:
    """Return the names, the ends and a note about changed names.

    Whole numbers, even if they are written as 2.0, are sorted; words keep their order.
    """
    try:
        whole = whole_names(names)
    except ValueError as error:
        name = str(error)
        number = next((number for number, cells in table if name in cells), 0)
        raise DatasetError(
            f"{path}, line {number}: the node {quoted(name)} is a number that is not whole; name nodes by words or "
            "whole numbers, and store vectors in .npy or .npz"
        ) from error
    if whole is None or not names:
        return names, pairs, ""
    distinct = sorted(set(whole), key=lambda name: (int(name), name))
    rank = {name: i for i, name in enumerate(distinct)}
    changed = next(((a, b) for a, b in zip(names, whole, strict=True) if a != b), None)
    renamed = "" if changed is None else f"node numbers as {changed[0]} are read as {changed[1]}"
    return distinct, np.array([rank[name] for name in whole], dtype=np.int64)[pairs], renamed


def _columns(path: Path, lines: list[tuple[int, list[str]]], dialect: Dialect) -> Columns:
    """Return the columns of an edge list, as the user states them or as the first lines show them."""
    sample = [cells for _, cells in lines]
    first, rest = sample[0], sample[1:]
    if first[-1].startswith("{"):
        return _data_columns(path, lines, dialect)
    header = dialect.header
    if header is None:
        stated_by_name = any(name is not None and not name.isdigit() for name in _stated(dialect))
        header = stated_by_name or _is_header(first, rest)
    return (
        _columns_of_header(path, lines[0][0], first, rest, dialect) if header else _plain_columns(path, sample, dialect)
    )


def _stated(dialect: Dialect) -> list[str]:
    return [name for name in (dialect.source, dialect.target, dialect.weight) if name not in (None, "none")]


def _plain_columns(path: Path, sample: list[list[str]], dialect: Dialect) -> Columns:
    """Return the columns of a file without a header: source, target and weight, in this order."""
    first = sample[0]
    width = max(len(row) - _empty_end(row) for row in sample)
    ends = [_column(path, name, None) for name in (dialect.source, dialect.target)]
    source, target = _both(ends, [0, 1])
    if dialect.weight is not None:
        weight = _column(path, dialect.weight, None)
    else:
        weight = 2 if width > 2 and 2 not in (source, target) else None
    if not (_stated(dialect) or dialect.weight):
        width = min(width, 3)
    left_out = tuple(f"column {i + 1}" for i in range(width) if i not in (source, target, weight))
    assumption = ""
    times = [row[weight] for row in sample if weight is not None and len(row) > weight]
    if times and all(cell.isdigit() and len(cell) in (9, 10, 13) for cell in times):
        assumption = " (column 3 may be times: use --weight none if it is)"
    elif dialect.header is None and not any(map(is_number, first)):
        line = quoted(" ".join(first[:3]))
        assumption = f" (the first line, {line}, is read as an edge: use --header if it is not an edge)"
    return Columns(source, target, weight, width, None, left_out=left_out, assumption=assumption)


def _columns_of_header(path: Path, number: int, line: list[str], rest: list[list[str]], dialect: Dialect) -> Columns:
    """Return the columns that a header names.

    Parameters
    ----------
    number : number of the header line
    line : its cells
    rest : the lines below it
    """
    names = line
    if rest and all(len(row) == len(line) + 1 and row[0] == str(i) for i, row in enumerate(rest, start=1)):
        names = ["", *line]  # R writes no header for the column of its row numbers
    words = [plain_word(cell) for cell in names]
    given = [_column(path, name, names) for name in (dialect.source, dialect.target)]
    free = [i for i, word in enumerate(words) if word and word not in WEIGHTS]
    source, target = _both([a if a is not None else b for a, b in zip(given, _pair(words), strict=True)], free)
    if max(source, target) >= len(names):
        raise DatasetError(f"{path}, line {number}: has {plural(len(names), 'column')}; an edge is two nodes")
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


def _empty_end(row: list[str]) -> int:
    return next((i for i, cell in enumerate(reversed(row)) if cell), len(row))


def _data_columns(path: Path, lines: list[tuple[int, list[str]]], dialect: Dialect) -> Columns:
    """Return the columns of lines that end with a dict, as networkx writes them."""
    number, first = lines[0]
    if len(first) != 3:
        raise DatasetError(
            f"{path}, line {number}: has {plural(len(first) - 1, 'column')} before the data in braces; an edge is two "
            "nodes"
        )
    keys: dict[str, None] = {}
    for number, row in lines:
        if row[-1].startswith("{"):
            keys |= dict.fromkeys(map(str, _from_dict(path, number, row[-1])))
    key = best_weight(list(keys)) if dialect.weight is None else dialect.weight
    if key == "none":
        key = None
    elif dialect.weight is not None and key not in keys:
        raise SettingsError(f"the edges have the data {', '.join(keys)}; there is no {quoted(str(key))}", path)
    left_out = tuple(quoted(name) for name in keys if name != key)
    return Columns(0, 1, 2, 3, None, data=True, key=key, left_out=left_out)


def _from_dict(path: Path, number: int, cell: str) -> dict[Any, Any]:
    if not cell:
        return {}
    try:
        found = ast.literal_eval(cell)
        if isinstance(found, dict):
            return found
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    raise DatasetError(f"{path}, line {number}: the data {quoted(cell)} of an edge are not a dict of plain values")
