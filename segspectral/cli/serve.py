"""``segspectral serve``."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import note, sample_images
from segspectral.cli.options import PipelineOptions, Recursive, command
from segspectral.errors import ImageError, SettingsError
from segspectral.extras import require
from segspectral.wording import plural

if TYPE_CHECKING:
    from fastapi import FastAPI

    from segspectral.web.labelling import Project


@command
def serve(
    options: PipelineOptions,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Images to label with classes.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Folder for the labels of FOLDER (default: FOLDER-labels)."),
    ] = None,
    recursive: Recursive = False,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="The port to listen on; 0: any free one.")
    ] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen on; a warning follows if others can reach it.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A host name under which the page may be opened.")
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=2000, help="The largest upload, in megabytes.")] = 50,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many images are segmented at a time.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time for one image, which is then given up.")
    ] = 300,
    memory: Annotated[
        float, typer.Option(min=1, metavar="GB", help="Memory for one image, where the system can limit it.")
    ] = 8,
) -> None:
    """Open a page for the browser: segment an image, look at every stage, change the segments, download the result.

    With FOLDER, the page starts with its images, to label them with classes. Every change is saved: OUT gets
    x/a_labels.png for x/a.jpg, and labelling.json with the classes and what is done. The same command continues from
    there.

    The options of a pipeline are the initial settings of the page.
    """
    require("web", "serve")
    from segspectral.web import Limits, create_app

    listening = _listen(host, port)
    pipeline = options.pipeline()
    if pipeline.model is not None:
        raise SettingsError("the page does not take a model; apply one with `segspectral segment --model`")
    if pipeline.edges is not None:
        raise SettingsError("the page does not take edges; use them with `segspectral segment --edges`")
    if pipeline.seeds.path is not None:
        raise SettingsError("the page does not take a file of seeds: paint them there, or use `segment --seeds`")
    project = None if folder is None else _project(folder, output, recursive)
    if folder is None and (output is not None or recursive):
        raise SettingsError("--output and --recursive belong to a FOLDER of images to label: segspectral serve FOLDER")
    limits = Limits(megabytes=max_mb, workers=workers, seconds=timeout, gigabytes=memory)
    if not _loopback(host):
        note(f"everyone who reaches {host}:{port} can send images to this computer; there is no password")
        if folder is not None:
            note(f"they also see the images of {folder}, and can change their labels")
    names = [*(name or []), *([] if _literal(host) else [host])]
    app = create_app(pipeline, limits, sample_images(), names, project=project)
    _run(app, listening, f"[{host}]" if ":" in host else host, "" if project is None else "/label.html")


def _project(folder: Path, output: Path | None, recursive: bool) -> Project:
    """The images of a folder, with what was labelled before. Raises ImageError, OutputError, SettingsError."""
    from segspectral.batch import find_jobs
    from segspectral.files import check_folder
    from segspectral.images.formats import EXTENSIONS, ZARR, is_zarr
    from segspectral.web.labelling import Project, first_classes

    if not folder.is_dir() or is_zarr(folder):
        raise ImageError("is not a folder; name the folder of the images to label", folder)
    output = output or Path(f"{os.path.abspath(folder)}-labels")
    notes: list[str] = []
    # The page opens copies of files, and an OME-Zarr is a folder; those are counted with what is left out.
    files = [suffix for suffix in EXTENSIONS if suffix not in ZARR.suffixes]
    found = find_jobs(
        [folder], recursive=recursive, extensions=files, output=output, complain=notes.append, note=notes.append
    )
    check_folder(output)
    project = Project(output, str(output), notes, first_classes())
    project.add((Path(job.path), job.name) for job in found)
    for sentence in (*notes, f"{plural(len(found), 'image')} of {folder}; labels are saved in {output}"):
        note(sentence)
    return project


def _run(app: FastAPI, listening: socket.socket, host: str, start: str) -> None:
    """Answer requests until the program is interrupted; the workers are ready before the address is printed."""
    import uvicorn

    from segspectral.web.connection import PatientProtocol

    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        access_log=False,  # it would hold the ids of jobs, which are secrets
        timeout_graceful_shutdown=1,
    )
    jobs = app.state.jobs
    try:
        jobs.workers.prepare()
        print(f"http://{host}:{listening.getsockname()[1]}{start}   (API: /docs; Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):  # the way to end it
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        jobs.close()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that already takes connections, which wait for the server.

    It is opened before the slow loading, so that a port in use is reported at once, and no other program can take it.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = f"cannot be listened on ({error.strerror or error}); choose another --port or --host"
        raise SettingsError(why, f"{host}:{port}") from error


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _literal(host) else host == "localhost"
