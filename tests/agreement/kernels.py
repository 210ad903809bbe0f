"""Modules, kernels and their arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from agreement.common import SOURCE, attempt, floats, gives, kernel, plain


@gives("cudaErrorSymbolNotFound", "compile error", "TypeError", "TypeError", "TypeError", [3])
def modules(xp: Any) -> Iterator[Any]:
    module = xp.RawModule(code=SOURCE)
    yield attempt(module.get_function, "nothing")
    yield attempt(xp.RawModule(code="int f() { return nothing; }").get_function, "f")
    yield attempt(xp.RawModule)
    yield attempt(xp.RawModule, SOURCE)
    yield attempt(xp.RawModule, code=SOURCE, options=["--std=c++17"])
    code = 'extern "C" __global__ void f(int* x) { x[0] = N; }'
    x = xp.zeros(1, np.int32)
    xp.RawModule(code=code, options=("-DN=3",)).get_function("f")((1,), (1,), (x,))
    yield plain(x)


@gives(
    [2, 3, 4, 5, 6, 7], [2, 1, 1, 5, 1, 1], [1, 1, 1, 1, 1, 1], [2, 1, 1, 5, 1, 1],
    "cudaErrorInvalidValue", "cudaErrorInvalidValue", "cudaErrorInvalidValue",
    "cudaErrorInvalidValue", "TypeError", "TypeError", "TypeError", "cudaErrorInvalidValue",
)  # fmt: skip
def grids_and_blocks(xp: Any) -> Iterator[Any]:
    out = xp.zeros(6, np.int32)

    def launch(grid: Any, block: Any) -> Any:
        kernel(xp, "sizes")(grid, block, (out,))
        return out

    yield attempt(launch, (2, 3, 4), (5, 6, 7))
    yield attempt(launch, (2,), (5,))
    yield attempt(launch, (0, 0), (0,))
    yield attempt(launch, (np.int64(2),), (np.int32(5),))
    yield attempt(launch, (1, 65536), (1,))
    yield attempt(launch, (1,), (1025,))
    yield attempt(launch, (1,), (1, 1, 65))
    yield attempt(kernel(xp, "count"), (1,), (65,), (out,))  # its __launch_bounds__ are 64
    yield attempt(launch, [1], (1,))
    yield attempt(launch, (1,), 1)
    yield attempt(launch, (1.5,), (1,))
    yield attempt(launch, (1 << 40,), (1,))


@gives([3, 2, 1], 49152, "cudaErrorInvalidValue", 65536, None, "cudaErrorInvalidValue", 65536)
def dynamic_shared_memory(xp: Any) -> Iterator[Any]:
    run, x = kernel(xp, "reverse"), floats(xp, 1, 2, 3)
    run((1,), (3,), (x,), shared_mem=12)
    yield plain(x)
    yield run.max_dynamic_shared_size_bytes
    yield attempt(run, (1,), (3,), (x,), shared_mem=65536)
    run.max_dynamic_shared_size_bytes = 65536
    yield run.max_dynamic_shared_size_bytes
    yield attempt(run, (1,), (3,), (x,), shared_mem=65536)
    yield attempt(setattr, run, "max_dynamic_shared_size_bytes", 1 << 20)
    yield run.max_dynamic_shared_size_bytes
    run.max_dynamic_shared_size_bytes = 49152  # CuPy compiles a source once in a process


@gives([0], [1], [1], "TypeError", [3, 0.5, 1, 200, -(2**40), 0.25])
def arguments(xp: Any) -> Iterator[Any]:
    run, out = kernel(xp, "is_null"), xp.zeros(1, np.int32)
    for value in (floats(xp, 1), None, np.uintp(0)):
        run((1,), (1,), (value, out))
        yield plain(out)
    yield attempt(run, (1,), (1,), (np.ones(2, np.float32), out))
    pair = np.array([(3, 0.5)], "i4, f4")
    scalars = np.bool_(True), np.uint8(200), np.int64(-(2**40)), np.float64(0.25)
    out = xp.zeros(6, np.float64)
    kernel(xp, "by_value")((1,), (1,), (pair, *scalars, out))
    yield plain(out)


@gives(
    [2.0], [2.0], [3.0],
    emulated=[[2.0], "TypeError", "TypeError"],
    reason="CuPy passes the bytes that it gets: such launches are correct by chance",
)  # fmt: skip
def arguments_of_another_type(xp: Any) -> Iterator[Any]:
    run, out = kernel(xp, "first"), floats(xp, 0)
    x = floats(xp, 1, 2, 3, 4)

    def launch(array: Any, index: Any) -> Any:
        run((1,), (1,), (array, out, index))
        return out

    yield attempt(launch, x, 1)  # 64 bits, of which the first 32 are the number
    yield attempt(launch, x[::2], np.int32(1))  # strides are ignored
    yield attempt(launch, xp.asarray(np.array([0, 3], np.float32).view(np.int32)), np.int32(1))
