"""One process that decodes images for all tests of the page: starting it takes a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpucnn.web.decoders import Decoders
from gpucnn.web.uploads import Way


@pytest.fixture(scope="session")
def decoders() -> Iterator[Decoders]:
    with Decoders([Way((1, 28, 28), "digit", None)], seconds=2, count=1) as started:
        yield started
