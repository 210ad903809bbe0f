"""Backends: arrays of a device and the operations on them, behind one contract (base.py)."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import DTypeLike

from gpucnn.backends.contract import PRECISIONS, Backend
from gpucnn.backends.numpy import NumpyBackend
from gpucnn.errors import BackendError, SettingError, unknown

__all__ = ["BACKENDS", "PRECISIONS", "Backend", "choose_backend", "get_backend"]

BACKENDS = ("auto", "numpy", "cuda", "emulated")


def get_backend(
    name: str | Backend = "auto",
    dtype: DTypeLike = "float32",
    notify: Callable[[], None] | None = None,
    precision: str = "ieee",
) -> Backend:
    """Return the backend called ``name``, computing in ``dtype`` (float32 or float64).

    "cuda" needs an NVIDIA GPU and CuPy, "emulated" runs the same kernels on the CPU and needs g++,
    "numpy" runs everywhere, and "auto" is CUDA where a kernel runs and NumPy elsewhere. A backend
    is returned as it is. An unknown name raises SettingError; a backend that this machine cannot
    have raises BackendError, which says what is missing: no name but "auto" turns into another.
    ``notify`` is called when kernels have to be compiled, which takes seconds once a machine.

    ``precision`` "tf32" rounds the operands of convolutions and linear layers to TF32 where they
    are large enough for a GPU's tensor cores, as PyTorch's fp32_precision does; "ieee" never does.
    It is for float32 and the kernels: elsewhere it raises SettingError, also from "auto".
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

        emulator.toolchain.find_compiler()  # says what is missing before anything is computed
        backend = CudaBackend(emulator, dtype, "emulated", notify, precision)
        backend.max_launch_work = 2e7  # about a tenth of a second
        return backend
    raise unknown("backend", name, BACKENDS)


def choose_backend(
    dtype: DTypeLike = "float32",
    notify: Callable[[], None] | None = None,
    precision: str = "ieee",
) -> tuple[Backend, str]:
    """Return the backend that "auto" stands for on this machine, and why."""
    try:
        backend = get_backend("cuda", dtype, notify, precision)
        return backend, "a kernel compiled and ran on the GPU"
    except BackendError as error:
        if precision == "tf32":
            raise SettingError(
                f"precision tf32 needs CUDA here, and there is none: {error}"
            ) from None
        return NumpyBackend(dtype, precision), f"no CUDA: {error}"
