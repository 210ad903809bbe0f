"""The training loop: what comes out, what it repeats, what it refuses."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import blobs, small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.backends import Backend
from gpucnn.data import Data, Split
from gpucnn.errors import CheckpointError, DivergedError, SettingError, ShapeError
from gpucnn.nn import losses
from gpucnn.nn.layers import ReLU
from gpucnn.optim import SGD, Adam
from gpucnn.optim.schedules import ConstantLR, CosineAnnealingLR
from gpucnn.rng import epoch_order
from gpucnn.training import evaluation
from gpucnn.training.event_types import (
    CheckpointWritten,
    EpochEnded,
    Event,
    RunStarted,
    StepEnded,
    Stopped,
)


def train(**options: Any) -> tuple[gpucnn.Sequential, list[Event]]:
    model = options.pop("model", None) or small_model(seed=options.get("seed", 0))
    data = options.pop("data", None) or small_data()
    events = list(training.events(model, data, **{"epochs": 2, "batch_size": 16, **options}))
    return model, events


def epochs_of(events: list[Event]) -> list[EpochEnded]:
    return [event for event in events if isinstance(event, EpochEnded)]


def test_events_come_in_order_and_count() -> None:
    _, events = train()  # 70 images: 5 steps an epoch, the last of 6 images
    assert [e.name for e in events] == [
        "start",
        *["step"] * 5,
        "epoch",
        *["step"] * 5,
        "epoch",
        "stop",
    ]
    assert isinstance(events[0], RunStarted)
    assert (events[0].steps_per_epoch, events[0].train_images, events[0].test_images) == (5, 70, 40)
    steps = [event for event in events if isinstance(event, StepEnded)]
    assert [event.step for event in steps] == list(range(1, 11))
    assert [event.images for event in steps] == 2 * [16, 32, 48, 64, 70]
    assert [event.epoch for event in epochs_of(events)] == [1, 2]
    stop = events[-1]
    assert isinstance(stop, Stopped)
    assert (stop.reason, stop.epoch, stop.step) == ("finished", 2, 10)
    assert stop.test_accuracy == epochs_of(events)[-1].test_accuracy


def test_it_learns_and_evaluate_agrees() -> None:
    data = small_data(200)
    model, events = train(data=data, epochs=12, model=small_model(p=0.0))
    last = epochs_of(events)[-1]
    assert last.test_accuracy > 0.95
    assert last.train_accuracy > 0.95
    result = gpucnn.evaluate(model, data.test, batch_size=7)
    assert result.accuracy == last.test_accuracy
    assert result.loss == pytest.approx(last.test_loss, rel=1e-5)
    predicted = model.predict(data.test.images).argmax(1)
    assert np.mean(predicted == data.test.labels) == last.test_accuracy


def test_an_evaluation_is_the_same_on_any_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = small_data(), []
    model = small_model()
    model.normalization = data.statistics()
    for cores in (1, 2, 5):
        monkeypatch.setattr(evaluation, "cores", lambda count=cores: count)
        found.append(gpucnn.evaluate(model, data.test, batch_size=7))
    assert found[0] == found[1] == found[2]
    broken = Split(data.test.images, np.full(40, 9))
    with pytest.raises(gpucnn.errors.DataError, match="outside the 4 classes"):
        gpucnn.evaluate(model, broken, batch_size=7)


class Centred(ReLU):
    """A custom layer that stores something on itself during a forward pass."""

    def forward(self, be: Backend, x: Any, training: Any = None) -> Any:
        self.mean = x.mean(1, keepdims=True)
        time.sleep(1e-4)  # other threads may go on meanwhile
        return super().forward(be, x - self.mean, training)


def test_layers_of_ones_own_are_not_used_by_several_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "cores", lambda: 4)
    model, data = small_model(), small_data(300)
    model = gpucnn.Sequential({**model.layers, "relu": Centred()}, model.input_shape)
    model.normalization = data.statistics()
    found = {gpucnn.evaluate(model, data.train, batch_size=7) for _ in range(5)}
    assert len(found) == 1


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second, other = (train(seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_an_order_is_a_permutation_of_its_own_for_every_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(1000))
    assert len({tuple(order) for order in orders}) == 4
    np.testing.assert_array_equal(orders[1], epoch_order(0, 1, 1000))


@pytest.mark.parametrize("batch_size", [1, 16, 70, 1000])
def test_short_batches_are_weighted_by_their_images(batch_size: int) -> None:
    """At a rate of zero, the epoch's figures are those of the model on the training images."""
    model, data = small_model(p=0.0), small_data()
    _, events = train(model=model, data=data, batch_size=batch_size, epochs=1, optimizer=SGD(lr=0))
    (epoch,) = epochs_of(events)
    result = gpucnn.evaluate(model, data.train)
    assert epoch.train_loss == pytest.approx(result.loss, rel=1e-5)
    assert epoch.train_accuracy == pytest.approx(result.accuracy)


def test_a_step_follows_the_gradient_of_the_mean_over_its_batch() -> None:
    """One step over all images, against a difference of the loss that evaluate gives."""
    data, model = small_data(), small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64"))
    before = model.flat_parameters.copy()
    rate = 1e-3
    options: dict[str, Any] = {"backend": model.backend, "schedule": ConstantLR()}
    train(model=model, data=data, epochs=1, batch_size=99, optimizer=SGD(lr=rate), **options)
    grad = (before - model.flat_parameters) / rate
    direction = np.random.default_rng(0).normal(size=grad.size)
    values = []
    for sign in (1, -1):
        model.flat_parameters[...] = before + sign * 1e-6 * direction
        values.append(gpucnn.evaluate(model, data.train).loss)
    assert grad @ direction == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_a_run_is_its_steps_written_out() -> None:
    """The order, the short last batch, every step's rate, momentum: all of a run, by hand."""
    schedule, seed, rate = CosineAnnealingLR(warmup=0.3), 6, 0.1
    be = gpucnn.get_backend("numpy", "float64")
    data, model = small_data(), small_model(p=0.0).to(be)
    weights = model.flat_parameters.copy()
    optimizer = SGD(lr=rate, momentum=0.9)
    train(model=model, data=data, seed=seed, optimizer=optimizer, schedule=schedule, backend=be)
    trained = model.flat_parameters.copy()

    images = data.train.images / 255
    x = (images - images.mean()) / images.std()
    velocity = np.zeros_like(weights)
    steps = [(epoch, start) for epoch in range(2) for start in range(0, 70, 16)]
    for done, (epoch, start) in enumerate(steps):
        chosen = epoch_order(seed, epoch, 70)[start : start + 16]
        model.flat_parameters[...] = weights
        scores, saved = model.forward(x[chosen], training=True)
        model.backward(be.cross_entropy_backward(scores, data.train.labels[chosen]), saved)
        velocity = 0.9 * velocity + model.flat_grads
        weights = weights - rate * schedule.factor(done / 10) * velocity
    np.testing.assert_allclose(trained, weights, rtol=1e-9, atol=1e-12)


def test_rates_follow_the_schedule() -> None:
    _, events = train(optimizer=SGD(lr=0.1), schedule=CosineAnnealingLR(warmup=0.5))
    rates = [event.lr for event in events if isinstance(event, StepEnded)]
    assert rates[:5] == pytest.approx([0.01, 0.028, 0.046, 0.064, 0.082])
    assert rates[5] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.05 * (1 + np.cos(0.8 * np.pi)))


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss_trains(loss: str) -> None:
    model = small_model(p=0.0)
    if loss == "bce":
        layers = {**model.layers, "sigmoid": gpucnn.nn.Sigmoid()}
        model = gpucnn.Sequential(layers, model.input_shape)
    _, events = train(
        model=model,
        data=small_data(200),
        epochs=10,
        loss=losses.LOSSES[loss](),
        optimizer=Adam(lr=0.01),
    )
    assert epochs_of(events)[-1].test_accuracy > 0.9


def snapshots(path: Path, **options: Any) -> tuple[dict[int, bytes], list[Event]]:
    """Train with a checkpoint after every step; return the file's content by step, and events."""
    contents, events = {}, []
    model, data = small_model(seed=1), small_data()
    for event in training.events(model, data, checkpoint=path, checkpoint_every=1, **options):
        events.append(event)
        if isinstance(event, CheckpointWritten):
            contents[event.step] = path.read_bytes()
    return contents, events


def figures(events: list[Event]) -> list[dict[str, Any]]:
    """Return what the epochs' events say, but for how long they took."""
    timing = ("seconds", "images_per_second")
    rows = [event.as_dict() for event in epochs_of(events)]
    return [{key: value for key, value in row.items() if key not in timing} for row in rows]


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_resuming_at_any_step_gives_the_same_bits(tmp_path: Path, optimizer: type) -> None:
    def options() -> dict[str, Any]:
        kind = SGD(lr=0.05, momentum=0.9) if optimizer is SGD else Adam(lr=0.003)
        return {
            "epochs": 3, "batch_size": 16, "seed": 1, "optimizer": kind,
            "validation": 10, "keep_best": True,
        }  # fmt: skip

    path = tmp_path / "checkpoint.npz"
    contents, straight = snapshots(path, **options())
    final = path.read_bytes()
    assert sorted(contents) == list(range(13))  # 60 images in 4 steps, three times
    for step, content in contents.items():
        path.write_bytes(content)
        model = small_model(seed=77)  # its weights and dropout come from the checkpoint
        events = list(
            training.events(model, small_data(), checkpoint=path, resume=path, **options())
        )
        assert path.read_bytes() == final, f"resumed behind step {step}"
        resumed = figures(events)
        assert resumed == figures(straight)[3 - len(resumed) :]
        assert isinstance(events[0], RunStarted)
        assert events[0].step == step


def test_a_stop_is_asked_for_after_every_step(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    answers = iter([False, False, True])
    model = small_model()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "checkpoint": path}
    events = list(
        training.events(model, small_data(), should_stop=lambda: next(answers), **options)
    )
    assert [e.name for e in events[2:]] == ["step", "step", "step", "checkpoint", "stop"]
    assert isinstance(events[-1], Stopped)
    assert (events[-1].reason, events[-1].step) == ("interrupted", 3)
    list(training.events(small_model(seed=5), small_data(), resume=path, **options))
    resumed = gpucnn.load_model(path).state_dict()
    straight = train()[0].state_dict()
    assert all(np.array_equal(resumed[key], straight[key]) for key in straight)


def test_resuming_refuses_another_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(checkpoint=path)
    for options, message in [
        ({"batch_size": 8}, r"settings.batch_size was 16, now 8"),
        ({"optimizer": SGD(lr=0.1, momentum=0.9)}, r"settings.optimizer.lr was 0.05, now 0.1"),
        ({"data": small_data(seed=5)}, r"data.fingerprint was"),
        ({"model": small_model(p=0.5)}, r"model.layers\[4\].p was 0.25, now 0.5"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            train(resume=path, **options)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        train(resume=tmp_path / "nothing.npz")


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    model, _ = train(checkpoint=path)
    again, events = train(checkpoint=path, resume=path)
    assert [event.name for event in events] == ["start", "checkpoint", "stop"]
    assert all(np.array_equal(again.state_dict()[k], v) for k, v in model.state_dict().items())


def test_a_diverging_run_stops_before_the_update(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    model = small_model()
    events = training.events(
        model,
        small_data(),
        epochs=9,
        batch_size=16,
        optimizer=SGD(lr=1e30),
        schedule=ConstantLR(),
        checkpoint=path,
    )
    with pytest.raises(DivergedError, match=r"epoch 1, step \d: the .* contains NaN or infinity"):
        list(events)
    assert np.isfinite(model.flat_parameters).all()
    assert np.isfinite(gpucnn.load_model(path).flat_parameters).all()


def test_divergence_names_layer_and_step() -> None:
    model = small_model()
    events = training.events(model, small_data(), batch_size=16)
    for _ in range(4):  # the start and three steps
        next(events)
    dict(model.named_parameters())["fc.bias"].data[1] = np.nan
    before = model.state_dict()
    with pytest.raises(DivergedError, match="epoch 1, step 4: the output of layer 'fc' contains"):
        next(events)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def with_test_labels(data: Data, labels: np.ndarray) -> Data:
    return replace(data, test=Split(data.test.images, labels))


def test_early_stopping_and_keep_best_look_at_held_out_images_only() -> None:
    data = small_data(200)
    nonsense = with_test_labels(data, 3 - data.test.labels)
    outcomes = []
    for given in (data, nonsense):
        model, events = train(
            data=given,
            epochs=30,
            validation=60,
            early_stopping=2,
            keep_best=True,
            optimizer=SGD(lr=0.2, momentum=0.9),
        )
        epochs, stop = epochs_of(events), events[-1]
        assert isinstance(stop, Stopped)
        assert stop.reason == "early stopping"
        assert stop.epoch == stop.best_epoch + 2 == len(epochs)
        accuracies = [epoch.validation_accuracy for epoch in epochs]
        assert accuracies[stop.best_epoch - 1] == max(accuracies)
        _, held_out = given.hold_out(60, 0)
        assert gpucnn.evaluate(model, held_out).accuracy == max(accuracies)
        assert stop.test_accuracy == epochs[stop.best_epoch - 1].test_accuracy
        outcomes.append((stop.best_epoch, accuracies, model.state_dict()))
    assert outcomes[0][:2] == outcomes[1][:2]
    for key, value in outcomes[0][2].items():
        np.testing.assert_array_equal(value, outcomes[1][2][key])


def test_the_held_out_images_are_not_trained_on() -> None:
    _, events = train(validation=10)
    assert isinstance(events[0], RunStarted)
    assert (events[0].train_images, events[0].validation_images) == (60, 10)
    rest, held_out = small_data().hold_out(10, 0)
    trained = {image.tobytes() for image in rest.train.images}
    assert not trained & {image.tobytes() for image in held_out.images}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"epochs": -3}, "epochs must be an integer"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"batch_size": -1}, "batch_size must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"early_stopping": 1}, "set validation"),
        ({"keep_best": True}, "set validation"),
        ({"early_stopping": 0, "validation": 5}, "early_stopping must be an integer"),
        ({"validation": 70}, "70"),
        ({"checkpoint_every": 0}, "checkpoint_every must be an integer"),
        ({"backend": "nunpy"}, "did you mean 'numpy'"),
    ],
)
def test_bad_settings_are_refused_before_the_first_event(options: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        training.events(small_model(), small_data(), **options)


def test_what_is_no_setting_is_refused() -> None:
    for options in ({"optimizer": "sgd"}, {"loss": losses.MSELoss}, {"schedule": "cosine"}):
        with pytest.raises(SettingError, match="must be a"):
            training.events(small_model(), small_data(), **options)
    flat = gpucnn.Sequential([gpucnn.nn.Flatten()], (1, 2, 2))
    with pytest.raises(SettingError, match="no parameters to train"):
        training.events(flat, Data(blobs(9, size=2), blobs(9, size=2), tuple("abcd"), "tiny"))


def test_fit_keeps_the_models_precision_and_the_optimisers_own_state() -> None:
    model = small_model().to(gpucnn.get_backend("numpy", "float64"))
    optimizer = Adam(lr=0.01)
    train(model=model, backend="numpy", optimizer=optimizer)
    assert model.backend.dtype == np.float64
    assert optimizer.state == {}


def test_data_that_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"images are \(3, 8, 8\), the model takes \(1, 8, 8\)"):
        training.events(small_model(), small_data(channels=3))
    data = Data(blobs(9), blobs(9), classes=tuple("abcdefg"), name="more")
    with pytest.raises(ShapeError, match=r"output is \(4,\), the data has 7 classes"):
        training.events(small_model(), data)
    model, _ = train()
    with pytest.raises(ShapeError, match=r"images are \(3, 8, 8\)"):
        gpucnn.evaluate(model, blobs(4, channels=3))
