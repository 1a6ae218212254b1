"""Projects of images that are labelled with classes."""

from __future__ import annotations

import shutil
import zlib
from typing import Annotated

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Body, Depends, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import Response
from numpy.typing import NDArray

from segspectral.export import EXPORTERS
from segspectral.seeds.given import By
from segspectral.settings import with_settings
from segspectral.web.jobs import Job
from segspectral.web.labelling import Class, Project, State, first_classes, unpacked
from segspectral.web.routes.export import AnyFormat
from segspectral.web.service import BINARY, AnyJob, AnyResult, TheService, gives
from segspectral.web.state import State as JobState
from segspectral.web.state import state_of
from segspectral.web.work import clean_name

router = APIRouter()


def _project(project_id: str, service: TheService) -> Project:
    project = service.projects.get(project_id)
    if project is None:
        raise HTTPException(404, "there is no such project, or it has been forgotten")
    return project


AnyProject = Annotated[Project, Depends(_project)]


def _number(project: AnyProject, number: int) -> int:
    if project.image(number) is None:
        raise HTTPException(404, f"the project has {len(project)} images; they are numbered from 0")
    return number


AnyNumber = Annotated[int, Depends(_number)]


@router.post("/api/projects", status_code=201)
def new_project(service: TheService) -> State:
    """Begin a project of uploads, which is kept until the server ends, or until it is idle for a day."""
    return service.projects.new(first_classes()).state()


@router.get("/api/projects/{project_id}")
def project(project: AnyProject) -> State:
    """Classes and images, and which of them are labelled and done."""
    return project.state()


@router.post("/api/projects/{project_id}/images", status_code=201)
def add_image(
    project: AnyProject,
    service: TheService,
    file: Annotated[UploadFile | None, File(description="an image")] = None,
    sample: Annotated[str | None, Form(description="or the name of a sample")] = None,
) -> State:
    """Add an image at the end."""
    if (file is None) == (sample is None):
        raise HTTPException(422, "give an image as one of file or sample")
    if sample is not None:
        if sample not in service.pictures:
            raise HTTPException(404, "there is no such sample")
        service.projects.make_room(project, 0)
        project.add([(service.pictures[sample], sample)])
        return project.state()
    assert file is not None  # one of both
    name = clean_name(file.filename or "image")
    service.projects.make_room(project, file.size or 0)
    path = service.jobs.new_file(name)
    try:
        with path.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    project.add([(path, name)])
    return project.state()


@router.put("/api/projects/{project_id}/classes")
def set_classes(
    project: AnyProject,
    service: TheService,
    classes: Annotated[list[Class], Body(min_length=1, max_length=255)],
    revision: Annotated[int, Query(ge=0)],
) -> State:
    """Replace the classes; one that is used in an image cannot go. The revision is the state's ``classes_revision``."""
    before = {one.number for one in project.classes}
    state = project.set_classes(classes, revision)
    service.courses.of(project).forget(before - {one.number for one in classes})
    return state


@router.post("/api/projects/{project_id}/images/{number}/job", status_code=202)
def open_image(project: AnyProject, number: AnyNumber, service: TheService) -> JobState:
    """Segment an image by the hierarchy; the job has its picture, superpixels and tree."""
    image = project.image(number)
    assert image is not None  # AnyNumber
    path = service.jobs.new_file(image.source.name)
    try:
        shutil.copyfile(image.source, path)
        wanted = with_settings(service.base, {"hierarchy": True})
        job = Job.of_upload(path, image.name, wanted, service.limits.pixels)
        service.jobs.add(job)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HTTPException(422, f"{image.name}: cannot be read ({error.strerror})") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return state_of(job, service.jobs)


@router.get("/api/projects/{project_id}/images/{number}/labels", **gives(BINARY))
def saved_labels(project: AnyProject, number: AnyNumber) -> Response:
    """The class of each pixel as raw uint8, row by row, 0 = unlabelled; empty if nothing is labelled."""
    labels = project.labels(number)
    if labels is None:
        return Response(b"", media_type=BINARY)
    return packed(labels)


def packed(labels: NDArray[np.uint8]) -> Response:
    """Bytes row by row, which clients inflate as they read the answer."""
    data = zlib.compress(labels.tobytes(), 1)
    return Response(data, media_type=BINARY, headers={"Content-Encoding": "deflate"})


@router.put(
    "/api/projects/{project_id}/images/{number}/labels",
    openapi_extra={"requestBody": {"required": True, "content": {BINARY: {}}}},
)
async def save_labels(
    request: Request,
    project: AnyProject,
    number: AnyNumber,
    height: Annotated[int, Query(ge=1)],
    width: Annotated[int, Query(ge=1)],
    revision: Annotated[int, Query(ge=0)],
    done: bool = False,
) -> State:
    """Save the class of each pixel: uint8, row by row, deflated (zlib). The revision is that of the project's state."""
    body = await request.body()
    return await anyio.to_thread.run_sync(project.save, number, body, (height, width), revision, done)


@router.post(
    "/api/jobs/{job_id}/fill",
    openapi_extra={"requestBody": {"required": True, "content": {BINARY: {}}}},
    **gives(BINARY),
)
async def fill(request: Request, job: AnyJob, result: AnyResult, by: By = "walker") -> Response:
    """Spread classes over the pixels that have none (0): uint8, row by row, sent deflated (zlib), answered raw."""
    seeds = unpacked(await request.body(), job.shape, job.name)
    made = await anyio.to_thread.run_sync(lambda: result.with_seeds(seeds.astype(np.int32), by).labels)
    return packed(made.astype(np.uint8))


@router.get("/api/projects/{project_id}/export/{format}", **gives("application/zip"))
def export_all(project: AnyProject, format: AnyFormat, only_done: bool = False) -> Response:
    """All labelled images in a format, as a zip archive; classes are categories. ``X-Note`` says what is left out."""
    if format not in EXPORTERS:
        raise HTTPException(404, f"there is no format of that name; there are {', '.join(EXPORTERS)}")
    data, count, note = project.exported(format, only_done)
    headers = {"Content-Disposition": f'attachment; filename="labels_{format}.zip"', "X-Images": str(count)}
    headers |= {"X-Note": note} if note else {}
    return Response(data, media_type="application/zip", headers=headers)
