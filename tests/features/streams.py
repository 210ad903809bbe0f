"""Streams, events and graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from features.programs import feature

CODE = r"""
extern "C" __global__ void add(float* x, float by) { x[threadIdx.x] += by; }
extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }
"""


def kernel(cp: Any, name: str) -> Any:
    return cp.RawKernel(CODE, name)


@feature("`cuda.Stream` in `with` and as an argument")
def streams(cp: Any) -> None:
    x, stream = cp.zeros(4, np.float32), cp.cuda.Stream(non_blocking=True)
    cp.cuda.Device().synchronize()
    with stream:
        assert cp.cuda.get_current_stream() is stream
        kernel(cp, "add")((1,), (4,), (x, np.float32(1)))
    kernel(cp, "twice")((1,), (4,), (x,), stream=stream)
    stream.synchronize()
    assert x.get().tolist() == [2] * 4
    cp.cuda.Stream.null.synchronize()
    assert stream.done


@feature("`cuda.Event`, `get_elapsed_time` and `wait_event`")
def events(cp: Any) -> None:
    start, end = cp.cuda.Event(), cp.cuda.Event()
    one, other = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    x = cp.zeros(2, np.float32)
    cp.cuda.Device().synchronize()
    start.record(one)
    kernel(cp, "add")((1,), (2,), (x, np.float32(3)), stream=one)
    end.record(one)
    other.wait_event(end)
    kernel(cp, "twice")((1,), (2,), (x,), stream=other)
    other.synchronize()
    end.synchronize()
    assert cp.cuda.get_elapsed_time(start, end) >= 0
    assert end.done
    assert x.get().tolist() == [6, 6]


@feature("graphs by `begin_capture`, `end_capture`, `launch`")
def graphs(cp: Any) -> None:
    x, stream = cp.zeros(2, np.float32), cp.cuda.Stream(non_blocking=True)
    add, twice = kernel(cp, "add"), kernel(cp, "twice")
    add((1,), (2,), (x, np.float32(0)))
    twice((1,), (2,), (x,))
    cp.cuda.Device().synchronize()
    with stream:
        stream.begin_capture()
        add((1,), (2,), (x, np.float32(1)))
        twice((1,), (2,), (x,))
        graph = stream.end_capture()
    for _ in range(3):
        graph.launch(stream)
    stream.synchronize()
    assert x.get().tolist() == [14, 14]


@feature("graphs of several streams, joined by events")
def forked_graphs(cp: Any) -> None:
    x, y = cp.zeros(2, np.float32), cp.zeros(2, np.float32)
    one, other = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    add = kernel(cp, "add")
    add((1,), (2,), (x, np.float32(0)))
    cp.cuda.Device().synchronize()
    one.begin_capture()
    other.wait_event(one.record())
    add((1,), (2,), (x, np.float32(1)), stream=one)
    add((1,), (2,), (y, np.float32(2)), stream=other)
    one.wait_event(other.record())
    graph = one.end_capture()
    graph.launch(one)
    one.synchronize()
    assert (x.get().tolist(), y.get().tolist()) == ([1, 1], [2, 2])
    assert not other.is_capturing()
