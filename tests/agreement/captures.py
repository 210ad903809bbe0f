"""Captures and graphs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from agreement.common import add, assign, attempt, floats, gives, plain


@gives(True, False, [1, 2], [[2, 3], [2, 2]], [[16, 17], [16, 16]])
def captured_work_runs_at_each_launch_and_not_before(xp: Any) -> Iterator[Any]:
    x, y, stream = floats(xp, 1, 2), floats(xp, 1, 1), xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        add(xp, x, y)
        add(xp, y, y)
        yield stream.is_capturing()
        graph = stream.end_capture()
        yield stream.is_capturing()
    yield plain(x)
    graph.launch()
    yield [plain(x), plain(y)]
    graph.launch(stream)
    other = xp.cuda.Stream()
    graph.launch(other)  # after the launch before, as it is the same graph
    with other:
        graph.launch()
    other.synchronize()
    yield [plain(x), plain(y)]


@gives([1, 2], [5, 6], [0, 0], [[3, 3], [4, 4]], [1, 0], 2, [5, 6], [2, 4])
def memory_operations_are_captured(xp: Any) -> Iterator[Any]:
    x, y, stream = floats(xp, 1, 2), floats(xp, 5, 6), xp.cuda.Stream(non_blocking=True)
    wide, whole = xp.zeros((2, 2), np.float32), xp.zeros(2, np.int8)
    with stream:
        stream.begin_capture()
        fresh = xp.zeros(2, np.float32)
        add(xp, fresh, x)
        copy = y.copy()
        x[...] = y
        y.fill(0)
        wide[...] = 3
        wide[1] = 4
        whole[0] = 1.9
        number = xp.asarray(2.0)
        graph = stream.end_capture()
    graph.launch()
    yield from map(plain, (fresh, x, y, wide, whole, number, copy))
    x[...] = floats(xp, 2, 4)
    graph.launch()
    yield plain(fresh)  # of zeros again


@gives("graph", [3], [2], "graph")
def two_streams_capture_at_once(xp: Any) -> Iterator[Any]:
    one, two = xp.cuda.Stream(non_blocking=True), xp.cuda.Stream(non_blocking=True)
    x, y = floats(xp, 1), floats(xp, 1)
    with one:
        one.begin_capture()
        with two:
            two.begin_capture()
            add(xp, x, y)
            second = two.end_capture()
        add(xp, y, y)
        first = one.end_capture()
    yield plain(second)
    first.launch()
    second.launch()
    yield from (plain(x), plain(y), plain(first))


@gives(
    "RuntimeError", "cudaErrorIllegalState", "cudaErrorIllegalState", True, "graph",
    "cudaErrorIllegalState", False,
)  # fmt: skip
def captures_begin_and_end_in_order(xp: Any) -> Iterator[Any]:
    stream = xp.cuda.Stream(non_blocking=True)
    yield attempt(xp.cuda.get_current_stream().begin_capture)
    yield attempt(stream.end_capture)
    stream.begin_capture()
    yield attempt(stream.begin_capture)
    yield stream.is_capturing()
    yield attempt(stream.end_capture)
    yield attempt(stream.end_capture)
    yield stream.is_capturing()


@gives(
    "RuntimeError", "cudaErrorStreamCaptureInvalidated", "cudaErrorStreamCaptureInvalidated",
    "RuntimeError", "cudaErrorStreamCaptureInvalidated", "cudaErrorStreamCaptureInvalidated",
    "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureInvalidated", False, [2], "graph",
)  # fmt: skip
def an_invalidated_capture_refuses_everything_until_its_end(xp: Any) -> Iterator[Any]:
    stream, x, event = xp.cuda.Stream(non_blocking=True), floats(xp, 1), xp.cuda.Event()
    add(xp, x, floats(xp, 0))
    with stream:
        stream.begin_capture()
        with suppress(Exception):
            stream.synchronize()
        yield attempt(stream.is_capturing)
        yield attempt(add, xp, x, x)
        yield attempt(x.fill, 0)
        yield attempt(x.get)
        yield attempt(assign, x, ..., 3)
        yield attempt(event.record)
        yield attempt(stream.synchronize)
        yield attempt(stream.end_capture)
        yield stream.is_capturing()
        stream.begin_capture()
        add(xp, x, x)
        graph = stream.end_capture()
    graph.launch()
    yield from (plain(x), plain(graph))


@gives("KeyError", True, "graph", False, [1])
def an_exception_leaves_the_stream_capturing(xp: Any) -> Iterator[Any]:
    stream, x = xp.cuda.Stream(non_blocking=True), floats(xp, 1)
    try:
        with stream:
            stream.begin_capture()
            add(xp, x, x)
            raise KeyError
    except KeyError:
        yield "KeyError"
    yield stream.is_capturing()
    yield attempt(stream.end_capture)
    yield from (stream.is_capturing(), plain(x))


@gives([2], [2], [3], [4])
def a_launch_goes_to_the_stream_that_it_names(xp: Any) -> Iterator[Any]:
    x, y = floats(xp, 1), floats(xp, 1)
    stream, other = xp.cuda.Stream(non_blocking=True), xp.cuda.Stream(non_blocking=True)
    xp.cuda.get_current_stream().synchronize()  # the uploads, for which ``other`` does not wait
    with stream:
        stream.begin_capture()
        add(xp, x, y, stream=other)
        graph = stream.end_capture()
    other.synchronize()
    yield plain(x)
    graph.launch()
    yield plain(x)  # nothing was captured
    other.begin_capture()
    add(xp, x, y)
    add(xp, x, y, stream=other)
    graph = other.end_capture()
    yield plain(x)
    graph.launch()
    yield plain(x)


@gives(
    "cudaErrorInvalidValue", "cudaErrorCapturedEvent", "cudaErrorInvalidValue",
    "cudaErrorStreamCaptureInvalidated", "cudaErrorInvalidValue", None,
)  # fmt: skip
def captured_events(xp: Any) -> Iterator[Any]:
    event, stream = xp.cuda.Event(), xp.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    event.record(stream)
    stream.end_capture()
    yield attempt(event.synchronize)
    stream.begin_capture()
    event.record(stream)
    yield attempt(event.synchronize)
    yield attempt(event.synchronize)
    yield attempt(stream.end_capture)
    yield attempt(event.synchronize)
    event.record()
    yield attempt(event.synchronize)


@gives([2, 2], [3, 3])
def graphs_keep_the_memory_that_pools_keep(xp: Any) -> Iterator[Any]:
    pool, x, y = xp.cuda.MemoryPool(), floats(xp, 1, 1), floats(xp, 1, 1)
    stream = xp.cuda.Stream(non_blocking=True)
    with xp.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        made = xp.zeros(2, np.float32)
        add(xp, made, y)
        add(xp, x, made)
        del made
        graph = stream.end_capture()
    gc.collect()
    for _ in range(2):
        graph.launch()
        yield plain(x)


@gives([1], [2])
def graphs_may_be_deleted_once_they_were_launched(xp: Any) -> Iterator[Any]:
    x, stream = floats(xp, 1), xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        add(xp, x, x)
        graph = stream.end_capture()
    yield plain(x)
    graph.launch()
    del graph, stream
    gc.collect()
    yield plain(x)
