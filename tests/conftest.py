"""The backends that tests run on: a test takes ``backend`` (both dtypes) or ``backend64``."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings

from gpucnn.backends import Backend, get_backend, kernels
from gpucnn.backends.probe import driver_version
from gpucnn.errors import BackendError

GPU_REQUIRED = os.environ.get("GPUCNN_REQUIRE_GPU") == "1"

BACKENDS = ["numpy", "emulated", "cuda"]
# Where there can be no GPU, one test says so (test_consistency.py) and not each of thousands.
if driver_version() is None and not GPU_REQUIRED:
    BACKENDS.remove("cuda")

# The same examples on every run and machine; a slow machine is not a failure.
settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")


def backend_or_skip(name: str, dtype: str = "float32") -> Backend:
    """Return a backend; skip the test where this machine lacks it, unless a GPU is required."""
    try:
        return get_backend(name, dtype)
    except BackendError as error:
        if name == "cuda" and GPU_REQUIRED:
            pytest.fail(f"a GPU is required: {error}", pytrace=False)
        pytest.skip(f"{name}: {error}")


@pytest.fixture(scope="session", params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    backend_or_skip(name)
    return name


@pytest.fixture(scope="session", params=["float32", "float64"])
def backend(request: pytest.FixtureRequest, backend_name: str) -> Backend:
    return get_backend(backend_name, request.param)


@pytest.fixture(scope="session")
def backend64(backend_name: str) -> Backend:
    return get_backend(backend_name, "float64")


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels that are launched from now on, in their order."""
    names: list[str] = []
    launch = kernels._Kernel.launch

    def noted(kernel: kernels._Kernel, *arguments: Any) -> None:
        names.append(kernel.signature.name)
        launch(kernel, *arguments)

    monkeypatch.setattr(kernels._Kernel, "launch", noted)
    return names
