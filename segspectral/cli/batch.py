"""``segspectral batch`` and ``segspectral status``."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from segspectral.cli.common import (
    ALL_FAILED,
    INTERRUPTED,
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
    make_pipeline,
    plural,
    sentences,
)
from segspectral.cli.common import printable as _printable
from segspectral.cli.convert import CategoryOption, FormatOption, NamesOption, warn_of_names
from segspectral.errors import SettingsError

if TYPE_CHECKING:
    from segspectral.batch import Engine, Job, Record, Tally, Work
    from segspectral.rasters.segment import Tiles

LINE_SECONDS = 30.0
JSON_SECONDS = 1.0
TIMEOUT = 600.0


class ProgressKind(StrEnum):
    AUTO = "auto"
    JSON = "json"
    NONE = "none"


def batch(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Folders, images or globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for results and journal.")],
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=0,
            help="Worker processes, about 1 GB each; 0: none, all in this process (default: one per core, up to 4).",
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also folders below the given ones.")] = False,
    ext: Annotated[
        str | None, typer.Option("--ext", metavar="EXT,EXT", help="Which files of a folder, such as jpg,png.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only the I-th of N parts; one journal each. For job arrays."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also do again what failed before.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do everything again.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0, metavar="SECONDS", help="For one image; 0: no limit (default: 600; none with --tile)."
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="tcp://HOST:8786 of a scheduler, or local:4 for four workers."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option("--tile", metavar="PIXELS", help="Read TIFFs in tiles, as one graph, into GeoTIFFs (1024)."),
    ] = None,
    bands: Annotated[
        str | None, typer.Option("--bands", metavar="R,G,B", help="Bands of TIFFs, such as 4,3,2; implies --tile.")
    ] = None,
    stretch: Annotated[
        str | None,
        typer.Option(
            "--stretch", metavar="LOW,HIGH", help="Percentiles, such as 2,98, made black and white; as above."
        ),
    ] = None,
    progress: Annotated[
        ProgressKind,
        typer.Option(help="auto: live on a terminal, else a line every 30 s; json: a line per second on stdout."),
    ] = ProgressKind.AUTO,
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
    debug: DebugOption = False,
) -> None:
    """Segment whole folders; the same command again goes on where the last one ended.

    The results of x/a.jpg, as seen from INPUT, are OUT/x/a_labels.png, a_overlay.png, a_segments.csv and a.json. If
    there is x/a.png too, both keep their suffix: OUT/x/a.jpg_labels.png. With several INPUTs, names begin at the folder
    that they share. TIFFs in tiles become OUT/x/a_labels.tif, a.json and a_overlay.png, a thumbnail. With --hierarchy
    there is OUT/x/a_ucm.png too.

    Of formats with one file for all images (coco, cvat, yolo's data.yaml), it is made from all label maps in OUT when
    the last image of all shards has ended.

    OUT/journal.jsonl says how each image ended; a broken image stops nothing. Ctrl-C finishes what is in flight, a
    second one stops at once.
    """
    with sentences(debug):
        from segspectral.batch import WHOLE, Segmenter, Shard, Tally, find_jobs, run
        from segspectral.export import parse_names
        from segspectral.images.reader import EXTENSIONS

        part = WHOLE if shard is None else Shard.parse(shard)
        tiles = _tiles(tile, bands, stretch)
        engine = _engine(jobs, dask, timeout, default=TIMEOUT if tiles is None else None)  # a raster may take hours
        options = {"head": head, "model": model, "backbone": backbone, "refine": refine, "seed": seed}
        pipeline = make_pipeline(config, set_, segments=segments, hierarchy=hierarchy, level=level, **options)
        formats = format_ or []
        named = parse_names(names) if names is not None else {}
        work = Segmenter.of(pipeline, output, tiles, formats, named, category)
        for note in work.notes:
            print(f"note: {note}", file=sys.stderr)
        extensions = EXTENSIONS if ext is None else ext.split(",")
        complaints: list[str] = []
        found = find_jobs(
            inputs,
            recursive=recursive,
            extensions=extensions,
            output=output,
            complain=complaints.append,
            note=lambda sentence: print(_printable(f"note: {sentence}"), file=sys.stderr),
        )
        for complaint in complaints:
            print(_printable(f"error: {complaint}"), file=sys.stderr)
        if pipeline.model is None:
            warn_of_names(named, len(found))
        tally = Tally(sum(job in part for job in found))
        with _Progress(tally, progress, work.notes) as shown:
            run(
                found,
                work,
                engine,
                output,
                part,
                pipeline=work.pipeline.model_dump(mode="json"),
                retry_failed=retry_failed,
                fresh=fresh,
                tally=tally,
                observe=shown.record,
            )
        _summary(tally, output, retry_failed)
        if shown.notes:
            print(f"{plural(shown.notes, 'image')} with notes, in the journal", file=sys.stderr)
        _write_together(output, formats, found, work, category)
        code = _exit_code(tally)
        raise typer.Exit(SOME_FAILED if complaints and code == OK else code)


def status(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of a batch.")],
    failures: Annotated[bool, typer.Option(help="List the images without a result.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """How far a batch is, also while it runs: done, failed with reasons, left, rate. All shards together."""
    with sentences(debug):
        from segspectral.batch import read_history

        history = read_history(output)
        if not (history.runs or history.latest or history.unreadable):
            raise SettingsError("no batch has written there (it has no journal.jsonl)", output)
        counts = Counter(record.status for record in history.latest.values())
        bad = sorted((r for r in history.latest.values() if r.status.bad), key=lambda r: (r.status, r.image))
        left = sum(run.left for run in history.runs.values())
        rate = sum(run.rate for shard, run in history.runs.items() if shard in history.running or not history.running)
        if as_json:
            data = {
                "running": sorted(shard or "all" for shard in history.running),
                "counts": {name.value: count for name, count in counts.items()},
                "left": left,
                "shards_not_begun": history.shards_not_begun,
                "unreadable_lines": history.unreadable,
                "images_per_second": round(rate, 3),
                "failures": [{"image": r.image, "status": r.status, "reason": r.reason} for r in bad],
            }
            print(json.dumps(data, indent=2))
            return
        state = "running" if history.running else "not running"
        if len(history.runs) > 1:
            state += f", {len(history.running)} of {len(history.runs)} shards" if history.running else ", all shards"
        print(f"{output}: {state}")
        for name, count in sorted(counts.items()):
            if name.value not in ("started", "reset"):
                print(f"{name.value:10} {count}")
        print(f"{'left':10} {left}")
        if history.shards_not_begun:
            print(f"{'not begun':10} {history.shards_not_begun} of the shards, whose images are not counted yet")
        if history.unreadable:
            print(f"{'unreadable':10} {plural(history.unreadable, 'line')} of the journals, passed over")
        if rate:
            more = f", {_duration(left / rate)} left" if left and history.running else ""
            print(f"{'rate':10} {rate:.2f} images/s{more}")
        if failures and bad:
            print()
            for record in bad:
                print(_printable(f"{record.status.value}: {record.image}: {record.reason}"))


def _engine(jobs: int | None, dask: str | None, timeout: float | None, default: float | None) -> Engine:
    from segspectral.batch import DaskCluster, InProcess, Processes, usable_cores

    limit = (default if timeout is None else timeout) or None
    if dask is not None:
        if jobs is not None:
            raise SettingsError("--jobs and --dask exclude each other; say local:N for N workers here")
        return DaskCluster(dask, limit)
    if jobs == 0:
        if timeout:
            raise SettingsError("--timeout needs a process that can be stopped: say --jobs 1")
        return InProcess()
    return Processes(jobs or min(usable_cores(), 4), limit)


def _tiles(tile: int | None, bands: str | None, stretch: str | None) -> Tiles | None:
    if tile is None and bands is None and stretch is None:
        return None
    from pydantic import ValidationError

    from segspectral.rasters.segment import Tiles
    from segspectral.settings import explain

    for option, text, parts, example in (("--bands", bands, 3, "4,3,2"), ("--stretch", stretch, 2, "2,98")):
        if text is not None and len(text.split(",")) != parts:
            raise SettingsError(f"{option} {text}: write {parts} numbers with commas between them, such as {example}")
    given = {"tile": tile, "bands": bands and bands.split(","), "stretch": stretch and stretch.split(",")}
    try:
        return Tiles.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(f"--tile, --bands, --stretch: {explain(error, Tiles)}") from error


class _Progress:
    """Shows a Tally that another thread counts in."""

    def __init__(self, tally: Tally, kind: ProgressKind, told: Collection[str] = ()) -> None:
        self.tally, self.kind, self.told = tally, kind, set(told)
        self.console = Console(stderr=True)
        self.live = kind is ProgressKind.AUTO and self.console.is_terminal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._bar: Any = None
        self.notes = 0

    def __enter__(self) -> _Progress:
        if self.live:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.add_task("starting", total=self.tally.total)
            self._bar.start()
        if self.kind is not ProgressKind.NONE:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bar is not None:
            self._bar.stop()
        if self.kind is ProgressKind.JSON:
            print(json.dumps(_as_json(self.tally)), flush=True)

    def record(self, record: Record) -> None:
        """Failures are told as they come."""
        self.notes += not self.told.issuperset(record.notes)
        if not record.status.bad:
            return
        text = _printable(f"{record.status.value}: {record.image}: {record.reason}")
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.kind is not ProgressKind.JSON:
            print(text, file=sys.stderr, flush=True)

    def _tell(self) -> None:
        every = 0.25 if self.live else JSON_SECONDS if self.kind is ProgressKind.JSON else LINE_SECONDS
        while not self._over.wait(every):
            tally = self.tally
            if self.live:
                self._bar.update(0, completed=tally.total - tally.left, total=tally.total, description=_line(tally))
            elif self.kind is ProgressKind.JSON:
                print(json.dumps(_as_json(tally)), flush=True)
            else:
                at = time.strftime("%H:%M:%S")
                print(f"{at} {tally.total - tally.left} of {tally.total}, {_line(tally)}", file=sys.stderr, flush=True)


def _line(tally: Tally) -> str:
    text = f"{tally.rate:.2f} images/s"
    if tally.seconds_left is not None:
        text += f", {_duration(tally.seconds_left)} left"
    if tally.bad:
        text += f", {tally.bad} failed"
    return text + (", finishing what is in flight (Ctrl-C again stops at once)" if tally.interrupted else "")


def _as_json(tally: Tally) -> dict[str, Any]:
    return {
        "images": tally.total,
        "left": tally.left,
        "before": {status.value: count for status, count in tally.before.items()},
        "now": {status.value: count for status, count in tally.now.items()},
        "images_per_second": round(tally.rate, 3),
        "seconds_left": None if tally.seconds_left is None else round(tally.seconds_left, 1),
        "interrupted": tally.interrupted,
    }


def _summary(tally: Tally, output: Path, retry_failed: bool) -> None:
    ends = ", ".join(f"{count} {status.value}" for status, count in sorted(tally.now.items()))
    took = f"{ends} in {_duration(time.monotonic() - tally.began)} ({tally.rate:.2f} images/s)"
    print(took if ends else "nothing to do", file=sys.stderr)
    if tally.before:
        ends = ", ".join(f"{count} {status.value}" for status, count in sorted(tally.before.items()))
        print(f"skipped, as they ended in earlier runs: {ends}", file=sys.stderr)
    if tally.unreadable:
        print(f"lines of the journals that cannot be read and were passed over: {tally.unreadable}", file=sys.stderr)
    if tally.redone:
        print(f"done again, under other settings, in more formats, or as other files: {tally.redone}", file=sys.stderr)
    if tally.longer:
        shown = ", ".join(tally.longer[:3]) + (", ..." if len(tally.longer) > 3 else "")
        print(
            _printable(f"{len(tally.longer)} images have results with longer names, to keep images apart: {shown}"),
            file=sys.stderr,
        )
    if tally.left:
        print(f"left: {tally.left}; the same command goes on with them", file=sys.stderr)
    if tally.bad:
        advice = "" if retry_failed else "; --retry-failed does them again"
        print(f"{tally.bad} without a result, listed by: segspectral status {output}{advice}", file=sys.stderr)


def _write_together(output: Path, formats: list[str], jobs: list[Job], work: Work, category: str | None) -> None:
    from segspectral.batch import all_ended, read_history, write_together
    from segspectral.export import exporters_named

    late = [exporter.name for exporter in exporters_named(formats) if exporter.together is not None]
    if not late:
        return
    if not all_ended(read_history(output), jobs, work):
        print(f"{', '.join(late)}: written by the run after which no image is left", file=sys.stderr)
        return

    def complain(sentence: str) -> None:
        print(_printable(f"error: {sentence}"), file=sys.stderr)

    for path in write_together(output, late, complain, category):
        print(f"all images -> {path}", file=sys.stderr)


def _exit_code(tally: Tally) -> int:
    if tally.interrupted:
        return INTERRUPTED
    return OK if not tally.bad else ALL_FAILED if tally.bad == tally.total else SOME_FAILED


def _duration(seconds: float) -> str:
    """
    >>> _duration(75), _duration(7300)
    ('1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
