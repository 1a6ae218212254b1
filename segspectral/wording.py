"""Small parts of sentences: counted nouns and shortened lists of names."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["few", "first_line", "listed", "plural"]

SHOWN = 5
"""A sentence names at most this many files, so that it still fits on two lines of a terminal."""


def plural(count: int | float, noun: str, many: str | None = None) -> str:
    """Return a count with its noun, in the singular for 1; ``many`` is the plural if it is not the noun with "s".

    >>> plural(1, "segment"), plural(7, "segment"), plural(2, "node has", "nodes have"), plural(0.5, "second")
    ('1 segment', '7 segments', '2 nodes have', '0.5 seconds')
    """
    number = f"{count:g}" if isinstance(count, float) else str(count)
    return f"{number} {noun if count == 1 else many or f'{noun}s'}"


def few(names: Sequence[str]) -> str:
    """Return the first names of a list and the number of the others; "nothing" for an empty list.

    >>> few(["a", "b"]), few(list("abcdefg")), few([])
    ('a, b', 'a, b, c, d, e and 2 more', 'nothing')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) + more) or "nothing"


def listed(names: Sequence[str]) -> str:
    """Return names with "and" before the last.

    >>> listed(["PNG"]), listed(["PNG", "TIFF"]), listed(["a", "b", "c"])
    ('PNG', 'PNG and TIFF', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def first_line(error: Exception) -> str:
    """Return the first line of another program's message, or the kind of error if it has no message.

    >>> first_line(ValueError("odd\\nbytes")), first_line(KeyError())
    ('odd', 'KeyError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
