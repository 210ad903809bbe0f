"""Validates the arguments of a launch, which CuPy does not, and gives them the types of C.

CuPy reads a wrong number or type of arguments, a transposed array or None as garbage. Every launch
is validated, in less time than the launch itself takes: a fast path passes the usual arguments, and
where it finds anything unusual, a validator for each parameter decides and reports what is wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpucnn.backends.cuda.sources import Parameter, Signature
from gpucnn.backends.cuda.structs import Struct, StructValue, integer
from gpucnn.config import check_flag
from gpucnn.errors import ArrayError

Arguments = tuple[Any, ...]
Validator = Callable[[Any], Any]
"""Returns an argument as CuPy takes it, or raises ArrayError."""
FastPath = Callable[[Arguments], Arguments | None]
"""Returns arguments as CuPy takes them, or None where a validator must decide."""

NULL = np.uintp(0)
CACHE_SIZE = 1024  # sets of scalars that a kernel remembers: an epoch of MNIST has 938 offsets


class ArgumentChecker:
    """The checks of one kernel's arguments, for arrays of ``array_type`` on ``device``.

    ``types`` are the NumPy types of numbers and of arrays' elements, a parameter each. The fast
    path is for kernels whose parameters are arrays, then structs, then numbers, as all of ours.
    """

    def __init__(
        self,
        signature: Signature,
        types: Sequence[type[Any]],
        array_type: type,
        device: int | None,
    ) -> None:
        parameters = signature.parameters
        self.name = signature.name
        self.count = len(parameters)
        self.validators = [
            _validator(signature.name, parameter, type_, array_type, device)
            for parameter, type_ in zip(parameters, types, strict=True)
        ]
        kinds = [0 if p.is_array else 1 if p.struct else 2 for p in parameters]
        self.arrays, self.scalars = kinds.count(0), self.count - kinds.count(2)
        if kinds == sorted(kinds):
            arrays, structs = slice(self.arrays), slice(self.arrays, self.scalars)
            nullable = [p.nullable for p in parameters[arrays]]
            dtypes = [np.dtype(type_) for type_ in types[arrays]]
            self.pass_arrays = _array_path(dtypes, nullable, array_type, device)
            self.pass_structs = _struct_path([p.struct for p in parameters[structs]])
            self.pass_scalars = _scalar_path(types[self.scalars :], self.validators[self.scalars :])
        else:
            self.pass_arrays = self.pass_structs = self.pass_scalars = lambda values: None

    def __call__(self, arguments: Arguments) -> Arguments:
        """Return the arguments as CuPy takes them; ArrayError names kernel and parameter."""
        if len(arguments) != self.count:
            raise ArrayError(f"{self.name} takes {self.count} arguments, got {len(arguments)}")
        arrays = self.pass_arrays(arguments[: self.arrays])
        structs = self.pass_structs(arguments[self.arrays : self.scalars])
        scalars = self.pass_scalars(arguments[self.scalars :])
        if arrays is None or structs is None or scalars is None:
            pairs = zip(self.validators, arguments, strict=True)
            return tuple([validate(value) for validate, value in pairs])
        return arrays + structs + scalars


# --- fast paths ---------------------------------------------------------------------------------


def _array_path(
    dtypes: list[np.dtype[Any]], nullable: list[bool], array_type: Any, device: int | None
) -> FastPath:
    """Return the fast path for arrays of these dtypes, of which some may be None.

    Two loops, because ``flags`` and ``device`` of a CuPy array are objects made for each reading,
    four tenths of a microsecond together; their private fields are read in a sixth of that.
    """

    required = [index for index, may_be_none in enumerate(nullable) if not may_be_none]

    def cupy_path(arrays: Arguments) -> Arguments | None:
        nulls = False
        for array, dtype in zip(arrays, dtypes):  # noqa: B905 - the word costs as much as the rest
            if type(array) is array_type:
                if (
                    array.dtype is not dtype
                    or not array._c_contiguous
                    or array.data.device_id != device
                ):
                    return None
            elif array is None:
                nulls = True
            else:
                return None
        return with_nulls(arrays) if nulls else arrays

    def path(arrays: Arguments) -> Arguments | None:
        nulls = False
        for array, dtype in zip(arrays, dtypes):  # noqa: B905
            if type(array) is array_type:
                if (
                    array.dtype is not dtype
                    or not array.flags.c_contiguous
                    or (device is not None and array.device.id != device)
                ):
                    return None
            elif array is None:
                nulls = True
            else:
                return None
        return with_nulls(arrays) if nulls else arrays

    def with_nulls(arrays: Arguments) -> Arguments | None:
        for index in required:
            if arrays[index] is None:
                return None
        return tuple([NULL if array is None else array for array in arrays])

    return cupy_path if hasattr(array_type, "_c_contiguous") else path


def _struct_path(structs: Sequence[Struct | None]) -> FastPath:
    """Return the fast path for structs: values that were packed from these very definitions."""

    def path(values: Arguments) -> Arguments | None:
        for value, struct_ in zip(values, structs):  # noqa: B905
            if type(value) is not StructValue or value.struct is not struct_:
                return None
        return tuple([value.argument for value in values])

    return path


def _scalar_path(types: Sequence[type[Any]], validators: Sequence[Validator]) -> FastPath:
    """Return the fast path for numbers, which remembers those that were launched.

    A NumPy scalar takes a quarter of a microsecond to make. Packing checks the numbers (integers,
    each in its range) and gives the very bits that the kernel is to get, so that equal keys mean
    equal arguments, and -0.0 is not taken for 0.0.
    """
    pack = struct.Struct("".join(np.dtype(type_).char for type_ in types)).pack
    reals = [index for index, type_ in enumerate(types) if issubclass(type_, np.floating)]
    known: dict[bytes, Arguments] = {}

    def path(values: Arguments) -> Arguments | None:
        for index in reals:
            if type(values[index]) is not float:  # pack takes all that float() takes
                return None
        try:
            key = pack(*values)
        except (struct.error, TypeError, OverflowError):
            return None
        found = known.get(key)
        if found is None:
            pairs = zip(validators, values, strict=True)
            found = tuple([validate(value) for validate, value in pairs])
            if len(known) >= CACHE_SIZE:
                known.clear()
            known[key] = found
        return found

    return path


# --- validators ---------------------------------------------------------------------------------


def _validator(
    kernel: str, parameter: Parameter, type_: type[Any], array_type: type, device: int | None
) -> Validator:
    where = f"{kernel}: {parameter.name}"
    if parameter.is_array:
        return _array_validator(where, np.dtype(type_), array_type, parameter.nullable, device)
    if parameter.struct is not None:
        return _struct_validator(where, parameter.struct)
    if issubclass(type_, np.integer):
        return lambda value: integer(where, parameter.type, type_, value)
    if issubclass(type_, np.bool_):
        return lambda value: np.bool_(check_flag(where, value))
    return _real_validator(where, parameter.type, type_)


def _array_validator(
    where: str, dtype: np.dtype[Any], array_type: type, nullable: bool, device: int | None
) -> Validator:
    def validate(value: Any) -> Any:
        if isinstance(value, array_type):
            array: Any = value
            if array.dtype != dtype:
                raise ArrayError(f"{where} must be {dtype}, got {array.dtype}")
            if not array.flags.c_contiguous:
                raise ArrayError(f"{where} must be C-contiguous")
            if device is not None and array.device.id != device:
                raise ArrayError(f"{where} must be on device {device}, not {array.device.id}")
            return array
        if value is None and nullable:
            return NULL
        expected = f"{array_type.__module__}.{array_type.__qualname__}"
        raise ArrayError(f"{where} must be a {expected}, got {_type_name(value)}")

    return validate


def _struct_validator(where: str, struct_: Struct) -> Validator:
    def validate(value: Any) -> Any:
        if isinstance(value, StructValue) and value.struct == struct_:
            return value.argument
        found = value.struct.name if isinstance(value, StructValue) else _type_name(value)
        raise ArrayError(f"{where} must be a struct {struct_.name}, made by pack(), got {found}")

    return validate


def _real_validator(where: str, c_type: str, type_: type[Any]) -> Validator:
    largest = float(np.finfo(type_).max)

    def validate(value: Any) -> Any:
        if type(value) is float and -largest <= value <= largest:
            return type_(value)
        if not isinstance(value, (float, int, np.floating, np.integer)):
            raise ArrayError(f"{where} must be a number, got {value!r}")
        size: Any = abs(value)
        if largest < size < math.inf:
            raise ArrayError(f"{where} must fit {c_type}, got {value!r}")
        return type_(value)

    return validate


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
