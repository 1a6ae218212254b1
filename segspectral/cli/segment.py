"""``segspectral segment`` and ``segspectral demo``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from itertools import count
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
from segspectral.cli.convert import FormatOption, NamesOption
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
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also folders below the given ones.")] = False,
    figure: Annotated[bool, typer.Option("--figure", help="Also a picture of all stages, cat_figure.png.")] = False,
    debug: DebugOption = False,
) -> None:
    """Segment images: for cat.jpg, OUT gets cat_labels.png, cat_overlay.png, cat_segments.csv and cat.json.

    With -k 4,8,16 each number gives results of its own (cat_k4_labels.png), and a contact sheet, cat_sheet.png.
    With --hierarchy superpixels are merged over their weakest borders, the segments of all numbers and levels are
    nested, and cat_ucm.png holds the level at which each border goes (16-bit, 0..65535 for 0..1).
    """
    with sentences(debug):
        first, *others = (segments or "").split(",")
        counts = [_number(text) for text in (first, *others)] if others else []
        paths = readable_images(images, output, recursive, debug)
        options = {"head": head, "model": model, "backbone": backbone, "refine": refine, "seed": seed}
        pipeline = make_pipeline(config, set_, segments=first or None, hierarchy=hierarchy, level=level, **options)
        raise typer.Exit(_segment_all(paths, output, pipeline, debug, format_, names, figure, counts))


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
) -> int:
    """Segment every image; a fault in one is told and does not stop the others. Returns the exit code."""
    import numpy as np

    from segspectral import figures
    from segspectral.export import LabelMap, Writer, exporters_named, parse_names, png, read_place, save, write_bytes
    from segspectral.images import read_image
    from segspectral.types import Outcome

    writer = Writer(exporters_named(formats or []), output)
    named = parse_names(names) if names is not None else {}
    told = pipeline.usable()[1]
    for note in told:
        print(f"note: {note}", file=sys.stderr)
    pipeline.prepare()
    stems = _stems(paths)
    failed = 0
    with progress(len(paths)) as report:
        for path, stem in zip(paths, stems, strict=True):
            try:
                report.begin(path)
                result = pipeline(read_image(path), report.stage)
                results = {f"{stem}_k{k}": figures.with_segments(result, k) for k in counts} or {stem: result}
                place = read_place(path) if writer.wants_place else None
                lines = []
                for name, one in results.items():
                    files = save(one, output, name, named, path)
                    lines.append(
                        f"{plural(one.segments, 'segment')}, {sum(one.seconds.values()):.2f} s -> {files['overlay']}"
                    )
                    lines += [f"note: {note}" for note in one.notes if note not in told]
                    if one.membership.outcome is not Outcome.SOLVED:
                        lines.append(f"note: {one.membership.outcome.sentence}")
                    lines += writer.add(LabelMap.of(one, path, named, place), name)
                    if figure:
                        lines.append(f"{write_bytes(output / f'{name}_figure.png', png(figures.figure(one)))}")
                if pipeline.hierarchy:
                    contours = png(np.round(result.hierarchy.contour_map * 65535).astype(np.uint16))
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
    for written in writer.close():
        print(f"all images -> {written}")
    if failed:
        print(failures(failed, len(paths)), file=sys.stderr)
    return OK if not failed else ALL_FAILED if failed == len(paths) else SOME_FAILED


def _number(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise SettingsError(f"--segments: a list is of whole numbers from 1 on, such as 4,8,16; '{text}' is none")
    return int(text)


def _stems(paths: list[Path]) -> list[str]:
    """Names for the results: the file's stem, with suffix, folder and a number as far as needed to keep them apart."""
    stems = [path.stem for path in paths]
    for longer in (lambda p: p.name.replace(".", "_"), lambda p: "_".join(p.with_suffix("").parts[-2:]), _whole_path):
        times = Counter(stems)
        stems = [longer(p) if times[stem] > 1 else stem for p, stem in zip(paths, stems, strict=True)]
    taken, used = set(stems), set[str]()
    for i, stem in enumerate(stems):
        if stem in used:  # a/cat.png beside a_cat.png
            stems[i] = next(name for n in count(2) if (name := f"{stem}_{n}") not in taken)
            taken.add(stems[i])
        used.add(stems[i])
    return stems


def _whole_path(path: Path) -> str:
    return "_".join(part for part in path.parts if part not in ("/", "..")).replace(".", "_")
