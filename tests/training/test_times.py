"""Times of layers: measured by a clock that the layers themselves move, and on each device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from available import backend_or_skip
from small import small_model

import gpucnn
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract import arrays
from gpucnn.errors import SettingError
from gpucnn.nn import Conv2d, Flatten, Layer, Linear, ReLU
from gpucnn.training import times
from gpucnn.training.times import LayerTimes, layer_times


@pytest.fixture(autouse=True)
def _small_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small product and copy in place of those that measure a machine."""
    monkeypatch.setattr(times, "LARGE_PRODUCT", {"numpy": 16, "cuda": 16})
    monkeypatch.setattr(times, "LARGE_COPY", 1 << 10)


class Clock:
    """A clock that stands still unless it is moved, by a microsecond at each look."""

    now = 0.0
    calls = 0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


clock = Clock()


@dataclass(eq=False)
class Slow(Layer):
    """A layer whose passes take set times; every fifth is disturbed."""

    forward_seconds: float
    backward_seconds: float

    def forward(self, be: Backend, x: Any, training: Any = None) -> Any:
        return self._after(self.forward_seconds, x), None

    def backward(self, be: Backend, grad: Any, saved: Any, input_grad: bool = True) -> Any:
        return self._after(self.backward_seconds, grad)

    def _after(self, seconds: float, x: Any) -> Any:
        clock.calls += 1
        clock.now += seconds * (10 if clock.calls % 5 == 0 else 1)
        return x


@pytest.fixture
def _fake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock.now, clock.calls = 0.0, 0
    monkeypatch.setattr(arrays.time, "perf_counter", clock)


@pytest.mark.usefixtures("_fake_clock")
def test_times_are_medians_of_what_a_pass_takes() -> None:
    layers = {"first": Slow(0.03, 0.05), "short": Slow(2e-5, 5e-5)}
    found = layer_times(gpucnn.Sequential(layers, (1, 2, 2)), batch_size=3, rounds=9)
    first, short = found.layers
    assert first.forward.seconds == pytest.approx(0.03, rel=1e-3)
    assert first.backward.seconds == pytest.approx(0.05, rel=1e-3)
    # A sample of short work is a mean, in which every fifth call takes ten times as long.
    assert short.forward.seconds == pytest.approx(2.8 * 2e-5, rel=0.15)
    assert short.backward.seconds == pytest.approx(2.8 * 5e-5, rel=0.15)
    assert found.network_seconds > 0.08
    wanted = sum(each.forward.seconds + each.backward.seconds for each in found.layers)
    assert found.seconds == wanted
    assert found.as_dict()["layers"][1]["forward"]["seconds"] == short.forward.seconds


@pytest.mark.usefixtures("_fake_clock")
def test_layers_inside_layers_have_times_of_their_own() -> None:
    body = {"norm": gpucnn.nn.BatchNorm2d(1), "slow": Slow(0.03, 0.05)}
    layers = {"block": gpucnn.nn.Residual(body), "relu": gpucnn.nn.ReLU()}
    model = gpucnn.Sequential(layers, (1, 2, 2))
    before = model.state_dict()
    found = layer_times(model, batch_size=3, rounds=3)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(
            values, before[name]
        )  # statistics of random images are not kept
    assert [(each.name, each.level) for each in found.layers] == [
        ("block", 0),
        ("block.body.norm", 1),
        ("block.body.slow", 1),
        ("relu", 0),
    ]
    block, _, slow, relu = found.layers
    for each in (block, slow):
        assert each.forward.seconds == pytest.approx(0.03, rel=0.1)
        assert each.backward.seconds == pytest.approx(0.05, rel=0.1)
    parts = (block.forward, block.backward, relu.forward, relu.backward)
    assert found.seconds == sum(part.seconds for part in parts)


def check(found: LayerTimes, model: gpucnn.Sequential, samples: int) -> None:
    """The costs, counted by hand for ``costs``'s model, and shares by the definition."""
    size = np.dtype(found.dtype).itemsize
    wanted = {  # forward: multiply-adds, elements; backward: the same
        "conv": (27 * 2 * 16, 48 + 32 + 56 / samples, 27 * 2 * 16, 48 + 32 + 112 / samples),
        "relu": (0, 32 + 32, 0, 32 + 32 + 32),
        "flatten": (0, 0, 0, 0),
        "fc": (32 * 5, 32 + 5 + 165 / samples, 2 * 32 * 5, 32 + 5 + 32 + 330 / samples),
    }
    assert [each.name for each in found.layers] == list(wanted)
    for each in found.layers:
        forward, backward = each.forward, each.backward
        costs = (forward.multiply_adds, forward.bytes / size, backward.multiply_adds)
        assert (*costs, backward.bytes / size) == pytest.approx(
            [samples * cost for cost in wanted[each.name]]
        )
        for one in (forward, backward):
            by_rate = one.multiply_adds / found.multiply_adds_per_second
            by_memory = one.bytes / found.bytes_per_second
            assert one.seconds > 0
            assert one.spread >= 0
            assert one.share == pytest.approx(max(by_rate, by_memory) / one.seconds)
            assert one.roof == ("memory" if by_memory > by_rate else "multiply-adds")
    assert found.network_seconds > 0


def costs(backend: Backend) -> gpucnn.Sequential:
    layers = {"conv": Conv2d(3, 2, 3, padding=1), "relu": ReLU(), "flatten": Flatten()}
    return gpucnn.Sequential({**layers, "fc": Linear(32, 5)}, (3, 4, 4), backend=backend)


@pytest.mark.parametrize("name", ["numpy", "cuda", "emulated"])
def test_costs_and_shares(name: str) -> None:
    """On the emulated backend as if it were CUDA."""
    backend_or_skip(name)
    backend = get_backend(name)
    if name == "emulated":
        backend.name = "cuda"
    model = costs(backend)
    found = layer_times(model, batch_size=6, rounds=2)
    check(found, model, 6)
    assert (found.backend, found.batch_size, found.dtype) == (backend.name, 6, "float32")
    assert found.device
    assert found.captured == backend.records


def test_the_model_stays_as_it_was() -> None:
    model, other = small_model(), small_model()
    layer_times(model, batch_size=2, rounds=2)
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(model.forward(x, True)[0], other.forward(x, True)[0])
    assert model.normalization is None


def test_elapsed_is_the_time_of_finished_work(backend: Backend) -> None:
    total, one = backend.zeros((2,), np.float64), backend.asarray(np.float64(1), backend.dtype)
    scores, target = backend.zeros((3, 2)), backend.zeros((3,), np.int64)
    seconds = backend.elapsed(lambda: backend.add_metrics(total, one, scores, target))
    assert 0 <= seconds < 60
    times_done = 2 if hasattr(backend, "fuses") else 1
    assert backend.to_numpy(total).tolist() == [3 * times_done, 3 * times_done]


@pytest.mark.usefixtures("_fake_clock")
@pytest.mark.parametrize("name", ["numpy", "emulated"])
def test_elapsed_is_the_time_of_the_work_done_once(name: str) -> None:
    backend, work = backend_or_skip(name), Slow(0.25, 0)
    assert backend.elapsed(lambda: work.forward(backend, None)) == pytest.approx(0.25, rel=1e-4)


def test_what_is_refused() -> None:
    with pytest.raises(SettingError, match="batch_size must be an integer >= 1, got 0"):
        layer_times(small_model(), 0)
    with pytest.raises(SettingError, match="rounds must be an integer >= 2, got 1"):
        layer_times(small_model(), rounds=1)

    class Other(gpucnn.Sequential):
        def forward(self, x: Any, training: bool = False) -> Any:
            return super().forward(x, training)

    with pytest.raises(SettingError, match=r"the model \(Other\) has a forward"):
        layer_times(Other([ReLU()], (1, 2, 2)))


def test_the_emulator_is_not_timed() -> None:
    backend_or_skip("emulated")
    with pytest.raises(SettingError, match="times on the emulated backend are not those of a GPU"):
        layer_times(small_model().to("emulated"))
