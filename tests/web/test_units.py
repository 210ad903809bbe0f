"""The arithmetic of a unit: what the page shows gives the output, for every unit of every layer."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from serving import scaled

from gpucnn import nn
from gpucnn.errors import SettingError
from gpucnn.nn.layers import Layer
from gpucnn.web.arithmetic import MOST_VALUES
from gpucnn.web.units import LAYERS, explain

SHAPE = (2, 6, 5)
PIXELS = np.random.default_rng(3).integers(0, 256, SHAPE, dtype=np.uint8)


def conv(*arguments: Any, **rest: Any) -> nn.Conv2d:
    return nn.Conv2d(2, 4, *arguments, **rest)


WEIGHTED = {
    "conv": conv(3),
    "padded": conv((3, 2), padding=(2, 1), bias=False),
    "strided": conv(3, stride=(2, 3), padding=1),
    "dilated": conv((2, 3), dilation=(3, 2), padding=2),
    "same": conv((4, 3), padding="same"),
    "uneven": conv(3, padding=((0, 2), (1, 0)), stride=2),
    "groups": nn.Conv2d(2, 2, 3, groups=2, padding=1),
    "depthwise": nn.Conv2d(2, 4, 3, groups=2, bias=False),
    "transposed": nn.ConvTranspose2d(2, 4, 3),
    "transposed, strided": nn.ConvTranspose2d(2, 4, 3, stride=(2, 3), padding=(1, 2)),
    "transposed, groups": nn.ConvTranspose2d(2, 4, (2, 3), 2, groups=2, output_padding=1),
    "transposed, gaps": nn.ConvTranspose2d(2, 4, 2, stride=3, dilation=2, bias=False),
    "linear on rows": nn.Linear(5, 3),
}
POOLS = {
    "max": nn.MaxPool2d(2),
    "max, padded": nn.MaxPool2d(3, 2, 1),
    "max, dilated": nn.MaxPool2d(2, 1, 1, dilation=3),
    "max, ceil": nn.MaxPool2d(2, 2, ceil_mode=True),
    "mean": nn.AvgPool2d((2, 3)),
    "mean, padded": nn.AvgPool2d(3, 2, 1),
    "mean, ceil": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "mean, of those inside": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "mean, by 5": nn.AvgPool2d(2, divisor_override=5),
    "mean, adaptive": nn.AdaptiveAvgPool2d((4, 2)),
    "mean, global": nn.AdaptiveAvgPool2d(1),
    "max, adaptive": nn.AdaptiveMaxPool2d((4, None)),
    "sum": nn.SumPool2d(3, 2, 1),
    "norm 1": nn.LPPool2d(1, 2),
    "norm 2": nn.LPPool2d(2, 3, 2, ceil_mode=True),
}
ELEMENTWISE = {
    "relu": nn.ReLU(),
    "leaky relu": nn.LeakyReLU(0.3),
    "elu": nn.ELU(0.7),
    "gelu": nn.GELU(),
    "gelu, approximate": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "softplus": nn.Softplus(3.0, 1.5),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "dropout": nn.Dropout(0.4),
    "dropout2d": nn.Dropout2d(0.4),
    "flatten": nn.Flatten(),
    "upsample": nn.Upsample((9, 10)),
}


def units_of(layer: Layer) -> list[tuple[dict[str, Any], np.ndarray, float]]:
    """Every unit of a layer on its own: its description, the layer's input, and its output."""
    model = scaled(nn.Sequential({"it": layer}, SHAPE, seed=5))
    outputs = model.feature_maps(PIXELS[None])["it"]
    source = PIXELS / 127.5 - 1
    if outputs.ndim == 3:
        outputs = outputs[:, None]  # a sequence is one map
    seen = (
        outputs[0].reshape(*outputs.shape[1:3], -1)
        if outputs.ndim > 2
        else outputs[0, :, None, None]
    )
    found = []
    for position in itertools.product(*map(range, seen.shape)):
        text = json.dumps(explain(model, PIXELS, "it", position), allow_nan=False)
        found.append((json.loads(text), source, float(seen[position])))
    return found


def array(found: dict[str, Any], name: str) -> np.ndarray:
    return np.array(found[name]["values"], float).reshape(found[name]["shape"])


def check_window(found: dict[str, Any], source: np.ndarray) -> None:
    """The inputs are the values of the source under the window, read one by one."""
    inputs, outside = array(found, "inputs"), math.nan if found["kind"] == "maximum" else 0.0
    expected = np.empty_like(inputs)
    top, left, bottom, right = found["window"]
    (down, across), (first, end) = found["step"], found["channels"]
    rows, columns = range(top, bottom, down), range(left, right, across)
    assert inputs.shape == (end - first, len(rows), len(columns))
    for (c, channel), (r, row), (s, column) in itertools.product(
        enumerate(range(first, end)), enumerate(rows), enumerate(columns)
    ):
        inside = 0 <= row < source.shape[1] and 0 <= column < source.shape[2]
        expected[c, r, s] = source[channel, row, column] if inside else outside
    np.testing.assert_allclose(inputs, expected, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
def test_products_and_bias_give_the_output(name: str) -> None:
    for found, source, output in units_of(WEIGHTED[name]):
        products = array(found, "inputs") * array(found, "weights")
        assert found["kind"] == "weighted"
        assert found["sum"] == pytest.approx(products.sum(), abs=1e-9)
        assert found["sum"] + (found["bias"] or 0) == pytest.approx(output, abs=1e-5)
        assert found["output"] == pytest.approx(output)
        assert str(products.shape[0]) in found["formula"]
        if "conv" in name or found["type"] == "Conv2d":
            check_window(found, source)


@pytest.mark.parametrize("name", POOLS)
def test_a_window_gives_the_output_of_pooling(name: str) -> None:
    for found, source, output in units_of(POOLS[name]):
        check_window(found, source)
        inputs = array(found, "inputs")
        if found["kind"] == "maximum":
            assert np.nanmax(inputs) == pytest.approx(output)
            continue
        power = 2 if "square" in found["formula"] else 1
        assert found["sum"] == pytest.approx((inputs**power).sum())
        _, _, divisor = found["formula"].partition(" / ")
        _, _, factor = found["formula"].partition(" * ")
        factor, result = factor.split(" / ")[0] or 1, output**power
        assert found["sum"] * int(factor) / int(divisor or 1) == pytest.approx(result, abs=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_layers_have_one_input(name: str) -> None:
    functions = {
        "relu": lambda x: max(x, 0),
        "leaky relu": lambda x: x if x > 0 else 0.3 * x,
        "elu": lambda x: x if x > 0 else 0.7 * math.expm1(x),
        "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
        "gelu, approximate": lambda x: (
            x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        ),
        "silu": lambda x: x / (1 + math.exp(-x)),
        "softplus": lambda x: x if 3 * x > 1.5 else math.log(1 + math.exp(3 * x)) / 3,
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "tanh": math.tanh,
    }
    function = functions.get(name, lambda x: x)
    for found, source, output in units_of(ELEMENTWISE[name]):
        (value,) = array(found, "inputs")
        top, left, _, _ = found["window"]
        assert value == pytest.approx(source[found["channels"][0], top, left], abs=1e-6)
        assert function(value) == pytest.approx(output, abs=1e-6)
        assert found["kind"] == "elementwise"


def test_softmax_has_all_channels_at_its_position() -> None:
    for found, source, output in units_of(nn.Softmax()):
        inputs = array(found, "inputs")
        np.testing.assert_allclose(inputs, source[:, found["row"], found["column"]], atol=1e-6)
        assert np.exp(inputs)[found["channel"]] / np.exp(inputs).sum() == pytest.approx(output)


def test_a_sum_has_the_outputs_of_both_paths() -> None:
    layers = {"conv": nn.Conv2d(2, 2, 3, padding=1), "relu": nn.ReLU()}
    for found, source, output in units_of(nn.Residual(layers)):
        inputs, at = array(found, "inputs"), (found["channel"], found["row"], found["column"])
        assert inputs.sum() == pytest.approx(output, abs=1e-6)
        assert inputs[1] == pytest.approx(source[at], abs=1e-6)
        assert found["formula"] == "the sum of the outputs of it.body.relu and input"


def test_a_unit_of_joined_branches_is_one_of_its_branch() -> None:
    branches = [nn.Conv2d(2, 3, 3, padding=1), None, {"max": nn.MaxPool2d(3, 1, 1)}]
    starts = {"it.branches.0": 0, "input": 3, "it.branches.2.max": 5}
    for found, source, output in units_of(nn.Concat(branches)):
        name = max((start, name) for name, start in starts.items() if start <= found["channel"])[1]
        channel = found["channel"] - starts[name]
        assert array(found, "inputs") == pytest.approx(output, abs=1e-6)
        assert (found["kind"], found["source"]) == ("elementwise", name)
        assert found["channels"] == [channel, channel + 1]
        if name == "input":
            assert output == pytest.approx(source[channel, found["row"], found["column"]], abs=1e-6)


RECURRENT: dict[str, nn.RNN | nn.GRU] = {
    "rnn": nn.RNN(10, 3, nonlinearity="relu"),
    "rnn, all states": nn.RNN(10, 4, 2, return_sequences=True),
    "gru": nn.GRU(10, 3, 2),
    "gru, all states": nn.GRU(10, 2, bias=False, return_sequences=True),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_products_of_input_and_state_give_the_output_of_recurrent_layers(name: str) -> None:
    layer = RECURRENT[name]
    model = scaled(nn.Sequential({"rows": nn.Rows(), "it": layer}, SHAPE, seed=5))
    outputs = model.feature_maps(PIXELS[None])["it"][0]
    for index in np.ndindex(*outputs.shape):
        position = (0, *index) if layer.return_sequences else (*index, 0, 0)
        found = explain(model, PIXELS, "it", position)
        products = array(found, "inputs") * array(found, "weights")
        total = products.sum() + (found["bias"] or 0)
        if isinstance(layer, nn.RNN):
            expected = math.tanh(total) if layer.nonlinearity == "tanh" else max(total, 0)
            assert found["formula"].startswith(f"{layer.nonlinearity}(the sum of ")
            assert expected == pytest.approx(outputs[index], abs=1e-5)
            continue
        _, terms, _ = re.split(" = |, ", found["formula"], maxsplit=2)
        kept, new, update, before = map(float, re.split(r" \* | \+ ", terms))
        state = array(found, "inputs")[-layer.hidden_size :]
        assert update == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-3)
        assert before == pytest.approx(state[index[-1]], abs=1e-3)
        assert kept * new + update * before == pytest.approx(outputs[index], abs=5e-3)


def test_rows_have_the_values_of_the_image() -> None:
    for found, source, output in units_of(nn.Rows()):
        (value,), (channel, _), (top, left, _, _) = (
            array(found, "inputs"), found["channels"], found["window"],
        )  # fmt: skip
        assert value == pytest.approx(output, abs=1e-6)
        assert source[channel, top, left] == pytest.approx(output, abs=1e-6)


NORMALIZED = {
    "batch norm": nn.BatchNorm2d(2, affine=False),
    "group norm": nn.GroupNorm(2, 2),
    "layer norm": nn.LayerNorm((2, 6, 5)),
    "layer norm of rows": nn.LayerNorm(5),
}


@pytest.mark.parametrize("name", NORMALIZED)
def test_normalised_units_have_the_values_that_they_are_normalised_by(name: str) -> None:
    """Weights are 1 and biases 0. Running statistics are numbers in the formula."""
    for found, source, output in units_of(NORMALIZED[name]):
        inputs, x = array(found, "inputs"), source[found["channel"], found["row"], found["column"]]
        if name == "batch norm":
            assert found["formula"] == "(x - 0) / sqrt(1 + 1e-05)"
            assert (found["kind"], inputs.size) == ("elementwise", 1)
            assert inputs[0] / math.sqrt(1 + 1e-5) == pytest.approx(output, abs=1e-6)
        else:
            expected = (x - inputs.mean()) / math.sqrt(inputs.var() + 1e-5)
            assert expected == pytest.approx(output, abs=1e-5)
            assert f"of the {inputs.size} values" in found["formula"]
            assert found["kind"] == "other"


def test_batch_norm_shows_its_weight_and_bias() -> None:
    layers = {"flatten": nn.Flatten(), "bn": nn.BatchNorm1d(60)}
    model = scaled(nn.Sequential(layers, SHAPE))
    state = model.state_dict()
    state |= {"bn.running_mean": np.full(60, 0.25), "bn.bias": np.full(60, -2.0)}
    model.load_state_dict(state)
    found = explain(model, PIXELS, "bn", (3, 0, 0))
    assert found["formula"] == "(x - 0.25) / sqrt(1 + 1e-05) * 1 + -2"


def test_every_layer_is_explained() -> None:
    explained = {type(layer) for layer in (WEIGHTED | POOLS | ELEMENTWISE | NORMALIZED).values()}
    explained |= {type(layer) for layer in RECURRENT.values()}
    explained |= {nn.Softmax, nn.BatchNorm1d, nn.Residual, nn.Concat, nn.Rows}
    assert explained == LAYERS.keys()
    own = {kind for kind in Layer.types.values() if kind.__module__.startswith("gpucnn.")}
    assert own == explained


def test_a_unit_of_a_later_layer_has_that_layers_inputs() -> None:
    layers = {"conv": conv(3), "relu": nn.ReLU(), "flatten": nn.Flatten(), "fc": nn.Linear(48, 3)}
    model = scaled(nn.Sequential(layers, SHAPE, seed=1))
    maps = model.feature_maps(PIXELS[None])
    found = explain(model, PIXELS, "fc", (2, 0, 0))
    np.testing.assert_allclose(array(found, "inputs"), maps["flatten"][0], rtol=1e-6)
    np.testing.assert_allclose(array(found, "weights"), layers["fc"].weights()[0][2], rtol=1e-6)
    assert (found["source"], found["source_shape"]) == ("flatten", (4, 4, 3))
    assert found["field"] == (0, 0, 6, 5)
    found = explain(model, PIXELS, "relu", (1, 2, 2))
    assert found["field"] == nn.receptive_field(model, "relu", 2, 2)
    assert found["source"] == "conv"
    assert explain(model, PIXELS, "conv", (0, 0, 0))["source"] == "input"


def test_of_many_inputs_the_largest_products_are_listed() -> None:
    count = MOST_VALUES + 2000
    layers = {"flatten": nn.Flatten(), "fc": nn.Linear(count, 2)}
    model = scaled(nn.Sequential(layers, (1, 8, count // 8), seed=1))
    pixels = np.random.default_rng(0).integers(0, 256, model.input_shape, dtype=np.uint8)
    found = explain(model, pixels, "fc", (1, 0, 0))
    products = model.feature_maps(pixels[None])["flatten"][0] * layers["fc"].weights()[0][1]
    listed = array(found, "inputs") * array(found, "weights")
    np.testing.assert_allclose(listed, products[found["indices"]], atol=1e-6)
    rest = np.delete(products, found["indices"])
    assert (found["count"], len(listed)) == (count, MOST_VALUES)
    assert np.abs(rest).max() <= np.abs(listed).min() + 1e-9
    assert found["sum"] == pytest.approx(products.sum(), rel=1e-4)


@pytest.mark.parametrize("position", [(4, 0, 0), (0, 4, 0), (0, 0, 3), (-1, 0, 0)])
def test_units_that_are_not_there_are_refused(position: tuple[int, int, int]) -> None:
    model = scaled(nn.Sequential({"conv": conv(3)}, SHAPE))
    with pytest.raises(SettingError, match=r"must be 0 to \d in layer 'conv', got"):
        explain(model, PIXELS, "conv", position)
    with pytest.raises(SettingError, match="did you mean 'conv'"):
        explain(model, PIXELS, "conf", (0, 0, 0))


@dataclass(eq=False)
class Twice(nn.Layer):
    def forward(self, be: Any, x: Any, training: Any = None) -> Any:
        return 2 * x, None


def test_custom_layers_and_nan_are_shown_as_what_they_are() -> None:
    model = scaled(nn.Sequential({"twice": Twice(), "conv": conv(3)}, SHAPE))
    found = explain(model, PIXELS, "twice", (1, 2, 2))
    assert (found["kind"], found["inputs"]) == ("other", None)
    assert "Twice" in found["formula"]
    model.layers["conv"].parameters["weight"].data[...] = np.nan
    found = explain(model, PIXELS, "conv", (1, 2, 2))
    assert found["output"] is None
    assert set(found["weights"]["values"]) == {None}
    json.dumps(found, allow_nan=False)
