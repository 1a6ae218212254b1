"""Options of the commands that read edges from text: what such a file cannot tell."""

from __future__ import annotations

from typing import Annotated

import typer

SeparatorOption = Annotated[
    str | None, typer.Option("--separator", help="Of columns: comma, semicolon, tab, bar or blanks; else found.")
]
CommentsOption = Annotated[
    str | None, typer.Option("--comments", metavar="CHAR|none", help="What comment lines begin with; else # or %.")
]
NamesOption = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether line 1 names the columns.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Column of the first node: its name, or number from 1.")
]
TargetOption = Annotated[str | None, typer.Option("--target", metavar="NAME", help="Column of the second node.")]
WeightOption = Annotated[
    str | None, typer.Option("--weight", metavar="NAME|none", help="Column of the weight; none: all weights are 1.")
]
