"""The application: a documented REST API, and the static page that uses it."""

from __future__ import annotations

import asyncio
import io
import shutil
import zipfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import numpy as np
from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import segspectral
from segspectral.errors import SegspectralError
from segspectral.export import EXPORTERS, colour_table, png, tinted
from segspectral.export.naming import short_stem
from segspectral.figures import before_refinement, eigenvector_pictures
from segspectral.images.reader import EXTENSIONS
from segspectral.pipeline import Pipeline
from segspectral.web.command import backbones, pipeline_from_client, settings_from_text
from segspectral.web.edits import MOST_IN_A_CUT, Edit, Edits
from segspectral.web.guard import Guard
from segspectral.web.jobs import BusyError, Job, Jobs, Limits, Workers
from segspectral.web.state import State, state_of

__all__ = ["create_app"]

STATIC = Path(__file__).parent / "static"
BINARY = "application/octet-stream"
POLL = 0.1
"""Seconds between looks at a job whose stages are streamed."""

REQUESTS_AT_ONCE = 8
"""Requests that are answered at a time: an export of a large image takes hundreds of megabytes."""

MOST_TEXT = 20_000
"""Characters of settings."""


class Fault(BaseModel):
    """Every error: one sentence."""

    detail: str


class About(BaseModel):
    """What the page needs to draw itself."""

    version: str
    formats: dict[str, str]
    backbones: list[str]
    samples: list[str]
    colours: list[str]
    megabytes: int
    pixels: int
    defaults: dict[str, Any]
    settings: dict[str, Any]


class Tree(BaseModel):
    """Nested segmentations, from which a client cuts any by itself.

    ``merges`` are pairs of superpixels, from 0, whose regions are merged, in order. ``altitudes`` are
    their levels, which rise from 0 to 1. A cut has at most ``most`` segments.
    """

    merges: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    altitudes: list[float]
    most: int


class Health(BaseModel):
    status: str
    version: str
    jobs: dict[str, int]


FAULTS: dict[int | str, dict[str, Any]] = {
    code: {"model": Fault, "description": text}
    for code, text in {
        400: "the body cannot be read",
        403: "sent by another site's page",
        404: "there is no such job, or it has been forgotten",
        409: "the job has no result (yet)",
        413: "too large",
        421: "another host's name",
        422: "a setting, an edit or an image that cannot be used",
        503: "too many images are waiting",
    }.items()
}


def _gives(media_type: str) -> dict[str, Any]:
    """Arguments of a route that answers with something else than JSON; faults stay JSON, in the description too."""
    return {
        "response_class": Response,
        "responses": {200: {"description": "as it is named", "content": {media_type: {}}}},
    }


def _job_of(job_id: str, request: Request) -> Job:
    job: Job | None = request.app.state.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "there is no such job, or it has been forgotten")
    return job


AnyJob = Annotated[Job, Depends(_job_of)]


def _edits_of(job: AnyJob) -> Edits:
    if job.edits is None:
        raise HTTPException(409, f"the job has no result: it is {job.status}")
    return job.edits


AnyEdits = Annotated[Edits, Depends(_edits_of)]
AnyFormat = Annotated[str, PathParameter(json_schema_extra={"enum": list(EXPORTERS)})]


def create_app(
    pipeline: Pipeline | None = None,
    limits: Limits | None = None,
    samples: Path | None = None,
    hosts: Iterable[str] = (),
    workers: Workers | None = None,
) -> FastAPI:
    """The application, for an ASGI server.

    Parameters
    ----------
    pipeline : the settings that the page begins with
    samples : folder of images that can be tried
    hosts : names under which the server may be asked, beside localhost and literal addresses
    workers : processes that segment, which the caller closes; None for the application's own
    """
    base, limits = (pipeline or Pipeline()).usable()[0], limits or Limits()  # the page sends its settings as asked for
    jobs = Jobs(base, limits, workers)
    pictures = {p.name: p for p in sorted(samples.iterdir()) if p.suffix.lower() in EXTENSIONS} if samples else {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = REQUESTS_AT_ONCE
        yield
        jobs.close()

    app = FastAPI(
        title="segspectral",
        version=segspectral.__version__,
        summary="Segment images without labels: superpixels, a pretrained CNN, a neural spectral head, a CRF.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own page fetches its scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=FAULTS,
    )
    app.add_middleware(Guard, hosts=tuple(hosts), max_bytes=limits.megabytes * 1_000_000, jobs=jobs)
    app.state.jobs = jobs
    _explain_errors(app)

    @app.get("/api/health")
    def health() -> Health:
        """Whether the server answers, and what its jobs do."""
        return Health(status="ok", version=segspectral.__version__, jobs=jobs.counts())

    @app.get("/api/about")
    def about() -> About:
        """Settings with their JSON schema, formats, samples, the colours of segments 1, 2, ..., limits."""
        return About(
            version=segspectral.__version__,
            formats={name: exporter.text for name, exporter in EXPORTERS.items()},
            backbones=backbones(base),
            samples=list(pictures),
            colours=["#" + bytes(colour).hex() for colour in colour_table(MOST_IN_A_CUT + 1)[1:]],
            megabytes=limits.megabytes,
            pixels=limits.pixels,
            defaults=base.model_dump(mode="json"),
            settings=Pipeline.model_json_schema(),
        )

    @app.get("/api/samples/{name}", response_class=FileResponse)
    def sample_image(name: str) -> FileResponse:
        if name not in pictures:
            raise HTTPException(404, "there is no such sample")
        return FileResponse(pictures[name])

    @app.post("/api/jobs", status_code=202)
    def add_job(
        request: Request,
        file: Annotated[UploadFile | None, File(description="an image")] = None,
        sample: Annotated[str | None, Form(description="or the name of a sample")] = None,
        again: Annotated[str | None, Form(description="or the id of a job whose image is used again")] = None,
        settings: Annotated[
            str, Form(description="YAML or JSON, as a settings file; names may have dots", max_length=MOST_TEXT)
        ] = "{}",
        more: Annotated[str, Form(description="more settings, on top of these", max_length=MOST_TEXT)] = "",
    ) -> State:
        """Segment an image. What an earlier job of it has computed is used again where the settings are equal."""
        if sum(given is not None for given in (file, sample, again)) != 1:
            raise HTTPException(422, "give an image as one of file, sample or again")
        wanted = pipeline_from_client(base, settings_from_text(settings), settings_from_text(more))
        place = request.state.place
        if again is not None:
            known = jobs.get(again)
            if known is None:
                raise HTTPException(404, "there is no such job, or it has been forgotten")
            if known.result is None:
                raise HTTPException(409, f"the job has no result: it is {known.status}")
            job = known.again(wanted)
            jobs.add(job, place)
            return state_of(job, jobs)
        if sample is not None and sample not in pictures:
            raise HTTPException(404, "there is no such sample")
        name = str(sample) if file is None else file.filename or "image"
        path = jobs.new_file(name)
        try:
            with path.open("wb") as copy:
                if file is None:
                    copy.write(pictures[name].read_bytes())
                else:
                    shutil.copyfileobj(file.file, copy)
            job = Job.of_upload(path, name, wanted, limits.pixels)
            jobs.add(job, place)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return state_of(job, jobs)

    @app.get("/api/jobs/{job_id}")
    def job_state(job: AnyJob) -> State:
        return state_of(job, jobs)

    @app.get("/api/jobs/{job_id}/events", **_gives("text/event-stream"))
    def events(job: AnyJob, request: Request) -> StreamingResponse:
        """Server-sent events "state", one per stage that is done; the last has a status that is an end."""
        return StreamingResponse(_events(job, jobs, request), media_type="text/event-stream")

    @app.post("/api/jobs/{job_id}/cancel")
    def cancel(job: AnyJob) -> State:
        """End a job at once, whether it waits or runs."""
        jobs.cancel(job)
        return state_of(job, jobs)

    @app.delete("/api/jobs/{job_id}", status_code=204)
    def forget(job: AnyJob) -> None:
        """Cancel a job and forget its image and result."""
        jobs.remove(job)

    @app.get("/api/jobs/{job_id}/image", **_gives("image/jpeg"))
    def image(job: AnyJob, edits: AnyEdits) -> Response:
        """The photograph as it was read, as a JPEG."""
        import PIL.Image

        assert job.result is not None
        buffer = io.BytesIO()
        PIL.Image.fromarray(job.result.image.uint8).save(buffer, "JPEG", quality=92)
        return Response(buffer.getvalue(), media_type="image/jpeg")

    @app.get("/api/jobs/{job_id}/labels", **_gives(BINARY))
    def labels(job: AnyJob, edits: AnyEdits, request: Request, before: bool = False) -> Response:
        """Segments as raw uint16, little-endian, row by row, 0 = void; ``before`` refinement and edits."""
        tag = '"before"' if before else f'"{edits.revision}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        assert job.result is not None
        values = before_refinement(job.result) if before else edits.item.labels
        return Response(values.astype("<u2").tobytes(), media_type=BINARY, headers=headers)

    @app.get("/api/jobs/{job_id}/superpixels", **_gives(BINARY))
    def superpixels(job: AnyJob, edits: AnyEdits) -> Response:
        """Superpixels as raw uint16, little-endian, row by row, from 1, 0 = void."""
        assert job.result is not None
        return Response((job.result.superpixels.labels + 1).astype("<u2").tobytes(), media_type=BINARY)

    @app.get("/api/jobs/{job_id}/hierarchy")
    def hierarchy(job: AnyJob, edits: AnyEdits) -> Tree:
        """The order in which superpixels are merged: all segmentations of the hierarchy at once."""
        assert job.result is not None
        tree = job.result.hierarchy
        most = min(len(tree.superpixels), MOST_IN_A_CUT)
        return Tree(merges=tree.merges.tolist(), altitudes=tree.altitudes.tolist(), most=most)

    @app.get("/api/jobs/{job_id}/contours.png", **_gives("image/png"))
    def contours_png(job: AnyJob, edits: AnyEdits) -> Response:
        """The ultrametric contour map: the darker a border, the higher the level at which it goes."""
        assert job.result is not None
        strength = np.sqrt(job.result.hierarchy.contour_map)
        return Response(png(np.round(255 * (1 - strength)).astype(np.uint8)), media_type="image/png")

    @app.get("/api/jobs/{job_id}/overlay.png", **_gives("image/png"))
    def overlay_png(job: AnyJob, edits: AnyEdits) -> Response:
        assert job.result is not None
        item = edits.item
        return Response(png(tinted(job.result.image.uint8, item.labels, item.table)), media_type="image/png")

    @app.get("/api/jobs/{job_id}/eigenvectors/{number}.png", **_gives("image/png"))
    def eigenvector(job: AnyJob, edits: AnyEdits, number: int) -> Response:
        """Eigenvector 2, 3, ... of the graph's Laplacian, from blue by white to brown."""
        assert job.result is not None
        drawn = eigenvector_pictures(job.result)
        if not 2 <= number < 2 + len(drawn):
            raise HTTPException(404, f"there are eigenvectors 2 to {len(drawn) + 1}")
        return Response(png(drawn[number - 2]), media_type="image/png")

    @app.post("/api/jobs/{job_id}/edits")
    def edit(job: AnyJob, edits: AnyEdits, edit: Edit) -> State:
        """Cut the hierarchy, merge, split, rename, recolour; undo and redo."""
        edits.apply(edit)
        return state_of(job, jobs)

    @app.get("/api/jobs/{job_id}/export/{format}", **_gives(BINARY))
    def export(job: AnyJob, edits: AnyEdits, format: AnyFormat) -> Response:
        """The result as a file; formats of several files come as a zip."""
        if format not in EXPORTERS:
            raise HTTPException(404, f"there is no format of that name; there are {', '.join(EXPORTERS)}")
        stem = short_stem(job.name) or "image"
        files = EXPORTERS[format].files_of(edits.item, stem)
        name, data = _one_file(dict(files), f"{stem}_{format}.zip")
        return Response(data, media_type=BINARY, headers={"Content-Disposition": _attachment(name)})

    @app.get("/docs", include_in_schema=False)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


async def _events(job: Job, jobs: Jobs, request: Request) -> AsyncIterator[str]:
    sent, quiet = "", 0.0
    while not await request.is_disconnected():
        # Read before the state is drawn: an end that comes in between is told in the next round.
        final = job.status.final
        state = await asyncio.to_thread(state_of, job, jobs)
        text = state.model_dump_json()
        if text != sent:
            yield f"event: state\ndata: {text}\n\n"
            sent, quiet = text, 0.0
        elif quiet > 15:
            yield ": still here\n\n"
            quiet = 0.0
        if final:
            return
        await asyncio.sleep(POLL)
        quiet += POLL


def _one_file(files: dict[str, bytes], archive: str) -> tuple[str, bytes]:
    if len(files) == 1:
        ((name, data),) = files.items()
        return name.rsplit("/", 1)[-1], data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return archive, buffer.getvalue()


def _attachment(name: str) -> str:
    from urllib.parse import quote

    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _explain_errors(app: FastAPI) -> None:
    """Every error is {"detail": one sentence}."""

    def answer(code: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        # A sentence may repeat what a client wrote: half of a surrogate pair cannot be sent.
        return JSONResponse({"detail": sentence.encode("utf-8", "replace").decode()}, code, headers)

    @app.exception_handler(BusyError)
    def busy(request: Request, error: BusyError) -> JSONResponse:
        return answer(503, str(error), error.headers)

    @app.exception_handler(SegspectralError)
    def known(request: Request, error: SegspectralError) -> JSONResponse:
        return answer(422, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, "; ".join(map(_sentence, error.errors())))


def _sentence(fault: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in fault["loc"][1:])
    if fault["type"] == "union_tag_not_found":
        return f"{place or 'the request'}: lacks its {fault['ctx']['discriminator']}"
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
