"""Results of a benchmark that can be stopped and resumed, and their tables; for bench_heads and bench_communities."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]


class Results:
    """JSON lines, one for each key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[str, Row] = {row["key"]: row for row in map(json.loads, lines)}

    def once(self, key: str, run: Callable[[], Row]) -> None:
        """Compute a result, write it and print it, unless there is one already."""
        if key in self.rows:
            return
        self.rows[key] = {"key": key, **run()}
        with self.path.open("a") as file:
            file.write(json.dumps(self.rows[key]) + "\n")
        print(key, {name: value for name, value in self.rows[key].items() if name != "key"}, flush=True)


def table(title: str, lines: Mapping[str, Sequence[Row]], largest: bool = False) -> str:
    """Return a Markdown table with a line for each name: the mean of each figure and its standard deviation over runs.

    With ``largest``, it has the median and the largest value instead, which suit ratios of graphs of all sizes.
    """
    columns = list(dict.fromkeys(name for rows in lines.values() for row in rows for name in row if name != "key"))
    text = f"\n{title}\n\n| | runs | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2)
    for line, rows in lines.items():
        text += f"\n| {line} | {len(rows)} | " + " | ".join(_cell(rows, name, largest) for name in columns) + " |"
    return text


def _cell(rows: Sequence[Row], column: str, largest: bool) -> str:
    values = [row[column] for row in rows if isinstance(row.get(column), int | float)]
    if not values:
        return str(rows[0].get(column, ""))
    typical, spread = (np.median(values), np.max(values)) if largest else (np.mean(values), np.std(values))
    varied = len(values) > 1 and np.std(values) > 0
    return f"{typical:.3f}" + (f"{', ' if largest else ' ± '}{spread:.3f}" if varied else "")
