"""A batch: its loss and gradients, and a training loop that users write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runs import train
from small import small_data, small_model

import gpucnn
from gpucnn import optim, training
from gpucnn.nn.losses import CrossEntropyLoss, Loss, MSELoss
from gpucnn.optim.schedules import ConstantLR


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (lambda: optim.SGD(lr=0.05, momentum=0.9, nesterov=True), MSELoss()),
        (lambda: optim.AdamW(lr=0.01, weight_decay=0.1), None),
    ],
    ids=["SGD", "AdamW"],
)
def test_a_loop_of_six_lines_does_what_fit_does(
    make: Callable[[], optim.Optimizer], loss: Loss | None
) -> None:
    """To the bit: the order of the images, the short last batch, dropout, and Adam's steps."""
    data, wanted = small_data(), small_model(seed=4)
    options: dict[str, Any] = {"schedule": ConstantLR()} | ({"loss": loss} if loss else {})
    train(wanted, data=data, seed=4, epochs=3, optimizer=make(), **options)

    model = small_model(seed=4)
    model.normalization = data.statistics()
    batches = training.Batches(model, data.train, batch_size=16)
    optimizer = make()
    for epoch in range(3):
        for x, target in batches.shuffled(epoch, seed=4):
            value, grads = training.loss_and_grads(model, x, target, loss)
            optimizer.update(model)
    np.testing.assert_array_equal(model.flat_parameters, wanted.flat_parameters)
    assert grads is model.flat_grads
    assert value.shape == ()


def test_update_takes_a_learning_rate() -> None:
    models = [small_model(), small_model()]
    for model, lrs in zip(models, (None, 0.25), strict=True):
        model.flat_grads[...] = 1
        optimizer = optim.SGD(lr=0.25 if lrs is None else 7.0)
        optimizer.update(model, lrs)
    np.testing.assert_array_equal(models[0].flat_parameters, models[1].flat_parameters)
    np.testing.assert_allclose(
        models[0].flat_parameters, small_model().flat_parameters - 0.25, atol=1e-6
    )


def test_batches_are_the_split() -> None:
    data, model = small_data(), small_model()
    model.normalization = data.statistics()
    batches = training.Batches(model, data.train, 16)
    found = list(batches)
    assert [len(x) for x, _ in found] == [16, 16, 16, 16, 6]
    assert len(batches) == len(found)
    (mean,), (std,) = data.statistics()
    wanted = (data.train.images / 255 - mean) / std
    np.testing.assert_allclose(np.concatenate([x for x, _ in found]), wanted, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), data.train.labels)


def test_shares_of_a_batch_add_up() -> None:
    model = small_model(p=0.0).to(gpucnn.get_backend("numpy", "float64"))
    be, rng = model.backend, np.random.default_rng(0)
    x, target = be.asarray(rng.normal(size=(10, 1, 8, 8))), be.asarray(rng.integers(0, 4, 10))
    totals, summed = be.zeros((2,), np.float64), be.zeros((2,), np.float64)
    value, grads = training.loss_and_grads(model, x, target, totals=totals)
    assert totals[0] == pytest.approx(10 * float(value))
    assert float(value) == float(CrossEntropyLoss().forward(be, model(x), target))
    wanted, found = grads.copy(), 0
    for part in (slice(0, 3), slice(3, 10)):
        share = len(target[part]) / 10
        _, grads = training.loss_and_grads(model, x[part], target[part], totals=summed, share=share)
        found = found + grads
    np.testing.assert_allclose(found, wanted, atol=1e-14)
    np.testing.assert_allclose(summed, totals, rtol=1e-14)


def test_the_loss_can_be_chosen() -> None:
    model = small_model(p=0.0)
    x, target = np.ones((2, 1, 8, 8), np.float32), np.array([0, 1])
    value, _ = training.loss_and_grads(model, x, target, MSELoss())
    assert float(value) == float(MSELoss().forward(model.backend, model(x), target))
