"""What the tests of the emulator share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from available import backend_or_skip

from gpucnn import emulator
from gpucnn.emulator import settings


@pytest.fixture(autouse=True)
def _same_settings() -> Iterator[None]:
    before = settings.current()
    yield
    emulator.configure(before.mode, before.order, before.seed, before.threads)


@pytest.fixture
def needs_emulator() -> None:
    """Skip the test where the emulator cannot run."""
    backend_or_skip("emulated")
