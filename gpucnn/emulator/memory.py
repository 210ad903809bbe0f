"""The emulated device's memory, and pools of it, by CuPy's names."""

from __future__ import annotations

import ctypes
import threading
import weakref
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np

from gpucnn.emulator import abi, graphs
from gpucnn.emulator.native import runtime
from gpucnn.errors import ShapeError

ALIGNMENT = abi.constant("alignment")
"""The addresses of arrays are multiples of so many bytes."""


class Memory:
    """An allocation, freed when nothing refers to it any longer.

    ``handle`` identifies it to the runtime library, ``ptr`` is its address, and ``buffer`` gives
    NumPy access to its bytes.
    """

    def __init__(self, nbytes: int) -> None:
        """The contents are unset, and read as NaN or -1."""
        address = ctypes.c_size_t()
        library = runtime()
        self.handle = library.allocate(nbytes, True, ctypes.byref(address))
        if not self.handle:
            raise MemoryError(f"the emulator has no room for an array of {nbytes} bytes")
        self.ptr: int = address.value
        self.nbytes = nbytes
        self._release = library.release
        self.buffer: Any = (ctypes.c_char * max(nbytes, 1)).from_address(self.ptr)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._release(self.handle)

    def poison(self) -> None:
        """Make the contents unset again."""
        runtime().poison(self.handle)

    def mark_written(self, view: np.ndarray[Any, Any]) -> None:
        """Record that the host has written the elements of a view of this memory."""
        library = runtime()
        if library.all_written(self.handle) or not view.size:
            return
        offset = view.__array_interface__["data"][0] - self.ptr
        if view.flags.c_contiguous:
            library.mark_written(self.handle, offset, view.nbytes)
            return
        distance = library.written_map_distance()
        marks: Any = (ctypes.c_ubyte * self.nbytes).from_address(self.ptr + distance)
        shape, strides = (*view.shape, view.itemsize), (*view.strides, 1)
        np.ndarray(shape, np.uint8, marks, offset, strides)[...] = 1


class Variable(Memory):
    """The memory of a ``__device__`` or ``__constant__`` variable, which is never freed."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.handle = runtime().adopt(address, nbytes)
        self.ptr, self.nbytes = address, nbytes
        self.buffer = (ctypes.c_char * max(nbytes, 1)).from_address(address)

    def __del__(self) -> None:
        """A variable stays with its module."""


class MemoryPointer:
    """A place in device memory: ``ptr`` is the address, ``mem`` the memory that it points into.

    ``_owner`` is what keeps the memory allocated: the memory itself, or a loan from a pool.
    """

    __slots__ = ("_owner", "mem", "ptr")
    device_id = 0

    def __init__(self, mem: Memory, offset: int, owner: object = None) -> None:
        self.mem = mem
        self.ptr = mem.ptr + offset
        self._owner = mem if owner is None else owner

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset, self._owner)

    def __int__(self) -> int:
        return self.ptr

    def _bytes(self, size: int) -> np.ndarray[Any, Any]:
        """Return the next bytes; ShapeError if they are not all in the memory."""
        offset = self.ptr - self.mem.ptr
        if not 0 <= size <= self.mem.nbytes - offset:
            raise ShapeError(
                f"{size} bytes do not fit: the memory ends after {self.mem.nbytes - offset}"
            )
        return np.ndarray(size, np.uint8, self.mem.buffer, offset)

    def _write(self, values: Any, size: int, *sources: Memory) -> None:
        to, mem = self._bytes(size), weakref.ref(self.mem)

        def run() -> None:
            to[...] = values
            owner = mem()
            assert owner is not None
            owner.mark_written(to)

        graphs.do("a copy", (self.mem, *sources), run)

    def copy_from_device(self, src: MemoryPointer, size: int) -> None:
        """Copy ``size`` bytes from another place on the device."""
        self._write(src._bytes(size), size, src.mem)

    def copy_from_host(self, mem: Any, size: int) -> None:
        """Copy ``size`` bytes from the host's address ``mem``, such as a ctypes.c_void_p."""
        graphs.refuse_copy()
        address: Any = mem.value if isinstance(mem, ctypes.c_void_p) else mem
        self._write(np.frombuffer(ctypes.string_at(address, size), np.uint8), size)

    def copy_from(self, mem: Any, size: int) -> None:
        """Copy ``size`` bytes from a MemoryPointer or from an address of the host."""
        if isinstance(mem, MemoryPointer):
            self.copy_from_device(mem, size)
        else:
            self.copy_from_host(mem, size)

    def copy_to_host(self, mem: Any, size: int) -> None:
        """Copy ``size`` bytes to the host's address ``mem``."""
        graphs.refuse_copy()
        address: Any = mem.value if isinstance(mem, ctypes.c_void_p) else mem
        ctypes.memmove(address, self._bytes(size).ctypes.data, size)

    def memset(self, value: int, size: int) -> None:
        """Set ``size`` bytes to a value from 0 to 255."""
        self._write(value, size)


Allocator = Callable[[int], MemoryPointer]


def alloc_unpooled(size: int) -> MemoryPointer:
    """Return ``size`` bytes of their own; MemoryError where there is no room."""
    mem = Memory(size)
    return MemoryPointer(mem, 0)


def _size(block: MemoryPointer) -> int:
    return block.mem.nbytes


class _Loan:
    """A block in use; deleting it, with the last array that uses it, returns the block."""

    __slots__ = ("_block", "_free")

    def __init__(self, free: list[MemoryPointer], block: MemoryPointer) -> None:
        self._free, self._block = free, block

    def __del__(self) -> None:
        insort(self._free, self._block, key=_size)


class MemoryPool:
    """Keeps the blocks that arrays have released, and reuses the smallest that is large enough.

    A block is reused in the stream that was current when it was allocated. CuPy splits larger
    blocks as well. Here an array lies at the end of its block, so that a kernel that runs past it
    is stopped. Its contents are unset again at each replay.
    """

    def __init__(self, allocator: Allocator | None = None) -> None:
        self._allocate = allocator or alloc_unpooled
        # The blocks of each stream, the smallest first.
        self._free: defaultdict[graphs.Stream, list[MemoryPointer]] = defaultdict(list)
        self._total = 0

    def malloc(self, size: int) -> MemoryPointer:
        """Return ``size`` bytes of a released block, or of one from the pool's allocator."""
        free = self._free[graphs.get_current_stream()]
        index = bisect_left(free, size, key=_size)
        if index < len(free):
            block = free.pop(index)
        else:
            block = self._allocate(size)
            self._total += size
        mem = weakref.ref(block.mem)  # a graph keeps no memory alive

        def poison() -> None:
            owner = mem()
            assert owner is not None
            owner.poison()

        graphs.note("an allocation", block.mem, poison)
        start = (block.mem.ptr + block.mem.nbytes - size) // ALIGNMENT * ALIGNMENT
        return MemoryPointer(block.mem, start - block.mem.ptr, _Loan(free, block))

    def free_all_blocks(self) -> None:
        """Return the blocks that no array uses to the pool's allocator."""
        self._total -= self.free_bytes()
        for free in self._free.values():
            free.clear()

    def set_limit(self) -> None:
        """Set no limit of memory, which is the emulator's only choice."""

    def total_bytes(self) -> int:
        """Return the size of all blocks, in bytes."""
        return self._total

    def free_bytes(self) -> int:
        """Return the size of the blocks that no array uses, in bytes."""
        return sum(map(_size, chain.from_iterable(self._free.values())))

    def used_bytes(self) -> int:
        """Return the size of the blocks that arrays use, in bytes."""
        return self._total - self.free_bytes()


class _Thread(threading.local):
    allocator: Allocator = staticmethod(alloc_unpooled)


_thread = _Thread()


def get_allocator() -> Allocator:
    """Return the allocator of this thread's arrays."""
    return _thread.allocator


def set_allocator(allocator: Allocator | None = None) -> None:
    """Take the memory of this thread's arrays from ``allocator``, by default from no pool."""
    _thread.allocator = allocator or alloc_unpooled


_default_pool = MemoryPool()


def get_default_memory_pool() -> MemoryPool:
    """Return a pool, which arrays use only if ``set_allocator`` is given its ``malloc``."""
    return _default_pool


def alloc_pinned_memory(size: int) -> bytearray:
    """Return memory of the host. CuPy's is page-locked; NumPy's ``frombuffer`` reads both."""
    return bytearray(size)


def alloc(size: int) -> MemoryPointer:
    """Return ``size`` bytes from the allocator of this thread."""
    return get_allocator()(size)


@contextmanager
def using_allocator(allocator: Allocator | None = None) -> Iterator[None]:
    """Take the memory of the arrays that this thread makes in the ``with`` from ``allocator``."""
    before, _thread.allocator = _thread.allocator, allocator or alloc_unpooled
    try:
        yield
    finally:
        _thread.allocator = before
