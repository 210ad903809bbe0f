"""What captures record and refuse, and how graphs are replayed; these rules hold on a GPU too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from device import values

pytestmark = pytest.mark.cuda


def test_captured_work_happens_at_each_launch(floats, add, stream, cupy):
    x, y = floats(1, 2), floats(1, 1)
    with stream:
        stream.begin_capture()
        add(x, y)
        y.fill(0)
        x[...] = x[:]
        graph = stream.end_capture()
    assert values(x) == [1, 2]
    graph.launch()
    graph.launch(stream)
    assert values(x) == [2, 3]
    assert values(y) == [0, 0]


def test_replays_of_one_graph_follow_each_other_in_any_streams(floats, scale, add, stream, cupy):
    x, one = floats(1), floats(1)
    other = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        scale(x, 2)
        add(x, one)
        graph = stream.end_capture()
    for where in (stream, other):
        graph.launch(where)
    other.synchronize()
    with other:
        assert cupy.asnumpy(x).tolist() == [7]


def test_no_graph_is_launched_in_a_stream_that_captures(floats, add, stream, refused):
    x, one = floats(0), floats(1)
    stream.begin_capture()
    add(x, one, stream=stream)
    graph = stream.end_capture()
    stream.begin_capture()
    with refused("StreamCaptureUnsupported"):
        graph.launch(stream)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()
    assert values(x) == [0]


def test_a_launch_keeps_the_work_of_a_graph_that_is_destroyed(floats, add, stream):
    x = floats(1)
    stream.begin_capture()
    add(x, x, stream=stream)
    graph = stream.end_capture()
    graph.launch(stream)
    del graph
    assert values(x) == [2]


# ------------------------------------------------------------------- what invalidates a capture
def wait_for_the_stream(stream, cupy):
    stream.synchronize()


def query(stream, cupy):
    cupy.cuda.runtime.check_status(cupy.cuda.runtime.streamQuery(stream.ptr))


def wait_for_the_device(stream, cupy):
    cupy.cuda.Device().synchronize()


@pytest.mark.parametrize("call", [wait_for_the_stream, query, wait_for_the_device])
def test_waiting_for_a_capturing_stream_invalidates_the_capture(call, stream, cupy, refused):
    stream.begin_capture()
    with refused("StreamCaptureUnsupported"):
        call(stream, cupy)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()
    assert not stream.is_capturing()


@pytest.mark.parametrize("query_it", [False, True])
def test_an_event_of_a_capture_cannot_be_waited_for(query_it, stream, cupy, refused):
    event = cupy.cuda.Event(disable_timing=True)
    stream.begin_capture()
    event.record(stream)
    with refused("CapturedEvent"):
        if query_it:
            cupy.cuda.runtime.check_status(cupy.cuda.runtime.eventQuery(event.ptr))
        else:
            event.synchronize()
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()
    event.record(stream)
    event.synchronize()


def test_elapsed_time_is_refused_for_an_event_of_a_capture_and_does_no_harm(stream, cupy, refused):
    before, event = cupy.cuda.Event(), cupy.cuda.Event()
    before.record(stream)
    before.synchronize()
    stream.begin_capture()
    event.record(stream)
    with refused("CapturedEvent"):
        cupy.cuda.get_elapsed_time(before, event)
    stream.end_capture()


def test_a_blocking_stream_that_captures_excludes_the_legacy_stream(
    floats, add, cupy, refused, runtime
):
    x, y, blocking = floats(1), floats(1), cupy.cuda.Stream()
    legacy = cupy.cuda.Stream.null
    for call in (lambda: add(x, y, stream=legacy), legacy.synchronize):
        blocking.begin_capture()
        with refused("StreamCaptureImplicit"):
            call()
        with refused("StreamCaptureInvalidated"):
            blocking.end_capture()
    blocking.begin_capture()
    with refused("StreamCaptureImplicit"):
        runtime.streamIsCapturing(0)
    add(x, y, stream=blocking)  # the query invalidated nothing
    blocking.end_capture()
    assert values(x) == [1]


def test_a_non_blocking_capture_leaves_the_legacy_stream_alone(floats, add, cupy, stream):
    x, y = floats(1), floats(1)
    stream.begin_capture()
    add(x, y, stream=cupy.cuda.Stream.null)
    cupy.cuda.Stream.null.synchronize()
    stream.end_capture()
    assert values(x) == [2]


def test_begin_and_end_belong_together(stream, cupy, refused, runtime):
    with refused("IllegalState"):
        stream.end_capture()
    stream.begin_capture()
    with refused("IllegalState"):
        stream.begin_capture()
    stream.end_capture()
    with refused("StreamCaptureUnsupported"):
        runtime.streamBeginCapture(0)


def test_work_after_an_error_reports_the_invalid_capture(floats, add, stream, refused):
    x = floats(1)
    stream.begin_capture()
    with refused("StreamCaptureUnsupported"):
        stream.synchronize()
    with refused("StreamCaptureInvalidated"):
        add(x, x, stream=stream)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()
    assert values(x) == [1]


# ------------------------------------------------------------------------------------ the modes
def allocate(cupy: Any) -> None:
    cupy.cuda.runtime.free(cupy.cuda.runtime.malloc(512))


def wait_for_another_stream(cupy: Any) -> None:
    cupy.cuda.Stream(non_blocking=True).synchronize()


def query_an_event(cupy: Any) -> None:
    event = cupy.cuda.Event()
    cupy.cuda.runtime.check_status(cupy.cuda.runtime.eventQuery(event.ptr))


UNSAFE = [allocate, wait_for_another_stream, query_an_event]


@pytest.mark.parametrize("unsafe", UNSAFE)
@pytest.mark.parametrize("mode", ["Global", "ThreadLocal"])
def test_potentially_unsafe_calls_invalidate_a_capture_of_the_same_thread(
    unsafe, mode, stream, cupy, refused, runtime
):
    stream.begin_capture(getattr(runtime, f"streamCaptureMode{mode}"))
    with refused("StreamCaptureUnsupported"):
        unsafe(cupy)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


@pytest.mark.parametrize("unsafe", UNSAFE)
def test_relaxed_captures_allow_potentially_unsafe_calls(unsafe, stream, cupy):
    stream.begin_capture()
    unsafe(cupy)
    stream.end_capture()


@pytest.mark.parametrize("mode", ["Global", "ThreadLocal", "Relaxed"])
def test_copies_and_sets_without_a_stream_are_allowed_beside_a_non_blocking_capture(
    mode, floats, stream, cupy, runtime
):
    x, host = floats(1, 1), np.full(1, 3, np.float32)
    stream.begin_capture(getattr(runtime, f"streamCaptureMode{mode}"))
    runtime.memset(x.data.ptr, 0, 8)
    runtime.memcpy(x.data.ptr, host.ctypes.data, 4, runtime.memcpyHostToDevice)
    runtime.memcpy(host.ctypes.data, x.data.ptr + 4, 4, runtime.memcpyDeviceToHost)
    stream.end_capture()
    assert host[0] == 0
    assert values(x) == [3, 0]


@pytest.mark.parametrize("mode", ["Global", "ThreadLocal", "Relaxed"])
def test_copies_and_sets_without_a_stream_invalidate_a_blocking_capture(
    mode, floats, cupy, refused, runtime
):
    x, host, blocking = floats(1), np.ones(1, np.float32), cupy.cuda.Stream()
    for call in (
        lambda: runtime.memset(x.data.ptr, 0, 4),
        lambda: runtime.memcpy(x.data.ptr, host.ctypes.data, 4, runtime.memcpyHostToDevice),
    ):
        blocking.begin_capture(getattr(runtime, f"streamCaptureMode{mode}"))
        with refused("StreamCaptureImplicit"):
            call()
        with refused("StreamCaptureInvalidated"):
            blocking.end_capture()
    assert values(x) == [1]


def in_thread(call: Callable[[], None]) -> Exception | None:
    """Run a function in another thread; return what it raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_only_the_global_mode_forbids_unsafe_calls_of_other_threads(stream, cupy, refused, runtime):
    stream.begin_capture(runtime.streamCaptureModeThreadLocal)
    assert in_thread(lambda: allocate(cupy)) is None
    stream.end_capture()
    stream.begin_capture(runtime.streamCaptureModeGlobal)
    assert "StreamCaptureUnsupported" in str(in_thread(lambda: allocate(cupy)))
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


def test_only_relaxed_captures_end_in_another_thread(stream, refused, runtime):
    stream.begin_capture(runtime.streamCaptureModeThreadLocal)
    error = in_thread(lambda: runtime.streamEndCapture(stream.ptr))
    assert "StreamCaptureWrongThread" in str(error)
    with refused("IllegalState"):  # the attempt has ended the capture, without a graph
        stream.end_capture()
    stream.begin_capture()
    assert in_thread(stream.end_capture) is None


# ------------------------------------------------------------------------------ forks and joins
def fork(stream: Any, cupy: Any) -> Any:
    """Begin a capture; return a second stream that has joined it."""
    other = cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    join(other, stream, cupy)
    return other


def join(stream: Any, other: Any, cupy: Any) -> None:
    """Let a stream wait for another one."""
    event = cupy.cuda.Event(disable_timing=True)
    event.record(other)
    stream.wait_event(event)


def test_a_forked_stream_that_is_joined_is_captured(floats, add, stream, cupy):
    x, y = floats(1), floats(1)
    forked = fork(stream, cupy)
    assert forked.is_capturing()
    add(x, y, stream=forked)
    join(stream, forked, cupy)
    graph = stream.end_capture()
    assert not forked.is_capturing()
    assert values(x) == [1]
    graph.launch()
    assert values(x) == [2]


def test_a_fork_must_be_joined(floats, add, stream, refused, cupy):
    x = floats(1)
    forked = fork(stream, cupy)
    add(x, x, stream=forked)
    with refused("StreamCaptureUnjoined"):
        stream.end_capture()
    assert not forked.is_capturing()
    add(x, x, stream=forked)
    assert values(x) == [2]


def test_a_fork_without_work_need_not_be_joined(stream, cupy, refused):
    forked = fork(stream, cupy)
    assert forked.is_capturing()
    stream.end_capture()
    assert not forked.is_capturing()
    with refused("IllegalState"):
        forked.end_capture()


def test_work_after_the_join_is_unjoined(floats, add, stream, cupy, refused):
    x = floats(1)
    forked = fork(stream, cupy)
    join(stream, forked, cupy)
    add(x, x, stream=forked)
    with refused("StreamCaptureUnjoined"):
        stream.end_capture()


def test_a_capture_ends_in_the_stream_where_it_began(stream, refused, cupy, runtime):
    forked = fork(stream, cupy)
    with refused("StreamCaptureUnmatched"):
        runtime.streamEndCapture(forked.ptr)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


def test_two_captures_cannot_be_merged(stream, cupy, refused):
    other, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event(disable_timing=True)
    stream.begin_capture()
    other.begin_capture()
    event.record(other)
    with refused("StreamCaptureMerge"):
        stream.wait_event(event)
    for each in (stream, other):
        with refused("StreamCaptureInvalidated"):
            each.end_capture()


def test_captured_work_cannot_wait_for_work_outside(stream, cupy, refused):
    other, event = cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event(disable_timing=True)
    event.record(other)
    stream.begin_capture()
    with refused("StreamCaptureIsolation"):
        stream.wait_event(event)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


def test_the_legacy_stream_cannot_join_a_capture(stream, cupy, refused, runtime):
    event = cupy.cuda.Event(disable_timing=True)
    stream.begin_capture()
    event.record(stream)
    with refused("StreamCaptureImplicit"):
        runtime.streamWaitEvent(0, event.ptr)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


def test_branches_without_a_join_between_them_have_no_order(floats, add, scale, stream, cupy, late):
    """The late mode replays them in another order than that of the capture."""
    x, one = floats(3), floats(1)
    forked = fork(stream, cupy)
    add(x, one, stream=stream)
    scale(x, 2, stream=forked)
    join(stream, forked, cupy)
    graph = stream.end_capture()
    graph.launch()
    assert values(x) in ([[7]] if late else [[8], [7]])


def test_joined_branches_keep_their_order(floats, add, scale, stream, cupy):
    x, one = floats(3), floats(1)
    forked = fork(stream, cupy)
    add(x, one, stream=stream)
    join(forked, stream, cupy)
    scale(x, 2, stream=forked)
    join(stream, forked, cupy)
    add(x, one, stream=stream)
    graph = stream.end_capture()
    graph.launch()
    graph.launch()
    assert values(x) == [21]


def test_an_event_of_a_capture_that_has_ended_has_no_use(stream, cupy, refused):
    event = cupy.cuda.Event(disable_timing=True)
    stream.begin_capture()
    event.record(stream)
    stream.end_capture()
    with refused("InvalidValue"):
        event.synchronize()
    with refused("InvalidValue"):
        stream.wait_event(event)
    stream.begin_capture()
    with refused("InvalidValue"):
        stream.wait_event(event)
    with refused("StreamCaptureInvalidated"):
        stream.end_capture()


def test_copies_within_a_capture_are_recorded(floats, stream, cupy):
    x, y = floats(1, 2), floats(0, 0)
    stream.begin_capture()
    y.data.copy_from_device_async(x.data, x.nbytes, stream)
    x.data.memset_async(0, x.nbytes, stream)
    graph = stream.end_capture()
    assert values(y) == [0, 0]
    graph.launch()
    assert values(y) == [1, 2]
    assert values(x) == [0, 0]
    assert np.isfinite(values(x)).all()
