"""Finds, compiles and launches the CUDA C kernels, and checks what they are given.

CuPy launches a kernel with whatever it is handed: a wrong number or type of arguments, a
transposed array or None are read as garbage. So a launch goes through ``Kernels.launch``, which
knows from the kernel's own signature, its only registration, what it takes.
"""

from __future__ import annotations

import math
import operator
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.errors import ArrayError, BackendError, ShapeError

Check = Callable[[Any], Any]
"""Returns an argument as it is handed to CuPy, or raises ArrayError."""

SCALARS = {
    "float": np.float32,
    "double": np.float64,
    "int": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
}
"""The C types that parameters may have, besides ``real`` (kernels/common.cuh)."""

NULL = np.uintp(0)
LARGEST_GRID = (2**31 - 1, 65535, 65535)
SLOW_COMPILE = 0.1  # seconds; what is in CuPy's cache loads in a few milliseconds


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: ``type`` is that of the scalar or of the array's elements."""

    name: str
    type: str
    is_array: bool
    nullable: bool


@dataclass(frozen=True)
class Signature:
    """What a kernel's definition says: its parameters and the number of threads in a block."""

    name: str
    file: Path
    threads: int
    parameters: tuple[Parameter, ...]


# --- sources ------------------------------------------------------------------------------------


def kernel_folder() -> Path:
    """Return the folder of the sources: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "kernels", package.parent / "kernels")
    for folder in folders:
        if (folder / "common.cuh").is_file():
            return folder
    raise BackendError(f"no kernels in {folders[0]} or {folders[1]}: install gpucnn again")


_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+__launch_bounds__\s*\(\s*(\d+)[^)]*\)\s*(\w+)\s*'
    r"\(([^()]*)\)"
)
_PARAMETER = re.compile(r"(?:const\s+)?(\w+)\s*(\*?)\s*(?:__restrict__\s+)?(NULLABLE\s+)?(\w+)")


def parse(file: Path, text: str) -> Iterator[Signature]:
    """Go through the kernels that a file defines."""
    bare = _COMMENT.sub("", text)
    found = _KERNEL.findall(bare)
    if len(found) != bare.count("__global__"):
        raise BackendError(
            f"kernels/{file.name}: every kernel must begin with "
            '`extern "C" __global__ void __launch_bounds__(threads) name(`'
        )
    for threads, name, parameters in found:
        split = [part.strip() for part in parameters.split(",")]
        yield Signature(
            name, file, int(threads), tuple(_parameter(file, name, part) for part in split)
        )


def _parameter(file: Path, kernel: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text)
    if not match or match[1] not in ("real", *SCALARS) or (match[3] and not match[2]):
        raise BackendError(f"kernels/{file.name}: {kernel} has a parameter `{text}`")
    return Parameter(match[4], match[1], bool(match[2]), bool(match[3]))


@cache
def signatures(folder: Path) -> dict[str, Signature]:
    """Return the kernels of a folder by name."""
    table: dict[str, Signature] = {}
    for file in sorted(folder.glob("*.cu")):
        for signature in parse(file, file.read_text(encoding="utf-8")):
            other = table.setdefault(signature.name, signature)
            if other is not signature:
                raise BackendError(
                    f"{signature.name} is in kernels/{other.file.name} and kernels/{file.name}"
                )
    return table


def source(file: Path) -> str:
    """Return a file with common.cuh in front; errors and cache keys thereby cover both."""
    parts = []
    for path in (file.parent / "common.cuh", file):
        parts += [f'#line 1 "kernels/{path.name}"', path.read_text(encoding="utf-8")]
    return "\n".join(parts)


# --- compiling ----------------------------------------------------------------------------------

_modules: dict[tuple[Any, Path, str], Any] = {}


def _module(namespace: Any, file: Path, dtype: np.dtype[Any]) -> Any:
    """Return the compiled file; each is compiled once a process and type."""
    key = (namespace, file, dtype.name)
    if key not in _modules:
        real = "float" if dtype == np.float32 else "double"
        options = ("--std=c++17", f"-Dreal={real}")
        _modules[key] = namespace.RawModule(code=source(file), options=options)
    return _modules[key]


_LOCATED = re.compile(r"(kernels/\w+\.cuh?)[(:](\d+)\)?:(?:\d+:)?\s*(?:\w+ )?error\b[^:]*:\s*(.*)")


def _explain(file: Path, error: Exception) -> BackendError:
    """Return the error for a file that could not be compiled or loaded: one line."""
    text = str(error).strip() or type(error).__name__
    located = _LOCATED.search(text)
    if located:
        return BackendError(f"{located[1]}:{located[2]}: {located[3].strip()}")
    first = text.splitlines()[0]
    if first.startswith("kernels/"):
        return BackendError(first)
    return BackendError(f"kernels/{file.name} cannot be compiled here: {first}")


# --- launching ----------------------------------------------------------------------------------


class Kernels:
    """The kernels of a folder for arrays of one namespace (CuPy or its like) and one ``real``.

    ``notify`` is called once, as soon as a file has taken so long that it was compiled rather than
    found in CuPy's cache: a first start takes seconds, and a person should know why.
    """

    def __init__(
        self,
        namespace: Any,
        dtype: DTypeLike,
        folder: Path | None = None,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self.namespace = namespace
        self.dtype = np.dtype(dtype)
        self.signatures = signatures(folder or kernel_folder())
        self.notify = notify
        self.device = namespace.cuda.Device().id if hasattr(namespace, "cuda") else None
        self._kernels: dict[str, _Kernel] = {}

    def launch(self, name: str, grid: int | tuple[int, ...], *arguments: Any) -> None:
        """Launch a kernel over ``grid`` blocks; a block has the threads that the kernel declares.

        Arguments that the kernel does not take raise ArrayError, naming kernel and parameter; a
        kernel that does not compile raises BackendError with the file and the line.
        """
        kernel = self._kernels.get(name) or self._load(name)
        kernel.launch((grid,) if isinstance(grid, int) else grid, arguments)

    def launch_each(self, name: str, elements: int, *arguments: Any) -> None:
        """Launch a kernel over as many blocks as give each element a thread of its own."""
        kernel = self._kernels.get(name) or self._load(name)
        kernel.launch((-(-elements // kernel.signature.threads),), arguments)

    def _load(self, name: str) -> _Kernel:
        signature = self.signatures.get(name)
        if signature is None:
            raise BackendError(f"there is no kernel {name!r}")
        began = time.perf_counter()
        try:
            function = _module(self.namespace, signature.file, self.dtype).get_function(name)
        except BackendError:
            raise
        except Exception as error:
            raise _explain(signature.file, error) from error
        if self.notify is not None and time.perf_counter() - began > SLOW_COMPILE:
            self.notify()
            self.notify = None
        types = {**SCALARS, "real": self.dtype.type}
        checks = [
            _check(
                signature.name,
                parameter,
                types[parameter.type],
                self.namespace.ndarray,
                self.device,
            )
            for parameter in signature.parameters
        ]
        self._kernels[name] = _Kernel(signature, function, checks)
        return self._kernels[name]


class _Kernel:
    """A compiled kernel and a check for each of its parameters."""

    def __init__(self, signature: Signature, function: Any, checks: list[Check]) -> None:
        self.signature = signature
        self.function = function
        self.checks = checks
        self.block = (signature.threads,)

    def launch(self, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        if len(arguments) != len(self.checks):
            raise ArrayError(
                f"{self.signature.name} takes {len(self.checks)} arguments, got {len(arguments)}"
            )
        values = [check(value) for check, value in zip(self.checks, arguments, strict=True)]
        for blocks, most in zip(grid, LARGEST_GRID, strict=False):
            if not 1 <= blocks <= most:
                raise ShapeError(
                    f"{self.signature.name}: a grid of {grid} blocks is not between 1 and "
                    f"{LARGEST_GRID}: use a smaller batch"
                )
        self.function(grid, self.block, tuple(values))


def _check(
    kernel: str, parameter: Parameter, type_: type[Any], array_type: type, device: int | None
) -> Check:
    where = f"{kernel}: {parameter.name}"
    if parameter.is_array:
        return _array_check(where, np.dtype(type_), array_type, parameter.nullable, device)
    if issubclass(type_, np.integer):
        return _whole_check(where, parameter.type, type_)
    return _real_check(where, parameter.type, type_)


def _array_check(
    where: str, dtype: np.dtype[Any], array_type: type, nullable: bool, device: int | None
) -> Check:
    def check(value: Any) -> Any:
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
        own = f"{array_type.__module__}.{array_type.__qualname__}"
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise ArrayError(f"{where} must be a {own}, got {kind}")

    return check


def _whole_check(where: str, c_type: str, type_: type[Any]) -> Check:
    def check(value: Any) -> Any:
        if type(value) is type_:
            return value
        try:
            return type_(operator.index(value))
        except (TypeError, OverflowError):
            raise ArrayError(
                f"{where} must be a whole number that fits an {c_type}, got {value!r}"
            ) from None

    return check


def _real_check(where: str, c_type: str, type_: type[Any]) -> Check:
    largest = float(np.finfo(type_).max)

    def check(value: Any) -> Any:
        if type(value) is float and -largest <= value <= largest:
            return type_(value)
        if not isinstance(value, (float, int, np.floating, np.integer)):
            raise ArrayError(f"{where} must be a number, got {value!r}")
        size: Any = abs(value)
        if largest < size < math.inf:
            raise ArrayError(f"{where} must fit a {c_type}, got {value!r}")
        return type_(value)

    return check
