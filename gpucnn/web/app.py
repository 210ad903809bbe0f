"""The Starlette application: the page, its files, and what it asks for."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gpucnn.errors import DataError, GpucnnError, WorkerError
from gpucnn.web.api import Api
from gpucnn.web.decoders import Decoders
from gpucnn.web.guard import Guard
from gpucnn.web.served import Served

STATIC = Path(__file__).parent / "static"

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Media types of the page's files by their suffix; the system's table may have others."""

Report = Callable[[BaseException], None]
"""What is called with an error that is a defect."""


def make_app(
    served: Sequence[Served],
    is_host: Callable[[str], bool],
    decoders: Decoders,
    report: Report = traceback.print_exception,
) -> ASGIApp:
    """Return the application.

    Args:
        served: the networks, with different ids.
        is_host: whether a name in the Host header, without its port, is one of the server's.
        decoders: what decodes and prepares images.
        report: called with errors that no request should cause.
    """
    api = Api(served, decoders)
    files = {
        path.relative_to(STATIC).as_posix(): path
        for path in STATIC.rglob("*")
        if path.suffix in KINDS and path.is_file()
    }

    def static(request: Request) -> Response:
        return _file(files, request.path_params["name"], request)

    routes = [
        Route("/", lambda request: _file(files, "index.html", request)),
        Route("/static/{name:path}", static),
        Route("/api/models", api.models),
        Route("/api/predict", api.predict, methods=["POST"]),
        Route("/api/unit", api.unit, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: _http_error,
        ClientDisconnect: _gone,
        GpucnnError: _refused,
        Exception: partial(_failed, report),
    }
    # The guard is outside of everything, so that answers to defects have its headers as well.
    return Guard(Starlette(routes=routes, exception_handlers=handlers), is_host)


def _file(files: dict[str, Path], name: str, request: Request) -> Response:
    """Return a file of the page; names that were not there at the start are unknown."""
    if name not in files:
        raise HTTPException(404, "no such page")
    content = files[name].read_bytes()
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=KINDS[files[name].suffix], headers=headers)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, error.headers)


def _refused(request: Request, error: GpucnnError) -> Response:
    status = 422 if isinstance(error, DataError) else 503 if isinstance(error, WorkerError) else 400
    return _error(status, " ".join(str(error).split()))


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # for nobody


def _failed(report: Report, request: Request, error: Exception) -> Response:
    report(error)
    return _error(500, "the server failed; its terminal shows why")
