"""The learning-rate finder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from small import small_data, small_model

from gpucnn import training
from gpucnn.data import Data, Split
from gpucnn.errors import DivergedError, SettingError
from gpucnn.nn import CrossEntropyLoss, Flatten, Linear, Sequential
from gpucnn.optim import SGD, Adam

find_lr = training.find_lr
OPTIONS: dict[str, Any] = {"batch_size": 16, "steps": 60, "optimizer": SGD(momentum=0.9)}


def test_the_suggestion_trains_and_a_hundredth_of_it_hardly_does() -> None:
    data = small_data(200)
    found = find_lr(small_model(), data, batch_size=16, optimizer=SGD(momentum=0.9))
    assert found.suggestion is not None
    assert found.suggestion <= found.rates[found.lowest]
    losses = []
    for lr in (found.suggestion, found.suggestion / 100):
        options: dict[str, Any] = {"epochs": 2, "batch_size": 16}
        events = training.events(small_model(), data, optimizer=SGD(lr=lr, momentum=0.9), **options)
        losses.append(list(events)[-1].test_loss)  # type: ignore[attr-defined]
    assert losses[0] < 0.5
    assert losses[1] > 1.2


@pytest.mark.parametrize("name", BACKENDS)
def test_the_model_is_as_before_and_the_result_follows_from_the_arguments(name: str) -> None:
    model = small_model(p=0.0).to(backend_or_skip(name))
    before, names = model.state_dict(), ("normalization", "classes", "output", "seed", "seen")
    attributes = [getattr(model, each) for each in names]
    first, second = (find_lr(model, small_data(), **OPTIONS) for _ in range(2))
    assert first == second
    assert [getattr(model, each) for each in names] == attributes
    for key, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[key])
    assert len(first.rates) == len(first.losses) == len(first.smoothed)
    np.testing.assert_allclose(np.diff(np.log(first.rates)), np.log(1e6) / 59, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_steps_are_captured_and_give_what_eager_ones_do(name: str) -> None:
    found = []
    for records in (True, False):
        backend = backend_or_skip(name)
        if not records:
            backend.records = False
        found.append(find_lr(small_model(p=0.0), small_data(), backend=backend, **OPTIONS))
    assert found[0] == found[1]


def test_the_losses_are_those_of_fit() -> None:
    """Of the first step, before any update, also with weights of classes."""
    data = small_data()
    loss = CrossEntropyLoss(weight=data.class_weights())
    found = find_lr(small_model(), data, loss=loss, **OPTIONS)
    events = training.events(small_model(), data, loss=loss, batch_size=16)
    first = next(event for event in events if event.name == "step")
    assert found.losses[0] == pytest.approx(first.metrics()[0])  # type: ignore[attr-defined]
    assert found.smoothed[0] == pytest.approx(found.losses[0])


def test_a_network_that_cannot_learn_gets_no_suggestion() -> None:
    """Of one class, whose loss is always 0."""
    one = Split(np.zeros((30, 1, 4, 4), np.uint8), np.zeros(30, np.int64))
    data = Data(one, one, ("a",), "one")
    found = find_lr(Sequential([Flatten(), Linear(16, 1)], (1, 4, 4)), data, batch_size=10)
    assert found.suggestion is None
    assert repr(found).endswith("no suggestion: the loss does not fall at any learning rate")


def test_the_sweep_ends_where_the_loss_diverges() -> None:
    noise = np.random.default_rng(0)
    split = Split(noise.integers(0, 256, (60, 1, 8, 8), np.uint8), noise.integers(0, 4, 60))
    data = Data(split, split, tuple("abcd"), "noise")
    found = find_lr(small_model(p=0.0), data, highest=1e30, **OPTIONS)
    assert found.diverged
    assert len(found.rates) < 60
    assert np.isfinite(found.losses).all()
    assert found.smoothed[-1] > 4 * min(found.smoothed[10:])


def test_weights_of_infinity_are_named() -> None:
    model = small_model()
    model.flat_parameters[0] = np.inf
    with pytest.raises(DivergedError, match="the loss of the first step, at a learning rate of"):
        find_lr(model, small_data(), **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0}, "0 < lowest < highest, got 0 and 10"),
        ({"lowest": 1, "highest": 0.1}, "0 < lowest < highest, got 1 and 0.1"),
        ({"highest": float("inf")}, "highest must be a finite number"),
        ({"steps": 5}, "steps must be an integer >= 20, got 5"),
        ({"epoch": 5}, "unknown setting 'epoch'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        find_lr(small_model(), small_data(), **options)


def test_settings_that_play_no_part_are_ignored_and_the_optimizer_is_copied() -> None:
    optimizer = Adam()
    plain = find_lr(small_model(), small_data(), steps=20, optimizer=optimizer)
    others: dict[str, Any] = {"ema": 0.9, "workers": 2, "keep_best": True, "validation": 10}
    assert find_lr(small_model(), small_data(), steps=20, optimizer=optimizer, **others) == plain
    assert optimizer.state == {}
