"""Streams that capture launches, and graphs that replay them, as CUDA's do.

A launch is captured with the values of its arguments: addresses and numbers. What changes between
replays must be in device memory. A graph keeps no array alive. On a GPU a replay then writes to
memory that may belong to another array; here it raises CaptureError.
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
    """An operation that CUDA refuses while a stream captures, or when a graph is replayed."""

    def __init__(self, message: str, kernel: str | None = None) -> None:
        super().__init__(message, kind=Kind.CAPTURE, kernel=kernel)


@dataclass(frozen=True)
class _Node:
    """A launch or a memory operation: ``run`` repeats it, if all ``memories`` still exist."""

    name: str
    memories: list[weakref.ref[Any]]
    run: Callable[[], None]


class Graph:
    """The operations that a stream has captured."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes

    def launch(self, stream: Stream | None = None) -> None:
        """Replay all operations in order; CaptureError if an array of one was freed."""
        if (stream or get_current_stream()).is_capturing():
            raise CaptureError("a graph cannot be launched in a stream that captures")
        for node in self._nodes:
            if any(memory() is None for memory in node.memories):
                raise CaptureError(
                    f"{node.name}: an array was freed after its launch was captured", node.name
                )
            node.run()

    def upload(self, stream: Stream | None = None) -> None:
        """Do nothing: there is no device to upload to."""


class Stream:
    """A stream. Operations finish before they return, unless the stream captures them."""

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.is_null = null
        self.is_non_blocking = non_blocking
        self._nodes: list[_Node] | None = None
        self._invalid = ""
        self._before: list[Stream] = []

    def begin_capture(self, mode: int | None = None) -> None:
        """Capture launches instead of running them, until ``end_capture``."""
        if self.is_null:
            raise CaptureError("the null stream cannot capture: use a Stream(non_blocking=True)")
        if self._nodes is not None:
            raise CaptureError("the stream is capturing already")
        self._nodes, self._invalid = [], ""

    def end_capture(self) -> Graph:
        """Return the graph of what was captured; CaptureError if the capture is invalid."""
        if self._nodes is None:
            raise CaptureError("the stream is not capturing")
        nodes, self._nodes = self._nodes, None
        if self._invalid:
            raise CaptureError(f"the capture was invalidated by {self._invalid}")
        return Graph(nodes)

    def is_capturing(self) -> bool:
        """Return whether the stream captures."""
        return self._nodes is not None

    def synchronize(self) -> None:
        """Return at once; CaptureError while the stream captures."""
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
            self._invalid = self._invalid or what
            raise CaptureError(f"{what} is not allowed while the stream captures")


class Event:
    """A point in a stream, already reached unless it was captured."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._captured = False

    def record(self, stream: Stream | None = None) -> None:
        """Set the event to this point of the stream, by default the current one."""
        self._captured = (stream or get_current_stream()).is_capturing()

    def synchronize(self) -> None:
        """Return at once; CaptureError if the event was captured."""
        if self._captured:
            raise CaptureError("a captured event cannot be waited for")


_NULL = Stream(null=True)


class _Thread(threading.local):
    current = _NULL


_thread = _Thread()


def get_current_stream() -> Stream:
    """Return the stream of this thread's launches that name none."""
    return _thread.current


def do(
    name: str, memories: Iterable[Any], run: Callable[[], None], stream: Stream | None = None
) -> None:
    """Call ``run``, or add it to the graph that the stream captures."""
    nodes = (stream or _thread.current)._nodes
    if nodes is None:
        run()
    else:
        nodes.append(_Node(name, [weakref.ref(memory) for memory in memories], run))


def refuse(what: str) -> None:
    """Raise CaptureError if the current stream captures, and invalidate the capture."""
    _thread.current._refuse(what)
