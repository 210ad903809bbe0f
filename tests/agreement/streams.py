"""Streams, events, the device, and memory pools."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from agreement.common import add, attempt, floats, gives, plain


@gives(True, True, True, True, False, [2])
def streams_are_current_in_their_with(xp: Any) -> Iterator[Any]:
    null, one = xp.cuda.get_current_stream(), xp.cuda.Stream()
    with one as found:
        yield found is one
        with suppress(KeyError), xp.cuda.Stream(non_blocking=True) as inner:
            yield xp.cuda.get_current_stream() is inner
            raise KeyError
        yield xp.cuda.get_current_stream() is one
    yield xp.cuda.get_current_stream() is null
    yield null.is_capturing()
    x = floats(xp, 1)
    one.synchronize()
    add(xp, x, x, stream=one)
    one.synchronize()
    xp.cuda.Device().synchronize()
    yield plain(x)


@gives(True, [3])
def threads_have_current_streams_of_their_own(xp: Any) -> Iterator[Any]:
    null, x, found = xp.cuda.get_current_stream(), floats(xp, 1), []

    def run() -> None:
        found.append(xp.cuda.get_current_stream() is null)
        add(xp, x, floats(xp, 2))

    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        stream.end_capture()
    yield from (*found, plain(x))


@gives(True, True)
def events_measure_the_time_between_them(xp: Any) -> Iterator[Any]:
    start, end = xp.cuda.Event(), xp.cuda.Event()
    x = floats(xp, 1)
    start.record()
    add(xp, x, x)
    end.record()
    end.synchronize()
    elapsed = xp.cuda.get_elapsed_time(start, end)
    yield isinstance(elapsed, float)
    yield 0 <= elapsed < 60_000  # milliseconds


@gives(None, None, None)
def events_can_be_waited_for(xp: Any) -> Iterator[Any]:
    event = xp.cuda.Event()
    yield attempt(event.synchronize)  # nothing was recorded
    event.record()
    yield attempt(event.synchronize)
    event = xp.cuda.Event(block=True, disable_timing=True)
    event.record(xp.cuda.Stream())
    yield attempt(event.synchronize)


@gives(True, [1, 2, 5, 6], [8, 9])
def page_locked_memory_is_copied_in_a_stream(xp: Any) -> Iterator[Any]:
    memory = xp.cuda.alloc_pinned_memory(8)
    host = np.frombuffer(memory, np.uint8, 8)
    yield host.flags.writeable
    host[...] = range(1, 9)
    x, stream, copied = xp.zeros(4, np.uint8), xp.cuda.Stream(non_blocking=True), xp.cuda.Event()
    copied.record()  # of the stream that has made the zeros
    stream.wait_event(copied)
    x[:2].set(host[:2], stream=stream)
    x[2:].set(host[4:6], stream=stream)
    copied.record(stream)
    copied.synchronize()
    yield x.get().tolist()
    y = xp.empty(2, np.uint8)
    xp.cuda.Device().synchronize()
    host[:2] = 8, 9
    y.set(host[:2], stream)
    copied.record(stream)
    xp.cuda.get_current_stream().wait_event(copied)
    yield y.get().tolist()


@gives(0, True, [(2**31 - 1, 65535, 65535)])
def the_device(xp: Any) -> Iterator[Any]:
    device = xp.cuda.Device()
    yield from (device.id, xp.zeros(1).device.id == device.id)
    yield [tuple(device.attributes[f"MaxGridDim{axis}"] for axis in "XYZ")]


# --- memory pools ---------------------------------------------------------------------------------

SIZE = 1024  # a multiple of CuPy's unit of 512 bytes


def room(xp: Any) -> Any:
    return xp.empty(SIZE, np.uint8)


@gives(0, (2048, 1024, 1024), True, (2048, 2048, 0), (2048, 0, 2048), (0, 0, 0))
def pools_reuse_the_blocks_that_arrays_have_released(xp: Any) -> Iterator[Any]:
    pool = xp.cuda.MemoryPool()

    def state() -> tuple[int, ...]:
        gc.collect()
        return pool.total_bytes(), pool.used_bytes(), pool.free_bytes()

    yield pool.total_bytes()
    with xp.cuda.using_allocator(pool.malloc):
        x, y = room(xp), room(xp)
        place = x.data.ptr
        del x
        yield state()
        x = room(xp)
        yield x.data.ptr == place
        views = [x[2:][1:], y.reshape(2, -1)]
        del x, y
        yield state()  # views keep their blocks
    views.clear()
    yield state()
    pool.free_all_blocks()
    yield state()


@gives((0, 0), 1024, [1, 2])
def pools_and_arrays_outlive_each_other(xp: Any) -> Iterator[Any]:
    pool = xp.cuda.MemoryPool()
    with xp.cuda.using_allocator(pool.malloc):
        x, y = xp.empty(0), xp.empty((3, 0))
        yield (pool.total_bytes(), x.nbytes + y.nbytes)
        kept = [room(xp), room(xp)]
        kept.pop()
        pool.free_all_blocks()  # those that no array uses
        yield pool.total_bytes()
        x = floats(xp, 1, 2)
    del pool
    gc.collect()
    yield plain(x)


@gives((1024, 1024), (2048, 1024), (2048, 1024))
def pools_keep_blocks_for_the_stream_that_allocated_them(xp: Any) -> Iterator[Any]:
    pool = xp.cuda.MemoryPool()

    def state() -> tuple[int, int]:
        gc.collect()
        return pool.total_bytes(), pool.used_bytes()

    with xp.cuda.using_allocator(pool.malloc):
        arrays = [room(xp)]
        yield state()
        arrays.clear()
        with xp.cuda.Stream(non_blocking=True):
            arrays.append(room(xp))
            yield state()  # not the block of the null stream
        arrays.clear()
        arrays.append(room(xp))
        yield state()


@gives(
    True,
    emulated=[False],
    reason="an array lies at the end of its block, so that running past it is found",
)
def pools_split_blocks(xp: Any) -> Iterator[Any]:
    pool = xp.cuda.MemoryPool()
    with xp.cuda.using_allocator(pool.malloc):
        x = xp.empty(2 * SIZE, np.uint8)
        place = x.data.ptr
        del x
        yield room(xp).data.ptr == place


@gives(2048, 1024, 2048, 0, 1024)
def pools_of_pools(xp: Any) -> Iterator[Any]:
    outer = xp.cuda.MemoryPool()
    inner = xp.cuda.MemoryPool(outer.malloc)
    inner.set_limit()
    blocks = [inner.malloc(SIZE), inner.malloc(SIZE)]
    yield outer.used_bytes()
    blocks.pop()
    yield from (inner.used_bytes(), outer.used_bytes())
    blocks.pop()
    inner.free_all_blocks()
    yield from (outer.used_bytes(), outer.free_bytes() - SIZE)


@gives(1024, 2048, True)
def allocators_belong_to_a_thread_and_to_a_with(xp: Any) -> Iterator[Any]:
    pool, inner = xp.cuda.MemoryPool(), xp.cuda.MemoryPool()
    before, kept = xp.cuda.get_allocator(), []
    with suppress(KeyError), xp.cuda.using_allocator(pool.malloc):
        thread = threading.Thread(target=lambda: kept.append(room(xp)))
        thread.start()
        thread.join()
        with xp.cuda.using_allocator(inner.malloc):
            kept.append(room(xp))
        kept.append(room(xp))
        with xp.cuda.using_allocator():
            kept.append(room(xp))
        kept.append(room(xp))
        raise KeyError
    kept.append(room(xp))
    yield from (inner.total_bytes(), pool.total_bytes(), xp.cuda.get_allocator() == before)
