"""The networks that come with gpucnn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gpucnn import models
from gpucnn.errors import ShapeError
from gpucnn.nn.layers import Dropout
from gpucnn.nn.sequential import Sequential

SMALLEST = {
    "lenet5": 12,
    "lenet5_1998": 12,
    "mlp": 1,
    "resnet_small": 1,
    "row_rnn": 1,
    "small_cnn": 8,
    "digits_cnn": 8,
}


def test_lenet5_has_the_parameters_of_lenet5() -> None:
    model = models.lenet5()
    assert model.size == 61_706
    assert {name: p.shape for name, p in model.named_parameters()} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (10, 84),
        "fc3.bias": (10,),
    }


def test_lenet5_of_1998_starts_like_the_original() -> None:
    """All weights and biases are uniform within 2.4 / fan-in."""
    for name, parameter in models.lenet5_1998().named_parameters():
        bound = 2.4 / parameter.fan_in
        assert np.abs(parameter.data).max() <= bound, name
        if parameter.size > 100:
            assert np.abs(parameter.data).max() > 0.95 * bound, name


def test_digits_cnn_normalises_after_pooling() -> None:
    model = models.digits_cnn()
    pixels = (28 * 28, 14 * 14, 14 * 14, 7 * 7, 7 * 7)  # pooled after the first, third and fifth
    weights = (5 * 5 * 16, 9 * 16 * 32, 9 * 32 * 32, 9 * 32 * 64, 9 * 64 * 64)
    assert model.size == sum(weights) + 2 * (16 + 32 + 32 + 64 + 64) + 576 * 10 + 10 == 75_706
    products = sum(a * b for a, b in zip(weights, pixels, strict=True)) + 576 * 10
    assert model.summary().multiply_adds == products == 5_738_368
    assert "conv1.bias" not in model.state_dict()
    kinds = [type(layer).__name__ for layer in model.layers.values()]
    assert kinds[:7] == [
        "Conv2d",
        "MaxPool2d",
        "BatchNorm2d",
        "ReLU",
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
    ]
    assert [name for name in model.layers if name.startswith("pool")] == ["pool1", "pool3", "pool5"]
    assert model.layers["fc"].in_features == 64 * 3 * 3  # type: ignore[attr-defined]


def test_small_cnn_drops_half_of_its_features() -> None:
    (dropout,) = (x for x in models.small_cnn().layers.values() if isinstance(x, Dropout))
    assert dropout.p == 0.5


def test_resnet_small_halves_its_maps_twice() -> None:
    model = models.resnet_small(channels=3, size=(30, 17))
    shapes = [row.output_shape for row in model.summary().outermost if row.name[:5] == "block"]
    wide, middle, narrow = (16, 30, 17), (32, 15, 9), (64, 8, 5)
    assert shapes == [wide, wide, middle, middle, narrow, narrow]
    assert models.resnet_small(width=4).layers["fc"].parameters["weight"].shape == (10, 16)


def test_resnet_small_has_the_parameters_and_products_of_its_convolutions() -> None:
    """One, four in the blocks of each stage, and those in the shortcuts of two stages."""
    model = models.resnet_small()
    wide, middle, narrow = 28 * 28, 14 * 14, 7 * 7
    weights = {
        wide: 9 * (1 * 16 + 4 * 16 * 16),
        middle: 9 * (16 * 32 + 3 * 32 * 32) + 16 * 32,
        narrow: 9 * (32 * 64 + 3 * 64 * 64) + 32 * 64,
    }
    normalized = 5 * 16 + 5 * 32 + 5 * 64
    assert model.size == sum(weights.values()) + 2 * normalized + 64 * 10 + 10 == 174_970
    products = sum(pixels * count for pixels, count in weights.items()) + 64 * 10
    assert model.summary().multiply_adds == products == 20_183_936


def test_row_rnn_has_pytorchs_parameters() -> None:
    """All are uniform within 1 / sqrt(hidden units), the biases too."""
    model = models.row_rnn(channels=3, size=(20, 36), hidden=64)
    parameters = dict(model.named_parameters())
    assert {name: p.shape for name, p in parameters.items()} == {
        "gru.weight_ih_l0": (192, 108),
        "gru.weight_hh_l0": (192, 64),
        "gru.bias_ih_l0": (192,),
        "gru.bias_hh_l0": (192,),
        "fc.weight": (10, 64),
        "fc.bias": (10,),
    }
    for name, parameter in parameters.items():
        assert np.abs(parameter.data).max() <= 1 / 8, name
        assert parameter.size < 100 or np.abs(parameter.data).max() > 0.95 / 8, name


@pytest.mark.parametrize("name", models.MODELS)
def test_models_take_other_shapes_and_a_seed(name: str) -> None:
    model = models.MODELS[name](channels=3, size=(20, 36), classes=7, seed=4)
    assert (model.input_shape, model.seed) == ((3, 20, 36), 4)
    assert model(np.zeros((2, 3, 20, 36), np.float32)).shape == (2, 7)


@pytest.mark.parametrize("name", models.MODELS)
def test_models_refuse_images_that_are_too_small(name: str) -> None:
    least = SMALLEST[name]
    models.MODELS[name](size=(least, least + 3))
    for size in ((least - 1, 30), (30, least - 1)):
        with pytest.raises(ShapeError, match=f"at least {least}x{least} pixels"):
            models.MODELS[name](size=size)


@pytest.mark.parametrize("name", models.MODELS)
def test_config_builds_the_same_model(name: str) -> None:
    model = models.MODELS[name]()
    again = Sequential.from_config(json.loads(json.dumps(model.config())))
    again.load_state_dict(model.state_dict())
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert again.config() == model.config()
