"""Values that are computed on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

__all__ = ["Later"]

T = TypeVar("T")


class Later(Generic[T]):
    """A value that is computed on first use, and only once. Another process receives the value itself.

    >>> calls = []
    >>> later = Later(lambda: calls.append("computed") or 3)
    >>> len(calls), later.value + later.value, calls
    (0, 6, ['computed'])
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    @cached_property
    def value(self) -> T:
        return self._make()

    def __getstate__(self) -> dict[str, T]:
        return {"value": self.value}  # functions cannot be sent
