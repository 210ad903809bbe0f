"""The page's server on a real socket, in a thread."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpucnn.models import lenet5
from gpucnn.nn import Sequential
from gpucnn.web.app import make_app
from gpucnn.web.decoders import Decoders
from gpucnn.web.hosts import host_check
from gpucnn.web.served import Served
from gpucnn.web.server import listen, run


def untrained(id_: str = "1", seed: int = 0) -> Served:
    """LeNet-5 with random weights."""
    return Served(id_, f"net {id_}", f"runs/{id_}", scaled(lenet5(seed=seed)), "digit", 0.1)


def scaled(model: Sequential) -> Sequential:
    """A model that takes pixels of mean 0 and deviation 1 from -1 to 1."""
    channels = model.input_shape[0]
    model.normalization = ((0.5,) * channels, (0.5,) * channels)
    return model


@contextmanager
def serving(served: Sequence[Served]) -> Iterator[str]:
    """Serve the networks within the block; the value is the page's address."""
    stop = threading.Event()
    decoders = Decoders([each.way for each in served], count=1)
    with listen("127.0.0.1", 0) as listening, decoders:
        app = make_app(served, host_check("127.0.0.1"), decoders)
        port = listening.getsockname()[1]
        thread = threading.Thread(target=run, args=(app, listening, stop.is_set))
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stop.set()
            thread.join()


def connect(url: str) -> http.client.HTTPConnection:
    """Return a connection to a server."""
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
