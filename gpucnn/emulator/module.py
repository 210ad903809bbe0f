"""RawModule and its kernels, as CuPy has them."""

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
    """CUDA C as text, compiled at the first need, once for each mode.

    code: the source. Where it has ``#line`` directives, faults name the files that these name.
    path: the file that ``code`` came from, or that it is read from when ``code`` is None; without
    a ``#line`` at the start of the code, faults name it. Errors: CompileError with file and line,
    SettingError for an option that the emulator cannot honour, BackendError without g++.
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
                raise TypeError("RawModule takes code or path")
            code = Path(path).read_text(encoding="utf-8")
        if not code.lstrip().startswith("#line"):
            name = json.dumps(str(path or "<code>"), ensure_ascii=False)
            code = f"#line 1 {name}\n{code}"
        self.code = code
        self.options = tuple(options)
        self._options = source.parse_options(options)
        self._compiled: dict[str, Compiled] = {}

    def compile(self, mode: str | None = None) -> Compiled:
        """Compile for a mode, by default the current one, unless that has been done."""
        mode = mode or settings.current().mode
        if mode not in self._compiled:
            self._compiled[mode] = compiled(self.code, self._options, mode)
        return self._compiled[mode]

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel; SettingError with the nearest name if the source has none such.

        One that is not extern "C" is refused, too: its name on a GPU is another one.
        """
        notes = self.compile().notes
        if name not in notes["kernels"]:
            raise unknown("kernel", name, notes["kernels"])
        if name in notes["mangled"]:
            raise SettingError(f'kernel {name} is not extern "C": a GPU would not find its name')
        return RawKernel(self, name)


class _Entry:
    """A kernel of a module in one mode: what a launch needs."""

    def __init__(self, made: Compiled, name: str) -> None:
        self.address, description = made.describe(name)
        self.compiled = made
        self.packer = Packer(name, description, made.notes["kernels"][name]["restrict"])
        self.max_threads = description.max_threads or MAX_BLOCK_THREADS
        self.static_shared_bytes = made.static_shared_bytes(name)
        # Launches found in order before: grid, block and shared memory as given, and as numbers.
        self.accepted: dict[tuple[tuple[int, ...], tuple[int, ...], int], tuple[int, ...]] = {}


class RawKernel:
    """A kernel: ``kernel(grid, block, args, shared_mem=0)`` runs it to its end.

    It runs in the mode that is current at the call, whichever that was when it was got.
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
        """What __launch_bounds__ allows, else 1024."""
        return self._entry(settings.current().mode).max_threads

    @property
    def shared_size_bytes(self) -> int:
        """Bytes of the shared arrays whose size the source fixes."""
        return self._entry(settings.current().mode).static_shared_bytes

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The most bytes of dynamic shared memory that a launch may ask for; may be raised."""
        if self._max_dynamic is not None:
            return self._max_dynamic
        return max(0, DEFAULT_SHARED_BYTES - self.shared_size_bytes)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        most = MAX_SHARED_BYTES - self.shared_size_bytes
        if not 0 <= size <= most:
            raise LaunchError(
                self.name, f"{size} bytes of dynamic shared memory; a GPU has at most {most}"
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
        """Run the kernel to its end, or record it if ``stream``, or the current one, does.

        grid: blocks in x, y, z; block: threads in x, y, z; args: arrays of this package and NumPy
        scalars; shared_mem: bytes of dynamic shared memory. Raises LaunchError, ArgumentError, or
        EmulatorError for what the kernel does wrong.
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
        """Return grid, block and shared memory as seven numbers, checked as a GPU does."""
        # An empty grid becomes one block, as in CuPy: kernels must check their bounds.
        grid = tuple(max(1, int(size)) for size in grid) + (1,) * (3 - len(grid))
        block = tuple(int(size) for size in block) + (1,) * (3 - len(block))
        if len(grid) != 3 or any(size > most for size, most in zip(grid, MAX_GRID, strict=True)):
            raise LaunchError(self.name, f"grid {grid}; a GPU takes at most {MAX_GRID}")
        threads = block[0] * block[1] * block[2]
        if len(block) != 3 or min(block) < 1 or threads > MAX_BLOCK_THREADS or block[2] > 64:
            raise LaunchError(
                self.name,
                f"block {block}; a GPU takes at most {MAX_BLOCK}, {MAX_BLOCK_THREADS} in all",
            )
        if threads > entry.max_threads:
            raise LaunchError(
                self.name, f"block {block}; its __launch_bounds__ allow {entry.max_threads}"
            )
        if entry.static_shared_bytes > DEFAULT_SHARED_BYTES:
            raise LaunchError(
                self.name,
                f"declares {entry.static_shared_bytes} bytes of shared arrays; the most is"
                f" {DEFAULT_SHARED_BYTES}",
            )
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes:
            raise LaunchError(
                self.name,
                f"{shared_mem} bytes of dynamic shared memory; set max_dynamic_shared_size_bytes,"
                f" now {self.max_dynamic_shared_size_bytes}",
            )
        return (*grid, *block, shared_mem)
