"""Guards around the arrays of a device, which show writes outside them without a checking mode.

Each array lies between two zones of bytes 0xff, and so does what it holds before it is written: NaN
in floating-point numbers, -1 in signed integers. A kernel that writes past the end of an array
changes a zone; one that reads there, or that leaves an element unwritten, gets a NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

ZONE = 8192
"""Bytes of a zone: 1024 numbers of float64, as many as the threads of the largest block."""

Array = Any


class Guards:
    """A namespace like CuPy's whose new arrays have guards; everything else is the namespace's."""

    def __init__(self, namespace: Any) -> None:
        self._namespace = namespace
        self._guarded: list[tuple[Array, tuple[int, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, name)

    def empty(self, shape: int | Sequence[int], dtype: DTypeLike = float) -> Array:
        """Return an array whose bytes are 0xff."""
        kind, sizes = np.dtype(dtype), (shape,) if isinstance(shape, int) else tuple(shape)
        unset = np.full(math.prod(sizes) * kind.itemsize, 0xFF, np.uint8)
        return self.asarray(unset.view(kind).reshape(sizes))

    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike = float) -> Array:
        """Return an array of zeros."""
        return self.asarray(np.zeros(shape, dtype))

    def asarray(self, host: NDArray[Any]) -> Array:
        """Return a copy of an array of the host."""
        zone = np.full(ZONE, 0xFF, np.uint8).view(host.dtype)
        flat = np.ascontiguousarray(host).reshape(-1)
        whole = self._namespace.asarray(np.concatenate([zone, flat, zone]))
        self._guarded.append((whole, host.shape))
        return whole[zone.size : zone.size + flat.size].reshape(host.shape)

    def problem(self) -> str:
        """Return what was written outside an array, in one line; empty if nothing was."""
        for whole, shape in self._guarded:
            host = self._namespace.asnumpy(whole)
            zone = ZONE // host.itemsize
            before, after = host[:zone], host[host.size - zone :]
            for position, guard in (("before the start", before), ("after the end", after)):
                changed = (guard.view(np.uint8).reshape(zone, -1) != 0xFF).any(axis=1)
                if changed.any():
                    first = int(np.flatnonzero(changed)[0])
                    distance = zone - first if guard is before else first + 1
                    return (
                        f"a kernel wrote {distance} elements {position} of a {host.dtype} array of "
                        f"shape {shape}; {np.count_nonzero(changed)} elements were written there"
                    )
        return ""
