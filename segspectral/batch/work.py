"""What is done to one image: read, segment, write, and say how it ended."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import segspectral
from segspectral.batch.jobs import Job, fingerprint_of
from segspectral.batch.journal import Record, Status
from segspectral.errors import BatchError, OutputError, SegspectralError

if TYPE_CHECKING:
    from segspectral.pipeline import Pipeline

__all__ = ["Segmenter", "Work", "settings_hash"]

ITS_OWN_FAULT = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Reasons why the results of one image cannot be written although those of others can."""


class Work(Protocol):
    """What an engine does to each image. It travels to other processes, so it can be pickled.

    Laws: calling it never raises for a fault of the image, it returns a Record; a SegspectralError that it raises
    ends the batch (the disk is full). Doing the same job twice, even at the same time, leaves the same files.
    """

    @property
    def settings(self) -> str:
        """Changes with every setting that results depend on."""

    @property
    def version(self) -> str: ...

    def prepare(self) -> None:
        """Load what takes long. Raises SegspectralError."""

    def __call__(self, job: Job, /) -> Record: ...


@dataclass(frozen=True)
class Segmenter:
    """Segments an image by a pipeline and saves the results below ``out``.

    The results of ``x/a.jpg`` are ``x/a.jpg_labels.png`` and so on: with folder and suffix, so that no two images
    share a name, whatever else is in the batch. Times stand in the journal and not in the summary: equal images and
    settings give equal bytes.
    """

    pipeline: Pipeline
    out: str
    settings: str
    version: str = segspectral.__version__

    @classmethod
    def of(cls, pipeline: Pipeline, out: str | os.PathLike[str]) -> Segmenter:
        return cls(pipeline, os.path.abspath(out), settings_hash(pipeline))

    def prepare(self) -> None:
        if self.version != segspectral.__version__:
            raise BatchError(
                f"{socket.gethostname()} has segspectral {segspectral.__version__}, but this batch is run by "
                f"{self.version}; install the same version everywhere"
            )
        self.pipeline.prepare()

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
            segments, stages, outputs = self._segment(job, (size, mtime_ns))
        except OutputError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in ITS_OWN_FAULT:
                raise
            record = replace(record, reason=str(error))
        except SegspectralError as error:
            record = replace(record, reason=str(error).removeprefix(f"{job.path}: "))
        except MemoryError:
            record = replace(record, reason="does not fit into memory; scale it down or cut it into tiles")
        except Exception as error:  # one image that meets a defect must not cost the others
            reason = f"an error in segspectral that should be reported ({type(error).__name__}: {error})"
            record = replace(record, reason=reason, traceback=traceback.format_exc())
        else:
            record = replace(record, status=Status.DONE, segments=segments, stages=stages, outputs=outputs)
        return replace(record, seconds=round(time.perf_counter() - begin, 4))

    def _segment(self, job: Job, before: tuple[int, int]) -> tuple[int, dict[str, float], dict[str, int]]:
        from segspectral.export import save
        from segspectral.images import read_image

        image = read_image(job.path)
        if fingerprint_of(job.path) != before:
            # What was read is neither the old file nor the new one.
            raise SegspectralError("was changed while it was read; the next run does it again")
        result = self.pipeline(image)
        place = Path(self.out, job.name)
        files = save(replace(result, seconds={}), place.parent, place.name)
        outputs = {path.relative_to(self.out).as_posix(): path.stat().st_size for path in files.values()}
        return result.segments, {stage: round(s, 4) for stage, s in result.seconds.items()}, outputs


def settings_hash(pipeline: Pipeline) -> str:
    """16 hexadecimal digits that change when a setting does that results depend on."""

    def relevant(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: relevant(inner) for key, inner in value.items() if key not in ("cache", "device")}
        return value

    text = json.dumps(relevant(pipeline.model_dump(mode="json")), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
