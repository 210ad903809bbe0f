"""Subnormal numbers in kernels, compiled with CuPy's options, in the emulator and on a GPU.

The expected results are those of PTX's instructions with .ftz in float32 and without it in float64:
operands and results are flushed, here by NumPy, around an operation of NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from numpy.typing import NDArray

from gpucnn import emulator

Array = NDArray[Any]
Table = dict[str, Callable[[Array, Array], Any]]

PLACES = [("emulated", "fast", 1), ("emulated", "fast", 2), ("emulated", "check", 1)]
if "cuda" in BACKENDS:
    PLACES.append(("cuda", "", 1))
TINY32, TINY64 = np.finfo(np.float32).tiny, np.finfo(np.float64).tiny  # the smallest normal numbers
POSITIVE32 = np.float32(
    [0, 1e-45, 1e-40, TINY32 * 0.99, TINY32, TINY32 * 1.5, 2e-37, 1e-20, 0.5, 1, 3, 1e20, np.inf]
)
POSITIVE64 = np.float64(
    [0, 5e-324, 1e-310, TINY64, TINY64 * 1.5, 1e-160, 1e-40, 2e-38, 0.5, 1, 3, 1e200, np.inf]
)

# Exact results, by the expression of x and y in CUDA C.
ARITHMETIC: Table = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x / y": lambda x, y: x / y,
    "x + x": lambda x, y: x + x,
    "sqrt(x)": lambda x, y: np.sqrt(x),
    "x < y": lambda x, y: x < y,
    "x <= y": lambda x, y: x <= y,
    "x == y": lambda x, y: x == y,
    "x != 0": lambda x, y: x != 0,
    "x - x == 0": lambda x, y: np.isfinite(x),
    "min(x, y)": np.fmin,
    "max(x, y)": np.fmax,
    "fmin(x, y)": np.fmin,
    "floor(x)": lambda x, y: np.floor(x),
    "ceil(x)": lambda x, y: np.ceil(x),
    "rint(x)": lambda x, y: np.rint(x),
    "trunc(x)": lambda x, y: np.trunc(x),
    # An integer has one zero.
    "(real)(int)max(min(x, (real)1), (real)-1)": lambda x, y: (
        np.trunc(np.fmax(np.fmin(x, 1), -1)) + 0.0
    ),
    "x > 0 ? x : 0": lambda x, y: np.where(x > 0, x, 0),
    "x + 0 <= 0 ? 0 : x + 0": lambda x, y: np.where(x <= 0, 0, x),
}
ONLY32: Table = {
    "fmaf(x, 0.5f, y)": lambda x, y: x.astype(np.float64) * 0.5 + y,
    "__fadd_rn(x, y)": lambda x, y: x + y,
    "__fmul_rn(x, y)": lambda x, y: x * y,
    "__fdiv_rn(x, y)": lambda x, y: x / y,
    "__fsqrt_rn(x)": lambda x, y: np.sqrt(x),
    "fmaxf(x, y)": np.fmax,
    "__saturatef(x)": lambda x, y: np.where(x > 0, np.minimum(x, 1), 0),
    # In float64, which keeps subnormal numbers also in a kernel of float32.
    "(double)x * 0x1p60": lambda x, y: x.astype(np.float64) * 2.0**60,
    "(double)x * 0x1p-850 * (double)y * 0x1p-200 * 0x1p1000": lambda x, y: (
        x.astype(np.float64) * 2.0**-850 * y.astype(np.float64) * 2.0**-200 * 2.0**1000
    ),
}
ONLY64: Table = {
    "x <= 0 ? 0 : x": lambda x, y: np.where(x <= 0, 0, x),
    "fma(x, 2, y)": lambda x, y: x * 2 + y,
    # In float32, which flushes also in a kernel of float64.
    "(float)x": lambda x, y: flushed(x.astype(np.float32)),
    "(float)x * 0.5f": lambda x, y: flushed(flushed(x.astype(np.float32)) * np.float32(0.5)),
    "__float_as_int(expf(x == x ? -95.0f : -96.0f))": lambda x, y: np.zeros_like(x),
}
# A comparison flushes and a selection does not, but the compiler may make one instruction of both.
MAXIMA: Table = {
    "x <= 0 ? 0 : x": lambda x, y: np.where(x <= 0, 0, x),
    "x < 0 ? 0 : x": lambda x, y: np.where(x < 0, 0, x),
    "x > y ? x : y": lambda x, y: np.where(x > y, x, y),
}
# What moves numbers changes none.
MOVES: Table = {
    "x": lambda x, y: x,
    "y < 0.25f ? x : y": lambda x, y: np.where(y < 0.25, x, y),
    "__shfl_sync(0xffffffff, x, threadIdx.x % 32)": lambda x, y: x,
    "copysign(x, y)": np.copysign,
}
# Results that are correct to a few units; x is positive and finite.
FUNCTIONS: Table = {
    "exp(-x)": lambda x, y: np.exp(-x),
    "exp(-90 - x)": lambda x, y: np.exp(-90 - x),
    "expm1(x / 8)": lambda x, y: np.expm1(x / 8),
    "log(x)": lambda x, y: np.log(x),
    "log2(x)": lambda x, y: np.log2(x),
    "log1p(x)": lambda x, y: np.log1p(x),
    "tanh(x)": lambda x, y: np.tanh(x),
    "sin(x)": lambda x, y: np.sin(x),
    "pow(x, (real)0.75)": lambda x, y: np.power(x, 0.75),
    "pow((real)2, x - 140)": lambda x, y: np.exp2(x - 140),
    "pow(x + 2, (real)-130)": lambda x, y: np.power(x + 2, -130.0),
    "hypot(x, x)": lambda x, y: np.hypot(x, x),
    "cbrt(x)": lambda x, y: np.cbrt(x),
    "rsqrt(x)": lambda x, y: 1 / np.sqrt(x),
}


def flushed(x: Any) -> Any:
    """Return x as float32, with zeros for subnormal numbers; they keep their signs."""
    x = np.asarray(x, np.float32)
    return np.where(np.abs(x) < TINY32, np.copysign(np.float32(0), x), x)


def namespace_of(place: tuple[str, str, int]) -> ModuleType:
    name, mode, threads = place
    backend_or_skip(name)
    if name == "cuda":
        import cupy

        return cupy  # type: ignore[no-any-return]
    emulator.configure(mode, threads=threads)
    return emulator


@pytest.fixture(params=PLACES, ids=str)
def namespace(request: pytest.FixtureRequest) -> Any:
    before = emulator.settings.current()
    yield namespace_of(request.param)
    emulator.configure(before.mode, threads=before.threads)


def compute(namespace: Any, table: Table, x: Array, y: Array) -> dict[str, Array]:
    """Return the results of the table's expressions for the numbers of x and y."""
    real = "float" if x.dtype == np.float32 else "double"
    lines = "".join(f"out[{i} * n + at] = {text};\n" for i, text in enumerate(table))
    code = f"""#define real {real}
extern "C" __global__ void table(const real* xs, const real* ys, real* out, int n) {{
    const int at = blockIdx.x * 32 + threadIdx.x;
    const real x = xs[at], y = ys[at];
    {lines}}}"""
    missing = -x.size % 32
    x, y = np.pad(x, (0, missing)), np.pad(y, (0, missing))
    out = namespace.zeros(len(table) * x.size, x.dtype)
    kernel = namespace.RawModule(code=code, options=("--std=c++17",)).get_function("table")
    arrays = (namespace.asarray(x), namespace.asarray(y), out)
    kernel((x.size // 32,), (32,), (*arrays, np.int32(x.size)))
    rows = namespace.asnumpy(out).reshape(len(table), -1)[:, : x.size - missing]
    return dict(zip(table, rows, strict=True))


def pairs(positive: Array) -> tuple[Array, Array]:
    """Return each pair of the numbers, their negatives and NaN."""
    values = np.concatenate([positive, -positive, [np.nan]]).astype(positive.dtype)
    x, y = np.meshgrid(values, values)
    return x.ravel(), y.ravel()


def assert_same(
    found: dict[str, Array], expected: Callable[[str], Array], x: Array, y: Array
) -> None:
    """Compare all results with those expected of their expressions, and report all that differ."""
    faults = []
    for text, result in found.items():
        wanted = expected(text)
        same = (result == wanted) | (np.isnan(result) & np.isnan(wanted))
        if not text.startswith(("min", "max", "fm", "floor", "ceil")):  # which zero is unspecified
            same &= (np.signbit(result) == np.signbit(wanted)) | np.isnan(result)
        if not same.all():
            i = int(np.argmin(same))
            faults.append(
                f"{text} is {result[i]!r} for x = {x[i]!r} and y = {y[i]!r}, expected "
                f"{wanted[i]!r}; {np.count_nonzero(~same)} of {same.size} differ"
            )
    assert not faults, "\n".join(faults)


@np.errstate(all="ignore")
def test_float32_arithmetic_flushes_operands_and_results(namespace: Any) -> None:
    x, y = pairs(POSITIVE32)
    table = ARITHMETIC | ONLY32
    found = compute(namespace, table, x, y)
    assert_same(found, lambda text: flushed(table[text](flushed(x), flushed(y))), x, y)


@np.errstate(all="ignore")
def test_float64_arithmetic_keeps_subnormal_numbers(namespace: Any) -> None:
    x, y = pairs(POSITIVE64)
    table = ARITHMETIC | ONLY64
    found = compute(namespace, table, x, y)
    assert_same(found, lambda text: np.asarray(table[text](x, y), np.float64), x, y)
    assert np.any((np.abs(x + y) < TINY64) & (x + y != 0))  # the table has such results


@pytest.mark.parametrize("positive", [POSITIVE32, POSITIVE64], ids=["float32", "float64"])
def test_moves_change_no_number(namespace: Any, positive: Array) -> None:
    x, y = pairs(positive)
    found = compute(namespace, MOVES, x, y)
    assert_same(found, lambda text: MOVES[text](x, y).astype(x.dtype), x, y)


def test_a_maximum_by_comparison_and_selection_may_keep_a_subnormal_number(namespace: Any) -> None:
    """An H200 keeps 1e-40 in ``x <= 0 ? 0 : x``: ptxas makes FMNMX.NAN of it, which has no .FTZ."""
    x, y = pairs(POSITIVE32)
    for text, found in compute(namespace, MAXIMA, x, y).items():
        expected = MAXIMA[text](flushed(x), flushed(y))
        np.testing.assert_array_equal(flushed(found), expected, err_msg=text)
        kept = (found == x) | (found == y) | (found == 0) | np.isnan(found)
        assert kept.all(), text


@pytest.mark.parametrize("positive", [POSITIVE32, POSITIVE64], ids=["float32", "float64"])
@np.errstate(all="ignore")
def test_functions_flush_in_float32_only(namespace: Any, positive: Array) -> None:
    x = positive[np.isfinite(positive)]
    x = np.concatenate([x, np.geomspace(TINY64 if x.dtype == np.float64 else TINY32, 80, 99)])
    x = x.astype(positive.dtype)
    single = x.dtype == np.float32
    for text, found in compute(namespace, FUNCTIONS, x, x).items():
        exact = FUNCTIONS[text](*2 * [(flushed(x) if single else x).astype(np.float64)])
        expected = flushed(exact) if single else exact
        near = np.abs(exact / TINY32 - 1) < 1e-4  # rounding decides whether it is flushed
        rtol = 2e-5 if single else 1e-13
        atol = 0.0 if single else 1e-322
        np.testing.assert_allclose(
            found[~near], expected[~near], rtol=rtol, atol=atol, err_msg=text
        )
        if single:
            assert not np.any((found != 0) & (np.abs(found) < TINY32)), text


ATOMICS = """
extern "C" __global__ void adds(const float* x, float* out, double* wide) {
    __shared__ float sum, other;
    if (threadIdx.x == 0) {
        sum = x[0];
        atomicAdd(&sum, x[0]);
        out[0] = sum;
        other = 0;
        atomicAdd(&other, x[1] * 0.5f);
        out[1] = other;
        atomicAdd(out + 2, x[0]);
        atomicAdd(out + 3, x[1]);
        atomicExch(out + 4, x[0]);
        atomicAdd(wide, 1e-310);
        atomicAdd(wide, 1e-310);
    }
}
"""


def test_atomic_additions_flush_in_global_memory_but_not_in_shared(namespace: Any) -> None:
    kernel = namespace.RawModule(code=ATOMICS).get_function("adds")
    x = namespace.asarray(np.float32([1e-40, TINY32]))
    out = namespace.asarray(np.float32([0, 0, 1e-40, -TINY32 * 1.5, 0]))
    wide = namespace.zeros(1, "float64")
    kernel((1,), (32,), (x, out, wide))
    small = np.float32(1e-40)
    np.testing.assert_array_equal(namespace.asnumpy(out), [small + small, 0, 0, 0, small])
    np.testing.assert_array_equal(namespace.asnumpy(wide), [2e-310])
