"""RawKernel, with CuPy's interface: checks a launch, and runs or captures it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gpucnn.emulator import graphs, profile, report, settings
from gpucnn.emulator.arguments import Packer
from gpucnn.emulator.array import ndarray
from gpucnn.emulator.compiled import Compiled
from gpucnn.emulator.errors import ArgumentError, LaunchError
from gpucnn.emulator.limits import (
    DEFAULT_SHARED_BYTES,
    MAX_BLOCK,
    MAX_BLOCK_THREADS,
    MAX_GRID,
    MAX_SHARED_BYTES,
)
from gpucnn.emulator.native import runtime
from gpucnn.emulator.program import Program
from gpucnn.errors import SettingError

_INTEGERS = {int}
_UNKNOWN = (
    "the emulator does not know {}, which NVIDIA's compiler decides; NVRTC prints it with"
    " --ptxas-options=-v"
)


class _Entry:
    """A kernel of a module in one mode, with what a launch needs."""

    def __init__(self, made: Compiled, symbol: str, name: str) -> None:
        self.address, description = made.describe(symbol)
        self.compiled = made
        self.packer = Packer(name, description, made.notes["kernels"][symbol]["restrict"])
        self.max_threads = description.max_threads or MAX_BLOCK_THREADS
        self.static_shared_bytes = made.static_shared_bytes(symbol)
        # Validated launches: grid, block and shared memory as given, and as seven numbers.
        self.accepted: dict[tuple[tuple[int, ...], tuple[int, ...], int], tuple[int, ...]] = {}


class RawKernel:
    """A kernel: ``kernel(grid, block, args, shared_mem=0)`` launches it and waits for it.

    ``RawKernel(code, name, options)`` is the kernel ``name`` of a CUDA C source; RawModule gives
    the kernels of a source with several. The source is compiled at the first launch, or by
    ``compile``, and the mode is the one that is current at the launch.
    """

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        jitify: bool | None = None,
    ) -> None:
        """Raises SettingError for what the emulator does not support; CuPy's documentation has the
        meaning of the arguments. ``translate_cucomplex`` is not needed: cuComplex.h is there.
        """
        program = Program(code, options, backend, None, enable_cooperative_groups, jitify)
        self._set(program, name, name, code, options, backend)

    def _set(
        self,
        program: Program,
        name: str,
        label: str,
        code: str,
        options: tuple[str, ...],
        backend: str,
    ) -> None:
        """label: the kernel's name in messages, which is not mangled."""
        self.code, self.options, self.backend = code, options, backend
        self.name = self.__name__ = name
        self.enable_cooperative_groups = False
        self._program, self._label = program, label
        self._entries: dict[str, _Entry] = {}
        self._max_dynamic: int | None = None

    @property
    def kernel(self) -> RawKernel:
        """The compiled kernel: this object."""
        self.compile()
        return self

    def compile(self, log_stream: object = None) -> None:
        """Compile the source for the current mode now, not at the first launch."""
        self._entry(settings.current().mode)

    def _entry(self, mode: str) -> _Entry:
        entry = self._entries.get(mode)
        if entry is None:
            made = self._program.compile(mode)
            entry = self._entries[mode] = _Entry(made, self._program.symbol(self.name), self._label)
        return entry

    @property
    def attributes(self) -> dict[str, int]:
        """What is known of the kernel without a GPU's compiler, by CuPy's names."""
        return {
            name: getattr(self, name)
            for name in (
                "max_threads_per_block", "shared_size_bytes", "max_dynamic_shared_size_bytes",
            )
        }  # fmt: skip

    @property
    def max_threads_per_block(self) -> int:
        """The largest number of threads in a block: that of __launch_bounds__, or 1024."""
        return self._entry(settings.current().mode).max_threads

    @property
    def shared_size_bytes(self) -> int:
        """Bytes of the ``__shared__`` arrays of the kernel and the functions that it calls."""
        return self._static_shared_bytes()

    @property
    def num_regs(self) -> NoReturn:
        """Not known: registers are the choice of NVIDIA's compiler."""
        raise SettingError(_UNKNOWN.format("num_regs"))

    @property
    def local_size_bytes(self) -> NoReturn:
        """Not known: NVIDIA's compiler decides what it keeps in local memory."""
        raise SettingError(_UNKNOWN.format("local_size_bytes"))

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
                self._label, f"{size} bytes of dynamic shared memory; the maximum is {most}"
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
            raise ArgumentError(self._label, "grid and block must be tuples")
        wanted = (grid, block, shared_mem)
        sizes = entry.accepted.get(wanted)
        # Lengths of other types may be equal to integers, such as 2.0.
        if sizes is None or not _INTEGERS.issuperset(map(type, (*grid, *block, shared_mem))):
            sizes = self._sizes(entry, grid, block, shared_mem)
            entry.accepted[wanted] = sizes
        check = now.mode == "check"
        if not isinstance(args, tuple | list):
            raise ArgumentError(self._label, f"takes its arguments as a tuple, got {args!r:.40}")
        launch = (entry.address, entry.compiled.module, now.seed, *sizes)
        how = (settings.MODES.index(now.mode), settings.ORDERS.index(now.order), now.threads)
        request = entry.packer.pack(launch, how, args, check)

        def run() -> None:
            collect = None
            if now.mode == "profile":
                collect = self._collector(entry, sizes)
            elif counts := profile.active():
                counts.not_counted += 1
            self._program.exchange(entry.compiled, back=False)
            faults = runtime().launch(request, collect)
            self._program.exchange(entry.compiled, back=True)
            if faults:
                report.finish(self._label, entry.compiled.path, faults)

        memories = [value._memory for value in args if isinstance(value, ndarray)]
        graphs.do(self._label, memories, run, stream)

    def _collector(
        self, entry: _Entry, sizes: tuple[int, ...]
    ) -> Callable[[Any, tuple[int, int]], None]:
        """Return the function that adds a launch in profile mode to the current profile."""
        shape = (sizes[:3], sizes[3:6], entry.static_shared_bytes + sizes[6])
        source = (self._program.request.code, self.options)

        def collect(sites: Any, once: tuple[int, int]) -> None:
            counts = profile.collecting()
            counts.add(self._label, entry.compiled, source, shape, sites, once)

        return collect

    def _sizes(
        self, entry: _Entry, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int
    ) -> tuple[int, ...]:
        """Return grid, block and shared memory as seven numbers; LaunchError as on a GPU."""
        # Missing sizes, and those of 0, are 1, as in CuPy: kernels must check their bounds.
        grid, block = self._lengths("grid", grid), self._lengths("block", block)
        shared_mem = operator.index(shared_mem)
        if any(size > most for size, most in zip(grid, MAX_GRID, strict=True)):
            raise LaunchError(self._label, f"grid {grid}; the maximum is {MAX_GRID}")
        threads = math.prod(block)
        if threads > MAX_BLOCK_THREADS or block[2] > MAX_BLOCK[2]:
            raise LaunchError(
                self._label,
                f"block {block}; the maximum is {MAX_BLOCK}, and {MAX_BLOCK_THREADS} threads",
            )
        if threads > entry.max_threads:
            raise LaunchError(
                self._label,
                f"block {block}; its __launch_bounds__ allow {entry.max_threads} threads",
            )
        if entry.static_shared_bytes > DEFAULT_SHARED_BYTES:
            raise LaunchError(
                self._label,
                f"declares {entry.static_shared_bytes} bytes of shared arrays; the maximum is"
                f" {DEFAULT_SHARED_BYTES}",
            )
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes:
            raise LaunchError(
                self._label,
                f"{shared_mem} bytes of dynamic shared memory; raise max_dynamic_shared_size_bytes,"
                f" now {self.max_dynamic_shared_size_bytes}",
            )
        return (*grid, *block, shared_mem)

    def _lengths(self, what: str, given: tuple[int, ...]) -> tuple[int, ...]:
        """Return the three lengths of a grid or a block; ArgumentError for those that are none."""
        try:
            lengths = tuple(max(1, operator.index(length)) for length in given)
        except TypeError:
            raise ArgumentError(
                self._label, f"{what} {given} must consist of integers: n // m, not n / m"
            ) from None
        return (*lengths, 1, 1)[:3]
