"""``segspectral segment`` and ``segspectral demo``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import (
    ALL_FAILED,
    OK,
    SOME_FAILED,
    BackboneOption,
    ConfigOption,
    DebugOption,
    HeadOption,
    HierarchyOption,
    LevelOption,
    ModelOption,
    RefineOption,
    SeedOption,
    SegmentsOption,
    SetOption,
    failures,
    make_pipeline,
    plural,
    progress,
    readable_images,
    sample_images,
    sentences,
)
from segspectral.cli.convert import CategoryOption, FormatOption, NamesOption, warn_of_names
from segspectral.errors import SegspectralError, SettingsError

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline


def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    segments: SegmentsOption = None,
    hierarchy: HierarchyOption = False,
    level: LevelOption = None,
    head: HeadOption = None,
    model: ModelOption = None,
    backbone: BackboneOption = None,
    refine: RefineOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    format_: FormatOption = None,
    names: NamesOption = None,
    category: CategoryOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also folders below the given ones.")] = False,
    figure: Annotated[bool, typer.Option("--figure", help="Also a picture of all stages, cat_figure.png.")] = False,
    debug: DebugOption = False,
) -> None:
    """Segment images: for cat.jpg, OUT gets cat_labels.png, cat_overlay.png, cat_segments.csv and cat.json.

    Images of one name from several folders keep their folders (OUT/one/cat_labels.png). With -k 4,8,16 each number
    gives results of its own (cat_k4_labels.png), its formats are in a folder (OUT/k4), and cat_sheet.png shows all.
    With --hierarchy superpixels are merged over their weakest borders, the segments of all numbers and levels are
    nested, and cat_ucm.png holds the level at which each border goes (16-bit, 0..65535 for 0..1).
    """
    with sentences(debug):
        first, *others = (segments or "").split(",")
        counts = [_number(text) for text in (first, *others)] if others else []
        paths = readable_images(images, output, recursive, debug)
        options = {"head": head, "model": model, "backbone": backbone, "refine": refine, "seed": seed}
        pipeline = make_pipeline(config, set_, segments=first or None, hierarchy=hierarchy, level=level, **options)
        raise typer.Exit(_segment_all(paths, output, pipeline, debug, format_, names, figure, counts, category))


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT")] = Path("segspectral-demo"),
    debug: DebugOption = False,
) -> None:
    """Segment the sample images, offline, in under a minute."""
    with sentences(debug):
        samples = sample_images()
        code = _segment_all(readable_images([str(samples)], output), output, make_pipeline(None, None), debug)
        print(
            f"\nLook at {output / 'cat_overlay.png'} and its neighbours. Next:\n"
            f"  segspectral segment {samples / 'coffee.jpg'} -o out -k 6     # a number of segments of your own\n"
            f"  segspectral segment YOUR_FOLDER -o out --refine guided       # a folder of yours\n"
            f"  segspectral config show > my.yaml                            # all settings, for --config my.yaml"
        )
        raise typer.Exit(code)


def _segment_all(
    paths: list[Path],
    output: Path,
    pipeline: Pipeline,
    debug: bool,
    formats: list[str] | None = None,
    names: str | None = None,
    figure: bool = False,
    counts: Sequence[int] = (),
    category: str | None = None,
) -> int:
    """Segment every image; a fault in one is told and does not stop the others. Returns the exit code."""
    import numpy as np

    from segspectral import figures
    from segspectral.export import (
        LabelMap,
        Writer,
        exporters_named,
        names_below,
        parse_names,
        png,
        read_georeference,
        result_stems,
        save,
        write_bytes,
    )
    from segspectral.images.reader import read_image
    from segspectral.values import Outcome

    exporters = exporters_named(formats or [])
    # Files that stand for all images hold each image once, so that each number of segments has its own.
    writers = {f"_k{k}": Writer(exporters, output / f"k{k}") for k in counts} or {"": Writer(exporters, output)}
    named = parse_names(names) if names is not None else {}
    told = pipeline.usable()[1]
    for note in told:
        print(f"note: {note}", file=sys.stderr)
    pipeline.prepare()
    if pipeline.model is None:
        warn_of_names(named, len(paths))
    images = names_below(paths)
    stems = result_stems(images, folders=[f"k{k}" for k in counts])
    failed = 0
    with progress(len(paths)) as report:
        for path, image in zip(paths, images, strict=True):
            stem = stems[image]
            try:
                report.begin(path)
                scene = pipeline.describe(read_image(path), report.stage)
                wanted: dict[str, int | None] = {f"_k{k}": k for k in counts} or {"": None}
                results = {end: pipeline.solve(scene, k, report.stage) for end, k in wanted.items()}
                somewhere = any(writer.wants_georeference for writer in writers.values())
                georeference = read_georeference(path) if somewhere else None
                lines = []
                for end, one in results.items():
                    files = save(one, (output / stem).parent, f"{Path(stem).name}{end}", named, path)
                    lines.append(
                        f"{plural(one.segments, 'segment')}, {sum(one.seconds.values()):.2f} s -> {files['overlay']}"
                    )
                    lines += [f"note: {note}" for note in one.notes if note not in told]
                    if one.membership.outcome is not Outcome.SOLVED:
                        lines.append(f"note: {one.membership.outcome.sentence}")
                    lines += writers[end].add(
                        replace(LabelMap.of(one, path, named, georeference, category), image=image), stem
                    )
                    if figure:
                        lines.append(f"{write_bytes(output / f'{stem}{end}_figure.png', png(figures.figure(one)))}")
                if pipeline.hierarchy:
                    contours = png(np.round(scene.hierarchy.contour_map * 65535).astype(np.uint16))
                    lines.append(f"{write_bytes(output / f'{stem}_ucm.png', contours)}")
                if counts:
                    sheet = png(figures.contact_sheet(list(results.values())))
                    lines.append(f"{write_bytes(output / f'{stem}_sheet.png', sheet)}")
                report.line(f"{path}: " + "\n  ".join(lines))
            except Exception as error:
                if debug:
                    raise
                failed += 1
                message = str(error)
                if not isinstance(error, SegspectralError):
                    # Ours to mend, or memory that ran out; the other images can do nothing for it.
                    why = " ".join(f"{type(error).__name__} {error}".split())[:200]
                    message = f"failed unexpectedly ({why}); --debug shows where, please report it with `checks`"
                if not message.startswith(str(path)):
                    message = f"{path}: {message.removeprefix(f'{path.name}: ')}"
                report.line(f"error: {message}")
    for writer in writers.values():
        for written in writer.close():
            print(f"all images -> {written}")
    if failed:
        print(failures(failed, len(paths)), file=sys.stderr)
    return OK if not failed else ALL_FAILED if failed == len(paths) else SOME_FAILED


def _number(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise SettingsError(f"--segments: a list is of whole numbers from 1 on, such as 4,8,16; '{text}' is none")
    return int(text)
