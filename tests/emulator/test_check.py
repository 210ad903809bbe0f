"""Check mode: kernels whose threads wait for each other, and what it reports as a warning."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planted.table import FOLDER, blank, floats, ints

from gpucnn import emulator
from gpucnn.emulator import EmulatorWarning, ndarray, toolchain, uninitialised, zeros
from gpucnn.errors import BackendError

try:
    toolchain.find_compiler()
    MISSING = ""
except BackendError as error:
    MISSING = str(error)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@functools.cache
def kernel(name: str) -> emulator.RawKernel:
    code = (FOLDER / "waiting.cu").read_text()
    module = emulator.RawModule(code=f'#line 1 "waiting.cu"\n{code}')
    return module.get_function(name)


def run_padded() -> Any:
    x = floats(64)
    fields = np.dtype([("x", "u8"), ("n", "i4"), ("padding", "i4")])
    parameters = np.array([(x.data.ptr, 64, 0)], fields)
    y = blank(64)
    kernel("padded_items")((1,), (64,), (parameters, y))
    return y


def run(name: str, grid: int, threads: int, *arguments: ndarray) -> Callable[[], ndarray]:
    def launch() -> ndarray:
        values = [argument.copy() for argument in arguments]
        kernel(name)((grid,), (threads,), tuple(values))
        return values[-1]

    return launch


def cases() -> list[tuple[str, Callable[[], ndarray], Any]]:
    x, numbers = floats(128), ints(1)
    doubles = emulator.asarray(np.arange(128.0))
    items = emulator.asarray(np.arange(6, dtype=np.int32))
    sums = np.cumsum([0, *range(5)])
    return [
        ("add_by_cas", run("add_by_cas", 2, 64, doubles, zeros(1, np.float64)), [8128]),
        ("shared_lock", run("shared_lock", 1, 64, numbers), [64]),
        ("global_lock", run("global_lock", 3, 40, numbers, numbers), [120]),
        ("grid_barrier", run("grid_barrier", 3, 32, numbers, ints(96), ints(96)),
         np.arange(96)[::-1]),
        ("two_warps", run("two_warps", 1, 64, x, floats(128)), 2 * np.arange(128)),
        ("look_back", run("look_back", 6, 1, items, ints(6), ints(6), ints(6), ints(6)), sums),
        ("set_by_one_lane", run("set_by_one_lane", 1, 32, numbers, ints(32)), np.arange(32)),
        ("padded_items", run_padded, 126 - 2 * np.arange(64)),
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_threads_that_wait_in_loops_come_to_an_end_without_faults(order: str) -> None:
    for name, launch, wanted in cases():
        with emulator.checking(order=order, seed=3):
            found = launch()
        np.testing.assert_array_equal(found.get(), wanted, err_msg=name)


def test_one_value_stored_by_several_threads_is_a_warning() -> None:
    found = ints(1)
    with (
        emulator.checking(),
        pytest.warns(EmulatorWarning, match=r"same_flag: same value.*waiting.cu:\d+, and thread"),
    ):
        kernel("same_flag")((1,), (8,), (floats(8), found))
    assert found.get().tolist() == [1]


@pytest.mark.parametrize(
    ("body", "followed"),
    [
        ("float sum; for (int i = 0; i < n; ++i) sum += x[i];", "sum"),
        ("float a, b = 1, c[2]; c[0] = a;", "ac"),
        ("int i; for (i = 0; i < n; ++i) x[i] = i;", ""),
        ("float v[4]; for (int i = 0; i < 4; ++i) v[i] = x[i]; x[0] = v[1];", ""),
        ("float v[4]; for (int i = 0; i < n; ++i) v[i] = x[i];", "v"),
        ("T tile; multiply(tile, x);", ""),
        ("int where; if (n) where = 3; x[where] = 1;", "where"),
        ("struct P { int a; float b; }; P p = {}; x[p.a] = 1;", ""),
        ("return x * n;", ""),
        ("switch (n) { case 1: int v; v = 2; }", ""),
        ('// int a;\n/* int b; */ const char *text = "int c;";', ""),
    ],
)
def test_local_variables_that_may_be_read_unset_are_followed(body: str, followed: str) -> None:
    source = f'extern "C" __global__ void kernel(float *x, int n)\n{{\n{body}\n}}\n'
    watched = uninitialised.watch(source)
    found = [part.split(",")[0].partition("(")[2] for part in watched.split("gpu_local ")[1:]]
    assert "".join(found) == followed
    assert watched.count("\n") == source.count("\n")
