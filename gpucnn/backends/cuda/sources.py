"""The kernels' sources: where they are, which kernels they define, and what is compiled.

A kernel's signature is its only registration: its parameters and its number of threads are read
here, and nothing else lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from gpucnn.backends.cuda.structs import Struct, StructValue, find_structs, layout_checks
from gpucnn.errors import BackendError, unknown

SCALARS = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "int64": np.int64,
    "uint64": np.uint64,
    "uint8": np.uint8,
}
"""The C types that parameters may have, besides ``real`` (kernels/common.cuh) and structs."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: ``type`` is the C type of the value or of the array's elements.

    ``struct`` is set where the kernel takes a struct by value.
    """

    name: str
    type: str
    is_array: bool
    nullable: bool
    struct: Struct | None = None


@dataclass(frozen=True)
class Signature:
    """A kernel as its source declares it: its parameters and the number of threads in a block."""

    name: str
    file: Path
    threads: int
    parameters: tuple[Parameter, ...]

    @property
    def structs(self) -> dict[str, Struct]:
        """The structs that the kernel takes, by name."""
        return {p.struct.name: p.struct for p in self.parameters if p.struct is not None}


def kernel_folder() -> Path:
    """Return the folder of the sources: in the installed package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    folders = (package / "kernels", package.parent / "kernels")
    for folder in folders:
        if (folder / "common.cuh").is_file():
            return folder
    raise BackendError(f"no kernels in {folders[0]} or {folders[1]}: install gpucnn again")


# --- text ---------------------------------------------------------------------------------------

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


def source(file: Path) -> str:
    """Return a file as it is compiled: common.cuh, the file, and checks of its structs.

    A line ``#include "name.cuh"`` is replaced by that file of the folder, the first time. As all is
    one text, the compiler's errors name file and line, and the key of its cache covers all files.
    """
    text = _joined(file)
    structs: dict[str, Struct] = {}
    for signature in parse(file, text):
        structs |= signature.structs
    return f"{text}\n{layout_checks(structs)}" if structs else text


def _joined(file: Path) -> str:
    included: set[str] = set()
    return "\n".join(_with_includes(path, included) for path in (file.parent / "common.cuh", file))


def _with_includes(path: Path, included: set[str]) -> str:
    text = path.read_text(encoding="utf-8")

    def replacement(match: re.Match[str]) -> str:
        if match[1] in included:
            return ""
        included.add(match[1])
        line = text.count("\n", 0, match.start()) + 2  # the line after the #include
        header = _with_includes(path.parent / match[1], included)
        return f'{header}\n#line {line} "kernels/{path.name}"'

    return f'#line 1 "kernels/{path.name}"\n{_INCLUDE.sub(replacement, text)}'


_CONSTANT = re.compile(r"^constexpr int (\w+) = (\d+);", re.MULTILINE)


@cache
def constants(name: str) -> dict[str, int]:
    """Return the constants that a file defines as ``constexpr int NAME = number;``, one a line."""
    text = (kernel_folder() / name).read_text(encoding="utf-8")
    return {constant: int(value) for constant, value in _CONSTANT.findall(text)}


# --- signatures ---------------------------------------------------------------------------------

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*(\w+)\s*'
    r"\(([^()]*)\)"
)
_PARAMETER = re.compile(r"(?:const\s+)?(\w+)\s*(\*?)\s*(?:__restrict__\s+)?(NULLABLE\s+)?(\w+)")


def without_comments(text: str) -> str:
    """Return a source without its comments."""
    return _COMMENT.sub("", text)


def parse(file: Path, text: str) -> Iterator[Signature]:
    """Go through the kernels that a text, a file with its includes, defines."""
    bare = without_comments(text)
    found = _KERNEL.findall(bare)
    if len(found) != bare.count("__global__"):
        raise BackendError(
            f"kernels/{file.name}: every kernel must begin with "
            '`extern "C" __global__ void __launch_bounds__(threads) name(`'
        )
    structs = find_structs(bare)
    for threads, name, parameters in found:
        split = [part.strip() for part in parameters.split(",")]
        yield Signature(
            name, file, int(threads), tuple(_parameter(file, name, part, structs) for part in split)
        )


def _parameter(file: Path, kernel: str, text: str, structs: dict[str, Struct]) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if match:
        c_type, pointer, nullable, name = match.groups()
        if c_type in ("real", *SCALARS) and (pointer or not nullable):
            return Parameter(name, c_type, bool(pointer), bool(nullable))
        if c_type in structs and not (pointer or nullable):
            return Parameter(name, c_type, False, False, structs[c_type])
    raise BackendError(
        f"kernels/{file.name}: {kernel} has a parameter `{text}`; a parameter is an array or a "
        f"number of type real, {', '.join(SCALARS)}, or a struct of integers by value"
    )


@cache
def signatures(folder: Path) -> dict[str, Signature]:
    """Return the kernels of a folder by name."""
    table: dict[str, Signature] = {}
    for file in sorted(folder.glob("*.cu")):
        for signature in parse(file, _joined(file)):
            other = table.setdefault(signature.name, signature)
            if other is not signature:
                raise BackendError(
                    f"{signature.name} is in kernels/{other.file.name} and kernels/{file.name}"
                )
    return table


@cache
def _structs(folder: Path) -> dict[str, Struct]:
    table: dict[str, Struct] = {}
    for signature in signatures(folder).values():
        for name, struct in signature.structs.items():
            if table.setdefault(name, struct) != struct:
                raise BackendError(
                    f"kernels/{signature.file.name}: struct {name} is another one elsewhere"
                )
    return table


def pack(struct: str, /, **values: int) -> StructValue:
    """Return a value of a struct that kernels take, from one integer for each of its fields."""
    known = _structs(kernel_folder())
    if struct not in known:
        raise unknown("struct of the kernels", struct, known)
    return known[struct].pack(**values)
