"""Graphs in the emulator: captured launches are replayed, and what CUDA refuses is refused."""

from __future__ import annotations

import functools
import gc
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from available import cupy_or_skip

from gpucnn import emulator
from gpucnn.emulator.cuda import (
    Device,
    Event,
    Graph,
    MemoryPool,
    Stream,
    get_allocator,
    get_current_stream,
    using_allocator,
)
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
extern "C" __global__ void count(int* steps) { steps[0] += 1; }
extern "C" __global__ void beyond(float* x, const int* at) { x[at[0]] = 1; }
"""


@functools.cache
def kernel(name: str) -> emulator.RawKernel:
    return emulator.RawModule(code=SOURCE).get_function(name)


def floats(*values: float) -> emulator.ndarray:
    return emulator.asarray(np.array(values, np.float32))


@contextmanager
def capturing() -> Iterator[tuple[Stream, list[Graph]]]:
    """Capture the launches in the ``with``; the graph is in the list after it."""
    stream, graphs = Stream(non_blocking=True), list[Graph]()
    with stream:
        stream.begin_capture()
        yield stream, graphs
        graphs.append(stream.end_capture())


def add(x: emulator.ndarray, y: emulator.ndarray, **options: Any) -> None:
    kernel("add")((1,), (x.size,), (x, y, np.int32(x.size)), **options)


def test_captured_launches_run_at_each_replay_and_not_before() -> None:
    x, y, steps = floats(1, 2, 3), floats(1, 1, 1), emulator.zeros((1,), np.int32)
    with capturing() as (_, graphs):
        add(x, y)
        add(y, x)
        kernel("count")((1,), (1,), (steps,))
    assert x.get().tolist() == [1, 2, 3]
    for _ in range(2):
        graphs[0].launch()
    assert x.get().tolist() == [5, 7, 9]  # y is 3, 4, 5 after the first replay
    assert y.get().tolist() == [8, 11, 14]
    assert steps.item() == 2


def test_zeroing_and_copying_are_captured_too() -> None:
    x, y = floats(1, 2), floats(5, 6)
    with capturing() as (_, graphs):
        fresh = emulator.zeros((2,), np.float32)
        add(fresh, x)
        x[...] = y
        y.fill(0)
    graphs[0].launch()
    assert (fresh.get().tolist(), x.get().tolist(), y.get().tolist()) == ([1, 2], [5, 6], [0, 0])
    graphs[0].launch()
    assert fresh.get().tolist() == [5, 6], "zeroed again, not added to what was there"


def test_an_array_that_was_freed_is_named_by_the_kernel_that_used_it() -> None:
    x, y = floats(1), floats(2)
    with capturing() as (_, graphs):
        add(x, y)
    del y
    gc.collect()
    with pytest.raises(emulator.CaptureError, match="add: an array was freed") as caught:
        graphs[0].launch()
    assert caught.value.kernel == "add"
    assert x.item() == 1


@pytest.mark.parametrize(
    "deed",
    [
        lambda stream, x: stream.synchronize(),
        lambda stream, x: Device().synchronize(),
        lambda stream, x: x.get(),
        lambda stream, x: emulator.asnumpy(x),
        lambda stream, x: x.item(),
        lambda stream, x: float(x),
        lambda stream, x: x.set(np.zeros(1, np.float32)),
        lambda stream, x: emulator.asarray(np.zeros(1)),
    ],
)
def test_waits_and_host_copies_are_refused_and_invalidate_the_capture(
    deed: Callable[[Stream, Any], object],
) -> None:
    x, stream = floats(1), Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(emulator.CaptureError, match="not allowed while the stream captures"):
            deed(stream, x)
        with pytest.raises(emulator.CaptureError, match="invalidated by a"):
            stream.end_capture()
    assert get_current_stream().is_null
    deed(stream, x)


def test_streams_begin_and_end_in_order() -> None:
    with pytest.raises(emulator.CaptureError, match="null stream"):
        get_current_stream().begin_capture()
    stream = Stream(non_blocking=True)
    with pytest.raises(emulator.CaptureError, match="not capturing"):
        stream.end_capture()
    stream.begin_capture()
    assert stream.is_capturing()
    with pytest.raises(emulator.CaptureError, match="already"):
        stream.begin_capture()
    graph = stream.end_capture()
    stream.begin_capture()
    with pytest.raises(emulator.CaptureError, match="stream that captures"):
        graph.launch(stream)
    stream.end_capture()
    graph.launch(stream)
    graph.upload()


def test_a_captured_event_cannot_be_waited_for() -> None:
    event, other = Event(), Event()
    event.synchronize()
    with capturing():
        event.record()
        other.record(Stream(non_blocking=True))
        with pytest.raises(emulator.CaptureError, match="a captured event"):
            event.synchronize()
        other.synchronize()
    event.record()
    event.synchronize()


def test_a_launch_goes_to_the_stream_it_names() -> None:
    x, y, other = floats(1), floats(1), Stream(non_blocking=True)
    with capturing() as (_, graphs):
        add(x, y, stream=other)
    assert x.item() == 2
    graphs[0].launch()
    assert x.item() == 2, "nothing was captured"
    other.begin_capture()
    add(x, y)
    add(x, y, stream=other)
    graph = other.end_capture()
    assert x.item() == 3
    graph.launch()
    assert x.item() == 4


def test_threads_have_current_streams_of_their_own() -> None:
    x, y = floats(1), floats(1)
    with capturing():
        thread = threading.Thread(target=add, args=(x, y))
        thread.start()
        thread.join()
    assert x.item() == 2


def test_faults_are_found_at_the_replay() -> None:
    x, at = floats(1, 2), emulator.asarray(np.array([0], np.int32))
    with emulator.checking(), capturing() as (_, graphs):
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
        assert (pool.total_bytes(), pool.used_bytes(), pool.free_bytes()) == (440, 440, 0)
        view = large[2:][1:]
        del large
        gc.collect()
        assert pool.free_bytes() == 0, "a view keeps the block"
        del small, view
        assert (pool.used_bytes(), pool.free_bytes()) == (0, 440)
        other = emulator.empty(11, np.float32)
        assert (pool.used_bytes(), pool.total_bytes()) == (400, 440), "40 bytes are not enough"
        del other
        again = emulator.empty(9, np.float32)
        assert again.data.ptr == start + 4 // 16 * 16
        other = emulator.empty(11, np.float32)
        assert pool.total_bytes() == 440
        assert other.data.ptr % 16 == 0
        more = emulator.empty(11, np.float32)
        assert pool.total_bytes() == 484
    del again, other, more
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


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
        with using_allocator(pool.malloc), capturing() as (_, graphs):
            x = emulator.empty(2, np.float32)
            add(y, x)
        x.fill(0)
        with pytest.raises(emulator.EmulatorError, match="never written"):
            graphs[0].launch()


def test_graphs_are_valid_as_long_as_their_pool() -> None:
    pool, y = MemoryPool(), floats(1, 1)
    with using_allocator(pool.malloc), capturing() as (_, graphs):
        x = emulator.zeros((2,), np.float32)
        add(x, y)
        del x
    gc.collect()
    graphs[0].launch()
    pool.free_all_blocks()
    with pytest.raises(emulator.CaptureError, match="an array was freed"):
        graphs[0].launch()


def test_allocators_belong_to_a_thread_and_to_a_with() -> None:
    pool, inner = MemoryPool(), MemoryPool()
    with suppress(KeyError), using_allocator(pool.malloc):
        thread = threading.Thread(target=emulator.empty, args=(5,))
        thread.start()
        thread.join()
        with using_allocator(inner.malloc):
            kept = [emulator.empty(3, np.float32)]
        assert get_allocator() == pool.malloc
        with using_allocator():
            kept.append(emulator.empty(3, np.float32))
        kept.append(emulator.empty(2, np.float32))
        raise KeyError
    kept.append(emulator.empty(3, np.float32))
    assert (inner.total_bytes(), pool.total_bytes()) == (12, 8)


def test_a_pool_takes_its_blocks_from_its_allocator_and_has_no_limit() -> None:
    outer = MemoryPool()
    inner = MemoryPool(outer.malloc)
    block = inner.malloc(100)
    assert outer.used_bytes() == 100
    del block
    inner.set_limit()
    inner.free_all_blocks()
    assert (outer.used_bytes(), outer.free_bytes()) == (0, 100)
    with pytest.raises(ValueError, match="size must be 0"):
        inner.set_limit(size=1)


@pytest.mark.cuda
@pytest.mark.parametrize(
    "name",
    [
        "Device",
        "Event",
        "Graph",
        "MemoryPool",
        "Stream",
        "get_allocator",
        "get_current_stream",
        "using_allocator",
    ],
)
def test_every_name_is_one_of_cupys(name: str) -> None:
    """What is written against the emulator finds the same methods and parameters in CuPy."""
    cupy = cupy_or_skip()
    own, theirs = getattr(emulator.cuda, name), getattr(cupy.cuda, name)
    for method, function in vars(own).items() if isinstance(own, type) else ():
        if not method.startswith("_"):
            assert hasattr(theirs, method), method
            written = getattr(theirs, method).__doc__ or ""
            if callable(function) and f"{method}(" in written:  # Cython's signature
                parameters = written.split("(")[1].split(")")[0]
                wanted = inspect.signature(function).parameters
                assert all(word in parameters for word in wanted), method
