"""Jobs from files, folders and globs: which images a batch has, and what their results are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from segspectral.errors import ImageError, SettingsError
from segspectral.images.finding import Search
from segspectral.images.formats import EXTENSIONS, check_name, is_zarr

__all__ = ["WHOLE", "Job", "Shard", "find_jobs", "fingerprint_of"]


@dataclass(frozen=True)
class Job:
    """One image of a batch. (A job of the web page is a different class, ``segspectral.web.jobs.Job``.)

    Parameters
    ----------
    path : absolute path
    name : path below the given folder, with ``/``; it identifies the image in the journal
    size, mtime_ns : size and time of change of the file when it was listed; -1 if it did not exist
    page : the number of the page that is the image; 0 if the file is
    stem : stem of its results below the output folder; ``run`` sets it, because it knows all names (``result_stems``)
    """

    path: str
    name: str
    size: int = -1
    mtime_ns: int = -1
    stem: str = ""
    page: int = 0

    def pages(self) -> list[Job]:
        """A job for each page of the file; this job if it has one page, or cannot be read."""
        from segspectral.images.reader import pages_of

        return [replace(self, name=name, page=page) for page, name in pages_of(self.path, self.name)]


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts of a batch, for array jobs on a cluster that share only the disk.

    The name of an image alone decides to which part it belongs, so files that are added later do not move the others.
    ``index`` may start at 0 or at 1: n/n is the same as 0/n.

    >>> Shard.parse("8/8") == Shard.parse("0/8")
    True
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse text such as ``3/8``. Raises SettingsError."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal() and int(index) <= int(count) and int(count) > 0):
            raise SettingsError(f"--shard {text}: write a shard as i/n, such as 3/8 for the third of eight parts")
        return cls(int(index) % int(count), int(count))

    def __contains__(self, job: Job) -> bool:
        digest = hashlib.blake2b(os.fsencode(job.name), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}of{self.count}"


WHOLE = Shard(0, 1)


def find_jobs(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    extensions: Iterable[str] = EXTENSIONS,
    output: str | os.PathLike[str] | None = None,
    complain: Callable[[str], None] = lambda sentence: None,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[Job]:
    """Return the images in files, folders and globs, each once, sorted by name.

    Names are paths below the given folder, or below the folder that all inputs share. A folder means the images
    directly in it, and with ``recursive`` also those in the folders below. Hidden files, links to folders, and
    ``output`` are skipped. A file that is given by name may have any suffix. A file that does not exist becomes a job
    too, so it is reported as failed and not lost.

    Parameters
    ----------
    output : folder of the results
    complain : called with a sentence about each folder or glob without images and each folder that cannot be read
    note : called with a sentence about files in folders that were left out

    Raises
    ------
    ImageError
        There are no images, or a name is a URL or ``-``.
    SettingsError
        An extension is empty, or the output is one of the inputs.
    """
    suffixes = tuple(f".{e.strip().lower().removeprefix('.')}" for e in extensions)
    if "." in suffixes or not suffixes:
        raise SettingsError("--ext: write suffixes with commas between them, such as jpg,png")
    roots: list[str] = []
    found: list[str] = []
    complaints: list[str] = []
    search = Search(recursive, suffixes, output, complaints.append)
    for given in map(str, inputs):
        check_name(given)
        folder = os.path.abspath(given) if os.path.isdir(given) and not is_zarr(given) else None
        if folder is not None and os.path.realpath(folder) == search.output:
            raise SettingsError("cannot be the output too: the next run would read the results as images", given)
        told = len(complaints)
        paths = [os.path.abspath(path) for path in search.named(folder or given)]
        roots += [os.path.dirname(path) for path in paths] if folder is None else [folder]
        found += paths
        if not paths and told == len(complaints):
            deeper = "" if recursive else "; --recursive searches the subfolders"
            empty = f"no images were found ({', '.join(suffixes)}){deeper}"
            complaints.append(f"{given}: {'no file matches this pattern' if folder is None else empty}")
    if search.sentence:
        note(search.sentence)
    if not found:
        raise ImageError("; ".join(complaints))
    for complaint in complaints:
        complain(complaint)
    root = os.path.commonpath(roots)
    jobs = (
        Job(path, Path(os.path.relpath(path, root)).as_posix(), *fingerprint_of(path)) for path in dict.fromkeys(found)
    )
    return sorted(jobs, key=lambda job: job.name)


def fingerprint_of(path: str) -> tuple[int, int]:
    """Return the size in bytes and the time of change in nanoseconds, or (-1, -1) if the file does not exist.

    Those of an OME-Zarr, a folder, are of all files in it.
    """
    try:
        if not is_zarr(path):
            stat = os.stat(path)
            return stat.st_size, stat.st_mtime_ns
        stats = [os.stat(os.path.join(here, name)) for here, _, names in os.walk(path) for name in names]
    except OSError:
        return -1, -1
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
