"""Captured work: replays compute what single launches compute, in memory that nothing else uses."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from cuda_errors import CUDADriverError, illegal_address

import gpucnn
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda import graphs
from gpucnn.emulator.cuda import Graph
from gpucnn.errors import BackendError, GpucnnError

Replay = Callable[[int], None]
EACH_WAY = (1, 1, graphs.MAX_STEPS_PER_GRAPH)
"""Numbers of runs: the first is launched, then graphs of 1 and of many runs are captured."""


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def device(request: pytest.FixtureRequest) -> Backend:
    return backend_or_skip(request.param)


def doubled(backend: Backend, number: Array, minus: Array) -> Array:
    """Return 2 times ``number``: the gradient of leaky ReLU of slope 2 at ``minus``, -1."""
    return backend.leaky_relu_backward(number, minus, 2.0)


def doubling(backend: Backend) -> tuple[Replay, Array]:
    """Work that doubles a number: ReLU leaves it as it is, then it is doubled."""
    number, minus = backend.asarray([1.0]), backend.asarray([-1.0])

    def work() -> None:
        number[...] = doubled(backend, backend.relu(number), minus)

    return backend.capture(work), number


def relu_twice(backend: Backend, x: Array) -> Callable[[], None]:
    """Work that reads ``x`` and keeps no array."""

    def work() -> None:
        backend.relu(backend.relu(x))

    return work


def return_free_blocks(backend: Any) -> None:
    """Return unused memory to CUDA: CuPy's pool would keep it for the stream that had it."""
    if backend.name == "cuda":
        backend._xp.get_default_memory_pool().free_all_blocks()


def pool_bytes(replay: Any) -> int:
    return replay.memory.total_bytes()


# --- runs and launches --------------------------------------------------------------------------


def test_many_runs_are_one_launch(monkeypatch: pytest.MonkeyPatch, launched: list[str]) -> None:
    """A launch for each run, by whichever way, would wait for the host."""
    replay, _ = doubling(backend_or_skip("emulated"))
    graphs, launch = [], Graph.launch

    def counted(graph: Any, *arguments: Any) -> None:
        graphs.append(graph)
        launch(graph, *arguments)

    monkeypatch.setattr(Graph, "launch", counted)
    found = []
    for times in (3, 64, 33, 70):
        graphs.clear()
        launched.clear()
        replay(times)
        found.append((len(graphs), len(launched) // 2))
    # The first run is launched and the second captured; later a graph of 32 runs is captured.
    assert found == [(2, 1 + 1), (2, 32), (2, 0), (8, 0)]


@pytest.mark.parametrize("times", [[1], [2], [5], [33, 1, 40], [1, 64], [0, 3]])
def test_work_runs_as_often_as_asked(device: Backend, times: list[int]) -> None:
    eager = backend_or_skip(device.name)
    eager.records = False
    for backend in (device, eager, gpucnn.get_backend("numpy")):
        replay, number = doubling(backend)
        done = 0
        for count in times:
            replay(count)
            done += count
            assert float(backend.to_numpy(number)[0]) == 2.0**done


def test_the_runs_of_a_launch_depend_on_their_work(device: Backend) -> None:
    most: float = device.max_launch_work  # type: ignore[attr-defined]
    assert [device.steps_per_launch(work) for work in (1, most / 10, most * 2)] == [32, 10, 1]


def test_arrays_of_zeros_are_zero_each_time(device: Backend) -> None:
    total, one = device.asarray([0.0]), device.asarray([1.0])

    def work() -> None:
        rate = device.zeros((1,))
        device.sgd_step(rate, one, device.zeros((1,)), one)  # rate: 0 - 1
        device.sgd_step(total, rate, device.zeros((1,)), one)

    replay = device.capture(work)
    for _ in range(4):
        replay(3)
    assert float(device.to_numpy(total)[0]) == 12


def test_work_whose_first_run_failed_starts_over(device: Backend) -> None:
    number, failing = device.asarray([1.0]), [True]

    def work() -> None:
        device.relu(device.zeros((3,)))
        if failing:
            raise KeyError(failing.pop())
        number[...] = device.relu(number)

    replay = device.capture(work)
    with pytest.raises(KeyError):
        replay(1)
    replay(1)
    assert not replay._graphs, "kernels are compiled and loaded before a capture"  # type: ignore[attr-defined]
    replay(40)
    assert float(device.to_numpy(number)[0]) == 1


def test_work_that_cannot_be_captured_is_launched_with_a_warning(device: Backend) -> None:
    number, minus = device.asarray([1.0]), device.asarray([-1.0])

    def work() -> None:
        if float(device.to_numpy(number)[0]) >= 0:  # reads a result: no capture can
            number[...] = doubled(device, number, minus)

    replay = device.capture(work)
    replay(1)
    if device.name == "emulated":  # a fault of the program, to be found in tests
        with pytest.raises(GpucnnError, match="the current stream is capturing"):
            replay(1)
        return
    with pytest.warns(UserWarning, match=r"could not be captured.*captur"):
        replay(3)
    replay(2)
    assert float(device.to_numpy(number)[0]) == 2.0**6


def test_an_error_in_a_capture_ends_it(device: Any) -> None:
    """No stream is left capturing, which would forbid to wait for the device."""
    number, minus = device.asarray([1.0]), device.asarray([-1.0])
    failing: list[bool] = []

    def work() -> None:
        number[...] = doubled(device, number, minus)
        if failing:
            raise KeyboardInterrupt

    replay = device.capture(work)
    replay(1)
    failing.append(True)
    with pytest.raises(KeyboardInterrupt) as caught:
        replay(1)
    device._xp.cuda.Device().synchronize()
    failing.clear()
    replay(3)
    assert float(device.to_numpy(number)[0]) == 2.0**4
    del caught  # which holds the frames of the capture, and with them its stream


def test_the_fault_of_an_earlier_kernel_is_not_an_error_of_the_capture(device: Backend) -> None:
    """Running operation by operation would not help, so nothing warns of that."""
    failing: list[bool] = []

    def work() -> None:
        if failing:
            raise illegal_address()

    replay = device.capture(work)
    replay(1)
    failing.append(True)
    with pytest.raises(CUDADriverError):
        replay(1)


def test_the_host_is_two_calls_ahead_at_most(
    device: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    class Counted:
        def __init__(self, **_: bool) -> None:
            calls.append(("create", self))

        def record(self) -> None:
            calls.append(("record", self))

        def synchronize(self) -> None:
            calls.append(("wait", self))

    replay, _ = doubling(device)
    monkeypatch.setattr(replay._cuda, "Event", Counted)  # type: ignore[attr-defined]
    for _ in range(5):
        replay(1)
    first, second = (event for call, event in calls if call == "create")
    assert [event for call, event in calls if call == "wait"] == [first, second, first]
    assert [event for call, event in calls if call == "record"] == [first, second] * 2 + [first]
    assert calls[-2:] == [("wait", first), ("record", first)], "recorded again after the wait"


@pytest.mark.cuda
def test_no_more_than_two_calls_are_unfinished() -> None:
    """Without graphs, whose work cannot record events that can be asked."""
    device: Any = backend_or_skip("cuda")
    x, ends = device.asarray([1.0]), []

    def work() -> None:
        device.relu(x)
        ends.append(device._xp.cuda.Event(disable_timing=True))
        ends[-1].record()

    replay: Any = device.capture(work)
    replay._records = False
    for _ in range(6):
        replay(1)
        assert all(end.done for end in ends[:-2])


def test_waiting_for_a_call_keeps_no_core_busy(
    device: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay, _ = doubling(device)
    cuda, options = replay._cuda, []  # type: ignore[attr-defined]
    event = cuda.Event

    def made(**given: bool) -> Any:
        options.append(given)
        return event(**given)

    monkeypatch.setattr(cuda, "Event", made)
    replay(1)
    assert options == [{"block": True, "disable_timing": True}]
    if device.name == "cuda":
        with pytest.raises(cuda.runtime.CUDARuntimeError, match="InvalidResourceHandle"):
            cuda.get_elapsed_time(*replay._pending * 2)  # type: ignore[attr-defined]


# --- memory -------------------------------------------------------------------------------------


def test_replays_write_to_no_array_of_others(device: Backend) -> None:
    """Arrays that the work has released must not be given to others while graphs write to them."""
    x = device.asarray(np.full(100, 5.0))
    replay = device.capture(relu_twice(device, x))
    others = []
    for times in (*EACH_WAY, 1, 33):
        replay(times)
        gc.collect()
        return_free_blocks(device)
        others += [device.asarray(np.ones(100)) for _ in range(5)]
    for other in others:
        np.testing.assert_array_equal(device.to_numpy(other), 1)


def test_released_memory_serves_later_arrays_and_runs(device: Backend) -> None:
    x = device.asarray(np.ones(1000))

    def work() -> None:
        y = x
        for _ in range(10):
            y = device.relu(y)

    replay = device.capture(work)
    for times in EACH_WAY:
        replay(times)
    assert pool_bytes(replay) < 2.2 * x.nbytes  # one is read while the next is written


def test_work_shares_the_memory_of_other_work(device: Backend) -> None:
    x = device.asarray(np.ones(1000))
    replay = device.capture(relu_twice(device, x))
    other = device.capture(relu_twice(device, x[:800]), share_memory_with=replay)
    replay(3)
    before = pool_bytes(replay)
    other(3)
    assert pool_bytes(replay) == pool_bytes(other) == before


def test_shared_memory_lives_as_long_as_either_work(device: Backend) -> None:
    x, result = device.asarray([1.0]), device.asarray([0.0])

    def work() -> None:
        result[...] = device.relu(device.relu(x))

    first = device.capture(work)
    first(3)
    second = device.capture(work, share_memory_with=first)
    second(3)
    del first
    gc.collect()
    others = [device.asarray([1.0]) for _ in range(8)]
    x.fill(7)
    second(1)
    assert float(device.to_numpy(result)[0]) == 7
    for other in others:
        assert float(device.to_numpy(other)[0]) == 1


def test_work_that_was_deleted_returns_its_memory(device: Backend) -> None:
    x = device.asarray(np.ones(1000))
    replay = device.capture(relu_twice(device, x))
    pool = replay.memory._pool  # type: ignore[attr-defined]
    replay(3)
    assert pool.total_bytes() >= x.nbytes
    del replay
    gc.collect()
    assert pool.total_bytes() == 0


def test_arrays_of_other_threads_are_not_the_works(device: Backend) -> None:
    """What another thread allocates meanwhile is none of the graph's memory."""
    x, kept = device.asarray([1.0]), []

    def work() -> None:
        kept.append(device.relu(x))

    def work_next_to_a_thread() -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work()

    sizes = []
    for captured in (work, work_next_to_a_thread):
        replay = device.capture(captured)
        for times in EACH_WAY:
            replay(times)
        sizes.append(pool_bytes(replay))
    assert sizes[0] == sizes[1] > 0


@pytest.mark.cuda
def test_graphs_have_no_limit_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy gives each pool the limit of the environment; theirs is that of all other arrays."""
    device = backend_or_skip("cuda")
    monkeypatch.setenv("CUPY_GPU_MEMORY_LIMIT", "4096")
    x = device.asarray(np.ones(10_000))
    replay = device.capture(relu_twice(device, x))
    replay(3)
    assert pool_bytes(replay) > x.nbytes


@pytest.mark.cuda
def test_out_of_memory_at_a_capture_leaves_other_graphs_valid() -> None:
    """A pool that is short of memory must not free what another graph's launches write to."""
    device = backend_or_skip("cuda")
    import cupy

    pool = cupy.cuda.MemoryPool()  # in which no earlier test has left free blocks
    with cupy.cuda.using_allocator(pool.malloc):
        number, minus = device.asarray([1.0]), device.asarray([-1.0])

        def work(length: int) -> None:
            x = device.zeros((length,))
            number[...] = doubled(device, device.relu(device.relu(x)[:1] + number), minus)

        replay = device.capture(lambda: work(10_000))
        replay(3)
        size = pool_bytes(replay)
        pool.free_all_blocks()
        pool.set_limit(size=pool.total_bytes() + 30_000)
        larger = device.capture(lambda: work(20_000), share_memory_with=replay)
        with pytest.raises(BackendError, match=r"^out of memory: 0 MiB requested"):
            larger(3)
        pool.set_limit(size=0)
        assert pool_bytes(replay) >= size
        replay(3)
        assert float(device.to_numpy(number)[0]) == 2.0**6
