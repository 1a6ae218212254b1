"""``segspectral suggest``."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.common import OK, SOME_FAILED, note, printable, readable_images
from segspectral.cli.options import READING, Only, PipelineOptions, Recursive, command
from segspectral.cli.teach import LabelFiles, Names, album_of, lesson_of
from segspectral.errors import OutputError, SettingsError
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.images.interpret import Reading
    from segspectral.shared.taught import TaughtModel
    from segspectral.teaching.places import Place


@command
def suggest(
    images: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders, images or globs.")],
    options: Annotated[PipelineOptions, Only("backbone", "config", "set_", "seed", *READING)],
    labels: LabelFiles = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model of `teach`: places where it is unsure are suggested.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The places as a CSV file whose column `class` you fill in, and pictures in a folder of its name.",
        ),
    ] = None,
    images_: Annotated[int, typer.Option("--images", min=1, help="Places are in at most this many images.")] = 5,
    clicks: Annotated[int, typer.Option(min=1, help="How many places, in all images of the round.")] = 20,
    names: Names = None,
    recursive: Recursive = False,
    debug: bool = False,
) -> None:
    """Suggest what to label next: the places that tell most about the others, a round of five images at a time.

    Without labels these are typical places; with --labels or --model, places whose class is unsure. Fill in the
    classes, and give the file to `teach` with the others: --labels labels.csv --labels next.csv.
    """
    if output is not None:
        _check_output(output)
    paths = readable_images(images, Path() if output is None else output.parent, recursive, debug)
    from segspectral.export import parse_names
    from segspectral.teaching import read_labels
    from segspectral.teaching.labels import Labels
    from segspectral.teaching.places import suggest

    known = Labels((), {})
    if labels:
        known = read_labels(labels, paths, None if names is None else parse_names(names))
    elif names is not None:
        raise SettingsError("needs --labels", "--names")
    for sentence in known.notes:
        note(sentence)
    taught = None if model is None else _taught(model, options)
    lesson = lesson_of(options, None) if taught is None else taught.recipe
    lesson = lesson.model_copy(update={"refine": "none"})  # places are superpixels; to choose a refiner takes time
    album, failed = album_of(paths, known, lesson, debug, taught)
    if taught is None and labels:
        from segspectral.teaching.learn import learn

        taught = learn(album, known)
    places = suggest(album, known, taught, images=images_, clicks=clicks)
    _tell(places, taught is not None)
    count = len({place.image for place in places})
    print(f"{plural(len(places), 'place')} in {plural(count, 'image')} of {len(album.pages)}")
    if output is not None:
        folder = _write(places, paths, output, lesson.reading)
        print(f"fill in the classes: {output}; the places are in the pictures of {folder}")
    if album.left:
        print(f"{plural(album.left, 'more image')} did not fit into the graph: --set nodes={2 * album.lesson.nodes}")
    raise typer.Exit(SOME_FAILED if failed else OK)


def _check_output(output: Path) -> None:
    """Raise OutputError if the table would replace something, because somebody may have filled it in."""
    if output.suffix.lower() != ".csv":
        raise OutputError("is not a name of a table; it ends in .csv", output)
    for path in (output, output.with_suffix("")):
        if path.exists():
            raise OutputError("exists already, and may hold classes that somebody filled in; give another name", path)


def _taught(path: Path, options: PipelineOptions) -> TaughtModel:
    """The model of a file. Raises SettingsError if it has no classes, or if there are options that belong to it."""
    from segspectral.shared.model import Model
    from segspectral.shared.taught import TaughtModel

    if options:
        raise SettingsError("has settings of its own; leave out the other options, or the model", path)
    model = Model.load(path)
    if not isinstance(model, TaughtModel):
        raise SettingsError(
            "was fitted without labels and has no classes; `segspectral teach` makes one that has", path
        )
    return model


def _tell(places: list[Place], guessed: bool) -> None:
    """The places as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("", "image", "x", "y", *(("guess", "confidence") if guessed else ()), "speaks for"):
        table.add_column(column, justify="left" if column in ("image", "guess") else "right")
    for number, place in enumerate(places, 1):
        guess = (printable(place.guess), f"{place.confidence:.2f}") if guessed else ()
        name = printable(place.image.name)
        table.add_row(str(number), name, str(place.col), str(place.row), *guess, plural(place.speaks_for, "region"))
    Console(width=120 if not sys.stdout.isatty() else None, markup=False).print(table)


def _write(places: list[Place], paths: list[Path], output: Path, reading: Reading) -> Path:
    """The table, and beside it a folder of pictures, one for each image; returns the folder."""
    from segspectral.export import csv_bytes, png, write_bytes
    from segspectral.figures import numbered
    from segspectral.files import whole_set
    from segspectral.images.reader import as_image
    from segspectral.teaching.labels import names_of

    at: dict[Path, dict[int, Place]] = {}
    for number, place in enumerate(places, 1):
        at.setdefault(place.image, {})[number] = place
    folder = output.with_suffix("")
    with whole_set():
        for order, (path, those) in enumerate(at.items(), 1):
            marks = {number: (place.row, place.col) for number, place in those.items()}
            picture = numbered(as_image(path, reading=reading).uint8, marks)
            write_bytes(folder / f"{order}_{path.stem}.png", png(picture))
        names = names_of([place.image for place in places], paths)
        write_bytes(
            output, csv_bytes([_line(*each) for each in zip(names, range(1, len(places) + 1), places, strict=True)])
        )
    return folder


def _line(name: str, number: int, place: Place) -> dict[str, Any]:
    """A line of the table."""
    return {
        "image": name,
        "row": place.row,
        "col": place.col,
        "class": "",
        "number": number,
        "guess": place.guess,
        "confidence": "" if math.isnan(place.confidence) else round(place.confidence, 4),
        "speaks_for": place.speaks_for,
    }
