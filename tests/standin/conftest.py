"""Fixtures for tests of CUDA's rules through CuPy: on the stand-in, or on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, STANDIN, backend_or_skip, standin_or_skip

# Without CUDA one test is skipped (test_consistency.py) and shows how to run all of them.
RULES = [
    "captures",
    "devices",
    "emulator",
    "errors",
    "knobs",
    "launches",
    "memory",
    "nccl",
    "streams",
]
NEED_CUDA = [f"test_{name}.py" for name in (*RULES, "failing_calls")]
collect_ignore = [] if "cuda" in BACKENDS else NEED_CUDA

SOURCE = """
extern "C" __global__ void add(float* x, const float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += y[i];
}
extern "C" __global__ void scale(float* x, float by, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= by;
}
extern "C" __global__ void __launch_bounds__(64) bounded(float* x) { x[threadIdx.x] = 1; }
extern "C" __global__ void shared(float* x) {
    extern __shared__ float kept[];
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}
"""


@pytest.fixture(scope="session")
def cupy() -> Any:
    backend_or_skip("cuda")
    import cupy

    return cupy


@pytest.fixture(scope="session")
def late() -> bool:
    """Whether the stand-in does nothing before something waits for it."""
    return STANDIN and os.environ.get("STANDIN_MODE") == "late"


@pytest.fixture(scope="session")
def runtime(cupy: Any) -> Any:
    return cupy.cuda.runtime


@pytest.fixture(scope="session")
def kernel(cupy: Any) -> Callable[[str], Any]:
    """The kernels of SOURCE by name."""
    module = cupy.RawModule(code=SOURCE, options=("--std=c++17",))
    kernel: Callable[[str], Any] = module.get_function
    return kernel


@pytest.fixture
def fresh_kernel(cupy: Any) -> Callable[[str], Any]:
    """The same kernels in a module of its own, whose attributes a test may change."""
    module = cupy.RawModule(code=f"{SOURCE}// a copy\n", options=("--std=c++17",))
    kernel: Callable[[str], Any] = module.get_function
    return kernel


@pytest.fixture(scope="session")
def add(kernel: Callable[[str], Any]) -> Callable[..., None]:
    """``add(x, y)`` adds y to x in the current stream, or in ``stream``."""

    def launch(x: Any, y: Any, **options: Any) -> None:
        kernel("add")((1,), (x.size,), (x, y, np.int32(x.size)), **options)

    return launch


@pytest.fixture(scope="session")
def scale(kernel: Callable[[str], Any]) -> Callable[..., None]:
    """``scale(x, by)`` multiplies x."""

    def launch(x: Any, by: float, **options: Any) -> None:
        kernel("scale")((1,), (x.size,), (x, np.float32(by), np.int32(x.size)), **options)

    return launch


@pytest.fixture(scope="session")
def floats(cupy: Any) -> Callable[..., Any]:
    """``floats(1, 2)`` is an array on the device."""

    def make(*values: float) -> Any:
        array = cupy.asarray(np.array(values, np.float32))
        cupy.cuda.Device().synchronize()
        return array

    return make


@pytest.fixture
def stream(cupy: Any) -> Iterator[Any]:
    """A stream that does not wait for the legacy stream."""
    made = cupy.cuda.Stream(non_blocking=True)
    yield made
    # A test that failed may have left a capture open, valid or not, which must not harm the next.
    with suppress(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.runtime.streamEndCapture(made.ptr)


@pytest.fixture(scope="session")
def refused(cupy: Any) -> Callable[[str], AbstractContextManager[None]]:
    """``with refused("InvalidValue"):`` expects this error of the runtime or of the driver."""
    errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)

    @contextmanager
    def expect(name: str) -> Iterator[None]:
        with pytest.raises(errors) as caught:
            yield
        found = str(caught.value).split(":")[0].replace("_", "").lower()
        assert found == f"cudaerror{name.lower()}"

    return expect


@pytest.fixture
def standin_only(cupy: Any) -> None:
    """For tests of what a GPU does not promise."""
    standin_or_skip("a GPU does not promise this")


@pytest.fixture
def run_python(standin_only: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code with these knobs, in the mode of this process.

    ``run_python(code, STANDIN_DEVICES="2")`` returns what it printed.
    """

    def run(code: str, **knobs: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("STANDIN_") or name == "STANDIN_MODE"
        }
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, **knobs},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def script(run_python: Callable[..., Any]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As run_python, for code that uses ``cupy``, ``np`` and ``SOURCE``."""

    def run(code: str, **knobs: str) -> subprocess.CompletedProcess[str]:
        before = f"import cupy, numpy as np\nSOURCE = '''{SOURCE}'''\n"
        done: subprocess.CompletedProcess[str] = run_python(before + code, **knobs)
        return done

    return run
