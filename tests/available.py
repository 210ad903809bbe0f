"""The backends that tests can run on here."""

from __future__ import annotations

import os

import pytest

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda.probe import driver_version
from gpucnn.errors import BackendError

GPU_REQUIRED = os.environ.get("GPUCNN_REQUIRE_GPU") == "1"

BACKENDS = ["numpy", "emulated", "cuda"]
# Where there can be no GPU, one test says so (test_consistency.py) and not each of thousands.
if driver_version() is None and not GPU_REQUIRED:
    BACKENDS.remove("cuda")


def backend_or_skip(name: str, dtype: str = "float32") -> Backend:
    """Return a backend; skip the test where this machine lacks it, unless a GPU is required."""
    try:
        return get_backend(name, dtype)
    except BackendError as error:
        if name == "cuda" and GPU_REQUIRED:
            pytest.fail(f"a GPU is required: {error}", pytrace=False)
        pytest.skip(f"{name}: {error}")
