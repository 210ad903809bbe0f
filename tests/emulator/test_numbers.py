"""Numbers of 16 bits, special functions and products of matrices in kernels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gpucnn import emulator
from gpucnn.emulator import EmulatorError

pytestmark = pytest.mark.usefixtures("needs_emulator")

Array = np.ndarray[Any, Any]


# ------------------------------------------------------------------- half and bfloat16
CODE = """
#include <cuda_fp16.h>
#include <cuda_bf16.h>
template <class N> __device__ void compute(const unsigned short* in, unsigned short* out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const N a = ((const N*)in)[i], b = ((const N*)in)[n + i], c = ((const N*)in)[2 * n + i];
    N* to = (N*)out + i;
    to[0] = __hadd(a, b);
    to[n] = a - b;
    to[2 * n] = a * b;
    to[3 * n] = a / b;
    to[4 * n] = __hfma(a, b, c);
    to[5 * n] = hsqrt(a);
}
template <class N> __device__ void compare(const unsigned short* in, unsigned* out, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const N a = ((const N*)in)[i], b = ((const N*)in)[n + i];
    out[i] = (a < b) | (a <= b) << 1 | (a == b) << 2 | (a != b) << 3 | (a >= b) << 4 | (a > b) << 5
        | __hltu(a, b) << 6 | __hne(a, b) << 7 | __hisnan(a) << 8;
    ((N*)(out + n))[i] = __hmax(a, b);
    ((N*)(out + n))[n + i] = __hmin_nan(a, b);
}
extern "C" __global__ void half_arithmetic(const unsigned short* in, unsigned short* out, int n)
{
    compute<__half>(in, out, n);
}
extern "C" __global__ void bfloat16_arithmetic(const unsigned short* in, unsigned short* out, int n)
{
    compute<__nv_bfloat16>(in, out, n);
}
extern "C" __global__ void half_comparison(const unsigned short* in, unsigned* out, int n)
{
    compare<__half>(in, out, n);
}
extern "C" __global__ void conversions(const float* in, unsigned short* out, float* back, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = in[i];
    out[i] = __half_as_ushort(__float2half(x));
    out[n + i] = __half_as_ushort(__float2half_rz(x));
    out[2 * n + i] = __half_as_ushort(__float2half_ru(x));
    out[3 * n + i] = __half_as_ushort(__float2half_rd(x));
    out[4 * n + i] = __bfloat16_as_ushort(__float2bfloat16(x));
    out[5 * n + i] = __half_as_ushort(__double2half((double)x));
    back[i] = __half2float(__float2half(x));
    back[n + i] = __bfloat162float(__float2bfloat16(x));
}
extern "C" __global__ void long_integers(const long long* in, unsigned short* out)
{
    out[threadIdx.x] = __bfloat16_as_ushort(__ll2bfloat16_rn(in[threadIdx.x]));
}
"""


@functools.cache
def kernel(name: str) -> Any:
    return emulator.RawModule(code=CODE).get_function(name)


def launch(run: Any, *arguments: Any, count: int) -> None:
    run((-(-count // 128),), (128,), arguments)


def bits(seed: int, count: int) -> Array:
    """Return the bits of random numbers, half of them near one, with zeros, infinities and NaN."""
    random = np.random.default_rng(seed)
    found = random.integers(0, 1 << 16, count, dtype=np.uint16)
    near = (random.normal(size=count // 2) * 4).astype(np.float32)
    found[: count // 2] = near.astype(np.float16).view(np.uint16)
    edges = [0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x7F80, 0x7F7F]
    found[-len(edges) :] = random.permutation(edges)
    return found


def value(code: int, fraction: int, bias: int) -> float:
    sign, exponent = -1.0 if code >> 15 else 1.0, (code & 0x7FFF) >> fraction
    digits = code & (1 << fraction) - 1
    if exponent == 2 * bias + 1:
        return math.nan if digits else sign * math.inf
    if not exponent:
        return sign * math.ldexp(digits, 1 - bias - fraction)
    return sign * math.ldexp(digits + (1 << fraction), exponent - bias - fraction)


def encode(exact: Fraction, fraction: int, bias: int, negative: bool) -> int:
    """Return the bits of the nearest number, of two as near the even one."""
    size, code = abs(exact), 0
    if size:
        exponent = max(size.numerator.bit_length() - size.denominator.bit_length() - 1, 1 - bias)
        while size >= Fraction(2) ** (exponent + 1):
            exponent += 1
        step = Fraction(2) ** (exponent - fraction)
        count = round(size / step)  # to even
        code = count + (exponent + bias - 1 << fraction)
        code = min(code, 2 * bias + 1 << fraction)
    return code | (0x8000 if negative else 0)


OPERATIONS: list[Callable[..., Fraction]] = [
    lambda a, b, c: a + b,
    lambda a, b, c: a - b,
    lambda a, b, c: a * b,
    lambda a, b, c: a / b,
    lambda a, b, c: a * b + c,
    lambda a, b, c: Fraction(math.isqrt(int(a * 4**200)), 2**200) if a >= 0 else a / 0,
]


@pytest.mark.parametrize(
    ("name", "fraction", "bias", "mode"),
    [("half", 10, 15, "fast"), ("bfloat16", 7, 127, "check"), ("half", 10, 15, "check")],
)
def test_arithmetic_is_exact_and_rounded_once(
    name: str, fraction: int, bias: int, mode: str
) -> None:
    emulator.configure(mode)
    count = 500
    given = np.stack([bits(seed, count) for seed in (1, 2, 3)])
    out = emulator.zeros((6, count), np.uint16)
    run = kernel(f"{name}_arithmetic")
    launch(run, emulator.asarray(given), out, np.int32(count), count=count)
    found = out.get()
    checked = 0
    for position, codes in enumerate(given.T.tolist()):
        values = [value(code, fraction, bias) for code in codes]
        if not all(map(math.isfinite, values)):
            continue
        for operation, got in zip(OPERATIONS, found[:, position].tolist(), strict=True):
            try:
                exact = operation(*map(Fraction, values))
            except ZeroDivisionError:
                continue
            if exact:
                checked += 1
                assert got == encode(exact, fraction, bias, exact < 0), (codes, values, got)
    assert checked > 4 * count


def test_fma_of_bfloat16_is_not_rounded_twice() -> None:
    """The product is halfway between two numbers; the summand is too small for a double's sum."""
    given = np.array([[0x3F82, 0x3F82], [0x3FA0, 0x3FA0], [0x0080, 0x8080]], np.uint16)
    out = emulator.zeros((6, 2), np.uint16)
    launch(kernel("bfloat16_arithmetic"), emulator.asarray(given), out, np.int32(2), count=2)
    exact = [
        Fraction(value(a, 7, 127)) * Fraction(value(b, 7, 127)) + Fraction(value(c, 7, 127))
        for a, b, c in given.T.tolist()
    ]
    assert out.get()[4].tolist() == [encode(number, 7, 127, False) for number in exact]


def test_halves_are_compared_as_numbers() -> None:
    count = 400
    given = np.stack([bits(4, count), bits(5, count)])
    given[1, ::7] = given[0, ::7]
    out = emulator.zeros(2 * count, np.uint32)
    launch(kernel("half_comparison"), emulator.asarray(given), out, np.int32(count), count=count)
    a, b = given.view(np.float16)
    wanted = sum(
        test.astype(np.uint32) << shift
        for shift, test in enumerate([
            a < b, a <= b, a == b, a != b, a >= b, a > b,
            ~(a >= b), (a < b) | (a > b), np.isnan(a),
        ])
    )  # fmt: skip
    np.testing.assert_array_equal(out.get()[:count], wanted)
    chosen = out.get()[count:].view(np.float16)
    np.testing.assert_array_equal(chosen[:count], np.fmax(a, b))
    np.testing.assert_array_equal(chosen[count:], np.minimum(a, b))


def test_conversions_of_floats_round_as_their_names_say() -> None:
    random = np.random.default_rng(6)
    x = np.concatenate([
        np.frombuffer(random.bytes(2000), np.float32),
        np.ldexp(random.normal(size=500), random.integers(-26, 18, 500)).astype(np.float32),
        np.arange(-40, 40, dtype=np.float32) * np.float32(2.0**-25),
        np.float32([0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519, 65520, 65536, -1e-40, 3e-39]),
    ])  # fmt: skip
    count = len(x)
    out, back = emulator.zeros((6, count), np.uint16), emulator.zeros((2, count), np.float32)
    launch(kernel("conversions"), emulator.asarray(x), out, back, np.int32(count), count=count)
    found = out.get()
    with np.errstate(all="ignore"):
        nearest = x.astype(np.float16)
        above = np.where(nearest < x, np.nextafter(nearest, np.float16(np.inf)), nearest)
        below = np.where(nearest > x, np.nextafter(nearest, np.float16(-np.inf)), nearest)
    towards_zero = np.where(x > 0, below, above)
    for row, wanted in zip(
        found, [nearest, towards_zero, above, below, None, nearest], strict=True
    ):
        if wanted is not None:
            np.testing.assert_array_equal(row.view(np.float16), wanted)
    np.testing.assert_array_equal(back.get()[0], nearest.astype(np.float32))
    finite = np.isfinite(x)
    upper = [encode(Fraction(float(number)), 7, 127, number < 0) for number in x[finite & (x != 0)]]
    np.testing.assert_array_equal(found[4][finite & (x != 0)], upper)
    words = found[4].astype(np.uint32) << 16
    np.testing.assert_array_equal(back.get()[1], words.view(np.float32))  # also if subnormal


def test_long_integers_become_the_nearest_bfloat16() -> None:
    """That is halfway between two numbers in the first 53 digits, which a double would hold."""
    given = [(0x81 << 55) + 1 - (1 << 54), (1 << 62) + (1 << 54), (1 << 62) + (1 << 54) + 1, -3]
    out = emulator.zeros(4, np.uint16)
    kernel("long_integers")((1,), (4,), (emulator.asarray(np.array(given)), out))
    assert out.get().tolist() == [encode(Fraction(n), 7, 127, n < 0) for n in given]


# ------------------------------------------------------------------------ special functions
def erf(x: Decimal) -> Decimal:
    """Return the error function by its series, whose cancellation the context's digits outlast."""
    term = total = x
    for k in range(1, 2000):
        term *= -x * x / k
        total += term / (2 * k + 1)
        if abs(term) < Decimal(10) ** -110:
            break
    return total * 2 / PI.sqrt()


def inverse(function: Callable[[Decimal], Decimal], wanted: Decimal, start: float) -> Decimal:
    """Return the solution by Newton's method; the derivative is that of erf."""
    x = Decimal(start)
    for _ in range(12):
        x -= (function(x) - wanted) / (2 / PI.sqrt() * (-x * x).exp())
    return x


def bessel(order: int, x: Decimal) -> Decimal:
    term = total = x / 2 if order else Decimal(1)
    for k in range(1, 600):
        term *= x * x / 4 / k / (k + order)
        total += term
    return total


def sine(x: Decimal) -> Decimal:
    """Return sin(pi x)."""
    x = (x % 2) * PI
    term = total = x
    for k in range(1, 60):
        term *= -x * x / (2 * k) / (2 * k + 1)
        total += term
    return total


PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
HALF = Decimal("0.5")
# The greatest error in units in the last place for float64 and float32, as CUDA's guide gives it,
# the exact function, and values of x.
SPECIAL: dict[str, tuple[int, int, Callable[[Decimal], Decimal], list[float]]] = {
    "sinpi": (2, 1, sine, [0.25, -0.3, 1.49, 1e-9, -2.999, 1000.3]),
    "cospi": (2, 1, lambda x: sine(x + HALF), [0.25, 0.49, -1.51, 7.3, 0.5000001]),
    "rcbrt": (1, 1, lambda x: 1 / x ** (1 / Decimal(3)), [0.001, 2, 3.5, 1e20]),
    "erfinv": (5, 2, lambda y: inverse(erf, y, float(y)), [0.3, -0.001, 1e-12, 0.7]),
    "erfcinv": (6, 4, lambda y: inverse(erf, 1 - y, 1 - float(y)), [0.3, 1.2, 0.9999, 0.51]),
    "erfcx": (4, 4, lambda x: (x * x).exp() * (1 - erf(x)), [0.1, -2, 4.5, 6]),
    "normcdf": (5, 5, lambda x: (1 + erf(x / Decimal(2).sqrt())) / 2, [0.1, -3, -8, 2.5]),
    "normcdfinv": (8, 5, lambda p: Decimal(2).sqrt() * inverse(erf, 2 * p - 1, float(2 * p - 1)),
                   [0.3, 0.51, 0.8, 0.7]),
    "cyl_bessel_i0": (6, 6, lambda x: bessel(0, x), [0.1, -3, 39, 45, 80]),
    "cyl_bessel_i1": (6, 6, lambda x: bessel(1, x), [0.1, -3, 39, 45, 80]),
    "rsqrt": (1, 2, lambda x: 1 / x.sqrt(), [0.1, 3, 1e20]),
    "exp10": (1, 2, lambda x: Decimal(10) ** x, [0.3, -7.7, 30.1]),
    "norm3": (2, 3, lambda x: (1 + x * x + 4).sqrt(), [0.5, 1e-3, 1e15]),
    "rnorm3": (1, 2, lambda x: 1 / (1 + x * x + 4).sqrt(), [0.5, 1e-3, 1e15]),
    "rhypot3": (1, 2, lambda x: 1 / (1 + x * x).sqrt(), [0.5, 1e-3, 1e15]),
}  # fmt: skip
WRAPPERS = """
__device__ T norm3(T x) { return NAME(norm3d)((T)1, x, (T)2); }
__device__ T rnorm3(T x) { T v[] = {1, x, 2}; return NAME(rnorm)(3, v); }
__device__ T rhypot3(T x) { return NAME(rhypot)((T)1, x); }
"""


@pytest.mark.parametrize("kind", ["double", "float"])
def test_special_functions_are_as_exact_as_cuda_documents(kind: str) -> None:
    cases = "".join(
        f"case {i}: y[t] = {f'NAME({name})' if not name.endswith('3') else name}(x[t]); break;\n"
        for i, name in enumerate(SPECIAL)
    )
    suffix = "##f" if kind == "float" else ""
    code = f"""#define T {kind}
#define NAME(name) name{suffix}
{WRAPPERS}
extern "C" __global__ void f(int which, const T* x, T* y)
{{ int t = threadIdx.x; switch (which) {{ {cases} }} }}"""
    run = emulator.RawModule(code=code).get_function("f")
    dtype = np.dtype("f8" if kind == "double" else "f4")
    for number, (name, (double, single, exact, values)) in enumerate(SPECIAL.items()):
        x = np.array(values, dtype)
        y = emulator.zeros(len(x), dtype)
        run((1,), (len(x),), (np.int32(number), emulator.asarray(x), y))
        for given, got in zip(x.tolist(), y.get(), strict=True):
            with localcontext() as context:
                context.prec = 80
                wanted = exact(Decimal(given))
                error = abs(Decimal(float(got)) - wanted) / Decimal(float(np.spacing(abs(got))))
            assert error <= (double if kind == "double" else single), (name, given, got, wanted)


# ----------------------------------------------------------------------- products of matrices
WMMA = """
#include <mma.h>
using namespace nvcuda;
template <int m, int n, int k, class T, class A, class B, class Sum>
__device__ void product(const typename A::element_type* a, const typename B::element_type* b,
                        Sum* c, int lda, int ldb, wmma::layout_t layout)
{
    A left;
    B right;
    wmma::fragment<wmma::accumulator, m, n, k, Sum> sum;
    int ldc = layout == wmma::mem_row_major ? n : m;
    wmma::load_matrix_sync(sum, c, ldc, layout);
    wmma::load_matrix_sync(left, a, lda);
    wmma::load_matrix_sync(right, b, ldb);
    wmma::mma_sync(sum, left, right, sum);
    for (int i = 0; i < sum.num_elements; ++i) sum.x[i] = sum.x[i] + sum.x[i];
    wmma::store_matrix_sync(c, sum, ldc, layout);
}
#define PRODUCT(name, m, n, k, T, E, Sum, rows, other, layout)                                    \\
extern "C" __global__ void name(const E* a, const E* b, Sum* c)                                   \\
{                                                                                                 \\
    product<m, n, k, T, wmma::fragment<wmma::matrix_a, m, n, k, T, wmma::rows>,                   \\
            wmma::fragment<wmma::matrix_b, m, n, k, T, wmma::other>>(                             \\
        a, b, c, wmma::rows##_stride(m, k), wmma::other##_stride(k, n), wmma::layout);            \\
}
#define row_major_stride(rows, columns) mem_row_major * 0 + columns
#define col_major_stride(rows, columns) mem_row_major * 0 + rows
PRODUCT(half_float, 16, 16, 16, half, half, float, row_major, col_major, mem_row_major)
PRODUCT(half_half, 32, 8, 16, half, half, half, col_major, row_major, mem_col_major)
PRODUCT(bfloat16_float, 8, 32, 16, __nv_bfloat16, __nv_bfloat16, float, row_major, row_major,
        mem_col_major)
PRODUCT(tf32_float, 16, 16, 8, wmma::precision::tf32, float, float, col_major, col_major,
        mem_row_major)
PRODUCT(char_int, 16, 16, 16, signed char, signed char, int, row_major, col_major, mem_row_major)
PRODUCT(double_double, 8, 8, 4, double, double, double, row_major, col_major, mem_row_major)
"""
PRODUCTS = [
    ("half_float", (16, 16, 16), "f2", "f4", "rc", "r"),
    ("half_half", (32, 8, 16), "f2", "f2", "cr", "c"),
    ("bfloat16_float", (8, 32, 16), "u2", "f4", "rr", "c"),
    ("tf32_float", (16, 16, 8), "f4", "f4", "cc", "r"),
    ("char_int", (16, 16, 16), "i1", "i4", "rc", "r"),
    ("double_double", (8, 8, 4), "f8", "f8", "rc", "r"),
]


@functools.cache
def products() -> emulator.RawModule:
    return emulator.RawModule(code=WMMA)


@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize(("name", "shape", "given", "sums", "layouts", "layout"), PRODUCTS)
def test_products_of_small_integers_are_exact(
    mode: str,
    name: str,
    shape: tuple[int, int, int],
    given: str,
    sums: str,
    layouts: str,
    layout: str,
) -> None:
    emulator.configure(mode)
    m, n, k = shape
    random = np.random.default_rng(7)
    a, b, c = (random.integers(-4, 5, size).astype(np.float32) for size in ((m, k), (k, n), (m, n)))
    wanted = 2 * (a @ b + c)

    def device(x: Array, dtype: str, order: str) -> emulator.ndarray:
        x = x if order == "r" else x.T
        bits = (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)
        return emulator.asarray(bits if dtype == "u2" else np.ascontiguousarray(x.astype(dtype)))

    out = device(c, sums, layout)
    left, right = (device(x, given, order) for x, order in zip((a, b), layouts, strict=True))
    products().get_function(name)((1,), (32,), (left, right, out))
    found = out.get() if layout == "r" else out.get().T
    np.testing.assert_array_equal(found, wanted)


def test_products_require_a_warp() -> None:
    a = emulator.zeros((16, 16), np.float16)
    run = products().get_function("half_float")
    with emulator.checking(), pytest.raises(EmulatorError, match="all 32 lanes"):
        run((1,), (24,), (a, a, emulator.zeros((16, 16), np.float32)))


def test_products_see_a_matrix_that_is_too_small() -> None:
    a = emulator.zeros((16, 16), np.float16)
    run = products().get_function("half_float")
    with emulator.checking(), pytest.raises(EmulatorError, match="past the end of c"):
        run((1,), (32,), (a, a, emulator.zeros((15, 16), np.float32)))
