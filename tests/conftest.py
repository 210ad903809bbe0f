"""Fixtures for the available backends: ``backend`` (both dtypes), ``backend32``, ``backend64``."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import browser
import pytest
from available import BACKENDS, STANDIN, backend_or_skip
from hypothesis import settings

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda import loader
from gpucnn.emulator import functions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples on every run and machine; a slow machine is not a failure.
settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")


# A shell ignores SIGINT in what it runs in the background, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose parameters name the cuda backend: ``pytest -m cuda`` selects them."""
    for item in items:
        call = getattr(item, "callspec", None)
        for value in call.params.values() if call else ():
            parts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(part, str) and part == "cuda" for part in parts):
                item.add_marker("cuda")


def pytest_report_header() -> str | None:
    mode = os.environ.get("STANDIN_MODE", "eager")
    return f"CuPy works on the stand-in for CUDA, {mode} mode" if STANDIN else None


@pytest.fixture(scope="session", params=BACKENDS)
def backend_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    backend_or_skip(name)
    return name


@pytest.fixture(scope="session", params=["float32", "float64"])
def backend(request: pytest.FixtureRequest, backend_name: str) -> Backend:
    return get_backend(backend_name, request.param)


@pytest.fixture(scope="session")
def backend32(backend_name: str) -> Backend:
    return get_backend(backend_name, "float32")


@pytest.fixture(scope="session")
def backend64(backend_name: str) -> Backend:
    return get_backend(backend_name, "float64")


@pytest.fixture(scope="session", autouse=True)
def _backends_launch_their_own_kernels() -> Iterator[None]:
    """The emulator's arrays have arithmetic for users. CuPy launches kernels of its own for it, and
    the cuda backend must not use it.
    """
    arrays = importlib.import_module("gpucnn.emulator.array")  # a function has this name as well
    folder, compute = str(Path(loader.__file__).parent), arrays.compute

    def guarded(*arguments: Any) -> Any:
        frame = inspect.currentframe()
        while frame:
            assert not frame.f_code.co_filename.startswith(folder), "no kernel of gpucnn computes"
            frame = frame.f_back
        return compute(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        for module in (arrays, functions):
            patch.setattr(module, "compute", guarded)
        yield


@pytest.fixture
def launched() -> Iterator[list[str]]:
    """The names of the kernels that are launched from now on, in their order."""
    with loader.recording_launches() as names:
        yield names


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser (tests/browser.py).

    Playwright's event loop runs in this thread until the browser is closed, and ``asyncio.run``
    fails meanwhile: so the browser does not outlive the module.
    """
    with browser.launch() as running:
        yield running
