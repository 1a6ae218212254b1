"""Options of the commands that read edges from text: what such a file cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from segspectral.networks.columns import Dialect


@dataclass(frozen=True)
class DialectOptions:
    """How edges are written in a text file; what is not given is found in the file."""

    separator: Annotated[
        str | None,
        typer.Option(help="What separates columns: comma, semicolon, tab, bar or blanks (default: as in the file)."),
    ] = None
    comments: Annotated[
        str | None, typer.Option(metavar="CHAR|none", help="What comment lines begin with (default: # or %).")
    ] = None
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line names the columns.")
    ] = None
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the first node: its name, or its number from 1.")
    ] = None
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the second node.")] = None
    weight: Annotated[
        str | None, typer.Option(metavar="NAME|none", help="Column of the weight; none: all weights are 1.")
    ] = None

    def dialect(self) -> Dialect:
        from segspectral.networks.columns import Dialect

        return Dialect(**vars(self))
