"""Arguments of kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.programs import feature

CODE = r"""
struct Particle { float3 position; int id; double mass; };
struct Grid { int size[2]; float origin[2][2]; bool wrap; };
extern "C" {
__global__ void numbers(
    bool flag, signed char a, unsigned short b, int c, unsigned d, long long e,
    unsigned long long f, float g, double h, double* out
) {
    out[0] = flag, out[1] = a, out[2] = b, out[3] = c, out[4] = d, out[5] = e;
    out[6] = f, out[7] = g, out[8] = h;
}
__global__ void structs(Particle p, Grid g, double* out) {
    out[0] = p.position.z, out[1] = p.id, out[2] = p.mass;
    out[3] = g.size[1], out[4] = g.origin[1][0], out[5] = g.wrap;
}
__global__ void pointers(const float* x, int* out) { *out = x == nullptr; }
__global__ void vectors(float2 a, int3 b, double* out) { *out = a.x + a.y + b.x + b.y + b.z; }
}
"""


def kernel(cp: Any, name: str) -> Any:
    return cp.RawKernel(CODE, name)


@feature("NumPy scalars as arguments")
def numpy_scalars(cp: Any) -> None:
    out = cp.zeros(9)
    values = (
        np.bool_(True), np.int8(-3), np.uint16(65535), np.int32(-4), np.uint32(2**32 - 1),
        np.int64(-(2**40)), np.uint64(2**50), np.float32(0.5), np.float64(0.1),
    )  # fmt: skip
    kernel(cp, "numbers")((1,), (1,), (*values, out))
    assert out.get().tolist() == [float(value) for value in values]


@feature("Python's `int`, `float` and `bool` as arguments")
def python_scalars(cp: Any) -> None:
    out = cp.zeros(9)
    values = (True, -3, 65535, -4, 2**32 - 1, -(2**40), 2**50, np.float32(0.5), 0.1)
    kernel(cp, "numbers")((1,), (1,), (*values, out))
    assert out.get().tolist() == [float(value) for value in values]


@feature("structs as arguments")
def structs(cp: Any) -> None:
    particle = np.dtype([("position", "f4", 3), ("id", "i4"), ("mass", "f8")], align=True)
    grid = np.dtype([("size", "i4", 2), ("origin", "f4", (2, 2)), ("wrap", "?")], align=True)
    p = np.array([((1, 2, 3), 4, 5.5)], particle)
    g = np.array([((6, 7), ((8, 9), (10, 11)), True)], grid)
    out = cp.zeros(6)
    kernel(cp, "structs")((1,), (1,), (p, g, out))
    assert out.get().tolist() == [3, 4, 5.5, 7, 10, 1]


@feature("vectors as arguments")
def vectors(cp: Any) -> None:
    out = cp.zeros(1)
    a = np.array([(1, 2)], "f4, f4")
    b = np.array([(3, 4, 5)], "i4, i4, i4")
    kernel(cp, "vectors")((1,), (1,), (a, b, out))
    assert out.get()[0] == 15


@feature("null pointers as arguments")
def null_pointers(cp: Any) -> None:
    out = cp.zeros(1, np.int32)
    for value, wanted in ((None, 1), (cp.ones(1, np.float32), 0)):
        kernel(cp, "pointers")((1,), (1,), (value, out))
        assert out.get()[0] == wanted


@feature("arrays of float16 as `unsigned short` by `view`")
def bits_of_halves(cp: Any) -> None:
    code = """extern "C" __global__ void negate(unsigned short* x) { x[threadIdx.x] ^= 0x8000; }"""
    x = cp.asarray(np.float16([0.5, -2]))
    cp.RawKernel(code, "negate")((1,), (2,), (x.view(np.uint16),))
    assert x.get().tolist() == [-0.5, 2]
