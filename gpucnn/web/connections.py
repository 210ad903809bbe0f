"""HTTP connections with bounds, which uvicorn's do not have: on their number, time and bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpucnn.web.uploads import MAX_BODY

MAX_HEAD = 16 << 10
"""Bytes of a request's first line and headers."""

MAX_CONNECTIONS = 128
"""Connections at once; further ones get status 503."""

REQUEST_SECONDS = 10.0
"""Time for a request, its body included."""

ANSWER_SECONDS = 30.0
"""Time in which a client must have read what was sent to it."""

# Refused connections that may wait for their clients to read why, and for how long.
_REFUSED, _REFUSED_SECONDS = 64, 1.0
# A body that is too long is answered, and read on so that the client reads the answer, up to here.
_MAX_BYTES = 2 * MAX_BODY
_CHECK_SECONDS = 0.25


class _Parser(h11.Connection):
    """HTTP without bodies in chunks, which browsers do not send: each chunk takes time to parse."""

    def next_event(self) -> Any:
        """Return the next part of a request."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            for name, _ in event.headers:
                if name == b"transfer-encoding":
                    raise h11.RemoteProtocolError("a body in chunks")
        return event


class Connection(H11Protocol):
    """A connection that is closed when its client is too slow, or sends too much.

    A client that sends its request, or reads the answer, a byte at a time would otherwise occupy a
    connection for as long as it likes.
    """

    _timer: asyncio.TimerHandle | None = None
    _received = 0
    _refused = False

    def __init__(self, config: Config, *rest: Any, **named: Any) -> None:
        super().__init__(config, *rest, **named)
        self.conn = _Parser(h11.SERVER, MAX_HEAD)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        # asyncio leaves it out for sockets without a protocol number: each answer would wait 40 ms.
        socket_ = transport.get_extra_info("socket")
        socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._waiting_since = self._unsent_since = self.loop.time()
        excess = len(self.connections) - MAX_CONNECTIONS
        if excess > _REFUSED:
            transport.abort()
        elif excess > 0:
            self._refuse(503, "too many connections at once: try again", "retry-after: 1\r\n")
        self._timer = self.loop.call_later(_CHECK_SECONDS, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the checks."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request."""
        if not self._received and not self._refused:
            self._waiting_since = self.loop.time()
        self._received += len(data)
        if self._received > _MAX_BYTES:
            self.transport.abort()
            return
        if self._refused:
            return
        super().data_received(data)
        if self._is_complete():
            self._received = 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "expected a request of HTTP/1.1, with a Content-Length if it has a body")

    def shutdown(self) -> None:
        """Close the connection as the server ends."""
        if self._refused:
            self.transport.abort()
        else:
            super().shutdown()

    def _is_complete(self) -> bool:
        """Return whether a request is complete and not yet answered."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _check(self) -> None:
        """Close the connection if its client took too long; called again and again."""
        now = self.loop.time()
        if self._is_complete():
            self._waiting_since = now
        if not self.transport.get_write_buffer_size():
            self._unsent_since = now
        waited = now - self._waiting_since
        if now - self._unsent_since > ANSWER_SECONDS or (
            self._refused and waited > _REFUSED_SECONDS
        ):
            self.transport.abort()
        elif waited > REQUEST_SECONDS and not self._refused:
            if self._received and self.conn.their_state is h11.IDLE:
                self._refuse(408, "the request did not arrive in time")
            else:
                self.transport.abort()
        self._timer = self.loop.call_later(_CHECK_SECONDS, self._check)

    def _refuse(self, status: int, message: str, header: str = "") -> None:
        """Send an answer and no more, and discard what the client sends."""
        self._refused = True
        self._waiting_since = self.loop.time()
        body = json.dumps({"error": message})
        head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\nconnection: close\r\n"
        text = f"{head}{header}content-length: {len(body)}\r\n\r\n{body}"
        self.transport.write(text.encode())
        self.transport.write_eof()
