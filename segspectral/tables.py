"""Text tables about nodes: cells of a line, numbers and classes by name or in order."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from segspectral.errors import DatasetError

__all__ = ["is_number", "match_rows", "read_classes", "read_numbers", "rows_of"]

NODES = {"node", "nodes", "id", "name", "names"}
ARRAYS = (".npy", ".npz")


def rows_of(path: str | os.PathLike[str]) -> Iterator[tuple[int, list[str]]]:
    """The number of each line, from 1, and its cells; no empty lines, and no comments (# or % in front).

    Cells end at tabs in .tsv, else at commas, semicolons or tabs if the first line has them, else at blanks.
    """
    path = Path(path)
    delimiter: str | None = "\t" if path.suffix == ".tsv" else ""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip(" \r\n")
            if not text or text[0] in "#%":
                continue
            if delimiter == "":
                delimiter = next((mark for mark in ",;\t" if mark in text), None)
            if delimiter is not None and '"' in text:
                cells = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
            else:
                cells = text.split(delimiter)
            yield number, [cell.strip() for cell in cells]


def read_numbers(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[list[str] | None, NDArray[np.float64]]:
    """Names of the nodes, None if they are not given, and (N, D) numbers.

    In text the first column holds names if it is headed so, or is not all numbers, or has all ``names`` of a graph.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if path.suffix in ARRAYS:
        values = _array(path, ("features", "x", "X", "attributes", "data", "arr_0"))
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            raise DatasetError(f"{path}: attributes are (N, D) numbers, not {values.dtype} {values.shape}")
        return None, values.astype(np.float64)
    lines = _lines(path)
    header = lines[0][1] if not any(is_number(cell) for cell in lines[0][1][1:] or lines[0][1]) else None
    lines = lines[1:] if header is not None else lines
    if not lines:
        raise DatasetError(f"{path}: holds no numbers")
    width = len(lines[0][1])
    for number, cells in lines:
        if len(cells) != width:
            raise DatasetError(f"{path}, line {number}: has {len(cells)} columns, the first has {width}")
    first = [cells[0] for _, cells in lines]
    headed = header is not None and header[0].lower() in NODES
    named = headed or not all(map(is_number, first)) or (width > 1 and set(names) <= set(first))
    for number, cells in lines:
        for cell in cells[1:] if named else cells:
            if not is_number(cell):
                raise DatasetError(f"{path}, line {number}: the attribute '{cell}' is no number")
    values = np.array([[float(cell) for cell in cells[named:]] for _, cells in lines])
    if values.shape[1] == 0:
        raise DatasetError(f"{path}: holds names and no attributes")
    return (first if named else None), values


def read_classes(path: str | os.PathLike[str]) -> tuple[list[str] | None, NDArray[Any]]:
    """Names of the nodes, None if they are not given, and (N,) classes.

    Raises
    ------
    DatasetError
    """
    path = Path(path)
    if path.suffix in ARRAYS:
        return None, _array(path, ("labels", "y", "Y", "label", "arr_0")).ravel()
    lines = _lines(path)
    if lines[0][1][0].lower() in NODES | {"label", "labels", "class", "community"}:
        lines = lines[1:]
    for number, cells in lines:
        if len(cells) != len(lines[0][1]) or len(cells) > 2:
            raise DatasetError(f"{path}, line {number}: a line is a node and its class, or a class alone")
    if len(lines) and len(lines[0][1]) == 1:
        return None, np.array([cells[0] for _, cells in lines])
    return [cells[0] for _, cells in lines], np.array([cells[1] for _, cells in lines])


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
            raise DatasetError(f"{path}: has {len(rows)} rows of {what}, and the graph has {len(names)} nodes")
        return rows
    place = {name: i for i, name in enumerate(given)}
    if len(place) < len(given):
        twice = next(name for i, name in enumerate(given) if place[name] != i)
        raise DatasetError(f"{path}: the node '{twice}' has two lines")
    missing = [name for name in names if name not in place]
    if missing:
        raise DatasetError(f"{path}: {len(missing)} of {len(names)} nodes have no {what}, such as '{missing[0]}'")
    return rows[[place[name] for name in names]]


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        lines = list(rows_of(path))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a table ({error})") from error
    if not lines:
        raise DatasetError(f"{path}: is empty")
    return lines


def _array(path: Path, keys: Sequence[str]) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if "format" in loaded.files:
                return sp.load_npz(path).toarray()
            name = next((key for key in keys if key in loaded.files), None)
            if name is None:
                raise DatasetError(f"{path}: holds {', '.join(loaded.files)}; looked for is one of {', '.join(keys)}")
            return loaded[name]
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: there is no such file") from error
    except (OSError, ValueError, BadZipFile) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
