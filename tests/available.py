"""The backends that tests can use on this machine, and what they compute; CuPy."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gpucnn.backends import Backend, get_backend
from gpucnn.backends.cuda.probe import driver_version
from gpucnn.errors import BackendError
from gpucnn.testing.case import Case

STANDIN = os.environ.get("STANDIN") == "1"
"""Whether CuPy works on the stand-in for CUDA (tests/standin/run)."""

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


def cases_for(name: str, cases: Iterable[Case]) -> list[Case]:
    """Return the cases that a backend computes in a test of the kernels themselves.

    On the stand-in the emulator runs the kernels of the cuda backend, and has run them in all cases
    under its own name. Left is how CuPy launches them: a case of each operation shows that, the one
    with the most arrays and options.
    """
    if name != "cuda" or not STANDIN:
        return list(cases)
    ordered = sorted(cases, key=lambda case: (len(case.arrays()), len(case.options)))
    return list({case.op: case for case in ordered}.values())


def backend_or_skip(name: str, dtype: str = "float32") -> Backend:
    """Return a backend; skip the test where this machine lacks it, unless a GPU is required."""
    try:
        return get_backend(name, dtype)
    except BackendError as error:
        if name == "cuda":
            _skip_cuda(error)
        pytest.skip(f"{name}: {error}")


def cupy_or_skip() -> Any:
    """Return CuPy; skip the test where it is not installed, unless a GPU is required."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where there is no CUDA
            return importlib.import_module("cupy")
    except ImportError as error:
        _skip_cuda(error)


def _skip_cuda(error: Exception) -> NoReturn:
    if GPU_REQUIRED:
        pytest.fail(f"a GPU is required: {error}", pytrace=False)
    if driver_version() is not None:
        pytest.skip(f"cuda: {error}")
    _skip_without_driver()


def standin_or_skip(reason: str) -> None:
    """Skip a test, or a module, that needs the stand-in; ``reason`` is why a GPU does not do."""
    if STANDIN:
        return
    if driver_version() is not None:
        pytest.skip(f"stand-in only: {reason}", allow_module_level=True)
    _skip_without_driver()


def _skip_without_driver() -> NoReturn:
    """Skip a test or a module; all give the same reason, which pytest prints once."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    pytest.skip(
        f"no GPU; these also run on the stand-in for CUDA: tests/standin/setup {python} && "
        f"tests/standin/run {python.with_name('pytest')} -m cuda",
        allow_module_level=True,
    )
