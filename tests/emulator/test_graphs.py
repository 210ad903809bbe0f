"""What the emulator finds in graphs and pools beyond what CUDA refuses."""

from __future__ import annotations

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from gpucnn import emulator
from gpucnn.emulator.cuda import Graph, MemoryPool, Stream, using_allocator
from gpucnn.errors import BackendError

try:
    emulator.require()
except BackendError as error:  # the emulator needs g++
    pytest.skip(str(error), allow_module_level=True)

SOURCE = """
extern "C" __global__ void add(float* x, const float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += y[i];
}
extern "C" __global__ void beyond(float* x, const int* at) { x[at[0]] = 1; }
"""


@functools.cache
def kernel(name: str) -> emulator.RawKernel:
    return emulator.RawModule(code=SOURCE).get_function(name)


def floats(*values: float) -> emulator.ndarray:
    return emulator.asarray(np.array(values, np.float32))


@contextmanager
def capturing() -> Iterator[list[Graph]]:
    """Capture the launches in the ``with``; the graph is in the list after it."""
    stream, graphs = Stream(non_blocking=True), list[Graph]()
    with stream:
        stream.begin_capture()
        yield graphs
        graphs.append(stream.end_capture())


def add(x: emulator.ndarray, y: emulator.ndarray) -> None:
    kernel("add")((1,), (x.size,), (x, y, np.int32(x.size)))


def test_an_array_that_was_freed_is_named_by_the_kernel_that_used_it() -> None:
    x, y = floats(1), floats(2)
    with capturing() as graphs:
        add(x, y)
    del y
    gc.collect()
    with pytest.raises(emulator.CaptureError, match="add: an array was freed") as caught:
        graphs[0].launch()
    assert caught.value.kernel == "add"
    assert x.item() == 1


def test_faults_are_found_at_the_replay() -> None:
    x, at = floats(1, 2), emulator.asarray(np.array([0], np.int32))
    with emulator.checking(), capturing() as graphs:
        kernel("beyond")((1,), (1,), (x, at))
    graphs[0].launch()
    at[...] = 7
    with pytest.raises(emulator.EmulatorError, match="beyond") as caught:
        graphs[0].launch()
    assert caught.value.kind == emulator.Kind.OUT_OF_BOUNDS


# --- memory pools -------------------------------------------------------------------------------


def test_a_pool_reuses_the_smallest_block_that_is_large_enough() -> None:
    pool = MemoryPool()
    with using_allocator(pool.malloc):
        small, large = emulator.empty(10, np.float32), emulator.empty(100, np.float32)
        start = small.data.ptr
        del small, large
        other = emulator.empty(11, np.float32)
        assert (pool.used_bytes(), pool.total_bytes()) == (400, 440), "40 bytes are not enough"
        again = emulator.empty(9, np.float32)
        assert again.data.ptr == start + 4 // 16 * 16
        assert other.data.ptr % 16 == 0
        more = emulator.empty(11, np.float32)
        assert pool.total_bytes() == 484
    del more


def test_an_array_lies_at_the_end_of_its_block() -> None:
    """So that running past it stops a kernel in fast mode, too."""
    pool = MemoryPool()
    with using_allocator(pool.malloc):
        large = emulator.empty(10_000, np.float32)
        end = large.data.ptr + large.nbytes
        del large
        small = emulator.empty(8, np.float32)
    assert small.data.ptr + small.nbytes == end
    at = emulator.asarray(np.array([8], np.int32))
    with pytest.raises(emulator.EmulatorError, match="0 bytes past the end of an array"):
        kernel("beyond")((1,), (1,), (small, at))


def test_reused_memory_is_unset_and_zeros_are_zero() -> None:
    pool = MemoryPool()
    with emulator.checking(), using_allocator(pool.malloc):
        for mark in ("host", "kernel"):  # who wrote to it before
            x = emulator.asarray(np.ones(4, np.float32))
            if mark == "kernel":
                add(x, x)
            del x
            x = emulator.empty(4, np.float32)
            assert np.isnan(x.get()).all()
            with pytest.raises(emulator.EmulatorError, match="never written"):
                add(x, x)
            del x
        x = emulator.zeros(4, np.float32)
        assert pool.total_bytes() == 16
        add(x, x)
        assert x.get().tolist() == [0] * 4


def test_what_a_kernel_wrote_to_part_of_reused_memory_is_unset_again() -> None:
    pool, at = MemoryPool(), emulator.asarray(np.array([1], np.int32))
    with emulator.checking(), using_allocator(pool.malloc):
        x, y = emulator.empty(2, np.float32), emulator.asarray(np.ones(2, np.float32))
        kernel("beyond")((1,), (1,), (x, at))  # writes x[1]
        del x
        x = emulator.empty(2, np.float32)
        with pytest.raises(emulator.EmulatorError, match="never written"):
            add(y[1:], x[1:])


def test_memory_is_unset_at_each_replay() -> None:
    """A kernel that reads what an earlier replay left is found."""
    pool, y = MemoryPool(), floats(1, 1)
    x = None
    with emulator.checking():
        with using_allocator(pool.malloc), capturing() as graphs:
            x = emulator.empty(2, np.float32)
            add(y, x)
        x.fill(0)
        with pytest.raises(emulator.EmulatorError, match="never written"):
            graphs[0].launch()


def test_graphs_are_valid_as_long_as_their_pool() -> None:
    pool, y = MemoryPool(), floats(1, 1)
    with using_allocator(pool.malloc), capturing() as graphs:
        x = emulator.zeros((2,), np.float32)
        add(x, y)
        del x
    gc.collect()
    graphs[0].launch()
    pool.free_all_blocks()
    with pytest.raises(emulator.CaptureError, match="an array was freed"):
        graphs[0].launch()
