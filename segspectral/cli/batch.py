"""``segspectral batch`` and ``segspectral status``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.common import INTERRUPTED, OK, SOME_FAILED, exit_code, note, printable, tell_error
from segspectral.cli.options import (
    WHOLE,
    FormatOptions,
    PipelineOptions,
    Recursive,
    SeedOptions,
    TileOptions,
    check_files_beside,
    command,
    warn_of_names,
)
from segspectral.cli.progress import Progress, ProgressKind, duration, summary
from segspectral.errors import SettingsError
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.batch import Engine, History, Job, Record, Segmenter, Work
    from segspectral.pipeline import Pipeline
    from segspectral.rasters.tiling import Tiling

TIMEOUT = 600.0
"""Seconds for one image, unless ``--timeout`` says otherwise."""


@dataclass(frozen=True)
class EngineOptions:
    """Where images are worked on."""

    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=0,
            help="Worker processes, about 0.3 GB each; 0: work in this process (default: one per core, up to 4).",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Time for one image; 0: no limit (default: 600; no limit in tiles)."
        ),
    ] = None
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="tcp://HOST:8786 of a scheduler, or local:4 for four workers.")
    ] = None

    def engine(self) -> Engine:
        """Raises SettingsError."""
        from segspectral.batch import DaskCluster, InProcess, Limits, Processes, usable_cores

        limit = Limits(TIMEOUT, None) if self.timeout is None else Limits(self.timeout or None, self.timeout or None)
        if self.dask is not None:
            if self.jobs is not None:
                raise SettingsError("--jobs and --dask exclude each other; write local:N for N workers here")
            return DaskCluster(self.dask, limit)
        if self.jobs == 0:
            if self.timeout:
                raise SettingsError("--timeout needs a process that can be stopped; write --jobs 1")
            return InProcess()
        return Processes(self.jobs or min(usable_cores(), 4), limit)


@dataclass(frozen=True)
class RunOptions:
    """Which images are worked on, and which of them again."""

    recursive: Recursive = False
    ext: Annotated[str | None, typer.Option(metavar="EXT,EXT", help="Which files of a folder, such as jpg,png.")] = None
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only the I-th of N parts, each with its own journal; for job arrays."),
    ] = None
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also retry what failed before.")] = False
    fresh: Annotated[bool, typer.Option("--fresh", help="Redo everything.")] = False

    def find(self, inputs: list[str], output: Path, complain: Any, pages: bool = False) -> list[Job]:
        """The images; with ``pages``, each page is one. ``complain`` is called for an input without images."""
        from segspectral.batch import find_jobs
        from segspectral.images.reader import EXTENSIONS

        extensions = EXTENSIONS if self.ext is None else self.ext.split(",")
        jobs = find_jobs(
            inputs, recursive=self.recursive, extensions=extensions, output=output, complain=complain, note=note
        )
        return [page for job in jobs for page in job.pages()] if pages else jobs


@command
def batch(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Folders, images or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for results and journal.")],
    engine: EngineOptions,
    chosen: RunOptions,
    raster: TileOptions,
    options: PipelineOptions,
    seeds: SeedOptions,
    formats: FormatOptions,
    progress: Annotated[
        ProgressKind,
        typer.Option(help="auto: live on a terminal, else a line every 30 s; json: a line per second on stdout."),
    ] = ProgressKind.AUTO,
) -> None:
    """Segment whole folders; the same command again continues where the last one ended.

    The results of INPUT/x/a.jpg are OUT/x/a_labels.png, a_overlay.png, a_segments.csv and a.json. If there is x/a.png
    too, both keep their suffix: OUT/x/a.jpg_labels.png. With several INPUTs, names begin at the folder that they share.
    Rasters in tiles become OUT/x/a_labels.tif, a.json and a thumbnail, a_overlay.png. With --hierarchy there is also
    OUT/x/a_ucm.png, except for rasters in tiles.

    Formats with one file for all images (coco, cvat, yolo's data.yaml) are made from all label maps in OUT when the
    last image of all shards has ended.

    OUT/journal.jsonl says how each image ended; a broken image does not stop the others. Ctrl-C finishes the images in
    progress, a second one stops at once.
    """
    from segspectral.batch import WHOLE as ALL
    from segspectral.batch import Shard, Tally, run

    part = ALL if chosen.shard is None else Shard.parse(chosen.shard)
    whole = "" if seeds.seeds is None and options.edges is None else WHOLE
    tiling = raster.tiling(formats, options.model, whole)
    doing = engine.engine()
    work = _work(seeds.pipeline(options), formats, output, tiling)
    complaints: list[str] = []
    found = chosen.find(inputs, output, complaints.append, pages=work.pipeline.reading.page == "all")
    for complaint in complaints:
        tell_error(complaint)
    check_files_beside(work.pipeline, [job.name for job in found])
    if work.pipeline.model is None:
        warn_of_names(work.names, len(found))
    tally = Tally(sum(job in part for job in found))
    again = {"retry_failed": chosen.retry_failed, "fresh": chosen.fresh}
    settings = work.pipeline.model_dump(mode="json")
    with Progress(tally, progress, work.notes) as shown:
        run(found, work, doing, output, part, pipeline=settings, tally=tally, observe=shown.record, **again)
    summary(tally, output, chosen.retry_failed)
    if shown.notes:
        print(f"{plural(shown.notes, 'image')} with notes, in the journal", file=sys.stderr)
    _write_together(output, formats, found, work)
    code = INTERRUPTED if tally.interrupted else exit_code(tally.bad, tally.total)
    raise typer.Exit(SOME_FAILED if complaints and code == OK else code)


def _work(pipeline: Pipeline, formats: FormatOptions, output: Path, tiling: Tiling) -> Segmenter:
    """What is done to each image; its notes are printed."""
    from segspectral.batch import Segmenter

    named, category = formats.named(), formats.category
    chosen = formats.format_ or []
    work = Segmenter.of(pipeline, output, tiling, chosen, named, category, formats.shapes(), formats.look())
    for text in work.notes:
        note(text)
    return work


@command
def status(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of a batch.")],
    failures: Annotated[bool, typer.Option(help="List the images without a result.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show how far a batch is, even while it runs: done, failed with reasons, left, rate; all shards together."""
    from segspectral.batch import read_history

    history = read_history(output)
    if not (history.runs or history.latest or history.unreadable):
        why = "it has no journal.jsonl" if output.is_dir() else "it is not a folder"
        raise SettingsError(f"no batch has written there ({why})", output)
    found = _Status.of(history)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
        return
    print(f"{output}: {found.state()}")
    for name, value in found.rows():
        print(f"{name:10} {value}")
    if failures and found.bad:
        print()
        for record in found.bad:
            print(printable(f"{record.status.value}: {record.image}: {record.reason}"))


@dataclass(frozen=True)
class _Status:
    """The content of a journal: how the images ended, which have no result, how many are left, images per second."""

    history: History
    counts: dict[str, int]
    bad: list[Record]
    left: int
    rate: float

    @classmethod
    def of(cls, history: History) -> _Status:
        counts = Counter(record.status for record in history.latest.values())
        bad = sorted((r for r in history.latest.values() if r.status.bad), key=lambda r: (r.status, r.image))
        left = sum(run.left for run in history.runs.values())
        rate = sum(run.rate for shard, run in history.runs.items() if shard in history.running or not history.running)
        return cls(history, {status.value: count for status, count in sorted(counts.items())}, bad, left, rate)

    def as_json(self) -> dict[str, Any]:
        return {
            "running": sorted(shard or "all" for shard in self.history.running),
            "counts": self.counts,
            "left": self.left,
            "shards_not_begun": self.history.shards_not_begun,
            "unreadable_lines": self.history.unreadable,
            "images_per_second": round(self.rate, 3),
            "failures": [{"image": r.image, "status": r.status, "reason": r.reason} for r in self.bad],
        }

    def state(self) -> str:
        """Whether it runs, and which of its shards."""
        running, shards = len(self.history.running), len(self.history.runs)
        state = "running" if running else "not running"
        if shards < 2:
            return state
        return f"{state}, {running} of {shards} shards" if running else f"{state}, all {shards} shards"

    def rows(self) -> Iterator[tuple[str, object]]:
        """What is printed: a name and its value."""
        history = self.history
        yield from ((name, count) for name, count in self.counts.items() if name not in ("started", "reset"))
        yield "left", self.left
        if history.shards_not_begun:
            yield "not begun", f"{plural(history.shards_not_begun, 'shard')}, whose images are not counted yet"
        if history.unreadable:
            yield "unreadable", f"{plural(history.unreadable, 'line')} of the journals, skipped"
        if self.rate:
            more = f", {duration(self.left / self.rate)} left" if self.left and history.running else ""
            yield "rate", f"{self.rate:.2f} images/s{more}"


def _write_together(output: Path, formats: FormatOptions, jobs: list[Job], work: Work) -> None:
    """Write the formats that have one file for all images, if all have ended."""
    from segspectral.batch import all_ended, read_history, write_together
    from segspectral.export import exporters_named

    late = [exporter.name for exporter in exporters_named(formats.format_ or []) if exporter.together is not None]
    if not late:
        return
    if not all_ended(read_history(output), jobs, work):
        print(f"{', '.join(late)}: the run after which no image is left writes them", file=sys.stderr)
        return
    for path in write_together(output, late, tell_error, formats.category):
        print(f"all images -> {path}", file=sys.stderr)
