"""Arrays of a backend, and work that is captured."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends.contract.checks import (
    Array,
    Checks,
    ParameterGrads,
)
from gpucnn.backends.contract.rings import Ring
from gpucnn.errors import SettingError, unknown

PRECISIONS = ("ieee", "tf32")
"""How matrix products take their operands in float32: as they are, or rounded to TF32."""


class Arrays(Checks, ABC):
    """Arrays of one device and the operations on them, in one floating-point type."""

    name: str

    asynchronous: ClassVar[bool] = True
    """Whether operations return before a device has done them, so that reading a result waits."""

    thread_parallel: ClassVar[bool] = False
    """Whether operations called from several threads run at the same time."""

    records: bool = False
    """Whether ``capture`` records work and replays it as a whole; may be set to False."""

    def __init__(self, dtype: DTypeLike = "float32", precision: str = "ieee") -> None:
        try:
            self.dtype = np.dtype(object if dtype is None else dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise SettingError(f"dtype must be float32 or float64, got {dtype!r}")
        if precision not in PRECISIONS:
            raise unknown("precision", precision, PRECISIONS)
        if precision != "ieee" and self.dtype != np.dtype("float32"):
            raise SettingError(f"precision {precision} is for float32, not {self.dtype}")
        self.precision = precision
        self._constants: dict[tuple[float, ...], Array] = {}

    def __repr__(self) -> str:
        precision = "" if self.precision == "ieee" else f", {self.precision}"
        return f"<{self.name} backend, {self.dtype}{precision}>"

    # --- arrays ---------------------------------------------------------------------------------

    @abstractmethod
    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        """Return ``data`` (an array, a number or nested sequences) as an array of this backend.

        Unless ``dtype`` says otherwise, floating-point data become the backend's dtype and
        integers, labels and indices, become int64.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> NDArray[Any]:
        """Return a copy of ``array`` in host memory, C-contiguous."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array with unset contents, of the backend's dtype unless ``dtype`` is given."""

    @abstractmethod
    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array of zeros, of the backend's dtype unless ``dtype`` is given."""

    def ring(self, slots: int, slot_size: int, shape: Sequence[int]) -> Ring:
        """Return a ring of ``slots`` times ``slot_size`` uint8 images of ``shape`` (C, H, W)."""
        return Ring(self.empty((slots * slot_size, *shape), np.uint8), slots)

    def has_room(self, size: int) -> bool:
        """Return whether a device may keep so many bytes of images that lie in files.

        If not, they are read while steps run (``ring``). The host's memory keeps no such images.
        """
        return False

    def empty_maps(self, shape: Sequence[int]) -> Array:
        """Return an array (N, ...) with unset contents, in the memory order of feature maps."""
        return self.empty(shape)

    def constant(self, values: tuple[float, ...]) -> Array:
        """Return ``values`` as an array of the backend's dtype, the same array at each call.

        It is kept as long as the backend, so that captured work may read it. It must be made before
        the capture, and not be written.
        """
        if values not in self._constants:
            self._constants[values] = self.asarray(np.array(values, np.float64), self.dtype)
        return self._constants[values]

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything that was asked for has been done."""

    def device_name(self) -> str:
        """Return the name of the device, "" if it is the host's processor."""
        return ""

    def elapsed(self, work: Callable[[], object]) -> float:
        """Do ``work`` and return the seconds that it takes on the device; wait for its end.

        On an asynchronous device it is done twice and the second time is measured: while the first
        keeps the device busy, the host asks for the second, so that the time has no gap in it.
        """
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def limit_threads(self) -> AbstractContextManager[None]:
        """Return a context in which the libraries of the host use as many threads as pay.

        It may be entered again within, and by several threads at once.
        """
        return nullcontext()

    def steps_per_launch(self, multiply_adds: float) -> int:
        """Return how many steps of ``multiply_adds`` each one launch of captured work may hold.

        A launch cannot be interrupted, so that a request to stop waits until it has finished.
        """
        return 1

    def capture(
        self,
        work: Callable[[], None],
        record: bool = True,
        share_memory_with: Callable[[int], None] | None = None,
    ) -> Callable[[int], None]:
        """Return ``replay``, a function that does ``work`` a given number of times.

        A backend that ``records`` replays the work as a whole, in few launches. Then the work must
        do the same operations on the same arrays each time, and read none of them on the host: what
        changes from one time to the next must lie in arrays (``begin_step``). Arrays that the work
        allocates keep their memory from replay to replay; ``share_memory_with``, another result of
        this method that never runs at the same time, lends its memory to them. Without ``record``
        the work is done operation by operation, and may do anything.
        """
        if record and self.records:
            return self._capture(work, share_memory_with)

        def replay(times: int) -> None:
            for _ in range(times):
                work()

        return replay

    def _capture(
        self, work: Callable[[], None], share_memory_with: Callable[[int], None] | None
    ) -> Callable[[int], None]:
        raise NotImplementedError

    def _parameter_grads(
        self, op: str, out: ParameterGrads | None, shape: tuple[int, ...], channels: int
    ) -> ParameterGrads:
        """Return ``out`` checked, or fresh arrays for the gradients of weight and bias."""
        if out is None:
            return self.empty(shape), self.empty((channels,))
        self._check(op, "out[0]", out[0], shape)
        if out[1] is not None:
            self._check(op, "out[1]", out[1], (channels,))
        return out
