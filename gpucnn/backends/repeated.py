"""Work that a device repeats: done once operation by operation, then recorded as a CUDA graph.

A launch costs the host several microseconds, longer than most kernels of a small network take; a
graph of many launches costs about as much as one.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.backends.checks import Array
from gpucnn.errors import BackendError

if TYPE_CHECKING:
    from gpucnn.backends.cuda import CudaBackend

MOST_AT_ONCE = 32
"""Repetitions that a graph holds at most."""

UNDER_WAY = 2
"""Calls that the device may be behind the host: one to work on, and one that is ready."""


class Workspace:
    """The arrays that a piece of work asks for, in its order: the same ones at every repetition.

    A graph repeats launches with the addresses that they had, so that these must stay its own.
    """

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._next = 0

    def begin(self) -> None:
        """Serve the arrays from the first one on."""
        self._next = 0

    def take(
        self, make: Callable[[], Array], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> Array:
        """Return the next array, which ``make`` makes at the first repetition."""
        if self._next == len(self._arrays):
            self._arrays.append(make())
        array = self._arrays[self._next]
        if (array.shape, array.dtype) != (shape, dtype):
            raise BackendError(
                f"repeated work asked for an array {array.shape} of {array.dtype} before, and now "
                f"for one {shape} of {dtype}"
            )
        self._next += 1
        return array


class Repeating(threading.local):
    """The workspace that a thread's arrays come from just now, if any."""

    workspace: Workspace | None = None


class Repeated:
    """What does ``work`` as often as a call says.

    The work must launch the same operations on the same arrays each time, and wait for nothing.
    Where it cannot be recorded a warning says so, and it is done operation by operation.
    """

    def __init__(self, be: CudaBackend, namespace: Any, work: Callable[[], None]) -> None:
        self._be, self._cuda, self._work = be, namespace.cuda, work
        self._workspace = Workspace()
        self._graphs: dict[int, Any] = {}
        self._began, self._records = False, True
        self._under_way: deque[Any] = deque()

    def __call__(self, times: int) -> None:
        """Do the work ``times`` times; return before a device has done it."""
        if times and not self._began:
            self._once()  # so that all is compiled, loaded and allocated before a recording
            self._began = True
            times -= 1
        for size in (MOST_AT_ONCE, 1):
            while times >= size:
                self._do(size)
                times -= size
        self._keep_up()

    def _do(self, times: int) -> None:
        if self._records and times not in self._graphs:
            try:
                self._graphs[times] = self._record(times)
            except Exception as error:
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
            finally:
                graph = stream.end_capture()
        return graph

    def _once(self) -> None:
        self._workspace.begin()
        self._be.repeating.workspace = self._workspace
        try:
            self._work()
        finally:
            self._be.repeating.workspace = None

    def _keep_up(self) -> None:
        """Wait for the call before the last, so that one who stops the work does not wait long."""
        event = self._cuda.Event()
        event.record()
        self._under_way.append(event)
        if len(self._under_way) > UNDER_WAY:
            self._under_way.popleft().synchronize()
