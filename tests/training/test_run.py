"""The training loop: its events, its figures, and the weights it produces."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_errors import illegal_address
from runs import epochs_of, start, steps_of, train
from small import blobs, small_data, small_model

import gpucnn
from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy import NumpyBackend
from gpucnn.data import Data
from gpucnn.errors import BackendError, SettingError, ShapeError
from gpucnn.nn import losses
from gpucnn.nn.layers import Flatten, Linear, ReLU
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import SGD, Adam
from gpucnn.optim.schedules import ConstantLR, CosineAnnealingLR
from gpucnn.rng import epoch_order
from gpucnn.training import RunStarted, StepEnded, Stopped


def test_events_come_in_order() -> None:
    _, events = train()  # 70 images: 5 steps an epoch, the last of 6 images
    epoch = [*["step"] * 5, "epoch"]
    assert [event.name for event in events] == ["start", *epoch, *epoch, "stop"]
    first, stop = events[0], events[-1]
    assert isinstance(first, RunStarted)
    assert (first.steps_per_epoch, first.train_images, first.test_images) == (5, 70, 40)
    assert [event.step for event in steps_of(events)] == list(range(1, 11))
    assert [event.epoch for event in steps_of(events)] == [1] * 5 + [2] * 5
    assert [event.images for event in steps_of(events)] == 2 * [16, 32, 48, 64, 70]
    assert [event.epoch for event in epochs_of(events)] == [1, 2]
    assert isinstance(stop, Stopped)
    assert (stop.reason, stop.epoch, stop.step, stop.best_epoch) == ("finished", 2, 10, None)
    last = epochs_of(events)[-1]
    assert (stop.test_accuracy, stop.test_loss) == (last.test_accuracy, last.test_loss)


def test_a_model_learns_and_evaluate_agrees() -> None:
    data = small_data(200)
    model, events = train(small_model(p=0.0), data=data, epochs=12)
    last = epochs_of(events)[-1]
    assert last.test_accuracy > 0.95
    assert last.train_accuracy > 0.95
    result = gpucnn.evaluate(model, data.test, batch_size=7)
    assert result.accuracy == last.test_accuracy
    assert result.loss == pytest.approx(last.test_loss, rel=1e-5)
    predicted = model.predict(data.test.images).argmax(1)
    assert np.mean(predicted == data.test.labels) == last.test_accuracy


def test_metrics_are_means_over_the_epoch_so_far() -> None:
    """With a learning rate of 0 they are those of the images seen so far."""
    model, data, loss = small_model(p=0.0), small_data(), losses.MSELoss()
    for event in start(model, data, optimizer=SGD(lr=0.0), loss=loss):
        if isinstance(event, StepEnded):
            seen = epoch_order(0, event.epoch - 1, 70)[: event.images]
            split = gpucnn.Split(data.train.images[seen], data.train.labels[seen])
            expected = gpucnn.evaluate(model, split, loss=loss)
            assert event.metrics() == pytest.approx((expected.loss, expected.accuracy), rel=1e-5)


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second, other = (train(seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert any(not np.array_equal(first[key], other[key]) for key in first)


def test_every_epoch_and_seed_has_its_own_permutation() -> None:
    orders = [epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order) == list(range(1000))
    assert len({tuple(order) for order in orders}) == 4
    np.testing.assert_array_equal(orders[1], epoch_order(0, 1, 1000))


@pytest.mark.parametrize("batch_size", [1, 16, 70, 1000])
def test_short_batches_are_weighted_by_their_images(batch_size: int) -> None:
    """At a learning rate of 0 an epoch's figures are those of the model on the training images."""
    model, data = small_model(p=0.0), small_data()
    _, events = train(model, data=data, batch_size=batch_size, epochs=1, optimizer=SGD(lr=0))
    (epoch,) = epochs_of(events)
    result = gpucnn.evaluate(model, data.train)
    assert epoch.train_loss == pytest.approx(result.loss, rel=1e-5)
    assert epoch.train_accuracy == pytest.approx(result.accuracy)


def test_a_step_follows_the_gradient_of_the_mean_over_its_batch() -> None:
    """One step over all images, against a difference of the losses that evaluate returns."""
    data, model = small_data(), small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64"))
    before = model.flat_parameters.copy()
    lr = 1e-3
    options: dict[str, Any] = {"backend": model.backend, "schedule": ConstantLR()}
    train(model, data=data, epochs=1, batch_size=99, optimizer=SGD(lr=lr), **options)
    grad = (before - model.flat_parameters) / lr
    direction = np.random.default_rng(0).normal(size=grad.size)
    values = []
    for sign in (1, -1):
        model.flat_parameters[...] = before + sign * 1e-6 * direction
        values.append(gpucnn.evaluate(model, data.train).loss)
    assert grad @ direction == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


def test_a_run_is_its_steps_written_out() -> None:
    """The order, the short last batch, every learning rate and momentum: a run, by hand."""
    schedule, seed, lr = CosineAnnealingLR(warmup=0.3), 6, 0.1
    be = gpucnn.get_backend("numpy", "float64")
    data, model = small_data(), small_model(p=0.0).to(be)
    weights = model.flat_parameters.copy()
    optimizer = SGD(lr=lr, momentum=0.9)
    train(model, data=data, seed=seed, optimizer=optimizer, schedule=schedule, backend=be)
    trained = model.flat_parameters.copy()

    images = data.train.images / 255
    x = (images - images.mean()) / images.std()
    velocity = np.zeros_like(weights)
    steps = [(epoch, first) for epoch in range(2) for first in range(0, 70, 16)]
    for done, (epoch, first) in enumerate(steps):
        chosen = epoch_order(seed, epoch, 70)[first : first + 16]
        model.flat_parameters[...] = weights
        scores, saved = model.forward(x[chosen], training=True)
        model.backward(be.cross_entropy_backward(scores, data.train.labels[chosen]), saved)
        velocity = 0.9 * velocity + model.flat_grads
        weights = weights - lr * schedule.factor(done / 10) * velocity
    np.testing.assert_allclose(trained, weights, rtol=1e-9, atol=1e-12)


def test_learning_rates_follow_the_schedule() -> None:
    _, events = train(optimizer=SGD(lr=0.1), schedule=CosineAnnealingLR(warmup=0.5))
    lrs = [event.lr for event in steps_of(events)]
    assert lrs[:5] == pytest.approx([0.01, 0.028, 0.046, 0.064, 0.082])
    assert lrs[5] == pytest.approx(0.1)
    assert lrs[-1] == pytest.approx(0.05 * (1 + np.cos(0.8 * np.pi)))
    assert [event.lr for event in epochs_of(events)] == [lrs[4], lrs[9]]


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss_trains(loss: str) -> None:
    model = small_model(p=0.0)
    if loss == "bce":
        layers = {**model.layers, "sigmoid": gpucnn.nn.Sigmoid()}
        model = gpucnn.Sequential(layers, model.input_shape)
    kind = losses.LOSSES[loss]
    data = small_data(200)
    model, events = train(model, data=data, epochs=6, loss=kind(), optimizer=Adam(lr=0.02))
    assert epochs_of(events)[-1].test_accuracy > 0.9
    assert model.output == kind.output
    # What is evaluated is what is minimised.
    assert epochs_of(events)[-1].test_loss == pytest.approx(
        gpucnn.evaluate(model, data.test, loss=kind()).loss
    )


# --- time ---------------------------------------------------------------------------------------


def test_speed_counts_the_images_of_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also after a resume within an epoch. Here each step takes a second, and nothing else does."""
    path = tmp_path / "checkpoint.npz"
    answers = iter([False, False, True])
    train(checkpoint=path, should_stop=lambda: next(answers))  # 48 images
    now, step = [100.0], SGD.step

    def timed_step(*arguments: Any) -> None:
        now[0] += 1
        step(*arguments)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(SGD, "step", timed_step)
    _, events = train(checkpoint=path, resume=path)
    speeds = [event.images_per_second for event in steps_of(events)]
    assert speeds == pytest.approx([16, 11, 16, 16, 16, 16, 14])  # 16 and 6 images, then an epoch
    assert [event.seconds for event in epochs_of(events)] == [2, 5]
    assert [event.images_per_second for event in epochs_of(events)] == pytest.approx([11, 14])


# --- validation images --------------------------------------------------------------------------


def test_validation_images_are_not_trained_on() -> None:
    _, events = train(validation=10)
    assert isinstance(events[0], RunStarted)
    assert (events[0].train_images, events[0].validation_images) == (60, 10)
    rest, held_out = small_data().hold_out(10, 0)
    trained = {image.tobytes() for image in rest.train.images}
    assert not trained & {image.tobytes() for image in held_out.images}


def test_normalization_is_that_of_the_images_trained_on() -> None:
    model, _ = train(validation=10, epochs=1)
    assert model.normalization == small_data().hold_out(10, 0)[0].statistics()


def test_validation_images_of_the_data_set_are_used_in_place_of_held_out_ones() -> None:
    data, other = small_data(), blobs(30, seed=7)
    given = replace(data, validation=other)
    model, events = train(data=given, epochs=3, early_stopping=3, keep_best=True)
    assert isinstance(events[0], RunStarted)
    assert (events[0].train_images, events[0].validation_images) == (70, 30)
    assert events[0].notes == ()
    stop = events[-1]
    assert isinstance(stop, Stopped)
    assert stop.best_epoch is not None
    best = epochs_of(events)[stop.best_epoch - 1]
    result = gpucnn.evaluate(model, other)
    assert (result.loss, result.accuracy) == (best.validation_loss, best.validation_accuracy)
    _, events = train(data=given, epochs=1, validation=10)
    assert isinstance(events[0], RunStarted)
    assert (events[0].train_images, events[0].validation_images) == (70, 30)
    assert [note.partition(", ")[2] for note in events[0].notes] == [
        "so no training images are held out"
    ]


def test_shared_images_are_noted_before_training() -> None:
    data = small_data()
    leaking = replace(data, test=data.train)
    _, events = train(data=leaking, epochs=1)
    assert isinstance(events[0], RunStarted)
    assert [note.partition(" (")[0] for note in events[0].notes] == [
        "70 of 70 test images are also training images"
    ]
    with pytest.warns(gpucnn.errors.DataWarning, match="70 of 70 test images") as caught:
        gpucnn.fit(small_model(), leaking, epochs=1)
    assert caught[0].filename == __file__, "the warning is of the line that calls fit"
    # Reading the data has reported it already.
    _, events = train(data=replace(leaking, notes=events[0].notes), epochs=1)
    assert events[0].notes == ()


def test_a_limit_that_leaves_one_class_is_noted() -> None:
    data = small_data()
    order = np.argsort(data.train.labels, kind="stable")
    by_class = replace(data, train=gpucnn.Split(data.train.images[order], data.train.labels[order]))
    for limit, count in ((5, 1), (60, 0)):
        _, events = train(data=by_class.limit(limit), epochs=1)
        assert isinstance(events[0], RunStarted)
        assert len([note for note in events[0].notes if "of class 'a'" in note]) == count


def noisy_data() -> Data:
    """Data of which a third has random labels: no model classifies all of it correctly."""
    data, rng = small_data(200), np.random.default_rng(0)

    def noisy(split: gpucnn.Split) -> gpucnn.Split:
        random = rng.integers(0, 4, len(split))
        return gpucnn.Split(
            split.images, np.where(rng.random(len(split)) < 1 / 3, random, split.labels)
        )

    return Data(noisy(data.train), noisy(data.test), data.classes, data.name)


def test_early_stopping_and_keep_best_depend_on_validation_images_only() -> None:
    data = noisy_data()
    wrong = Data(
        data.train, gpucnn.Split(data.test.images, 3 - data.test.labels), data.classes, data.name
    )
    outcomes = []
    for given in (data, wrong):
        options: dict[str, Any] = {"validation": 60, "early_stopping": 2, "keep_best": True}
        model, events = train(data=given, epochs=30, optimizer=SGD(lr=0.2, momentum=0.9), **options)
        epochs, stop = epochs_of(events), events[-1]
        assert isinstance(stop, Stopped)
        assert stop.reason == "early stopping"
        assert stop.best_epoch is not None
        assert stop.epoch == stop.best_epoch + 2 == len(epochs)
        accuracies = [epoch.validation_accuracy for epoch in epochs]
        best = max((a, -e.validation_loss) for a, e in zip(accuracies, epochs, strict=True))
        chosen = epochs[stop.best_epoch - 1]
        assert (chosen.validation_accuracy, -chosen.validation_loss) == best
        _, held_out = given.hold_out(60, 0)
        result, tested = (gpucnn.evaluate(model, split) for split in (held_out, given.test))
        assert (result.accuracy, -result.loss) == best
        assert chosen.test_loss != epochs[-1].test_loss
        assert (stop.test_loss, stop.test_accuracy) == (chosen.test_loss, chosen.test_accuracy)
        assert (tested.loss, tested.accuracy) == (stop.test_loss, stop.test_accuracy)
        outcomes.append((stop.best_epoch, accuracies, model.state_dict()))
    assert outcomes[0][:2] == outcomes[1][:2]
    for key, value in outcomes[0][2].items():
        np.testing.assert_array_equal(value, outcomes[1][2][key])


def test_without_keep_best_the_last_weights_stay() -> None:
    data = noisy_data()
    options: dict[str, Any] = {"validation": 60, "early_stopping": 2}
    model, events = train(data=data, epochs=30, optimizer=SGD(lr=0.2, momentum=0.9), **options)
    stop, last = events[-1], epochs_of(events)[-1]
    assert isinstance(stop, Stopped)
    assert (stop.test_accuracy, stop.test_loss) == (last.test_accuracy, last.test_loss)
    assert gpucnn.evaluate(model, data.test).accuracy == last.test_accuracy


# --- what does not fit --------------------------------------------------------------------------


def test_data_that_the_model_does_not_take() -> None:
    with pytest.raises(ShapeError, match=r"images are \(3, 8, 8\), the model takes \(1, 8, 8\)"):
        start(data=small_data(channels=3))
    data = Data(blobs(9), blobs(9), classes=tuple("abcdefg"), name="more")
    with pytest.raises(ShapeError, match=r"output is \(4,\), the data has 7 classes"):
        start(data=data)
    with pytest.raises(SettingError, match=r"data must be a gpucnn.Data.* got Split"):
        start(data=small_data().train)
    flat = gpucnn.Sequential([gpucnn.nn.Flatten()], (1, 2, 2))
    with pytest.raises(SettingError, match="no parameters to train"):
        start(flat, Data(blobs(9, size=2), blobs(9, size=2), tuple("abcd"), "tiny"))


def test_bce_needs_probabilities() -> None:
    with pytest.raises(SettingError, match=r"end the model in Sigmoid\(\)"):
        start(loss=losses.BCELoss())


def test_a_run_keeps_the_models_precision_and_leaves_the_optimizer_alone() -> None:
    model = small_model().to(gpucnn.get_backend("numpy", "float64"))
    optimizer = Adam(lr=0.01)
    train(model, backend="numpy", optimizer=optimizer)
    assert model.backend.dtype == np.float64
    assert optimizer.state == {}


# --- errors of a device -------------------------------------------------------------------------


class FaultyRelu(ReLU):
    """Its device reports a fault at pass ``at``, as CUDA does from some call on."""

    at = 0

    def forward(self, be: Backend, x: Array, training: Any = None) -> Any:
        FaultyRelu.at -= 1
        if FaultyRelu.at <= 0:
            raise illegal_address()
        return super().forward(be, x, training)


def faulty_model(at: int) -> Sequential:
    FaultyRelu.at = at
    return Sequential({"relu": FaultyRelu(), "flatten": Flatten(), "fc": Linear(64, 4)}, (1, 8, 8))


FAULT = "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"


@pytest.mark.parametrize(
    ("at", "where", "saved"),
    [
        (1, "in step 1", 0),
        (3, "in step 3", 2),
        (5, "in step 5", 4),
        (6, "in the evaluation after step 5", 4),
        (7, "in step 6", 5),
    ],
)
def test_a_fault_of_the_device_names_the_step_and_the_checkpoint(
    at: int, where: str, saved: int, tmp_path: Path
) -> None:
    """5 steps and a pass of evaluation an epoch; on the CPU every step is finished at once."""
    path = tmp_path / "c.npz"
    with pytest.raises(BackendError) as raised:
        train(faulty_model(at), checkpoint=path, checkpoint_every=2)
    assert str(raised.value) == (
        f"{FAULT} ({where}); the checkpoint of step {saved} is kept in {path}"
    )
    FaultyRelu.at = 1000
    first = next(iter(start(faulty_model(1000), checkpoint=path, resume=path)))
    assert first.step == saved


def test_a_fault_of_the_device_names_all_steps_that_may_not_have_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a device that runs behind the host, nobody has waited for any step yet."""
    monkeypatch.setattr(NumpyBackend, "asynchronous", True)
    with pytest.raises(BackendError) as raised:
        train(faulty_model(4))
    assert str(raised.value) == f"{FAULT} (in one of the steps 1 to 4)"
