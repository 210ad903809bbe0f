"""What the scripts share: their type, results in a form that can be compared, and kernels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SOURCE = """
extern "C" __global__ void add(float* x, const float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += y[i];
}
extern "C" __global__ void __launch_bounds__(64) count(int* blocks) {
    if (threadIdx.x == 0) atomicAdd(blocks, 1);
}
extern "C" __global__ void sizes(int* out) {
    out[0] = gridDim.x, out[1] = gridDim.y, out[2] = gridDim.z;
    out[3] = blockDim.x, out[4] = blockDim.y, out[5] = blockDim.z;
}
extern "C" __global__ void reverse(float* x) {
    extern __shared__ float kept[];
    int i = threadIdx.x, n = blockDim.x;
    kept[i] = x[i];
    __syncthreads();
    x[i] = kept[n - 1 - i];
}
extern "C" __global__ void is_null(const float* x, int* out) { out[0] = x == nullptr; }
struct Pair { int first; float second; };
extern "C" __global__ void by_value(
    Pair pair, bool flag, unsigned char byte, long long wide, double real, double* out
) {
    out[0] = pair.first, out[1] = pair.second, out[2] = flag, out[3] = byte;
    out[4] = wide, out[5] = real;
}
extern "C" __global__ void first(const float* x, float* out, int n) { out[0] = x[n]; }
"""


@dataclass(frozen=True)
class Script:
    """A function, what it yields, and what else it yields in the emulator, for which reason."""

    run: Callable[[Any], Iterator[Any]]
    wanted: list[Any]
    emulated: list[Any]
    reason: str

    @property
    def name(self) -> str:
        return self.run.__name__


def gives(
    *wanted: Any, emulated: list[Any] | None = None, reason: str = ""
) -> Callable[[Callable[[Any], Iterator[Any]]], Script]:
    """Make a script of a function that yields ``wanted``, or ``emulated`` in the emulator."""
    found = list(wanted)
    return lambda run: Script(run, found, found if emulated is None else emulated, reason)


def plain(value: Any) -> Any:
    """Return a result in a form that both modules share."""
    if hasattr(value, "data") and hasattr(value, "get"):
        value = value.get()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return "graph" if type(value).__name__ == "Graph" else value


def error_name(error: Exception) -> str:
    """Return CUDA's name of an error, as the runtime writes it, or the class of Python's."""
    text = str(error)
    if found := re.match(r"CUDA_ERROR_(\w+)", text):
        name = "".join(map(str.capitalize, found[1].split("_")))
        return "cudaError" + {"NotFound": "SymbolNotFound"}.get(name, name)
    if found := re.search(r"\bcudaError\w+", text):
        return found[0]
    if "Compile" in type(error).__name__:
        return "compile error"
    bases = (IndexError, MemoryError, TypeError, ValueError, RuntimeError)
    return next((base.__name__ for base in bases if isinstance(error, base)), repr(error))


def attempt(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what a call gives, in plain form, or the name of its error."""
    try:
        return plain(call(*arguments, **options))
    except Exception as error:
        return error_name(error)


def kernel(xp: Any, name: str) -> Any:
    return xp.RawModule(code=SOURCE, options=("--std=c++17",)).get_function(name)


def floats(xp: Any, *values: float) -> Any:
    return xp.asarray(np.array(values, np.float32))


def add(xp: Any, x: Any, y: Any, **options: Any) -> None:
    kernel(xp, "add")((1,), (x.size,), (x, y, np.int32(x.size)), **options)


def assign(x: Any, key: Any, value: Any) -> None:
    x[key] = value
