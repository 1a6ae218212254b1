"""A result as files of other programs."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi import Path as PathParameter
from fastapi.responses import Response

from segspectral.export import EXPORTERS
from segspectral.export.naming import short_stem
from segspectral.files import zipped
from segspectral.web.service import BINARY, AnyEdits, AnyJob, gives

router = APIRouter()

AnyFormat = Annotated[str, PathParameter(json_schema_extra={"enum": list(EXPORTERS)})]


@router.get("/api/jobs/{job_id}/export/{format}", **gives(BINARY))
def export(job: AnyJob, edits: AnyEdits, format: AnyFormat) -> Response:
    """The result as a file; formats of several files come as a zip."""
    if format not in EXPORTERS:
        raise HTTPException(404, f"there is no format of that name; there are {', '.join(EXPORTERS)}")
    stem = short_stem(job.name) or "image"
    files = EXPORTERS[format].files_of(edits.item, stem)
    name, data = _one_file(dict(files), f"{stem}_{format}.zip")
    return Response(data, media_type=BINARY, headers={"Content-Disposition": _attachment(name)})


def _one_file(files: dict[str, bytes], archive: str) -> tuple[str, bytes]:
    if len(files) == 1:
        ((name, data),) = files.items()
        return name.rsplit("/", 1)[-1], data
    return archive, zipped(files.items())


def _attachment(name: str) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
