"""Connections of uvicorn that do not wait for ever: a client that is slow to ask is cut off, and there is room for few.

uvicorn has a time limit only between two requests of one connection.
"""

from __future__ import annotations

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["PatientProtocol"]


class PatientProtocol(H11Protocol):
    """An HTTP connection whose requests must arrive in time.

    When there are too many connections, the one that has been sending its request for longest is cut off.
    """

    HEAD_SECONDS = 10.0
    """From the connection, or the last answer, to the end of the headers."""

    BODY_SECONDS = 120.0
    """From the headers to the end of the body: 50 MB take so long at 3 Mbit/s."""

    MOST = 200
    """Connections at a time, far below the files that a process may open."""

    _deadline: asyncio.TimerHandle | None = None
    _waits_for: object = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self.MOST:
            slow = [c for c in self.connections if isinstance(c, PatientProtocol) and c._deadline is not None]
            min(slow, key=lambda c: c._since)._cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        """Restart the clock whenever the server waits for something else."""
        state = self.conn.their_state
        if state is self._waits_for or self.transport.is_closing():
            return
        self._forget()
        self._waits_for, self._since = state, time.monotonic()
        seconds = {h11.IDLE: self.HEAD_SECONDS, h11.SEND_BODY: self.BODY_SECONDS}.get(state)
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._cut_off)

    def _cut_off(self) -> None:
        self._forget()
        self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
