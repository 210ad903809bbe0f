"""The Starlette application: the page, its files, and what it asks for."""

from __future__ import annotations

import mimetypes
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpucnn.errors import DataError, GpucnnError, WorkerError
from gpucnn.web.api import Api
from gpucnn.web.decoders import Decoders
from gpucnn.web.guard import Guard
from gpucnn.web.served import Served

STATIC = Path(__file__).parent / "static"

Report = Callable[[BaseException], None]
"""What is called with an error that is a defect."""


def make_app(
    served: Sequence[Served],
    is_host: Callable[[str], bool],
    decoders: Decoders,
    report: Report = traceback.print_exception,
) -> Starlette:
    """Return the application.

    Args:
        served: the networks, with different ids.
        is_host: whether a name in the Host header, without its port, is one of the server's.
        decoders: what decodes and prepares images.
        report: called with errors that no request should cause.
    """
    api = Api(served, decoders)
    files = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*")}
    files = {name: path for name, path in files.items() if path.is_file()}

    def static(request: Request) -> Response:
        return _file(files, request.path_params["name"])

    routes = [
        Route("/", lambda request: _file(files, "index.html")),
        Route("/static/{name:path}", static),
        Route("/api/models", api.models),
        Route("/api/predict", api.predict, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        HTTPException: _http_error,
        GpucnnError: _refused,
        Exception: partial(_failed, report),
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.add_middleware(Guard, is_host=is_host)
    return app


def _file(files: dict[str, Path], name: str) -> Response:
    """Return a file of the page; names that were not there at the start are unknown."""
    if name not in files:
        raise HTTPException(404, "no such page")
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(files[name].read_bytes(), media_type=kind)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status, headers)


def _http_error(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, error.headers)


def _refused(request: Request, error: GpucnnError) -> Response:
    status = 422 if isinstance(error, DataError) else 503 if isinstance(error, WorkerError) else 400
    return _error(status, " ".join(str(error).split()))


def _failed(report: Report, request: Request, error: Exception) -> Response:
    report(error)
    return _error(500, "the server failed; its terminal shows why")
