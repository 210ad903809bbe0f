"""Arrays of the CUDA backend, and the launches of its kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, Shape, host_array
from gpucnn.backends.contract.rings import Ring
from gpucnn.backends.cuda import tiles
from gpucnn.backends.cuda.graphs import MAX_STEPS_PER_GRAPH, CapturedWork
from gpucnn.backends.cuda.loader import Kernels
from gpucnn.backends.cuda.rings import DeviceRing
from gpucnn.backends.cuda.tiles import Tile, Untiled, Variant
from gpucnn.errors import ArrayError, OutOfMemoryError, SettingError

MAX_STAGED = 2**20
"""Bytes of the largest array that is copied to page-locked memory on its way to the device."""


class CudaArrays(Arrays):
    """The contract's arrays in CUDA C.

    ``precision`` "tf32" rounds the operands of large matrix products for the tensor cores of
    compute capability 8.0 and later; SettingError for another GPU or for float64. ``variant``
    selects the kernels of matrix products: "auto" chooses by shape (tiles.py). The other variants
    are for tests and benchmarks, as is setting ``records`` or ``fuses`` to False, so that steps are
    launched kernel by kernel or without the fused kernels of LeNet-5.
    """

    name = "cuda"
    records = True
    share_of_images = 0.5
    """How much of the free memory ``has_room`` gives to the images of a data set."""
    max_launch_work = 5e10
    """Multiply-adds that one launch of captured work may have."""

    def __init__(
        self,
        namespace: Any,
        dtype: DTypeLike = "float32",
        name: str = "cuda",
        notify: Callable[[], None] | None = None,
        precision: str = "ieee",
    ) -> None:
        super().__init__(dtype, precision)
        self._xp = namespace
        self._kernels = Kernels(namespace, self.dtype, notify=notify)
        self.tiles = tiles.load(self._kernels.signatures)
        self.variant: Variant = "auto"
        self.fuses = True
        self.name = name
        if precision == "tf32" and name == "cuda":
            self._require_tensor_cores()
        self.array_type = namespace.ndarray

    @contextmanager
    def allocating_from(self, wrap: Callable[[Any], Any]) -> Iterator[Any]:
        """Make the arrays of the ``with`` by ``wrap(namespace)``, which is yielded.

        Its ``asarray``, ``empty`` and ``zeros`` return arrays of the namespace's own type.
        """
        before = self._xp
        self._xp = wrap(before)
        try:
            yield self._xp
        finally:
            self._xp = before

    def _require_tensor_cores(self) -> None:
        capability = str(self._xp.cuda.Device().compute_capability)
        if int(capability) < 80:
            raise SettingError(
                "precision tf32 requires a GPU of compute capability 8.0 or later; this one has "
                f"{capability[:-1]}.{capability[-1]}: use precision ieee"
            )

    # --- arrays ---------------------------------------------------------------------------------

    def asarray(self, data: Any, dtype: DTypeLike | None = None) -> Array:
        own = isinstance(data, self.array_type)
        if own and data.flags.c_contiguous and self._keeps_type(data, dtype):
            return data
        host = host_array(self._xp.asnumpy(data) if own else data, dtype, self.dtype)
        host = np.asarray(host, order="C")
        if host.nbytes > MAX_STAGED:
            return self._upload(host)
        try:
            # CuPy sets arrays without axes with a kernel of its own.
            return self._xp.asarray(host.reshape(host.shape or (1,))).reshape(host.shape)
        except MemoryError as error:
            raise self._out_of_memory(host.nbytes) from error

    def _upload(self, host: NDArray[Any]) -> Array:
        """Return a large array of the host on the device, copied from where it is.

        For ``asarray`` CuPy copies to page-locked memory first, and keeps that, in blocks of powers
        of two, until the process ends.
        """
        device = self.empty(host.shape, host.dtype)
        device.set(host)
        self.synchronize()  # a GPU may read the memory of the host itself, after set has returned
        return device

    def _keeps_type(self, array: Array, dtype: DTypeLike | None) -> bool:
        """Return whether asarray keeps the type. Copies no element: that would wait."""
        nothing = host_array(np.empty(0, array.dtype), dtype, self.dtype)
        return bool(nothing.dtype == array.dtype)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        host: NDArray[Any] = self._xp.asnumpy(array)  # a new array, C-contiguous
        return host

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return self._allocate(self._xp.empty, tuple(shape), dtype)

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        return self._allocate(self._xp.zeros, tuple(shape), dtype)

    def ring(self, slots: int, slot_size: int, shape: Sequence[int]) -> Ring:
        images = self.empty((slots * slot_size, *shape), np.uint8)
        try:
            return DeviceRing(self._xp.cuda, images, slots)
        except MemoryError as error:
            raise self._out_of_memory(images.nbytes) from error

    def has_room(self, size: int) -> bool:
        if self.name != "cuda":
            return False
        free = self._xp.cuda.runtime.memGetInfo()[0]
        free += self._xp.get_default_memory_pool().free_bytes()
        return bool(size <= self.share_of_images * free)

    def _allocate(
        self, make: Callable[..., Array], shape: tuple[int, ...], dtype: DTypeLike | None
    ) -> Array:
        kind = self.dtype if dtype is None else np.dtype(dtype)
        try:
            return make(shape, kind)
        except MemoryError as error:  # CuPy's OutOfMemoryError is one
            raise self._out_of_memory(math.prod(shape) * kind.itemsize) from error

    def steps_per_launch(self, multiply_adds: float) -> int:
        return max(1, min(MAX_STEPS_PER_GRAPH, int(self.max_launch_work // max(1, multiply_adds))))

    def _capture(
        self, work: Callable[[], None], share_memory_with: Callable[[int], None] | None
    ) -> Callable[[int], None]:
        shared = share_memory_with if isinstance(share_memory_with, CapturedWork) else None
        return CapturedWork(self._xp.cuda, work, shared)

    def _out_of_memory(self, asked: int) -> OutOfMemoryError:
        runtime = getattr(self._xp.cuda, "runtime", None)
        free = f", {runtime.memGetInfo()[0] / 2**20:,.0f} MiB free" if runtime else ""
        return OutOfMemoryError(
            f"out of memory: {asked / 2**20:,.0f} MiB requested{free}",
            "try half the batch size (--batch-size)",
        )

    def synchronize(self) -> None:
        self._xp.cuda.get_current_stream().synchronize()

    def device_name(self) -> str:
        runtime = self._xp.cuda.runtime
        name: bytes = runtime.getDeviceProperties(runtime.getDevice())["name"]
        return name.decode()

    def elapsed(self, work: Callable[[], object]) -> float:
        cuda = self._xp.cuda
        start, end = cuda.Event(), cuda.Event()
        work()
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(start, end)) / 1000

    def _check(
        self,
        op: str,
        name: str,
        array: Array,
        shape: Shape | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super()._check(op, name, array, shape, dtype)
        if not array.flags.c_contiguous:
            raise ArrayError(f"{op}: {name} must be C-contiguous; use backend.asarray")

    def _map(self, kernel: str, *inputs: Array, scalars: tuple[float, ...] = ()) -> Array:
        """Return the output of an element-wise kernel of arrays of one shape.

        The kernel's parameters are the inputs, the output, the number of elements, and the scalars.
        """
        output = self.empty(inputs[0].shape)
        self._kernels.launch_each(kernel, output.size, *inputs, output, output.size, *scalars)
        return output

    def _product(
        self,
        kernel: str,
        rows: int,
        columns: int,
        groups: int,
        *arguments: Any,
        classes: int = 1,
    ) -> None:
        """Launch a matrix product for each group, in the variant that fits the result's shape.

        ``columns`` is counted per stride class; no tile spans two classes.
        """
        tile = self._tile(kernel, rows, columns * classes, groups)
        if isinstance(tile, Untiled):
            elements = rows * columns * classes * groups
            self._kernels.launch_each(f"{kernel}_naive", elements, *arguments)
        else:
            grid = (-(-columns // tile.columns) * classes, -(-rows // tile.rows), groups)
            self._kernels.launch(tile.kernel, grid, *arguments)

    def _tile(self, product: str, rows: int, columns: int, groups: int) -> Tile | Untiled:
        return self.tiles.choose(product, rows, columns, groups, self.variant, self.precision)
