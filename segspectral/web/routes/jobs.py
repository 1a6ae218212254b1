"""Jobs: an image is sent, segmented, watched, cancelled and forgotten."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import StreamingResponse

from segspectral.pipeline import Pipeline
from segspectral.web.command import pipeline_from_client, settings_from_text
from segspectral.web.jobs import Job, Jobs
from segspectral.web.service import AnyJob, Service, TheService, gives, no_result
from segspectral.web.state import State, state_of

router = APIRouter()

POLL = 0.1
"""Seconds between looks at a job whose stages are streamed."""

MOST_TEXT = 20_000
"""Characters of settings."""


@router.post("/api/jobs", status_code=202)
def add_job(
    request: Request,
    service: TheService,
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
    wanted = pipeline_from_client(service.base, settings_from_text(settings), settings_from_text(more))
    place = request.state.place
    if again is not None:
        job = _again(service, again, wanted)
        service.jobs.add(job, place)
    else:
        job = _upload(service, file, sample, wanted, place)
    return state_of(job, service.jobs)


def _again(service: Service, id_: str, wanted: Pipeline) -> Job:
    """The image of an earlier job with other settings. Raises HTTPException."""
    known = service.job(id_)
    if known.result is None:
        raise no_result(known)
    if wanted.reading != known.pipeline.reading:
        raise HTTPException(422, "bands, stretch, page or channels have changed: send the image again")
    return known.again(wanted)


def _upload(service: Service, file: UploadFile | None, sample: str | None, wanted: Pipeline, place: object) -> Job:
    """Queue a file that was sent, or a sample. Raises HTTPException, ImageError, BusyError."""
    if sample is not None and sample not in service.pictures:
        raise HTTPException(404, "there is no such sample")
    name = str(sample) if file is None else file.filename or "image"
    path = service.jobs.new_file(name)
    try:
        with path.open("wb") as copy:
            if file is None:
                copy.write(service.pictures[name].read_bytes())
            else:
                shutil.copyfileobj(file.file, copy)
        job = Job.of_upload(path, name, wanted, service.limits.pixels)
        service.jobs.add(job, place)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return job


@router.get("/api/jobs/{job_id}")
def job_state(job: AnyJob, service: TheService) -> State:
    return state_of(job, service.jobs)


@router.get("/api/jobs/{job_id}/events", **gives("text/event-stream"))
def events(job: AnyJob, service: TheService, request: Request) -> StreamingResponse:
    """Server-sent events "state", one per stage that is done; the last has a status that is an end."""
    return StreamingResponse(_events(job, service.jobs, request), media_type="text/event-stream")


@router.post("/api/jobs/{job_id}/cancel")
def cancel(job: AnyJob, service: TheService) -> State:
    """End a job at once, whether it waits or runs."""
    service.jobs.cancel(job)
    return state_of(job, service.jobs)


@router.delete("/api/jobs/{job_id}", status_code=204)
def forget(job: AnyJob, service: TheService) -> None:
    """Cancel a job and forget its image and result."""
    service.jobs.remove(job)


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
