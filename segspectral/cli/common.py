"""What the commands share: exit codes, errors as sentences, images that can be read, progress.

Nothing heavy is imported before a command needs it: ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from segspectral.errors import ImageError, OutputError, SegspectralError, SettingsError, about
from segspectral.heads import HEADS
from segspectral.registry import shipped
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.rasters.tiling import Tiling

OK, SOME_FAILED, USAGE, ALL_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@contextmanager
def sentences(debug: bool) -> Iterator[None]:
    """Errors for the user end the command with one sentence and exit code 2; other errors say how to report them."""
    try:
        yield
    except (typer.Exit, KeyboardInterrupt):
        raise
    except SegspectralError as error:
        if debug:
            raise
        tell_error(error)
        raise typer.Exit(USAGE) from error


def failures(failed: int, images: int) -> str:
    """
    >>> failures(1, 1), failures(2, 2), failures(1, 3)
    ('the image failed', 'all 2 images failed', '1 of 3 images failed')
    """
    return (
        "the image failed" if images == 1 else f"{'all' if failed == images else f'{failed} of'} {images} images failed"
    )


def check_local(values: Iterable[object]) -> None:
    """Refuse paths that are an address or -, also in lists, before folders get these names. Raises SettingsError."""
    from segspectral.files.reading import address_of

    for path in chain.from_iterable(value if isinstance(value, list) else [value] for value in values):
        if isinstance(path, Path) and (address := address_of(path)) is not None:
            raise SettingsError("is an address; only files and folders of this machine are read and written", address)
        if path == Path("-"):
            raise SettingsError("-: standard input and output are not used here; name a file or folder")


def check_head(head: str | None) -> None:
    """Refuse an unknown head before the pipeline is imported, which takes a second or two; load one of the user's."""
    if head is not None and ":" in head:
        from segspectral.heads.own import allow

        allow({"head": head})
    elif head is not None and head not in HEADS:
        raise SettingsError(f"unknown head '{head}'; there are {', '.join(HEADS)}", "--head")


def tell_error(text: object) -> None:
    """One error on stderr."""
    print(printable(f"error: {text}"), file=sys.stderr)


def note(sentence: str) -> None:
    """One note on stderr."""
    print(printable(f"note: {sentence}"), file=sys.stderr)


class ReadingNotes:
    """Prints the notes about how images were read: those of the first image that has any, and the number of the others.

    It is for commands that read many images and write no file about each.
    """

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: object, notes: tuple[str, ...]) -> None:
        self.count += bool(notes)
        if self.count == 1:
            for text in notes:
                note(f"{path}: {text}")

    def end(self) -> None:
        if self.count > 1:
            note(f"{plural(self.count - 1, 'more image was', 'more images were')} read with such a note")


class Faults:
    """Counts the images that fail. An error in one image is reported and does not stop the others; a full disk does."""

    def __init__(self, tell: Callable[[object], None] = tell_error, debug: bool = False) -> None:
        self.count, self._tell, self._debug = 0, tell, debug

    @contextmanager
    def of(self, path: object) -> Iterator[None]:
        """Report errors within, together with the file that they are about."""
        try:
            with about(path):
                yield
        except Exception as error:
            if self._debug or (isinstance(error, OutputError) and error.no_room):
                raise
            self.count += 1
            if isinstance(error, MemoryError):
                error = SegspectralError("does not fit into memory; scale it down, or ask for less", path)
            # An error of any other kind is a bug in segspectral.
            why = " ".join(f"{type(error).__name__} {error}".split())[:200]
            unexpected = f"failed unexpectedly ({why}); --debug shows where, please report it with `checks`"
            self._tell(error if isinstance(error, SegspectralError) else SegspectralError(unexpected, path))


def exit_code(failed: int, images: int) -> int:
    """
    >>> exit_code(0, 3), exit_code(1, 3), exit_code(3, 3)
    (0, 1, 3)
    """
    return OK if not failed else ALL_FAILED if failed == images else SOME_FAILED


def printable(text: str) -> str:
    """The text with escapes for characters that the terminal's encoding lacks, or that could control a terminal."""
    encoding = sys.stderr.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def readable_images(
    inputs: list[str], output: Path, recursive: bool = False, debug: bool = False, tiling: Tiling | None = None
) -> list[Path]:
    """The images, after a check of their headers and of the output, before the slow imports and the work.

    If none of the images can be read, the command ends here.

    Parameters
    ----------
    output : folder of the results
    tiling : which images are read in tiles, and may be larger than what fits into memory
    """
    from segspectral.files import check_folder
    from segspectral.images.finding import find_images
    from segspectral.images.reader import image_size

    paths = find_images(inputs, recursive=recursive, output=output, note=note)
    check_folder(output)
    errors = []
    for path in paths:
        try:
            if tiling is None or tiling.of(path) is None:
                image_size(path)
        except ImageError as error:
            if debug:
                raise
            errors.append(error)
        else:
            return paths  # errors of the other images are reported when their turn comes
    for one in errors:
        tell_error(one)
    print(failures(len(paths), len(paths)), file=sys.stderr)
    raise typer.Exit(ALL_FAILED)


def saved_input(output: Path) -> Path:
    """The image on standard input as a file in ``output``, stdin.png for a PNG, to which the results can refer.

    Raises
    ------
    ImageError
        It is empty, no image, or too large.
    OutputError
    """
    from segspectral.files import check_folder, write_bytes
    from segspectral.images.formats import HEAD, Format, what_is
    from segspectral.images.limits import MAX_BYTES

    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not data:
        raise ImageError("has no data", "standard input")
    if len(data) > MAX_BYTES:
        raise ImageError(f"has more than {MAX_BYTES / 1e9:.1f} GB", "standard input")
    found = what_is(data[:HEAD])
    if not isinstance(found, Format):
        why = f"is {found[0]}, not an image; {found[1]}" if found else "is not an image that can be read"
        raise ImageError(why, "standard input")
    check_folder(output)
    return write_bytes(output / f"stdin{found.suffixes[0]}", data)


def sample_images() -> Path:
    """The folder of the sample images."""
    return shipped("sample_images")


def sample_names() -> list[str]:
    """The file names of the sample images."""
    return sorted(path.name for path in sample_images().glob("*.jpg"))


class Report:
    """Lines about images; on a terminal with a progress bar below them."""

    def __init__(self, console: Console, bar: Any = None, task: Any = None) -> None:
        self.console, self.bar, self.task, self.path = console, bar, task, Path()

    def begin(self, path: Path) -> None:
        self.path = path
        self.say(f"{path.name}: read")

    def stage(self, done: str, seconds: float) -> None:
        """An observer of a pipeline: the stage that has ended."""
        self.say(f"{self.path.name}: {done}")

    def say(self, text: str) -> None:
        """Show what is going on now; only on a terminal."""
        if self.bar is not None:
            self.bar.update(self.task, description=text)

    def advance(self) -> None:
        """Count one more as done, without a line about it."""
        if self.bar is not None:
            self.bar.advance(self.task)

    def share(self, text: str, done: float) -> None:
        """Show what is going on now, and the share of the work that is done."""
        if self.bar is not None:
            self.bar.update(self.task, description=text, completed=done)

    def line(self, text: str) -> None:
        """Print a line about one more that is done."""
        self._print(text, sys.stdout)

    def error(self, error: object) -> None:
        """Print the error of one more that has failed."""
        self._print(printable(f"error: {error}"), sys.stderr)

    def _print(self, text: str, stream: IO[str]) -> None:
        text = "\n".join(map(printable, text.split("\n")))
        if self.bar is None:
            print(text, file=stream, flush=True)
        else:
            self.bar.console.print(text, highlight=False, markup=False)
            self.advance()


@contextmanager
def progress(total: int) -> Iterator[Report]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Report(console)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield Report(console, bar, bar.add_task("", total=total))
