"""What the routes stand on: the service of an application, and the job that a request is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel

from segspectral.pipeline import Pipeline
from segspectral.values import Segmentation
from segspectral.web.edits import Edits
from segspectral.web.jobs import Job, Jobs, Limits
from segspectral.web.labelling import Projects
from segspectral.web.lessons import Courses

__all__ = ["FAULTS", "AnyEdits", "AnyJob", "AnyResult", "Service", "TheService", "gives", "no_result"]

BINARY = "application/octet-stream"
NO_JOB = "there is no such job, or it has been forgotten"


@dataclass(frozen=True)
class Service:
    """What the routes of an application share.

    Parameters
    ----------
    base : the settings that the page begins with
    pictures : name -> file of the sample images
    projects : images that are labelled with classes
    courses : what they have taught
    """

    base: Pipeline
    limits: Limits
    jobs: Jobs
    pictures: Mapping[str, Path]
    projects: Projects
    courses: Courses

    def job(self, id_: str) -> Job:
        """Raises HTTPException if there is no such job."""
        job = self.jobs.get(id_)
        if not isinstance(job, Job):
            raise HTTPException(404, NO_JOB)
        return job


class Fault(BaseModel):
    """Every error: one sentence."""

    detail: str


FAULTS: dict[int | str, dict[str, Any]] = {
    code: {"model": Fault, "description": text}
    for code, text in {
        400: "the body cannot be read",
        403: "sent by another site's page",
        404: NO_JOB,
        409: "the job has no result (yet), another window saved the image, or classes are being taught",
        413: "too large",
        421: "another host's name",
        422: "a setting, an edit or an image that cannot be used",
        503: "too many images are waiting",
    }.items()
}


def gives(media_type: str, *, unchanged: bool = False) -> dict[str, Any]:
    """Arguments of a route that answers with something else than JSON; faults stay JSON, in the description too.

    ``unchanged`` is for routes that answer 304, without a body, to clients that have the newest state.
    """
    responses: dict[int, dict[str, Any]] = {200: {"description": "as it is named", "content": {media_type: {}}}}
    if unchanged:
        responses[304] = {"description": "what the client has is the newest state"}
    return {"response_class": Response, "responses": responses}


def no_result(job: Job) -> HTTPException:
    return HTTPException(409, f"the job has no result: it is {job.status}")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


def _job(job_id: str, service: TheService) -> Job:
    return service.job(job_id)


AnyJob = Annotated[Job, Depends(_job)]


async def _edits(job: AnyJob) -> Edits:
    if job.edits is None:
        raise no_result(job)
    return job.edits


AnyEdits = Annotated[Edits, Depends(_edits)]


async def _result(job: AnyJob, edits: AnyEdits) -> Segmentation:
    assert job.result is not None  # what has edits has a result
    return job.result


AnyResult = Annotated[Segmentation, Depends(_result)]
