"""Normalisation layers: running statistics, evaluation, faults, and PyTorch's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn.backends import Backend
from gpucnn.errors import SettingError, ShapeError
from gpucnn.nn import BatchNorm1d, BatchNorm2d, Flatten, GroupNorm, LayerNorm, Linear, Sequential
from gpucnn.nn.layers import Layer, TrainingPass
from gpucnn.training.times import layer_times

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (5, 3, 4, 4))


def model_of(layer: Layer, backend: Backend, shape: tuple[int, ...] = (3, 4, 4)) -> Sequential:
    layers = {"it": layer} if shape[1:] != (1, 1) else {"flatten": Flatten(), "it": layer}
    return Sequential(layers, shape, backend=backend)


def host(model: Sequential, x: np.ndarray, training: Any = False) -> np.ndarray:
    return model.backend.to_numpy(model.forward(model.backend.asarray(x), training)[0])


def test_training_normalises_by_the_batch_and_inference_by_the_running(backend: Backend) -> None:
    model = model_of(BatchNorm2d(3), backend)
    y = host(model, X, True)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-4)
    state = model.state_dict()
    mean, var = X.mean((0, 2, 3)), X.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(state["it.running_mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(state["it.running_var"], 0.9 + 0.1 * var, rtol=1e-5)
    assert state["it.num_batches_tracked"] == 1
    wanted = (X - 0.1 * mean[:, None, None]) / np.sqrt(0.9 + 0.1 * var[:, None, None] + 1e-5)
    np.testing.assert_allclose(host(model, X), wanted, rtol=1e-4, atol=1e-5)
    assert model.state_dict()["it.num_batches_tracked"] == 1  # inference changes nothing


def test_without_momentum_running_statistics_are_means(backend: Backend) -> None:
    model = model_of(BatchNorm2d(3, momentum=None), backend)
    batches = [X, X[:2] - 1, 2 * X]
    for batch in batches:
        host(model, batch, True)
    state, means = model.state_dict(), [batch.mean((0, 2, 3)) for batch in batches]
    np.testing.assert_allclose(state["it.running_mean"], np.mean(means, 0), rtol=1e-5)
    assert state["it.num_batches_tracked"] == 3


def test_evaluation_has_the_gradient_of_inference_and_changes_nothing(backend64: Backend) -> None:
    model = model_of(BatchNorm2d(3), backend64)
    host(model, X, True)
    before = model.state_dict()
    x, grad = backend64.asarray(X), backend64.asarray(RNG.normal(size=X.shape))
    output, saved = model.forward(x, TrainingPass(0, evaluation=True))
    np.testing.assert_array_equal(backend64.to_numpy(output), host(model, X))
    found = backend64.to_numpy(model.backward(grad, saved, input_grad=True))
    scale = 1 / np.sqrt(before["it.running_var"] + 1e-5)
    wanted = backend64.to_numpy(grad) * scale[:, None, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    after = model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_running_statistics_stay_finite(backend32: Backend, bad: float) -> None:
    """A channel keeps its own; the others take those of the batch."""
    model, x = model_of(BatchNorm2d(3), backend32), X.astype(np.float32)
    x[1, 1, 2, 3] = bad
    with np.errstate(all="ignore"):
        host(model, x, True)
    state = model.state_dict()
    assert (state["it.running_mean"][1], state["it.running_var"][1]) == (0, 1)
    assert (state["it.running_mean"][[0, 2]] != 0).all()


def test_numbers_far_from_zero_keep_their_variance(backend32: Backend) -> None:
    """The difference of mean squares of such numbers has no correct digit in float32."""
    x = (1e4 + RNG.normal(0, 1, (6, 3, 8, 8))).astype(np.float32)
    for shape in ((6, 3, 8, 8), (384, 3)):
        given = backend32.asarray(np.ascontiguousarray(x.reshape(shape)))
        _, mean, invstd = map(backend32.to_numpy, backend32.batch_norm(given))
        axes = tuple(axis for axis in range(len(shape)) if axis != 1)
        exact = x.reshape(shape).astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(axes), rtol=2.0**-23)
        np.testing.assert_allclose(invstd, 1 / np.sqrt(exact.var(axes) + 1e-5), rtol=1e-5)


def test_one_value_of_each_channel_is_refused_in_training(backend: Backend) -> None:
    model = model_of(BatchNorm1d(3), backend, (3, 1, 1))
    assert host(model, X[:1, :, :1, :1]).shape == (1, 3)
    message = r"expected more than 1 value per channel in training, got input of shape \(1, 3\)"
    with pytest.raises(ShapeError, match=message):
        host(model, X[:1, :, :1, :1], True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (BatchNorm2d(4), r"expected \(4, H, W\), got \(3, 4, 4\)"),
        (BatchNorm1d(3), r"expected \(3,\) or \(3, L\), got \(3, 4, 4\)"),
        (GroupNorm(2, 4), r"expected \(4, \.\.\.\), got"),
        (LayerNorm((4, 5)), r"expected \(\.\.\., 4, 5\), got"),
    ],
    ids=repr,
)
def test_inputs_of_another_shape_are_refused(layer: Layer, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Sequential({"it": layer}, (3, 4, 4))


def test_layers_without_parameters_cannot_be_trained_alone() -> None:
    model = Sequential([GroupNorm(1, 3, affine=False), LayerNorm(4, elementwise_affine=False)],
                       (3, 4, 4))  # fmt: skip
    assert not model.size
    assert not model.state_dict()


def test_receptive_fields() -> None:
    def field(layer: Layer) -> str:
        return Sequential({"it": layer}, (3, 4, 4)).summary().rows[0].cells[-1]

    assert field(BatchNorm2d(3)) == "1x1, stride 1"
    assert field(GroupNorm(1, 3)) == field(LayerNorm((3, 4, 4))) == "whole image"
    assert field(LayerNorm(4)) == "1x4, stride 1x0"


def test_the_contract_checks_statistics(backend32: Backend) -> None:
    x, three = backend32.zeros((2, 3)), backend32.zeros((3,))
    with pytest.raises(SettingError, match="momentum None needs num_batches_tracked"):
        backend32.batch_norm(x, three, three, momentum=None)
    with pytest.raises(SettingError, match="give both running_mean and running_var"):
        backend32.batch_norm(x, three)
    with pytest.raises(SettingError, match="num_groups 2 must divide 3 channels"):
        backend32.group_norm(x, 2)
    with pytest.raises(ShapeError, match=r"input \(2, 3\) does not end in \(4,\)"):
        backend32.layer_norm(x, (4,))
    with pytest.raises(SettingError, match="eps must be a number of at least 0"):
        backend32.layer_norm(x, (3,), eps=-1.0)


def test_measuring_times_changes_no_statistics() -> None:
    model = model_of(BatchNorm2d(3), gpucnn.get_backend("numpy"))
    before = model.state_dict()
    layer_times(model, 2, rounds=2)
    after = model.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)


# --- PyTorch ------------------------------------------------------------------------------------

THEIRS = {
    "bn": (BatchNorm2d(3), "BatchNorm2d(3)", (3, 4, 4)),
    "means": (BatchNorm2d(3, momentum=None), "BatchNorm2d(3, momentum=None)", (3, 4, 4)),
    "plain": (
        BatchNorm2d(3, 0.1, 0.3, False, False), "BatchNorm2d(3, 0.1, 0.3, False, False)", (3, 4, 4)
    ),
    "features": (BatchNorm1d(48), "BatchNorm1d(48)", (48, 1, 1)),
    "group": (GroupNorm(3, 3), "GroupNorm(3, 3)", (3, 4, 4)),
    "layer": (LayerNorm((3, 4, 4)), "LayerNorm((3, 4, 4))", (3, 4, 4)),
    "rows": (LayerNorm(4, bias=False), "LayerNorm(4, bias=False)", (3, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_are_those_of_pytorch(name: str, dtype: str) -> None:
    """State, three passes in training with their gradients, and one in inference."""
    torch = pytest.importorskip("torch")
    layer, call, shape = THEIRS[name]
    theirs = eval(f"torch.nn.{call}", {"torch": torch}).double()
    model = model_of(layer, gpucnn.get_backend("numpy", dtype), shape)
    model.initialize(0)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-4}

    def check_state() -> None:
        state, wanted = model.state_dict(), theirs.state_dict()
        assert [key.removeprefix("it.") for key in state] == list(wanted)
        for key, value in wanted.items():
            assert state[f"it.{key}"].shape == tuple(value.shape)
            np.testing.assert_allclose(state[f"it.{key}"], value.numpy(), **tolerance)

    check_state()
    for scale in (1, 2, 3):
        x, grad = scale * X.reshape(5, *shape), RNG.normal(size=(5, *shape))
        given = torch.from_numpy(x.reshape(5, 48) if shape[1] == 1 else x).requires_grad_()
        wanted = theirs(given)
        theirs.zero_grad()
        wanted.backward(torch.from_numpy(grad.reshape(given.shape)))
        be = model.backend
        output, saved = model.forward(be.asarray(x), True)
        found = model.backward(be.asarray(grad.reshape(output.shape)), saved, input_grad=True)
        np.testing.assert_allclose(output, wanted.detach().numpy(), **tolerance)
        np.testing.assert_allclose(found.reshape(given.shape), given.grad.numpy(), **tolerance)
        for key, parameter in model.named_parameters():
            theirs_grad = dict(theirs.named_parameters())[key.removeprefix("it.")].grad
            np.testing.assert_allclose(parameter.grad, theirs_grad.numpy(), **tolerance)
        check_state()
    wanted = theirs.eval()(given)
    np.testing.assert_allclose(host(model, x), wanted.detach().numpy(), **tolerance)


def test_a_linear_network_with_batch_norm_has_pytorchs_names() -> None:
    model = Sequential({"f": Flatten(), "fc": Linear(4, 3), "bn": BatchNorm1d(3)}, (1, 2, 2))
    assert list(model.state_dict())[2:] == [
        "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked"
    ]  # fmt: skip
