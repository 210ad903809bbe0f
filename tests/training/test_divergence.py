"""NaN and infinity: the run ends before the weights take them in, and the message names where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runs import start, train
from small import small_data, small_model

import gpucnn
from gpucnn.data import Data, Split
from gpucnn.errors import DivergedError
from gpucnn.nn.layers import Flatten, Linear
from gpucnn.nn.losses import HalfSquaredError
from gpucnn.optim import SGD
from gpucnn.optim.schedules import ConstantLR
from gpucnn.rng import epoch_order

SHAPE = (1, 8, 8)
DIVERGING = {"epochs": 9, "optimizer": SGD(lr=1e30), "schedule": ConstantLR()}


def test_the_run_ends_before_the_update(tmp_path: Path) -> None:
    path, model = tmp_path / "checkpoint.npz", small_model()
    with pytest.raises(DivergedError, match=r"epoch 1, step \d: the .* contains NaN or infinity"):
        list(start(model, checkpoint=path, **DIVERGING))
    assert np.isfinite(model.flat_parameters).all()
    assert np.isfinite(gpucnn.load_model(path).flat_parameters).all()


def test_layer_and_step_are_named_and_the_weights_stay() -> None:
    model = small_model()
    events = start(model)
    for _ in range(4):  # the start and three steps
        next(events)
    dict(model.named_parameters())["fc.bias"].data[1] = np.nan
    before = model.state_dict()
    with pytest.raises(DivergedError, match="epoch 1, step 4: the output of layer 'fc' contains"):
        next(events)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("position", [0, 5, 12, 19])
@pytest.mark.parametrize("epoch", [0, 1])
def test_the_batch_of_the_failed_step_is_examined(position: int, epoch: int) -> None:
    """One bright image overflows the layer; a batch without it would blame the loss.

    At a learning rate of 0 all other images have equal scores and finite gradients.
    """
    order = epoch_order(0, epoch, 20)
    images = np.zeros((20, 1, 4, 4), np.uint8)
    images[order[position]] = 255
    data = Data(
        Split(images, np.arange(20) % 2), Split(images, np.arange(20) % 2), ("a", "b"), "one"
    )
    model = gpucnn.Sequential([Flatten(), Linear(16, 2)], (1, 4, 4))
    events = start(model, data, batch_size=4, optimizer=SGD(lr=0.0), schedule=ConstantLR())
    if epoch:
        next(event for event in events if event.name == "epoch")
    dict(model.named_parameters())["1.weight"].data[...] = 1e37
    step = epoch * 5 + position // 4 + 1
    message = rf"^epoch {epoch + 1}, step {step}: the output of layer '1' contains NaN or infinity;"
    with pytest.raises(DivergedError, match=message):
        list(events)


def test_a_gradient_that_overflows_is_named() -> None:
    """The scores are 0; the gradient overflows on its way back to the first linear layer."""
    layers = [Flatten(), Linear(64, 4), Linear(4, 4), Linear(4, 4)]
    model = gpucnn.Sequential(layers, SHAPE)
    values = dict(model.named_parameters())
    for name, value in (("1.weight", 0.0), ("2.weight", 1e10), ("3.weight", 1e38)):
        values[name].data[...] = value * np.eye(*values[name].shape)
    for name in ("1.bias", "2.bias", "3.bias"):
        values[name].data[...] = 0
    with pytest.raises(DivergedError, match=r"the gradient of '1\.bias' contains NaN or infinity"):
        list(start(model, small_data(), loss=HalfSquaredError()))


def test_weights_that_are_nan_before_the_first_step_are_named() -> None:
    """Also where float32 cannot hold them."""
    model = small_model()
    for value in (np.nan, 1e300):
        model.load_state_dict(model.state_dict() | {"fc.bias": np.array([0, 1, value, 0])})
        with pytest.raises(DivergedError, match=r"^'fc\.bias' contains NaN or infinity before"):
            train(model)


def test_an_update_that_overflows_is_found_before_it_is_saved(tmp_path: Path) -> None:
    """A finite gradient times the learning rate is infinite, in the run's only step."""
    path, model = tmp_path / "checkpoint.npz", gpucnn.Sequential([Flatten(), Linear(64, 4)], SHAPE)
    dict(model.named_parameters())["1.bias"].data[...] = 100
    options = {"batch_size": 70, "optimizer": SGD(lr=3e38), "schedule": ConstantLR()}
    events = start(model, epochs=1, loss=HalfSquaredError(), checkpoint=path, **options)
    with pytest.raises(DivergedError, match=r"^step 1: the update made '1\.\w+' NaN or infinite"):
        list(events)
    assert np.isfinite(gpucnn.load_model(path).flat_parameters).all()
