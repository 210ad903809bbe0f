"""Sources, options and headers; names of kernels and variables; what kernels print."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.programs import feature

CODE = r"""
namespace math {
template <typename T, int n = 2> __global__ void scale(T* x, T by) { x[threadIdx.x] *= by * n; }
}
template <typename T> __global__ void __launch_bounds__(sizeof(T) * 16) fill(T* x, T value) {
    extern __shared__ unsigned char raw[];
    T* shared = reinterpret_cast<T*>(raw);
    shared[threadIdx.x] = value;
    __syncthreads();
    x[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}
__global__ void plain(int* x) { x[threadIdx.x] = 7; }
__device__ int counter = 5;
extern "C" __global__ void count(int* x) { x[0] = atomicAdd(&counter, 1); }
"""


def module(cp: Any, *expressions: str) -> Any:
    return cp.RawModule(code=CODE, options=("--std=c++17",), name_expressions=expressions)


@feature("`RawModule(code=...)` and `get_function`")
def raw_module(cp: Any) -> None:
    code = 'extern "C" __global__ void one(int* x) { x[threadIdx.x] = ONE; }'
    x = cp.zeros(4, np.int32)
    cp.RawModule(code=code, options=("-DONE=1",)).get_function("one")((1,), (4,), (x,))
    assert x.get().tolist() == [1] * 4


@feature("`RawKernel(code, name)` and its attributes")
def raw_kernel(cp: Any) -> None:
    code = """extern "C" __global__ void __launch_bounds__(64) f(float* x) {
        __shared__ float s[32];
        s[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = s[31 - threadIdx.x];
    }"""
    kernel = cp.RawKernel(code, "f", ("--use_fast_math",), backend="nvrtc")
    kernel.compile()
    assert (kernel.name, kernel.shared_size_bytes, kernel.max_threads_per_block) == ("f", 128, 64)
    assert kernel.attributes["shared_size_bytes"] == 128
    x = cp.arange(32, dtype=np.float32)
    kernel((1,), (32,), (x,))
    assert x.get().tolist() == list(range(31, -1, -1))


@feature("`name_expressions` of templates and namespaces", emulated=True)
def name_expressions(cp: Any) -> None:
    names = ("math::scale<float>", "math::scale<double, 5>", "fill<short>", "plain")
    compiled = module(cp, *names)
    x, y = cp.ones(3, np.float32), cp.ones(3)
    compiled.get_function(names[0])((1,), (3,), (x, np.float32(3)))
    compiled.get_function(names[1])((1,), (3,), (y, np.float64(3)))
    assert (x.get().tolist(), y.get().tolist()) == ([6] * 3, [15] * 3)
    z = cp.zeros(8, np.int16)
    fill = compiled.get_function("fill<short>")
    assert fill.max_threads_per_block == 32
    fill((1,), (8,), (z, np.int16(4)), shared_mem=16)
    assert z.get().tolist() == [4] * 8
    assert compiled.get_function("plain").name == "_Z5plainPi"


@feature("mangled names in `get_function`")
def mangled_names(cp: Any) -> None:
    x = cp.zeros(2, np.int32)
    module(cp).get_function("_Z5plainPi")((1,), (2,), (x,))
    assert x.get().tolist() == [7, 7]


@feature("`get_global` of a `__device__` variable", emulated=True)
def global_variables(cp: Any) -> None:
    compiled, x = module(cp, "plain"), cp.zeros(1, np.int32)
    counter = cp.ndarray((1,), np.int32, compiled.get_global("counter"))
    counter[...] = 5
    for wanted in (5, 6):
        compiled.get_function("count")((1,), (1,), (x,))
        assert (x.get()[0], counter.get()[0]) == (wanted, wanted + 1)


@feature("options `-D`, `-U`, `--std`, `--fmad`, `-lineinfo`")
def options(cp: Any) -> None:
    code = 'extern "C" __global__ void f(float* x) { x[0] = N; x[1] = sizeof(long); }'
    for given in (("-DN=3", "-lineinfo"), ("--define-macro=N=3", "--fmad=false", "--std=c++11")):
        x = cp.zeros(2, np.float32)
        cp.RawKernel(code, "f", given)((1,), (1,), (x,))
        assert x.get().tolist() == [3, 8]


@feature("`-I` and `#include` of own headers, which may change")
def own_headers(cp: Any) -> None:
    code = '#include "value.cuh"\nextern "C" __global__ void f(int* x) { x[0] = value(); }'
    with tempfile.TemporaryDirectory() as folder:
        for value in (1, 2):
            text = f"__device__ inline int value() {{ return {value}; }} // changed"
            Path(folder, "value.cuh").write_text(text)
            x = cp.zeros(1, np.int32)
            # CuPy keeps a source that it has compiled: another one sees the changed header.
            cp.RawKernel(f"{code} // {value}", "f", (f"-I{folder}",))((1,), (1,), (x,))
            assert x.get()[0] == value


@feature("`printf`", emulated=True)
def printf(cp: Any) -> None:
    code = r"""extern "C" __global__ void hello(const float* x) {
        printf("%d of %d: %.1f%%\n", threadIdx.x, blockDim.x, x[threadIdx.x]);
    }"""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        cp.RawKernel(code, "hello")((1,), (2,), (cp.asarray(np.float32([0.5, 1])),))
    assert sorted(shown.getvalue().splitlines()) == ["0 of 2: 0.5%", "1 of 2: 1.0%"]


@feature("`assert`", emulated=True)
def assertions(cp: Any) -> None:
    code = """#include <assert.h>
    extern "C" __global__ void f(const int* x) { assert(x[threadIdx.x] > 0); }"""
    kernel = cp.RawKernel(code, "f")
    kernel((1,), (2,), (cp.asarray(np.int32([1, 2])),))
    with pytest.raises(cp.EmulatorError, match="cudaErrorAssert: assertion failed: x") as caught:
        kernel((1,), (2,), (cp.asarray(np.int32([1, 0])),))
    assert (caught.value.thread, caught.value.line) == ((1, 0, 0), 2)


@feature("`cupy/complex.cuh`", emulated=True)
def complex_numbers(cp: Any) -> None:
    code = """#include <cupy/complex.cuh>
    extern "C" __global__ void f(complex<float>* z, complex<double> by) {
        z[threadIdx.x] = z[threadIdx.x] * complex<float>(by);
    }"""
    z = cp.asarray(np.array([1 + 2j, 3], np.complex64))
    cp.RawKernel(code, "f")((1,), (2,), (z, np.complex128(1j)))
    assert z.get().tolist() == [-2 + 1j, 3j]


@feature("dynamic shared memory of more than 48 KiB")
def large_shared_memory(cp: Any) -> None:
    code = """extern "C" __global__ void f(int* x, int last) {
        extern __shared__ int s[];
        s[last] = 3;
        x[0] = s[last];
    }"""
    kernel, x = cp.RawKernel(code, "f"), cp.zeros(1, np.int32)
    kernel.max_dynamic_shared_size_bytes = 64 << 10
    kernel((1,), (1,), (x, np.int32((16 << 10) - 1)), shared_mem=64 << 10)
    assert x.get()[0] == 3
