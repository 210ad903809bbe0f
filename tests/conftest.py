"""The backends that tests run on: a test takes ``backend`` (both dtypes) or ``backend64``."""

from __future__ import annotations

import pytest
from hypothesis import settings

from gpucnn.backends import Backend, get_backend

BACKENDS = ("numpy",)

# The same examples on every run and machine; a slow machine is not a failure.
settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session", params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session", params=["float32", "float64"])
def backend(request: pytest.FixtureRequest, backend_name: str) -> Backend:
    return get_backend(backend_name, request.param)


@pytest.fixture(scope="session")
def backend64(backend_name: str) -> Backend:
    return get_backend(backend_name, "float64")
