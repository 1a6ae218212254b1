"""``segspectral serve``."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import note, sample_images
from segspectral.cli.options import PipelineOptions, command
from segspectral.errors import SettingsError
from segspectral.extras import require

if TYPE_CHECKING:
    from fastapi import FastAPI


@command
def serve(
    options: PipelineOptions,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="The port to listen on; 0: any free one.")
    ] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen on; one that others can reach gives a warning.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A host name under which it may be opened.")
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, max=2000, help="The largest upload, in megabytes.")] = 50,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many images are segmented at a time.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="For one image, which is then given up.")
    ] = 300,
    memory: Annotated[
        float, typer.Option(min=1, metavar="GB", help="For one image, where the system can limit it.")
    ] = 8,
) -> None:
    """Open a page for the browser: segment an image, look at every stage, change the segments, download the result.

    The options of a pipeline are the settings that the page begins with.
    """
    require("web", "serve")
    from segspectral.web import Limits, create_app

    listening = _listen(host, port)
    pipeline = options.pipeline()
    if pipeline.model is not None:
        raise SettingsError("the page does not take a model; apply one with `segspectral segment --model`")
    limits = Limits(megabytes=max_mb, workers=workers, seconds=timeout, gigabytes=memory)
    if not _loopback(host):
        note(f"everyone who reaches {host}:{port} can send images to this computer; there is no password")
    names = [*(name or []), *([] if _literal(host) else [host])]
    _run(create_app(pipeline, limits, sample_images(), names), listening, f"[{host}]" if ":" in host else host)


def _run(app: FastAPI, listening: socket.socket, host: str) -> None:
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
        print(f"http://{host}:{listening.getsockname()[1]}   (API: /docs; Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):  # the way to end it
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        jobs.close()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that already takes connections, which wait for the server.

    It is opened before seconds go into loading, so that a port in use is told at once, and nobody else can take it.
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
