"""Teaching in the page: classes from what is painted, and guesses for all images of a project."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response

from segspectral.web.lessons import MODEL, CourseState, Preparation
from segspectral.web.routes.labelling import AnyNumber, AnyProject, packed
from segspectral.web.service import BINARY, TheService, gives

router = APIRouter()

NO_GUESS = "there is no guess of this image; teach first, or again"


@router.post("/api/projects/{project_id}/lesson", status_code=202)
def teach(project: AnyProject, service: TheService) -> CourseState:
    """Learn from all labels that are saved, and guess the classes of every image; ask ``GET`` how far it is."""
    return service.courses.teach(project)


@router.get("/api/projects/{project_id}/lesson")
def lesson(project: AnyProject, service: TheService) -> CourseState:
    """How far it is, and which images have guesses."""
    return service.courses.of(project).state()


@router.delete("/api/projects/{project_id}/lesson")
def cancel_lesson(project: AnyProject, service: TheService) -> CourseState:
    """End the teaching that waits or runs, at once; earlier guesses stay."""
    return service.courses.cancel(project)


@router.post("/api/projects/{project_id}/lesson/preparation", status_code=202)
def prepare(project: AnyProject, service: TheService) -> Preparation:
    """Describe one more image, so that the first teaching takes seconds; ask again until none is left."""
    return service.courses.prepare(project)


@router.get("/api/projects/{project_id}/lesson/model", **gives(BINARY))
def taught_model(project: AnyProject, service: TheService) -> Response:
    """The model of the last teaching that ended well, for ``segspectral segment --model``."""
    path = service.courses.of(project).model
    if not path.exists():
        raise HTTPException(404, "there is no model yet; teach first")
    headers = {"Content-Disposition": f'attachment; filename="{MODEL}"'}
    return Response(path.read_bytes(), media_type=BINARY, headers=headers)


@router.get("/api/projects/{project_id}/images/{number}/guess", **gives(BINARY))
def guess(project: AnyProject, number: AnyNumber, service: TheService) -> Response:
    """The class that the model gives each pixel, as raw uint8, row by row, 0 = none; these are not labels."""
    classes = service.courses.of(project).guess(number)
    if classes is None:
        raise HTTPException(404, NO_GUESS)
    return packed(classes)


@router.get("/api/projects/{project_id}/images/{number}/guess.png", **gives("image/png"))
def guess_png(project: AnyProject, number: AnyNumber, service: TheService) -> Response:
    """A small picture of the image in the colours of its guess."""
    data = service.courses.of(project).thumb(number, project.classes)
    if data is None:
        raise HTTPException(404, NO_GUESS)
    return Response(data, media_type="image/png")
