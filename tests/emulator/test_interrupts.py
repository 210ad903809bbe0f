"""Signals and a shortage of memory while kernels run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip
from interruptions import Stopped, signals, stop

import gpucnn
from gpucnn import emulator
from gpucnn.emulator import native


@pytest.fixture(autouse=True, scope="module")
def _emulator() -> None:
    backend_or_skip("emulated")


ENDLESS = """
extern "C" __global__ void spins(volatile float* x) { while (x[0] < 2.0f) {} }
extern "C" __global__ void waits(volatile float* x) { while (x[0] < 2.0f) __syncthreads(); }
// Check mode ends a loop in which nothing changes by itself, as a deadlock.
extern "C" __global__ void counts(volatile float* x) { while (x[0] < 2.0f) x[1] = 1.0f - x[1]; }
extern "C" __global__ void counts_last(volatile float* x)
{
    if (blockIdx.x == gridDim.x - 1) while (x[0] < 2.0f) x[1] = 1.0f - x[1];
}
extern "C" __global__ void fills(float* x) { x[threadIdx.x] = 7.0f; }
"""
LONG = """
extern "C" __global__ void mixes(unsigned* x, int rounds)
{
    __shared__ unsigned all[64];
    unsigned value = x[blockIdx.x * 64 + threadIdx.x];
    for (int i = 0; i < rounds; ++i) {
        for (int j = 0; j < 200; ++j) value = value * 1664525u + 1013904223u;
        all[threadIdx.x] = value;
        __syncthreads();
        value ^= all[(threadIdx.x + i) % 64] + __shfl_xor_sync(0xffffffffu, value, 5);
        __syncthreads();
    }
    x[blockIdx.x * 64 + threadIdx.x] = value;
}
"""
MODES = pytest.mark.parametrize("mode", ["fast", "check"])


def in_mode(mode: str) -> Any:
    return emulator.checking() if mode == "check" else nullcontext()


def test_a_program_launches_without_the_lock_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stand-in for the CUDA driver does, which CuPy calls without it."""
    runtime = native.runtime()
    launch = ctypes.CDLL(str(runtime.path))["gpu_launch"]  # CDLL releases the lock
    launch.argtypes = [ctypes.c_char_p, ctypes.POINTER(native.Fault)]
    x = emulator.zeros(64, "float32")
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "_launch", launch)
        emulator.RawModule(code=ENDLESS).get_function("fills")((1,), (64,), (x,))
    np.testing.assert_array_equal(emulator.asnumpy(x), np.full(64, 7, np.float32))


@MODES
@pytest.mark.parametrize("name", ["counts", "waits", "counts_last"])
def test_an_exception_of_a_signal_handler_ends_an_endless_kernel(mode: str, name: str) -> None:
    module = emulator.RawModule(code=ENDLESS)
    x = emulator.zeros((64,), np.float32)
    with in_mode(mode):
        # This compiles, which takes longer than the signal.
        endless, fills = module.get_function(name), module.get_function("fills")
        for _ in range(3):  # the emulator remains usable
            with pytest.raises(Stopped), signals(stop):
                endless((5,), (64,), (x,))
            fills((1,), (64,), (x,))
            np.testing.assert_array_equal(x.get(), 7)
            x.fill(0)


def test_ctrl_c_ends_an_endless_kernel(tmp_path: Path) -> None:
    code = (
        "import numpy as np, sys\n"
        "from gpucnn import emulator\n"
        "kernel = emulator.RawModule(code=sys.argv[1]).get_function('spins')\n"
        "x = emulator.zeros((1,), np.float32)\n"
        "print('compiled', flush=True)\n"
        "kernel((4,), (32,), (x,))\n"
    )
    root = str(Path(gpucnn.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", code, ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "compiled\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    finally:
        process.kill()
    assert error.endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT


@MODES
def test_handlers_run_during_a_kernel_and_change_nothing(mode: str) -> None:
    rounds = np.int32(400 if mode == "check" else 4000)
    start = np.arange(4 * 64, dtype=np.uint32)
    found, calls = [], []
    with in_mode(mode):
        kernel = emulator.RawModule(code=LONG).get_function("mixes")  # compiled for this mode
        for handler in (lambda: calls.append(1), None):
            x = emulator.asarray(start)
            with signals(handler) if handler else nullcontext():
                while True:
                    kernel((4,), (64,), (x, rounds))
                    if len(calls) > 5:
                        break
                    x = emulator.asarray(start)
            found.append(x.get())
    np.testing.assert_array_equal(found[0], found[1])


def test_a_handler_runs_while_a_kernel_runs() -> None:
    kernel = emulator.RawModule(code=ENDLESS).get_function("spins")
    x = emulator.zeros((1,), np.float32)
    calls = []

    def count() -> None:
        calls.append(1)
        if len(calls) == 5:
            x.fill(2)  # ends the kernel

    with signals(count):
        kernel((4,), (32,), (x,))
    assert len(calls) >= 5


def test_a_handler_cannot_launch_a_kernel() -> None:
    kernel = emulator.RawModule(code=ENDLESS).get_function("spins")
    x = emulator.zeros((1,), np.float32)
    with (
        pytest.raises(RuntimeError, match="cannot launch a kernel while another one runs"),
        signals(lambda: kernel((1,), (1,), (x,))),
    ):
        kernel((1,), (1,), (x,))


LIMITED = """
import os, resource, sys
import numpy as np
from gpucnn import emulator

SOURCE = '''
extern "C" __global__ void sums(float* x, int n)
{
    __shared__ float all[1024];
    x += 1024 * blockIdx.x;
    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) for (int i = 1; i < n; ++i) all[0] += all[i];
    __syncthreads();
    x[threadIdx.x] = all[0];
}
'''
emulator.configure(mode=sys.argv[1], threads=4)
kernel = emulator.RawModule(code=SOURCE).get_function("sums")
kernel.max_dynamic_shared_size_bytes  # loads the kernel before the forks
statuses = set()
for mebibytes in (1, 8, 24, 64, 100, 140, 200, 280, 400, 600, 4000):
    child = os.fork()
    if child == 0:
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + (mebibytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            x = emulator.asarray(np.ones(9 * 1024, np.float32))
            for _ in range(2):
                x.fill(1)
                kernel((9,), (1024,), (x, np.int32(1)))
            os._exit(0 if (x.get() == 1).all() else 5)
        except MemoryError:
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    statuses.add(status)
    if status not in (0, 3):
        print(mebibytes, "MiB: status", status)
print(sorted(statuses))
"""


@MODES
def test_too_little_address_space_is_a_memory_error(mode: str) -> None:
    """Fewer host threads run where there is no room for all of them."""
    root = str(Path(gpucnn.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, mode],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (done.stdout, done.stderr) == ("[0, 3]\n", "")
