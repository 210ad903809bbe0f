"""Arrays in the emulated device's memory."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gpucnn.emulator import graphs
from gpucnn.emulator.device import Device
from gpucnn.emulator.errors import EmulatorError, Kind
from gpucnn.emulator.memory import Memory, MemoryPointer, get_allocator
from gpucnn.emulator.operators import Operators, host_values
from gpucnn.errors import ArrayError, SettingError, ShapeError

Shape = int | Sequence[int]


class ndarray(Operators):
    """An array on the emulated device, with the attributes of CuPy's class of this name.

    It is not a numpy.ndarray, and is not converted to one implicitly. Basic slices and ``T`` are
    views of the same memory, and ``reshape`` where it can. Operators, and NumPy's functions of
    device arrays, give new device arrays; NumPy computes them, and no kernel is launched.
    """

    __slots__ = (
        "_host", "_memory", "base", "data", "dtype", "flags", "ndim", "shape", "size", "strides",
    )  # fmt: skip

    def __init__(
        self,
        shape: Shape,
        dtype: DTypeLike = float,
        memptr: MemoryPointer | None = None,
        strides: Sequence[int] | None = None,
        order: Literal["C", "F"] = "C",
    ) -> None:
        """An array with unset contents, or of the memory from ``memptr`` on."""
        lengths, kind = _lengths(shape), _device_dtype(dtype)
        if memptr is None:
            memptr = get_allocator()(math.prod(lengths) * kind.itemsize)
        mem = memptr.mem
        try:
            host: np.ndarray[Any, Any] = np.ndarray(
                lengths, kind, mem.buffer, memptr.ptr - mem.ptr, strides, order
            )
        except (TypeError, ValueError) as error:
            raise ShapeError(
                f"an array {lengths} of {kind} does not fit in {mem.nbytes} bytes: {error}"
            ) from None
        self._set(memptr, host, None)

    def _set(self, data: MemoryPointer, host: np.ndarray[Any, Any], base: ndarray | None) -> None:
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
    def device(self) -> Device:
        """The only device; its ``id`` is 0."""
        return Device()

    @property
    def T(self) -> ndarray:
        """The transpose, a view."""
        return self._view(self._host.T)

    def reshape(self, *shape: Any) -> ndarray:
        """Return an array of another shape, a view if there is one; one length may be -1."""
        wanted = shape if len(shape) != 1 or isinstance(shape[0], int | np.integer) else shape[0]
        try:
            view = self._host.reshape(wanted)
        except ValueError as error:
            raise ShapeError(str(error)) from None
        if view.size and not np.may_share_memory(view, self._host):
            return self.copy().reshape(wanted)
        return self._view(view)

    def get(self) -> np.ndarray[Any, Any]:
        """Return a copy on the host."""
        if self.size:
            graphs.refuse_copy()
        return self._host.copy()

    def set(self, values: np.ndarray[Any, Any], stream: graphs.Stream | None = None) -> None:
        """Copy from an array of the host of the same shape and dtype, by default at once.

        With a ``stream`` the copy is work of that stream: also it is done before this returns.
        """
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype:
            raise ArrayError(f"set() requires a numpy.ndarray of {self.dtype}")
        if values.shape != self.shape:
            raise ShapeError(f"set() requires shape {self.shape}, got {values.shape}")
        if not self.flags.forc:
            raise EmulatorError(
                f"set() requires a contiguous array, not strides {self.strides}",
                kind=Kind.ARGUMENT,
            )
        with stream or graphs.get_current_stream():
            graphs.refuse_copy()
            self._assign(values)

    def fill(self, value: complex | ndarray) -> None:
        """Set every element to one value."""
        sources: tuple[Memory, ...] = ()
        if isinstance(value, ndarray):
            number, sources = value._host, (value._memory,)
        else:
            number = np.asarray(value, self.dtype)
        if number.ndim:
            raise ShapeError("an array is not one value: use set(), or asarray() and x[...] = y")
        self._assign(number, *sources)

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
        data = MemoryPointer(self._memory, start - self._memory.ptr, self.data._owner)
        view = ndarray.__new__(ndarray)
        view._set(data, host, self if self.base is None else self.base)
        return view

    def __setitem__(self, key: Any, value: Any) -> None:
        view = self[key]
        if isinstance(value, ndarray):
            view._assign(value._host, value._memory)
        else:
            view.fill(value)

    def _assign(self, values: np.ndarray[Any, Any], *sources: Memory) -> None:
        """Set the elements: now, or at each replay if the stream captures."""
        extra = values.ndim - self.ndim
        if extra > 0 and set(values.shape[:extra]) == {1}:
            values = values.reshape(values.shape[extra:])
        if values.ndim and values.shape != self.shape:
            try:
                np.broadcast_to(values, self.shape)
            except ValueError as error:
                raise ShapeError(str(error)) from None
        if not self.size:
            return
        host, reference = self._host, weakref.ref(self._memory)  # a graph keeps no array alive

        def run() -> None:
            host[...] = values
            owner = reference()
            assert owner is not None
            owner.mark_written(host)

        graphs.do("an assignment", (self._memory, *sources), run)

    def ravel(self) -> ndarray:
        """Return the elements in one dimension, a view if there is one."""
        return self.reshape(-1)

    def flatten(self) -> ndarray:
        """Return a copy of the elements in one dimension."""
        return self.copy().reshape(-1)

    def transpose(self, *axes: Any) -> ndarray:
        """Return a view with the axes in another order, by default reversed."""
        return self._view(self._host.transpose(*axes))

    def swapaxes(self, one: int, other: int) -> ndarray:
        """Return a view with two axes exchanged."""
        return self._view(self._host.swapaxes(one, other))

    def squeeze(self, axis: Any = None) -> ndarray:
        """Return a view without axes of length 1."""
        return self._view(self._host.squeeze(axis))

    def view(self, dtype: DTypeLike | None = None) -> ndarray:
        """Return a view of the same bytes as another dtype."""
        return self._view(self._host.view() if dtype is None else self._host.view(dtype))

    def astype(self, dtype: DTypeLike, copy: bool = True) -> ndarray:
        """Return the elements as another dtype; this array if ``copy`` is false and it has it."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        made = empty(self.shape, dtype)
        made[...] = self
        return made

    def tolist(self) -> Any:
        """Return the elements as Python numbers in lists."""
        return self.get().tolist()

    @property
    def real(self) -> ndarray:
        """The real parts, a view."""
        return self._view(self._host.real)

    @property
    def imag(self) -> ndarray:
        """The imaginary parts: a view of a complex array."""
        return self._view(self._host.imag) if self.dtype.kind == "c" else zeros_of(self)

    def __len__(self) -> int:
        return len(self._host)

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def _compute(
        self, function: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any = None
    ) -> Any:
        return compute(function, args, options, out)

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ArrayError("an array of the emulator is not a NumPy array: use asnumpy()")

    def __str__(self) -> str:
        return str(self._host)

    def __repr__(self) -> str:
        return f"emulator.{self._host!r}"


def _basic(key: Any) -> tuple[Any, ...]:
    """Return a key of basic indexing, which gives views; ArrayError for any other."""
    keys = key if isinstance(key, tuple) else (key,)
    for part in keys:
        index = isinstance(part, int | np.integer) and not isinstance(part, bool)
        if not (index or part is None or part is Ellipsis or isinstance(part, slice)):
            raise ArrayError("arrays of the emulator accept only integers and slices as indices")
    return keys if Ellipsis in keys else (*keys, Ellipsis)  # so that a single element is an array


def empty(shape: Shape, dtype: DTypeLike = float, order: Literal["C", "F"] = "C") -> ndarray:
    """Return an array with unset contents, which read as NaN or -1.

    Check mode finds kernels that read them. Raises MemoryError if the arena is full.
    """
    return ndarray(shape, dtype, order=order)


def _lengths(shape: Shape) -> tuple[int, ...]:
    given = (shape,) if isinstance(shape, int | np.integer) else shape
    lengths = tuple(operator.index(length) for length in given)
    if min(lengths, default=0) < 0:
        raise ShapeError(f"negative lengths are not allowed: {lengths}")
    return lengths


def _device_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind.char not in "?bBhHiIlLqQefdFDV" or not kind.isnative:
        raise SettingError(f"arrays of the device cannot hold {kind}")
    return kind


def zeros_of(array: ndarray) -> ndarray:
    """Return an array of zeros of the shape and dtype of another."""
    return zeros(array.shape, array.dtype)


def compute(
    function: Any, args: tuple[Any, ...], options: dict[str, Any], out: ndarray | None = None
) -> Any:
    """Return what a function of NumPy gives for device arrays, as device arrays.

    While a stream captures, the function is called again at each replay.
    """
    memories: list[Any] = []
    hosts = host_values(args, ndarray, memories)
    named = {name: host_values(value, ndarray, memories) for name, value in options.items()}

    def call() -> Any:
        with np.errstate(all="ignore"):
            found = function(*hosts, **named)
        return found if isinstance(found, tuple | list) else (found,)

    first = call()
    if not all(isinstance(value, np.ndarray | np.generic | bool) for value in first):
        return first[0] if len(first) == 1 else first  # such as a length
    results = [np.asarray(value) for value in first]
    if out is not None and not np.can_cast(results[0].dtype, out.dtype, "same_kind"):
        raise ArrayError(f"cannot store {results[0].dtype} in an array of {out.dtype}")
    made = [out] if out is not None else [empty(value.shape, value.dtype) for value in results]
    waiting = [first]

    def run() -> None:
        for target, values in zip(made, waiting.pop() if waiting else call(), strict=True):
            target._host[...] = values
            target._memory.mark_written(target._host)

    graphs.do(function.__name__, (*memories, *(target._memory for target in made)), run)
    waiting.clear()
    return made[0] if len(made) == 1 else tuple(made)


def zeros(shape: Shape, dtype: DTypeLike = float) -> ndarray:
    """Return an array of zeros."""
    made = empty(shape, dtype)
    made.fill(0)
    return made


def asarray(values: ArrayLike | ndarray, dtype: DTypeLike | None = None) -> ndarray:
    """Return ``values`` on the device; a device array of that dtype unchanged."""
    if isinstance(values, ndarray):
        if dtype is None or np.dtype(dtype) == values.dtype:
            return values
        made = empty(values.shape, dtype)
        made[...] = values
        return made
    host = np.asarray(values, dtype)
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    made = empty(host.shape, host.dtype, order="F" if host.flags.fnc else "C")
    if host.ndim:
        made.set(host)
    else:
        made.fill(host.item())
    return made


def asnumpy(array: ArrayLike | ndarray) -> np.ndarray[Any, Any]:
    """Return an array on the host: a copy of one of the device."""
    return array.get() if isinstance(array, ndarray) else np.asarray(array)
