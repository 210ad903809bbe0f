"""Losses: their values by hand, targets of both kinds, and gradients through whole models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from differences import directional_derivative

from gpucnn import models
from gpucnn.backends import get_backend
from gpucnn.config import describe
from gpucnn.errors import SettingError
from gpucnn.nn import layers, losses
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential

# Scores (0.25, 0.75) and class 1, so the one-hot row is (0, 1).
VALUES = {
    "cross-entropy": math.log(1 + math.exp(-0.5)),
    "mse": 0.25**2,
    "half-squared-error": 0.25**2 / 2,
    "bce": -math.log(0.75),
    "bce-with-logits": (math.log(1 + math.exp(0.25)) + math.log(1 + math.exp(-0.75))) / 2,
}
OUTPUTS = {"cross-entropy": "softmax", "bce-with-logits": "sigmoid"}


@pytest.mark.parametrize("name", losses.LOSSES)
def test_values_by_hand(name: str) -> None:
    be, loss = get_backend("numpy", "float64"), losses.LOSSES[name]()
    scores, target = np.array([[0.25, 0.75]]), np.array([1])
    assert loss.forward(be, scores, target) == pytest.approx(VALUES[name], rel=1e-12)
    assert loss.output == OUTPUTS.get(name, "none")
    if name != "cross-entropy":
        rows = np.array([[0.0, 1.0]])
        assert loss.forward(be, scores, rows) == loss.forward(be, scores, target)
        np.testing.assert_array_equal(
            loss.backward(be, scores, rows), loss.backward(be, scores, target)
        )


@pytest.mark.parametrize("loss", [kind() for kind in losses.LOSSES.values()], ids=str)
def test_descriptions_build_the_same_loss(loss: Loss) -> None:
    assert losses.from_description(describe(loss)) == loss


def test_an_unknown_loss_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="unknown loss 'MSEloss': did you mean 'MSELoss'"):
        losses.from_description({"type": "MSEloss"})


@pytest.mark.parametrize("loss", [kind() for kind in losses.LOSSES.values()], ids=str)
@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "small_cnn"])
def test_gradients_of_models_and_losses(name: str, loss: Loss) -> None:
    """The derivative of a model's loss along a direction in all its parameters at once."""
    be = get_backend("numpy", "float64")
    model = models.MODELS[name](channels=1, size=12, classes=4, seed=2).to(be)
    if isinstance(loss, losses.BCELoss):
        stack = {**model.layers, "sigmoid": layers.Sigmoid()}
        model = Sequential(stack, model.input_shape, seed=2, backend=be)
    rng = np.random.default_rng(4)
    x, target = rng.normal(size=(3, 1, 12, 12)), np.array([0, 3, 1])
    start, direction = model.flat_parameters.copy(), rng.normal(size=model.size)

    def value(t: float) -> float:
        model.flat_parameters[...] = start + t * direction
        model.seed_dropout(1, 0)
        return float(loss.forward(be, model.forward(x, training=True)[0], target))

    model.seed_dropout(1, 0)
    scores, saved = model.forward(x, training=True)
    model.backward(loss.backward(be, scores, target), saved)
    analytic = float(model.flat_grads @ direction)
    # The step is small, so that few ReLUs and maxima change sides on the way.
    assert analytic == pytest.approx(directional_derivative(value, 2.0**-17), rel=1e-6)
