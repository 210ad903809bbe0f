"""The order of work in streams, and events; the rules hold on a GPU as well.

What the late mode leaves undone, a GPU may have done or not: those tests allow both.
"""

from __future__ import annotations

import numpy as np
import pytest
from device import values

pytestmark = pytest.mark.cuda


def read_in(stream, array):
    """Return an array's values as a stream sees them when only that stream is waited for."""
    import cupyx

    host = cupyx.empty_pinned(array.shape, np.float32)
    array.data.copy_to_host_async(host.ctypes.data, array.nbytes, stream)
    stream.synchronize()
    return host.tolist()


def test_work_of_a_stream_is_done_in_order(floats, add, scale, stream):
    x, one = floats(1), floats(1)
    add(x, one, stream=stream)
    scale(x, 3, stream=stream)
    add(x, one, stream=stream)
    assert read_in(stream, x) == [7]


def test_streams_without_an_event_have_no_order(floats, scale, stream, cupy, late):
    x, other = floats(1), cupy.cuda.Stream(non_blocking=True)
    scale(x, 2, stream=stream)
    assert read_in(other, x) in ([[1]] if late else [[1], [2]])
    assert values(x) == [2]


def test_late_work_of_several_streams_is_not_done_in_the_order_of_the_calls(
    floats, add, scale, stream, cupy, late
):
    x, one, other = floats(3), floats(1), cupy.cuda.Stream(non_blocking=True)
    add(x, one, stream=stream)
    scale(x, 2, stream=other)
    assert values(x) in ([[7]] if late else [[7], [8]])


def test_an_event_orders_two_streams(floats, scale, stream, cupy):
    x, other, event = floats(1), cupy.cuda.Stream(non_blocking=True), cupy.cuda.Event()
    scale(x, 2, stream=stream)
    event.record(stream)
    other.wait_event(event)
    assert read_in(other, x) == [2]


def test_a_wait_is_for_the_record_before_it(floats, scale, stream, cupy, late):
    x, y, event = floats(1), floats(1), cupy.cuda.Event()
    other = cupy.cuda.Stream(non_blocking=True)
    scale(x, 2, stream=stream)
    event.record(stream)
    other.wait_event(event)
    scale(y, 2, stream=stream)
    event.record(stream)
    assert read_in(other, x) == [2]
    assert read_in(other, y) in ([[1]] if late else [[1], [2]])


def test_a_wait_for_an_event_that_was_never_recorded_does_nothing(floats, stream, cupy):
    x, event = floats(1), cupy.cuda.Event()
    stream.wait_event(event)
    event.synchronize()
    assert event.done
    assert read_in(stream, x) == [1]


@pytest.mark.parametrize("first_is_legacy", [True, False])
def test_the_legacy_stream_and_blocking_streams_wait_for_each_other(
    first_is_legacy, floats, scale, cupy
):
    x, blocking = floats(1), cupy.cuda.Stream()
    streams = [cupy.cuda.Stream.null, blocking]
    first, second = streams if first_is_legacy else streams[::-1]
    scale(x, 2, stream=first)
    assert read_in(second, x) == [2]


def test_two_blocking_streams_are_ordered_by_work_of_the_legacy_stream(floats, scale, cupy):
    x, y = floats(1), floats(1)
    before, after = cupy.cuda.Stream(), cupy.cuda.Stream()
    scale(x, 2, stream=before)
    scale(y, 2, stream=cupy.cuda.Stream.null)
    assert read_in(after, x) == [2]


@pytest.mark.parametrize("first_is_legacy", [True, False])
def test_non_blocking_streams_and_the_legacy_stream_do_not_wait(
    first_is_legacy, floats, scale, stream, cupy, late
):
    x = floats(1)
    streams = [cupy.cuda.Stream.null, stream]
    first, second = streams if first_is_legacy else streams[::-1]
    scale(x, 2, stream=first)
    assert read_in(second, x) in ([[1]] if late else [[1], [2]])
    assert values(x) == [2]


def test_the_work_of_a_destroyed_stream_is_done(floats, scale, cupy):
    x, stream = floats(1), cupy.cuda.Stream(non_blocking=True)
    scale(x, 2, stream=stream)
    del stream
    assert values(x) == [2]


def test_an_event_outlives_its_stream(floats, scale, stream, cupy):
    x, event, other = floats(1), cupy.cuda.Event(), cupy.cuda.Stream(non_blocking=True)
    scale(x, 2, stream=other)
    event.record(other)
    del other
    stream.wait_event(event)
    assert read_in(stream, x) == [2]
    event.synchronize()


def test_a_wait_outlives_its_event(floats, scale, stream, cupy):
    x, event, other = floats(1), cupy.cuda.Event(), cupy.cuda.Stream(non_blocking=True)
    scale(x, 2, stream=other)
    event.record(other)
    stream.wait_event(event)
    del event
    assert read_in(stream, x) == [2]


def test_polling_reaches_the_end(floats, scale, stream, cupy):
    x, event = floats(1), cupy.cuda.Event()
    for _ in range(3):
        scale(x, 2, stream=stream)
    event.record(stream)
    while not event.done:
        pass
    while not stream.done:
        pass
    assert cupy.asnumpy(x).tolist() == [8]


def test_in_late_mode_nothing_happens_before_something_waits(floats, scale, stream, cupy, late):
    if not late:
        pytest.skip("only in late mode")
    x, event = floats(1), cupy.cuda.Event()
    scale(x, 2, stream=stream)
    event.record(stream)
    assert cupy.asnumpy(x).tolist() == [1]  # the legacy stream does not wait for this one
    assert not event.done
    event.synchronize()
    assert cupy.asnumpy(x).tolist() == [2]


def test_an_upload_does_not_finish_earlier_ones(scale, stream, cupy, late):
    """At each of them CuPy asks for the events of earlier ones, which no one waits for."""
    x, *_ = (cupy.asarray(np.array([number], np.float32)) for number in (1, 2, 3))
    scale(x, 2, stream=stream)
    stream.synchronize()
    assert cupy.asnumpy(x) in ([1] if late else [1, 2])


def test_elapsed_time_needs_two_timed_events_that_were_reached(stream, cupy, refused, late):
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    untimed = cupy.cuda.Event(disable_timing=True)
    with refused("InvalidResourceHandle"):  # never recorded
        cupy.cuda.get_elapsed_time(first, last)
    for event in (first, untimed, last):
        event.record(stream)
    if late:
        with refused("NotReady"):
            cupy.cuda.get_elapsed_time(first, last)
    last.synchronize()
    assert 0 <= cupy.cuda.get_elapsed_time(first, last) < 1e5
    with refused("InvalidResourceHandle"):
        cupy.cuda.get_elapsed_time(first, untimed)


def test_streams_have_flags_and_priorities(stream, cupy, runtime):
    assert stream.is_non_blocking
    assert not cupy.cuda.Stream().is_non_blocking
    assert runtime.streamGetPriority(cupy.cuda.Stream(priority=-1).ptr) == -1


def test_handles_that_are_not_streams_or_events_are_refused(stream, runtime, refused, standin_only):
    for call in (
        lambda: runtime.streamSynchronize(4096),
        lambda: runtime.eventSynchronize(4096),
        lambda: runtime.eventRecord(4096, stream.ptr),
        lambda: runtime.streamDestroy(4096),
    ):
        with refused("InvalidResourceHandle"):
            call()


def test_streams_and_graphs_take_turns_in_mixed_mode(script):
    code = """
add, scale = map(cupy.RawModule(code=SOURCE).get_function, ("add", "scale"))
x, one = (cupy.asarray([value], np.float32) for value in (1, 1))
streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
graphs = []
for stream in streams:
    with stream:
        stream.begin_capture()
        add((1,), (1,), (x, one, np.int32(1)))
        scale((1,), (1,), (x, np.float32(2), np.int32(1)))
        graphs.append(stream.end_capture())
cupy.cuda.Device().synchronize()
for stream, graph in zip(streams, graphs):
    graph.launch(stream)
cupy.cuda.Device().synchronize()
print(float(x[0]))
"""
    found = {mode: script(code, STANDIN_MODE=mode).stdout for mode in ("eager", "mixed")}
    assert found == {"eager": "10.0\n", "mixed": "12.0\n"}
