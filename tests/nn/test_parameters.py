"""The parameters of a model: initial values, flat vectors, state dicts, copies and moves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from small import small_data, small_model

import gpucnn
from gpucnn.backends import get_backend
from gpucnn.errors import CheckpointError, SettingError
from gpucnn.nn import layers
from gpucnn.nn.sequential import Sequential
from gpucnn.optim import SGD, AdamW, Optimizer


@pytest.mark.parametrize("seed", [0, 3])
def test_initial_weights_are_a_function_of_the_seed(seed: int) -> None:
    """Parameter i comes from NumPy's generator for (seed, 0, i) and is scaled by its fan-in."""
    model = small_model(seed=seed)
    fan_in = {"conv": 9, "fc": 48}
    for index, (name, parameter) in enumerate(model.named_parameters()):
        drawn = np.random.default_rng([seed, 0, index]).uniform(-1, 1, parameter.shape)
        expected = drawn / np.sqrt(fan_in[name.split(".")[0]])
        np.testing.assert_array_equal(parameter.data, expected.astype(np.float32), name)
    assert model.seed == seed


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SettingError, match="seed must be an integer >= 0"):
        small_model(seed=-1)


@pytest.mark.parametrize(
    ("init", "deviation"),
    [
        ("uniform", 1 / np.sqrt(3 * 200)),
        ("kaiming_normal", np.sqrt(2 / 200)),
        ("xavier_uniform", np.sqrt(2 / 700)),
        ("lecun_uniform", 2.4 / 200 / np.sqrt(3)),
    ],
)
def test_initializers_have_their_deviation(init: str, deviation: float) -> None:
    model = Sequential([layers.Flatten(), layers.Linear(200, 500, init=init)], (1, 10, 20))
    weight = model.state_dict()["1.weight"]
    assert weight.std() == pytest.approx(deviation, rel=0.02)
    assert abs(weight.mean()) < 0.01 * deviation


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (layers.Linear(12, 5), 12, 5),
        (layers.Conv2d(4, 6, (3, 2), groups=2), 2 * 6, 6 * 6),
        (layers.ConvTranspose2d(4, 6, (3, 2), groups=2), 3 * 6, 4 * 6),
    ],
    ids=str,
)
def test_fans_are_those_of_pytorch(layer: layers.Layer, fan_in: int, fan_out: int) -> None:
    for parameter in layer.parameters.values():
        assert (parameter.fan_in, parameter.fan_out) == (fan_in, fan_out)


def test_parameters_and_gradients_are_views_of_two_flat_vectors() -> None:
    model = small_model()
    assert model.size == 3 * 9 + 3 + 48 * 4 + 4
    model.flat_parameters[...] = model.with_padding(np.arange(model.size))
    model.flat_grads[...] = model.with_padding(-np.arange(model.size))
    assert [name for name, _ in model.named_parameters()] == [
        "conv.weight",
        "conv.bias",
        "fc.weight",
        "fc.bias",
    ]
    for sign, part in ((1, "data"), (-1, "grad")):
        flat = np.concatenate([getattr(p, part).ravel() for p in model.parameters()])
        np.testing.assert_array_equal(flat, sign * np.arange(model.size))


def test_each_parameter_begins_at_a_multiple_of_32_bytes_and_padding_is_zero() -> None:
    model = small_model()
    assert model.flat_parameters.shape == model.flat_grads.shape == (32 + 8 + 192 + 8,)
    first = model.flat_parameters.ctypes.data
    offsets = [p.data.ctypes.data - first for p in model.parameters()]
    assert offsets == [4 * n for n in (0, 32, 40, 232)]
    model.flat_parameters[...] = np.arange(240)
    values = model.without_padding(model.flat_parameters)
    np.testing.assert_array_equal(values, np.r_[:27, 32:35, 40:232, 232:236])
    padded = model.with_padding(values)
    assert padded.shape == (240,)
    assert padded.sum() == values.sum()


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, momentum=0.9, weight_decay=0.1), AdamW(eps=0)])
def test_padding_stays_zero_in_training(optimizer: Optimizer, backend_name: str) -> None:
    model, settings = small_model(), {"batch_size": 35, "backend": backend_name}
    gpucnn.fit(model, small_data(), epochs=1, optimizer=optimizer, progress=False, **settings)
    states = [model.flat_parameters, model.flat_grads, *optimizer.state.values()]
    for state in map(model.backend.to_numpy, states):
        elements = model.without_padding(model.backend.asarray(state))
        assert np.count_nonzero(state) == np.count_nonzero(elements) > 100


def test_state_dict_round_trip_and_its_faults() -> None:
    model, other = small_model(seed=0), small_model(seed=1)
    state = model.state_dict()
    other.load_state_dict(state)
    assert other.seed is None
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


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_trains_on_its_own(duplicate: Callable[[Sequential], Sequential]) -> None:
    """It has the values, the seed, the next dropout mask, and flat vectors and plans of its own."""
    model = small_model(seed=5)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 1, 8, 8)).astype(np.float32)
    grad = rng.standard_normal((6, 4)).astype(np.float32)
    model.forward(x, training=True)
    other = duplicate(model)
    assert other.seed == 5
    for each in (model, other):
        _, saved = each.forward(x, training=True)
        each.backward(grad, saved)
    np.testing.assert_array_equal(other.flat_grads, model.flat_grads)
    before = model(x)
    other.flat_parameters -= other.flat_grads
    assert np.any(other(x) != before)
    np.testing.assert_array_equal(model(x), before)


def test_a_model_moves_between_backends() -> None:
    model = small_model(seed=2)
    x = np.random.default_rng(0).normal(size=(2, 1, 8, 8))
    single = model(x.astype(np.float32))
    assert model.to(get_backend("numpy", "float64")) is model
    double = model(x)
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-5)
    assert model.to("numpy").backend.dtype == np.float64, "a name keeps the dtype"
    np.testing.assert_array_equal(model(x), double)
    assert model.seed == 2
