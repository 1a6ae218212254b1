"""What stands before the application: who may ask (Host, Origin), how much may be sent, what browsers may do."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segspectral.web.jobs import BusyError, Jobs

__all__ = ["Guard"]

HEADERS = {
    # Nothing from outside, no script in the page itself.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    A name in ``Host`` that is not ours means that another site's name was pointed here (DNS rebinding); addresses
    cannot be. A foreign ``Origin`` on a request that changes something means that another site's page sent it.

    Parameters
    ----------
    hosts : names that are ours, beside localhost and all literal addresses
    max_bytes : of a request's body
    jobs : in whose queue an upload needs a place before it is received; the application finds it as request.state.place
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], max_bytes: int, jobs: Jobs) -> None:
        self.app, self.hosts, self.max_bytes, self.jobs = app, {"localhost", *hosts}, max_bytes, jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        too_large = f"a request may have {self.max_bytes / 1e6:.0f} MB; send a smaller image"
        if not self._ours(host):
            await _refuse(send, 421, "this server does not answer to that name; open it as http://127.0.0.1")
        elif scope["method"] not in ("GET", "HEAD", "OPTIONS") and _foreign(headers, host):
            await _refuse(send, 403, "the request comes from another site's page")
        elif _length(headers) > self.max_bytes:
            await _refuse(send, 413, too_large)
        elif (scope["method"], scope["path"]) == ("POST", "/api/jobs"):
            try:
                place = self.jobs.reserve()
            except BusyError as error:
                await _refuse(send, 503, str(error), error.headers)
                return
            scope.setdefault("state", {})["place"] = place
            try:
                await self._serve(scope, receive, send, too_large)
            finally:
                self.jobs.release(place)
        else:
            await self._serve(scope, receive, send, too_large)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, too_large: str) -> None:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:  # sent in chunks, without saying how much will come
                raise HTTPException(413, too_large)  # another exception would become a 400
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                added = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in known]
                if scope["path"].startswith("/api/") and b"cache-control" not in known:
                    added.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, counted, with_headers)

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.hosts
        return True


def _foreign(headers: dict[str, str], host: str) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        return origin.lower().partition("://")[2] != host.lower()
    return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _length(headers: dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text[:20]) if text.isdecimal() else 0


async def _refuse(send: Send, status: int, sentence: str, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"detail": sentence}).encode()
    known = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    headers = [(name.encode(), value.encode()) for name, value in known.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
