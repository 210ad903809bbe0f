"""What the tests of CUDA's rules read from the device."""

from __future__ import annotations

from typing import Any


def values(array: Any) -> list[float]:
    """Return an array's values after all work of the device."""
    import cupy

    cupy.cuda.Device().synchronize()
    found: list[float] = cupy.asnumpy(array).tolist()
    return found
