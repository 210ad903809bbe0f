"""CuPy and its requirements: whether they work on this machine, and if not, what to install."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import re
import shutil
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpucnn.errors import BackendError

_METADATA = re.compile(r"(cupy(?:_cuda\w*)?)-[^-]+(?:-.*)?\.(?:dist|egg)-info", re.IGNORECASE)
"""The folder of the metadata of a CuPy: cupy_cuda12x-14.2.0.dist-info."""

PROBE = 'extern "C" __global__ void probe(int* out) { *out = 42; }'


_preferred = 0


def import_cupy() -> Any:
    """Return the CuPy module after running a kernel on the GPU.

    Raises BackendError with what is missing and the command that installs it.
    """
    wheels = installed_wheels()
    if len(wheels) > 1:
        names = " and ".join(wheels)
        raise BackendError(
            f"{names} are both installed and conflict: "
            f"pip uninstall {' '.join(wheels)}, then {install_line()}"
        )
    _find_cache()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about what is checked below
            cupy = importlib.import_module("cupy")
    except Exception as error:  # CuPy loads libraries of CUDA, which may fail in other ways
        if not wheels:
            raise BackendError(f"CuPy is not installed: {install_line()}") from None
        raise BackendError(
            f"CuPy cannot be imported ({_first_line(error)}): {install_line()}"
        ) from error
    _check_driver(cupy)
    if _preferred:
        cupy.cuda.Device(_preferred % cupy.cuda.runtime.getDeviceCount()).use()
    _check_compiler(cupy)
    return cupy


def prefer_gpu(number: int) -> None:
    """Have this process use another GPU than the first; numbers beyond the last count from 0."""
    global _preferred
    _preferred = number


def installed_wheels() -> list[str]:
    """Return the names of the installed distributions that provide CuPy.

    They are those of the folders of metadata: to read the metadata of every package takes longer
    than to run a kernel.
    """
    found: set[str] = set()
    for folder in sys.path:
        with suppress(OSError):  # a zip file, or a folder that does not exist
            matches = filter(None, map(_METADATA.fullmatch, os.listdir(folder or ".")))
            found.update(match[1].lower().replace("_", "-") for match in matches)
    return sorted(found)


def driver_version() -> int | None:
    """Return the CUDA version that the driver supports, 12040 for 12.4; None without a driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    version = ctypes.c_int()
    return version.value if driver.cuDriverGetVersion(ctypes.byref(version)) == 0 else None


def install_line() -> str:
    """Return the command that installs the CuPy for this machine's driver."""
    version = driver_version()
    extra = "cuda13" if version is not None and version >= 13000 else "cuda12"
    return f"pip install 'gpucnn[{extra}]'"


def _find_cache() -> None:
    """Set CuPy's cache to a temporary folder if its own is not writable.

    Raises BackendError if there is no temporary folder either.
    """
    folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    if not os.environ.get("CUPY_CACHE_DIR", folder):
        del os.environ["CUPY_CACHE_DIR"]  # CuPy would take an empty name for a folder's
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        try:
            own = os.environ["CUPY_CACHE_DIR"] = tempfile.mkdtemp(prefix="gpucnn-cupy-")
        except OSError:
            raise BackendError(
                f"CuPy's cache {folder} cannot be written ({error.strerror}), nor can a temporary "
                "folder: set CUPY_CACHE_DIR to a folder that can"
            ) from None
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
        raise BackendError(f"no usable GPU: {_first_line(error)}") from None
    if count < 1:
        raise BackendError("no NVIDIA GPU was found")


def _check_compiler(cupy: Any) -> None:
    """Compile and run a small kernel: nothing else shows that NVRTC and its headers work."""
    try:
        out = cupy.empty((1,), dtype="int32")
        module = cupy.RawModule(code=PROBE, options=("--std=c++17",))
        module.get_function("probe")((1,), (1,), (out,))
        value = int(cupy.asnumpy(out)[0])
    except Exception as error:
        kind = type(error).__name__
        if isinstance(error, MemoryError) or "MemoryAllocation" in str(error):
            raise BackendError(
                f"the GPU has no free memory ({_first_line(error)}): end other programs that use "
                "it, which nvidia-smi lists"
            ) from error
        missing = "NVRTC, CUDA's compiler, is missing" if "NotFound" in kind else "no kernel runs"
        raise BackendError(f"{missing} ({_first_line(error)}): {install_line()}") from error
    if value != 42:
        raise BackendError(f"a kernel that writes 42 wrote {value}: check the GPU and its driver")


def _first_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message, at most 160 characters."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= 160 else text[:157] + "..."
