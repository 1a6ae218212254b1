"""Names of images -> names of their results. Every command and the page use this one rule (``result_stems``)."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, count
from pathlib import Path

from segspectral.images.reader import EXTENSIONS

__all__ = ["is_photograph", "names_below", "result_stems", "short_stem", "stem_in", "yolo_stem"]

FOLDERS = ("labelme", "labelme-polygons", "yolo/images", "yolo/labels")
"""Folders below that of the results, in which formats have the files of images under the images' own stems."""

OWN_FOLDERS = frozenset(folder.partition("/")[0] for folder in FOLDERS) | {"report"}
"""Folders at the top of the results that hold no results of images: those of formats, and of the gallery."""

OWN_STEMS = frozenset({"coco"})
"""``coco.json`` stands for all images: no image's summary may have that name."""

SUFFIXES = (".csv", ".json", ".npz", ".svg", ".gpkg", ".geojson", ".zip", ".html", ".jsonl", *EXTENSIONS)
"""Of all files that a run writes or links."""


def result_stems(
    names: Iterable[str], in_use: Mapping[str, str] | None = None, folders: Iterable[str] = ()
) -> dict[str, str]:
    """The stem of each image's results: ``x/a`` stands for ``x/a_labels.png``, ``labelme/x/a.json`` and so on.

    The rule:

    1. The stem is the image's name without the suffix, because the readers of all formats look a result up in this
       way: ``x/a.jpg`` -> ``x/a``.
    2. Images that differ in the suffix only keep it: ``x/a.jpg`` and ``x/a.png`` are their own stems.
    3. If names are still equal on a disk that ignores case or the Unicode form, or if a result of another image has
       the name, a number is added: ``x/a.jpg_2``.
    4. A folder whose name a run needs itself (``labelme``, ``yolo``, ``report``, or one that ends like a file of
       results) gets a "_". Control characters and bytes that are not UTF-8 become "_", because lists with one name a
       line cannot hold them.

    So no two stems are equal, and no stem makes a path that belongs to another image or to the run. The answer depends
    on the set of names only, which all shards of a batch share. Images that come later change no stem of a result
    that exists: they avoid it.

    Parameters
    ----------
    names : of images, with suffixes and with "/", below one folder
    in_use : image -> stem of its results in the output folder, "" if it has none; also of images not in ``names``
    folders : further names that folders at the top must not have

    Returns
    -------
    name -> stem, of ``names`` and ``in_use``

    >>> result_stems(["x/a.jpg", "b.jpg", "b.png", "labelme/c.png"])
    {'b.jpg': 'b.jpg', 'b.png': 'b.png', 'labelme/c.png': 'labelme_/c', 'x/a.jpg': 'x/a'}
    """
    in_use = in_use or {}
    own = OWN_FOLDERS | set(folders)
    spellings = {name: _spellings(name, own) for name in sorted({*names, *in_use})}
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for name, candidates in spellings.items():
        for stem in (*candidates, *filter(None, [in_use.get(name)])):
            holders[_key(stem)].add(name)
    stems: dict[str, str] = {}
    for name, candidates in spellings.items():
        numbered = (f"{candidates[-1]}_{number}" for number in count(2))
        stem = next(
            stem
            for stem in chain(candidates, numbered)
            if holders[_key(stem)] <= {name} and _key(stem) not in OWN_STEMS
        )
        holders[_key(stem)].add(name)
        stems[name] = stem
    return stems


def short_stem(name: str) -> str:
    """The stem that an image has if no other is like it: its name without the suffix.

    >>> short_stem("x/a.b.jpg")
    'x/a.b'
    """
    return _spellings(name, OWN_FOLDERS)[0]


def stem_in(outputs: Iterable[str]) -> str:
    """The stem of results that exist, from their paths; "" if they hold no overlay, which every image gets."""
    return next((path.removesuffix("_overlay.png") for path in outputs if path.endswith("_overlay.png")), "")


def is_photograph(below: Path) -> bool:
    """Whether a path below the folder of results is a photograph that stands there for trainers, whatever its name."""
    return "/yolo/images/" in f"/{below.as_posix()}"


def yolo_stem(stem: str) -> str:
    """The stem below ``yolo/images``, from which trainers derive that of the labels.

    They replace the last "/images/" of the path by "/labels/" (``img2label_paths`` of Ultralytics), so no folder
    further down may have that name.

    >>> yolo_stem("images/train/a")
    'images_/train/a'
    """
    return re.sub(r"(^|/)(images_*)(?=/)", r"\1\2_", stem)


def names_below(paths: Iterable[Path]) -> list[str]:
    """The names of images below the folder that they share, with "/"; their file names if these all differ."""
    whole = [os.path.abspath(path) for path in paths]
    short = [os.path.basename(path) for path in whole]
    if len({_key(short_stem(name)) for name in short}) == len(short):
        return short
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [Path(os.path.relpath(path, root)).as_posix() for path in whole]


def _spellings(name: str, own_folders: Iterable[str]) -> list[str]:
    """The stems that the name may have, best first: without and with the suffix."""
    *above, last = ("".join("_" if _unprintable(c) else c for c in part) for part in name.split("/"))
    for place, folder in enumerate(above):
        if (place == 0 and _key(folder) in own_folders) or _key(folder).endswith(SUFFIXES):
            above[place] = f"{folder}_"
    return ["/".join([*above, end]) for end in dict.fromkeys([os.path.splitext(last)[0], last])]


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _key(name: str) -> str:
    """Equal for names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())
