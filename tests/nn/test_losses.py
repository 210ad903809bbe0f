"""Losses: their values by hand, targets of both kinds, and gradients through whole models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import models
from gpucnn.backends import get_backend
from gpucnn.config import describe
from gpucnn.errors import SettingError
from gpucnn.nn import layers, losses
from gpucnn.nn.losses import Loss
from gpucnn.nn.sequential import Sequential
from gpucnn.testing.derivatives import directional_derivative

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


WITH_OPTIONS: list[Loss] = [
    losses.CrossEntropyLoss(weight=[1, 0.5, 0, 3], ignore_index=1, label_smoothing=0.1),
    losses.BCEWithLogitsLoss(pos_weight=np.array([2, 1, 0.5, 4])),  # type: ignore[arg-type]
    losses.BCEWithLogitsLoss(pos_weight=(3,)),
]
EVERY_LOSS = [*(kind() for kind in losses.LOSSES.values()), *WITH_OPTIONS]


def test_class_weights_by_hand() -> None:
    """(2 a + 5 b) / (2 + 5), where the third sample is ignored; then smoothed by a fifth."""
    be = get_backend("numpy", "float64")
    scores, target = (
        np.log([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.4, 0.3, 0.3]]),
        np.array([0, 1, 2]),
    )
    loss = losses.CrossEntropyLoss(weight=[2, 5, 9], ignore_index=2)
    logs = -np.array([2, 5, 9]) * scores
    plain = logs[0, 0] + logs[1, 1]
    assert loss.forward(be, scores, target) == pytest.approx(plain / 7, rel=1e-12)
    assert loss.weigh(target) == 7
    smoothed = losses.CrossEntropyLoss([2, 5, 9], 2, label_smoothing=0.2)
    wanted = 0.8 * plain + 0.2 / 3 * logs[:2].sum()
    assert smoothed.forward(be, scores, target) == pytest.approx(wanted / 7, rel=1e-12)
    assert smoothed.forward(be, scores, target, "sum") == pytest.approx(wanted, rel=1e-12)


def test_pos_weight_by_hand() -> None:
    be, half = get_backend("numpy", "float64"), np.log(0.5)
    loss = losses.BCEWithLogitsLoss(pos_weight=[3, 1])
    value = loss.forward(be, np.zeros((1, 2)), np.array([0]))  # one-hot (1, 0)
    assert value == pytest.approx(-(3 * half + half) / 2, rel=1e-12)


def test_every_position_of_a_map_has_a_class() -> None:
    be, rng = get_backend("numpy", "float64"), np.random.default_rng(3)
    scores, target = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    loss = losses.CrossEntropyLoss(label_smoothing=0.1)
    rows, labels = scores.transpose(0, 2, 3, 1).reshape(-1, 3), target.reshape(-1)
    assert loss.forward(be, scores, target) == pytest.approx(loss.forward(be, rows, labels))
    grad = loss.backward(be, scores, target).transpose(0, 2, 3, 1).reshape(-1, 3)
    np.testing.assert_allclose(grad, loss.backward(be, rows, labels), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.CrossEntropyLoss(weight=[]), "weight must be finite numbers >= 0"),
        (lambda: losses.CrossEntropyLoss(weight=[1, -1]), "weight must be .* got "),
        (lambda: losses.CrossEntropyLoss(weight=[1, math.nan]), "weight must be"),
        (lambda: losses.CrossEntropyLoss(weight="ab"), "weight must be"),  # type: ignore[arg-type]
        (lambda: losses.CrossEntropyLoss(weight="12"), "weight must be"),  # type: ignore[arg-type]
        (lambda: losses.CrossEntropyLoss(weight=2), "weight must be"),  # type: ignore[arg-type]
        (lambda: losses.BCEWithLogitsLoss([math.inf]), "pos_weight must be finite"),
        (lambda: losses.CrossEntropyLoss(label_smoothing=1.5), "must be from 0 to 1, got 1.5"),
        (lambda: losses.CrossEntropyLoss(label_smoothing=-0.5), "label_smoothing must be"),
        (lambda: losses.CrossEntropyLoss(ignore_index=1.5), "ignore_index"),  # type: ignore[arg-type]
        (lambda: losses.CrossEntropyLoss(ignore_index=2**63), "ignore_index must be an int64"),
    ],
)  # fmt: skip
def test_invalid_options(make: Callable[[], Loss], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_options_may_be_numpy_numbers() -> None:
    loss = losses.CrossEntropyLoss(np.float32([1, 2]), np.int64(1), np.float32(0.25))  # type: ignore[arg-type]
    assert loss == losses.CrossEntropyLoss((1.0, 2.0), 1, 0.25)
    assert json.dumps(describe(loss))


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
def test_descriptions_build_the_same_loss(loss: Loss) -> None:
    """Also from JSON, and from the descriptions of versions without options."""
    assert losses.from_description(json.loads(json.dumps(describe(loss)))) == loss
    older = {"type": type(loss).__name__}
    losses.complete(older)
    assert older == describe(type(loss)())
    assert hash(loss) == hash(losses.from_description(describe(loss)))


def test_an_unknown_loss_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="unknown loss 'MSEloss': did you mean 'MSELoss'"):
        losses.from_description({"type": "MSEloss"})


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=str)
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
    start, direction = model.flat_parameters.copy(), model.with_padding(rng.normal(size=model.size))

    training = layers.TrainingPass(1, np.array([1]))

    def value(t: float) -> float:
        model.flat_parameters[...] = start + t * direction
        return float(loss.forward(be, model.forward(x, training)[0], target))

    scores, saved = model.forward(x, training)
    model.backward(loss.backward(be, scores, target), saved)
    analytic = float(model.flat_grads @ direction)
    # The step is small, so that few ReLUs and maxima change sides on the way.
    assert analytic == pytest.approx(directional_derivative(value, 2.0**-17), rel=1e-6)
