"""Losses with class weights, ignored classes and smoothed labels in whole runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from available import BACKENDS, backend_or_skip
from numpy.typing import NDArray
from runs import epochs_of, figures, start, steps_of, train
from small import small_data, small_model

import gpucnn
from gpucnn import training
from gpucnn.data import Data, Split
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.nn import layers
from gpucnn.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss
from gpucnn.optim import SGD
from gpucnn.training.files import checkpoint

WEIGHTED = CrossEntropyLoss(weight=[1, 6, 0.25, 2], ignore_index=3, label_smoothing=0.1)
LOSSES = [
    WEIGHTED,
    CrossEntropyLoss(ignore_index=0),
    CrossEntropyLoss(weight=[1, 0, 3, 2]),
    CrossEntropyLoss(label_smoothing=0.2),
    BCEWithLogitsLoss(pos_weight=[1, 4, 2, 3]),
]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


def mean_loss(model: gpucnn.Sequential, split: Split, loss: Loss) -> float:
    """Return the loss of a whole split as one batch."""
    model.normalization = model.normalization or small_data().statistics()
    ((x, target),) = training.Batches(model, split, len(split))
    return float(loss.forward(model.backend, model(x), target))


@every_loss
def test_short_batches_are_weighted(loss: Loss) -> None:
    """At a learning rate of 0 an epoch's loss is that of all images as one batch."""
    for batch_size in (1, 16, 70):
        model, data = small_model(p=0.0), small_data()
        options: dict[str, Any] = {"batch_size": batch_size, "epochs": 1, "optimizer": SGD(lr=0)}
        (epoch,) = epochs_of(train(model, data=data, loss=loss, **options)[1])
        assert epoch.train_loss == pytest.approx(mean_loss(model, data.train, loss), rel=1e-5)
        assert epoch.test_loss == pytest.approx(mean_loss(model, data.test, loss), rel=1e-5)
        for size in (1, 7, 40):
            result = gpucnn.evaluate(model, data.test, loss=loss, batch_size=size)
            assert result.loss == pytest.approx(epoch.test_loss, rel=1e-5)


def test_the_loss_so_far_is_that_of_the_images_so_far() -> None:
    model, data = small_model(p=0.0), small_data()
    events = start(model, data, epochs=1, loss=WEIGHTED, optimizer=SGD(lr=0), seed=3)
    order = gpucnn.rng.epoch_order(3, 0, 70)
    for event in (event for event in events if isinstance(event, training.StepEnded)):
        seen = order[: event.images]
        split = Split(data.train.images[seen], data.train.labels[seen])
        assert event.metrics()[0] == pytest.approx(mean_loss(model, split, WEIGHTED), rel=1e-5)


def test_an_ignored_class_is_never_correct() -> None:
    """Accuracy is over all images."""
    model, data = small_model(p=0.0), small_data()
    model.normalization = data.statistics()
    predicted = model.predict(data.test.images).argmax(1)
    for ignored in range(4):
        result = gpucnn.evaluate(model, data.test, loss=CrossEntropyLoss(ignore_index=ignored))
        counted = data.test.labels != ignored
        assert result.correct == np.count_nonzero((predicted == data.test.labels) & counted)
        assert result.count == 40


@every_loss
def test_workers_follow_the_gradient_of_the_whole_batch(loss: Loss) -> None:
    """Batches of 16 and 6 images among 3 processes: parts of unequal size and weight."""
    models = [small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64")) for _ in range(2)]
    runs = [
        start(model, loss=loss, workers=count, epochs=1)
        for model, count in zip(models, (1, 3), strict=True)
    ]
    losses: list[list[float]] = [[], []]
    for events in zip(*runs, strict=True):
        for event, found in zip(events, losses, strict=True):
            if isinstance(event, training.StepEnded):
                found.append(event.metrics()[0])
        np.testing.assert_allclose(models[1].flat_grads, models[0].flat_grads, atol=1e-13)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)


def one_class_per_batch() -> Data:
    """Return 70 images; those of the second batch of 16 have the class 3, and no others."""
    data, order = small_data(), gpucnn.rng.epoch_order(0, 0, 70)
    labels: NDArray[np.int64] = data.train.labels % 3
    labels[order[16:32]] = 3
    return Data(Split(data.train.images, labels), data.test, data.classes, "blobs")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "loss", [CrossEntropyLoss(ignore_index=3), CrossEntropyLoss(weight=[1, 2, 1, 0])], ids=str
)
def test_a_batch_that_does_not_count_changes_nothing(loss: Loss, workers: int) -> None:
    model = small_model(p=0.0)
    options: dict[str, Any] = {"loss": loss, "workers": workers, "optimizer": SGD(lr=0.1)}
    weights, losses = [model.flat_parameters.copy()], []
    for event in start(model, one_class_per_batch(), epochs=1, **options):
        if isinstance(event, training.StepEnded):
            weights.append(model.flat_parameters.copy())
            losses.append(event.metrics()[0])
    same = [np.array_equal(one, other) for one, other in itertools.pairwise(weights)]
    assert same == [False, True, False, False, False]
    assert losses[0] == losses[1]
    assert np.isfinite(losses).all()


def plain_model() -> gpucnn.Sequential:
    """Return a model that draws nothing on the host, so that a device captures its steps."""
    stack = [layers.Conv2d(1, 3, 3), layers.ReLU(), layers.Flatten(), layers.Linear(108, 4)]
    return gpucnn.Sequential(stack, (1, 8, 8))


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
@every_loss
def test_captured_steps_give_the_same_bits(loss: Loss, name: str) -> None:
    """And the figures of NumPy."""
    found = []
    for records in (True, False):
        backend: Any = backend_or_skip(name)
        backend.records = records
        events = list(start(plain_model().to(backend), loss=loss))
        assert len(steps_of(events)) == (4 if records else 10)
        found.append(figures(events))
    assert found[0] == found[1]
    on_numpy = figures(list(start(plain_model(), loss=loss)))
    for row, wanted in zip(found[0], on_numpy, strict=True):
        for key in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            assert row[key] == pytest.approx(wanted[key], rel=1e-4), key


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "numpy"])
def test_lenet5_with_options_is_not_fused(name: str, launched: list[str]) -> None:
    """Its fused kernels compute the loss without options."""
    backend = backend_or_skip(name)
    data = gpucnn.data.mnist().limit(40)
    for loss in (CrossEntropyLoss(), CrossEntropyLoss(label_smoothing=0.1)):
        launched.clear()
        model = gpucnn.models.lenet5().to(backend)
        options: dict[str, Any] = {"batch_size": 40, "epochs": 1, "loss": loss}
        events = training.events(model, data, **options)
        next(event for event in events if event.name == "step")
        assert ("cross_entropy_backward" in launched) == (loss != CrossEntropyLoss())


def test_a_checkpoint_restores_the_loss(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    model, _ = train(loss=WEIGHTED, checkpoint=path)
    settings = checkpoint.load(path).metadata["settings"]
    assert gpucnn.nn.losses.from_description(settings["loss"]) == WEIGHTED
    resumed, _ = train(small_model(seed=5), loss=WEIGHTED, checkpoint=path, resume=path)
    np.testing.assert_array_equal(resumed.flat_parameters, model.flat_parameters)
    with pytest.raises(
        CheckpointError, match=r"settings\.loss\.label_smoothing was 0\.1, now 0\.0"
    ):
        start(loss=CrossEntropyLoss(weight=WEIGHTED.weight, ignore_index=3), resume=path)


def test_checkpoints_of_losses_without_options_are_resumed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    train(checkpoint=path, epochs=2)
    saved = checkpoint.load(path)
    saved.metadata["settings"]["loss"] = {"type": "CrossEntropyLoss"}
    checkpoint.save(path, saved)
    assert list(start(resume=path))[-1].name == "stop"


def test_what_is_refused() -> None:
    with pytest.raises(SettingError, match="weight has 3 numbers, but the model has 4 outputs"):
        start(loss=CrossEntropyLoss(weight=[1, 2, 3]))
    with pytest.raises(SettingError, match="pos_weight has 2 numbers, but the model has 4 outputs"):
        start(loss=BCEWithLogitsLoss(pos_weight=[1, 2]))
    start(loss=BCEWithLogitsLoss(pos_weight=[2])).close()
    data = small_data()
    ones = Split(data.test.images, np.ones(40, np.int64))
    with pytest.raises(SettingError, match="ignores all 40 test images: choose another weight or"):
        start(data=Data(data.train, ones, data.classes, "x"), loss=CrossEntropyLoss(ignore_index=1))
    model = small_model()
    model.normalization = data.statistics()
    with pytest.raises(SettingError, match=r"CrossEntropyLoss\(.* ignores all 40 images: choose"):
        gpucnn.evaluate(model, ones, loss=CrossEntropyLoss(ignore_index=1))
    loss = CrossEntropyLoss(weight=[1, 0, 1, 1])
    with pytest.raises(SettingError, match="ignores all 40 training images"):
        start(data=Data(ones, data.test, data.classes, "x"), loss=loss)


def test_a_loop_of_ones_own_ignores_targets_outside_the_classes() -> None:
    model = small_model(p=0.0)
    x, target = np.ones((3, 1, 8, 8), np.float32), np.array([0, -100, 1])
    totals = np.zeros(2)
    value, grads = training.loss_and_grads(model, x, target, totals=totals)
    wanted, expected = training.loss_and_grads(model, x[[0, 2]], target[[0, 2]])
    assert float(value) == pytest.approx(float(wanted))
    np.testing.assert_allclose(grads, expected, rtol=1e-5, atol=1e-7)
    assert totals[1] in (0, 1, 2)
