"""Checks the arguments of a launch against a kernel's parameters, and packs them.

CuPy checks nothing here: a Python int is passed as 64 bits, a float as a double, and an array of
another dtype or with strides is read as if it had none. The emulator refuses all of these.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpucnn.emulator import abi, layouts
from gpucnn.emulator.array import ndarray
from gpucnn.emulator.errors import ArgumentError

_REQUEST = "<" + abi.pack_format("Request")
# A struct Range in words of 8 bytes: the allocation's handle, the first and the last address, and
# the index and ``writable`` together.
_RANGE = f"{ctypes.sizeof(abi.structure('Range')) // 8}Q"
_CODES = {"f2": "e6x", "f4": "f4x", "f8": "d", "i1": "b7x", "i2": "h6x", "i4": "i4x", "i8": "q",
          "u1": "B7x", "u2": "H6x", "u4": "I4x", "u8": "Q", "b1": "?7x"}  # fmt: skip


def _dtype(kind: str, size: int) -> np.dtype[Any] | None:
    """Return the dtype of a C type, or None for a struct and for void."""
    return np.dtype(f"{kind}{size}") if kind in "fiub" else None


def _fields(found: Any) -> tuple[layouts.Field, ...]:
    """Return the fields of a struct from its description in C, arrays as their elements."""
    fields: list[layouts.Field] = []
    index = 0
    while found and found[index].size:
        field = found[index]
        kind, index = field.kind.decode(), index + 1
        for element in range(field.count):
            fields.append((kind, field.offset + element * field.size, field.size))
    return tuple(fields)


def _in_range(value: int, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


@dataclass(frozen=True)
class Parameter:
    """One parameter: ``dtype`` is its own or its elements'; None for structs and void."""

    kernel: str
    name: str
    pointer: bool
    writable: bool
    restrict: bool
    dtype: np.dtype[Any] | None
    size: int  # bytes of the value, or of what a pointer points to
    fields: tuple[layouts.Field, ...]  # of a struct; empty if they are not known

    @property
    def code(self) -> str:
        """How the value is packed: at a multiple of 8 bytes."""
        if self.pointer:
            return "Q"
        if self.dtype is not None:
            return _CODES[f"{self.dtype.kind}{self.size}"]
        return f"{self.size}s{-self.size % 8}x"

    def refuse(self, what: str) -> ArgumentError:
        """Return the error for an argument of this parameter."""
        return ArgumentError(self.kernel, f"argument {self.name}: {what}")

    def scalar(self, value: Any) -> Any:
        """Return a number or a struct as ``struct.pack`` takes it.

        Accepted is what CuPy passes with the bytes of the parameter: a NumPy scalar, or an array of
        one element of the host, and Python's numbers, which are passed as int64, float64 and
        complex128, and of which a smaller integer reads the low bytes.
        """
        wanted = self.dtype
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(())[()]
        if wanted is None:
            return self._struct(value)
        if isinstance(value, np.generic) and (value.dtype == wanted or self._fits(value)):
            return value
        if type(value) is {"b": bool, "f": float}.get(wanted.kind, int):
            if wanted.kind == "f" and wanted.itemsize != 8:
                raise self.refuse(f"takes a numpy.{wanted}, not Python's float: cast it")
            if wanted.kind in "iu" and not _in_range(int(value), wanted):
                raise self.refuse(f"{value} is out of the range of {wanted}")
            return value
        needs = f"a numpy.{wanted}"
        if isinstance(value, np.generic | ndarray | np.ndarray):
            raise self.refuse(f"takes {needs}, not {type(value).__name__} of {value.dtype}")
        raise self.refuse(f"takes {needs}, not Python's {type(value).__name__}: cast it")

    def _fits(self, value: np.generic) -> bool:
        """Return whether an integer has the size of the parameter's and a value that both have."""
        wanted, kind = self.dtype, value.dtype
        if wanted is None or wanted.kind not in "iu" or kind.kind not in "iu":
            return False
        return kind.itemsize == self.size and _in_range(int(value), wanted)

    def _struct(self, value: Any) -> bytes:
        """Return the bytes of a struct of the same size and, where it is known, the same fields."""
        if type(value) is complex:
            value = np.complex128(value)
        needs = f"a numpy.ndarray of one element of {self.size} bytes"
        if not isinstance(value, np.generic | np.ndarray):
            raise self.refuse(f"takes {needs}, not {type(value).__name__}")
        if value.size != 1 or value.itemsize != self.size:
            found = f"{value.size} of {value.itemsize} bytes"
            raise self.refuse(f"takes {needs}, not {found}")
        if wrong := layouts.difference(value.dtype, self.fields):
            raise self.refuse(f"is a struct of other fields: {wrong}")
        return value.tobytes()

    def array(self, value: Any) -> ndarray | None:
        """Return an array argument after checking it; None for a null pointer, also a number 0."""
        if isinstance(value, ndarray):
            wanted = self.dtype
            if wanted is not None and value.dtype != wanted and not self._holds(value.dtype):
                raise self.refuse(f"is an array of {value.dtype}; the kernel takes {wanted}")
            if not value.flags.c_contiguous:
                raise self.refuse(f"is not C-contiguous: strides {value.strides}")
            if wanted is None and self.size and self.size % value.dtype.itemsize:
                raise self.refuse(f"{value.dtype} does not divide elements of {self.size} bytes")
            if (
                value.dtype.itemsize == self.size
                and self.fields
                and (wrong := layouts.difference(value.dtype, self.fields))
            ):
                raise self.refuse(f"is an array of other structs: {wrong}")
            return value
        if value is None or (isinstance(value, np.uintp | np.uint64) and value == 0):
            return None
        if isinstance(value, np.ndarray):
            raise self.refuse("is a NumPy array on the host: copy it with asarray()")
        raise self.refuse(f"takes an array of the device, not {type(value).__name__}")

    def _holds(self, dtype: np.dtype[Any]) -> bool:
        """Return whether a pointer may read the elements of an array of another dtype.

        Integers of one size differ in their sign only, and bytes may be anything but bool.
        """
        assert self.dtype is not None
        integers = "iub" if self.size == 1 else "iu"
        same = dtype.itemsize == self.size and dtype.kind in integers
        return same and self.dtype.kind in "iu"


class Packer:
    """Checks and packs the arguments of one kernel."""

    def __init__(self, name: str, description: Any, restrict: Sequence[bool]) -> None:
        self.name = name
        self.parameters = tuple(
            self._parameter(description, index, restrict)
            for index in range(description.parameter_count)
        )
        self._pointers = sum(parameter.pointer for parameter in self.parameters)
        codes = "".join(parameter.code for parameter in self.parameters)
        self._format = struct.Struct(_REQUEST + _RANGE * self._pointers + codes)

    def _parameter(self, description: Any, index: int, restrict: Sequence[bool]) -> Parameter:
        found = description.parameters[index]
        pointer = found.kind == b"p"
        kind, size = (found.pointee, found.pointee_size) if pointer else (found.kind, found.size)
        return Parameter(
            self.name,
            description.parameter_names[index].decode(),
            pointer,
            not found.read_only,
            restrict[index],
            _dtype(kind.decode(), size),
            size,
            _fields(found.fields),
        )

    def pack(
        self,
        launch: tuple[int, ...],
        settings: tuple[int, int, int],
        arguments: Sequence[Any],
        check: bool,
    ) -> bytes:
        """Return a launch's request, ready for the runtime.

        launch: kernel, module, seed, grid (3), block (3), bytes of dynamic shared memory.
        settings: mode, order, threads. Raises ArgumentError.
        """
        if len(arguments) != len(self.parameters):
            wanted = ", ".join(parameter.name for parameter in self.parameters)
            raise ArgumentError(
                self.name,
                f"takes {len(self.parameters)} arguments ({wanted}), not {len(arguments)}",
            )
        ranges: list[int] = []
        values: list[Any] = []
        for index, parameter in enumerate(self.parameters):
            value = arguments[index]
            if not parameter.pointer:
                values.append(parameter.scalar(value))
                continue
            array = parameter.array(value)
            if array is None:
                ranges += (0, 0, 0, index << 1)
                values.append(0)
                continue
            start = array.data.ptr
            ranges += (array._memory.handle, start, start + array.nbytes,
                       index << 1 | parameter.writable)  # fmt: skip
            values.append(start)
        if check:
            self._refuse_aliases(ranges)
        return self._format.pack(*launch, *settings, self._pointers, *ranges, *values)

    def _refuse_aliases(self, ranges: list[int]) -> None:
        """Refuse memory that is written and reached by two parameters, one of them __restrict__."""
        spans = [(self.parameters[ranges[i + 3] >> 1], ranges[i + 1], ranges[i + 2])
                 for i in range(0, len(ranges), 4)]  # fmt: skip
        for index, (one, low, high) in enumerate(spans):
            for other, other_low, other_high in spans[:index]:
                if max(low, other_low) >= min(high, other_high):
                    continue
                if (one.restrict or other.restrict) and (one.writable or other.writable):
                    raise one.refuse(
                        f"shares memory with {other.name}, although __restrict__ promises that"
                        " nothing else reaches it"
                    )
