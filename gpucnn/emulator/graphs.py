"""Streams that capture launches, events, and graphs that replay captures, as CUDA's do.

A launch is captured with the values of its arguments: addresses and numbers. What changes between
replays must be in device memory. A graph keeps no array alive. On a GPU a replay then writes to
memory that may belong to another array; here it raises CaptureError.

Errors have CUDA's names, and where CuPy itself refuses, none. What CUDA refuses invalidates the
captures that it concerns, as in the CUDA programming guide; what CuPy refuses does not.
"""

from __future__ import annotations

import threading
import time
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
    """What a stream has captured so far, with the streams that have waited for its events.

    The operations of all of them are kept in the order of the calls, which is one of those that the
    events allow.
    """

    origin: Stream
    nodes: list[_Node] = field(default_factory=list)
    invalid: bool = False  # or ended
    forked: list[Stream] = field(default_factory=list)
    done: dict[Stream, int] = field(default_factory=dict)  # operations of each stream
    open: set[Stream] = field(default_factory=set)  # forked, and not waited for since

    def add(
        self, name: str, memories: Iterable[Any], run: Callable[[], None], stream: Stream
    ) -> None:
        self.nodes.append(_Node(name, [weakref.ref(memory) for memory in memories], run))
        self.done[stream] = self.done.get(stream, 0) + 1
        if stream is not self.origin:
            self.open.add(stream)


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

    def upload(self, stream: Stream | None = None) -> None:
        """Do nothing: a graph needs no preparation."""


class Stream:
    """A stream. Operations finish before they return, unless the stream captures them."""

    null: Stream  # the stream of operations that name none

    def __init__(
        self, null: bool = False, non_blocking: bool = False, priority: int | None = None
    ) -> None:
        """``priority`` has no effect; with ``null`` this is another name of the null stream."""
        self._is_null = null
        self.ptr = 0 if null else id(self)  # identifies the stream
        self._blocking = not non_blocking
        self._capture: _Capture | None = None
        self._previous: list[Stream] = []

    @property
    def done(self) -> bool:
        """Whether all operations are finished, which they are; CaptureError in a capture."""
        self.synchronize()
        return True

    def use(self) -> Stream:
        """Make this the current stream of the thread."""
        _thread.current = _NULL if self._is_null else self
        return self

    def record(self, event: Event | None = None) -> Event:
        """Record an event, by default a new one, at this point of the stream."""
        found = event or Event()
        found.record(self)
        return found

    def wait_event(self, event: Event) -> None:
        """Let later operations of this stream wait for an event; a captured one captures them."""
        capture = event._capture
        own = self._join()
        if capture is None or capture.invalid:
            return
        if own is None:
            self._capture = capture
            capture.forked.append(self)
            capture.open.add(self)
            _capturing.add(self)
        elif own is not capture:
            _refuse([self], "the event is that of another capture", "Isolation")
        stream = event._stream
        if stream is not None and capture.done.get(stream, 0) == event._done:
            capture.open.discard(stream)

    def launch_host_func(self, callback: Callable[[Any], None], arg: Any) -> None:
        """Call ``callback(arg)`` at this point of the stream."""
        do("a host function", (), lambda: callback(arg), self)

    def begin_capture(self, mode: object = None) -> None:
        """Capture operations instead of doing them, until ``end_capture``."""
        if self._is_null:
            raise CaptureError("the null stream cannot capture: use a Stream(non_blocking=True)")
        if self._capture is not None:
            raise CaptureError("cudaErrorIllegalState: the stream is capturing already")
        self._capture = _Capture(self)
        _capturing.add(self)

    def end_capture(self) -> Graph:
        """Return the graph of what was captured; CaptureError if the capture is invalid."""
        capture = self._capture
        if capture is None:
            raise CaptureError("cudaErrorIllegalState: the stream is not capturing")
        if capture.origin is not self:
            raise CaptureError("cudaErrorStreamCaptureUnmatched: another stream began the capture")
        for stream in (self, *capture.forked):
            stream._capture = None
            _capturing.discard(stream)
        if capture.invalid:
            raise _invalidated()
        capture.invalid = True
        if capture.open:
            raise CaptureError(
                "cudaErrorStreamCaptureUnjoined: the stream must wait for an event of each stream"
                " that joined its capture"
            )
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
        if not self._is_null or not len(_capturing):
            return []
        return [stream for stream in _capturing if stream._blocking]

    def __enter__(self) -> Stream:
        self._previous.append(_thread.current)
        return self.use()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _thread.current = self._previous.pop()


class Event:
    """A point in a stream, already reached unless it was captured."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self._capture: _Capture | None = None
        self._stream: Stream | None = None
        self._done = 0  # operations that its stream had captured before
        self._timed = not disable_timing
        self._time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Set the event to this point of the stream, by default the current one."""
        self._stream = stream or get_current_stream()
        self._capture = self._stream._join()
        self._done = self._capture.done.get(self._stream, 0) if self._capture else 0
        self._time = time.perf_counter() if self._timed and self._capture is None else None

    @property
    def done(self) -> bool:
        """Whether the event was reached, which it was; CaptureError if it was captured."""
        self.synchronize()
        return True

    def synchronize(self) -> None:
        """Return at once; CaptureError if the event was captured."""
        if self._capture is not None:
            name = "InvalidValue" if self._capture.invalid else "CapturedEvent"
            self._capture.invalid = True
            raise CaptureError(f"cudaError{name}: a captured event cannot be waited for")


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Return the milliseconds between two recorded events, of the CPU's clock."""
    start, end = start_event._time, end_event._time
    if start is None or end is None:
        raise CaptureError(
            "cudaErrorInvalidResourceHandle: both events must be recorded, outside captures and"
            " without disable_timing"
        )
    return (end - start) * 1000


_WAIT = "a stream that captures cannot be waited for"
_NULL_WAITS = "the null stream waits for blocking streams, and one captures"
_capturing: weakref.WeakSet[Stream] = weakref.WeakSet()
_NULL = Stream.null = Stream(null=True)


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
    stream = stream or _thread.current
    capture = stream._join()
    if capture is None:
        run()
    else:
        capture.add(name, memories, run, stream)


def note(name: str, memory: Any, run: Callable[[], None]) -> None:
    """Call ``run`` now, or at each replay if the current stream captures. Nothing is refused.

    It is for what the emulator does in addition to CUDA's operations.
    """
    stream = _thread.current
    if stream._capture is None:
        run()
    else:
        stream._capture.add(name, [memory], run, stream)


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
