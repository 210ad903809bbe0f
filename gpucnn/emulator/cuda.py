"""The emulator's part of ``cupy.cuda``: streams, graphs, memory pools and the device.

Every launch that is not captured finishes before it returns.
"""

from __future__ import annotations

from types import TracebackType

from gpucnn.emulator import graphs, limits
from gpucnn.emulator.graphs import Event, Graph, Stream, get_current_stream
from gpucnn.emulator.memory import MemoryPool, get_allocator, using_allocator

__all__ = [
    "Device",
    "Event",
    "Graph",
    "MemoryPool",
    "Stream",
    "get_allocator",
    "get_current_stream",
    "using_allocator",
]


class Device:
    """The one device, number 0."""

    def __init__(self, number: int = 0) -> None:
        if number != 0:
            raise ValueError(f"the emulator has device 0 only, not {number}")
        self.id = 0

    def synchronize(self) -> None:
        """Return at once; CaptureError while the current stream captures."""
        graphs.refuse("a wait for the device")

    @property
    def attributes(self) -> dict[str, int]:
        """The limits of launches by CuPy's names; sizes in bytes."""
        return {
            "MaxThreadsPerBlock": limits.MAX_BLOCK_THREADS,
            "MaxSharedMemoryPerBlock": limits.DEFAULT_SHARED_BYTES,
            "MaxSharedMemoryPerBlockOptin": limits.MAX_SHARED_BYTES,
            "MaxGridDimX": limits.MAX_GRID[0],
            "MaxGridDimY": limits.MAX_GRID[1],
            "MaxGridDimZ": limits.MAX_GRID[2],
            "WarpSize": 32,
        }

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
