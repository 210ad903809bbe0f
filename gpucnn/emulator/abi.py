"""What Python shares with the runtime library, read from its headers: each fact is written once.

Structures become ctypes classes, enumerations tuples of names, constants integers. ``verify``
compares the structures' sizes with those that the compiler gave them.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

from gpucnn.emulator.toolchain import RUNTIME
from gpucnn.errors import BackendError

_TYPES: dict[str, Any] = {
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "unsigned": ctypes.c_uint,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "Address": ctypes.c_size_t,
}
SHARED = (
    "Where", "Fault", "Request", "Range", "GpuKernel", "GpuParameter", "Site", "GpuField",
)  # fmt: skip
"""The structures that both sides use; gpu_struct_sizes of launch.cpp has the same order."""


@cache
def _header(name: str = "") -> str:
    """Return the text of a header, by default of abi.h and runtime.h, without comments."""
    names = [name] if name else ["abi.h", "runtime.h"]
    text = "\n".join((RUNTIME / file).read_text(encoding="utf-8") for file in names)
    return re.sub(r"//.*", "", text)


def _find(pattern: str, what: str, text: str | None = None) -> str:
    found = re.search(pattern, _header() if text is None else text, re.DOTALL)
    if not found:
        raise BackendError(f"{RUNTIME}: abi.h and runtime.h declare no {what}: reinstall gpucnn")
    return found.group(1)


def constant(name: str) -> int:
    """Return a constant integer of the headers."""
    return int(_find(rf"\b{name} = (\d+)\b", f"constant {name}"))


def enumerators(name: str) -> tuple[str, ...]:
    """Return the names of an enumeration's values 0, 1, and so on."""
    body = _find(rf"\benum {name}\b[^{{;]*{{([^}}]*)}}", f"enum {name}")
    return tuple(re.findall(r"\w+", body))


def macros(header: str) -> dict[str, str]:
    """Return the macros of a header whose value is a number, by name."""
    return dict(re.findall(r"^#define (\w+) (\d+)\s*$", _header(header), re.MULTILINE))


@cache
def structure(name: str) -> type[ctypes.Structure]:
    """Return a structure of the headers as a ctypes class with the same fields."""
    body = _find(rf"\bstruct {name} {{(.*?)\n}};", f"struct {name}")
    body = re.sub(r"[^;{}]*\([^{};]*\)\s*const\s*{[^}]*}", "", body)  # member functions
    fields: list[Any] = []
    for declaration in body.split(";"):
        words = re.sub(r"\bconst\b", "", declaration).strip()
        function = re.fullmatch(r"\w+ \(\*(\w+)\)\(.*\)", words, re.DOTALL)
        if function:
            fields.append((function.group(1), ctypes.c_void_p))
        elif words:
            base, rest = re.match(r"(\w+)\s*(.*)", words, re.DOTALL).groups()  # type: ignore[union-attr]
            fields += [_field(base, declarator) for declarator in rest.split(",")]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def _field(base: str, declarator: str) -> tuple[Any, ...]:
    """Return a ctypes field: of ``char`` and ``*text[8]``, or of ``uint32_t`` and ``bits : 3``."""
    found = re.fullmatch(r"([*\s]*)(\w+)\s*(?:\[(\d+)\])?\s*(?::\s*(\d+))?\s*", declarator)
    if not found:
        raise BackendError(f"the emulator cannot read the declaration {base} {declarator.strip()}")
    pointers, name, length, bits = found.groups()
    kind = _pointer(base) if "*" in pointers else _TYPES.get(base)
    if pointers.count("*") == 2:
        kind = ctypes.POINTER(kind)
    kind = kind or structure(base)
    if length:
        kind = kind * int(length)
    return (name, kind, int(bits)) if bits else (name, kind)


def _pointer(base: str) -> Any:
    """Return the type of a pointer to ``base``; opaque unless Python reads what it points to."""
    if base == "char":
        return ctypes.c_char_p
    read = base in ("GpuParameter", "GpuField")
    return ctypes.POINTER(structure(base)) if read else ctypes.c_void_p


def pack_format(name: str) -> str:
    """Return a structure of integers as a format of the module ``struct``."""
    codes = []
    for field, kind, *_ in structure(name)._fields_:
        size, length = ctypes.sizeof(kind), getattr(kind, "_length_", 1)
        code = {4: "I", 8: "Q"}[size // length]
        codes.append(f"{size}x" if field == "unused" else f"{length}{code}")
    return "".join(codes)


def verify(sizes: Any) -> None:
    """Raise BackendError unless ``sizes``, the C sizes of SHARED, are those of the classes."""
    for name, size in zip(SHARED, sizes, strict=True):
        mine = ctypes.sizeof(structure(name))
        if size != mine:
            raise BackendError(
                f"gpucnn/emulator/abi.py misreads the headers: struct {name} has {size} bytes in"
                f" the compiled runtime and {mine} in Python"
            )
