"""Arrays in the emulated device's memory."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gpucnn.emulator import graphs
from gpucnn.emulator.memory import Memory, MemoryPointer, alloc_unpooled, get_allocator
from gpucnn.errors import ArrayError, ShapeError

Shape = int | Sequence[int]


class _Device:
    id = 0


_DEVICE = _Device()


class ndarray:
    """An array on the emulated device, with the attributes of CuPy's class of this name.

    It is not a numpy.ndarray, is not converted to one implicitly, and has no arithmetic: kernels
    compute. Basic slices, ``T`` and ``reshape`` are views of the same memory.
    """

    __slots__ = (
        "_host", "_memory", "base", "data", "dtype", "flags", "ndim", "shape", "size", "strides",
    )  # fmt: skip
    __array_ufunc__ = None  # NumPy's operators raise TypeError instead of converting

    def __init__(
        self, data: MemoryPointer, host: np.ndarray[Any, Any], base: ndarray | None = None
    ) -> None:
        self.data = data
        self._memory = data.mem
        self.base = base  # the array that this is a view of, itself not a view
        self._host = host  # the same memory, as NumPy sees it
        self.shape: tuple[int, ...] = host.shape
        self.strides: tuple[int, ...] = host.strides
        self.dtype = host.dtype
        self.size = host.size
        self.ndim = host.ndim
        self.flags = host.flags

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self._host.nbytes

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.dtype.itemsize)

    @property
    def device(self) -> _Device:
        """The only device; its ``id`` is 0."""
        return _DEVICE

    @property
    def T(self) -> ndarray:
        """The transpose, a view."""
        return self._view(self._host.T)

    def reshape(self, *shape: Any) -> ndarray:
        """Return a view of another shape; one length may be -1. ShapeError if there is none."""
        wanted = shape if len(shape) != 1 or isinstance(shape[0], SupportsIndex) else shape[0]
        try:
            view = self._host.reshape(wanted)
        except ValueError as error:
            raise ShapeError(str(error)) from None
        if view.size and not np.may_share_memory(view, self._host):
            raise ShapeError(f"an array of strides {self.strides} has no view of shape {wanted}")
        return self._view(view)

    def ravel(self) -> ndarray:
        """Return a view in one dimension."""
        return self.reshape(-1)

    def get(self) -> np.ndarray[Any, Any]:
        """Return a copy on the host."""
        graphs.refuse("a copy to the host")
        return self._host.copy()

    def set(self, values: np.ndarray[Any, Any]) -> None:
        """Copy from an array of the host of the same shape and dtype."""
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype:
            raise ArrayError(f"set() requires a numpy.ndarray of {self.dtype}")
        if values.shape != self.shape:
            raise ShapeError(f"set() requires shape {self.shape}, got {values.shape}")
        graphs.refuse("a copy from the host")
        self._assign(self._host, values)

    def fill(self, value: complex) -> None:
        """Set every element to one value."""
        self._assign(self._host, value)

    def copy(self) -> ndarray:
        """Return a C-contiguous copy."""
        made = empty(self.shape, self.dtype)
        made[...] = self
        return made

    def item(self) -> Any:
        """Return the only element as a Python number."""
        return self.get().item()

    def __getitem__(self, key: Any) -> ndarray:
        return self._view(self._host[_basic(key)])

    def _view(self, host: np.ndarray[Any, Any]) -> ndarray:
        start = host.__array_interface__["data"][0]
        data = MemoryPointer(self.data.mem, start, self.data.owner)
        return ndarray(data, host, self if self.base is None else self.base)

    def __setitem__(self, key: Any, value: Any) -> None:
        view = self._host[_basic(key)]
        if isinstance(value, ndarray):
            self._assign(view, value._host, value._memory)
        elif np.isscalar(value):
            self._assign(view, value)
        else:
            raise ArrayError(
                f"cannot assign {type(value).__name__}: use asarray() or set() for host arrays"
            )

    def _assign(self, view: np.ndarray[Any, Any], value: Any, *sources: Memory) -> None:
        try:
            np.broadcast_to(value, view.shape)
        except ValueError as error:
            raise ShapeError(str(error)) from None
        _write("an assignment", self._memory, view, value, *sources)

    def __len__(self) -> int:
        return len(self._host)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ArrayError("an array of the emulator is not a NumPy array: use asnumpy()")

    def __repr__(self) -> str:
        return f"emulator.{self._host!r}"


def _write(
    name: str, memory: Memory, view: np.ndarray[Any, Any], value: Any, *sources: Memory
) -> None:
    """Set the elements of a view: now, or at each replay if the stream captures."""
    reference = weakref.ref(memory)  # a graph keeps no array alive

    def run() -> None:
        view[...] = value
        owner = reference()
        assert owner is not None
        owner.mark_written(view)

    graphs.do(name, (memory, *sources), run)


def _basic(key: Any) -> tuple[Any, ...]:
    """Return a key of basic indexing, which gives views; ArrayError for any other."""
    keys = key if isinstance(key, tuple) else (key,)
    for part in keys:
        index = isinstance(part, int | np.integer) and not isinstance(part, bool)
        if not (index or part is None or part is Ellipsis or isinstance(part, slice)):
            raise ArrayError("arrays of the emulator accept only integers and slices as indices")
    return keys if Ellipsis in keys else (*keys, Ellipsis)  # so that a single element is an array


def _allocate(shape: Shape, dtype: DTypeLike, poison: bool) -> ndarray:
    lengths = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ArrayError("arrays of the emulator cannot hold Python objects")
    nbytes = math.prod(int(length) for length in lengths) * kind.itemsize
    allocate = get_allocator()
    data = alloc_unpooled(nbytes, poison) if allocate is alloc_unpooled else allocate(nbytes)
    return ndarray(data, np.ndarray(lengths, kind, data.mem.buffer, data.ptr - data.mem.ptr))


def empty(shape: Shape, dtype: DTypeLike = float) -> ndarray:
    """Return an array with unset contents, which read as NaN or -1.

    Check mode finds kernels that read them. Raises MemoryError if the arena is full.
    """
    return _allocate(shape, dtype, poison=True)


def zeros(shape: Shape, dtype: DTypeLike = float) -> ndarray:
    """Return an array of zeros."""
    made = _allocate(shape, dtype, poison=False)
    if get_allocator() is not alloc_unpooled or graphs.get_current_stream().is_capturing():
        made.fill(0)
    return made


def asarray(values: ArrayLike | ndarray, dtype: DTypeLike | None = None) -> ndarray:
    """Return ``values`` on the device, C-contiguous; a device array of that dtype unchanged."""
    if isinstance(values, ndarray):
        if dtype is None or np.dtype(dtype) == values.dtype:
            return values
        host = values.get().astype(dtype)
    else:
        graphs.refuse("a copy from the host")
        host = np.asarray(values, dtype)
    made = _allocate(host.shape, host.dtype, poison=False)
    made._assign(made._host, host)
    return made


def asnumpy(array: ndarray) -> np.ndarray[Any, Any]:
    """Return a copy on the host."""
    if not isinstance(array, ndarray):
        raise ArrayError(f"asnumpy() requires an array of the emulator, got {type(array).__name__}")
    return array.get()
