"""The answers to ``/api/…``, which the package's docstring describes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from gpucnn.data.images.preparing import Prepared
from gpucnn.errors import DataError
from gpucnn.web.answers import predict
from gpucnn.web.decoders import Decoders
from gpucnn.web.served import Served
from gpucnn.web.units import explain
from gpucnn.web.uploads import MAX_BODY

MAX_WAITING = 32
"""Requests that are computed or wait for it; further ones get status 503."""

MAX_HELD = 32 << 20
"""Bytes of all bodies in memory."""

POSITION = ("channel", "row", "column")

Compute = Callable[[Sequence[Prepared]], Any]


class Api:
    """The answers, and how many requests are in work.

    Args:
        served: the networks, with different ids.
        decoders: what decodes and prepares images.
    """

    def __init__(self, served: Sequence[Served], decoders: Decoders) -> None:
        self.served = {each.id: each for each in served}
        self.descriptions = [each.describe() for each in served]
        self.decoders = decoders
        self.waiting, self.held = 0, 0
        self.limiter = asyncio.Semaphore(decoders.count)

    async def models(self, request: Request) -> Response:
        """Answer ``GET /api/models``."""
        return JSONResponse(self.descriptions)

    async def predict(self, request: Request) -> Response:
        """Answer ``POST /api/predict``."""
        names = request.query_params.getlist("model")
        chosen = [self._find(name) for name in dict.fromkeys(names)] or [*self.served.values()]

        def compute(prepared: Sequence[Prepared]) -> dict[str, Any]:
            return {"results": [predict(*pair) for pair in zip(chosen, prepared, strict=True)]}

        return await self._answer(request, chosen, compute)

    async def unit(self, request: Request) -> Response:
        """Answer ``POST /api/unit``."""
        query = request.query_params
        chosen = self._find(query.get("model", ""))
        layer = query.get("layer", "")
        channel, row, column = (_integer(name, query.get(name, "0")) for name in POSITION)

        def compute(prepared: Sequence[Prepared]) -> dict[str, Any]:
            pixels = prepared[0].pixels
            if pixels is None:
                raise DataError(f"there is nothing to compute with: {prepared[0].reason}")
            with chosen.computing(), np.errstate(all="ignore"):
                found = explain(chosen.model, pixels, layer, (channel, row, column))
            return {"model": chosen.id, **found}

        return await self._answer(request, [chosen], compute)

    def _find(self, name: str) -> Served:
        try:
            return self.served[name]
        except KeyError:
            raise HTTPException(404, f"no such model: {name[:40]!r}") from None

    async def _answer(
        self, request: Request, chosen: Sequence[Served], compute: Compute
    ) -> Response:
        """Read an image, prepare it for each network, and return what ``compute`` does with it."""
        ways = list(dict.fromkeys(each.way for each in chosen))

        def work(body: bytes) -> Response:
            prepared = dict(zip(ways, self.decoders.prepare(body, ways), strict=True))
            return JSONResponse(compute([prepared[each.way] for each in chosen]))

        with self._holding(request) as read:
            body = await read()
            with self._waiting():
                async with self.limiter:
                    if await request.is_disconnected():  # a later drawing has replaced this one
                        raise ClientDisconnect
                    return await _in_thread(lambda: work(body))

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Count a request within the block; 503 if there are too many."""
        if self.waiting >= MAX_WAITING:
            raise _busy()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    @contextmanager
    def _holding(self, request: Request) -> Iterator[Any]:
        """Yield a function that reads the body; within the block its size counts."""
        held = 0

        async def read() -> bytes:
            nonlocal held
            body = bytearray()
            async for part in request.stream():
                if len(body) + len(part) > MAX_BODY:
                    raise _too_long()
                if self.held + len(part) > MAX_HELD:
                    raise _busy()
                body += part
                held += len(part)
                self.held += len(part)
            if not body:
                raise DataError("the body is empty: expected an image file")
            return bytes(body)

        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 15 or int(declared) > MAX_BODY:
            raise _too_long()
        try:
            yield read
        finally:
            self.held -= held


async def _in_thread(function: Callable[[], Response]) -> Response:
    """Return what a function returns in a daemon thread, which does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Response] = loop.create_future()

    def finish(result: Response | None, error: BaseException | None) -> None:
        if future.done():  # cancelled, as the server ends
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        outcome: tuple[Response | None, BaseException | None]
        try:
            outcome = function(), None
        except BaseException as error:
            outcome = None, error
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(finish, *outcome)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400, f"{name} must be an integer from 0, got {text[:40]!r}")
    return int(text)


def _too_long() -> HTTPException:
    return HTTPException(413, f"the body is longer than {MAX_BODY} bytes: send a smaller image")


def _busy() -> HTTPException:
    return HTTPException(503, "too many requests at once: try again", {"Retry-After": "1"})
