"""``segspectral fit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.common import OK, SOME_FAILED, Faults, ReadingNotes, note, progress, readable_images
from segspectral.cli.options import READING, Limit, Only, PipelineOptions, command
from segspectral.errors import OutputError, SegspectralError
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.shared.model import Model, Recipe

LISTED = 8
"""The shares of at most this many segments are printed."""

NEARLY_ALL = 0.9
"""If a segment has a larger share of the area than this, the fit has told little apart."""


@command
def fit(
    images: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders, images or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The model, such as my.safetensors.")],
    options: Annotated[PipelineOptions, Only("head", "backbone", "config", "set_", "seed", *READING)],
    segments: Annotated[
        int | None,
        typer.Option("--segments", "-k", metavar="K", min=2, help="How many segments, over all images (default: 21)."),
    ] = None,
    limit: Limit = None,
    debug: bool = False,
) -> None:
    """Fit one head on many images, so that segment 3 is the same thing in every picture.

    `segment`, `batch` and `evaluate` apply the model with --model FILE. --config and --set take the settings of a fit,
    some of which a pipeline does not have: nodes (regions in the graph), regions.level and regions.context (of the
    hierarchy), fine (clusters per segment, merged afterwards).
    """
    if output.is_dir():
        raise OutputError(f"is a folder; name the file of the model, such as {output / 'my.safetensors'}", output)
    paths = readable_images(images, output.parent, debug=debug)[:limit]
    from segspectral.shared.model import Recipe

    recipe = options.onto(Recipe(), {} if segments is None else {"segments": segments})
    model, failed = _fit(paths, recipe, debug)
    model.save(output)
    about: dict[str, Any] = dict(model.about)
    regions, pictures = plural(about["nodes"], "region"), plural(about["images"], "image")
    print(f"{plural(model.segments, 'segment')} from {regions} of {pictures} -> {output}")
    shares = about["shares"]
    listed = ", ".join(f"{k}: {share:.0%}" for k, share in enumerate(shares[:LISTED], start=1))
    print(f"share of the area: {listed}{', ...' if len(shares) > LISTED else ''}")
    if shares[0] > NEARLY_ALL:
        note("segment 1 is nearly everything; another --seed, or another number (-k), may tell more things apart")
    if left := len(paths) - about["images"] - failed:
        more = f"--set nodes={2 * recipe.nodes} takes more of them"
        print(f"{plural(left, 'more image')} did not fit into the graph: {more}")
    if failed:
        print(f"{failed} of {plural(len(paths), 'image')} could not be read", file=sys.stderr)
    raise typer.Exit(SOME_FAILED if failed else OK)


def _fit(paths: list[Path], recipe: Recipe, debug: bool) -> tuple[Model, int]:
    """The model, and how many images could not be read; each of them is reported."""
    from segspectral.shared.fit import fit_model

    with progress(len(paths)) as report:
        faults = Faults(report.error, debug)

        def seen(path: Path, error: SegspectralError | None) -> None:
            report.say(path.name)
            if error is None:
                report.advance()
                return
            with faults.of(path):
                raise error

        def trained(step: int, scalars: dict[str, float]) -> None:
            report.say(f"training: step {step + 1}, loss {scalars['loss']:.4f}")

        notes = ReadingNotes()
        model = fit_model(paths, recipe, observer=seen, note=notes, progress=trained)
        notes.end()
        return model, faults.count
