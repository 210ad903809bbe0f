"""Requests to the application in this process, which may be anything that ASGI can express."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: ASGIApp,
    target: str,
    body: bytes | Iterator[bytes] = b"",
    *,
    method: str | None = None,
    headers: list[tuple[str, str]] | dict[str, str] | None = None,
) -> Answer:
    """Send a request; an iterator as body is a body in parts. POST if there is a body."""
    parts = iter([body]) if isinstance(body, bytes) else body
    given = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if "host" not in {name.lower() for name, _ in given}:
        given.append(("host", "localhost:8000"))
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method or ("POST" if body else "GET"),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        asyncio.run(app(scope, receive, send))
    except Exception:  # Starlette raises a defect again, for the server's log
        if not sent or sent[0]["status"] != 500:
            raise
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(each.get("body", b"") for each in rest))
