"""Runs CUDA C sources on the CPU, behind CuPy's names.

A launch written for ``cupy`` (``asarray``, ``RawModule``, ``kernel(grid, block, args)``) runs with
this package in its place: g++ compiles the same ``.cu`` text, and the threads of a block take
turns on one thread of the host. Nothing is compiled at import.

Two modes (GPUCNN_EMULATOR=fast|check, ``configure``, ``checking``): *fast* computes; *check* also
finds accesses out of bounds, uninitialised reads, races, divergent barriers and more, and raises
``EmulatorError`` with kernel, thread, block, file and line.

It needs Linux on x86-64 and g++; elsewhere the first use raises BackendError.

Streams record launches, and graphs repeat them, by CuPy's names; what CUDA refuses meanwhile is
refused. What it does not know: inline PTX, cooperative launches, half precision, how fast a GPU
would be. ``__CUDA_ARCH__`` is 750. A thread that waits for another one in a loop of its own, not
at a barrier, waits for ever.

What check mode takes for a fault although a GPU runs it: a thread that ends before a barrier that
others of its block reach; memory whose pointer comes in a struct or an array, not as an argument;
a struct copied whole with padding that nothing wrote. What it does not find: faults inside a
thread's local arrays, except an index out of range; an array overrun that ends in another argument,
or in another part of the dynamic shared memory; one barrier reached by two calls of a function.
"""

from __future__ import annotations

from gpucnn.emulator import cuda
from gpucnn.emulator.array import asarray, asnumpy, empty, ndarray, zeros
from gpucnn.emulator.cache import folder as cache_folder
from gpucnn.emulator.errors import (
    ArgumentError,
    CompileError,
    EmulatorError,
    Kind,
    LaunchError,
)
from gpucnn.emulator.graphs import CaptureError
from gpucnn.emulator.module import RawKernel, RawModule
from gpucnn.emulator.settings import checking, configure
from gpucnn.emulator.toolchain import find_compiler as require

__all__ = [
    "ArgumentError",
    "CaptureError",
    "CompileError",
    "EmulatorError",
    "Kind",
    "LaunchError",
    "RawKernel",
    "RawModule",
    "asarray",
    "asnumpy",
    "cache_folder",
    "checking",
    "configure",
    "cuda",
    "empty",
    "ndarray",
    "require",
    "zeros",
]
