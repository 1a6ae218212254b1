"""``segspectral teach``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.common import OK, SOME_FAILED, Faults, ReadingNotes, note, progress, readable_images
from segspectral.cli.options import READING, Only, PipelineOptions, Recursive, command
from segspectral.errors import OutputError, SegspectralError
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.shared.taught import Lesson, TaughtModel
    from segspectral.teaching import Album, Labels

LABELS = (
    "A CSV file image,row,col,class; or a folder with a label image (0 is unknown), a JSON file of labelme or a CSV "
    "file row,col,label of the name of some of the images. Several: --labels A --labels B."
)
LabelFiles = Annotated[list[Path] | None, typer.Option(metavar="FILE|FOLDER", help=LABELS)]
Names = Annotated[
    str | None,
    typer.Option(metavar="1=NAME,...", help="Names of the numbers in label images (default: lines of names.txt)."),
]


@command
def teach(
    images: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders, images or globs.")],
    labels: Annotated[list[Path], typer.Option(metavar="FILE|FOLDER", help=LABELS)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The model: classes.safetensors.")],
    options: Annotated[PipelineOptions, Only("backbone", "config", "set_", "seed", "refine", *READING)],
    names: Names = None,
    unknown: Annotated[
        float | None,
        typer.Option(metavar="0..1", help="Below this probability, the class is `unknown` (default: never)."),
    ] = None,
    recursive: Recursive = False,
    debug: bool = False,
) -> None:
    """Learn classes with names from a few labels, so that every image of the folder gets them.

    Labels may spread to similar regions in all images. `segment`, `batch` and `evaluate` apply the model with
    --model FILE: its segments are the classes, with their names in all exports.
    """
    if output.is_dir():
        raise OutputError(f"is a folder; name the file of the model, such as {output / 'classes.safetensors'}", output)
    paths = readable_images(images, output.parent, recursive, debug)
    from segspectral.export import parse_names
    from segspectral.teaching import read_labels

    known = read_labels(labels, paths, None if names is None else parse_names(names))
    for sentence in known.notes:
        note(sentence)
    album, failed = album_of(paths, known, lesson_of(options, unknown), debug)
    from segspectral.teaching.learn import learn

    model = learn(album, known)
    model.save(output)
    about: dict[str, Any] = dict(model.about)
    for sentence in about["notes"]:
        note(sentence)
    where = f"{plural(about['labelled'], 'image')} of {plural(about['images'], 'image')}"
    print(
        f"{plural(len(model.classes), 'class', 'classes')} from {plural(known.pixels, 'label')} in {where} -> {output}"
    )
    print(f"1 to {len(model.classes)}: {', '.join(model.classes)}")
    for sentence in about["chosen"]:
        print(sentence)
    if curve := about["reliability"]:
        print(said_of_reliability(curve))
    if album.left:
        print(f"{plural(album.left, 'more image')} did not fit into the graph: --set nodes={2 * album.lesson.nodes}")
    raise typer.Exit(SOME_FAILED if failed else OK)


def said_of_reliability(curve: list[tuple[float, float, float]]) -> str:
    """The reliability curve as a sentence: what the model says of held-out labels, and how many of them are right."""
    error = sum(share * abs(sure - right) for share, sure, right in curve)
    bins = ", ".join(f"{sure:.2f} -> {right:.2f}" for _, sure, right in curve)
    return f"probability -> share that is right, of held-out labels: {bins}; mean difference {error:.3f}"


def lesson_of(options: PipelineOptions, unknown: float | None) -> Lesson:
    """The defaults, ``--config``, the named options and ``--set``; later ones override. Raises SettingsError."""
    from segspectral.shared.taught import Lesson

    more = {} if unknown is None else {"unknown": unknown}
    return options.onto(Lesson(), more)


def album_of(
    paths: list[Path], labels: Labels, lesson: Lesson, debug: bool, model: TaughtModel | None = None
) -> tuple[Album, int]:
    """The described images, and how many of those without labels could not be read; each of them is reported."""
    from segspectral.teaching import Album

    with progress(len(paths)) as report:
        faults = Faults(report.error, debug)

        def seen(path: Path, error: SegspectralError | None) -> None:
            report.say(path.name)
            report.advance()
            if error is not None and path not in labels.given:
                with faults.of(path):
                    raise error

        notes = ReadingNotes()
        album = Album.of(paths, lesson, first=list(labels.given), model=model, observer=seen, note=notes)
        notes.end()
        return album, faults.count
