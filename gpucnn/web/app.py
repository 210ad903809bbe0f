"""The Starlette application: the page, its files, and what it asks for."""

from __future__ import annotations

import mimetypes
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpucnn.errors import DataError, GpucnnError
from gpucnn.web.answers import predict
from gpucnn.web.guard import Guard
from gpucnn.web.served import Served, find_served
from gpucnn.web.uploads import MAX_BODY, prepare, read_upload

STATIC = Path(__file__).parent / "static"

Report = Callable[[BaseException], None]
"""What is called with an error that is a defect."""


def make_app(
    served: Sequence[Served],
    is_host: Callable[[str], bool],
    report: Report = traceback.print_exception,
) -> Starlette:
    """Return the application.

    Args:
        served: the networks, with different ids.
        is_host: whether a name in the Host header, without its port, is one of the server's.
        report: called with errors that no request should cause.
    """
    api = _Api(served)
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


class _Api:
    """The answers to ``/api/…``; the package's docstring describes them."""

    def __init__(self, served: Sequence[Served]) -> None:
        self.served = served
        self.descriptions = [each.describe() for each in served]

    async def models(self, request: Request) -> Response:
        return JSONResponse(self.descriptions)

    async def predict(self, request: Request) -> Response:
        chosen = self._chosen(request)
        body = await _read_body(request)
        results = await anyio.to_thread.run_sync(_predict_all, chosen, body)
        return JSONResponse({"results": results})

    def _chosen(self, request: Request) -> list[Served]:
        try:
            return find_served(self.served, request.query_params.getlist("model"))
        except KeyError as error:
            raise HTTPException(404, f"no such model: {error}") from None


def _predict_all(chosen: Sequence[Served], body: bytes) -> list[dict[str, Any]]:
    image = read_upload(body)
    return [
        predict(each, prepare(image, each.prepare, each.model.input_shape, each.has_digits))
        for each in chosen
    ]


async def _read_body(request: Request) -> bytes:
    """Return the body of a request; 413 for one that is too long, before it is read."""
    declared = request.headers.get("content-length", "0")
    if not declared.isascii() or not declared.isdigit() or int(declared) > MAX_BODY:
        raise _too_long()
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise _too_long()
    if not body:
        raise DataError("the body is empty: expected an image file")
    return bytes(body)


def _too_long() -> HTTPException:
    return HTTPException(413, f"the body is longer than {MAX_BODY} bytes: send a smaller image")


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
    return _error(422 if isinstance(error, DataError) else 400, " ".join(str(error).split()))


def _failed(report: Report, request: Request, error: Exception) -> Response:
    report(error)
    return _error(500, "the server failed; its terminal shows why")
