"""The backends that tests can use on this machine."""

from __future__ import annotations

import os

import pytest

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda.probe import driver_version
from gpucnn.errors import BackendError

GPU_REQUIRED = os.environ.get("GPUCNN_REQUIRE_GPU") == "1"

BACKENDS = ["numpy", "emulated", "cuda"]
# Without a GPU, one test is skipped (test_consistency.py), not thousands.
if driver_version() is None and not GPU_REQUIRED:
    BACKENDS.remove("cuda")


DTYPES = {
    "numpy": ("float32", "float64"),
    "emulated": ("float32",),
    "cuda": ("float32", "float64"),
}
"""The dtypes in which a backend computes the table of cases outside the emulator's check mode."""


def backend_or_skip(name: str, dtype: str = "float32") -> Backend:
    """Return a backend; skip the test where this machine lacks it, unless a GPU is required."""
    try:
        return get_backend(name, dtype)
    except BackendError as error:
        if name == "cuda" and GPU_REQUIRED:
            pytest.fail(f"a GPU is required: {error}", pytrace=False)
        pytest.skip(f"{name}: {error}")
