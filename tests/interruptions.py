"""Signal handlers that interrupt a kernel of the emulator."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals(handler: Callable[[], None]) -> Iterator[None]:
    """Call ``handler`` after every 30 ms of processor time."""
    before = signal.signal(signal.SIGVTALRM, lambda number, frame: handler())
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.03, 0.03)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Stopped(Exception):
    """What ``stop`` raises."""


def stop() -> None:
    """A handler that raises an exception."""
    raise Stopped
