"""Tables with a row for each node: numbers or classes, with the names of the nodes or in their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.networks.arrays import FEATURES, LABELS, MISSING, Arrays, classes, is_array_file, vectors
from segspectral.networks.cells import is_number, plain_word, quoted, to_number, whole_names
from segspectral.networks.tables import NODES, Table, read_table
from segspectral.wording import plural

__all__ = ["match_rows", "read_classes", "read_numbers"]

CLASSES = {"label", "labels", "class", "community"}


def read_numbers(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[list[str] | None, NDArray[np.float64]]:
    """Return the names of the nodes, or None if the file has none, and numbers (N, D).

    In a text, the first column has names if its header says so, if not all of its cells are numbers, or if it has all
    ``names`` of a graph.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if is_array_file(path):
        return None, vectors(path, "attributes", _array(path, FEATURES))
    table, lines = _lines(path)
    header = None if any(map(is_number, lines[0][1][1:] or lines[0][1])) else lines[0][1]
    lines = lines[1:] if header is not None else lines
    if not lines:
        raise DatasetError("has no numbers", path)
    width = len(lines[0][1])
    for number, cells in lines:
        if len(cells) != width:
            raise table.fault(number, f"has {plural(len(cells), 'column')}, but the first has {width}")
    first = _as_names([cells[0] for _, cells in lines], names)
    headed = header is not None and plain_word(header[0]) in NODES
    named = headed or not all(map(is_number, first)) or (width > 1 and set(names) <= set(first))
    if named and width == 1:
        raise DatasetError("has names but no attributes", path)
    # A column without a header is the index that pandas writes; the rows are in the order of the nodes.
    skipped = named or (header is not None and header[0] == "" and width > 1)
    numbers = (_number(table, number, cell) for number, cells in lines for cell in cells[skipped:])
    return (first if named else None), np.fromiter(numbers, np.float64).reshape(len(lines), -1)


def _number(table: Table, number: int, cell: str) -> float:
    if not is_number(cell):
        raise table.fault(number, f"the attribute {quoted(cell)} is not a number")
    try:
        return to_number(cell, table.separator)
    except ValueError as error:
        raise table.fault(number, f"the attribute {error}") from error


def read_classes(path: str | os.PathLike[str], names: Sequence[str] = ()) -> tuple[list[str] | None, NDArray[Any]]:
    """Return the names of the nodes, or None if the file has none, and classes (N,); ``names`` are those of a graph.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if is_array_file(path):
        return None, classes(path, "the array", _array(path, (*LABELS, "arr_0")))
    table, lines = _lines(path)
    header = lines[0][1]
    if plain_word(header[0]) in NODES | CLASSES or (len(header) > 1 and plain_word(header[1]) in CLASSES):
        lines = lines[1:]
    for number, cells in lines:
        if len(cells) != len(lines[0][1]) or len(cells) > 2:
            raise table.fault(number, "a line must be a node and its class, or only a class")
        if cells[-1].strip().lower() in MISSING:
            raise table.fault(number, "the node has no class; give it one")
    if not lines:
        raise DatasetError("has no classes", path)
    if len(lines[0][1]) == 1:
        return None, np.array([cells[0] for _, cells in lines])
    return _as_names([cells[0] for _, cells in lines], names), np.array([cells[1] for _, cells in lines])


def match_rows(
    path: str | os.PathLike[str], given: list[str] | None, rows: NDArray[Any], names: Sequence[str], what: str
) -> NDArray[Any]:
    """Return the rows in the order of the nodes.

    Raises
    ------
    DatasetError
        A node has no row or two rows; or the rows have no names, and their number is not that of the nodes.
    """
    if given is None:
        if len(rows) != len(names):
            raise DatasetError(
                f"has {plural(len(rows), 'row')} of {what}, but the graph has {plural(len(names), 'node')}", path
            )
        return rows
    index = {name: i for i, name in enumerate(given)}
    if len(index) < len(given):
        twice = next(name for i, name in enumerate(given) if index[name] != i)
        raise DatasetError(f"the node {quoted(twice)} has two lines", path)
    missing = [name for name in names if name not in index]
    if missing:
        verb = "has" if len(missing) == 1 else "have"
        raise DatasetError(
            f"{len(missing)} of {plural(len(names), 'node')} {verb} no {what}, such as {quoted(missing[0])}", path
        )
    return rows[[index[name] for name in names]]


def _as_names(given: list[str], names: Sequence[str]) -> list[str]:
    """Return the names in a table in the spelling of the graph: programs may have changed node numbers to "2.0"."""
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
    arrays = Arrays(path)
    if "format" in arrays:
        return arrays.dense(arrays.matrix())
    name = arrays.first_of(keys)
    if name is None:
        raise DatasetError(f"has the arrays {', '.join(arrays)}, but none of {', '.join(keys)}", path)
    return arrays[name]
