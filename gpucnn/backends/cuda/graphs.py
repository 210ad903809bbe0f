"""Work that a device repeats: done once operation by operation, then recorded as a CUDA graph.

A launch costs the host several microseconds, longer than most kernels of a small network take; a
graph of many launches costs about as much as one.
"""

from __future__ import annotations

import math
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucnn.backends.contract.checks import Array
from gpucnn.errors import BackendError, GpucnnError

MAX_STEPS_PER_GRAPH = 32
"""Repetitions that a graph holds at most."""

MAX_PENDING_CALLS = 2
"""Calls that the device may be behind the host: one to work on, and one that is ready."""


_probe = [object()]
IDLE = sys.getrefcount(_probe[0])
"""References to an element of a list that nobody else refers to, as this function counts."""


@dataclass
class _Request:
    """An array that work asked for, and the number of the request before which it let go of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    until: float = math.inf

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Workspace:
    """The memory of work that is repeated: the same arrays at each repetition, in their order.

    A graph repeats launches with the addresses that they had, so that these must stay its own. The
    first repetition gets arrays of any kind, and shows how long each is needed: until nobody refers
    to it, and views refer to what they are views of. By that the others share blocks of memory,
    which may be those of other work, too, if no two run at the same time.
    """

    def __init__(self, empty: Callable[..., Array], blocks: list[Array]) -> None:
        self.blocks = blocks
        self._empty = empty
        self._requests: list[_Request] = []
        self._living: list[list[Any]] = []  # of the first repetition: number, array
        self._places: list[int] | None = None  # the block of each request, once that is planned
        self._next = 0

    @property
    def planned(self) -> bool:
        """Whether a repetition has come to its end."""
        return self._places is not None

    def take(
        self, make: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Array:
        """Return the next array; ``make`` makes those of the first repetition."""
        if self._places is None:
            self._note_released()
            self._requests.append(_Request(shape, dtype))
            self._living.append([len(self._requests) - 1, make(shape)])
            return self._living[-1][1]
        request = self._requests[self._next] if self._next < len(self._requests) else None
        if request is None or (request.shape, request.dtype) != (shape, dtype):
            raise BackendError(
                f"repeated work asked for an array {shape} of {dtype}, and at its first time for "
                + (f"one {request.shape} of {request.dtype}" if request else "none")
            )
        self._next += 1
        return self.blocks[self._places[self._next - 1]][: request.size].reshape(shape)

    def begin(self) -> None:
        """Begin a repetition, with the first array; one that failed is begun anew."""
        self._next = 0
        if not self.planned:
            self._requests.clear()
            self._living.clear()

    def end(self) -> None:
        """End a repetition that came to its end: the first one shows what is needed."""
        if not self.planned:
            self._note_released()
            self._living.clear()
            self._plan()

    def _note_released(self) -> None:
        for entry in self._living:
            if sys.getrefcount(entry[1]) == IDLE:
                self._requests[entry[0]].until = len(self._requests)
                entry[1] = None
        self._living = [entry for entry in self._living if entry[1] is not None]

    def _plan(self) -> None:
        """Give each request a block, the largest first: the least that fits and is free by then."""
        places = [0] * len(self._requests)
        taken: list[list[tuple[int, float]]] = [[] for _ in self.blocks]  # requests from, until
        for number in sorted(range(len(self._requests)), key=lambda n: -self._requests[n].size):
            request = self._requests[number]
            fitting = [
                place
                for place, block in enumerate(self.blocks)
                if block.dtype == request.dtype
                and block.size >= request.size
                and all(number >= until or request.until <= start for start, until in taken[place])
            ]
            if not fitting:
                fitting = [len(self.blocks)]
                self.blocks.append(self._empty((request.size,), request.dtype))
                taken.append([])
            place = min(fitting, key=lambda place: int(self.blocks[place].size))
            taken[place].append((number, request.until))
            places[number] = place
        self._places = places


class Repeating(threading.local):
    """The workspace that a thread's arrays come from just now, if any."""

    workspace: Workspace | None = None


class CapturedWork:
    """What does ``work`` as often as a call says.

    The work must launch the same operations on the same arrays each time, and wait for nothing.
    Where a device cannot record it a warning says so, and it is done operation by operation.
    ``beside`` is work whose memory it may use, as the two never run at the same time.
    """

    workspace: Workspace

    def __init__(
        self,
        cuda: Any,
        empty: Callable[..., Array],
        repeating: Repeating,
        work: Callable[[], None],
        beside: CapturedWork | None = None,
    ) -> None:
        """``cuda`` is CuPy's namespace of that name, or the emulator's; ``empty`` makes arrays."""
        self._cuda, self._repeating, self._work = cuda, repeating, work
        blocks: list[Array] = [] if beside is None else beside.workspace.blocks
        self.workspace = Workspace(empty, blocks)
        self._graphs: dict[int, Any] = {}
        self._records = True
        self._under_way: deque[Any] = deque()

    def __call__(self, times: int) -> None:
        """Do the work ``times`` times; return before a device has done it."""
        if times and not self.workspace.planned:
            self._once()  # so that all is compiled, loaded and allocated before a recording
            times -= 1
        for size in (MAX_STEPS_PER_GRAPH, 1):
            while times >= size:
                self._do(size)
                times -= size
        self._keep_up()

    def _do(self, times: int) -> None:
        if self._records and times not in self._graphs:
            try:
                self._graphs[times] = self._record(times)
            except GpucnnError:
                raise
            except Exception as error:  # CUDA's, and CuPy's
                self._records = False
                warnings.warn(f"steps are not recorded but launched: {error}", stacklevel=4)
        if self._records:
            self._graphs[times].launch()
        else:
            for _ in range(times):
                self._once()

    def _record(self, times: int) -> Any:
        stream = self._cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                for _ in range(times):
                    self._once()
            except BaseException:
                with suppress(Exception):  # which would only say that the recording was spoilt
                    stream.end_capture()
                raise
            return stream.end_capture()

    def _once(self) -> None:
        self.workspace.begin()
        self._repeating.workspace = self.workspace
        try:
            self._work()
        finally:
            self._repeating.workspace = None
        self.workspace.end()

    def _keep_up(self) -> None:
        """Wait until at most MAX_PENDING_CALLS calls are unfinished, so that a stop comes soon."""
        event = self._cuda.Event()
        event.record()
        self._under_way.append(event)
        if len(self._under_way) > MAX_PENDING_CALLS:
            self._under_way.popleft().synchronize()
