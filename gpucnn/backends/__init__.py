"""Backends: the arrays of a device and the operations on them, with one contract for all."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import DTypeLike

from gpucnn.backends.contract import PRECISIONS, Augmentation, Backend
from gpucnn.backends.numpy import NumpyBackend
from gpucnn.errors import BackendError, SettingError, unknown

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "Augmentation",
    "Backend",
    "choose_backend",
    "device_error",
    "get_backend",
    "has_nvidia_driver",
    "prefer_gpu",
]

BACKENDS = ("auto", "numpy", "cuda", "emulated")


def get_backend(
    name: str | Backend = "auto",
    dtype: DTypeLike = "float32",
    notify: Callable[[], None] | None = None,
    precision: str = "ieee",
) -> Backend:
    """Return a backend by name.

    Parameters
    ----------
    name : {"auto", "numpy", "cuda", "emulated"} or Backend
        "cuda" requires an NVIDIA GPU and CuPy. "emulated" runs the same kernels on the CPU and
        requires g++. "numpy" runs everywhere. "auto" is "cuda" if a kernel compiles and runs, else
        "numpy". A Backend is returned unchanged.
    dtype : {"float32", "float64"}
        The floating-point type of all arrays.
    notify : callable, optional
        Called before kernels are compiled, which takes seconds and is needed once per machine.
    precision : {"ieee", "tf32"}
        "tf32" rounds the operands of large convolutions and linear layers to TF32 for the GPU's
        tensor cores, as PyTorch's fp32_precision does. It requires float32 and "cuda" or
        "emulated".

    Raises
    ------
    SettingError
        For an unknown name, dtype or precision, or a precision that the backend does not have.
    BackendError
        If this machine cannot run the backend; the message says what is missing. Only "auto" falls
        back to another backend.
    """
    if isinstance(name, Backend):
        return name
    if name == "auto":
        return choose_backend(dtype, notify, precision)[0]
    if name == "numpy":
        return NumpyBackend(dtype, precision)
    if name == "cuda":
        from gpucnn.backends.cuda import CudaBackend
        from gpucnn.backends.cuda.probe import import_cupy

        return CudaBackend(import_cupy(), dtype, name="cuda", notify=notify, precision=precision)
    if name == "emulated":
        from gpucnn import emulator
        from gpucnn.backends.cuda import CudaBackend

        emulator.toolchain.find_compiler()  # raises if there is none, before anything is computed
        backend = CudaBackend(emulator, dtype, "emulated", notify, precision)
        backend.max_launch_work = 2e7  # about a tenth of a second
        return backend
    raise unknown("backend", name, BACKENDS)


def device_error(error: BaseException) -> str | None:
    """Return what a device reported, in one line; None if ``error`` is not an error of a device."""
    from gpucnn.backends.cuda import errors

    return errors.device_error(error)


def choose_backend(
    dtype: DTypeLike = "float32",
    notify: Callable[[], None] | None = None,
    precision: str = "ieee",
) -> tuple[Backend, str]:
    """Return the backend that "auto" selects on this machine, and the reason."""
    try:
        backend = get_backend("cuda", dtype, notify, precision)
        return backend, "a kernel compiled and ran on the GPU"
    except BackendError as error:
        if precision == "tf32":
            raise SettingError(
                f"precision tf32 requires CUDA, which is not available: {error}"
            ) from None
        return NumpyBackend(dtype, precision), f"CUDA is not available: {error}"


def prefer_gpu(number: int) -> None:
    """Have "cuda" and "auto" use another GPU than the first; numbers beyond the last start over."""
    from gpucnn.backends.cuda import probe

    probe.prefer_gpu(number)


def has_nvidia_driver() -> bool:
    """Return whether this machine has a driver for an NVIDIA GPU, whether or not CUDA works."""
    from gpucnn.backends.cuda.probe import driver_version

    return driver_version() is not None
