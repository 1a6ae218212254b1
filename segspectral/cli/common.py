"""What the commands share: options, exit codes, errors as sentences, the pipeline of a command line, progress.

Nothing heavy is imported before a command needs it: ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from segspectral.errors import ImageError, SegspectralError, SettingsError
from segspectral.heads import HEADS
from segspectral.wording import plural as plural

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

OK, SOME_FAILED, USAGE, ALL_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="NAME|FILE", help="Settings: fast, quality, or a YAML file of yours."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting, such as refine.iterations=5.")
]
SegmentsOption = Annotated[
    str | None, typer.Option("--segments", "-k", metavar="K|auto", help="How many segments; auto chooses per image.")
]
HeadOption = Annotated[str | None, typer.Option("--head", help=f"{', '.join(HEADS)}.")]
BackboneOption = Annotated[str | None, typer.Option("--backbone", help="A timm model, such as tf_efficientnet_lite0.")]
RefineOption = Annotated[str | None, typer.Option("--refine", help="crf, guided or none.")]
HierarchyOption = Annotated[
    bool, typer.Option("--hierarchy", help="Nested segmentations from one solve, and cat_ucm.png: see below.")
]
LevelOption = Annotated[
    float | None, typer.Option("--level", metavar="0..1", help="Cut the hierarchy at this level, not at a number.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Equal seeds give equal results.")]
ModelOption = Annotated[
    Path | None, typer.Option("--model", metavar="FILE", help="Of `segspectral fit`: the same segments in every image.")
]
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
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error


def failures(failed: int, images: int) -> str:
    """
    >>> failures(1, 1), failures(2, 2), failures(1, 3)
    ('the image failed', 'all 2 images failed', '1 of 3 images failed')
    """
    return (
        "the image failed" if images == 1 else f"{'all' if failed == images else f'{failed} of'} {images} images failed"
    )


def check_head(head: str | None) -> None:
    """Refuse an unknown head before the pipeline is imported, which takes a second or two."""
    if head is not None and head not in HEADS:
        raise SettingsError(f"--head: unknown head '{head}'; there are {', '.join(HEADS)}")


def make_pipeline(config: Path | None, assignments: list[str] | None, **options: Any) -> Pipeline:
    """The defaults (of a --model, if there is one), --config, the named options, --set, each on top of the last."""
    check_head(options.get("head"))
    from segspectral.config import load, merge_assignments
    from segspectral.pipeline import Pipeline
    from segspectral.settings import with_settings

    model = options.pop("model", None)
    pipeline = Pipeline() if model is None else with_settings(Pipeline(), {"model": model}, "--model")
    if config is not None:
        pipeline = load(config, pipeline)
    if (segments := options.get("segments")) is not None:
        options["segments"] = int(segments) if segments.isdigit() else segments
    backbone = options.pop("backbone", None)
    hierarchy, level = options.pop("hierarchy", False), options.pop("level", None)
    for name, value in options.items():
        if value is not None:
            pipeline = with_settings(pipeline, {name: value}, f"--{name}")
    if backbone is not None:
        pipeline = with_settings(pipeline, {"features": {"cnn": {"backbone": backbone}}}, "--backbone")
    if hierarchy or level is not None:
        pipeline = with_settings(pipeline, {"hierarchy": True, "level": level}, "--level")
    if assignments:
        pipeline = with_settings(pipeline, merge_assignments(assignments), "--set")
    unused = [f"--{name}" for name in ("head", "refine") if options.get(name) is not None]
    if pipeline.hierarchy and unused:
        print(f"note: {' and '.join(unused)}: not used, the hierarchy is cut (--set hierarchy=false)", file=sys.stderr)
    if pipeline.level is not None and segments not in (None, "auto"):
        print("note: --segments: not used, the hierarchy is cut at a level", file=sys.stderr)
    return pipeline


def printable(text: str) -> str:
    """File names may hold what the terminal's encoding, or anybody's terminal, does not like."""
    encoding = sys.stderr.encoding or "utf-8"
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def readable_images(inputs: list[str], output: Path, recursive: bool = False, debug: bool = False) -> list[Path]:
    """The images, once their headers and the output were looked at: before seconds of imports and minutes of work.

    If none of them can be read, the command ends here.

    Parameters
    ----------
    output : folder of the results
    """
    from segspectral.files import check_folder
    from segspectral.images.finding import find_images
    from segspectral.images.reader import image_size

    def note(sentence: str) -> None:
        print(f"note: {sentence}", file=sys.stderr)

    paths = find_images(inputs, recursive=recursive, output=output, note=note)
    check_folder(output)
    errors = []
    for path in paths:
        try:
            image_size(path)
        except ImageError as error:
            if debug:
                raise
            errors.append(str(error))
        else:
            return paths  # the others are told in their turn
    for message in errors:
        print(f"error: {message}", file=sys.stderr)
    print(failures(len(paths), len(paths)), file=sys.stderr)
    raise typer.Exit(ALL_FAILED)


def sample_images() -> Path:
    """The folder of the sample images: in the installed package, or in the source tree."""
    package = Path(__file__).parents[1]
    return next(p for p in (package / "sample_images", package.parent / "sample_images") if p.is_dir())


class Report:
    """Lines about images; on a terminal with a progress bar below them."""

    def say(self, text: str) -> None:
        """What is going on now; on a terminal only."""
        if self.bar is not None:
            self.bar.update(self.task, description=text)

    def advance(self) -> None:
        """One more is done, and there is nothing to say about it."""
        if self.bar is not None:
            self.bar.advance(self.task)

    def __init__(self, console: Console, bar: Any, task: Any) -> None:
        self.console, self.bar, self.task, self.path = console, bar, task, Path()

    def begin(self, path: Path) -> None:
        self.path = path
        self.stage("read", 0.0)

    def stage(self, done: str, seconds: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=f"{self.path.name}: {done}")

    def line(self, text: str) -> None:
        if self.bar is None:
            print(text, file=sys.stderr if text.startswith("error") else sys.stdout, flush=True)
        else:
            self.bar.console.print(text, highlight=False, markup=False)
            self.bar.advance(self.task)


@contextmanager
def progress(total: int) -> Iterator[Report]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Report(console, None, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield Report(console, bar, bar.add_task("", total=total))
