"""``segspectral serve``."""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Annotated

import typer

from segspectral.cli.common import ConfigOption, DebugOption, SetOption, make_pipeline, sample_images, sentences
from segspectral.errors import SettingsError


def serve(
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0: any free one.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; others than this computer's warn.")] = (
        "127.0.0.1"
    ),
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="A host name under which it may be opened.")
    ] = None,
    max_mb: Annotated[int, typer.Option("--max-mb", min=1, max=2000, help="Of an upload.")] = 50,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Images at a time.")] = 1,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="That one image may take; then it is ended.")
    ] = 300,
    memory: Annotated[
        float, typer.Option("--memory", min=1, metavar="GB", help="That one image may take, where it can be limited.")
    ] = 8,
    config: ConfigOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """A page in the browser: segment an image, look at every stage, change the segments, download the result."""
    with sentences(debug):
        try:
            import uvicorn

            from segspectral.web import Limits, create_app
            from segspectral.web.connection import PatientProtocol
        except ImportError as error:
            raise SettingsError(f"serve needs {error.name}: pip install 'segspectral[web]'") from error
        _check_free(host, port)
        pipeline = make_pipeline(config, set_)
        if pipeline.model is not None:
            raise SettingsError("the page chooses what a model fixes; apply one by `segspectral segment --model`")
        limits = Limits(megabytes=max_mb, workers=workers, seconds=timeout, gigabytes=memory)
        if not _loopback(host):
            print(
                f"note: everyone who reaches {host}:{port} can send images to this computer; there is no password",
                file=sys.stderr,
            )
        app = create_app(pipeline, limits, sample_images(), [*(name or []), *([] if _literal(host) else [host])])
        jobs = app.state.jobs
        try:
            jobs.workers.prepare()
            if port:
                print(
                    f"http://{f'[{host}]' if ':' in host else host}:{port}   (API: /docs; Ctrl-C ends it)", flush=True
                )
            uvicorn.run(
                app,
                host=host,
                port=port,
                http=PatientProtocol,
                ws="none",
                log_level="info" if not port else "warning",
                access_log=False,  # it would hold the ids of jobs, which are secrets
                timeout_graceful_shutdown=1,
            )
        finally:
            jobs.close()


def _check_free(host: str, port: int) -> None:
    """Before seconds go into loading: a sentence, where uvicorn would log an errno."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise SettingsError(f"{host}:{port}: cannot be listened on ({why}); choose another --port or --host") from error


def _literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback if _literal(host) else host == "localhost"
