"""The faults that the emulator finds, as exceptions with the thread and the line."""

from __future__ import annotations

from enum import StrEnum

from gpucnn.errors import GpucnnError

Index = tuple[int, int, int]


class Kind(StrEnum):
    """What is wrong: the members of ``enum Kind`` in runtime/runtime.h, and those of Python."""

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
    MEMORY = "out of memory"
    DEADLOCK = "deadlock"
    SAME_VALUE = "same value written twice"
    LAUNCH = "bad launch"
    ARGUMENT = "bad argument"
    COMPILE = "compile error"
    CAPTURE = "capture"


class EmulatorError(GpucnnError, RuntimeError):
    """A fault of a kernel, a launch or a source.

    ``kernel`` is its name; ``file`` and ``line`` are the position in the source, as #line
    directives name it; ``block`` and ``thread`` are the (x, y, z) indices of the thread with the
    fault. Each is None where it does not apply. ``more`` holds further faults of the same launch.
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


class EmulatorWarning(UserWarning):
    """What check mode found in a kernel that need not be a fault.

    Threads write the same value to the same memory, and nothing orders them: on a GPU the result is
    that value, but with other data the values may differ.
    """


class LaunchError(EmulatorError):
    """A launch that a GPU would refuse: the size of the grid, of blocks, or of shared memory."""

    def __init__(self, kernel: str, message: str) -> None:
        text = f"{kernel}: cudaErrorInvalidValue: {message}"
        super().__init__(text, kind=Kind.LAUNCH, kernel=kernel)


class ArgumentError(EmulatorError, TypeError):
    """Arguments that do not match the kernel's parameters in number or type."""

    def __init__(self, kernel: str, message: str) -> None:
        super().__init__(f"{kernel}: {message}", kind=Kind.ARGUMENT, kernel=kernel)


class CompileError(EmulatorError):
    """A source that g++ does not compile."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message, kind=Kind.COMPILE, file=file, line=line)
