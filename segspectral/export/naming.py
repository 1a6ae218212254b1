"""The names of results from the names of images. Every command and the page use one rule, ``result_stems``."""

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
"""Folders below the folder of results in which formats store a file per image, named by the image's stem."""

OWN_FOLDERS = frozenset(folder.partition("/")[0] for folder in FOLDERS) | {"labelstudio", "report"}
"""Top folders that do not hold the results of a folder of images: those of formats, and that of the gallery."""

OWN_STEMS = frozenset({"coco"})
"""``coco.json`` describes all images, so no summary of a single image may have that name."""

SUFFIXES = (".csv", ".json", ".npz", ".svg", ".gpkg", ".geojson", ".zip", ".html", ".jsonl", *EXTENSIONS)
"""The suffixes of all files that a run writes or links to."""


def result_stems(
    names: Iterable[str], in_use: Mapping[str, str] | None = None, folders: Iterable[str] = ()
) -> dict[str, str]:
    """Return the stem of each image's results; the stem ``x/a`` has ``x/a_labels.png``, ``labelme/x/a.json`` and so on.

    The rules:

    1. The stem is the image's name without the suffix, because the readers of all formats look for results under this
       name: ``x/a.jpg`` -> ``x/a``.
    2. Images whose names differ only in the suffix keep it: the stems are ``x/a.jpg`` and ``x/a.png``.
    3. If names are still equal on a disk that ignores case or the Unicode form, or if the results of another image
       have the name, a number is added: ``x/a.jpg_2``.
    4. A folder gets a "_" if the run needs its name (``labelme``, ``yolo``, ``report``, or a name that ends like a
       file of results). Control characters and bytes that are not UTF-8 become "_", because lists with one name per
       line cannot hold them.

    So no two stems are equal, and no stem makes a path that belongs to another image or to the run. The result depends
    only on the set of names, which all shards of a batch share. Images that are added later never change the stem of
    existing results.

    Parameters
    ----------
    names : names of images below one folder, with suffixes and with "/"
    in_use : image -> stem of its results in the output folder, "" if it has none; it may list images not in ``names``
    folders : further names that top folders must not have

    Returns
    -------
    Name -> stem for all of ``names`` and ``in_use``.

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
    """Return the stem that an image has if no other image has a similar name: its name without the suffix.

    >>> short_stem("x/a.b.jpg")
    'x/a.b'
    """
    return _spellings(name, OWN_FOLDERS)[0]


def stem_in(outputs: Iterable[str]) -> str:
    """Return the stem of existing results from their paths, or "" if there is no overlay, which every image gets."""
    return next((path.removesuffix("_overlay.png") for path in outputs if path.endswith("_overlay.png")), "")


def is_photograph(below: Path) -> bool:
    """Return whether a path below the folder of results is a photograph that was put there for YOLO trainers."""
    return "/yolo/images/" in f"/{below.as_posix()}"


def yolo_stem(stem: str) -> str:
    """Return the stem below ``yolo/images`` from which trainers derive the path of the labels.

    Trainers replace the last "/images/" of the path with "/labels/" (``img2label_paths`` of Ultralytics), so no folder
    below may have that name.

    >>> yolo_stem("images/train/a")
    'images_/train/a'
    """
    return re.sub(r"(^|/)(images_*)(?=/)", r"\1\2_", stem)


def names_below(paths: Iterable[Path]) -> list[str]:
    """Return the file names of images if they all differ, else the names with "/" below the folder they share."""
    whole = [os.path.abspath(path) for path in paths]
    short = [os.path.basename(path) for path in whole]
    if len({_key(short_stem(name)) for name in short}) == len(short):
        return short
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return [Path(os.path.relpath(path, root)).as_posix() for path in whole]


def _spellings(name: str, own_folders: Iterable[str]) -> list[str]:
    """Return the stems that the name may have, best first: without and with the suffix."""
    *above, last = ("".join("_" if _unprintable(c) else c for c in part) for part in name.split("/"))
    for depth, folder in enumerate(above):
        if (depth == 0 and _key(folder) in own_folders) or _key(folder).endswith(SUFFIXES):
            above[depth] = f"{folder}_"
    return ["/".join([*above, end]) for end in dict.fromkeys([os.path.splitext(last)[0], last])]


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _key(name: str) -> str:
    """Return a key that is equal for names that some file system treats as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).lower())
