"""Readers for the networks of Pajek and LGL: text in sections, in which the place of a line says what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from segspectral.errors import DatasetError
from segspectral.networks.arrays import SPARE
from segspectral.networks.cells import quoted
from segspectral.wording import plural

__all__ = ["looks_like_lgl", "parse_lgl", "parse_pajek"]

CELL = re.compile(r'"[^"]*"|\S+')
HEADING = re.compile(r"# [^\s,;|]+")
"""The line of LGL above the neighbours of a node. Other programs begin comments in this way."""


EDGES: Mapping[str, Callable[[list[str], int], tuple[list[str], Iterable[str | None]]]] = {
    **dict.fromkeys(("*arcs", "*edges"), lambda cells, row: (cells[:2], (*cells[2:3], None))),
    **dict.fromkeys(("*arcslist", "*edgeslist"), lambda cells, row: (cells, repeat(None))),
    "*matrix": lambda cells, row: ([str(row), *map(str, range(1, len(cells) + 1))], cells),
}
"""Section of Pajek -> from the cells of a line, and its number there, to a node, its neighbours, and their weights."""


def parse_pajek(networkx: Any, path: Path, text: str) -> Any:
    """Return the network of a Pajek file: nodes 1..N with the data ``label``, and edges with the data ``weight``.

    ``networkx.parse_pajek`` is not used: it reads no arcs or edges in lists, no matrices and no network whose vertices
    have no lines of their own, as igraph writes it, and it merges vertices that have the same label.

    Raises
    ------
    DatasetError
    """
    graph = networkx.MultiDiGraph()
    section, row, number = "", 0, 0
    for number, line in _lines(text, "%"):
        cells = [cell.strip('"') for cell in CELL.findall(line)]
        row += 1
        if line.startswith("*"):
            section, row = cells[0].lower(), 0
            if section not in ("*network", "*vertices", *EDGES):
                raise _fault(path, number, f"begins {quoted(line)}, which is not part of a network; remove it")
            if section == "*vertices":
                if len(graph):
                    raise _fault(path, number, "begins a second network; put each into a file of its own")
                count = _whole(path, number, "".join(cells[1:2]), SPARE + 2 * text.count("\n"))
                graph.add_nodes_from(range(1, count + 1))
        elif section == "*vertices":
            graph.nodes[_whole(path, number, cells[0], len(graph))]["label"] = (cells * 2)[1]
        elif section in EDGES:
            ends, weights = EDGES[section](cells, row)
            nodes = [_whole(path, number, end, len(graph)) for end in ends]
            if len(nodes) < 2:
                raise _fault(path, number, "an edge is two nodes and optionally a weight")
            graph.add_edges_from(
                (nodes[0], node, {} if weight is None else {"weight": weight})
                for node, weight in zip(nodes[1:], weights, strict=False)
                if weight is None or weight.strip("0.")
            )
    if section == "*matrix" and row != len(graph):
        raise _fault(path, number, f"is row {row}, the last, of a matrix of {plural(len(graph), 'node')}")
    return graph


def looks_like_lgl(text: str) -> bool:
    """Return whether all comments are single words, of which the first is above all rows and others are between rows.

    Such a text can be LGL, or a list of edges whose comments are headings: nothing in it tells which.
    """
    if not HEADING.match(text):
        return False
    lines = [line for _, line in _lines(text)]
    headings = [i for i, line in enumerate(lines) if line.startswith("#")]
    return headings[-1] >= len(headings) and all(HEADING.fullmatch(lines[i]) for i in headings)


def parse_lgl(networkx: Any, path: Path, text: str) -> Any:
    """Return the network of an LGL file: ``# node``, and below it a line for each neighbour, with a weight or without.

    Raises
    ------
    DatasetError
    """
    graph = networkx.MultiGraph()
    node = None
    for number, line in _lines(text):
        cells = line.split()
        if cells[0].startswith("#"):
            node = line[1:].strip()
            graph.add_node(node)
        elif node is None or len(cells) > 2:
            raise _fault(path, number, "is neither '# node' nor a neighbour and its weight")
        else:
            graph.add_edge(node, cells[0], **({"weight": cells[1]} if len(cells) > 1 else {}))
    return graph


def _lines(text: str, mark: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield the numbers of the lines, from 1, and the lines that are neither empty nor begin with the mark."""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line and not (mark and line.startswith(mark)):
            yield number, line


def _whole(path: Path, number: int, cell: str, most: int) -> int:
    if not (cell.isascii() and cell.isdigit() and len(cell) < 16 and 1 <= int(cell) <= most):
        raise _fault(path, number, f"{quoted(cell)} is not a whole number from 1 to {most}")
    return int(cell)


def _fault(path: Path, number: int, what: str) -> DatasetError:
    return DatasetError(what, f"{path}, line {number}")
