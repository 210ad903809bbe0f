"""CuPy and what it needs: whether they work on this machine, and if not, which line mends it."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

from gpucnn.errors import BackendError

PROBE = 'extern "C" __global__ void probe(int* out) { *out = 42; }'


def import_cupy() -> Any:
    """Return the CuPy module, with a GPU behind it; BackendError says what is missing."""
    wheels = installed_wheels()
    if len(wheels) > 1:
        names = " and ".join(wheels)
        raise BackendError(
            f"{names} are both installed and break each other: "
            f"pip uninstall {' '.join(wheels)}, then {install_line()}"
        )
    _find_cache()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its warnings are about what is checked here
            cupy = importlib.import_module("cupy")
    except ImportError as error:
        if not wheels:
            raise BackendError(f"CuPy is not installed: {install_line()}") from None
        raise BackendError(f"CuPy cannot be imported ({_line(error)}): {install_line()}") from error
    _check_driver(cupy)
    _check_compiler(cupy)
    return cupy


def installed_wheels() -> list[str]:
    """Return the names of all installed distributions that provide CuPy."""
    names = {str(found.metadata["Name"] or "").lower() for found in metadata.distributions()}
    return sorted(name for name in names if name == "cupy" or name.startswith("cupy-cuda"))


def driver_version() -> int | None:
    """Return the CUDA version that the driver supports, such as 12040 for 12.4; None: no driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    version = ctypes.c_int()
    return version.value if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 else None


def install_line() -> str:
    """Return the line that installs the CuPy that fits this machine's driver."""
    version = driver_version()
    extra = "cuda13" if version is not None and version >= 13000 else "cuda12"
    return f"pip install 'gpucnn[{extra}]'"


def _find_cache() -> None:
    """Let CuPy keep compiled kernels in a temporary folder where it cannot write to its own."""
    folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        own = os.environ["CUPY_CACHE_DIR"] = tempfile.mkdtemp(prefix="gpucnn-cupy-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)


def _check_driver(cupy: Any) -> None:
    if driver_version() is None:
        raise BackendError("no NVIDIA driver is installed: CUDA needs one and an NVIDIA GPU")
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            raise BackendError(
                f"the NVIDIA driver is too old for {' '.join(installed_wheels())}: update the "
                f"driver, or {install_line()}"
            ) from None
        raise BackendError(f"no usable GPU: {_line(error)}") from None
    if count < 1:
        raise BackendError("no NVIDIA GPU was found")


def _check_compiler(cupy: Any) -> None:
    """Compile and run a tiny kernel: only that shows that NVRTC and the headers are there."""
    try:
        out = cupy.empty((1,), dtype="int32")
        module = cupy.RawModule(code=PROBE, options=("--std=c++17",))
        module.get_function("probe")((1,), (1,), (out,))
        value = int(cupy.asnumpy(out)[0])
    except Exception as error:
        kind = type(error).__name__
        missing = "NVRTC, CUDA's compiler, is missing" if "NotFound" in kind else "no kernel runs"
        raise BackendError(f"{missing} ({_line(error)}): {install_line()}") from error
    if value != 42:
        raise BackendError("a kernel that writes 42 wrote something else: the GPU or its driver")


def _line(error: BaseException) -> str:
    """Return the first line of an error, shortened."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= 160 else text[:157] + "..."
