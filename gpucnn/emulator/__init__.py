"""Runs CUDA C sources on the CPU, with CuPy's interface.

Code written for ``cupy`` (``asarray``, ``RawModule``, ``kernel(grid, block, args)``) runs with this
package instead: g++ compiles the same ``.cu`` text, and the threads of a block run in turns on one
host thread. Nothing is compiled at import.

``from gpucnn import emulator as cp`` is enough for most programs with raw kernels. README.md in
this folder lists what is supported, with a test each, and what is refused. What CuPy computes with
kernels of its own, such as ``x + y``, NumPy computes here.

There are three modes (GPUCNN_EMULATOR=fast|check|profile, ``configure``): *fast* computes; *check*
(``with checking():``) also finds out-of-bounds accesses, uninitialised reads, races, divergent
barriers and more, and raises ``EmulatorError`` with kernel, thread, block, file and line; *profile*
(``with profiling() as profile:``) counts what warps ask of memory.

The emulator requires Linux on x86-64 and g++; elsewhere the first use raises BackendError.

Kernels are compiled with CuPy's options: float32 arithmetic flushes subnormal numbers to zero, and
float64 arithmetic keeps them (subnormals.py).

Streams capture launches and graphs replay them, as in CuPy; operations that CUDA refuses during a
capture raise CaptureError. Not supported are inline PTX, cooperative launches and ``cuda/std``.
``__CUDA_ARCH__`` is 750. Timing is not that of a GPU. Threads that wait for each other in loops
instead of at a barrier, for a lock or a flag, may never end in fast mode; check mode runs them in
turns. Python's signal handlers run while a kernel runs in the main thread, and an exception of
theirs, such as KeyboardInterrupt, ends it.

README.md in this folder lists what check mode finds and what it cannot find.
"""

from __future__ import annotations

import sys
from typing import Any

from gpucnn.emulator import cuda, functions, random, testing
from gpucnn.emulator.array import asarray, asnumpy, empty, ndarray, zeros
from gpucnn.emulator.cache import folder as cache_folder
from gpucnn.emulator.errors import (
    ArgumentError,
    CompileError,
    EmulatorError,
    EmulatorWarning,
    Kind,
    LaunchError,
)
from gpucnn.emulator.functions import (
    array,
    ascontiguousarray,
    copyto,
    empty_like,
    full_like,
    ones_like,
    zeros_like,
)
from gpucnn.emulator.graphs import CaptureError
from gpucnn.emulator.kernel import RawKernel
from gpucnn.emulator.memory import get_default_memory_pool
from gpucnn.emulator.module import RawModule
from gpucnn.emulator.profile import Profile, profiling
from gpucnn.emulator.settings import checking, configure
from gpucnn.emulator.toolchain import find_compiler as require

__all__ = [
    "ArgumentError",
    "CaptureError",
    "CompileError",
    "EmulatorError",
    "EmulatorWarning",
    "Kind",
    "LaunchError",
    "Profile",
    "RawKernel",
    "RawModule",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "cache_folder",
    "checking",
    "configure",
    "copyto",
    "cuda",
    "empty",
    "empty_like",
    "full_like",
    "get_array_module",
    "get_default_memory_pool",
    "is_available",
    "ndarray",
    "ones_like",
    "profiling",
    "random",
    "require",
    "testing",
    "zeros",
    "zeros_like",
]
is_available = cuda.is_available


def get_array_module(*values: Any) -> Any:
    """Return this package if one of the values is an array of the device, otherwise NumPy."""
    device = any(isinstance(value, ndarray) for value in values)
    return sys.modules[__name__] if device else sys.modules["numpy"]


def __getattr__(name: str) -> Any:
    """Return one of the functions or types of functions.py, by CuPy's name."""
    return functions.find(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *functions.COMPUTED, *functions.MADE, *functions.CONSTANTS})
