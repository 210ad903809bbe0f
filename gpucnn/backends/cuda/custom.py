"""Kernels of a user's own source: read, compiled, and launched as ``kernel[grid, block](...)``.

Users write CUDA C as in any course: any block and grid, C's types, headers of their own. So less is
required of their files than of kernels/ (sources.py), but the arguments of a launch are checked in
the same way.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.custom import Custom, CustomKernels, KernelSource
from gpucnn.backends.cuda import loader
from gpucnn.backends.cuda.arguments import ArgumentChecker
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.sources import Parameter, Signature, kernel_folder, without_comments
from gpucnn.errors import ArrayError, BackendError, SettingError, unknown

TYPES: dict[str, type[Any]] = {
    "float": np.float32,
    "double": np.float64,
    "bool": np.bool_,
    "char": np.int8,
    "signed char": np.int8,
    "unsigned char": np.uint8,
    "short": np.int16,
    "unsigned short": np.uint16,
    "int": np.int32,
    "unsigned int": np.uint32,
    "unsigned": np.uint32,
    "long long": np.int64,
    "unsigned long long": np.uint64,
    "size_t": np.uint64,
    **{f"{sign}int{bits}_t": np.dtype(f"{sign}int{bits}").type
       for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "int64": np.int64,
    "uint8": np.uint8,
}  # fmt: skip
"""The C types that parameters may have, besides ``real``; the last two are in common.cuh."""

MAX_THREADS = 1024  # of a block, on every GPU
STATIC_SHARED = 48 << 10  # bytes; a launch with more shared memory must ask for it


# --- sources ------------------------------------------------------------------------------------

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"[^\n]*$', re.MULTILINE)


def expand(source: KernelSource) -> str:
    """Return the text that is compiled: ``#include "file"`` is replaced by the file, once.

    Headers are looked for in the source's folder and then in kernels/. Those in neither, and all
    of ``<...>``, are left to the compiler.
    """
    included: set[Path] = set()

    def expanded(text: str, name: str, folder: Path) -> str:
        def replacement(match: re.Match[str]) -> str:
            header = _find_header(match[1], folder)
            if header is None:
                return match[0]
            line = text.count("\n", 0, match.start()) + 2  # the line after the #include
            inside = ""
            if header not in included:
                included.add(header)
                own = header.parent == kernel_folder()
                inner = header.read_text(encoding="utf-8-sig", errors="replace")
                label = f"kernels/{header.name}" if own else match[1]
                inside = expanded(inner, label, header.parent)
            return f'{inside}\n#line {line} "{name}"'

        return f'#line 1 "{name}"\n{_INCLUDE.sub(replacement, text)}'

    return expanded(source.text, source.name, source.folder)


def _find_header(name: str, folder: Path) -> Path | None:
    for place in (folder, kernel_folder()):
        if (place / name).is_file():
            return (place / name).resolve()
    return None


_BOUNDS = re.compile(r"__launch_bounds__\s*\(((?:[^()]|\([^()]*\))*)\)")
_KERNEL = re.compile(
    r'(?P<extern>extern\s+"C"\s+)?(?:static\s+)?__global__\s+(?P<words>[^();{}]*)'
    r"\((?P<parameters>[^()]*)\)"
)
_BLOCK = re.compile(r'extern\s+"C"\s*\{')
_QUALIFIERS = {"const", "volatile", "__restrict__", "__restrict", "__grid_constant__"}


def read_kernels(name: str, text: str) -> dict[str, Signature | str]:
    """Return the kernels that a source defines, by name; text for one that cannot be launched.

    The text is the reason.
    """
    bare = _BOUNDS.sub(_as_word, without_comments(text))
    in_block = _BLOCK.search(bare) is not None
    found: dict[str, Signature | str] = {}
    for match in _KERNEL.finditer(bare):
        words = match["words"].split()
        bounds = [int(word[1:]) for word in words if word[0] == "@"]
        kernel = next((word for word in reversed(words) if word[0] != "@"), "")
        try:
            if not (match["extern"] or in_block):
                raise BackendError(
                    f'{name}: kernel {kernel} must begin with extern "C" __global__ void, as CuPy '
                    "finds kernels by their C names"
                )
            texts = [part.strip() for part in match["parameters"].split(",")]
            parameters = [] if texts in ([""], ["void"]) else texts
            found[kernel] = Signature(
                kernel,
                Path(name),
                bounds[0] if bounds else 0,
                tuple(_parameter(name, kernel, part) for part in parameters),
            )
        except BackendError as error:
            found.setdefault(kernel, str(error))
    return found


def _as_word(bounds: re.Match[str]) -> str:
    """Return launch bounds as one word, @ and the number of threads, 0 if it is not a number."""
    threads = bounds[1].split(",")[0].strip()
    return f" @{threads if threads.isdecimal() else 0} "


def _parameter(file: str, kernel: str, text: str) -> Parameter:
    """Return a parameter; any pointer may be null, as in C."""
    tokens = re.findall(r"\w+|\*|\[\s*\d*\s*\]|\S", text)
    words = [token for token in tokens if token.isidentifier() and token not in _QUALIFIERS]
    words = [word for word in words if word != "NULLABLE"]
    pointers = sum(token == "*" or token[0] == "[" for token in tokens)
    others = [token for token in tokens if not (token.isidentifier() or token[0] in "*[")]
    *kind, name = words or [""]
    c_type = " ".join(sorted(kind, key=_type_order))
    c_type = c_type if c_type in TYPES or c_type == "real" else c_type.removesuffix(" int")
    if pointers > 1 or others or not (c_type in TYPES or c_type == "real"):
        raise BackendError(
            f"{file}: kernel {kernel} has a parameter `{text}`; a parameter is an array or a "
            f"number of type real, float, double, bool, int, unsigned int, long long or another of "
            "C's integers with a fixed size"
        )
    return Parameter(name, c_type, bool(pointers), nullable=bool(pointers))


def _type_order(word: str) -> int:
    """Order the words of a type as in ``TYPES``: ``long unsigned long int`` is a type of C, too."""
    order = ("unsigned", "signed", "long", "short", "char", "int")
    return order.index(word) if word in order else -1


# --- launches -----------------------------------------------------------------------------------


class Kernel:
    """A kernel: ``kernel[grid, block](arguments)`` launches it, as ``<<<grid, block>>>`` in CUDA.

    Grid and block are numbers or tuples (x, y, z). A third entry is the number of bytes of dynamic
    shared memory. Arguments are arrays of the backend and numbers, in the order of the parameters;
    numbers are converted to the parameter's type. Raises ArrayError for wrong arguments.
    """

    def __init__(
        self,
        signature: Signature,
        function: Any,
        check: ArgumentChecker,
        max_grid: Sequence[int],
        real: str,
    ) -> None:
        self.signature, self.function, self.check = signature, function, check
        self.max_grid, self.real = max_grid, real
        self._shared = STATIC_SHARED

    def __getitem__(self, launch: Any) -> Callable[..., None]:
        """Return the function that launches the kernel over a grid of blocks."""
        return partial(self._launch, *self._checked(launch))

    def __call__(self, *arguments: Any) -> None:
        """Refuse a launch without a grid."""
        raise SettingError(
            f"{self.signature.name} needs a grid and a block: launch it as "
            f"kernels.{self.signature.name}[blocks, threads](...)"
        )

    def _launch(
        self, grid: tuple[int, ...], block: tuple[int, ...], shared: int, *arguments: Any
    ) -> None:
        try:
            values = self.check(arguments)
        except ArrayError as error:
            raise ArrayError(f"{error}{self._hint(arguments)}") from None
        loader.record_launch(self.signature.name)
        if shared > self._shared:
            self.function.max_dynamic_shared_size_bytes = self._shared = shared
        self.function(grid, block, values, shared_mem=shared)

    def _hint(self, arguments: Sequence[Any]) -> str:
        """Return what to do about an array of the other floating-point type, or the parameters."""
        parameters = self.signature.parameters
        if len(arguments) != len(parameters):
            return f": {', '.join(parameter.name for parameter in parameters)}"
        for parameter, value in zip(parameters, arguments, strict=True):
            fixed = parameter.type in ("float", "double") and parameter.type != self.real
            if (
                parameter.is_array
                and fixed
                and str(getattr(value, "dtype", ""))
                == ("float64" if self.real == "double" else "float32")
            ):
                return f"; declare it as real, which is {self.real} here, in the kernel"
        return ""

    def _checked(self, launch: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        name = self.signature.name
        if not isinstance(launch, tuple) or len(launch) not in (2, 3):
            raise SettingError(
                f"{name}: expected [grid, block] or [grid, block, shared bytes], got [{launch!r}]"
            )
        grid = self._sizes("grid", launch[0])
        block = self._sizes("block", launch[1])
        try:
            shared = operator.index(launch[2]) if len(launch) == 3 else 0
        except TypeError:
            shared = -1
        if shared < 0:
            raise SettingError(
                f"{name}: shared memory must be a number of bytes, got {launch[2]!r}"
            )
        if any(blocks > most for blocks, most in zip(grid, self.max_grid, strict=False)):
            raise SettingError(f"{name}: a grid of {grid} blocks exceeds {self.max_grid}")
        threads, most = math.prod(block), self.signature.threads or MAX_THREADS
        if threads > most:
            limit = "its __launch_bounds__" if self.signature.threads else "the limit of a GPU"
            raise SettingError(
                f"{name}: a block of {block} has {threads} threads, more than {limit}, {most}"
            )
        return grid, block, shared

    def _sizes(self, what: str, value: Any) -> tuple[int, ...]:
        parts = value if isinstance(value, tuple | list) else (value,)
        try:
            sizes = tuple(operator.index(part) for part in parts)
        except TypeError:
            sizes = ()
        if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
            raise SettingError(
                f"{self.signature.name}: the {what} must be 1 to 3 integers of at least 1, got "
                f"{value!r}"
            )
        return sizes


class KernelFile(CustomKernels):
    """The kernels of a source, compiled when one is first asked for."""

    def __init__(self, backend: CudaArrays, source: KernelSource) -> None:
        self._backend, self._name = backend, source.name
        self._text = expand(source)
        self._signatures = read_kernels(source.name, self._text)
        self._loaded: dict[str, Kernel] = {}
        self._module: Any = None
        if not self._signatures:
            raise BackendError(f"{source.name} defines no kernel (no __global__ function)")

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Kernel:
        found = self._loaded.get(name)
        if found is None:
            found = self._loaded[name] = self._load(name)
        return found

    def empty(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array with unset contents, of the backend's dtype unless it is given."""
        return self._backend.empty(shape, dtype)

    def zeros(self, shape: Sequence[int], dtype: DTypeLike | None = None) -> Array:
        """Return an array of zeros, of the backend's dtype unless it is given."""
        return self._backend.zeros(shape, dtype)

    def _load(self, name: str) -> Kernel:
        signature = self._signatures.get(name)
        if signature is None:
            raise unknown(f"kernel of {self._name}", name, self._signatures)
        if isinstance(signature, str):
            raise BackendError(signature)
        backend = self._backend
        real = "float" if backend.dtype == np.float32 else "double"
        function, check = backend._kernels.compile(
            signature, self._name, {**TYPES, "real": backend.dtype.type}, self._compiled
        )
        return Kernel(signature, function, check, backend._kernels.max_grid, real)

    def _compiled(self) -> Any:
        if self._module is None:
            options = loader.options(self._backend.dtype)
            self._module = self._backend._xp.RawModule(code=self._text, options=options)
        return self._module


class CudaCustom(CudaArrays, Custom):
    """Kernels of users, through CuPy or the emulator."""

    launches_kernels = True

    def load_kernels(self, source: KernelSource) -> CustomKernels:
        return KernelFile(self, source)

    def mark_unwritten(self, array: Array) -> None:
        # In the emulator, fresh memory has these bytes, and is not to count as written.
        if not self._unwritten(array).all():
            words = np.full(array.nbytes, 0xFF, np.uint8).view(array.dtype)
            array.set(words.reshape(array.shape))

    def _unwritten(self, array: Array) -> NDArray[np.bool_]:
        """Return which elements have only bits of 1, a NaN that no arithmetic returns."""
        words = self.to_numpy(array).view(np.dtype(f"u{array.dtype.itemsize}"))
        return np.asarray(words == np.iinfo(words.dtype).max)

    def find_unwritten(self, array: Array) -> tuple[int, tuple[int, ...]] | None:
        unwritten = self._unwritten(array)
        if not unwritten.any():
            return None
        first = np.unravel_index(int(unwritten.argmax()), unwritten.shape)
        return int(unwritten.sum()), tuple(int(index) for index in first)
