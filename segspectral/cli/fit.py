"""``segspectral fit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from segspectral.cli.common import (
    OK,
    SOME_FAILED,
    BackboneOption,
    DebugOption,
    HeadOption,
    SeedOption,
    check_head,
    plural,
    progress,
    readable_images,
    sentences,
)
from segspectral.errors import OutputError, SegspectralError


def fit(
    images: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders, images or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The model, such as my.safetensors.")],
    segments: Annotated[
        int | None, typer.Option("--segments", "-k", metavar="K", min=2, help="How many, over all images; default: 21.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many images.")] = None,
    head: HeadOption = None,
    backbone: BackboneOption = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A YAML file with settings of a fit.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting of a fit, such as nodes=8000.")
    ] = None,
    seed: SeedOption = None,
    debug: DebugOption = False,
) -> None:
    """Fit one head on many images, so that segment 3 is the same thing in every picture.

    The model goes into `segment`, `batch` and `evaluate` by --model FILE. Settings of its own, beside those of a
    pipeline: nodes (regions in the graph), regions.level and regions.context (of the hierarchy), fine (clusters per
    segment, merged afterwards).
    """
    with sentences(debug):
        check_head(head)
        if output.is_dir():
            raise OutputError(f"is a folder; name the file of the model, such as {output / 'my.safetensors'}", output)
        paths = readable_images(images, output.parent, debug=debug)[:limit]

        from segspectral.config import load_onto, merge_assignments
        from segspectral.settings import with_settings
        from segspectral.shared.fit import fit_model
        from segspectral.shared.model import Recipe

        recipe = Recipe() if config is None else load_onto(Recipe(), config)
        cnn = None if backbone is None else {"cnn": {"backbone": backbone}}
        for name, value in {"segments": segments, "head": head, "features": cnn, "seed": seed}.items():
            if value is not None:
                recipe = with_settings(recipe, {name: value}, f"--{name}")
        if set_:
            recipe = with_settings(recipe, merge_assignments(set_), "--set")
        failed = 0
        with progress(len(paths)) as report:

            def seen(path: Path, error: SegspectralError | None) -> None:
                nonlocal failed
                report.say(path.name)
                if error is None:
                    report.advance()
                    return
                failed += 1
                message = str(error)
                report.line("error: " + (message if message.startswith(str(path)) else f"{path}: {message}"))

            def trained(step: int, scalars: dict[str, float]) -> None:
                report.say(f"training: step {step + 1}, loss {scalars['loss']:.4f}")

            model = fit_model(paths, recipe, observer=seen, progress=trained)
        model.save(output)
        about: dict[str, Any] = dict(model.about)
        print(
            f"{model.segments} segments from {about['nodes']} regions of {plural(about['images'], 'image')} -> {output}"
        )
        if left := len(paths) - about["images"] - failed:
            more = f"--set nodes={2 * recipe.nodes} takes more of them"
            print(f"{plural(left, 'more image')} did not fit into the graph: {more}")
        if failed:
            print(f"{failed} of {len(paths)} images could not be read", file=sys.stderr)
        raise typer.Exit(SOME_FAILED if failed else OK)
