"""The reader for edge lists in text: it recognises which columns are the nodes and the weight, and reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.errors import DatasetError
from segspectral.networks.cells import is_number, quoted, to_number, whole_names
from segspectral.networks.columns import WORDS, Dialect, columns_of
from segspectral.networks.tables import SAMPLE, Table, read_table
from segspectral.wording import plural

__all__ = ["EdgeList", "read_edge_list"]

LONGEST_NAME = 1000
"""A name with more characters comes from a broken file: an unclosed quotation mark turns the rest into one cell."""


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
    table = read_table(path, separator=dialect.separator, comments=dialect.comments, words=WORDS)
    sample = list(islice(table, SAMPLE))
    if not sample:
        what = f"has only {plural(table.comments, 'comment line')}" if table.comments else "is empty"
        raise DatasetError(f"{what}; write one edge per line: two nodes", path)
    if not dialect and (matrix := _from_matrix(table, [cells for _, cells in sample])):
        return matrix
    columns = columns_of(table, sample, dialect)
    index: dict[str, int] = {}
    ends: list[int] = []
    weights: list[float] = []
    headers = without = 0
    for number, cells in table:
        if cells == columns.line:
            headers += 1
            continue
        source, target = columns.nodes(table, number, cells)
        cell = columns.weight_of(table, number, cells)
        without += cell == ""
        weights.append(1.0 if cell == "" else _weight(table, number, cell))
        ends += (index.setdefault(source, len(index)), index.setdefault(target, len(index)))
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    if index and len(longest := max(index, key=len)) > LONGEST_NAME:
        raise DatasetError(f"the name of a node has {len(longest)} characters ({quoted(longest)})", path)
    names, pairs, renamed = _in_order(list(index), pairs, table)
    parts = [str(table), str(columns)]
    if without and columns.weight is not None:
        parts.append(f"{plural(without, 'edge without a weight has', 'edges without a weight have')} weight 1")
    if headers > 1:
        parts.append(f"{plural(headers - 1, 'repeated header')} left out")
    if renamed:
        parts.append(renamed)
    return EdgeList(tuple(names), pairs, np.array(weights, dtype=np.float64), ", ".join(parts))


def _from_matrix(table: Table, sample: list[list[str]]) -> EdgeList | None:
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
            raise table.fault(number, "a matrix must have the same names in its header and its first column")
        for j, cell in enumerate(cells[1:]):
            value = _weight(table, number, cell or "0")
            if value > 0:
                ends.append((i - 1, j))
                weights.append(value)
    if i != len(names):
        raise DatasetError(f"has {i} rows under {len(names)} names; a matrix is square", table.path)
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    return EdgeList(tuple(names), pairs, np.array(weights), f"{table}, a matrix, weights from its cells")


def _weight(table: Table, number: int, cell: Any) -> float:
    if isinstance(cell, str) and is_number(cell):
        try:
            value = to_number(cell, table.separator)
        except ValueError as error:
            raise table.fault(number, f"the weight {error}") from error
    elif isinstance(cell, int | float):
        value = float(cell) if abs(cell) < 1e308 else np.inf
    else:
        raise table.fault(number, f"the weight {quoted(str(cell))} is not a number")
    if not 0 <= value < np.inf:
        raise table.fault(number, f"the weight {value:g} is negative or not finite")
    return value


def _in_order(names: list[str], pairs: NDArray[np.int64], table: Table) -> tuple[list[str], NDArray[np.int64], str]:
    """Return the names, the ends and a note about changed names.

    Whole numbers, even if they are written as 2.0, are sorted; words keep their order.
    """
    try:
        whole = whole_names(names)
    except ValueError as error:
        name = str(error)
        number = next((number for number, cells in table if name in cells), 0)
        raise table.fault(
            number,
            f"the node {quoted(name)} is a number that is not whole; name nodes by words or whole numbers, and store "
            "vectors in .npy or .npz",
        ) from error
    if whole is None or not names:
        return names, pairs, ""
    distinct = sorted(set(whole), key=lambda name: (int(name), name))
    rank = {name: i for i, name in enumerate(distinct)}
    changed = next(((a, b) for a, b in zip(names, whole, strict=True) if a != b), None)
    renamed = "" if changed is None else f"node numbers as {changed[0]} are read as {changed[1]}"
    return distinct, np.array([rank[name] for name in whole], dtype=np.int64)[pairs], renamed
