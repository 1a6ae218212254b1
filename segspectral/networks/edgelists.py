"""Edges in text, one a line: which columns are the nodes and the weight, and what they say."""

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
"""Numbers that say something else, or whose large values mean far apart."""

LONGEST_NAME = 1000


@dataclass(frozen=True)
class Dialect:
    """What the reader of edges is told; what is None, it finds by evidence.

    Parameters
    ----------
    separator : of columns: tab, semicolon, comma, bar or blanks
    comments : what comment lines begin with, or "none"
    header : whether the first line names the columns
    source, target, weight : names of columns, or their numbers from 1; weight may be "none": all weights are 1
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
    """Edges as a file lists them.

    Parameters
    ----------
    names : of the nodes: in rising order if all are whole numbers, else as they come
    ends : (M, 2) int64, places in ``names``
    weights : (M,) float64, finite, not negative
    understood : how the file was read, in words
    """

    names: tuple[str, ...]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    understood: str = ""


@dataclass(frozen=True)
class Columns:
    """Places of the cells of an edge.

    Parameters
    ----------
    weight : a place, or None if all weights are 1
    key : of the weight in the dict; None: it has no weight
    width : most cells of a line
    header, line : names of the columns, and the cells of the first line, if it names them
    data : whether the weight's cell is a dict
    doubt : what was assumed without evidence
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
    doubt: str = ""

    def __str__(self) -> str:
        if self.header is None:
            parts = ["no header" + self.doubt]
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

    def _name(self, place: int) -> str:
        named = self.header is not None and place < len(self.header) and self.header[place]
        return quoted(self.header[place]) if named and self.header is not None else f"column {place + 1}"


def best_weight(names: Sequence[str]) -> str | None:
    """The name among these that stands for a weight, if there is one."""
    words = [plain_word(name) for name in names]
    return next((names[words.index(weight)] for weight in WEIGHTS if weight in words), None)


def read_edge_list(path: str | os.PathLike[str], dialect: Dialect | None = None) -> EdgeList:
    """Edges of a text file; see ``segspectral.networks.graphs.read_graph``.

    Raises
    ------
    DatasetError
        A line is malformed; the message has its number.
    SettingsError
        The dialect names a column that there is not.
    """
    path, dialect = Path(path), dialect or Dialect()
    table = read_table(
        path, separator=dialect.separator, comments=dialect.comments, words=SOURCES | TARGETS | set(WEIGHTS)
    )
    sample = list(islice(table, SAMPLE))
    if not sample:
        what = f"holds {table.comments} comment lines and nothing else" if table.comments else "is empty"
        raise DatasetError(f"{what}; an edge is two nodes a line", path)
    if not dialect and (matrix := _from_matrix(path, table, [cells for _, cells in sample])):
        return matrix
    columns = _columns(path, sample, dialect)
    place: dict[str, int] = {}
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
            raise DatasetError(f"{path}, line {number}: an edge is two nodes and, if it has one, a weight")
        if len(cells) > columns.width and any(cells[columns.width :]):
            more = "" if columns.header is not None else ". Name the columns source, target and weight in a first line"
            raise DatasetError(
                f"{path}, line {number}: has {len(cells)} columns, not {columns.width}; an edge is two nodes and, if "
                f"it has one, a weight{more}"
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
        ends += (place.setdefault(cells[source], len(place)), place.setdefault(cells[target], len(place)))
        weights.append(value)
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    if place and len(longest := max(place, key=len)) > LONGEST_NAME:
        raise DatasetError(f"the name of a node has {len(longest)} characters ({quoted(longest)})", path)
    names, pairs, renamed = _in_order(path, list(place), pairs, table)
    parts = [str(table), str(columns)]
    if without and at is not None and not (columns.data and columns.key is None):
        parts.append(f"{without} edges without a weight have 1")
    if again:
        parts.append(f"{again} repeated headers left out")
    if renamed:
        parts.append(renamed)
    return EdgeList(tuple(names), pairs, np.array(weights, dtype=np.float64), ", ".join(parts))


def _from_matrix(path: Path, table: Table, sample: list[list[str]]) -> EdgeList | None:
    """The edges of an adjacency matrix between names, if the table is one: a header and a column of the same names."""
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
            raise DatasetError(f"{path}, line {number}: a matrix has the same names in its header and its first column")
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
            raise DatasetError(f"{path}, line {number}: the weight {quoted(cell)} is no number")
        try:
            value = to_number(cell, table.separator)
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: the weight {error}") from error
    elif isinstance(cell, int | float):
        value = float(cell) if abs(cell) < 1e308 else np.inf
    else:
        raise DatasetError(f"{path}, line {number}: the weight {quoted(str(cell))} is no number")
    if not 0 <= value < np.inf:
        raise DatasetError(f"{path}, line {number}: the weight {value:g} is not finite, or below 0")
    return value


def _in_order(
    path: Path, names: list[str], pairs: NDArray[np.int64], table: Table
) -> tuple[list[str], NDArray[np.int64], str]:
    """Whole numbers in rising order, also if they are written as 2.0; words as they come; and what was changed."""
    try:
        whole = whole_names(names)
    except ValueError as error:
        name = str(error)
        number = next((number for number, cells in table if name in cells), 0)
        raise DatasetError(
            f"{path}, line {number}: the node {quoted(name)} is a number that is not whole; nodes are named by "
            "words or whole numbers, and vectors are read from .npy and .npz"
        ) from error
    if whole is None or not names:
        return names, pairs, ""
    distinct = sorted(set(whole), key=lambda name: (int(name), name))
    rank = {name: i for i, name in enumerate(distinct)}
    changed = next(((a, b) for a, b in zip(names, whole, strict=True) if a != b), None)
    renamed = "" if changed is None else f"node numbers as {changed[0]} are read as {changed[1]}"
    return distinct, np.array([rank[name] for name in whole], dtype=np.int64)[pairs], renamed


def _columns(path: Path, lines: list[tuple[int, list[str]]], dialect: Dialect) -> Columns:
    sample = [cells for _, cells in lines]
    first, rest = sample[0], sample[1:]
    told = [name for name in (dialect.source, dialect.target, dialect.weight) if name not in (None, "none")]
    by_name = any(not str(name).isdigit() for name in told)
    header = dialect.header if dialect.header is not None else by_name or _is_header(first, rest)
    if first[-1].startswith("{"):
        return _data_columns(path, lines, dialect)
    if not header:
        width = max(len(row) - _empty_end(row) for row in sample)
        places = [_place(path, name, None) for name in (dialect.source, dialect.target)]
        source, target = _both(places, [0, 1])
        if dialect.weight is not None:
            weight = _place(path, dialect.weight, None)
        else:
            weight = 2 if width > 2 and 2 not in (source, target) else None
        if not (told or dialect.weight):
            width = min(width, 3)
        left_out = tuple(f"column {i + 1}" for i in range(width) if i not in (source, target, weight))
        doubt = ""
        times = [row[weight] for row in sample if weight is not None and len(row) > weight]
        if times and all(cell.isdigit() and len(cell) in (9, 10, 13) for cell in times):
            doubt = " (column 3 may be times: --weight none if it is)"
        elif dialect.header is None and not any(map(is_number, first)):
            doubt = f" (the first line, {quoted(' '.join(first[:3]))}, is taken as an edge: --header if it is not one)"
        return Columns(source, target, weight, width, None, left_out=left_out, doubt=doubt)
    line = first
    if rest and all(len(row) == len(first) + 1 and row[0] == str(i) for i, row in enumerate(rest, start=1)):
        first = ["", *first]  # R does not name the column of its row numbers
    words = [plain_word(cell) for cell in first]
    given = [_place(path, name, first) for name in (dialect.source, dialect.target)]
    free = [i for i, word in enumerate(words) if word and word not in WEIGHTS]
    source, target = _both([a if a is not None else b for a, b in zip(given, _pair(words), strict=True)], free)
    if max(source, target) >= len(first):
        raise DatasetError(f"{path}, line {lines[0][0]}: names {len(first)} columns; an edge is two nodes")
    if {words[source], words[target]} <= {"id", "label", "name", "node", "nodes"}:
        raise DatasetError(
            f"the columns {', '.join(map(quoted, first))} are of nodes; a graph is read from edges", path
        )
    others = [i for i in range(len(first)) if i not in (source, target)]
    cells = {i: [row[i] for row in rest if len(row) > i and row[i]] for i in others}
    if dialect.weight is not None:
        weight = _place(path, dialect.weight, first)
    else:
        known = best_weight([first[i] for i in others])
        numbers = [i for i in others if words[i] and words[i] not in NO_WEIGHTS and cells[i]]
        numbers = [i for i in numbers if all(map(is_number, cells[i]))]
        weight = next((i for i in others if first[i] == known), None) if known is not None else None
        weight = numbers[0] if weight is None and len(numbers) == 1 else weight
    unused = [i for i in others if i != weight and (first[i] or cells[i])]
    left_out = tuple(quoted(first[i]) if first[i] else f"column {i + 1}" for i in unused)
    return Columns(source, target, weight, len(first), first, line, left_out=left_out)


def _is_header(first: list[str], rest: list[list[str]]) -> bool:
    """Known words, an empty first cell over an index, or words over a column of numbers."""
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
    """Where words for both ends are: known ones, or one word with 1 and 2, or a and b, i and j, x and y at its end."""
    found = [next((i for i, word in enumerate(words) if word in known), None) for known in (SOURCES, TARGETS)]
    if None in found:
        for i, word in enumerate(words):
            for one, two in ("12", "ab", "ij", "xy"):
                if len(word) > 2 and word.endswith(one) and word[:-1] + two in words:
                    return [i, words.index(word[:-1] + two)]
    return found


def _both(places: list[int | None], free: list[int]) -> tuple[int, int]:
    """Both ends; one that is not known is the first column that is left."""
    source, target = places
    left = [i for i in free if i not in places] + [i for i in range(2 + len(free)) if i not in places]
    if source is None:
        source = left.pop(0)
        left = [i for i in left if i != source]
    if target is None:
        target = left[0]
    return source, target


def _place(path: Path, name: str | None, header: list[str] | None) -> int | None:
    """The place of a column that is told by name or number."""
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
    """Of lines that end with a dict, as networkx writes them."""
    number, first = lines[0]
    if len(first) != 3:
        raise DatasetError(
            f"{path}, line {number}: has {len(first) - 1} columns before the data in braces; an edge is two nodes"
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
    raise DatasetError(f"{path}, line {number}: the data {quoted(cell)} of an edge are no dict of plain values")
