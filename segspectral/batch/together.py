"""Files that describe all images of an output folder, such as ``coco.json``; they are written when all have ended.

Such a file is always made from the label maps of all images and never extended. So it agrees with the journal, even if
runs were stopped, resumed, repeated or done on other machines, and it equals the file of ``segspectral convert OUT``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from segspectral.batch.jobs import Job
from segspectral.batch.journal import History, Record, Status, read_history
from segspectral.batch.work import Work
from segspectral.errors import ImageError
from segspectral.export import LabelMap, Writer, exporters_named, read_label_map
from segspectral.export.naming import stem_in

__all__ = ["all_ended", "write_together"]

LABELS = ("_labels.tif", "_labels.png")


def all_ended(history: History, jobs: Iterable[Job], work: Work) -> bool:
    """Return whether all images, including those of other shards, have ended with these settings."""
    records = ((job, history.latest.get(job.name)) for job in jobs)
    return all(
        record is not None
        and record.status not in (Status.STARTED, Status.RESET)
        and record.describes(job, work.settings, work.version)
        for job, record in records
    )


def write_together(
    out: Path,
    formats: Sequence[str],
    complain: Callable[[str], None] = lambda sentence: None,
    category: str | None = None,
) -> list[Path]:
    """Write the files that describe all images which the journals of an output folder call done.

    Parameters
    ----------
    formats : names of exporters; those without such a file are ignored
    complain : called with a sentence about each image whose label map cannot be read
    category : category of all segments without a name

    Returns
    -------
    The paths of the files.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    exporters = [exporter for exporter in exporters_named(formats) if exporter.together is not None]
    if not exporters:
        return []
    done = _done(out)
    while True:
        writer = Writer(exporters, out)
        for _, record in sorted(done.items()):
            try:
                writer.keep(_label_map(out, record).of_category(category), stem_in(record.outputs))
            except ImageError as error:
                complain(str(error))
        written = writer.close()
        # Another shard may have ended in the meantime and written its file before this one.
        if done == (done := _done(out)):
            return written


def _done(out: Path) -> dict[str, Record]:
    return {name: record for name, record in read_history(out).latest.items() if record.status is Status.DONE}


def _label_map(out: Path, record: Record) -> LabelMap:
    stem = stem_in(record.outputs)
    path = next((f"{stem}{end}" for end in LABELS if f"{stem}{end}" in record.outputs), None)
    if path is None:
        raise ImageError(f"the journal lists no label map of {record.image}; `batch --fresh` does it again", out)
    return replace(read_label_map(out / path), image=record.image)
