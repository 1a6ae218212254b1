"""``segspectral report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.common import note
from segspectral.cli.options import command
from segspectral.wording import plural


@command
def report(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder with results of segment or batch.")],
    images: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The photographs, if they have moved.")] = None,
) -> None:
    """Make OUT/index.html: a gallery of the results that opens in a browser, offline."""
    from segspectral.report import build

    path, count, failed = build(folder, images, note)
    print(f"{plural(count, 'image')}{f', {failed} failed' if failed else ''} -> {path}")
