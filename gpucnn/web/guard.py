"""What every request must be, and the headers that every answer has."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: nothing but the page's own files, and the images that it draws."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

MAX_QUERY = 2048
"""Bytes of the path and of the query string."""

MAX_HEADERS = 8192
"""Bytes of the names and values of all headers."""


class Guard:
    """Refuses requests that another site may have caused, and adds ``HEADERS`` to all answers.

    A browser can be made to send requests here by any page that its user visits. Two checks tell
    them from the page's own: a name that another site has pointed at this address (DNS rebinding)
    is in the Host header, and the other site is in Origin and Sec-Fetch-Site.
    """

    def __init__(self, app: ASGIApp, is_host: Callable[[str], bool]) -> None:
        self.app, self.is_host = app, is_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI defines it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                kept = "no-cache" if scope["path"].startswith("/static/") else "no-store"
                headers["Cache-Control"] = kept
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send_guarded)
            return
        status, text = refusal
        body = json.dumps({"error": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send_guarded(start)
        await send_guarded({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the text with which a request is refused, None if it is not."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return 400, "expected one Host header"
        if not self.is_host(name_of(hosts[0])):
            return 421, "this name is not the server's: open the address that it printed"
        if len(scope.get("raw_path", b"")) > MAX_QUERY or len(scope["query_string"]) > MAX_QUERY:
            return 414, f"the address is longer than {MAX_QUERY} bytes"
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS:
            return 431, f"the headers are longer than {MAX_HEADERS} bytes"
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            return 403, "the request comes from another site"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "the request comes from another site"
        return None


def name_of(host: str) -> str:
    """Return the name in a Host header without its port, in lower case: "localhost", "[::1]"."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
