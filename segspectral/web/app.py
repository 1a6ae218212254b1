"""The application: a documented REST API, and the static page that uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

import segspectral
from segspectral.errors import SegspectralError
from segspectral.images.reader import EXTENSIONS
from segspectral.pipeline import Pipeline
from segspectral.web.guard import Guard
from segspectral.web.jobs import BusyError, Jobs, Limits, Workers
from segspectral.web.labelling import ConflictError, Project, Projects
from segspectral.web.lessons import Courses
from segspectral.web.routes import ROUTERS
from segspectral.web.service import FAULTS, Service

__all__ = ["create_app"]

STATIC = Path(__file__).parent / "static"

REQUESTS_AT_ONCE = 8
"""Requests that are answered at a time: an export of a large image takes hundreds of megabytes."""


def create_app(
    pipeline: Pipeline | None = None,
    limits: Limits | None = None,
    samples: Path | None = None,
    hosts: Iterable[str] = (),
    workers: Workers | None = None,
    project: Project | None = None,
) -> FastAPI:
    """The application, for an ASGI server.

    Parameters
    ----------
    pipeline : the settings that the page begins with
    samples : folder of images that can be tried
    hosts : names under which the server may be asked, beside localhost and literal addresses
    workers : processes that segment, which the caller closes; None for the application's own
    project : images of a folder of the server, to be labelled
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
    projects = Projects(project, jobs.folder, limits.project_megabytes, limits.project_images)
    app.state.service = Service(base, limits, jobs, pictures, projects, Courses(base, jobs))
    _explain_errors(app)
    for router in ROUTERS:
        app.include_router(router)

    @app.get("/docs", include_in_schema=False)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def _explain_errors(app: FastAPI) -> None:
    """Every error is {"detail": one sentence}."""

    def answer(code: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        # A sentence may repeat what a client wrote: half of a surrogate pair cannot be sent.
        return JSONResponse({"detail": sentence.encode("utf-8", "replace").decode()}, code, headers)

    @app.exception_handler(BusyError)
    def busy(request: Request, error: BusyError) -> JSONResponse:
        return answer(503, str(error), error.headers)

    @app.exception_handler(ConflictError)
    def conflict(request: Request, error: ConflictError) -> JSONResponse:
        return answer(409, str(error))

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
