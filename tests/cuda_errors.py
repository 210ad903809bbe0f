"""Errors with the names of CuPy's classes, and the texts that CuPy gives them."""

from __future__ import annotations


class CUDARuntimeError(RuntimeError):
    """As of a function of the CUDA runtime."""


class CUDADriverError(RuntimeError):
    """As of a function of the driver."""


def illegal_address() -> CUDADriverError:
    """Return what every call reports after a kernel has accessed memory that is not its own."""
    return CUDADriverError(
        "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered\nmore"
    )
