"""The command line.

Exit codes: 0 all well, 1 some images failed, 2 usage or settings, 3 all images failed, 130 interrupted. To add a
command: a function in a module here, and its name in a group below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from segspectral.cli.batch import batch, status
from segspectral.cli.cache import cache_app
from segspectral.cli.cluster import cluster
from segspectral.cli.common import INTERRUPTED
from segspectral.cli.communities import communities
from segspectral.cli.convert import convert
from segspectral.cli.evaluate import evaluate
from segspectral.cli.fit import fit
from segspectral.cli.info import checks, config_app
from segspectral.cli.models import export_app, models_app
from segspectral.cli.report import report
from segspectral.cli.segment import demo, segment
from segspectral.cli.serve import serve

__all__ = ["app", "main"]

app = typer.Typer(
    name="segspectral",
    help="Segment images without labels: superpixels, a pretrained CNN, a neural spectral head, a dense CRF.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Segment": (segment, demo, serve),
    "Many images": (batch, status, fit),
    "Evaluate": (evaluate,),
    "Results": (convert, report),
    "Networks": (communities, cluster),
    "Housekeeping": (checks,),
}
"""The groups of ``--help``, by job; the commands that everyone needs come first."""

for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(models_app, name="models", no_args_is_help=True, rich_help_panel="Results")
app.add_typer(export_app, name="export", no_args_is_help=True, rich_help_panel="Results")
app.add_typer(config_app, name="config", rich_help_panel="Housekeeping")
app.add_typer(cache_app, name="cache", rich_help_panel="Housekeeping")


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from segspectral import __version__

        print(f"segspectral {__version__}")
        raise typer.Exit


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
