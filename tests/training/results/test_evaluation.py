"""Evaluation: its figures, its threads, and what it refuses."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from runs import train
from small import blobs, small_data, small_model

import gpucnn
from gpucnn.backends import Backend
from gpucnn.data import Split
from gpucnn.errors import DataError, SettingError, ShapeError
from gpucnn.nn.layers import ReLU
from gpucnn.nn.losses import CrossEntropyLoss, MSELoss
from gpucnn.training.results import evaluation


def normalized(data: gpucnn.Data) -> gpucnn.Sequential:
    model = small_model()
    model.normalization = data.statistics()
    return model


def test_figures_are_those_of_the_scores() -> None:
    data = small_data()
    model = normalized(data)
    scores = model.predict(data.test.images).astype(np.float64)  # probabilities
    result = gpucnn.evaluate(model, data.test, batch_size=7)
    labels = data.test.labels
    assert result.count == 40
    assert result.correct == (scores.argmax(1) == labels).sum()
    assert result.accuracy == result.correct / 40
    assert result.loss == pytest.approx(-np.log(scores[np.arange(40), labels]).mean(), rel=1e-5)
    other = gpucnn.evaluate(model, data.test, loss=MSELoss())
    assert other.correct == result.correct
    assert other.loss != pytest.approx(result.loss)


def test_the_number_of_threads_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = small_data(), []
    model = normalized(data)
    for cores in (1, 2, 5):
        monkeypatch.setattr(evaluation, "cores", lambda count=cores: count)
        found.append(gpucnn.evaluate(model, data.test, batch_size=7))
    assert found[0] == found[1] == found[2]


def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "cores", lambda: 2)
    data = small_data()
    broken = Split(data.test.images, np.full(40, 9))
    with pytest.raises(DataError, match="outside the 4 classes"):
        gpucnn.evaluate(normalized(data), broken, batch_size=7)


@pytest.mark.parametrize("available", [0, 1])
def test_a_system_without_more_threads_uses_fewer(
    monkeypatch: pytest.MonkeyPatch, available: int
) -> None:
    monkeypatch.setattr(evaluation, "cores", lambda: 4)
    data = small_data()
    model = normalized(data)
    wanted = gpucnn.evaluate(model, data.test, batch_size=7)
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) == available:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    assert gpucnn.evaluate(model, data.test, batch_size=7) == wanted
    assert len(started) == available


def test_an_interrupt_ends_after_the_batches_that_have_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "cores", lambda: 2)
    begun: list[int] = []

    class Interrupting(evaluation.Batches):
        def batch(self, index: int) -> Any:
            begun.append(index)
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            return super().batch(index)

    data = small_data(4000)
    batches = Interrupting(normalized(data), data.train, 1)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_batches(batches, gpucnn.nn.CrossEntropyLoss())
    assert len(begun) < 4000
    assert not any(thread.name.endswith("(work)") for thread in threading.enumerate())


class Centred(ReLU):
    """A custom layer that stores something on itself during a forward pass."""

    def forward(self, be: Backend, x: Any, training: Any = None) -> Any:
        self.mean = x.mean(1, keepdims=True)
        time.sleep(1e-4)  # lets other threads run
        return super().forward(be, x - self.mean, training)


def test_custom_layers_are_not_used_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "cores", lambda: 4)
    model, data = small_model(), small_data(300)
    model = gpucnn.Sequential({**model.layers, "relu": Centred()}, model.input_shape)
    model.normalization = data.statistics()
    found = {gpucnn.evaluate(model, data.train, batch_size=7) for _ in range(5)}
    assert len(found) == 1


def test_what_is_refused() -> None:
    data, (model, _) = small_data(), train(epochs=1)
    with pytest.raises(ShapeError, match=r"images are \(3, 8, 8\), the model takes \(1, 8, 8\)"):
        gpucnn.evaluate(model, blobs(4, channels=3))
    with pytest.raises(SettingError, match=r"expected a gpucnn.Split, such as data.test, got Data"):
        gpucnn.evaluate(model, data)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="batch_size must be an integer >= 1, got 0"):
        gpucnn.evaluate(model, data.test, batch_size=0)
    with pytest.raises(SettingError, match="normalization"):
        gpucnn.evaluate(small_model(), data.test)
    with pytest.raises(SettingError, match="weight has 2 numbers, but the model has 4 outputs"):
        gpucnn.evaluate(model, data.test, loss=CrossEntropyLoss(weight=[1, 2]))
    outside = Split(data.test.images, data.test.labels + 3)
    with pytest.raises(DataError, match="classes"):
        gpucnn.evaluate(model, outside, loss=CrossEntropyLoss(weight=[1, 2, 3, 4]))
