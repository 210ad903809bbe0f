"""Structs that kernels take by value: read from the headers, filled by name, passed as bytes.

A convolution has sixteen sizes. A header of kernels/ declares them once, as a struct. The rest
follows from that declaration: the names to give, the C types to check, the bytes to pass.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucnn.errors import ArrayError, unknown

FIELD_TYPES = {"int": np.int32, "int64": np.int64}
"""The C types that fields may have: integers of a fixed width."""

_FIELDS = rf"(?:\s*(?:{'|'.join(FIELD_TYPES)})\s+\w+(?:\s*,\s*\w+)*\s*;)*"
_STRUCT = re.compile(rf"\bstruct\s+(\w+)\s*(?::\s*(\w+)\s*)?\{{({_FIELDS})")
_DECLARATION = re.compile(r"(\w+)\s+([^;]+);")


@dataclass(frozen=True)
class Struct:
    """A struct as a header declares it: ``fields`` are its names and C types, in order."""

    name: str
    fields: tuple[tuple[str, str], ...]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of the same layout: C's rules for alignment."""
        formats = [(name, FIELD_TYPES[c_type]) for name, c_type in self.fields]
        return np.dtype(formats, align=True)

    def pack(self, **values: int) -> StructValue:
        """Return a value from one integer for each field, by name.

        ArrayError reports a field that is missing or unknown, and an integer that does not fit.
        """
        names = [name for name, _ in self.fields]
        for name in values:
            if name not in names:
                raise unknown(f"field of struct {self.name}", name, names)
        record = np.zeros((), self.dtype)
        for name, c_type in self.fields:
            if name not in values:
                raise ArrayError(f"struct {self.name}: no value for field {name}")
            record[name] = integer(
                f"struct {self.name}: {name}", c_type, FIELD_TYPES[c_type], values[name]
            )
        return StructValue(self, record)


class StructValue:
    """A struct's value, packed once and passed to any number of launches.

    ``argument`` is the form that CuPy takes: a NumPy array of one element, whose bytes it copies.
    The element is plain bytes, because CuPy asks an array for its description: for sixteen named
    fields that takes 20 microseconds, for bytes 1.5.
    """

    __slots__ = ("argument", "record", "struct")

    def __init__(self, struct: Struct, record: NDArray[Any]) -> None:
        self.struct = struct
        self.record = record
        self.argument: NDArray[Any] = record.view(f"V{record.itemsize}")

    def __getitem__(self, name: str) -> int:
        return int(self.record[name])

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={self[name]}" for name, _ in self.struct.fields)
        return f"{self.struct.name}({fields})"


def integer(where: str, c_type: str, type_: Callable[[int], Any], value: Any) -> Any:
    """Return a value as an integer of a C type; ArrayError if it is not one or does not fit."""
    if type(value) is type_:
        return value
    try:
        return type_(operator.index(value))
    except (TypeError, OverflowError):
        raise ArrayError(f"{where} must be an integer that fits {c_type}, got {value!r}") from None


def find_structs(text: str) -> dict[str, Struct]:
    """Return the structs of a source without comments by name.

    Fields come first in a struct, before its functions, and after those of the struct that it
    derives from. ``layout_checks`` has the compiler find a field that is not read here.
    """
    found: dict[str, Struct] = {}
    for name, base, body in _STRUCT.findall(text):
        fields = list(found[base].fields) if base in found else []
        for c_type, names in _DECLARATION.findall(body):
            fields += [(field.strip(), c_type) for field in names.split(",")]
        if fields and (not base or base in found):
            found[name] = Struct(name, tuple(fields))
    return found


def layout_checks(structs: Mapping[str, Struct]) -> str:
    """Return C++ that refuses to compile where a struct has other bytes than are passed."""
    return "".join(
        f"static_assert(sizeof({name}) == {struct.dtype.itemsize},"
        f' "struct {name}: integers of type {" or ".join(FIELD_TYPES)} must come first, and'
        ' no other data");\n'
        for name, struct in structs.items()
    )
