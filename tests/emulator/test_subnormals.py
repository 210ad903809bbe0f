"""The processor's treatment of subnormal numbers while a kernel runs, and afterwards.

What kernels compute is in tests/backends/cuda/test_subnormals.py.
"""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from interruptions import Stopped, signals, stop

from gpucnn import emulator
from gpucnn.emulator import EmulatorError, native, subnormals
from gpucnn.emulator.compiled import Request, compiled
from gpucnn.emulator.options import CUPYS_OPTIONS, parse

pytestmark = pytest.mark.usefixtures("needs_emulator")

SMALL = np.float32(1e-40)
ZERO, HALF = np.float32([0]), np.float32([0.5])


def host_keeps_subnormal_numbers() -> bool:
    small = np.float32([1e-40])
    return bool((small * HALF > ZERO)[0]) and bool((np.float64([1e-310]) * 0.5 > 0)[0])


def flushed(x: emulator.ndarray) -> None:
    """Assert that a kernel runs, and flushes."""
    code = 'extern "C" __global__ void half(float* x) { x[0] *= 0.5f; }'
    x = emulator.asarray(np.float32([1.5e-38]))
    emulator.RawModule(code=code).get_function("half")((1,), (1,), (x,))
    assert x.get()[0] == 0


FAULTS = {
    "writes outside": "x[4] = 1;",  # the guard page
    "fails an assertion": "assert(x[0] > 2);",
    "divides by zero": "x[0] = threadIdx.x / (int)x[0];",
    "misses a barrier": "if (threadIdx.x == 0) __syncthreads();",
    "fills the stack": "x[0] = deep(x, 1 << 20);",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_the_host_keeps_subnormal_numbers_after_a_fault(mode: str, fault: str) -> None:
    emulator.configure(mode)
    code = f"""
__device__ float deep(volatile float* x, int n) {{ return n ? x[0] + deep(x, n - 1) * x[1] : 0; }}
extern "C" __global__ void f(float* x) {{ x[0] = x[0] * 0.5f; {fault} }}"""
    kernel = emulator.RawModule(code=code).get_function("f")
    x = emulator.asarray(np.float32([1.5e-38, 1, 1, 1]))
    assert host_keeps_subnormal_numbers()
    with pytest.raises(EmulatorError):
        kernel((4,), (64,), (x,))
    assert host_keeps_subnormal_numbers()
    flushed(x)


# Threads count in float32 how often half of a number is zero, and in float64 how often it is not.
LONG = """
extern "C" __global__ void counts(volatile float* x, volatile double* y, int* out, int rounds)
{
    int zeros = 0, kept = 0;
    for (int i = 0; i < rounds; ++i) {
        if (x[0] * 0.5f == 0.0f) ++zeros;
        if (y[0] * 0.5 != 0.0) ++kept;
        if (i % 64 == 0) __syncthreads();
    }
    out[(blockIdx.x * 64 + threadIdx.x) * 2] = zeros;
    out[(blockIdx.x * 64 + threadIdx.x) * 2 + 1] = kept;
}
// Check mode ends a loop in which nothing changes by itself, as a deadlock.
extern "C" __global__ void endless(volatile float* x)
{
    while (x[0] * 0.5f == 0.0f) x[1] = 1.0f - x[1];
}
"""


@pytest.mark.parametrize(("mode", "threads"), [("fast", 1), ("fast", 2), ("check", 1)])
def test_handlers_keep_subnormal_numbers_and_the_kernel_goes_on_to_flush(
    mode: str, threads: int
) -> None:
    emulator.configure(mode, threads=threads)
    kernel = emulator.RawModule(code=LONG).get_function("counts")
    rounds = np.int32(2_000 if mode == "check" else 100_000)
    x, y = emulator.asarray(np.float32([1.5e-38])), emulator.asarray(np.float64([1e-310]))
    out = emulator.zeros((4, 64, 2), "int32")
    kept: list[bool] = []
    with signals(lambda: kept.append(host_keeps_subnormal_numbers())):
        while len(kept) < 5:
            kernel((4,), (64,), (x, y, out, rounds))
            np.testing.assert_array_equal(out.get(), rounds)
    assert all(kept)
    assert host_keeps_subnormal_numbers()


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_the_host_keeps_subnormal_numbers_after_an_endless_kernel_was_stopped(mode: str) -> None:
    emulator.configure(mode, threads=2)
    kernel = emulator.RawModule(code=LONG).get_function("endless")
    emulator.RawModule(code=LONG).compile()  # which takes longer than the signal
    x = emulator.asarray(np.float32([1.5e-38, 0.0]))
    for _ in range(3):
        with pytest.raises(Stopped), signals(stop):
            kernel((5,), (64,), (x,))
        assert host_keeps_subnormal_numbers()
    flushed(x)


def test_a_thread_of_the_host_that_flushes_itself_goes_on_to_do_so() -> None:
    """And kernels of float64 keep subnormal numbers in it."""
    results: list[object] = []
    code = 'extern "C" __global__ void half(double* x) { x[0] *= 0.5; }'
    kernel = emulator.RawModule(code=code).get_function("half")
    libm = ctypes.CDLL("libm.so.6")  # fegetenv and fesetenv: MXCSR is the last word of 32 bytes

    def run() -> None:
        environment = (ctypes.c_uint32 * 8)()
        libm.fegetenv(environment)
        environment[7] |= 0x8040
        libm.fesetenv(environment)
        x = emulator.asarray(np.float64([1e-310]))
        kernel((1,), (1,), (x,))
        results.extend([host_keeps_subnormal_numbers(), x.get().view(np.uint64)[0]])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [False, np.float64(0.5e-310).view(np.uint64)]
    assert host_keeps_subnormal_numbers()


# ------------------------------------------------------------------------------ options
@pytest.mark.parametrize(
    ("options", "flush"),
    [
        ([], False),
        (["-ftz=true"], True),
        (["--ftz=true", "-ftz=false"], False),
        (["-ftz=false", *CUPYS_OPTIONS], True),
        (["--use_fast_math"], True),
        (["--device-as-default-execution-space"], False),
    ],
)
def test_the_last_option_decides_whether_float32_flushes(options: list[str], flush: bool) -> None:
    assert parse(options).flush == flush


def test_a_module_cannot_keep_subnormal_numbers_as_in_cupy() -> None:
    code = 'extern "C" __global__ void half(float* x) { x[0] *= 0.5f; }'
    module = emulator.RawModule(code=code, options=("-ftz=false",))
    x = emulator.asarray(np.float32([1.5e-38]))
    module.get_function("half")((1,), (1,), (x,))
    assert x.get()[0] == 0
    assert module.options == ("-ftz=false",)


def test_without_the_option_float32_keeps_subnormal_numbers() -> None:
    """As NVRTC does by default; a stand-in for the CUDA driver passes its own options."""
    code = """#line 1 "half.cu"
extern "C" __global__ void half(float* x) { x[0] *= 0.5f; x[1] = expf(x[1]); }"""
    kept, flushing = (
        compiled(Request(code, parse(options)), "fast") for options in ((), CUPYS_OPTIONS)
    )
    modes = []
    for module in (kept, flushing):
        address, description = module.describe("half")
        modes.append(ctypes.c_uint32.from_address(description.mxcsr).value)
        assert address
    assert modes == [subnormals.KEEP, subnormals.FLUSH]
    module = emulator.RawModule(code=code)
    module._program.request = Request(code, parse(()))
    x = emulator.asarray(np.float32([1.5e-38, -95]))
    module.get_function("half")((1,), (1,), (x,))
    np.testing.assert_allclose(x.get(), [0.75e-38, np.exp(-95.0)], rtol=1e-5, atol=0)
    assert native.runtime()


# ------------------------------------------------------------------------- assembler text
def edited(*lines: str) -> list[str]:
    """Return the edited lines, without the definitions at the end."""
    text = subnormals.edit("".join(f"{line}\n" for line in lines), flush=True)
    return [line.replace("\t", " ").strip() for line in text.split("\t.section")[0].splitlines()]


KEEP, FLUSH = "ldmxcsr gpu_mxcsr_keep(%rip)", "ldmxcsr gpu_mxcsr_flush(%rip)"


def test_code_changes_the_register_around_arithmetic_of_the_other_type() -> None:
    lines = ["\tvaddss\t%xmm0, %xmm0, %xmm0"] * 3
    assert edited(*lines, "\tvmulsd\t%xmm1, %xmm1, %xmm1", "\tmovl\t$1, %eax", *lines[:1]) == [
        *["vaddss %xmm0, %xmm0, %xmm0"] * 3,
        *(KEEP, "vmulsd %xmm1, %xmm1, %xmm1", "movl $1, %eax", FLUSH),
        "vaddss %xmm0, %xmm0, %xmm0",
    ]


def test_the_type_used_most_needs_no_change() -> None:
    double = ["\tvfmadd231pd\t%ymm0, %ymm1, %ymm2"] * 2
    assert edited(*double, "\tcvtsd2ss\t%xmm0, %xmm0", "\tret") == [
        *["vfmadd231pd %ymm0, %ymm1, %ymm2"] * 2,
        *(FLUSH, "cvtsd2ss %xmm0, %xmm0", KEEP, "ret"),
    ]


@pytest.mark.parametrize("boundary", ["\tcall\tf@PLT", "\tjne\t.L2", ".L2:", "g:", "\tret"])
def test_the_register_is_as_usual_wherever_code_is_entered_or_left(boundary: str) -> None:
    lines = edited("\taddss\t%xmm0, %xmm0", "\tmulsd\t%xmm1, %xmm1", boundary, "\tnop")
    assert lines[1:] == [
        KEEP,
        "mulsd %xmm1, %xmm1",
        FLUSH,
        boundary.replace("\t", " ").strip(),
        "nop",
    ]


@pytest.mark.parametrize(
    "line", ["\tmovsd\t(%rax), %xmm0", ".LBB7:", "\t.loc 1 5 0", "\tvxorpd\t%xmm0, %xmm0, %xmm0"]
)
def test_what_computes_nothing_changes_nothing(line: str) -> None:
    double = ["\tmulsd\t%xmm1, %xmm1", line, "\tdivsd\t%xmm1, %xmm1"]
    lines = edited(*["\taddss\t%xmm0, %xmm0"] * 3, *double)
    assert lines[3] == KEEP
    assert FLUSH not in lines


@pytest.mark.parametrize(
    ("arithmetic", "log"),
    [("\taddss\t%xmm0, %xmm0", "gpu_keep_log"), ("\taddsd\t%xmm0, %xmm0", "log")],
)
def test_calls_of_the_c_library_go_to_the_runtime_where_they_would_differ(
    arithmetic: str, log: str
) -> None:
    names = ("expf", "log", "my_expf", "copysignf")
    found = edited(arithmetic, *(f"\tcall\t{name}@PLT" for name in names))
    names = ("gpu_flush_exp", log, "my_expf", "copysignf")
    assert found[1:] == [f"call {name}@PLT" for name in names]
