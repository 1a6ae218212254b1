"""What the shell completes: the names that segspectral knows. ``segspectral --install-completion`` sets it up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["one_of", "some_of"]

Names = Iterable[str] | Callable[[], Iterable[str]]
Completion = Callable[[str], list[tuple[str, str]]]


def one_of(names: Names) -> Completion:
    """Complete one name. A mapping's values are shown as help beside the names.

    >>> one_of({"voc": "PASCAL VOC", "bsds": "BSDS500"})("v")
    [('voc', 'PASCAL VOC')]
    """

    def complete(incomplete: str) -> list[tuple[str, str]]:
        known = names() if callable(names) else names
        help_of = known if isinstance(known, Mapping) else {}
        return [(name, str(help_of.get(name, ""))) for name in known if name.startswith(incomplete)]

    return complete


def some_of(names: Names) -> Completion:
    """Complete the last of several names that are separated by commas; a name is offered once.

    >>> some_of(["png", "coco", "csv"])("png,c")
    [('png,coco', ''), ('png,csv', '')]
    """

    def complete(incomplete: str) -> list[tuple[str, str]]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [(f"{before}{comma}{name}", text) for name, text in one_of(names)(last) if name not in given]

    return complete
