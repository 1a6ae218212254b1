"""The command line.

Exit codes: 0 all well, 1 some images failed, 2 usage or settings, 3 all images failed, 130 interrupted. To add a
command: a function in a module here, and a line in a group of ``COMMANDS``.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from segspectral.cli.common import INTERRUPTED
from segspectral.imports import no_collection

__all__ = ["app", "main"]

COMMANDS = {
    "Segment": {"segment": "segment:segment", "demo": "segment:demo", "serve": "serve:serve"},
    "Many images": {
        "batch": "batch:batch",
        "status": "batch:status",
        "fit": "fit:fit",
        "teach": "teach:teach",
        "suggest": "suggest:suggest",
    },
    "Evaluate": {"evaluate": "evaluate:evaluate", "compare": "compare:compare"},
    "Results": {
        "convert": "convert:convert",
        "measure": "measure:measure",
        "report": "report:report",
        "models": "models:models_app",
        "export": "models:export_app",
    },
    "Networks": {"communities": "communities:communities", "cluster": "cluster:cluster"},
    "Housekeeping": {"checks": "info:checks", "config": "info:config_app", "cache": "cache:cache_app"},
}
"""The groups of ``--help``, by job, with the commands that everyone needs first. Name -> module, and in it the function
or the group of functions."""


class Commands(Mapping[str, Any]):
    """Name -> command. Its module is imported when the command is looked up, so that the others cost nothing."""

    def __init__(self) -> None:
        self._homes = {name: (panel, home) for panel, homes in COMMANDS.items() for name, home in homes.items()}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            panel, home = self._homes[name]
            module, attribute = home.split(":")
            with no_collection():
                made = getattr(import_module(f"segspectral.cli.{module}"), attribute)
            if not isinstance(made, typer.Typer):
                function, made = made, typer.Typer(add_completion=False)
                made.command(name)(function)
            command: Any = typer.main.get_command(made)
            command.name, command.rich_help_panel = name, panel
            self._made[name] = command
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


class Group(TyperGroup):
    """The group of all commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty argument, because an empty path would mean the current folder."""
        if "" in args:
            ctx.fail("An argument is empty; is it a variable of the shell that is not set?")
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="segspectral",
    cls=Group,
    help="Segment images without labels: superpixels, a pretrained CNN, a neural spectral head, a dense CRF.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from segspectral import __version__

        print(f"segspectral {__version__}")
        raise typer.Exit


def main() -> None:
    """The console script.

    What ends a process from outside, which is SIGTERM or the end of the terminal, ends it as Ctrl-C does: half-written
    files are removed on the way. What the caller has the process ignore (``nohup``) stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ImportError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(INTERRUPTED)  # so extension modules tell of it that are being imported, such as onnxruntime
