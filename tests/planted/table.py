"""The planted faults: the launch of each kernel and the fault to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.emulator import Kind, asarray, empty, ndarray, zeros

FOLDER = Path(__file__).parent
Index = tuple[int, int, int]


def floats(n: int) -> ndarray:
    return asarray(np.arange(n, dtype=np.float32))


def blank(n: int) -> ndarray:
    return empty(n, np.float32)


def ints(n: int, value: int = 0) -> ndarray:
    return asarray(np.full(n, value, np.int32))


def half_view() -> ndarray:
    """Return the first half of a larger array: the hardware does not notice reads past it."""
    return floats(64)[:32]


KEPT: list[ndarray] = []


def table_of(array: ndarray) -> ndarray:
    """Return an array of one pointer, to the array."""
    KEPT.append(array)
    return asarray(np.array([array.data.ptr], np.uint64))


def int32(value: int) -> np.int32:
    return np.int32(value)


@dataclass(frozen=True)
class Planted:
    """One fault; ``thread`` and ``block`` are None if they depend on the order."""

    file: str
    kernel: str
    kind: Kind
    arguments: Callable[[], tuple[Any, ...]]
    grid: int = 1
    threads: int = 64
    shared: int = 0
    thread: int | None = None
    block: int | None = None
    text: str = ""

    @property
    def line(self) -> int:
        """The marked line of the kernel, or of the function before it."""
        lines = (FOLDER / self.file).read_text().splitlines()
        start = next(n for n, line in enumerate(lines) if f" {self.kernel}(" in line)
        marked = [n for n, line in enumerate(lines) if line.endswith("// fault")]
        if self.kernel == "recurses":
            return 1 + max(n for n in marked if n < start)
        return 1 + min(n for n in marked if n > start)


def _memory(kernel: str, kind: Kind, arguments: Callable[[], Any], **more: Any) -> Planted:
    return Planted("memory.cu", kernel, kind, arguments, **more)


def _race(kernel: str, arguments: Callable[[], Any], **more: Any) -> Planted:
    return Planted("races.cu", kernel, Kind.RACE, arguments, **more)


def _threads(kernel: str, kind: Kind, arguments: Callable[[], Any], **more: Any) -> Planted:
    return Planted("threads.cu", kernel, kind, arguments, **more)


OUT = Kind.OUT_OF_BOUNDS
UNINITIALISED = Kind.UNINITIALISED

MEMORY = [
    _memory(
        "read_past", OUT, lambda: (floats(200), blank(200), int32(200)),
        grid=4, thread=7, block=3, text="0 bytes past the end of x of 800 bytes",
    ),
    _memory(
        "read_before", OUT, lambda: (floats(64), blank(64), int32(64)),
        thread=0, text="4 bytes before x of 256 bytes",
    ),
    _memory("write_past", OUT, lambda: (blank(63), int32(63)), thread=63, text="past the end of y"),
    _memory("far_outside", OUT, lambda: (blank(64),), thread=1, text="past the end of y"),
    _memory(
        "past_view", OUT, lambda: (half_view(), blank(64), int32(64)),
        thread=32, text="past the end of x of 128 bytes",
    ),
    _memory("uninitialised", UNINITIALISED, lambda: (blank(64), blank(64)), text=" of x "),
    _memory("misaligned", Kind.MISALIGNED, lambda: (floats(260), blank(256)), text="16"),
    _memory("null_pointer", OUT, lambda: (np.uintp(0), blank(64)), text="null pointer"),
    _memory(
        "wild_pointer", OUT, lambda: (asarray(np.full(1, 1 << 40, np.uint64)),), threads=1,
        text="wild pointer",
    ),
    _memory("writes_const", Kind.READ_ONLY, lambda: (floats(64),), text="x, which is a pointer"),
    _memory(
        "copy_past", OUT, lambda: (half_view(), blank(64), int32(33)), threads=1,
        text="past the end of x",
    ),
    _memory("misaligned_load", Kind.MISALIGNED, lambda: (floats(8), blank(4)), threads=1),
    _memory("misaligned_atomic", Kind.MISALIGNED, lambda: (ints(4),), threads=1, text="of 8"),
    _memory(
        "long_index", OUT, lambda: (ints(1), np.int64(2**32 + 1)), threads=1, text="4294967297"
    ),
    _memory("local_index", OUT, lambda: (ints(1), int32(4)), threads=1, text="index 4"),
    _memory("shared_column", OUT, lambda: (blank(8), int32(3)), threads=8, thread=6, text="index"),
    _memory(
        "shared_past", OUT, lambda: (blank(64), int32(4)), thread=60,
        text="offset 256 of shared first, 256 bytes",
    ),
    _memory(
        "dynamic_past", OUT, lambda: (blank(64),), shared=252, thread=63,
        text="offset 252 of the dynamic shared memory, 252 bytes",
    ),
    _memory("uninitialised_shared", UNINITIALISED, lambda: (blank(32),), threads=32, thread=16),
    _memory(
        "left_by_another_block", UNINITIALISED, lambda: (blank(64),), grid=2, threads=32,
        shared=128, block=1, text="shared",
    ),
    _memory("unset_sum", UNINITIALISED, lambda: (floats(4), blank(8), int32(4)), text="sum"),
    _memory(
        "unset_in_a_branch", UNINITIALISED, lambda: (floats(64), blank(64)), text="scale",
    ),
    _memory(
        "unset_element", UNINITIALISED, lambda: (floats(4), blank(64), int32(3)), text="values",
    ),
    _memory("unset_field", UNINITIALISED, lambda: (floats(64), blank(256)), text="value"),
    _memory(
        "local_of_another_thread", OUT, lambda: (blank(64),),
        text="a local variable of thread (0, 0, 0)",
    ),
    _memory("writes_constant", Kind.READ_ONLY, lambda: (floats(32),), threads=32, text="__const"),
    _memory(
        "past_variable_table", OUT, lambda: (table_of(floats(64)), blank(65)), threads=65,
        thread=64, text="to which an argument points",
    ),
]  # fmt: skip

RACES = [
    _race("last_block_reads", lambda: (ints(1), ints(1)), grid=4, threads=32, text="atomic"),
    _race("bytes_of_a_word", lambda: (zeros(4, np.uint8), ints(1)), grid=2, threads=1),
    _race("fence_too_early", lambda: (blank(128), blank(1), ints(1)), grid=4, threads=32),
    _race("device_variable", lambda: (ints(64),), text="global"),
    _race("copied_by_all", lambda: (blank(32), int32(9)), text="global"),
    _race("missing_barrier", lambda: (floats(64), blank(64)), text="shared"),
    _race("missing_second_barrier", lambda: (floats(128), blank(64), int32(2)), text="shared"),
    _race("one_buffer_of_two", lambda: (floats(256), blank(64), int32(4)), text="shared"),
    _race("no_syncwarp", lambda: (blank(32),), threads=32, text="shared"),
    _race("between_blocks", lambda: (zeros(1, np.float32),), grid=2, thread=0, text="global"),
    _race("neighbour_block", lambda: (floats(256), int32(256)), grid=4, text="global"),
    _race("write_after_read", lambda: (floats(256), int32(256)), grid=4, text="global"),
    _race("within_block", lambda: (floats(64), blank(64)), text="global"),
    _race("same_byte", lambda: (zeros(64, np.uint8),), text="global"),
    _race("plain_and_atomic", lambda: (ints(1), ints(64)), text="atomic"),
    _race("ticket_without_fence", lambda: (blank(4), blank(1), ints(1)), grid=4, threads=1),
    _race("atomic_after_write", lambda: (ints(1),), grid=2, threads=1, text="with a write"),
    _race("lock_without_fence", lambda: (ints(1), ints(1)), text="global"),
    _race("volatile_instead_of_barrier", lambda: (floats(64), blank(64)), text="shared"),
    _race("ticket_without_barrier", lambda: (blank(128), blank(1), ints(1)), grid=4, threads=32),
]

BARRIER, WARP, OVERFLOW = Kind.BARRIER, Kind.WARP, Kind.OVERFLOW
THREADS = [
    _threads("barrier_in_branch", BARRIER, lambda: (blank(64),), text="threads 32-63 have exited"),
    _threads(
        "barrier_after_return", BARRIER, lambda: (blank(200), int32(200)), grid=4, block=3,
        text="threads 8-63 have exited",
    ),
    _threads("two_barriers", BARRIER, lambda: (blank(64),), text="threads 32-63 wait at"),
    _threads("barrier_in_loop", BARRIER, lambda: (blank(64),), text="threads 0-31 have exited"),
    _threads(
        "shuffle_from_exited", WARP, lambda: (floats(32), int32(20)), threads=32, thread=4,
        text="lane 4 reads lane 20",
    ),
    _threads("shuffle_in_branch", WARP, lambda: (floats(32),), threads=32, text="not all"),
    _threads(
        "mask_without_itself", WARP, lambda: (empty(32, np.uint32),), threads=32, text="excludes"
    ),
    _threads("different_operations", WARP, lambda: (ints(32),), threads=32, text="differ"),
    _threads("product_overflows", OVERFLOW, lambda: (ints(1), int32(70000)), threads=1, text="*"),
    _threads("index_overflows", OVERFLOW, lambda: (blank(1), int32(2**31 - 1)), threads=1),
    _threads("divides_by_zero", Kind.DIVISION, lambda: (ints(1), int32(0)), threads=1),
    _threads(
        "quotient_overflows", OVERFLOW, lambda: (ints(1), int32(-(2**31))), threads=1, text="/"
    ),
    _threads("shifts_too_far", Kind.BAD_SHIFT, lambda: (ints(1), int32(32)), threads=1),
    _threads(
        "waits_at_a_barrier", Kind.DEADLOCK, lambda: (ints(1),),
        thread=0, text="threads 1-63 wait at the barrier",
    ),
    _threads("asserts", Kind.ASSERTION, lambda: (ints(1), int32(0)), threads=1, text="n > 0"),
    _threads("recurses", Kind.STACK, lambda: (ints(1), int32(10**6)), threads=1),
]  # fmt: skip

PLANTED = [*MEMORY, *RACES, *THREADS]
