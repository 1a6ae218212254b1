"""Indices of bands by name, such as NDVI: which band is what is decided by what the file calls its bands."""

from __future__ import annotations

import re
from collections.abc import Sequence

from segspectral.errors import SettingsError
from segspectral.values.bands import Index

__all__ = ["INDICES", "as_index", "colours_of", "indices_of"]

INDICES = {
    "ndvi": "(nir-red)/(nir+red)",
    "gndvi": "(nir-green)/(nir+green)",
    "ndre": "(nir-rededge)/(nir+rededge)",
    "evi": "2.5*(nir-red)/(nir+6*red-7.5*blue+1)",
    "savi": "1.5*(nir-red)/(nir+red+0.5)",
    "ndwi": "(green-nir)/(green+nir)",
    "mndwi": "(green-swir1)/(green+swir1)",
    "ndmi": "(nir-swir1)/(nir+swir1)",
    "ndbi": "(swir1-nir)/(swir1+nir)",
    "nbr": "(nir-swir2)/(nir+swir2)",
}
"""Name -> formula of roles. Vegetation: NDVI (Rouse et al. 1974), GNDVI (Gitelson et al. 1996), NDRE (Barnes et al.
2000), EVI (Huete et al. 2002), SAVI (Huete 1988); water: NDWI (McFeeters 1996), MNDWI (Xu 2006), NDMI (Gao 1996);
built-up land: NDBI (Zha et al. 2003); burnt land: NBR (Key and Benson 2006)."""

OF_REFLECTANCE = ("evi", "savi")
"""Their constants are meant for reflectances from 0 to 1; on the integers in which products store these, they would be
wrong without a word."""

ROLES = {
    "nir": r"(narrow )?(nir|near.?infra.?red|near ir|infrared)( ?0?[18]a?)?",
    "red": "red",
    "green": "green",
    "blue": "blue",
    "rededge": r"(vegetation )?red.?edge ?1?",
    "swir1": r"(swir|short.?wave.?infra.?red) ?(1|16)",
    "swir2": r"(swir|short.?wave.?infra.?red) ?(2|22)",
}
"""Role -> what files call such a band, in lower case."""

SENTINEL_2 = {"B2": "blue", "B3": "green", "B4": "red", "B5": "rededge", "B8": "nir", "B11": "swir1", "B12": "swir2"}
"""The names of Sentinel-2. Landsat uses such names for other bands, so they count only beside B8A, which it has not."""

NAMED = re.compile(r"[a-z][a-z0-9_]{0,30}")


def as_index(text: str, number: int) -> tuple[str, str]:
    """``ndvi``, ``(b5-b4)/(b5+b4)`` or ``wet=(b3-b5)/(b3+b5)`` -> name and formula; a formula of a name is empty.

    Parameters
    ----------
    number : a formula without a name is called index1, index2, ...

    Raises
    ------
    ValueError
        There is no such index, or the formula cannot be evaluated.

    >>> as_index("ndvi", 1), as_index("b1/b2", 2)
    (('ndvi', ''), ('index2', 'b1/b2'))
    """
    text = text.strip()
    if text.lower() in INDICES:
        return text.lower(), ""
    if re.fullmatch(r"[A-Za-z_]+", text):
        raise ValueError(
            f"there is no index {text[:30]}; there are {', '.join(INDICES)}, and formulas such as (b4-b1)/(b4+b1)"
        )
    name, equals, formula = text.partition("=")
    if not equals:
        name, formula = f"index{number}", text
    name = name.strip().lower()
    if not NAMED.fullmatch(name) or re.fullmatch(r"b(and)?\d+", name):
        what = "use letters, digits and _, and not the name of a band"
        raise ValueError(f"'{name[:30]}' cannot be the name of an index: {what}")
    Index(name, formula)
    return name, formula


def indices_of(
    chosen: Sequence[tuple[str, str]], names: Sequence[str], count: int, what: str, *, reflectance: bool
) -> tuple[Index, ...]:
    """The indices of ``as_index`` for a file.

    Parameters
    ----------
    names : what the file calls its bands, or nothing
    count : the number of its bands
    what : the file, for messages
    reflectance : whether its values can be reflectances from 0 to 1

    Raises
    ------
    SettingsError
        A band does not exist, or the file does not say which of its bands an index needs.
    """
    roles = roles_of(names)
    made = []
    for name, formula in chosen:
        if not formula:
            formula = _with_bands(name, roles, count, what)
            if name in OF_REFLECTANCE and not reflectance:
                raise SettingsError(
                    f"has values that are not reflectances from 0 to 1, for which {name} is defined; write its formula "
                    f"with their scale, for 0 to 10000 --index '{_scaled(formula)}'",
                    what,
                )
        index = Index(name, formula)
        if index.bands[-1] > count:
            have = "1 band" if count == 1 else f"{count} bands"
            raise SettingsError(f"has {have}, but the index {formula} needs band {index.bands[-1]}", what)
        made.append(index)
    return tuple(made)


def colours_of(names: Sequence[str], default: tuple[int, ...]) -> tuple[int, ...]:
    """The bands, from 0, that are called red, green and blue; the default if the names do not say so."""
    roles = roles_of(names)
    colours = [roles[name] - 1 for name in ("red", "green", "blue") if name in roles]
    return tuple(colours) if len(colours) == 3 else default


def roles_of(names: Sequence[str]) -> dict[str, int]:
    """Role -> number of the band, from 1, where the names of the bands say so without doubt."""
    plain = [re.sub(r"[\s_\-]+", " ", name.strip().lower()) for name in names]
    roles = {}
    for role, pattern in ROLES.items():
        # "B4", "Band 4 - Red", "Red (665 nm)" and "red" are called red.
        whole = rf"(b(and)? ?\d+a?[ :,(]*)?{pattern}\)?( ?\(?[\d.]+ ?[nu]m\)?)?"
        found = [i + 1 for i, name in enumerate(plain) if re.fullmatch(whole, name)]
        if len(found) == 1:
            roles[role] = found[0]
    codes = [re.sub(r"^B0", "B", name.strip().upper()) for name in names]
    if "B8A" in codes:
        roles = {role: codes.index(code) + 1 for code, role in SENTINEL_2.items() if codes.count(code) == 1} | roles
    return roles


def _with_bands(name: str, roles: dict[str, int], count: int, what: str) -> str:
    """The formula of a name with the numbers of bands. SettingsError if the file does not say which they are."""
    needed = dict.fromkeys(re.findall(r"[a-z]+\d?", INDICES[name]))
    if missing := [role for role in needed if role not in roles]:
        words = {
            "nir": "near infrared",
            "rededge": "red edge",
            "swir1": "short-wave infrared 1",
            "swir2": "short-wave infrared 2",
        }
        *others, last = (words.get(role, role) for role in missing)
        lacking = f"{', '.join(others)} and {last}" if others else last
        example = INDICES[name]
        for number, role in enumerate(needed, 1):
            example = re.sub(rf"\b{role}\b", f"b{roles.get(role, number)}", example)
        raise SettingsError(
            f"does not say which of its {count} bands {'is' if len(missing) == 1 else 'are'} {lacking}, which {name} "
            f"needs; write the formula with its numbers of bands, such as --index '{name}={example}'",
            what,
        )
    return re.sub(r"[a-z]+\d?", lambda role: f"b{roles[role[0]]}", INDICES[name])


def _scaled(formula: str) -> str:
    """The formula with each band divided by 10000."""
    return re.sub(r"(b\d+)", r"\1/10000", formula)
