"""Sequential and the models: parameters, state, descriptions, prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
from differences import directional_derivative
from small import blobs, small_data, small_model

from gpucnn import models
from gpucnn.backends import get_backend
from gpucnn.config import describe
from gpucnn.errors import CheckpointError, DataError, SettingError, ShapeError
from gpucnn.nn import layers, losses
from gpucnn.nn.sequential import Sequential
from gpucnn.nn.summary import SummaryRow


def test_lenet5_is_lenet5() -> None:
    model = models.lenet5()
    assert model.size == 61_706
    summary = model.summary()
    assert summary.parameters == 61_706
    assert summary.multiply_adds == 416_520
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


def test_summary_of_lenet5() -> None:
    def seen(row: SummaryRow) -> tuple[int, float, float] | None:
        field = row.receptive_field
        return None if field is None else (field[0].size, field[0].stride, field[0].centre)

    rows = {row.name: row for row in models.lenet5().summary().rows}
    assert rows["conv1"].output_shape == (6, 28, 28)
    assert rows["conv1"].multiply_adds == 6 * 28 * 28 * 25
    assert seen(rows["conv1"]) == (5, 1, 0.5)
    assert seen(rows["pool1"]) == (6, 2, 1.0)
    assert seen(rows["conv2"]) == (14, 2, 5.0)
    assert seen(rows["pool2"]) == (16, 4, 6.0)
    assert seen(rows["fc1"]) is None
    assert rows["fc1"].parameters == 48_120
    text = str(models.lenet5().summary()).splitlines()
    assert " ".join(text[1].split()) == "conv1 Conv2d 6x28x28 156 117,600 5x5, stride 1"
    assert text[-1].split() == ["total", "61,706", "416,520"]
    assert max(map(len, text)) <= 80


@pytest.mark.parametrize("name", models.MODELS)
def test_models_take_other_shapes(name: str) -> None:
    model = models.MODELS[name](channels=3, size=(20, 36), classes=7)
    assert model(np.zeros((2, 3, 20, 36), np.float32)).shape == (2, 7)
    with pytest.raises(ShapeError, match="at least"):
        models.MODELS[name](size=0)


LOSSES = [kind() for kind in losses.LOSSES.values()]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "small_cnn"])
def test_gradients_of_models_and_losses(name: str, loss: losses.Loss) -> None:
    """The derivative of a model's loss along a direction in all its parameters at once."""
    be = get_backend("numpy", "float64")
    model = models.MODELS[name](channels=1, size=12, classes=4, seed=2).to(be)
    if isinstance(loss, losses.BCELoss):
        stack = {**model.layers, "sigmoid": layers.Sigmoid()}
        model = Sequential(stack, model.input_shape, seed=2, backend=be)
    rng = np.random.default_rng(4)
    x, target = rng.normal(size=(3, 1, 12, 12)), np.array([0, 3, 1])

    def value(t: float) -> float:
        model.flat_parameters[...] = start + t * direction
        model.seed_dropout(1, 0)
        return float(loss.forward(be, model.forward(x, training=True)[0], target))

    start = model.flat_parameters.copy()
    direction = rng.normal(size=model.size)
    value(0.0)
    model.seed_dropout(1, 0)
    scores, saved = model.forward(x, training=True)
    model.backward(loss.backward(be, scores, target), saved)
    analytic = float(model.flat_grads @ direction)
    # The step is small, as few ReLUs and maxima as possible may change sides on the way.
    assert analytic == pytest.approx(directional_derivative(value, 2.0**-17), rel=1e-6)


def test_weights_are_a_function_of_the_seed() -> None:
    one, same, other = models.lenet5(seed=1), models.lenet5(seed=1), models.lenet5(seed=2)
    for key, value in one.state_dict().items():
        np.testing.assert_array_equal(value, same.state_dict()[key])
        assert np.all(value != other.state_dict()[key])
    weight = one.state_dict()["fc1.weight"]
    assert np.abs(weight).max() <= 1 / 20
    assert np.abs(weight).max() == pytest.approx(1 / 20, rel=1e-3)
    with pytest.raises(SettingError, match="seed must be 0 or more"):
        models.lenet5(seed=-1)


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("uniform", 1 / np.sqrt(3 * 200)),
        ("kaiming_normal", np.sqrt(2 / 200)),
        ("xavier_uniform", np.sqrt(2 / 700)),
        ("lecun_uniform", 2.4 / 200 / np.sqrt(3)),
    ],
)
def test_initialisers_have_their_deviation(init: str, deviation: float) -> None:
    model = Sequential([layers.Flatten(), layers.Linear(200, 500, init=init)], (1, 10, 20))
    weight = model.state_dict()["1.weight"]
    assert weight.std() == pytest.approx(deviation, rel=0.02)
    assert abs(weight.mean()) < 0.01 * deviation


def test_state_dict_round_trip_and_its_faults() -> None:
    model, other = small_model(seed=0), small_model(seed=1)
    state = model.state_dict()
    other.load_state_dict(state)
    assert all(np.array_equal(other.state_dict()[key], state[key]) for key in state)
    state["fc.bias"][...] = 7  # a copy: the model does not change
    assert not np.any(model.state_dict()["fc.bias"] == 7)
    del state["conv.bias"]
    state["extra"] = np.zeros(3)
    state["fc.weight"] = state["fc.weight"].T
    before = other.state_dict()
    with pytest.raises(CheckpointError) as error:
        other.load_state_dict(state)
    assert str(error.value) == (
        "parameters do not fit the model: conv.bias is missing; extra is unknown; "
        "fc.weight has shape (48, 4), expected (4, 48)"
    )
    assert all(np.array_equal(other.state_dict()[key], before[key]) for key in before)


@pytest.mark.parametrize("name", models.MODELS)
def test_config_builds_the_same_model(name: str) -> None:
    model = models.MODELS[name]()
    again = Sequential.from_config(json.loads(json.dumps(model.config())))
    again.load_state_dict(model.state_dict())
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert again.config() == model.config()


def test_a_pair_survives_json() -> None:
    layer = layers.Conv2d(1, 2, (3, 5), stride=[1, 2])
    model = Sequential([layer], (1, 9, 9))
    again = Sequential.from_config(json.loads(json.dumps(model.config())))
    assert again.output_shape == model.output_shape
    assert describe(layer)["kernel_size"] == (3, 5)


def test_from_config_names_the_nearest_layer() -> None:
    config = {"input_shape": [1, 8, 8], "layers": [{"name": "a", "type": "Relu"}]}
    with pytest.raises(SettingError, match="unknown layer 'Relu': did you mean 'ReLU'"):
        Sequential.from_config(config)


def test_sequential_refuses_what_is_no_network() -> None:
    relu = layers.ReLU()
    with pytest.raises(SettingError, match="layers '0' and '1' are the same object"):
        Sequential([relu, relu], (1, 8, 8))
    with pytest.raises(SettingError, match="at least one layer"):
        Sequential([], (1, 8, 8))
    with pytest.raises(ShapeError, match="input_shape"):
        Sequential([relu], (8, 8))
    with pytest.raises(ShapeError, match=r"takes \(N, 1, 8, 8\), got \(2, 1, 9, 8\)"):
        Sequential([relu], (1, 8, 8)).forward(np.zeros((2, 1, 9, 8), np.float32))


def test_predict() -> None:
    model = small_model()
    images = blobs(5).images
    with pytest.raises(SettingError, match="normalization"):
        model.predict(images)
    model.normalization = small_data().statistics()
    probabilities = model.predict(images)
    assert probabilities.shape == (5, 4)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(model.predict(images[:, 0], batch_size=2), probabilities, rtol=1e-5)
    (mean,), (std,) = model.normalization
    x = ((images / 255 - mean) / std).astype(np.float32)
    scores = model(x)
    np.testing.assert_array_equal(scores.argmax(1), probabilities.argmax(1))
    with pytest.raises(DataError, match="uint8"):
        model.predict(images / 255)
    with pytest.raises(DataError, match=r"\(N, 1, 8, 8\)"):
        model.predict(images[:, :, :4])


def test_a_model_moves_between_backends() -> None:
    model = small_model()
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8))
    single = model(x.astype(np.float32))
    double = model.to(get_backend("numpy", "float64"))(x)
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
