"""The work on one image of a batch: read it, segment it, write the results, and return a record."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import segspectral
from segspectral.batch.jobs import Job, fingerprint_of
from segspectral.batch.journal import Record, Status
from segspectral.errors import BatchError, OutputError, SegspectralError
from segspectral.files import is_of_mac, whole_set
from segspectral.rasters.tiling import Plan, Tiles, Tiling, why_whole
from segspectral.registry import Look, Shapes

if TYPE_CHECKING:
    from segspectral.images.interpret import Reading
    from segspectral.pipeline import Pipeline

__all__ = ["Segmenter", "Work", "settings_hash"]

ITS_OWN_FAULT = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors in writing the results of one image that do not concern other images, such as a name that is too long."""


class Work(Protocol):
    """The work that an engine does on each image. It is sent to other processes, so it must be picklable.

    Laws: if something is wrong with the image, the call returns a Record and does not raise. A SegspectralError that
    it raises ends the batch (for instance, the disk is full). Doing the same job twice, even at the same time, leaves
    the same files.
    """

    @property
    def settings(self) -> str:
        """A text that changes with every setting on which results depend."""

    @property
    def version(self) -> str: ...

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the exporters. An image is done if it has the files of all of them; it may have more."""

    def prepare(self) -> None:
        """Load models and weights, which takes time. Raises SegspectralError."""

    def takes_long(self, job: Job, /) -> bool:
        """Whether an image is read in tiles, and has another time limit. Nothing is raised."""

    def __call__(self, job: Job, /) -> Record: ...


@dataclass(frozen=True)
class Segmenter:
    """Segments an image with a pipeline and saves the results below ``out``.

    The results of ``x/a.jpg`` are ``x/a_labels.png`` and so on; ``result_stems`` keeps images with equal names apart.
    Times are written to the journal and not to the summary, so equal images and settings give equal bytes.
    """

    pipeline: Pipeline
    out: str
    settings: str
    tiling: Tiling = field(default_factory=lambda: Tiling(Tiles()))
    formats: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    category: str | None = None
    shapes: Shapes = field(default_factory=Shapes)
    look: Look = field(default_factory=Look)
    version: str = segspectral.__version__
    notes: tuple[str, ...] = ()
    """Notes about every image: the strategies of the pipeline that had to be replaced."""

    @classmethod
    def of(
        cls,
        pipeline: Pipeline,
        out: str | os.PathLike[str],
        tiles: Tiling | Tiles | None = None,
        formats: Sequence[str] = (),
        names: Mapping[int, str] | None = None,
        category: str | None = None,
        shapes: Shapes = Shapes(),
        look: Look = Look(),
    ) -> Segmenter:
        """
        Parameters
        ----------
        tiles : which rasters are segmented in tiles into a GeoTIFF of labels. None means those that are too large to be
            held in memory, and settings mean all
        formats : names of exporters whose files are also written for each image
        names : segment -> name
        category : category of all segments without a name, in formats that have categories
        shapes : how formats of polygons draw segments
        look : how overlays are drawn

        Raises
        ------
        SettingsError
            A format is unknown, or a module that it needs is not installed; or all rasters are to be read in tiles, and
            a format or a model needs whole images.
        """
        from segspectral.export import exporters_named

        tiling = tiles if isinstance(tiles, Tiling) else Tiling(tiles or Tiles(), auto=tiles is None)
        tiling = tiling.with_reason(why_whole(formats, pipeline.model, pipeline.sizes))
        pipeline, notes = pipeline.usable()
        own = tuple(exporter.name for exporter in exporters_named(formats, shapes) if exporter.image is not None)
        names = dict(names or {})
        settings = settings_hash(pipeline, tiling, names, category, shapes, look)
        return cls(pipeline, os.path.abspath(out), settings, tiling, own, names, category, shapes, look, notes=notes)

    def prepare(self) -> None:
        from segspectral.export import exporters_named

        if self.version != segspectral.__version__:
            raise BatchError(
                f"{socket.gethostname()} has segspectral {segspectral.__version__}, but this batch was started with "
                f"{self.version}; install the same version everywhere"
            )
        exporters_named(self.formats)
        self.pipeline.prepare()

    def takes_long(self, job: Job) -> bool:
        try:
            return self.tiling.of(job.path, _reading(self.pipeline, job)) is not None
        except SegspectralError:
            return False

    def __call__(self, job: Job) -> Record:
        begin = time.perf_counter()
        size, mtime_ns = fingerprint_of(job.path)
        record = Record(
            job.name,
            Status.FAILED,
            size=size,
            mtime_ns=mtime_ns,
            settings=self.settings,
            version=self.version,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )
        try:
            if (plan := self.tiling.of(job.path, _reading(self.pipeline, job))) is not None:
                made = self._segment_tiled(job, (size, mtime_ns), plan)
            else:
                made = self._segment(job, (size, mtime_ns))
        except OutputError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in ITS_OWN_FAULT:
                raise
            record = replace(record, reason=str(error))
        except SegspectralError as error:
            record = replace(record, reason=error.message if error.source == job.path else str(error))
        except MemoryError:
            record = replace(record, reason="does not fit into memory; scale it down or cut it into tiles")
        except Exception as error:  # a defect that one image reveals must not stop the others
            reason = f"an error in segspectral; please report it ({type(error).__name__}: {error})"
            record = replace(record, reason=reason, traceback=traceback.format_exc())
        else:
            record = replace(
                record,
                status=Status.DONE,
                segments=made.segments,
                stages={stage: round(seconds, 4) for stage, seconds in made.seconds.items()},
                outputs={path.relative_to(self.out).as_posix(): path.stat().st_size for path in made.files},
                formats=list(self.formats),
                notes=made.notes,
            )
        return replace(record, seconds=round(time.perf_counter() - begin, 4))

    @whole_set()
    def _segment(self, job: Job, before: tuple[int, int]) -> _Made:
        from segspectral.export import LabelMap, Writer, contour_png, exporters_named, save, write_bytes
        from segspectral.images.reader import read_image

        source, stem = Path(job.path), _stem(job)
        target = Path(self.out, stem)
        image = replace(read_image(source, _reading(self.pipeline, job)), name=Path(job.name).name)
        _check_unchanged(job, before)
        result = self.pipeline(image)
        result = replace(result, notes=(*self.notes, *result.notes))
        files = [*save(replace(result, seconds={}), target.parent, target.name, self.names, source, self.look).values()]
        if self.pipeline.hierarchy:
            contours = contour_png(result.hierarchy.contour_map)
            files.append(write_bytes(target.with_name(f"{target.name}_ucm.png"), contours))
        writer = Writer(exporters_named(self.formats, self.shapes), Path(self.out))
        where = writer.georeference(source, _reading(self.pipeline, job).number)
        label_map = replace(LabelMap.of(result, source, self.names, where, self.category), image=job.name)
        more, notes = writer.write(label_map, stem)
        return _Made(result.segments, dict(result.seconds), [*files, *more], [*result.notes, *notes])

    @whole_set()
    def _segment_tiled(self, job: Job, before: tuple[int, int], plan: Plan) -> _Made:
        from segspectral.export import exporters_named
        from segspectral.rasters.results import Exports, save_raster

        pipeline = self.pipeline.model_copy(update={"reading": _reading(self.pipeline, job)})
        target = Path(self.out, _stem(job))
        exports = Exports(exporters_named(self.formats, self.shapes), self.names, self.look)
        made = save_raster(Path(job.path), target, Path(job.name).name, pipeline, plan, exports, self.notes)
        _check_unchanged(job, before)
        return _Made(made.result.segments, made.result.seconds, made.files, made.notes)


@dataclass(frozen=True)
class _Made:
    """The results of one image."""

    segments: int
    seconds: dict[str, float]
    files: list[Path]
    notes: list[str]


def _check_unchanged(job: Job, before: tuple[int, int]) -> None:
    if fingerprint_of(job.path) != before:
        # The pixels that were read may be a mixture of the old and the new file.
        raise SegspectralError("was changed while it was read; the next run does it again")


def _reading(pipeline: Pipeline, job: Job) -> Reading:
    """How the image of a job is read: with ``page=all``, it is one page of its file."""
    if pipeline.reading.page != "all":
        return pipeline.reading
    return pipeline.reading.model_copy(update={"page": job.page or None})


def _stem(job: Job) -> str:
    from segspectral.export import result_stems

    return job.stem or result_stems([job.name])[job.name]


def _files(*paths: Path | None) -> list[tuple[str, int, int]]:
    """Name, size and time of change of files, or of all files in folders: what changes there is done again."""
    folders = [sorted(path.iterdir()) if path.is_dir() else [path] for path in paths if path is not None]
    return [(file.name, *fingerprint_of(str(file))) for files in folders for file in files if not is_of_mac(file)]


def settings_hash(
    pipeline: Pipeline,
    tiling: Tiling,
    names: Mapping[int, str] | None = None,
    category: str | None = None,
    shapes: Shapes = Shapes(),
    look: Look = Look(),
) -> str:
    """Return 16 hexadecimal digits that change with every setting on which results depend."""

    def relevant(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: relevant(inner) for key, inner in value.items() if key not in ("cache", "device", "file")}
        return value

    tiles = None if tiling.auto and tiling.tiles else tiling.tiles.model_dump(mode="json") if tiling.tiles else "none"
    settings = [
        pipeline.model_dump(mode="json"),
        tiles,
        names or {},
        category or "",
        *_files(pipeline.seeds.path, pipeline.edges),
    ]
    if shapes != Shapes():
        settings.append(asdict(shapes))
    if look != Look():
        settings.append(asdict(look))
    text = json.dumps([relevant(part) for part in settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
