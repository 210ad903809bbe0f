"""Peak memory of a call, for tests of files that would fill the memory if they were unpacked."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any


def peak_memory(function: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """Return the result of a call and the most bytes that it had allocated at one time."""
    tracemalloc.start()
    try:
        result = function(*arguments)
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
