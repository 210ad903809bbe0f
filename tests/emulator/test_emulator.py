"""The emulator: planted faults are found, correct kernels pass, results are correct."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted.table import FOLDER, PLANTED, Planted, blank, floats, int32, ints

import gpucnn
from gpucnn import emulator
from gpucnn.backends.cuda import loader
from gpucnn.emulator import (
    ArgumentError,
    CompileError,
    EmulatorError,
    Kind,
    LaunchError,
    RawModule,
    abi,
    cache,
    toolchain,
)
from gpucnn.errors import BackendError, GpucnnError, SettingError

try:
    toolchain.find_compiler()
    MISSING = ""
except BackendError as error:
    MISSING = str(error)
needs_compiler = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@functools.cache
def module(name: str, real: str = "float") -> RawModule:
    code = (FOLDER / name).read_text()
    return RawModule(
        code=f'#line 1 "planted/{name}"\n{code}', options=("--std=c++17", f"-Dreal={real}")
    )


def kernel(name: str, file: str = "correct.cu", real: str = "float") -> emulator.RawKernel:
    return module(file, real).get_function(name)


# --------------------------------------------------------------------------- planted faults
def launch(planted: Planted) -> None:
    run = kernel(planted.kernel, planted.file)
    run((planted.grid,), (planted.threads,), planted.arguments(), shared_mem=planted.shared)


@needs_compiler
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.kernel)
def test_a_planted_fault_is_found(planted: Planted) -> None:
    with emulator.checking(), pytest.raises(EmulatorError) as caught:
        launch(planted)
    fault = caught.value
    assert fault.kind == planted.kind, fault
    assert fault.kernel == planted.kernel
    assert (fault.file, fault.line) == (f"planted/{planted.file}", planted.line), fault
    assert f"{planted.kernel}: {planted.kind}: " in str(fault)
    assert f"planted/{planted.file}:{planted.line}" in str(fault)
    assert planted.text in str(fault)
    assert fault.thread is not None
    assert fault.block is not None
    if planted.thread is not None:
        assert fault.thread == (planted.thread, 0, 0)
    if planted.block is not None:
        assert fault.block == (planted.block, 0, 0)


@needs_compiler
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_an_array_larger_than_the_stack_is_a_fault(mode: str) -> None:
    """Its first bytes are far beyond the guard page of the thread's stack."""
    code = """extern "C" __global__ void f(int* x) {
    volatile char all[200000];
    all[x[0]] = 1;
    x[0] = all[0];
}"""
    emulator.configure(mode)
    with pytest.raises(EmulatorError) as caught:
        RawModule(code=code).get_function("f")((1,), (40,), (emulator.zeros(1, "int32"),))
    assert caught.value.kind == Kind.STACK


@needs_compiler
@pytest.mark.parametrize("order", ["reverse", "random"])
def test_planted_faults_are_found_in_every_order(order: str) -> None:
    with emulator.checking(order=order, seed=1):
        for planted in PLANTED:
            with pytest.raises(EmulatorError) as caught:
                launch(planted)
            assert caught.value.kind == planted.kind, caught.value


@needs_compiler
def test_both_sides_of_a_race_are_named() -> None:
    race = next(planted for planted in PLANTED if planted.kernel == "missing_barrier")
    with emulator.checking(), pytest.raises(EmulatorError) as caught:
        launch(race)
    assert str(caught.value).count("planted/races.cu:") == 2


@needs_compiler
def test_barriers_on_equal_lines_of_two_files_are_distinct() -> None:
    code = """#line 1 "a.cuh"
__device__ void wait() { __syncthreads(); }
#line 1 "b.cu"
extern "C" __global__ void f() { if (threadIdx.x) wait(); else __syncthreads(); }
"""
    with emulator.checking(), pytest.raises(EmulatorError, match=r"a\.cuh:1") as caught:
        RawModule(code=code).get_function("f")((1,), (2,), ())
    assert caught.value.kind == Kind.BARRIER


@needs_compiler
def test_a_fault_in_fast_mode_ends_only_the_launch() -> None:
    """Fast mode finds faults of the hardware, and those that keep a block from ending."""
    emulator.configure("fast")
    for _ in range(3):
        for name in ("far_outside", "two_barriers", "recurses", "divides_by_zero"):
            planted = next(planted for planted in PLANTED if planted.kernel == name)
            with pytest.raises(EmulatorError) as caught:
                launch(planted)
            assert caught.value.kind == planted.kind
    y = blank(8)
    kernel("bounded", "threads.cu")((1,), (8,), (y,))
    assert y.get().tolist() == [1.0] * 8


# ------------------------------------------------------------------------- correct kernels
def expect(found: emulator.ndarray, wanted: Any) -> None:
    """Compare with NumPy's result: a few roundings of the sums' terms apart, or not at all."""
    wanted = np.asarray(wanted)
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found.get(), wanted, rtol=2e-5, atol=2e-5)
    else:
        np.testing.assert_array_equal(found.get(), wanted)


def numbers(*shape: int, dtype: str = "float32") -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def run_reductions(real: str, dtype: str) -> None:
    x = numbers(1000, dtype=dtype)
    sums, partials, total = (emulator.empty(n, dtype) for n in (4, 1024, 1))
    kernel("block_sum", real=real)((4,), (256,), (emulator.asarray(x), sums, int32(1000)))
    expect(sums, np.pad(x, (0, 24)).reshape(4, 256).sum(1))
    tickets = emulator.zeros(1, np.uint32)
    arguments = (emulator.asarray(x), partials, total, tickets, int32(1000))
    kernel("last_block_sum", real=real)((4,), (256,), arguments)
    expect(total, [x.sum()])
    for _ in range(2):  # it leaves its counter as it was
        total.fill(0)
        arguments = (emulator.asarray(x[:960]), total)
        size = 64 * x.itemsize
        kernel("reset_ticket_sum", real=real)((15,), (64,), arguments, shared_mem=size)
        expect(total, [x[:960].sum()])
    halves = emulator.empty(6, dtype)
    kernel("warp_sums", real=real)((3,), (64,), (emulator.asarray(x[:192]), halves))
    expect(halves, x[:192].reshape(6, 32).sum(1))


def run_matrices(real: str, dtype: str) -> None:
    x = numbers(37, 21, dtype=dtype)
    turned = emulator.empty((21, 37), dtype)
    arguments: tuple[Any, ...] = (emulator.asarray(x), turned, int32(37), int32(21))
    kernel("transpose", real=real)((2, 3), (16, 16), arguments)
    expect(turned, x.T)
    a, b, c = numbers(19, 30, dtype=dtype), numbers(30, 11, dtype=dtype), (19, 11)
    product = emulator.empty(c, dtype)
    arguments = (emulator.asarray(a), emulator.asarray(b), product, *map(int32, (19, 11, 30)))
    kernel("matmul", real=real)((2, 3), (8, 8), arguments)
    expect(product, a @ b)


def run_elements(real: str, dtype: str) -> None:
    x, scalar = numbers(300, dtype=dtype), np.dtype(dtype).type
    inplace, z = emulator.asarray(x), emulator.empty(300, dtype)
    kernel("scale_in_place", real=real)((2,), (64,), (inplace, scalar(3), np.int64(300)))
    expect(inplace, 3 * x)
    kernel("add", real=real)((2,), (32,), (inplace, inplace, z, int32(300)))
    expect(z, 6 * x)
    signs, y = emulator.empty(300, np.uint8), emulator.empty(300, dtype)
    kernel("sign_bytes", real=real)((5,), (64,), (emulator.asarray(x), signs, int32(300)))
    expect(signs, x > 0)
    padded = np.pad(x, 1)
    wanted = padded[:-2] + 2 * padded[1:-1] + 3 * padded[2:]
    for bias in (np.uintp(0), emulator.asarray(np.full(1, 2, dtype))):
        arguments = (emulator.asarray(x), bias, y, int32(300))
        size = 66 * np.dtype(dtype).itemsize
        kernel("stencil", real=real)((5,), (64,), arguments, shared_mem=size)
        expect(y, wanted + (2 if isinstance(bias, emulator.ndarray) else 0))


def run_warps(*_: str) -> None:
    x = np.random.default_rng(0).integers(0, 10, 100).astype(np.int32)
    counts, most = ints(10), emulator.zeros(1, np.uint32)
    kernel("histogram")((2,), (64,), (emulator.asarray(x), counts, most, int32(100)))
    expect(counts, np.bincount(x, minlength=10))
    expect(most, [x.max()])
    x = x[:64]
    sums, votes, odd = ints(64), ints(64), emulator.empty(64, np.uint32)
    kernel("warp_scan")((1,), (64,), (emulator.asarray(x), sums, odd, votes))
    expect(sums, x.reshape(2, 32).cumsum(1).ravel())
    bits = ((x & 1).reshape(2, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(1)
    expect(odd, np.repeat(bits, 32))
    anys = np.repeat((x.reshape(2, 32) == 3).any(1), 32)
    firsts = np.repeat(x.reshape(8, 8)[:, 0], 8)
    expect(votes, anys + 2 + 4 + 16 * int((x & 1).sum()) + 4096 * firsts)


def run_types(*_: str) -> None:
    x = numbers(64)
    quads = emulator.empty(64, np.float32)
    kernel("relu_quads")((1,), (32,), (emulator.asarray(x), quads, int32(16)))
    expect(quads, np.maximum(x, 0))
    x = np.abs(x[:16]) + np.float32(0.5)
    y = emulator.empty((4, 16), np.float32)
    kernel("functions")((1,), (32,), (emulator.asarray(x), y, int32(16)))
    expect(y[0], x)
    expect(y[1], x * x + 1 + 1 / np.sqrt(x) + np.sqrt(x) + x)
    expect(y[2], 2 * np.exp(x) + 2 * np.log(x) + np.tanh(x) + x * x)
    expect(y[3], np.minimum(x, 1) + np.maximum(np.arange(16), 3) + x / 2 + 1)
    size = np.array((5, 2), [("width", "i4"), ("height", "i4")])
    for same in (size, size.reshape(1), size.view("V8")):
        z = emulator.empty(10, np.float64)
        kernel("by_value")((1,), (8, 2), (same, np.bool_(True), np.float64(0.5), z))
        expect(z, np.full(10, -2.5))


RUNS = [run_reductions, run_matrices, run_elements, run_warps, run_types]


@needs_compiler
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("run", RUNS)
def test_fast_mode_computes_what_numpy_does(run: Callable[[str, str], None], real: str) -> None:
    emulator.configure("fast")
    run(real, {"float": "float32", "double": "float64"}[real])


@needs_compiler
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("run", RUNS)
def test_correct_kernels_have_no_faults(run: Callable[[str, str], None], order: str) -> None:
    with emulator.checking(order=order, seed=2):
        run("float", "float32")


@needs_compiler
def test_writes_of_fast_mode_and_the_host_count_as_written() -> None:
    x, y = blank(64), blank(64)
    emulator.configure("fast")
    kernel("bounded", "threads.cu")((1,), (64,), (x,))
    with emulator.checking():
        copy = kernel("uninitialised", "memory.cu")
        copy((1,), (64,), (x, y))
        z = emulator.empty((64, 2), np.float32)
        z[:, 0] = x
        with pytest.raises(EmulatorError, match="uninitialised"):
            copy((1,), (64,), (z, y))
        z[:, 1:] = 5.0
        copy((1,), (64,), (z, y))
    assert y.get()[:4].tolist() == [1, 5, 1, 5]


# ------------------------------------------------------------------- launches and arguments
@needs_compiler
@pytest.mark.parametrize(
    ("name", "grid", "block", "shared", "message"),
    [
        ("add", (1,), (2048,), 0, "1024 threads"),
        ("add", (1, 70000), (32,), 0, "grid"),
        ("bounded", (1,), (256,), 0, "allow 128"),
        ("dynamic_sum", (1,), (32,), 64 << 10, "max_dynamic_shared_size_bytes, now 49152"),
        ("too_much_shared", (1,), (32,), 0, "declares 49156 bytes"),
    ],
)
def test_sizes_that_a_gpu_refuses(
    name: str, grid: tuple[int, ...], block: tuple[int, ...], shared: int, message: str
) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        kernel(name, "correct.cu" if name == "add" else "threads.cu")(
            grid, block, (), shared_mem=shared
        )
    assert caught.value.kind == Kind.LAUNCH
    assert caught.value.kernel == name


@needs_compiler
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_more_dynamic_shared_memory_must_be_requested(mode: str) -> None:
    emulator.configure(mode)
    run = module("threads.cu").get_function("dynamic_sum")
    assert run.max_dynamic_shared_size_bytes == 48 << 10
    run.max_dynamic_shared_size_bytes = 96 << 10
    y = blank(1)
    run((1,), (32,), (floats(32), y, int32(32)), shared_mem=96 << 10)
    expect(y, [496])
    with pytest.raises(LaunchError, match="the maximum is 101376"):
        run.max_dynamic_shared_size_bytes = 100 << 10


X, Y, N = 0, 1, 2


@needs_compiler
@pytest.mark.parametrize("mode", ["fast", "check"])
@pytest.mark.parametrize(
    ("parameter", "wrong", "message"),
    [
        (X, lambda: np.zeros(32, np.float32), "argument x: is a NumPy array on the host"),
        (X, lambda: emulator.zeros(32, np.float64), "array of float64; the kernel takes float32"),
        (X, lambda: emulator.zeros((32, 2), np.float32)[:, 0], "not C-contiguous"),
        (X, lambda: 12345, "takes an array of the device, not int"),
        (N, lambda: 1 << 31, "2147483648 is out of the range of int32"),
        (N, lambda: True, "takes a numpy.int32, not Python's bool: cast it"),
        (N, lambda: np.uint32(1 << 31), "not uint32"),
        (N, lambda: 32.0, "not Python's float"),
        (N, lambda: np.int64(32), "not int64"),
        (N, lambda: np.float32(32), "not float32"),
        (N, lambda: emulator.zeros(1, np.int32), "not ndarray of int32"),
    ],
)
def test_wrong_arguments(mode: str, parameter: int, wrong: Callable[[], Any], message: str) -> None:
    emulator.configure(mode)
    run = kernel("dynamic_sum", "threads.cu")
    arguments: list[Any] = [floats(32), blank(1), int32(32)]
    arguments[parameter] = wrong()
    with pytest.raises(ArgumentError, match=message) as caught:
        run((1,), (32,), arguments, shared_mem=128)
    assert isinstance(caught.value, TypeError)
    assert caught.value.kind == Kind.ARGUMENT
    assert caught.value.kernel == "dynamic_sum"


@needs_compiler
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(2, "V8"), "one element of 8 bytes, not 2 of 8 bytes$"),
        (np.zeros((), "V12"), "one element of 8 bytes, not 1 of 12 bytes$"),
        (5, "one element of 8 bytes, not int$"),
        (np.int64(5), "other fields: at byte 0 it has i4, and the dtype i8$"),
        (np.zeros(1, "i4, f4"), "other fields: at byte 4 it has i4, and the dtype f4$"),
        (np.zeros(1, "f4, i4"), "other fields: at byte 0 it has i4, and the dtype f4$"),
        (np.zeros(1, "i4, i2, i2"), "other fields: at byte 4 it has i4, and the dtype i2$"),
    ],
    ids=["two", "longer", "python", "number", "floats", "exchanged", "halves"],
)
def test_a_struct_is_an_element_of_the_same_fields(wrong: Any, message: str) -> None:
    z = emulator.empty(10, np.float64)
    with pytest.raises(ArgumentError, match=message):
        kernel("by_value")((1,), (8, 2), (wrong, np.bool_(True), np.float64(0.5), z))
    for same in (np.ones(1, "i4, i4"), np.ones((), "u4, i4")[()], np.ones(1, "V8")):
        kernel("by_value")((1,), (8, 2), (same, np.bool_(True), np.float64(0.5), z))


@needs_compiler
def test_a_grid_of_numbers_that_are_not_integers_is_refused() -> None:
    """Also of those that are equal to the integers of an earlier launch."""
    run, x = kernel("bounded", "threads.cu"), blank(8)
    run((2,), (4,), (x,))
    for grid, block in (((2.0,), (4,)), ((1.5,), (4,)), ((2,), (np.float64(4),))):
        with pytest.raises(ArgumentError, match="must consist of integers: n // m, not n / m"):
            run(grid, block, (x,))


@needs_compiler
def test_the_number_of_arguments_and_restrict() -> None:
    run, x = kernel("dynamic_sum", "threads.cu"), floats(32)
    for arguments in ((x, x), (x, x, int32(1), int32(1))):
        with pytest.raises(ArgumentError, match=r"takes 3 arguments \(x, y, n\), not"):
            run((1,), (32,), arguments, shared_mem=128)
    with emulator.checking(), pytest.raises(ArgumentError, match="y: shares memory with x"):
        run((1,), (32,), (x, x, int32(32)), shared_mem=128)


# ---------------------------------------------------------------------------------- arrays
@needs_compiler
def test_arrays_are_aligned_and_unset() -> None:
    x = emulator.empty((3,), np.float32)
    assert np.isnan(x.get()).all()
    assert x.data.ptr % 16 == 0
    assert not isinstance(x, np.ndarray)


@needs_compiler
@pytest.mark.parametrize("expression", ["x + 1", "x.sum()", "xp.exp(x)"])
def test_the_backends_do_not_compute_outside_kernels(expression: str) -> None:
    """tests/conftest.py watches them: CuPy launches kernels of its own for these."""
    names = {"x": floats(4), "xp": emulator}
    eval(expression, names)
    code = compile(expression, loader.__file__, "eval")
    with pytest.raises(AssertionError, match="no kernel of gpucnn computes"):
        eval(code, names)


@needs_compiler
def test_only_basic_indices_give_views() -> None:
    x, host = floats(4), np.ones(4, np.float32)
    for key in ([0, 1], host > 0):
        with pytest.raises(TypeError, match="only integers and slices"):
            x[key]


# ------------------------------------------------------------------- the runtime's interface
def test_structures_are_those_of_the_headers() -> None:
    where, fault = abi.structure("Where"), abi.structure("Fault")
    assert [field[0] for field in where._fields_] == ["block", "thread", "pc", "file", "line"]
    assert (where.file.size, where.pc.offset, fault.text.size) == (256, 24, 512)
    assert abi.structure("Range").parameter.size >> 16 == 31, "a field of 31 bits"
    assert abi.pack_format("Request").endswith("4x"), "an unused field is padding"
    assert abi.enumerators("Order") == ("FORWARD", "REVERSE", "RANDOM")
    assert abi.constant("max_faults") == 8
    assert abi.macros("language.h")["__CUDA_ARCH__"] == "750"


@pytest.mark.parametrize("read", [abi.structure, abi.enumerators, abi.constant])
def test_what_the_headers_do_not_declare_is_named(read: Callable[[str], Any]) -> None:
    with pytest.raises(BackendError, match=r"abi\.h and runtime\.h declare no .*Nothing"):
        read("Nothing")


def test_a_structure_of_another_size_is_named() -> None:
    sizes = [ctypes.sizeof(abi.structure(name)) for name in abi.SHARED]
    abi.verify(sizes)
    sizes[2] += 8
    with pytest.raises(BackendError, match="struct Request has 80 bytes in the compiled runtime"):
        abi.verify(sizes)


def test_a_form_that_is_not_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "_header", lambda: "struct Odd {\n int a, (*b)[3];\n};")
    with pytest.raises(BackendError, match=r"cannot read the declaration int \(\*b\)\[3\]"):
        abi.structure("Odd")


# --------------------------------------------------------- settings, options and the compiler
def test_unknown_settings_and_options() -> None:
    with pytest.raises(SettingError, match="did you mean 'check'"):
        emulator.configure("chekc")
    with pytest.raises(SettingError, match="order of threads"):
        emulator.configure(order="sideways")
    with pytest.raises(SettingError, match="--gpu-code"):
        RawModule(code="", options=("--gpu-code=sm_90",))
    RawModule(code="", options=("-DA", "-DB=2", "--use_fast_math", "--fmad=false"))


@needs_compiler
def test_an_unknown_kernel_is_named_with_the_closest_name() -> None:
    with pytest.raises(SettingError, match="did you mean 'transpose'"):
        kernel("transpoze")
    with pytest.raises(SettingError, match="unknown kernel"):
        kernel("newer_only")  # inside an #if that does not hold
    with pytest.raises(SettingError, match='f is not extern "C"'):
        RawModule(code="__global__ void f() {}").get_function("f")


@needs_compiler
def test_a_compile_error_names_file_and_line() -> None:
    code = '#line 1 "kernels/common.cuh"\n\n#line 1 "kernels/x.cu"\n\nint f() { return nothing; }'
    with pytest.raises(CompileError, match=r"^kernels/x\.cu:2: .*nothing.* not declared") as caught:
        RawModule(code=code).compile()
    assert (caught.value.file, caught.value.line) == ("kernels/x.cu", 2)
    assert isinstance(caught.value, GpucnnError)
    with pytest.raises(CompileError, match=r"^<code>:3: "):
        RawModule(code="\n\n#include <no_such_header.h>").compile()


CHILD = """
import numpy as np
import gpucnn
from gpucnn import emulator
from gpucnn.emulator import toolchain
module = emulator.RawModule(code='extern "C" __global__ void one(int *x) { x[0] = 1; }')
x = emulator.zeros(1, np.int32)
module.get_function("one")((1,), (1,), (x,))
assert x.item() == 1
print(toolchain.compilations)
"""


ELSEWHERE = """
import gpucnn
from gpucnn import emulator
from gpucnn.emulator import toolchain
code = 'extern "C" __global__ void f(int *n, int *y) {\\natomicAdd(n, 1);\\ny[threadIdx.x] = *n; }'
n, y = emulator.zeros(1, "int32"), emulator.zeros(64, "int32")
try:
    emulator.RawModule(code=code).get_function("f")((1,), (64,), (n, y))
except emulator.EmulatorError as fault:
    print(emulator.__file__, toolchain.compilations, fault.line, fault)
"""


def run_child(
    code: str, folder: Path = Path(__file__).parents[2], **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_compiler
def test_processes_and_installations_share_compiled_code(tmp_path: Path) -> None:
    """Faults name the same lines there: inlined code of the emulator is skipped wherever it is."""
    package, cached = Path(gpucnn.__file__).parent, tmp_path / "cache"
    for name, compilations in (("first", 2), ("second", 0)):
        without = shutil.ignore_patterns("data", "__pycache__")
        shutil.copytree(package, tmp_path / name / "gpucnn", ignore=without)
        environment = {"GPUCNN_CACHE_DIR": str(cached), "PYTHONPATH": str(tmp_path / name)}
        done = run_child(ELSEWHERE, tmp_path / name, GPUCNN_EMULATOR="check", **environment)
        found = f"{tmp_path / name}/gpucnn/emulator/__init__.py {compilations} 2 "
        assert done.stdout.startswith(found), done.stdout + done.stderr
    for compilations in (1, 0):  # another source and mode, and the runtime as before
        done = run_child(CHILD, GPUCNN_CACHE_DIR=str(cached), GPUCNN_EMULATOR="fast")
        assert done.stdout == f"{compilations}\n", done.stderr
    assert not list(cached.rglob("*.lock"))


@needs_compiler
def test_without_a_writable_cache_a_temporary_one_is_used(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    show = "from gpucnn import emulator; print(emulator.cache_folder())"
    done = run_child(show, GPUCNN_CACHE_DIR=str(blocked), TMPDIR=str(tmp_path))
    assert done.stdout.startswith(f"{tmp_path}/gpucnn-emulator-"), done.stderr
    done = run_child(show, GPUCNN_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path / "own"))
    assert done.stdout == f"{tmp_path}/own/gpucnn/emulator\n"


def test_without_a_compiler_the_error_names_what_to_install(tmp_path: Path) -> None:
    """Importing works everywhere; the first use raises, also on other machines."""
    done = run_child(CHILD, PATH=str(tmp_path), GPUCNN_CACHE_DIR=str(tmp_path))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gpucnn.errors.BackendError: the emulator ")
    assert "apt install g++" in last or MISSING in last


@needs_compiler
def test_the_compiler_that_cxx_names_is_used_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, other = tmp_path / "own-g++", tmp_path / "other"
    own.symlink_to(toolchain.find_compiler())
    other.write_text("#!/bin/sh\necho some other compiler\n")
    other.chmod(0o755)
    monkeypatch.setenv("CXX", str(own))
    assert toolchain.find_compiler() == str(own)
    for name, message in ((str(other), "is not g"), ("no-such-g++", "was not found")):
        monkeypatch.setenv("CXX", name)
        with pytest.raises(BackendError, match=f"CXX names '{re.escape(name)}', which {message}"):
            toolchain.find_compiler()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -9 $$", "was killed by SIGKILL"),
        ("echo 'g++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1", "memory"),
        ("echo 'ld: final link failed: No space left on device' >&2; exit 1", "disk is full: ld"),
    ],
)
def test_a_lack_of_memory_or_disk_is_not_a_compile_error(
    tmp_path: Path, script: str, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        toolchain.run(["sh", "-c", script], tmp_path)
    with pytest.raises(BackendError, match="cannot run no-such-tool"):
        toolchain.run(["no-such-tool"], tmp_path)


def test_the_cache_removes_entries_not_used_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    first, second, third = (cache.key(name) for name in "123")

    def build(folder: Path) -> None:
        (folder / "made").write_text("")

    base = cache.cached(first, build).parent
    cache.cached(second, build)
    (base / f"{third}.killed").mkdir()
    (base / "notes.txt").write_text("not ours")
    for path in base.iterdir():
        os.utime(path, (0, 0))
    cache.cached(first, build)  # used again
    cache.cached(third, build)
    assert {path.name for path in base.iterdir()} == {first, third, "notes.txt"}

    def fill_disk(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(BackendError, match=r"No space left on device; set GPUCNN_CACHE_DIR"):
        cache.cached(second, fill_disk)
    assert {path.name for path in base.iterdir()} == {first, third, "notes.txt"}


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_other_machines_are_refused(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(BackendError, match=f"requires Linux on x86-64; .* {system} on {machine}"):
        emulator.require()


FORK = """
import os
import numpy as np
import gpucnn
from gpucnn import emulator
emulator.configure("fast", threads=2)
module = emulator.RawModule(code='extern "C" __global__ void one(int *x) { x[blockIdx.x] = 1; }')
x = emulator.zeros(2, np.int32)
one = module.get_function("one")
one((2,), (1,), (x,))
child = os.fork()
x.fill(0)
one((2,), (1,), (x,))
assert x.get().tolist() == [1, 1]
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


@needs_compiler
def test_a_forked_process_can_launch() -> None:
    done = run_child(FORK, PYTHONWARNINGS="ignore")
    assert done.stdout == "both\n", done.stderr
