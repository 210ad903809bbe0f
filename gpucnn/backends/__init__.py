"""Backends: arrays of a device and the operations on them, behind one contract (base.py)."""

from __future__ import annotations

from numpy.typing import DTypeLike

from gpucnn.backends.base import Backend
from gpucnn.backends.numpy import NumpyBackend
from gpucnn.errors import unknown

__all__ = ["BACKENDS", "Backend", "get_backend"]

BACKENDS = ("auto", "numpy")


def get_backend(name: str | Backend = "auto", dtype: DTypeLike = "float32") -> Backend:
    """Return the backend called ``name``, computing in ``dtype`` (float32 or float64).

    "numpy" runs everywhere; "auto" takes the fastest that works on this machine. A backend is
    returned as it is. An unknown name raises SettingError.
    """
    if isinstance(name, Backend):
        return name
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    return NumpyBackend(dtype)
