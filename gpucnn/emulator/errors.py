"""The faults that the emulator finds, as exceptions that say which thread and which line."""

from __future__ import annotations

from enum import StrEnum

from gpucnn.errors import GpucnnError

Index = tuple[int, int, int]


class Kind(StrEnum):
    """What is wrong. The first twelve are in the order of ``enum Kind`` in runtime/runtime.h."""

    OUT_OF_BOUNDS = "out of bounds"
    UNINITIALISED = "uninitialised read"
    RACE = "race"
    BARRIER = "divergent barrier"
    WARP = "warp operation"
    MISALIGNED = "misaligned access"
    OVERFLOW = "integer overflow"
    DIVISION = "division by zero"
    BAD_SHIFT = "bad shift"
    READ_ONLY = "write to const"
    STACK = "stack overflow"
    ASSERTION = "assertion"
    LAUNCH = "bad launch"
    ARGUMENT = "bad argument"
    COMPILE = "compile error"
    CAPTURE = "capture"


class EmulatorError(GpucnnError, RuntimeError):
    """Something that a kernel, a launch or a source does wrong.

    ``kernel`` is its name; ``file`` and ``line`` say where in the source, as its #line names it;
    ``block`` and ``thread`` are the (x, y, z) of the thread that met the fault. Each is None where
    it does not apply. ``more`` holds the further faults of the same launch.
    """

    status = 1

    def __init__(
        self,
        message: str,
        *,
        kind: Kind,
        kernel: str | None = None,
        block: Index | None = None,
        thread: Index | None = None,
        file: str | None = None,
        line: int | None = None,
        more: tuple[EmulatorError, ...] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.kernel = kernel
        self.block = block
        self.thread = thread
        self.file = file
        self.line = line
        self.more = more


class LaunchError(EmulatorError):
    """A launch that a GPU would refuse: sizes of the grid, of blocks, of shared memory."""

    def __init__(self, kernel: str, message: str) -> None:
        super().__init__(f"{kernel}: {message}", kind=Kind.LAUNCH, kernel=kernel)


class ArgumentError(EmulatorError, TypeError):
    """Arguments of another number or type than the kernel's parameters."""

    def __init__(self, kernel: str, message: str) -> None:
        super().__init__(f"{kernel}: {message}", kind=Kind.ARGUMENT, kernel=kernel)


class CompileError(EmulatorError):
    """A source that g++ does not take."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message, kind=Kind.COMPILE, file=file, line=line)
