"""The web server: its socket, and uvicorn with bounds on connections and on time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from gpucnn.errors import SettingError
from gpucnn.web.connections import Connection


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one.

    Raises SettingError if the port is in use, or the address is not one of this computer.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address, family=family)
    except socket.gaierror as error:
        raise SettingError(
            f"--host {host}: {error.strerror}: give an address of this computer"
        ) from None
    except OSError as error:
        raise SettingError(_explain(error, host, port)) from None


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another, or any with --port 0"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this computer"
    return f"cannot listen on port {port} of {host}: {os.strerror(error.errno or 0)}"


KEEP_ALIVE_SECONDS = 5
"""Time in which a connection is kept for another request."""


class _Server(uvicorn.Server):
    """A server that ends when it is asked to; signals are the command's."""

    def __init__(self, config: uvicorn.Config, should_stop: Callable[[], bool]) -> None:
        super().__init__(config)
        self._should_stop = should_stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the handlers of signals as they are."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called ten times a second."""
        return await super().on_tick(counter) or self._should_stop()


def run(app: ASGIApp, listening: socket.socket, should_stop: Callable[[], bool]) -> None:
    """Answer requests until ``should_stop()``."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=0,
    )
    _Server(config, should_stop).run([listening])
