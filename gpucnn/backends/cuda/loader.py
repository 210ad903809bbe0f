"""Finds, compiles and launches the CUDA C kernels, and checks what they are given.

CuPy launches a kernel with whatever it is handed: a wrong number or type of arguments, a
transposed array or None are read as garbage. So a launch goes through ``Kernels.launch``, which
knows from the kernel's own signature, its only registration, what it takes.
"""

from __future__ import annotations

import math
import operator
import re
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.errors import ArrayError, BackendError, ShapeError

Arguments = tuple[Any, ...]
Check = Callable[[Any], Any]
"""Returns an argument as it is handed to CuPy, or raises ArrayError."""
Glance = Callable[[Arguments], Arguments | None]
"""Returns arguments as they are handed to CuPy, or None where one needs a closer look."""

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
MOST_KNOWN = 1024  # grids and scalars that a kernel remembers: an epoch of MNIST has 938 offsets
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
    package = Path(__file__).resolve().parents[2]
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


_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


def source(file: Path) -> str:
    """Return a file with common.cuh in front; errors and cache keys thereby cover both.

    A line ``#include "name.cuh"`` stands for that file of the folder, for the same reason.
    """
    return "\n".join(_with_includes(path) for path in (file.parent / "common.cuh", file))


def _with_includes(path: Path) -> str:
    text = path.read_text(encoding="utf-8")

    def replacement(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 2  # the one behind
        included = _with_includes(path.parent / match[1])
        return f'{included}\n#line {line} "kernels/{path.name}"'

    return f'#line 1 "kernels/{path.name}"\n{_INCLUDE.sub(replacement, text)}'


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
        self._kernels[name] = _Kernel(
            signature,
            function,
            [types[parameter.type] for parameter in signature.parameters],
            self.namespace.ndarray,
            self.device,
        )
        return self._kernels[name]


class _Kernel:
    """A compiled kernel and the checks of its arguments.

    Each launch checks every argument, in less time than the launch itself takes. Right arguments
    pass at a glance; where that finds anything unusual, the check of each parameter decides, and
    says what is wrong.
    """

    def __init__(
        self,
        signature: Signature,
        function: Any,
        types: Sequence[type[Any]],
        array_type: type,
        device: int | None,
    ) -> None:
        parameters = signature.parameters
        self.signature = signature
        self.function = function
        self.block = (signature.threads,)
        self.grids: set[tuple[int, ...]] = set()  # those that were launched
        self.checks = [
            _check(signature.name, parameter, type_, array_type, device)
            for parameter, type_ in zip(parameters, types, strict=True)
        ]
        self.count = len(parameters)
        self.arrays = sum(parameter.is_array for parameter in parameters)
        # Ours take their arrays first; a kernel that does not has all its arguments looked at.
        if all(parameter.is_array for parameter in parameters[: self.arrays]):
            nullable = [parameter.nullable for parameter in parameters[: self.arrays]]
            dtypes = [np.dtype(type_) for type_ in types[: self.arrays]]
            self.glance_at_arrays = _array_glance(dtypes, nullable, array_type, device)
            self.glance_at_scalars = _scalar_glance(
                types[self.arrays :], self.checks[self.arrays :]
            )
        else:
            self.glance_at_arrays = self.glance_at_scalars = lambda values: None

    def launch(self, grid: tuple[int, ...], arguments: Arguments) -> None:
        if len(arguments) != self.count:
            raise ArrayError(
                f"{self.signature.name} takes {self.count} arguments, got {len(arguments)}"
            )
        arrays = self.glance_at_arrays(arguments[: self.arrays])
        scalars = self.glance_at_scalars(arguments[self.arrays :])
        if arrays is None or scalars is None:
            pairs = zip(self.checks, arguments, strict=True)
            values = tuple([check(value) for check, value in pairs])
        else:
            values = arrays + scalars
        if grid not in self.grids:
            self._check_grid(grid)
        self.function(grid, self.block, values)

    def _check_grid(self, grid: tuple[int, ...]) -> None:
        for blocks, most in zip(grid, LARGEST_GRID, strict=False):
            if not 1 <= blocks <= most:
                raise ShapeError(
                    f"{self.signature.name}: a grid of {grid} blocks is not between 1 and "
                    f"{LARGEST_GRID}: use smaller batches or fewer groups"
                )
        if len(self.grids) >= MOST_KNOWN:
            self.grids.clear()
        self.grids.add(grid)


def _array_glance(
    dtypes: list[np.dtype[Any]], nullable: list[bool], array_type: Any, device: int | None
) -> Glance:
    """Return a glance at arrays of these dtypes, of which some may be None.

    Two loops, because ``flags`` and ``device`` of a CuPy array are objects made for each reading,
    four tenths of a microsecond together; the fields behind them are read in a sixth of that.
    """

    required = [index for index, may_be_none in enumerate(nullable) if not may_be_none]

    def cupy_glance(arrays: Arguments) -> Arguments | None:
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

    def glance(arrays: Arguments) -> Arguments | None:
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

    return cupy_glance if hasattr(array_type, "_c_contiguous") else glance


def _scalar_glance(types: Sequence[type[Any]], checks: Sequence[Check]) -> Glance:
    """Return a glance at scalars, which remembers those that were launched.

    A NumPy scalar takes a quarter of a microsecond to make, and a convolution has sixteen. Packing
    checks the numbers (whole ones, each in its range) and gives the very bits that the kernel is
    to get, so that equal keys mean equal arguments, and -0.0 is not taken for 0.0.
    """
    pack = struct.Struct("".join(np.dtype(type_).char for type_ in types)).pack
    reals = [index for index, type_ in enumerate(types) if issubclass(type_, np.floating)]
    known: dict[bytes, Arguments] = {}

    def glance(values: Arguments) -> Arguments | None:
        for index in reals:
            if type(values[index]) is not float:  # pack takes all that float() takes
                return None
        try:
            key = pack(*values)
        except (struct.error, TypeError, OverflowError):
            return None
        found = known.get(key)
        if found is None:
            found = tuple([check(value) for check, value in zip(checks, values, strict=True)])
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[key] = found
        return found

    return glance


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
