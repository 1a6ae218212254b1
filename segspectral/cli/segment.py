"""``segspectral segment`` and ``segspectral demo``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import (
    Faults,
    Report,
    exit_code,
    failures,
    note,
    printable,
    progress,
    readable_images,
    sample_images,
    sample_names,
    saved_input,
)
from segspectral.cli.completion import one_of
from segspectral.cli.options import (
    WHOLE,
    FormatOptions,
    Output,
    PipelineOptions,
    Recursive,
    SeedOptions,
    TileOptions,
    check_files_beside,
    command,
    warn_of_names,
)
from segspectral.errors import SettingsError
from segspectral.registry import Look
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.export import Exporter, Writer
    from segspectral.images.interpret import Reading
    from segspectral.pipeline import Pipeline
    from segspectral.rasters.tiling import Plan, Tiling
    from segspectral.values import Segmentation


@command
def segment(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Images, folders or globs.")],
    output: Output,
    options: PipelineOptions,
    seeds: SeedOptions,
    formats: FormatOptions,
    raster: TileOptions,
    recursive: Recursive = False,
    figure: Annotated[bool, typer.Option("--figure", help="Also draw all stages: cat_figure.png.")] = False,
    debug: bool = False,
) -> None:
    """Segment images: for cat.jpg, OUT gets cat_labels.png, cat_overlay.png, cat_segments.csv and cat.json.

    The image - is read from standard input and kept in OUT. Images of the same name from several folders keep their
    folders (OUT/one/cat_labels.png). With -k 4,8,16, each number has its own results (cat_k4_labels.png) and a folder
    for its formats (OUT/k4), and cat_sheet.png shows all. With --hierarchy, superpixels are merged across the weakest
    border first: the segments of all numbers and levels are nested, and cat_ucm.png holds the level at which each
    border disappears (16-bit, 0..65535 for 0..1). Rasters in tiles become OUT/cat_labels.tif, cat.json and a thumbnail,
    cat_overlay.png.
    """
    first, *others = (options.segments or "").split(",")
    counts = [_number(text) for text in (first, *others)] if others else []
    if images.count("-") > 1:
        raise SettingsError("standard input holds one image; write - once", "-")
    images = [str(saved_input(output)) if image == "-" else image for image in images]
    several = "several numbers of segments, and figures, are made of whole images" if counts or figure else ""
    if seeds.seeds is not None and counts:
        raise SettingsError("seeds say how many segments there are; leave out the list of numbers", "--seeds")
    if seeds.seeds is not None or options.edges is not None:
        several = WHOLE
    tiling = raster.tiling(formats, options.model, several)
    paths = readable_images(images, output, recursive, debug, tiling)
    pipeline = seeds.pipeline(replace(options, segments=first or None))
    check_files_beside(pipeline, [str(path) for path in paths])
    raise typer.Exit(_segment_all(paths, _Segmenting.planned(output, pipeline, tiling, formats, counts, figure), debug))


@command
def demo(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SAMPLE...",
            help="Some of the samples, such as cat.jpg (default: all).",
            autocompletion=one_of(sample_names),
        ),
    ] = None,
    output: Output = Path("segspectral-demo"),
    debug: bool = False,
) -> None:
    """Segment the sample images, offline, in under a minute."""
    samples = sample_images()
    for name in names or []:
        if name not in sample_names():
            raise SettingsError(f"there is no such sample; there are {', '.join(sample_names())}", name)
    tiling = TileOptions().tiling(FormatOptions())
    paths = readable_images([str(samples / name) for name in names or [""]], output)
    code = _segment_all(paths, _Segmenting.planned(output, PipelineOptions().pipeline(), tiling), debug)
    print(
        f"\nLook at {output / 'cat_overlay.png'} and its neighbours. Next:\n"
        f"  segspectral segment {samples / 'coffee.jpg'} -o out -k 6     # choose the number of segments\n"
        f"  segspectral segment YOUR_FOLDER -o out --refine guided       # a folder of your own\n"
        f"  segspectral config show > my.yaml                            # all settings, for --config my.yaml"
    )
    raise typer.Exit(code)


@dataclass(frozen=True)
class _Segmenting:
    """What is made of each image.

    Parameters
    ----------
    tiling : which images are read in tiles
    exporters : the formats
    writers : end of the stems ("" or "_k4") -> the writer of the formats, which has a folder of its own for each
        number of segments: a file that stands for all images can hold each image once
    counts : numbers of segments, if there are several
    told : notes that were printed once for all images
    """

    output: Path
    pipeline: Pipeline
    tiling: Tiling
    exporters: Sequence[Exporter]
    writers: dict[str, Writer]
    counts: Sequence[int]
    names: dict[int, str]
    category: str | None
    look: Look
    figure: bool
    told: tuple[str, ...]

    @classmethod
    def planned(
        cls,
        output: Path,
        pipeline: Pipeline,
        tiling: Tiling,
        formats: FormatOptions = FormatOptions(),
        counts: Sequence[int] = (),
        figure: bool = False,
    ) -> _Segmenting:
        """Raises SettingsError if a format is unknown or cannot be written here."""
        from segspectral.export import Writer, exporters_named
        from segspectral.rasters.tiling import why_whole

        tiling = tiling.with_reason(why_whole([], None, pipeline.sizes))
        exporters = exporters_named(formats.format_ or [], formats.shapes())
        folders = {f"_k{k}": output / f"k{k}" for k in counts} or {"": output}
        writers = {end: Writer(exporters, folder) for end, folder in folders.items()}
        names, told = formats.named(), pipeline.usable()[1]
        return cls(
            output,
            pipeline,
            tiling,
            exporters,
            writers,
            counts,
            names,
            formats.category,
            formats.look(),
            figure,
            tuple(told),
        )

    def results(self, path: Path, page: int, image: str, stem: str, report: Report) -> Iterator[str]:
        """Segment one image and write all its results; a line about each. A file of one page has page 0."""
        from segspectral import figures
        from segspectral.export import contour_png, png, write_bytes
        from segspectral.images.reader import read_image

        reading = self.pipeline.reading
        if reading.page == "all":
            reading = reading.model_copy(update={"page": page or None})
        if (plan := self.tiling.of(path, reading)) is not None:
            yield from self._tiled(path, reading, image, stem, plan, report)
            return
        picture = replace(read_image(path, reading), name=Path(image).name)
        scene = self.pipeline.describe(picture, report.stage)
        wanted: dict[str, int | None] = {f"_k{k}": k for k in self.counts} or {"": None}
        made = {end: self.pipeline.solve(scene, k, report.stage) for end, k in wanted.items()}
        for end, one in made.items():
            yield from self._files(one, path, reading.number, image, stem, end)
        if self.pipeline.hierarchy:
            contours = contour_png(scene.hierarchy.contour_map)
            yield f"{write_bytes(self.output / f'{stem}_ucm.png', contours)}"
        if self.counts:
            sheet = png(figures.contact_sheet(list(made.values())))
            yield f"{write_bytes(self.output / f'{stem}_sheet.png', sheet)}"

    def _tiled(self, path: Path, reading: Reading, image: str, stem: str, plan: Plan, report: Report) -> Iterator[str]:
        """Segment a raster in tiles."""
        from segspectral.rasters.results import Exports, save_raster

        pipeline = self.pipeline.model_copy(update={"reading": reading})
        exports = Exports(self.exporters, self.names, self.look)
        made = save_raster(path, self.output / stem, Path(image).name, pipeline, plan, exports, self.told, report.stage)
        result = made.result
        yield f"{plural(result.segments, 'segment')}, {sum(result.seconds.values()):.2f} s -> {made.files[0]}"
        yield from (f"note: {text}" for text in made.notes if text not in self.told)

    def _files(self, one: Segmentation, path: Path, page: int | None, image: str, stem: str, end: str) -> Iterator[str]:
        """Write the files of one segmentation."""
        from segspectral import figures
        from segspectral.export import LabelMap, png, save, write_bytes
        from segspectral.values import Outcome

        place = self.output / f"{stem}{end}"
        files = save(one, place.parent, place.name, self.names, path, self.look)
        yield f"{plural(one.segments, 'segment')}, {sum(one.seconds.values()):.2f} s -> {files['overlay']}"
        yield from (f"note: {text}" for text in one.notes if text not in self.told)
        if one.membership.outcome is not Outcome.SOLVED:
            yield f"note: {one.membership.outcome.sentence}"
        writer = self.writers[end]
        item = LabelMap.of(one, path, self.names, writer.georeference(path, page), self.category)
        yield from writer.add(replace(item, image=image), stem)
        if self.figure:
            yield f"{write_bytes(place.with_name(f'{place.name}_figure.png'), png(figures.figure(one)))}"


def _segment_all(paths: list[Path], work: _Segmenting, debug: bool) -> int:
    """Segment every image; an error in one is reported and does not stop the others. Returns the exit code."""
    from segspectral.export import names_below, result_stems
    from segspectral.files import whole_set
    from segspectral.images.reader import pages_of

    for text in work.told:
        note(text)
    work.pipeline.prepare()
    if work.pipeline.model is None:
        warn_of_names(work.names, len(paths))
    pages = [
        (path, page, image)
        for path, name in zip(paths, names_below(paths), strict=True)
        for page, image in (pages_of(path, name) if work.pipeline.reading.page == "all" else [(0, name)])
    ]
    stems = result_stems([image for *_, image in pages], folders=[f"k{k}" for k in work.counts])
    with progress(len(pages)) as report:
        faults = Faults(report.error, debug)
        for path, page, image in pages:
            with faults.of(path):
                report.begin(path)
                where = printable(f"{path}, page {page}" if page else f"{path}")
                with ExitStack() as stack:
                    for writer in work.writers.values():
                        stack.enter_context(writer.unless_it_fails())
                    stack.enter_context(whole_set())
                    said = "\n  ".join(work.results(path, page, image, stems[image], report))
                report.line(f"{where}: {said}")
    for writer in work.writers.values():
        for written in writer.close():
            print(f"all images -> {written}")
    if faults.count:
        print(failures(faults.count, len(pages)), file=sys.stderr)
    return exit_code(faults.count, len(pages))


def _number(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise SettingsError(f"write a list of whole numbers from 1, such as 4,8,16; '{text}' is none", "--segments")
    return int(text)
