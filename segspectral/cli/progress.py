"""How a batch goes on, while it runs and when it has ended."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segspectral.cli.common import printable
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.batch import Record, Status, Tally

__all__ = ["Progress", "ProgressKind", "duration", "ends", "summary"]

LINE_SECONDS = 30.0
JSON_SECONDS = 1.0
LIVE_SECONDS = 0.25


class ProgressKind(StrEnum):
    AUTO = "auto"
    JSON = "json"
    NONE = "none"


class Progress:
    """Shows a Tally that another thread counts in.

    Parameters
    ----------
    told : notes that were printed once for all images
    """

    def __init__(self, tally: Tally, kind: ProgressKind, told: Collection[str] = ()) -> None:
        self.tally, self.kind, self.told = tally, kind, set(told)
        self.console = Console(stderr=True)
        self.live = kind is ProgressKind.AUTO and self.console.is_terminal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._bar: Any = None
        self.notes = 0

    def __enter__(self) -> Progress:
        if self.live:
            from rich import progress as bars

            columns = (bars.BarColumn(), bars.MofNCompleteColumn(), bars.TextColumn("{task.description}", markup=False))
            self._bar = bars.Progress(*columns, console=self.console, transient=True)
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
        """Failures are printed as they come."""
        self.notes += not self.told.issuperset(record.notes)
        if not record.status.bad:
            return
        text = printable(f"{record.status.value}: {record.image}: {record.reason}")
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        elif self.kind is not ProgressKind.JSON:
            print(text, file=sys.stderr, flush=True)

    def _tell(self) -> None:
        every = LIVE_SECONDS if self.live else JSON_SECONDS if self.kind is ProgressKind.JSON else LINE_SECONDS
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
        text += f", {duration(tally.seconds_left)} left"
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


def summary(tally: Tally, output: Path, retry_failed: bool) -> None:
    """Say on stderr how a run has ended."""
    for line in _sentences(tally, output, retry_failed):
        print(printable(line), file=sys.stderr)


def _sentences(tally: Tally, output: Path, retry_failed: bool) -> Iterator[str]:
    if tally.now:
        took = duration(time.monotonic() - tally.began)
        yield f"{ends(tally.now)} in {took} ({tally.rate:.2f} images/s)"
    else:
        yield "nothing to do"
    if tally.before:
        yield f"skipped, as they ended in earlier runs: {ends(tally.before)}"
    if tally.unreadable:
        yield f"skipped {plural(tally.unreadable, 'line')} of the journals that cannot be read"
    if tally.redone:
        yield f"done again, under other settings, in more formats, or as other files: {plural(tally.redone, 'image')}"
    if tally.longer:
        shown = ", ".join(tally.longer[:3]) + (", ..." if len(tally.longer) > 3 else "")
        has = "has" if len(tally.longer) == 1 else "have"
        yield f"{plural(len(tally.longer), 'image')} {has} results with longer names, to keep images apart: {shown}"
    if tally.left:
        yield f"{plural(tally.left, 'image')} left; the same command goes on with {'it' if tally.left == 1 else 'them'}"
    if tally.bad:
        advice = "" if retry_failed else f"; --retry-failed does {'it' if tally.bad == 1 else 'them'} again"
        yield f"{plural(tally.bad, 'image')} without a result, listed by: segspectral status {output}{advice}"


def ends(counts: Mapping[Status, int]) -> str:
    """How images ended: "3 done, 1 failed"."""
    return ", ".join(f"{count} {status.value}" for status, count in sorted(counts.items()))


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(75), duration(7300)
    ('1 min 15 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
