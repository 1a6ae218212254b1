"""The files of a data set: folders of images and masks, pairs of the same name, lists of ids."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from segspectral.errors import DatasetError
from segspectral.files import composed, read_file
from segspectral.wording import few, plural

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def find(root: Path, inner: tuple[str, ...], parts: tuple[str, ...], title: str) -> Path:
    """Return the first of ``root/inner`` that has all of ``parts``."""
    for candidate in inner:
        if all((root / candidate / part).is_dir() for part in parts):
            return root / candidate
    where = " or ".join(str(root / i) for i in inner[:2])
    raise DatasetError(
        f"is not a {title} root: expected {' and '.join(parts)} in {where}, found {contents(root)}", root
    )


SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")
"""Files and folders that Windows and macOS create by themselves, in lower case."""


def files_below(folder: Path) -> list[str]:
    """Return the files in a folder and below it as sorted relative paths with slashes; skip hidden and system files."""
    found: list[str] = []
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if _visible(name)]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in files if _visible(name)]
    return sorted(found)


def without_suffix(name: str) -> str:
    """Return ``sub/a.b`` for ``sub/a.b.png``."""
    return name[: len(name) - len(PurePosixPath(name).suffix)]


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def by_name(files: list[str], suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the files with these suffixes, in lower or upper case, by their ``composed`` path without suffix."""
    found: dict[str, list[str]] = {}
    for file in files:
        if file.lower().endswith(suffixes):
            found.setdefault(composed(without_suffix(file)), []).append(file)
    return found


def only(folder: Path, found: dict[str, list[str]], name: str, suffix: str) -> str:
    """Return the only file of a name; if there is none, its official name, which the caller then reports as missing."""
    files = found.get(name, [f"{name}{suffix}"])
    if len(files) > 1:
        raise DatasetError(f"{files[0]} and {files[1]} have the same name, keep only the right one", folder)
    return files[0]


def pairs_of(
    photos: Path, truths: Path, suffixes: tuple[str, ...]
) -> tuple[list[tuple[str, Path, Path]], tuple[str, ...]]:
    """Return (id, image, truth) of two folders and the folders below them, and notes about files that were left out.

    The truth of ``sub/a.jpg`` is ``sub/a.png`` (or .npy, ...), or ``sub/a.jpg.png`` if there also is a ``sub/a.tif``.
    The id is ``sub/a``, or ``sub/a.jpg`` if two images would otherwise have the same id.
    """
    photo_files, truth_files = files_below(photos), files_below(truths)
    images, masks = by_name(photo_files, IMAGE_SUFFIXES), by_name(truth_files, suffixes)
    if not images:
        raise DatasetError(f"holds no image, found {contents(photos)}", photos)
    pairs, lonely, used = [], [], set()
    for name, files in images.items():
        for file in files:
            found = masks.get(composed(file), []) + (masks.get(name, []) if len(files) == 1 else [])
            if not found and len(files) > 1:
                raise DatasetError(
                    f"{files[0]} and {files[1]} have the same name, so it is not known to which of them the mask "
                    f"{name} belongs: rename one of them, or add the suffix to the names of the masks: {files[0]}.png",
                    photos,
                )
            if len(found) > 1:
                raise DatasetError(f"{found[0]} and {found[1]} both belong to {file}, keep only the right one", truths)
            if found:
                used.add(found[0])
                pairs.append((name if len(files) == 1 else composed(file), photos / file, truths / found[0]))
            else:
                lonely.append(file)
    if lonely:
        names = few([without_suffix(file) for file in lonely])
        raise DatasetError(
            f"no mask of the same name for {names} ({len(lonely)} of {len(pairs) + len(lonely)})", truths
        )
    taken = {file for files in images.values() for file in files}
    notes = left_out(
        photos, [file for file in photo_files if file not in taken], "is not an image in a supported format"
    )
    return pairs, notes + left_out(truths, [file for file in truth_files if file not in used], "belongs to no image")


def left_out(folder: Path, files: list[str], why: str) -> tuple[str, ...]:
    if not files:
        return ()
    count, each = (f"{len(files)} files are", "each of them") if len(files) > 1 else ("1 file is", "it")
    return (f"{folder}: {count} left out because {each} {why}: {few(files)}",)


def lines_of(path: Path) -> list[str]:
    """Return the stripped lines of a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one."""
    try:
        data = read_file(path)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise DatasetError(f"the list cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise DatasetError("is not a text in UTF-8, save the list as such", path) from error
    return [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


FLAGGED = re.compile(r"(.*\S)\s+(-1|0|1)")
"""A line of a class list of PASCAL VOC: an id and a flag."""


def read_ids(listing: Path, exists: Callable[[str], bool]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of a list with one id per line, each once, and notes about lines that were left out.

    In the class lists of PASCAL VOC, every id is followed by 1 (the image has the class), 0 (the class is difficult to
    see) or -1. Such a list selects the images with 1 or 0.
    """
    lines = [composed(line) for line in lines_of(listing) if line]
    notes: tuple[str, ...] = ()
    flags = [FLAGGED.fullmatch(line) for line in lines]
    if lines and all(flags) and not any(exists(line) for line in lines):
        pairs = [(flag[1], flag[2]) for flag in flags if flag]
        lines = [name for name, flag in pairs if flag != "-1"]
        if len(lines) < len(pairs):
            left_out = f"{len(pairs) - len(lines)} of {plural(len(pairs), 'image')} left out"
            notes += (f"{listing}: {left_out} because of the flag -1",)
    for line in lines:
        if "\0" in line or "\\" in line or ".." in line.split("/") or PurePosixPath(line).is_absolute():
            raise DatasetError(f"{line!r} is not an id, ids are names inside the folder of images", listing)
    if repeated(lines):
        notes += (repeated_ids(listing, lines),)
    return tuple(dict.fromkeys(lines)), notes


def repeated_ids(where: Path | str, names: Iterable[str]) -> str:
    return f"{where}: these ids are listed more than once but scored once: {few(repeated(names))}"


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def contents(folder: Path) -> str:
    return few(sorted(p.name + ("/" if p.is_dir() else "") for p in folder.iterdir()))
