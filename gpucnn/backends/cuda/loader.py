"""Compiles and launches the CUDA C kernels of kernels/.

``Kernels.launch`` finds a kernel by name, compiles its file when it is first needed, and validates
the arguments against the kernel's own signature (sources.py, arguments.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpucnn.backends.cuda.arguments import ArgumentChecker, Arguments
from gpucnn.backends.cuda.errors import device_error, is_kernel_fault
from gpucnn.backends.cuda.sources import SCALARS, Signature, kernel_folder, signatures, source
from gpucnn.errors import BackendError, ShapeError

CACHE_SIZE = 1024  # grids that a kernel remembers
SLOW_COMPILE = 0.1  # seconds; what is in CuPy's cache loads in a few milliseconds


# --- compiling ----------------------------------------------------------------------------------

_modules: dict[tuple[Any, Path, str], Any] = {}


def _module(namespace: Any, file: Path, dtype: np.dtype[Any]) -> Any:
    """Return the compiled file; each is compiled once a process and type."""
    key = (namespace, file, dtype.name)
    if key not in _modules:
        _modules[key] = namespace.RawModule(code=source(file), options=options(dtype))
    return _modules[key]


def options(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Return the compiler's options for kernels whose ``real`` is ``dtype``."""
    return ("--std=c++17", f"-Dreal={'float' if dtype == np.float32 else 'double'}")


_LOCATED = re.compile(
    r"([^\s:()]+\.(?:cuh?|hpp|h)|<[^<>\s]+>)[(:](\d+)\)?:(?:\d+:)?\s*"
    r"(?:\w+ )?error\b[^:]*:\s*(.*)"
)


def _explain(file: str, error: Exception) -> BackendError:
    """Return the error for a file that could not be compiled or loaded: one line."""
    text = str(error).strip() or type(error).__name__
    located = _LOCATED.search(text)
    if located:
        return BackendError(f"{located[1]}:{located[2]}: {located[3].strip()}")
    first = text.splitlines()[0]
    if first.startswith(("kernels/", file)):
        return BackendError(first)
    what = "compiled here" if device_error(error) is None else "loaded"
    return BackendError(f"{file} cannot be {what}: {first}")


# --- launching ----------------------------------------------------------------------------------

_recorders: list[list[str]] = []


@contextmanager
def recording_launches() -> Iterator[list[str]]:
    """Yield a list to which the names of the kernels launched in the ``with`` are added."""
    names: list[str] = []
    _recorders.append(names)
    try:
        yield names
    finally:
        _recorders.pop()


def record_launch(name: str) -> None:
    """Add the name of a kernel that is launched to the lists of ``recording_launches``."""
    for names in _recorders:
        names.append(name)


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
        device = namespace.cuda.Device()
        self.device: int | None = device.id
        limits = device.attributes
        self.max_grid: tuple[int, ...] = tuple(limits[f"MaxGridDim{axis}"] for axis in "XYZ")
        self._kernels: dict[str, _Kernel] = {}

    def launch(self, name: str, grid: int | tuple[int, ...], *arguments: Any) -> None:
        """Launch a kernel over ``grid`` blocks; a block has the threads that the kernel declares.

        Arguments are arrays of the namespace, numbers, and structs from ``sources.pack``. Wrong
        ones raise ArrayError, which names kernel and parameter; a kernel that does not compile
        raises BackendError with the file and the line.
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
        file = f"kernels/{signature.file.name}"
        function, check = self.compile(
            signature,
            file,
            {**SCALARS, "real": self.dtype.type},
            lambda: _module(self.namespace, signature.file, self.dtype),
        )
        self._kernels[name] = _Kernel(signature, function, check, self.max_grid)
        return self._kernels[name]

    def compile(
        self,
        signature: Signature,
        file: str,
        types: Mapping[str, type[Any]],
        module: Callable[[], Any],
    ) -> tuple[Any, ArgumentChecker]:
        """Return a kernel of the module that ``module`` makes, and the checks of its arguments.

        ``file`` is the source's name in messages; ``types`` are the NumPy types of C's.
        """
        began = time.perf_counter()
        try:
            function = module().get_function(signature.name)
        except BackendError:
            raise
        except Exception as error:
            if is_kernel_fault(error):
                raise  # of a kernel before this one
            raise _explain(file, error) from error
        if self.notify is not None and time.perf_counter() - began > SLOW_COMPILE:
            self.notify()
            self.notify = None
        check = ArgumentChecker(
            signature,
            [types.get(parameter.type, np.void) for parameter in signature.parameters],
            self.namespace.ndarray,
            self.device,
        )
        return function, check


class _Kernel:
    """A compiled kernel, launched with validated arguments over a validated grid."""

    def __init__(
        self,
        signature: Signature,
        function: Any,
        check: ArgumentChecker,
        max_grid: tuple[int, ...],
    ) -> None:
        self.signature = signature
        self.function = function
        self.check = check
        self.max_grid = max_grid
        self.block = (signature.threads,)
        self.grids: set[tuple[int, ...]] = set()  # those that were launched

    def launch(self, grid: tuple[int, ...], arguments: Arguments) -> None:
        values = self.check(arguments)
        if grid not in self.grids:
            self._check_grid(grid)
        record_launch(self.signature.name)
        self.function(grid, self.block, values)

    def _check_grid(self, grid: tuple[int, ...]) -> None:
        for blocks, most in zip(grid, self.max_grid, strict=False):
            if not 1 <= blocks <= most:
                raise ShapeError(
                    f"{self.signature.name}: a grid of {grid} blocks is not between 1 and "
                    f"{self.max_grid}: use smaller batches or fewer groups"
                )
        if len(self.grids) >= CACHE_SIZE:
            self.grids.clear()
        self.grids.add(grid)
