"""Layers: shapes, gradients, arguments that they refuse, descriptions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gpucnn.backends import get_backend
from gpucnn.backends.contract.fused import LayerSpec
from gpucnn.backends.contract.window import conv_window, pool_window
from gpucnn.errors import SettingError
from gpucnn.nn import layers
from gpucnn.nn.layers import Layer
from gpucnn.nn.sequential import Sequential
from gpucnn.testing.derivatives import directional_derivative

BOUND = 1e-6

LAYERS: dict[str, tuple[Layer, tuple[int, int, int]]] = {
    "conv": (layers.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=1, groups=2), (2, 7, 6)),
    "conv same": (layers.Conv2d(3, 2, 4, padding="same", dilation=2, bias=False), (3, 8, 7)),
    "conv transpose": (
        layers.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (4, 4, 3),
    ),
    "linear": (layers.Linear(12, 5), (3, 2, 2)),
    "linear on rows": (layers.Linear(4, 3), (2, 3, 4)),
    "conv, sides": (layers.Conv2d(1, 2, (3, 2), stride=2, padding=((0, 2), (1, 0))), (1, 5, 6)),
    "pool, sides": (layers.MaxPool2d((2, 3), padding=((1, 0), (0, 1))), (2, 5, 6)),
    "max pool": (layers.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 7)),
    "avg pool": (layers.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 6, 7)),
    "adaptive avg pool": (layers.AdaptiveAvgPool2d((3, 2)), (2, 7, 5)),
    "global avg pool": (layers.AdaptiveAvgPool2d(1), (3, 4, 5)),
    "adaptive max pool": (layers.AdaptiveMaxPool2d((None, 3)), (2, 4, 7)),
    "upsample": (layers.Upsample(scale_factor=(2, 3)), (2, 3, 4)),
    "upsample to a size": (layers.Upsample((5, 7)), (2, 3, 4)),
    "sum pool": (layers.SumPool2d((2, 3)), (2, 6, 7)),
    "l1 pool": (layers.LPPool2d(1, 2), (2, 6, 4)),
    "l2 pool": (layers.LPPool2d(2, 3, stride=2, ceil_mode=True), (2, 6, 7)),
    "relu": (layers.ReLU(), (2, 3, 4)),
    "leaky relu": (layers.LeakyReLU(0.2), (2, 3, 4)),
    "elu": (layers.ELU(0.7), (2, 3, 4)),
    "gelu": (layers.GELU(), (2, 3, 4)),
    "gelu, tanh": (layers.GELU("tanh"), (2, 3, 4)),
    "silu": (layers.SiLU(), (2, 3, 4)),
    "softplus": (layers.Softplus(2.0, 1.0), (2, 3, 4)),
    "sigmoid": (layers.Sigmoid(), (2, 3, 4)),
    "tanh": (layers.Tanh(), (2, 3, 4)),
    "softmax": (layers.Softmax(), (5, 1, 2)),
    "flatten": (layers.Flatten(), (2, 3, 4)),
    "rows": (layers.Rows(), (2, 3, 4)),
    "rnn": (layers.RNN(8, 3, 2), (2, 3, 4)),
    "rnn, all states": (layers.RNN(8, 3, bias=False, return_sequences=True), (2, 3, 4)),
    "gru": (layers.GRU(8, 3, bias=False), (2, 3, 4)),
    "gru, all states": (layers.GRU(8, 3, 2, return_sequences=True), (2, 3, 4)),
    "dropout": (layers.Dropout(0.3), (2, 3, 4)),
    "dropout2d": (layers.Dropout2d(0.3), (5, 3, 4)),
    "residual": (
        layers.Residual(
            {"conv": layers.Conv2d(2, 3, 3, stride=2, padding=1), "tanh": layers.Tanh()},
            layers.Conv2d(2, 3, 1, stride=2),
        ),
        (2, 5, 6),
    ),
    "residual, identity": (layers.Residual([layers.Tanh(), layers.Conv2d(2, 2, 1)]), (2, 3, 4)),
    "concat": (
        layers.Concat(
            [
                layers.Conv2d(2, 3, 3, padding=1),
                None,
                [layers.Conv2d(2, 4, 1), layers.Residual(layers.Tanh())],
            ]
        ),
        (2, 3, 4),
    ),
    "batch norm 2d": (layers.BatchNorm2d(3), (3, 2, 4)),
    "batch norm 1d": (layers.BatchNorm1d(6), (3, 2, 1)),
    "batch norm, no statistics": (layers.BatchNorm2d(2, track_running_stats=False), (2, 2, 3)),
    "group norm": (layers.GroupNorm(2, 4), (4, 2, 3)),
    "layer norm": (layers.LayerNorm((2, 3, 4)), (2, 3, 4)),
    "layer norm of rows": (layers.LayerNorm(4, bias=False), (2, 3, 4)),
}


def test_every_layer_is_in_the_table() -> None:
    public = set(layers.__all__) - {"Buffer", "Layer", "Parameter", "TrainingPass"}
    assert public == {type(layer).__name__ for layer, _ in LAYERS.values()}


def in_a_model(layer: Layer, shape: tuple[int, int, int]) -> Sequential:
    features = isinstance(layer, layers.Linear) and shape[-1] != layer.in_features
    if features or isinstance(layer, layers.BatchNorm1d):
        stack: dict[str, Layer] = {"flatten": layers.Flatten(), "layer": layer}
    elif isinstance(layer, layers.RNN | layers.GRU):
        stack = {"rows": layers.Rows(), "layer": layer}
    else:
        stack = {"layer": layer}
    return Sequential(stack, shape, backend=get_backend("numpy", "float64"))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_layers(name: str) -> None:
    layer, shape = LAYERS[name]
    model = in_a_model(layer, shape)
    rng = np.random.default_rng(3)
    # Distinct values, evenly spaced and not near zero: no step crosses a kink or makes a tie.
    values = np.linspace(-1, 1, 2 * np.prod(shape)) + 0.01
    x = rng.permutation(values).reshape(2, *shape)
    weights = rng.normal(size=(2, *model.output_shape))

    training = layers.TrainingPass(5, np.array([1]))  # the same mask at every step

    def output(x: np.ndarray) -> float:
        return float(np.sum(model.forward(x, training)[0] * weights))

    _, saved = model.forward(x, training)
    grad = model.backward(weights, saved, input_grad=True)
    direction = rng.normal(size=x.shape)
    slope = directional_derivative(lambda t: output(x + t * direction), 2.0**-12)
    assert np.sum(grad * direction) == pytest.approx(slope, rel=BOUND)
    for key, parameter in model.named_parameters():
        start, direction = parameter.data.copy(), rng.normal(size=parameter.shape)

        def moved(t: float, data: object = parameter.data, at: tuple = (start, direction)) -> float:
            data[...] = at[0] + t * at[1]
            return output(x)

        slope = directional_derivative(moved, 2.0**-8)
        parameter.data[...] = start
        assert np.sum(parameter.grad * direction) == pytest.approx(slope, rel=BOUND), key


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_of_layers_are_those_of_their_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    model = in_a_model(layer, shape)
    assert model(np.ones((3, *shape))).shape == (3, *model.output_shape)


@pytest.mark.parametrize(
    "name", [n for n in LAYERS if not (LAYERS[n][0].random or LAYERS[n][0].buffers)]
)
def test_training_and_inference_give_the_same(name: str) -> None:
    layer, shape = LAYERS[name]
    model = in_a_model(layer, shape)
    x = np.random.default_rng(0).normal(size=(2, *shape))
    np.testing.assert_array_equal(model(x), model.forward(x, training=True)[0])


def test_a_layer_of_a_user_may_have_the_name_of_gpucnns_own() -> None:
    own = type("ReLU", (Layer,), {})
    assert (Layer.types["ReLU"], Layer.types["custom.ReLU"]) == (layers.ReLU, own)
    model = Sequential([own(), layers.ReLU()], (1, 2, 2))
    again = Sequential.from_config(json.loads(json.dumps(model.config())))
    assert [type(layer) for layer in again.layers.values()] == [own, layers.ReLU]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2d(0, 4, 3), "in_channels must be an integer"),
        (lambda: layers.Conv2d(3, 4, 3, groups=2), "groups 2 must divide in_channels 3"),
        (lambda: layers.Conv2d(1, 4, 0), "kernel_size must be at least 1"),
        (lambda: layers.Conv2d(1, 4, 3, stride=0), "stride must be at least 1"),
        (lambda: layers.Conv2d(1, 4, 3, stride=2, padding="same"), "needs a stride of 1"),
        (lambda: layers.Conv2d(1, 4, 3, padding="sam"), '"same" or "valid"'),
        (lambda: layers.Conv2d(1, 4, 3, init="uniforn"), "did you mean 'uniform'"),
        (lambda: layers.MaxPool2d(2, padding=2), "more than half of the kernel"),
        (lambda: layers.AdaptiveAvgPool2d(0), "output_size must be an integer of at least 1"),
        (lambda: layers.AdaptiveMaxPool2d((2, 3, 4)), r"got \(2, 3, 4\)"),
        (lambda: layers.AdaptiveMaxPool2d("7"), "got '7'"),
        (lambda: layers.AdaptiveMaxPool2d(None), "got None"),
        (lambda: layers.Upsample(), "expected size or scale_factor and not both"),
        (lambda: layers.Upsample(4, 2.0), "expected size or scale_factor and not both"),
        (lambda: layers.Upsample(scale_factor=(2,)), "scale_factor must be a number or a pair"),
        (lambda: layers.Upsample(scale_factor=0), "scale_factor must be greater than 0"),
        (lambda: layers.Upsample(0), "size must be at least 1"),
        (lambda: layers.Upsample(2, mode="bilinear"), 'mode must be "nearest"'),
        (lambda: layers.LPPool2d(3, 2), "norm_type must be 1 or 2"),
        (lambda: layers.ELU(-1.0), "alpha must be a finite number >= 0"),
        (lambda: layers.GELU("erf"), 'approximate must be "none" or "tanh", got \'erf\''),
        (lambda: layers.Softplus(0), "beta must be greater than 0"),
        (lambda: layers.Softplus(threshold=float("nan")), "threshold must be a finite number"),
        (lambda: layers.Linear(4, 0), "out_features must be an integer"),
        (lambda: layers.GRU(4, 0), "GRU: hidden_size must be an integer"),
        (lambda: layers.RNN(4, 2, 0), "RNN: num_layers must be an integer"),
        (lambda: layers.RNN(4, 2, nonlinearity="sigmoid"), '"tanh" or "relu", got \'sigmoid\''),
        (lambda: layers.RNN(4, 2, 1, "relu", bias="no"), "RNN: bias must be True or False"),
        (lambda: layers.BatchNorm2d(0), "num_features must be an integer"),
        (lambda: layers.BatchNorm1d(3, momentum=1.5), "momentum must be at most 1, got 1.5"),
        (lambda: layers.BatchNorm2d(3, eps=-1), "eps must be a finite number >= 0"),
        (lambda: layers.GroupNorm(2, 3), "num_groups 2 must divide num_channels 3"),
        (lambda: layers.LayerNorm(()), "must have at least one size"),
        (lambda: layers.Dropout(1.0), "p must be a finite number"),
        (lambda: layers.Dropout(float("nan")), "p must be a finite number"),
    ],
)
def test_layers_refuse_bad_arguments_when_they_are_made(make: object, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()  # type: ignore[operator]


def test_reprs_are_calls_without_defaults() -> None:
    assert repr(layers.Conv2d(1, 6, 5, padding=2)) == "Conv2d(1, 6, 5, padding=2)"
    assert repr(layers.LPPool2d(2, (2, 3), ceil_mode=True)) == "LPPool2d(2, (2, 3), ceil_mode=True)"
    assert repr(layers.Linear(4, 3, True, "lecun_uniform")) == "Linear(4, 3, init='lecun_uniform')"
    assert repr(layers.ReLU()) == "ReLU()"


class Doubled(layers.ReLU):
    """A custom layer: its class may compute anything."""


def test_only_gpucnns_own_layers_describe_themselves_to_backends() -> None:
    assert Doubled().spec((2, 3, 4)) is None
    assert layers.ReLU().spec((2, 3, 4)) == LayerSpec("relu", (2, 3, 4), (2, 3, 4))
    pool = layers.MaxPool2d((2, 3)).spec((2, 4, 6))
    assert pool is not None
    assert (pool.op, pool.output_shape) == ("max_pool2d", (2, 2, 2))
    assert pool.window == pool_window((4, 6), (2, 3), None, 0, 1, False)
    conv = layers.Conv2d(2, 4, 3, groups=2).spec((2, 5, 5))
    assert conv is not None
    assert (conv.op, conv.groups, conv.bias) == ("conv2d", 2, True)
    assert (conv.input_shape, conv.output_shape) == ((2, 5, 5), (4, 3, 3))
    assert conv.window == conv_window((5, 5), (3, 3), 1, 0, 1)
    linear = layers.Linear(4, 3, bias=False).spec((4,))
    assert linear == LayerSpec("linear", (4,), (3,))
    assert layers.Dropout().spec((4,)) is None
    assert layers.LeakyReLU(0.1).spec((4,)) is None, "LayerSpec has no slope"
