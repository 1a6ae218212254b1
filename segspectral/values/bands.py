"""All bands of an image in the units of its file, indices of them, and their statistics over segments."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segspectral.wording import plural

__all__ = ["BandSums", "Bands", "Index"]

BLOCK_PIXELS = 1_000_000
"""Statistics over segments are summed for about this many pixels at once. This bounds their memory."""

LONGEST = 200
"""Maximum number of characters of a formula, which bounds the work that a client of the page can ask for."""

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
}
FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "abs": (np.abs, 1),
    "sqrt": (np.sqrt, 1),
    "log": (np.log, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
}
"""Name -> what it computes, and the number of its arguments."""


@dataclass(frozen=True)
class Index:
    """A further band that a formula computes from others, such as ``(b8-b4)/(b8+b4)``.

    The formula consists of numbers, bands b1, b2, ..., the operators + - * / ** and the functions abs, sqrt, log,
    min(a, b) and max(a, b). Nothing else is evaluated.

    Parameters
    ----------
    name : the prefix of its columns in tables
    formula : bands are counted from 1

    Raises
    ------
    ValueError
        The formula contains something else, or no band.

    >>> ndvi = Index("ndvi", "(b2-b1)/(b2+b1)")
    >>> ndvi({1: np.array([1.0, 0.0]), 2: np.array([3.0, 0.0])}.__getitem__)
    array([0.5, nan])
    """

    name: str
    formula: str

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError(f"'{self.formula}' names no band; bands are b1, b2 and so on")

    @cached_property
    def bands(self) -> tuple[int, ...]:
        """The numbers of the bands in the formula, from 1, ascending."""
        return tuple(sorted({_band(node.id) for node in ast.walk(self._tree) if isinstance(node, ast.Name)} - {0}))

    def __call__(self, band: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        """The index of each pixel, from the function that gives a band by its number; NaN where it is not finite."""
        with np.errstate(all="ignore"):
            value = np.asarray(_evaluated(self._tree, band))
        return np.where(np.isfinite(value), value, np.nan)

    @cached_property
    def _tree(self) -> ast.expr:
        text = self.formula
        if len(text) > LONGEST:
            raise ValueError(f"a formula has at most {LONGEST} characters; this one has {len(text)}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            _check(tree)
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            why = f": {error}" if type(error) is ValueError else ""
            raise ValueError(
                f"'{text}' is not a formula of bands such as (b4-b1)/(b4+b1){why}; "
                f"there are + - * / ** and {', '.join(FUNCTIONS)}"
            ) from None
        return tree


def _band(name: str) -> int:
    """The number of a band, 0 for the name of a function. ValueError for other names."""
    if name in FUNCTIONS:
        return 0
    if not re.fullmatch(r"[bB][1-9][0-9]{0,3}", name):
        raise ValueError(f"{name} is no band")
    return int(name[1:])


def _check(node: ast.AST) -> None:
    """Raise ValueError if a formula has a part that is not allowed."""
    match node:
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) if type(op) in OPERATORS:
            inner = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
        case ast.Call(func=ast.Name(id=name), args=inner, keywords=[]) if name in FUNCTIONS:
            if len(inner) != FUNCTIONS[name][1]:
                raise ValueError(f"{name} takes {FUNCTIONS[name][1]} of them")
        case ast.Name(id=name):
            if not _band(name):
                raise ValueError(f"{name} needs an argument")
            inner = []
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            inner = []
        case _:
            raise ValueError("it has a part that is none of these")
    for part in inner:
        _check(part)


def _evaluated(node: ast.AST, band: Callable[[int], NDArray[Any]]) -> Any:
    match node:
        case ast.BinOp():
            return OPERATORS[type(node.op)](_evaluated(node.left, band), _evaluated(node.right, band))
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_evaluated(node.operand, band))
        case ast.Call(func=ast.Name(id=name)):
            return FUNCTIONS[name][0](*(_evaluated(part, band) for part in node.args))
        case ast.Name():
            return band(_band(node.id))
        case ast.Constant():
            return float(node.value)  # type: ignore[arg-type]
    raise AssertionError(node)


@dataclass(frozen=True, eq=False)
class Bands:
    """All bands of an image as its file holds them.

    Parameters
    ----------
    values : (H, W, B) in the type and the units of the file; void pixels have any value
    names : the names of the bands in the file; "" for a band without a name, empty if no band has one
    nodata : a value that means "no measurement", in any band
    indices : further bands
    seen : the numbers of the bands, from 1, that the image shows as grey or as colour
    """

    values: NDArray[Any]
    names: tuple[str, ...] = ()
    nodata: float | None = None
    indices: tuple[Index, ...] = ()
    seen: tuple[int, ...] = ()

    @property
    def unseen(self) -> bool:
        """Whether there are bands or indices that the image does not show."""
        return self.unseen_said != ""

    @property
    def unseen_said(self) -> str:
        """What the image does not show: ``10 bands``, ``1 band and ndvi``; empty if it shows all."""
        count = self.values.shape[2] - len(set(self.seen))
        return " and ".join([plural(count, "band")] * (count > 0) + [index.name for index in self.indices])

    @property
    def keys(self) -> tuple[str, ...]:
        """``band1`` to ``bandB``, and the names of the indices: the prefixes of columns in tables."""
        return (*(f"band{i + 1}" for i in range(self.values.shape[2])), *(index.name for index in self.indices))

    def plane(self, number: int) -> NDArray[Any]:
        """(H, W) one band, from 1, as floats; NaN where there is no measurement."""
        values = self.values[..., number - 1]
        # Integers of more than 24 bits may differ by less than float32 can tell.
        plane = values.astype(np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64)
        if values.dtype.kind == "f":
            plane[~np.isfinite(plane)] = np.nan
        if self.nodata is not None:
            # As GDAL compares: the text of a float need not have all its digits.
            near = 4 * float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0
            plane[np.isclose(values, self.nodata, rtol=near, atol=0) if near else values == self.nodata] = np.nan
        return plane

    def planes(self, unseen: bool = False) -> Iterator[NDArray[Any]]:
        """(H, W) floats, one after the other in the order of ``keys``; NaN where there is no measurement.

        Parameters
        ----------
        unseen : leave out the bands that the image shows
        """
        for number in range(1, self.values.shape[2] + 1):
            if not unseen or number not in self.seen:
                yield self.plane(number)
        for index in self.indices:
            yield index(self.plane)

    def window(self, rows: slice, cols: slice = slice(None)) -> Bands:
        """The bands of a part of the image."""
        return replace(self, values=self.values[rows, cols])


class BandSums:
    """Mean and standard deviation of each band over each segment. Windows of an image add up to the whole.

    The deviations are combined as in Chan, Golub and LeVeque (1983), because sums of squares would lose digits.

    Parameters
    ----------
    keys : as in ``Bands``
    segments : the largest number of a segment

    >>> sums = BandSums(["band1"], 2)
    >>> sums.add(np.array([[1, 1, 2]], np.int32), Bands(np.array([[[10], [30], [7]]], np.uint16)))
    >>> sums.columns(1)
    {'band1_mean': 20.0, 'band1_std': 10.0}
    """

    def __init__(self, keys: Sequence[str], segments: int) -> None:
        self.keys = tuple(keys)
        self.count, self._mean, self._squares = np.zeros((3, segments + 1, len(self.keys)))

    def add(self, labels: NDArray[np.integer], bands: Bands) -> None:
        """Add a window: its segments (h, w), 0 on void, and its bands (h, w, B)."""
        step = max(1, BLOCK_PIXELS // labels.shape[1])
        for first in range(0, labels.shape[0], step):
            rows = slice(first, first + step)
            self._add(labels[rows], bands.window(rows))

    def _add(self, labels: NDArray[np.integer], bands: Bands) -> None:
        size = len(self.count)
        inside = labels > 0
        if not inside.any():
            return
        of = labels[inside]
        for key, plane in enumerate(bands.planes()):
            values = plane[inside].astype(np.float64)
            known = np.isfinite(values)
            here, values = (of, values) if known.all() else (of[known], values[known])
            count = np.bincount(here, minlength=size)
            mean = np.bincount(here, values, size) / np.maximum(count, 1)
            squares = np.bincount(here, (values - mean[here]) ** 2, size)
            both = np.maximum(self.count[:, key] + count, 1)
            shift = mean - self._mean[:, key]
            self._squares[:, key] += squares + shift**2 * self.count[:, key] * count / both
            self._mean[:, key] += shift * count / both
            self.count[:, key] += count

    @property
    def mean(self) -> NDArray[np.float64]:
        """(segments + 1, keys) the means; NaN where a segment has no measurement. Row 0 is void."""
        return np.where(self.count > 0, self._mean, np.nan)

    @property
    def std(self) -> NDArray[np.float64]:
        """(segments + 1, keys) the standard deviations; NaN where a segment has no measurement. Row 0 is void."""
        return np.where(self.count > 0, np.sqrt(self._squares / np.maximum(self.count, 1)), np.nan)

    def columns(self, segment: int) -> dict[str, float | None]:
        """``band1_mean``, ``band1_std`` and so on, to six digits; None where the segment has no measurement."""
        cells: dict[str, float | None] = {}
        for key, count, mean, std in zip(
            self.keys, self.count[segment], self.mean[segment], self.std[segment], strict=True
        ):
            for name, value in (("mean", mean), ("std", std)):
                cells[f"{key}_{name}"] = float(f"{value:.6g}") if count else None
        return cells
