"""Allocations and copies; most of these rules hold on a GPU too."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.cuda

HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, DEFAULT = range(5)


def test_fresh_device_memory_reads_as_nan_and_minus_one(cupy, runtime, standin_only):
    pointer = runtime.malloc(64)
    bytes_read = np.zeros(64, np.uint8)
    runtime.memcpy(bytes_read.ctypes.data, pointer, 64, DEVICE_TO_HOST)
    runtime.free(pointer)
    assert np.isnan(bytes_read.view(np.float32)).all()
    assert np.isnan(bytes_read.view(np.float64)).all()
    assert (bytes_read.view(np.int32) == -1).all()


def test_addresses_are_aligned_to_256_bytes(runtime):
    pointers = [runtime.malloc(size) for size in (1, 300, 4096)]
    assert all(pointer % 256 == 0 for pointer in pointers)
    for pointer in pointers:
        runtime.free(pointer)


def test_freed_memory_is_free(runtime, refused):
    pointer = runtime.malloc(1 << 24)
    with refused("InvalidValue"):
        runtime.free(pointer + 256)
    with refused("InvalidValue"):
        runtime.freeHost(pointer)
    runtime.free(pointer)
    with refused("InvalidValue"):
        runtime.free(pointer)
    runtime.free(0)


def test_free_memory_is_counted(runtime, standin_only):
    """On a GPU other processes may allocate between the calls."""
    free = runtime.memGetInfo()[0]
    pointer = runtime.malloc(1 << 24)
    assert runtime.memGetInfo()[0] == free - (1 << 24)
    runtime.free(pointer)
    assert runtime.memGetInfo()[0] == free


def test_more_memory_than_there_is_is_refused(runtime, refused):
    total = runtime.memGetInfo()[1]
    for size in (total + 1, 1 << 62, (1 << 64) - 1):
        with refused("MemoryAllocation"):
            runtime.malloc(size)


@pytest.mark.parametrize("kind", [HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST])
def test_a_copy_must_go_where_its_kind_says(kind, floats, refused, runtime, standin_only):
    x, y = floats(1), floats(2)
    with refused("InvalidValue"):
        runtime.memcpy(x.data.ptr, y.data.ptr, 4, kind)


def test_the_direction_of_a_copy_must_exist(floats, refused, runtime):
    x = floats(1)
    with refused("InvalidMemcpyDirection"):
        runtime.memcpy(x.data.ptr, x.data.ptr, 4, 5)


@pytest.mark.parametrize("kind", [DEVICE_TO_DEVICE, DEFAULT])
def test_a_copy_must_stay_within_an_allocation(kind, refused, runtime, standin_only):
    first, second = runtime.malloc(4096), runtime.malloc(8192)
    for to, source in ((first, second), (second, first)):
        with refused("InvalidValue"):
            runtime.memcpy(to, source, 8192, kind)
    with refused("InvalidValue"):
        runtime.memset(first, 0, 4097)
    runtime.free(first)
    runtime.free(second)


def test_pointers_have_attributes(floats, runtime, cupy):
    x, pinned = floats(1), cupy.cuda.alloc_pinned_memory(64)
    assert runtime.pointerGetAttributes(x.data.ptr).type == runtime.memoryTypeDevice
    assert runtime.pointerGetAttributes(x.data.ptr).device == 0
    assert runtime.pointerGetAttributes(pinned.ptr).type == runtime.memoryTypeHost
    ordinary = np.zeros(4)
    assert runtime.pointerGetAttributes(ordinary.ctypes.data).type == 0


def pinned_floats(cupy, *values):
    import cupyx

    array = cupyx.empty_pinned((len(values),), np.float32)
    array[...] = values
    return array


def test_a_copy_from_pinned_memory_reads_it_when_it_happens(floats, stream, cupy, late):
    x, host = floats(0), pinned_floats(cupy, 1)
    x.data.copy_from_host_async(host.ctypes.data, 4, stream)
    host[...] = 2
    stream.synchronize()
    assert cupy.asnumpy(x).tolist() in ([[2]] if late else [[1], [2]])


def test_a_copy_from_pageable_memory_reads_it_at_once(floats, stream, cupy, runtime):
    x, host = floats(0), np.ones(1, np.float32)
    runtime.memcpyAsync(x.data.ptr, host.ctypes.data, 4, HOST_TO_DEVICE, stream.ptr)
    host[...] = 2
    stream.synchronize()
    assert cupy.asnumpy(x).tolist() == [1]


def test_a_copy_to_pinned_memory_must_be_waited_for(floats, scale, stream, cupy, late):
    x, host = floats(1), pinned_floats(cupy, 0)
    scale(x, 2, stream=stream)
    x.data.copy_to_host_async(host.ctypes.data, 4, stream)
    assert host[0] in ([0] if late else [0, 2])
    stream.synchronize()
    assert host[0] == 2


def test_a_copy_to_pageable_memory_is_complete_when_the_call_returns(
    floats, scale, stream, runtime
):
    x, host = floats(1), np.zeros(1, np.float32)
    scale(x, 2, stream=stream)
    runtime.memcpyAsync(host.ctypes.data, x.data.ptr, 4, DEVICE_TO_HOST, stream.ptr)
    assert host[0] == 2


def test_a_synchronous_copy_within_the_device_does_not_wait(floats, cupy, runtime, late):
    x, y, host = floats(1), floats(2), pinned_floats(cupy, 0)
    event = cupy.cuda.Event()
    runtime.memcpy(x.data.ptr, y.data.ptr, 4, DEVICE_TO_DEVICE)
    event.record(cupy.cuda.Stream.null)
    if late:
        assert not event.done
    runtime.memcpy(host.ctypes.data, x.data.ptr, 4, DEVICE_TO_HOST)
    assert host[0] == 2


def test_a_set_of_pinned_memory_is_complete_when_the_call_returns(cupy, runtime):
    host = pinned_floats(cupy, 1, 1)
    runtime.memset(host.ctypes.data, 0, 8)
    assert host.tolist() == [0, 0]


def test_free_waits_for_the_work_of_the_device(scale, stream, cupy, runtime, late):
    pointer = runtime.malloc(512)
    memory = cupy.cuda.UnownedMemory(pointer, 512, None)
    x = cupy.ndarray((1,), np.float32, cupy.cuda.MemoryPointer(memory, 0))
    host = pinned_floats(cupy, 0)
    x.data.memset_async(0, 4, stream)
    scale(x, 2, stream=stream)
    x.data.copy_to_host_async(host.ctypes.data, 4, stream)
    host[...] = 7
    runtime.free(pointer)
    assert host[0] in ([0] if late else [0, 7])


def test_pageable_memory_cannot_be_captured(floats, stream, refused, runtime, standin_only):
    x, host = floats(1), np.ones(1, np.float32)
    stream.begin_capture()
    with refused("StreamCaptureUnsupported"):
        runtime.memcpyAsync(x.data.ptr, host.ctypes.data, 4, HOST_TO_DEVICE, stream.ptr)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()
