"""Launches that CUDA refuses, and faults in kernels."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((1, 65536), (1,)),
        ((1, 1, 65536), (1,)),
        ((2**31,), (1,)),
        ((1,), (1025,)),
        ((1,), (1, 1, 65)),
        ((1,), (64, 32)),
    ],
)
def test_a_launch_must_fit_the_limits_of_the_device(grid, block, kernel, floats, refused):
    x = floats(1)
    with refused("InvalidValue"):
        kernel("scale")(grid, block, (x, np.float32(1), np.int32(1)))


def test_a_block_must_fit_the_launch_bounds(kernel, floats, cupy, refused):
    x = floats(*[0] * 128)
    kernel("bounded")((1,), (64,), (x,))
    with refused("InvalidValue"):
        kernel("bounded")((1,), (65,), (x,))
    assert cupy.asnumpy(x).sum() == 64


def test_shared_memory_beyond_48_kib_must_be_requested(cupy, fresh_kernel, floats, refused):
    x, kernel = floats(1, 2), fresh_kernel("shared")
    kernel((1,), (2,), (x,), shared_mem=48 << 10)
    with refused("InvalidValue"):
        kernel((1,), (2,), (x,), shared_mem=(48 << 10) + 4)
    kernel.max_dynamic_shared_size_bytes = 64 << 10
    kernel((1,), (2,), (x,), shared_mem=64 << 10)
    with refused("InvalidValue"):
        kernel.max_dynamic_shared_size_bytes = 1 << 20
    assert cupy.asnumpy(x).tolist() == [1, 2]


def test_a_module_has_only_its_kernels(cupy, kernel, refused):
    with refused("NotFound"):
        kernel("subtract").compile()


def test_a_source_with_an_error_is_refused_with_its_line(cupy):
    from cupy.cuda.compiler import CompileException

    module = cupy.RawModule(code="\n\nwrong here;\n", options=("--std=c++17",))
    with pytest.raises(CompileException, match=r"\(3\)") as caught:
        module.compile()
    assert "1 error detected" in str(caught.value)


@pytest.mark.parametrize("reduce", ["sum", "max", "argmin", "mean"])
def test_reductions_of_cupy_are_correct(reduce, cupy):
    x = np.float32([3, 1, 5, 7])
    assert getattr(cupy.asarray(x), reduce)().item() == getattr(x, reduce)()


def test_the_emulators_check_mode_reports_its_fault(script):
    done = script(
        "x = cupy.zeros(4, np.float32)\n"
        "kernel = cupy.RawModule(code=SOURCE, options=('--std=c++17',)).get_function('scale')\n"
        "kernel((1,), (1024,), (x, np.float32(1), np.int32(1024)))\n"
        "cupy.cuda.Device().synchronize()\n",
        GPUCNN_EMULATOR="check",
    )
    assert done.returncode == 1
    assert "stand-in: scale: uninitialised read: reads 4 bytes of x" in done.stderr
    assert "thread (4, 0, 0) of block (0, 0, 0) at <code>:8" in done.stderr
    assert "cudaErrorIllegalAddress" in done.stderr
