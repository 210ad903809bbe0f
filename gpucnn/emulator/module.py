"""RawModule and RawKernel, with CuPy's interface."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from gpucnn.emulator import graphs, profile, report, settings, source
from gpucnn.emulator.arguments import Packer
from gpucnn.emulator.array import ndarray
from gpucnn.emulator.compiled import Compiled, compiled
from gpucnn.emulator.errors import ArgumentError, LaunchError
from gpucnn.emulator.limits import (
    DEFAULT_SHARED_BYTES,
    MAX_BLOCK,
    MAX_BLOCK_THREADS,
    MAX_GRID,
    MAX_SHARED_BYTES,
)
from gpucnn.emulator.native import runtime
from gpucnn.errors import SettingError, unknown


class RawModule:
    """CUDA C source, compiled when it is first needed, once for each mode.

    Faults name the files of its ``#line`` directives. Raises CompileError with file and line,
    SettingError for an option that the emulator does not support, BackendError without g++.
    """

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        if not isinstance(options, tuple):
            raise TypeError(f"options must be a tuple, got {type(options).__name__}")
        if not code.lstrip().startswith("#line"):
            code = f'#line 1 "<code>"\n{code}'
        self.code = code
        self.options = options
        self._options = source.parse_options((*options, *source.CUPYS_OPTIONS))
        self._compiled: dict[str, Compiled] = {}

    def compile(self, mode: str | None = None) -> Compiled:
        """Return the code compiled for a mode, by default the current one."""
        mode = mode or settings.current().mode
        if mode not in self._compiled:
            self._compiled[mode] = compiled(self.code, self._options, mode)
        return self._compiled[mode]

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel; SettingError with the closest name if the source does not have it.

        A kernel that is not extern "C" is refused as well: on a GPU its name is mangled.
        """
        notes = self.compile().notes
        if name not in notes["kernels"]:
            error = unknown("kernel", name, notes["kernels"])
            raise SettingError(f"cudaErrorSymbolNotFound: {error}")
        if name in notes["mangled"]:
            raise SettingError(
                f'cudaErrorSymbolNotFound: kernel {name} is not extern "C", so its name is mangled'
            )
        return RawKernel(self, name)


class _Entry:
    """A kernel of a module in one mode, with what a launch needs."""

    def __init__(self, made: Compiled, name: str) -> None:
        self.address, description = made.describe(name)
        self.compiled = made
        self.packer = Packer(name, description, made.notes["kernels"][name]["restrict"])
        self.max_threads = description.max_threads or MAX_BLOCK_THREADS
        self.static_shared_bytes = made.static_shared_bytes(name)
        # Validated launches: grid, block and shared memory as given, and as seven numbers.
        self.accepted: dict[tuple[tuple[int, ...], tuple[int, ...], int], tuple[int, ...]] = {}


class RawKernel:
    """A kernel: ``kernel(grid, block, args, shared_mem=0)`` launches it and waits for it.

    The mode is the one that is current at the launch.
    """

    def __init__(self, module: RawModule, name: str) -> None:
        self.module = module
        self.name = name
        self._entries: dict[str, _Entry] = {}
        self._max_dynamic: int | None = None

    def _entry(self, mode: str) -> _Entry:
        entry = self._entries.get(mode)
        if entry is None:
            entry = self._entries[mode] = _Entry(self.module.compile(mode), self.name)
        return entry

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The limit of a launch's dynamic shared memory, in bytes; may be raised."""
        if self._max_dynamic is not None:
            return self._max_dynamic
        return max(0, DEFAULT_SHARED_BYTES - self._static_shared_bytes())

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        most = MAX_SHARED_BYTES - self._static_shared_bytes()
        if not 0 <= size <= most:
            raise LaunchError(
                self.name, f"{size} bytes of dynamic shared memory; the maximum is {most}"
            )
        self._max_dynamic = size
        for entry in self._entries.values():
            entry.accepted.clear()

    def _static_shared_bytes(self) -> int:
        return self._entry(settings.current().mode).static_shared_bytes

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: graphs.Stream | None = None,
    ) -> None:
        """Run the kernel, or capture the launch if ``stream``, or the current stream, captures.

        grid: blocks in x, y, z; block: threads in x, y, z; args: arrays of this package and NumPy
        scalars; shared_mem: bytes of dynamic shared memory. Raises LaunchError, ArgumentError, or
        EmulatorError for a fault of the kernel.
        """
        now = settings.current()
        entry = self._entries.get(now.mode) or self._entry(now.mode)
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise ArgumentError(self.name, "grid and block must be tuples")
        wanted = (grid, block, shared_mem)
        sizes = entry.accepted.get(wanted)
        if sizes is None:
            sizes = self._sizes(entry, grid, block, shared_mem)
            entry.accepted[wanted] = sizes
        check = now.mode == "check"
        launch = (entry.address, entry.compiled.module, now.seed, *sizes)
        how = (settings.MODES.index(now.mode), settings.ORDERS.index(now.order), now.threads)
        request = entry.packer.pack(launch, how, args, check)

        def run() -> None:
            collect = None
            if now.mode == "profile":
                collect = self._collector(entry, sizes)
            elif counts := profile.active():
                counts.not_counted += 1
            faults = runtime().launch(request, collect)
            if faults:
                raise report.error(self.name, entry.compiled.path, faults)

        memories = [value._memory for value in args if isinstance(value, ndarray)]
        graphs.do(self.name, memories, run, stream)

    def _collector(
        self, entry: _Entry, sizes: tuple[int, ...]
    ) -> Callable[[Any, tuple[int, int]], None]:
        """Return the function that adds a launch in profile mode to the current profile."""
        shape = (sizes[:3], sizes[3:6], entry.static_shared_bytes + sizes[6])

        def collect(sites: Any, once: tuple[int, int]) -> None:
            counts = profile.collecting()
            source = (self.module.code, self.module.options)
            counts.add(self.name, entry.compiled, source, shape, sites, once)

        return collect

    def _sizes(
        self, entry: _Entry, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int
    ) -> tuple[int, ...]:
        """Return grid, block and shared memory as seven numbers; LaunchError as on a GPU."""
        # Missing sizes, and those of 0, are 1, as in CuPy: kernels must check their bounds.
        grid = tuple(max(1, operator.index(size)) for size in (*grid, 1, 1)[:3])
        block = tuple(max(1, operator.index(size)) for size in (*block, 1, 1)[:3])
        if any(size > most for size, most in zip(grid, MAX_GRID, strict=True)):
            raise LaunchError(self.name, f"grid {grid}; the maximum is {MAX_GRID}")
        threads = math.prod(block)
        if threads > MAX_BLOCK_THREADS or block[2] > MAX_BLOCK[2]:
            raise LaunchError(
                self.name,
                f"block {block}; the maximum is {MAX_BLOCK}, and {MAX_BLOCK_THREADS} threads",
            )
        if threads > entry.max_threads:
            raise LaunchError(
                self.name, f"block {block}; its __launch_bounds__ allow {entry.max_threads} threads"
            )
        if entry.static_shared_bytes > DEFAULT_SHARED_BYTES:
            raise LaunchError(
                self.name,
                f"declares {entry.static_shared_bytes} bytes of shared arrays; the maximum is"
                f" {DEFAULT_SHARED_BYTES}",
            )
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes:
            raise LaunchError(
                self.name,
                f"{shared_mem} bytes of dynamic shared memory; raise max_dynamic_shared_size_bytes,"
                f" now {self.max_dynamic_shared_size_bytes}",
            )
        return (*grid, *block, shared_mem)
