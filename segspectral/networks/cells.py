"""The cells of text tables: numbers in the spellings of several countries, words, and the names of nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["is_number", "is_word", "plain_word", "quoted", "to_number", "whole_names"]

NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[-+]?\d{1,3}((\.\d{3})+,\d+|(,\d{3})+\.\d+)", re.ASCII)
"""A number with separators of thousands and decimals, such as 1,234.5 or 1.234,5."""

MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?"}
"""Words that programs write for a missing value."""


def is_number(text: str) -> bool:
    """Return whether a cell is a number with a decimal point or comma; NaN and infinity count as numbers."""
    found = NUMBER.fullmatch(text) or THOUSANDS.fullmatch(text)
    return found is not None or text.lower().lstrip("+-") in ("nan", "inf", "infinity")


def to_number(text: str, separator: str | None) -> float:
    """Return the number in a cell; a single comma is a decimal comma.

    Raises
    ------
    ValueError
        Commas separate the columns, so it is unclear whether the comma in the number separates thousands or decimals.
    """
    if "," not in text:
        return float(text)
    if separator == "," and re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text):
        raise ValueError(
            f"{quoted(text)} may be {text.replace(',', '')} or {text.replace(',', '.')}; use a decimal point"
        )
    if THOUSANDS.fullmatch(text):
        text = text.replace(min(".,", key=text.rfind), "")
    return float(text.replace(",", "."))


def is_word(text: str) -> bool:
    """Return whether a cell can be the name of a column: it is a word and does not stand for a missing value."""
    return text[:1].isalpha() and text.lower() not in MISSING and not is_number(text)


def plain_word(text: str) -> str:
    """Return a word of a header in lower case, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", text).lower()


def quoted(text: str) -> str:
    """Return a cell in quotation marks for a message, on one line and shortened to 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def whole_names(names: Sequence[str]) -> list[str] | None:
    """Return names that are all numbers as whole numbers ("2.0" becomes "2"), or None if some names are words.

    Raises
    ------
    ValueError
        All names are numbers, but some are not whole; the argument of the error is the first of these.
    """
    if not all(NUMBER.fullmatch(name) for name in names):
        return None
    whole = [name if name.isdigit() else _whole(name) for name in names]
    if None in whole:
        raise ValueError(names[whole.index(None)])
    return [name for name in whole if name is not None]


def _whole(name: str) -> str | None:
    value = float(name.replace(",", "."))
    return str(int(value)) if abs(value) < 2**53 and value.is_integer() else None
