"""RawModule and RawKernel, with CuPy's interface."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpucnn.emulator import graphs, report, settings, source
from gpucnn.emulator.arguments import Packer
from gpucnn.emulator.array import ndarray
from gpucnn.emulator.compiled import Compiled, compiled
from gpucnn.emulator.errors import LaunchError
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

    code: the source. Faults name the files of its ``#line`` directives.
    path: the file of the source; it is read if ``code`` is None. Faults name it if the code does
    not begin with ``#line``.

    Raises CompileError with file and line, SettingError for an option that the emulator does not
    support, BackendError without g++.
    """

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | Path | None = None,
        options: Sequence[str] = (),
        backend: str = "nvrtc",
    ) -> None:
        if backend != "nvrtc":
            raise unknown("compiler of RawModule", backend, ["nvrtc"])
        if code is None:
            if path is None:
                raise TypeError("RawModule requires code or path")
            code = Path(path).read_text(encoding="utf-8")
        if not code.lstrip().startswith("#line"):
            name = json.dumps(str(path or "<code>"), ensure_ascii=False)
            code = f"#line 1 {name}\n{code}"
        self.code = code
        self.options = tuple(options)
        self._options = source.parse_options(options)
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
            raise unknown("kernel", name, notes["kernels"])
        if name in notes["mangled"]:
            raise SettingError(
                f'kernel {name} is not extern "C": CuPy would not find its mangled name'
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
    def max_threads_per_block(self) -> int:
        """The limit of __launch_bounds__, by default 1024."""
        return self._entry(settings.current().mode).max_threads

    @property
    def shared_size_bytes(self) -> int:
        """Bytes of statically sized shared arrays."""
        return self._entry(settings.current().mode).static_shared_bytes

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The limit of a launch's dynamic shared memory, in bytes; may be raised."""
        if self._max_dynamic is not None:
            return self._max_dynamic
        return max(0, DEFAULT_SHARED_BYTES - self.shared_size_bytes)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        most = MAX_SHARED_BYTES - self.shared_size_bytes
        if not 0 <= size <= most:
            raise LaunchError(
                self.name, f"{size} bytes of dynamic shared memory; the maximum is {most}"
            )
        self._max_dynamic = size
        for entry in self._entries.values():
            entry.accepted.clear()

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
        wanted = (tuple(grid), tuple(block), shared_mem)
        sizes = entry.accepted.get(wanted)
        if sizes is None:
            sizes = self._sizes(entry, grid, block, shared_mem)
            entry.accepted[wanted] = sizes
        check = now.mode == "check"
        launch = (entry.address, entry.compiled.module, now.seed, *sizes)
        how = (int(check), settings.ORDERS.index(now.order), now.threads)
        request = entry.packer.pack(launch, how, args, check)

        def run() -> None:
            faults = runtime().launch(request)
            if faults:
                raise report.error(self.name, entry.compiled.path, faults)

        memories = [value._memory for value in args if isinstance(value, ndarray)]
        graphs.do(self.name, memories, run, stream)

    def _sizes(
        self, entry: _Entry, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int
    ) -> tuple[int, ...]:
        """Return grid, block and shared memory as seven numbers; LaunchError as on a GPU."""
        # A size of 0 in the grid becomes 1, as in CuPy: kernels must check their bounds.
        grid = tuple(max(1, int(size)) for size in grid) + (1,) * (3 - len(grid))
        block = tuple(int(size) for size in block) + (1,) * (3 - len(block))
        if len(grid) != 3 or any(size > most for size, most in zip(grid, MAX_GRID, strict=True)):
            raise LaunchError(self.name, f"grid {grid}; the maximum is {MAX_GRID}")
        threads = block[0] * block[1] * block[2]
        if len(block) != 3 or min(block) < 1 or threads > MAX_BLOCK_THREADS or block[2] > 64:
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
