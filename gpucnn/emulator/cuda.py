"""The part of ``cupy.cuda`` that gpucnn uses: streams, graphs, memory pools and the device.

Every operation that is not captured finishes before it returns.
"""

from __future__ import annotations

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

    id = 0

    def synchronize(self) -> None:
        """Return at once; CaptureError while a stream captures."""
        graphs.synchronize()

    @property
    def attributes(self) -> dict[str, int]:
        """The limits of grids, by CuPy's names."""
        return dict(
            zip(("MaxGridDimX", "MaxGridDimY", "MaxGridDimZ"), limits.MAX_GRID, strict=True)
        )
