"""A plugin for pytest, which finds it when gpucnn is installed: fixtures to test kernels with.

- ``emulator``: ``gpucnn.emulator`` in its check mode, which reports races, accesses outside arrays,
  and more: ``emulator.RawKernel(code, "name")`` runs a kernel without a GPU.
- ``gpucnn_backend``: each backend that this machine has, one after the other.
- ``check_op``: ``check_op(MyOp)`` fails unless a ``gpucnn.nn.CustomOp`` computes the same by its
  loops, its NumPy functions and its kernels (``gpucnn.testing.assertions.check_op``).

Nothing is imported before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def emulator() -> Iterator[Any]:
    """``gpucnn.emulator`` in check mode; the test is skipped where it cannot run."""
    from gpucnn import emulator
    from gpucnn.errors import BackendError

    try:
        emulator.require()
    except BackendError as error:
        pytest.skip(str(error))
    with emulator.checking():
        yield emulator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``gpucnn_backend`` for each backend of this machine."""
    if "gpucnn_backend" in metafunc.fixturenames:
        from gpucnn.testing.assertions import available

        names = [backend.name for backend in available()]
        metafunc.parametrize("gpucnn_backend", names, indirect=True)


@pytest.fixture
def gpucnn_backend(request: pytest.FixtureRequest) -> Any:
    """A backend of this machine, in float32: numpy, emulated and cuda in turn."""
    from gpucnn.backends import get_backend

    return get_backend(request.param)


@pytest.fixture
def check_op() -> Callable[..., None]:
    """``gpucnn.testing.assertions.check_op``: fails unless a custom operation is correct."""
    from gpucnn.testing.assertions import check_op

    return check_op
