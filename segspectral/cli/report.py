"""``segspectral report``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.common import DebugOption, plural, printable, sentences


def report(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder with results of segment or batch.")],
    images: Annotated[
        Path | None, typer.Option("--images", metavar="FOLDER", help="The photographs, if they have moved.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Make OUT/index.html: a gallery of the results that opens in a browser, offline."""
    with sentences(debug):
        from segspectral.report import build

        path, count, failed = build(folder, images, lambda text: print(f"note: {printable(text)}", file=sys.stderr))
        print(f"{plural(count, 'image')}{f', {failed} failed' if failed else ''} -> {path}")
