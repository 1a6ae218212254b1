"""What the values of a file mean: which bands are seen, which values are black and white, which pixels are void.

This is the only place where it is decided, for whole images and for rasters in tiles.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, field_validator, model_validator

from segspectral.errors import ImageError, SettingsError
from segspectral.images.indices import as_index, colours_of, indices_of
from segspectral.images.raw import Raw
from segspectral.settings import Settings
from segspectral.values import Bands, Image, Index
from segspectral.wording import plural

__all__ = [
    "SAMPLE",
    "Reading",
    "Scale",
    "Stretch",
    "bands_said",
    "interpret",
    "said_of_bands",
    "scale_of",
    "three_bands",
]

SAMPLE = 1_000_000
"""Percentiles are estimated from about this many pixels: ample for a percentile."""

DEPTHS = (8, 10, 12, 14, 16)
"""The numbers of bits of cameras, microscopes and scanners. Their values in a file of 16 bits fill the least of these
that holds the largest value. Shown by this depth in 256 levels, a picture of 12 bits equals its copy of 8 bits; without
these levels, noise below one level changes segments."""

FILLED = 1 / 5
"""A picture fills its depth if its BRIGHT percentile is at least this share of it. That of images of stained nuclei, of
which few pixels are bright, is 0.22 to 0.6."""

BRIGHT = 99.9
"""A percentile instead of the largest value, so that a few hot pixels do not decide."""

PERCENTILES = (2.0, 98.0)
"""The default stretch of maps, floats beyond [0, 1], and pictures that do not fill their depth."""

REFLECTANCE = 2.0
"""Values up to this can be reflectances: those of bright clouds and snow are above 1."""

Band = Annotated[int, Field(ge=1)]


class Stretch(NamedTuple):
    """The values that become black and white.

    Parameters
    ----------
    low, high : percentiles of the valid values of the seen bands, or values of the file
    percent : whether they are percentiles
    """

    low: float
    high: float
    percent: bool = True

    @classmethod
    def parse(cls, value: Any) -> Any:
        """``2,98``, ``min,max``, ``200,2700``, ``0:1``, ``none``, ``auto`` or a pair -> what ``Reading.stretch`` holds.

        Two numbers from 0 to 100 with a comma are percentiles; other numbers, and two numbers with a colon, are values
        of the file.

        >>> Stretch.parse("min,max"), Stretch.parse("200,2700").percent, Stretch.parse("0:1").percent
        (Stretch(low=0.0, high=100.0, percent=True), False, False)
        """
        if value is None or value in ("auto", "none") or isinstance(value, Stretch):
            return None if value == "auto" else value
        if isinstance(value, str):
            colon = ":" in value
            parts: list[Any] = re.split("[,:]", "0,100" if value == "min,max" else value.replace("%", ""))
        else:
            parts, colon = list(value), False
        if len(parts) == 3 and isinstance(parts[2], bool):
            return cls(float(parts[0]), float(parts[1]), parts[2])  # as ``model_dump`` writes it
        try:
            low, high = map(float, parts)
        except (TypeError, ValueError):
            raise ValueError(
                "write none, min,max, two percentiles such as 2,98, or two values such as 200:2700"
            ) from None
        if not low < high:
            raise ValueError("the first number, which becomes black, must be below the second, which becomes white")
        return cls(low, high, not colon and low >= 0 and high <= 100)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' %' if self.percent else ''}"


def _numbers(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else [value] if isinstance(value, int) else value


def _formulas(value: Any) -> Any:
    """Formulas with commas between them, or a list of such. Commas within parentheses are of a formula.

    >>> _formulas("ndvi, min(b1, b2)/b3")
    ['ndvi', 'min(b1, b2)/b3']
    """
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        return value
    found = []
    for text in value:
        depth, last = 0, 0
        for place, letter in enumerate(text):
            depth += (letter == "(") - (letter == ")")
            if letter == "," and depth <= 0:
                found.append(text[last:place].strip())
                last = place + 1
        found.append(text[last:].strip())
    return [text for text in found if text]


class Reading(Settings):
    """How files and arrays are read; the defaults are what the file says about itself."""

    bands: Annotated[tuple[Band, ...] | None, BeforeValidator(_numbers)] = Field(
        None, description="numbers, from 1, of the bands shown as red, green and blue; or of one band, shown as grey"
    )
    stretch: Annotated[
        Stretch | Literal["none"] | None,
        BeforeValidator(Stretch.parse),
        PlainSerializer(lambda value: list(value) if isinstance(value, Stretch) else value),
    ] = Field(None, description="what becomes black and white; none: 0 and the largest value of the type; null: auto")
    page: Annotated[int, Field(ge=1)] | Literal["all"] | None = Field(
        None, description="number, from 1, of the page or frame; null: the first of the largest"
    )
    channels: Annotated[tuple[Annotated[int, Field(ge=0)], ...] | None, BeforeValidator(_numbers)] = Field(
        None,
        description="numbers, from 0, of the channels of a micrograph: grey, red and green, or red, green and blue",
    )

    index: Annotated[tuple[str, ...], BeforeValidator(_formulas)] = Field(
        (),
        max_length=16,
        description="further bands: names such as ndvi, or formulas such as (b5-b4)/(b5+b4) of bands counted from 1",
    )

    @field_validator("index")
    @classmethod
    def _known_and_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [as_index(text, number)[0] for number, text in enumerate(value, 1)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two of them are called {twice[0]}; name them, such as wet=(b3-b5)/(b3+b5)")
        return value

    @field_validator("bands")
    @classmethod
    def _grey_or_colour(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise ValueError("write 3 numbers with commas between them, such as 4,3,2, or one number")
        return value

    @field_validator("channels")
    @classmethod
    def _up_to_three(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and not 1 <= len(value) <= 3:
            raise ValueError("write one to three numbers with commas between them, such as 0,2")
        return value

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.bands is not None and self.channels is not None:
            raise ValueError("bands and channels both choose what is seen; leave one of them out")
        return self

    @property
    def number(self) -> int | None:
        """The number of the page, from 1; None for the default, and for all."""
        return self.page if isinstance(self.page, int) else None

    def indices(
        self, names: tuple[str, ...], count: int, what: str, dtype: np.dtype[Any], most: float
    ) -> tuple[Index, ...]:
        """The further bands of a file.

        Parameters
        ----------
        names, count : what the file calls its bands, and how many it has
        dtype : the type of their values
        most : about the largest value

        Raises
        ------
        SettingsError
            A band does not exist, or the file does not say which of its bands an index needs.
        """
        named = [as_index(text, number) for number, text in enumerate(self.index, 1)]
        return indices_of(named, names, count, what, reflectance=dtype.kind == "f" and most <= REFLECTANCE)

    def chosen(self, count: int, default: tuple[int, ...], what: str) -> tuple[int, ...]:
        """The bands, from 0, that are seen among ``count``. Raises SettingsError if one does not exist."""
        if self.bands is None and self.channels is None:
            return default
        first = 1 if self.bands is not None else 0
        wanted = self.bands if self.bands is not None else self.channels or ()
        if any(number - first >= count for number in wanted):
            of = "bands" if first else "channels, counted from 0"
            raise SettingsError(f"has {count} {of}, but {', '.join(map(str, wanted))} were requested", what)
        return tuple(number - first for number in wanted)


class Scale(NamedTuple):
    """The values of black and white, and what was decided as a sentence and as data.

    ``levels`` says whether the shown values are rounded to 256 levels.
    """

    low: float
    high: float
    said: str
    data: dict[str, Any]
    levels: bool = False

    def applied(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The values in [0, 1]; NaN stays."""
        # Values of more than 24 bits may differ by less than float32 can tell.
        exact = values.dtype.itemsize <= 2 or values.dtype == np.float32
        wide: NDArray[Any] = values.astype(np.float32 if exact else np.float64)
        if self.low:
            wide -= self.low
        wide /= wide.dtype.type(self.high - self.low)
        shown: NDArray[np.float32] = np.clip(wide, 0, 1, out=wide).astype(np.float32, copy=False)
        if self.levels:
            shown = np.rint(shown * np.float32(255)) / np.float32(255)
        return shown


def scale_of(
    sample: NDArray[Any],
    span: tuple[float, float],
    bits: int | None,
    placed: bool,
    stretch: Stretch | Literal["none"] | None,
    name: str,
) -> Scale | None:
    """The scale of valid values; None if values of 8 bits, or truth values, are shown as they are.

    Integers of a camera, microscope or scanner are shown from 0 to the largest value of their depth (``DEPTHS``), and
    floats in [0, 1] from 0 to 1, if they fill it. Everything else is stretched by ``PERCENTILES``, all bands alike: the
    values of a map, which has a georeference, are reflectances or heights, not shades.

    Parameters
    ----------
    sample : (n,) finite valid values, n > 0
    span : the smallest and the largest valid value
    bits : as in ``Raw``
    placed : whether the image has a georeference

    Raises
    ------
    ImageError
        ``stretch`` is "none", and the values are not in a range that is known.
    """
    dtype = sample.dtype
    if _as_stored(dtype, stretch):
        return None
    least, most = span
    stored = bits or 8 * dtype.itemsize
    kind = f"{stored} bits" if dtype.kind in "iu" else "floats"
    about = f"{kind}, values {least:.6g} to {most:.6g}"
    data: dict[str, Any] = {"bits": stored} if dtype.kind in "iu" else {"type": "float"}
    data |= {"values": [float(least), float(most)]}
    if stretch is None:
        ceiling = _ceiling(sample, span, bits)
        if ceiling and not placed and np.percentile(sample, BRIGHT) >= FILLED * ceiling:
            said = f"{about}, shown from 0 to {ceiling:g}"
            return Scale(0.0, ceiling, said, data | {"shown": [0.0, ceiling]}, levels=dtype.kind != "f")
        stretch = Stretch(*PERCENTILES)
    if stretch == "none":
        ceiling = _range(span, dtype, bits)
        if not ceiling:
            raise ImageError(f"has {about}, which cannot be shown without a stretch; leave out stretch=none", name)
        return Scale(0.0, ceiling, f"{about}, shown from 0 to {ceiling:g}", data | {"shown": [0.0, ceiling]})
    low, high = map(float, np.percentile(sample, stretch[:2]) if stretch.percent else stretch[:2])
    if not high > low:
        high = low + 1.0
    said = f"{about}, shown as {stretch}" + (f" ({low:.6g} to {high:.6g})" if stretch.percent else "")
    return Scale(low, high, said, data | {"shown": [low, high], "stretch": str(stretch)})


def _as_stored(dtype: np.dtype[Any], stretch: Stretch | Literal["none"] | None) -> bool:
    return dtype.kind == "b" or (dtype == np.uint8 and stretch in (None, "none"))


def _ceiling(sample: NDArray[Any], span: tuple[float, float], bits: int | None) -> float:
    """The value that a camera would store for white; 0 if these are not the values of one."""
    least, most = span
    if least < 0:
        return 0.0
    if sample.dtype.kind == "f" and most <= 1:
        return 1.0
    if sample.dtype.kind == "f" and not (sample == np.rint(sample)).all():
        return 0.0
    depths = DEPTHS if bits is None or bits in (8, 16, 32, 64) else (bits,)
    return float(next((2**depth - 1 for depth in depths if most < 2**depth), 0))


def _range(span: tuple[float, float], dtype: np.dtype[Any], bits: int | None) -> float:
    """The largest value of the type; 0 if the values do not lie between 0 and it."""
    if dtype.kind == "f":
        return 1.0 if span[0] >= 0 and span[1] <= 1 else 0.0
    # Pillow opens greyscale files of 16 bits as 32-bit integers.
    largest = 2 ** (bits or 16) - 1 if (bits or dtype.itemsize * 8) <= 16 else 255 if span[1] <= 255 else 65535
    return float(largest) if span[0] >= 0 and span[1] <= largest else 0.0


def said_of_bands(count: int, bands: tuple[int, ...], asked: bool) -> str:
    """A sentence about bands that are not seen; empty if all are, or if the user chose."""
    if asked or len(set(bands)) >= count:
        return ""
    numbers = ", ".join(str(band + 1) for band in bands)
    seen = {1: "as grey", 2: "as red and green", 3: "as red, green and blue"}[len(bands)]
    rest = [str(band + 1) for band in range(count) if band not in bands]
    others = f"band {rest[0]} is" if len(rest) == 1 else f"{len(rest)} more are"
    return f"{plural(count, 'band')}: {numbers} shown {seen}; {others} not opacity and not shown (--bands chooses)"


def interpret(raw: Raw, name: str, reading: Reading = Reading()) -> Image:
    """Make an Image, and say what was decided in its notes.

    Raises
    ------
    ImageError
        No pixel is valid, or the type of the values cannot be shown.
    SettingsError
        A band does not exist.
    """
    if raw.values.dtype.kind not in "biuf":
        raise ImageError(f"contains {raw.values.dtype}; convert it to integers or floats", name)
    count = raw.values.shape[2]
    bands = reading.chosen(count, colours_of(raw.names, raw.shown), name)
    values = raw.values if bands == tuple(range(count)) else raw.values[..., list(bands)]
    valid = _valid(values, raw.valid, name)
    notes = [*raw.notes]
    if bits := said_of_bands(count, bands, reading.bands is not None or reading.channels is not None):
        notes.append(bits)
    data: dict[str, Any] = {"bands": count, "seen": [band + 1 for band in bands]}
    if raw.pages > 1:
        data |= {"page": raw.page, "pages": raw.pages}
    scale = _scale_of_image(values, valid, raw, reading, name)
    if scale is None:
        data |= {"bits": 1 if values.dtype.kind == "b" else 8}
        rgb = values.astype(np.uint8) * np.uint8(255) if values.dtype.kind == "b" else values
    else:
        notes.append(scale.said)
        data |= scale.data
        rgb = scale.applied(values)
        if valid is not None:
            rgb[~valid] = 0
        if scale.levels:
            rgb = np.rint(rgb * 255).astype(np.uint8)
    kept = _all_bands(raw, bands, reading, name, as_stored=scale is None)
    if kept is not None:
        data |= bands_said(kept)
    rgb = np.ascontiguousarray(three_bands(rgb))
    return Image(rgb, name, valid, data | {"said": notes}, tuple(notes), bands=kept)


def _all_bands(raw: Raw, seen: tuple[int, ...], reading: Reading, name: str, *, as_stored: bool) -> Bands | None:
    """All bands as they are stored; None if the image shows all of them as they are, in 8 bits."""
    if as_stored and set(seen) == set(range(raw.values.shape[2])) and not reading.index:
        return None
    most = float(np.nanmax(raw.values[::8, ::8])) if raw.values.dtype.kind == "f" and reading.index else 0.0
    indices = reading.indices(raw.names, raw.values.shape[2], name, raw.values.dtype, most)
    return Bands(raw.values, raw.names, raw.nodata, indices, tuple(band + 1 for band in seen))


def bands_said(bands: Bands) -> dict[str, Any]:
    """What the file calls its bands, and the formulas of the indices, in JSON types."""
    names = {"names": list(bands.names)} if any(bands.names) else {}
    return names | ({"indices": {one.name: one.formula for one in bands.indices}} if bands.indices else {})


def _scale_of_image(
    values: NDArray[Any], valid: NDArray[np.bool_] | None, raw: Raw, reading: Reading, name: str
) -> Scale | None:
    """``scale_of`` the bands that are seen, from a sample of their pixels and the range of all."""
    if _as_stored(values.dtype, reading.stretch):
        return None
    thin = max(1, round((values.shape[0] * values.shape[1] / SAMPLE) ** 0.5))
    inside = values if valid is None else values[valid]
    sample = values[::thin, ::thin] if valid is None else values[::thin, ::thin][valid[::thin, ::thin]]
    span = float(inside.min()), float(inside.max())
    return scale_of((sample if sample.size else inside).ravel(), span, raw.bits, raw.placed, reading.stretch, name)


def three_bands(shown: NDArray[Any]) -> NDArray[Any]:
    """(..., 3) of (..., 1 to 3): grey, or red and green, or red, green and blue."""
    if shown.shape[-1] == 1:
        return np.repeat(shown, 3, axis=-1)
    return np.concatenate([shown, np.zeros_like(shown[..., :1])], axis=-1) if shown.shape[-1] == 2 else shown


def _valid(values: NDArray[Any], valid: NDArray[np.bool_] | None, name: str) -> NDArray[np.bool_] | None:
    """(H, W) which pixels are neither void nor NaN; None if all are. ImageError if none is."""
    if valid is not None and not valid.any():
        raise ImageError("every pixel is transparent or nodata; there is nothing to segment", name)
    if values.dtype.kind == "f":
        finite = np.isfinite(values).all(axis=2)
        valid = finite if valid is None else valid & finite
        if not valid.any():
            raise ImageError("every pixel is NaN, infinity or nodata; there is nothing to segment", name)
    return None if valid is None or valid.all() else valid
