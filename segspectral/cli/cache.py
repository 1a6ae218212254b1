"""``segspectral cache``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.options import command
from segspectral.errors import SettingsError
from segspectral.wording import plural

cache_app = typer.Typer(
    help="Features kept on disk: --set 'features.cnn.cache={}' for a command, or in a settings file.",
    no_args_is_help=True,
)


@cache_app.callback()
def root() -> None:
    """Features kept on disk: --set 'features.cnn.cache={}' for a command, or in a settings file."""


@cache_app.command("prune")
@command
def cache_prune(
    max_gb: Annotated[float, typer.Option(min=0, help="What to leave, in 10^9 bytes; 0 empties it.")],
    folder: Annotated[
        Path | None, typer.Option(help="The setting features.cnn.cache.folder, if it was changed.")
    ] = None,
) -> None:
    """Remove the least recently used features until the folder is small enough."""
    from segspectral.features.cache import DEFAULT_FOLDER, prune

    folder = folder or Path(DEFAULT_FOLDER)
    if not folder.expanduser().is_dir():
        raise SettingsError("there is no such cache", folder)
    removed, left = prune(folder, max_gb)
    print(f"removed {plural(removed, 'file')}; {left / 1e9:.3f} GB are left")
