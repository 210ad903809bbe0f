"""The part of ``cupy.cuda`` that programs with raw kernels use.

Every operation that is not captured finishes before it returns.
"""

from __future__ import annotations

from gpucnn.emulator.device import Device, runtime
from gpucnn.emulator.graphs import Event, Graph, Stream, get_current_stream, get_elapsed_time
from gpucnn.emulator.memory import (
    MemoryPointer,
    MemoryPool,
    alloc,
    alloc_pinned_memory,
    get_allocator,
    set_allocator,
    using_allocator,
)

__all__ = [
    "Device",
    "Event",
    "Graph",
    "MemoryPointer",
    "MemoryPool",
    "Stream",
    "alloc",
    "alloc_pinned_memory",
    "get_allocator",
    "get_current_stream",
    "get_elapsed_time",
    "is_available",
    "runtime",
    "set_allocator",
    "using_allocator",
]


def is_available() -> bool:
    """Return True: the emulated device is always there."""
    return True
