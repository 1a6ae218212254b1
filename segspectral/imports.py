"""Imports when they are needed, and without garbage collection: they are most of what a command on one image costs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["imported_on_use", "no_collection"]


def imported_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, which imports the module of a name when the name is first used.

    Parameters
    ----------
    homes : name -> the module below the package that defines it
    """

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return attribute


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage is collected within, which does not run for long.

    An import makes many objects, of which none is garbage. To look through them again and again takes an eighth of the
    time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
