"""Arrays of the NumPy backend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, host_array
from gpucnn.backends.numpy.threads import one_thread
from gpucnn.errors import DataError, SettingError


class NumpyArrays(Arrays):
    """The contract in NumPy."""

    name = "numpy"
    asynchronous = False
    thread_parallel = True  # NumPy releases the global interpreter lock while it computes
    array_type = np.ndarray

    def __init__(self, dtype: DTypeLike = "float32", precision: str = "ieee") -> None:
        if precision == "tf32":
            raise SettingError(
                "precision tf32 is for the backends cuda and emulated, not for numpy"
            )
        super().__init__(dtype, precision)
        _keep_freed_memory()

    # --- arrays ---------------------------------------------------------------------------------

    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        return host_array(data, dtype, self.dtype)

    def to_numpy(self, array: Array) -> Array:
        return np.array(array, order="C", copy=True)

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return np.empty(tuple(shape), self.dtype if dtype is None else dtype)

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return np.zeros(tuple(shape), self.dtype if dtype is None else dtype)

    def empty_maps(self, shape: Sequence[int]) -> Array:
        if len(shape) < 3:
            return self.empty(shape)
        samples, *maps = shape
        return np.moveaxis(self.empty((*maps, samples)), -1, 0)

    def synchronize(self) -> None:
        pass

    def limit_threads(self) -> AbstractContextManager[None]:
        return one_thread()

    def _check_within(self, op: str, name: str, indices: Array, count: int, what: str) -> None:
        unsigned = indices.view(np.uint64)  # negative numbers become larger than any index
        if np.maximum.reduce(unsigned, None) >= count:
            index = np.unravel_index((unsigned >= count).argmax(), indices.shape)
            where = ", ".join(map(str, index))
            raise DataError(
                f"{op}: {name}[{where}] is {indices[index]}, outside the {count} {what}"
            )


def _keep_freed_memory() -> None:
    """Make the C library reuse up to 64 MiB of freed memory instead of returning it to the system.

    The GNU C library adapts its threshold to the largest block freed so far, of at most 32 MiB:
    here one that is never written. Otherwise the pages of some arrays are mapped again at each
    call, which can take twice as long as the operation.
    """
    with suppress(MemoryError):
        np.empty((32 << 20) - (1 << 16), np.uint8)
