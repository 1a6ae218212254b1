"""Files, folders and globs -> the images that they name, and a count of the files that were left out."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from segspectral.errors import ImageError
from segspectral.images.formats import EXTENSIONS, WITHOUT_HEIC, WITHOUT_ZARR, ZARR, check_name, is_zarr
from segspectral.wording import plural

__all__ = ["Search", "find_images"]

NAMED = 8
"""A sentence lists at most this many suffixes."""


class Search:
    """Searches folders for images, and counts the files and folders that it skips.

    It skips hidden files and folders, and links to folders, because these may form a circle.

    Parameters
    ----------
    recursive : whether to search subfolders
    extensions : suffixes of images, in lower case and with the dot
    output : folder of the results, which is not searched
    complain : called with a sentence about each folder that cannot be read
    """

    def __init__(
        self,
        recursive: bool = False,
        extensions: tuple[str, ...] = EXTENSIONS,
        output: str | os.PathLike[str] | None = None,
        complain: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.recursive, self.extensions, self.complain = recursive, extensions, complain
        self.output = None if output is None else os.path.realpath(output)
        self.left_out: Counter[str] = Counter()
        self.hidden = self.folders = 0

    def inside(self, folder: str) -> list[str]:
        """The images in a folder, in the order of their paths. Each path begins with ``folder`` as it is given."""

        def unreadable(error: OSError) -> None:
            self.complain(f"{error.filename}: the folder cannot be read ({error.strerror})")

        found: list[str] = []
        for here, folders, files in os.walk(folder, onerror=unreadable):
            # A Zarr is one image, and its folders hold its chunks.
            arrays = [name for name in folders if is_zarr(os.path.join(here, name))]
            folders[:] = [name for name in folders if name not in arrays]
            found += self._images(here, arrays)
            below = [
                name
                for name in folders
                if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) != self.output
            ]
            self.folders += 0 if self.recursive else len(below)
            folders[:] = below if self.recursive else []
            found += self._images(here, [name for name in files if os.path.isfile(os.path.join(here, name))])
        return sorted(found, key=lambda path: Path(path).parts)

    def _images(self, here: str, names: Iterable[str]) -> Iterator[str]:
        """The paths of those that are images; the others are counted."""
        for name in names:
            if not name.lower().endswith(self.extensions):
                self.left_out[os.path.splitext(name)[1].lower()] += not name.startswith(".")
            elif name.startswith("."):
                self.hidden += 1
            else:
                yield os.path.join(here, name)

    def named(self, given: str) -> list[str]:
        """The images that a file, a folder or a glob names; none if a folder has none or a glob matches nothing."""
        if os.path.isdir(given) and not is_zarr(given):
            return self.inside(given)
        if os.path.exists(given) or not glob.has_magic(given):
            return [given]
        return sorted(path for path in glob.glob(given, recursive=True) if os.path.isfile(path) or is_zarr(path))

    @property
    def _advice(self) -> str:
        """What to do with files that are images of a format that cannot be read."""
        heic = self.left_out[".heic"] + self.left_out[".heif"]
        zarr = 0 if ZARR.readable else self.left_out[".zarr"]
        return (f"; HEIC: {WITHOUT_HEIC}" if heic else "") + (f"; OME-Zarr: {WITHOUT_ZARR}" if zarr else "")

    @property
    def sentence(self) -> str:
        """A sentence about what was skipped in all folders so far; it is empty if nothing was."""
        parts = []
        if count := self.left_out.total():
            kinds = [f"{number} {suffix or 'without a suffix'}" for suffix, number in sorted((+self.left_out).items())]
            if len(kinds) > NAMED + 1:
                kinds = [*kinds[:NAMED], f"{len(kinds) - NAMED} other suffixes"]
            parts.append(
                f"{plural(count, 'file')} left out: {', '.join(kinds)}{self._advice} (folders are searched for "
                f"{' '.join(self.extensions)}; a file that you name is read whatever its suffix is)"
            )
        if self.hidden:
            parts.append(f"{plural(self.hidden, 'hidden file')} left out")
        if self.folders:
            parts.append(f"{plural(self.folders, 'subfolder')} left out (--recursive)")
        return "; ".join(parts)


def find_images(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    output: str | os.PathLike[str] | None = None,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """The image files that files, folders and globs name, each once, in order.

    A folder stands for the images in it, in the order of their paths; with ``recursive``, also for those in its
    subfolders. A name that matches nothing is kept, so that reading it reports the fault. A folder without images is
    kept for the same reason, unless there are only such folders.

    Parameters
    ----------
    output : folder of the results, which is not searched
    note : called with a sentence about the files that were left out, and with one about each unreadable folder

    Raises
    ------
    ImageError
        There are only folders, and none contains an image; or a name is an address or ``-``.
    """
    search = Search(recursive, output=output, complain=note)
    found: dict[str, Path] = {}  # Two spellings of a path are one image.
    for given in map(str, inputs):
        check_name(given)
        for path in search.named(given) or [given]:
            found.setdefault(os.path.abspath(path), Path(path))
    if sentence := search.sentence:
        note(sentence)
    if found and all(path.is_dir() and not is_zarr(path) for path in found.values()):
        deeper = "; --recursive searches the subfolders" if search.folders else ""
        raise ImageError(f"no images were found ({', '.join(EXTENSIONS)}){deeper}", ", ".join(map(str, found.values())))
    return list(found.values())
