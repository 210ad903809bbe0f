"""Streams that capture launches, events, and graphs that replay captures, as CUDA's do.

A launch is captured with the values of its arguments: addresses and numbers. What changes between
replays must be in device memory. A graph keeps no array alive. On a GPU a replay then writes to
memory that may belong to another array; here it raises CaptureError.

Errors have CUDA's names, and where CuPy itself refuses, none. What CUDA refuses invalidates the
captures that it concerns, as in the CUDA programming guide; what CuPy refuses does not.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn

from gpucnn.emulator.errors import EmulatorError, Kind


class CaptureError(EmulatorError):
    """An operation that is refused while a stream captures, or when a graph is launched."""

    def __init__(self, message: str, kernel: str | None = None) -> None:
        super().__init__(message, kind=Kind.CAPTURE, kernel=kernel)


@dataclass(frozen=True)
class _Node:
    """A launch or a memory operation: ``run`` repeats it, if all ``memories`` still exist."""

    name: str
    memories: list[weakref.ref[Any]]
    run: Callable[[], None]


@dataclass
class _Capture:
    """What a stream has captured so far."""

    nodes: list[_Node] = field(default_factory=list)
    invalid: bool = False  # or ended

    def add(self, name: str, memories: Iterable[Any], run: Callable[[], None]) -> None:
        self.nodes.append(_Node(name, [weakref.ref(memory) for memory in memories], run))


class Graph:
    """The operations that a stream has captured."""

    def __init__(self, nodes: list[_Node]) -> None:
        self._nodes = nodes

    def launch(self, stream: Stream | None = None) -> None:
        """Replay all operations in order; CaptureError if an array of one was freed."""
        stream = stream or get_current_stream()
        if stream._join() is not None:
            _refuse([stream], "no graph can be launched in a stream that captures")
        for node in self._nodes:
            if any(memory() is None for memory in node.memories):
                raise CaptureError(
                    f"{node.name}: an array was freed after its launch was captured", node.name
                )
            node.run()


class Stream:
    """A stream. Operations finish before they return, unless the stream captures them."""

    def __init__(self, *, non_blocking: bool = False) -> None:
        self._blocking = not non_blocking
        self._capture: _Capture | None = None
        self._previous: list[Stream] = []

    def begin_capture(self) -> None:
        """Capture operations instead of doing them, until ``end_capture``."""
        if self is _NULL:
            raise CaptureError("the null stream cannot capture: use a Stream(non_blocking=True)")
        if self._capture is not None:
            raise CaptureError("cudaErrorIllegalState: the stream is capturing already")
        self._capture = _Capture()
        _capturing.add(self)

    def end_capture(self) -> Graph:
        """Return the graph of what was captured; CaptureError if the capture is invalid."""
        capture, self._capture = self._capture, None
        if capture is None:
            raise CaptureError("cudaErrorIllegalState: the stream is not capturing")
        _capturing.discard(self)
        if capture.invalid:
            raise _invalidated()
        capture.invalid = True
        return Graph(capture.nodes)

    def is_capturing(self) -> bool:
        """Return whether the stream captures; CaptureError if the capture is invalid."""
        if self._implicit():
            raise CaptureError(f"cudaErrorStreamCaptureImplicit: {_NULL_WAITS}")
        if self._capture is not None and self._capture.invalid:
            raise CaptureError("an error has invalidated the capture of the stream")
        return self._capture is not None

    def synchronize(self) -> None:
        """Return at once; CaptureError while the stream captures."""
        if self._capture is not None:
            _refuse([self], _WAIT)
        self._join()  # refuses to wait for the null stream while a blocking stream captures

    def _join(self) -> _Capture | None:
        """Return the capture that an operation of this stream belongs to, None to do it now."""
        if self._capture is not None:
            if self._capture.invalid:
                raise _invalidated()
            return self._capture
        if blocking := self._implicit():
            _refuse(blocking, _NULL_WAITS, "Implicit")
        return None

    def _implicit(self) -> list[Stream]:
        """Return the capturing streams that this one, if it is the null stream, would wait for."""
        if self is not _NULL or not len(_capturing):
            return []
        return [stream for stream in _capturing if stream._blocking]

    def __enter__(self) -> Stream:
        self._previous.append(_thread.current)
        _thread.current = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _thread.current = self._previous.pop()


class Event:
    """A point in a stream, already reached unless it was captured."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._capture: _Capture | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Set the event to this point of the stream, by default the current one."""
        self._capture = (stream or get_current_stream())._join()

    def synchronize(self) -> None:
        """Return at once; CaptureError if the event was captured."""
        if self._capture is not None:
            name = "InvalidValue" if self._capture.invalid else "CapturedEvent"
            self._capture.invalid = True
            raise CaptureError(f"cudaError{name}: a captured event cannot be waited for")


_WAIT = "a stream that captures cannot be waited for"
_NULL_WAITS = "the null stream waits for blocking streams, and one captures"
_capturing: weakref.WeakSet[Stream] = weakref.WeakSet()
_NULL = Stream()


class _Thread(threading.local):
    current = _NULL


_thread = _Thread()


def get_current_stream() -> Stream:
    """Return the stream of this thread's operations that name none."""
    return _thread.current


def do(
    name: str, memories: Iterable[Any], run: Callable[[], None], stream: Stream | None = None
) -> None:
    """Call ``run``, or add it to the graph that the stream captures."""
    capture = (stream or _thread.current)._join()
    if capture is None:
        run()
    else:
        capture.add(name, memories, run)


def note(name: str, memory: Any, run: Callable[[], None]) -> None:
    """Call ``run`` now, or at each replay if the current stream captures. Nothing is refused.

    It is for what the emulator does in addition to CUDA's operations.
    """
    capture = _thread.current._capture
    if capture is None:
        run()
    else:
        capture.add(name, [memory], run)


def refuse_copy() -> None:
    """Raise CaptureError if the current stream captures, as CuPy does before it asks CUDA."""
    if _thread.current.is_capturing():
        raise CaptureError("the current stream is capturing: no copies from or to the host")


def synchronize() -> None:
    """Wait for all streams; CaptureError while one captures."""
    if streams := list(_capturing):
        _refuse(streams, _WAIT)


def _refuse(streams: Iterable[Stream], why: str, error: str = "Unsupported") -> NoReturn:
    """Raise an error that invalidates the captures of streams."""
    for stream in streams:
        if stream._capture is not None:
            stream._capture.invalid = True
    raise CaptureError(f"cudaErrorStreamCapture{error}: {why}")


def _invalidated() -> CaptureError:
    return CaptureError(
        "cudaErrorStreamCaptureInvalidated: an operation before this one was refused during the"
        " capture"
    )
