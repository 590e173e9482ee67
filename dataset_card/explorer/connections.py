"""The HTTP connections of the explorer's server: how many, how large a request's head, how long it may take.

Uvicorn bounds none of the three in the way this needs: a client that opens connections and says nothing would hold
them for ever, and its own refusals are no JSON.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 400  # 20 browsers with what one opens at most to a host, several times over
MAX_HEAD = 32 * 1024  # bytes of request line and headers
HEAD_SECONDS = 15.0  # within which a request's head must be there


class BoundedConnection(H11Protocol):
    """A connection that is closed when its request does not come, and refused when there are too many."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(503, f"there are more than {MAX_CONNECTIONS} connections; close some pages")
            return
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Read; a head that began must end in time, on a kept connection too."""
        if self._waiting is None and self.conn.their_state is h11.IDLE:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._give_up)
        super().data_received(data)
        if self._waiting is not None and self.conn.their_state is not h11.IDLE:
            self._waiting.cancel()
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """End a connection whose request was answered before it was read to its end."""
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON that the request is none."""
        self._refuse(400, "the request is no HTTP/1.1, or its head is too large")

    def _give_up(self) -> None:
        self._waiting = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self._refuse(408, f"no request came within {HEAD_SECONDS:.0f} s")

    def _refuse(self, status: int, message: str) -> None:
        body = json.dumps({"error": message}).encode()
        headers: list[tuple[Any, Any]] = [
            (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]  # fmt: skip
        try:
            for event in (
                h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage(),
            ):  # fmt: skip
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # an answer was under way: there is no place for another
        self.transport.close()
