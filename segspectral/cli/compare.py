"""``segspectral compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.common import note
from segspectral.cli.options import command
from segspectral.wording import plural


@command
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders that segspectral evaluate wrote.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Also write comparison.html, .csv and .json.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the images for the intervals.")] = 1000,
) -> None:
    """Compare evaluations with the first of them, image by image: which differences are more than luck?"""
    from rich.console import Console
    from rich.table import Table

    from segspectral.evaluation import compare as compared

    comparison = compared(runs, resamples=resamples)
    table = Table(title=f"{plural(comparison.images, 'image')}, differences from {comparison.runs[0]}")
    for column in ("run", "score", comparison.runs[0], "value", "difference", "95 % interval", ""):
        table.add_column(column)
    for d in comparison.differences:
        interval = f"{d.low:+.4f} to {d.high:+.4f}"
        table.add_row(d.run, d.score, f"{d.first:.4f}", f"{d.value:.4f}", f"{d.difference:+.4f}", interval, d.verdict)
    Console(width=120 if not sys.stdout.isatty() else None).print(table)
    for text in comparison.notes:
        note(text)
    if output is not None:
        print(f"-> {comparison.write(output)['comparison.html']}")
