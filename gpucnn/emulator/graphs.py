"""Streams that record launches, and graphs that repeat them, as CUDA's do.

A launch is recorded with its arguments' values: addresses and numbers. What changes from replay to
replay must be in the device's memory. A graph keeps no array alive, and a GPU replays into memory
that meanwhile may be another array's; here a replay says so.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gpucnn.emulator.errors import EmulatorError, Kind


class CaptureError(EmulatorError):
    """What CUDA refuses while a stream records, or when a graph is replayed."""

    def __init__(self, message: str, kernel: str | None = None) -> None:
        super().__init__(message, kind=Kind.CAPTURE, kernel=kernel)


@dataclass(frozen=True)
class _Node:
    """A launch or a memory operation: ``run`` does it again with what ``memories`` still hold."""

    name: str
    memories: list[weakref.ref[Any]]
    run: Callable[[], None]


class Graph:
    """What a stream has recorded."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes

    def launch(self, stream: Stream | None = None) -> None:
        """Do everything again, in its order; CaptureError where an array is no longer there."""
        if (stream or get_current_stream()).is_capturing():
            raise CaptureError("a graph cannot be launched in a stream that records")
        for node in self._nodes:
            if any(memory() is None for memory in node.memories):
                raise CaptureError(
                    f"{node.name}: an array was freed after its launch was recorded", node.name
                )
            node.run()

    def upload(self, stream: Stream | None = None) -> None:
        """Return at once: there is nowhere to upload to."""


class Stream:
    """A stream: nothing is ever under way in it, but it can record."""

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.is_null = null
        self.is_non_blocking = non_blocking
        self._nodes: list[_Node] | None = None
        self._spoilt = ""
        self._before: list[Stream] = []

    def begin_capture(self, mode: int | None = None) -> None:
        """Record launches instead of running them, until ``end_capture``."""
        if self.is_null:
            raise CaptureError("the null stream cannot record: make a Stream(non_blocking=True)")
        if self._nodes is not None:
            raise CaptureError("the stream is recording already")
        self._nodes, self._spoilt = [], ""

    def end_capture(self) -> Graph:
        """Return what was recorded; CaptureError where something could not be."""
        if self._nodes is None:
            raise CaptureError("the stream is not recording")
        nodes, self._nodes = self._nodes, None
        if self._spoilt:
            raise CaptureError(f"the recording was spoilt: {self._spoilt}")
        return Graph(nodes)

    def is_capturing(self) -> bool:
        """Return whether the stream is recording."""
        return self._nodes is not None

    def synchronize(self) -> None:
        """Return at once, unless the stream records, which is refused."""
        self._refuse("a wait for a stream")

    def use(self) -> Stream:
        """Make this the thread's current stream and return it."""
        _thread.current = self
        return self

    def __enter__(self) -> Stream:
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._before.pop().use()

    def _refuse(self, what: str) -> None:
        if self._nodes is not None:
            self._spoilt = self._spoilt or what
            raise CaptureError(f"{what} while the stream records: CUDA refuses that")


class Event:
    """A point in a stream: it has always been passed, unless it is one of a recording."""

    def __init__(self) -> None:
        self._recorded = False

    def record(self, stream: Stream | None = None) -> None:
        """Be the point where the stream, by default the current one, is now."""
        self._recorded = (stream or get_current_stream()).is_capturing()

    def synchronize(self) -> None:
        """Return at once; CaptureError for a point of a recording, which no time has."""
        if self._recorded:
            raise CaptureError("a wait for an event that a stream recorded: CUDA refuses that")


_NULL = Stream(null=True)


class _Thread(threading.local):
    current = _NULL


_thread = _Thread()


def get_current_stream() -> Stream:
    """Return the stream that launches of this thread go to unless they name one."""
    return _thread.current


def do(
    name: str, memories: Iterable[Any], run: Callable[[], None], stream: Stream | None = None
) -> None:
    """Do ``run``, or record it where the stream records."""
    nodes = (stream or _thread.current)._nodes
    if nodes is None:
        run()
    else:
        nodes.append(_Node(name, [weakref.ref(memory) for memory in memories], run))


def refuse(what: str) -> None:
    """Raise CaptureError if the current stream records, which ``what`` spoils."""
    _thread.current._refuse(what)
