"""What the page needs to begin: settings, formats, samples, and whether the server answers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse
from pydantic import BaseModel

import segspectral
from segspectral.export import EXPORTERS, colour_table
from segspectral.pipeline import Pipeline
from segspectral.web.command import backbones
from segspectral.web.edits import MOST_IN_A_CUT
from segspectral.web.service import TheService

router = APIRouter()


class About(BaseModel):
    """What the page needs to draw itself."""

    version: str
    formats: dict[str, str]
    backbones: list[str]
    samples: list[str]
    colours: list[str]
    project: str
    megabytes: int
    pixels: int
    defaults: dict[str, Any]
    settings: dict[str, Any]


class Health(BaseModel):
    status: str
    version: str
    jobs: dict[str, int]


@router.get("/api/health")
def health(service: TheService) -> Health:
    """Whether the server answers, and what its jobs do."""
    return Health(status="ok", version=segspectral.__version__, jobs=service.jobs.counts())


@router.get("/api/about")
def about(service: TheService) -> About:
    """Settings with their JSON schema, formats, samples, the colours of segments 1, 2, ..., limits."""
    return About(
        version=segspectral.__version__,
        formats={name: exporter.text for name, exporter in EXPORTERS.items()},
        backbones=backbones(service.base),
        samples=list(service.pictures),
        colours=["#" + bytes(colour).hex() for colour in colour_table(MOST_IN_A_CUT + 1)[1:]],
        project=service.projects.folder.id if service.projects.folder else "",
        megabytes=service.limits.megabytes,
        pixels=service.limits.pixels,
        defaults=service.base.model_dump(mode="json"),
        settings=Pipeline.model_json_schema(),
    )


@router.get("/api/samples/{name}", response_class=FileResponse)
def sample_image(name: str, service: TheService) -> FileResponse:
    if name not in service.pictures:
        raise HTTPException(404, "there is no such sample")
    return FileResponse(service.pictures[name])
