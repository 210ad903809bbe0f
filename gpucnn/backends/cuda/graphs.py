"""Captured work: run once kernel by kernel, then recorded and replayed as CUDA graphs.

A launch costs the host several microseconds, longer than most kernels of a small network take; the
launch of a graph that holds many kernels costs about as much as that of one kernel.
"""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gpucnn.backends.cuda.errors import is_kernel_fault
from gpucnn.errors import GpucnnError

MAX_STEPS_PER_GRAPH = 32
"""How many runs of the work a graph holds at most."""

MAX_PENDING_CALLS = 2
"""How many calls may be unfinished on the device: one that runs, and one that is ready."""


class GraphMemory:
    """The memory of captured work: a private pool, as in PyTorch.

    A graph replays its launches with the addresses that they had at the capture. So the memory of
    arrays that the work has released may serve later arrays of captured work, but nothing else: it
    stays in this pool until nobody refers to the pool any longer.
    """

    def __init__(self, cuda: Any) -> None:
        # Pools keep released blocks by stream, that of their allocation: the one that replays.
        self._stream = cuda.get_current_stream()
        # Its blocks come from the pool of all other arrays, whose limit holds. At a limit of its
        # own, or where cudaMalloc itself fails, a pool frees what graphs still use.
        self._pool = cuda.MemoryPool(cuda.get_allocator())
        self._pool.set_limit()
        weakref.finalize(self, self._pool.free_all_blocks)  # CuPy 14's pools do not at their end

    def malloc(self, size: int) -> Any:
        """Return ``size`` bytes; a CuPy allocator, for ``using_allocator``."""
        with self._stream:
            return self._pool.malloc(size)

    def total_bytes(self) -> int:
        """Return the size of the pool, in bytes."""
        return int(self._pool.total_bytes())


class CapturedWork:
    """Runs ``work`` a number of times, in as few launches as possible.

    The work must launch the same operations on the same arrays each time, and wait for nothing.
    If a device cannot record it, a warning says why, and it runs operation by operation. ``shared``
    is captured work that never runs at the same time, whose memory this work uses as well: arrays
    of one that the caller keeps are valid until the other runs.
    """

    def __init__(
        self, cuda: Any, work: Callable[[], None], shared: CapturedWork | None = None
    ) -> None:
        """``cuda`` is ``cupy.cuda`` or the emulator's module of that name."""
        self._cuda, self._work = cuda, work
        self.memory: GraphMemory = GraphMemory(cuda) if shared is None else shared.memory
        self._graphs: dict[int, Any] = {}
        self._warm = False
        self._records = True
        self._pending: deque[Any] = deque()

    def __call__(self, times: int) -> None:
        """Run the work ``times`` times; return before the device has finished."""
        if times and not self._warm:
            self._run()  # compiles, loads and allocates what must be there before a capture
            self._warm = True
            times -= 1
        for size in (MAX_STEPS_PER_GRAPH, 1):
            while times >= size:
                self._replay(size)
                times -= size
        self._limit_pending()

    def _replay(self, times: int) -> None:
        if self._records and times not in self._graphs:
            try:
                self._graphs[times] = self._capture(times)
            except GpucnnError:
                raise
            except Exception as error:  # CUDA's, and CuPy's
                if is_kernel_fault(error):
                    raise  # of a step before the capture
                self._records = False
                warnings.warn(
                    f"training steps could not be captured as a CUDA graph: {error}; "
                    "their kernels are launched one by one",
                    stacklevel=4,
                )
        if self._records:
            self._graphs[times].launch()
        else:
            for _ in range(times):
                self._run()

    def _capture(self, times: int) -> Any:
        stream = self._cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                for _ in range(times):
                    self._run()
            except BaseException:
                with suppress(Exception):  # that the capture has failed, which is known
                    stream.end_capture()
                raise
            return stream.end_capture()

    def _run(self) -> None:
        with self._cuda.using_allocator(self.memory.malloc):
            self._work()

    def _limit_pending(self) -> None:
        """Wait until at most MAX_PENDING_CALLS calls are unfinished, so that a stop comes soon."""
        if len(self._pending) < MAX_PENDING_CALLS:
            # Without ``block`` a thread that waits keeps a core busy.
            event = self._cuda.Event(block=True, disable_timing=True)
        else:
            event = self._pending.popleft()
            event.synchronize()
        event.record()
        self._pending.append(event)
