"""A plan computes what its layers compute one after the other; passes do not share memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpucnn
from gpucnn.backends import Backend, get_backend
from gpucnn.backends.contract.fused import LayerSpec
from gpucnn.backends.numpy import fused
from gpucnn.errors import ArrayError, SettingError, ShapeError
from gpucnn.nn import plan as plans
from gpucnn.nn.chain import MOST_PLANS
from gpucnn.nn.folding import fold
from gpucnn.nn.layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Tanh,
    TrainingPass,
)
from gpucnn.nn.losses import CrossEntropyLoss
from gpucnn.nn.plan import Block, FusedBlock
from gpucnn.nn.sequential import Sequential


def network(
    conv: Conv2d, plane: tuple[int, int], pool: MaxPool2d | None = None, relu: bool = True
) -> Sequential:
    layers = {"conv": conv, **({"relu": ReLU()} if relu else {}), "pool": pool or MaxPool2d(2)}
    return Sequential(layers, (conv.in_channels, *plane), backend=get_backend("numpy", "float64"))


def by_layers(model: Sequential, x: np.ndarray, grad: np.ndarray) -> list[np.ndarray]:
    """Return output, input gradient and parameter gradients, one layer after the other."""
    be = model.backend
    outputs, kept = x, []
    for layer in model.layers.values():
        outputs, saved = layer.forward(be, outputs, TrainingPass(0))
        kept.append((layer, saved))
    for layer, saved in reversed(kept):
        grad = layer.backward(be, grad, saved)
    return [outputs, grad, *(parameter.grad.copy() for parameter in model.parameters())]


def plan(model: Sequential, samples: int, training: bool = False) -> Mapping[int, Block]:
    return model.chain.plan(model.backend, (samples, *model.input_shape), training)


def is_fused(model: Sequential, samples: int, training: bool = False) -> bool:
    return [type(block) for block in plan(model, samples, training).values()] == [FusedBlock]


def by_plan(model: Sequential, x: np.ndarray, grad: np.ndarray) -> list[np.ndarray]:
    outputs, saved = model.forward(x, training=True)
    input_grad = model.backward(grad, saved, input_grad=True)
    return [outputs, input_grad, *(parameter.grad.copy() for parameter in model.parameters())]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_fused_block_computes_what_its_layers_compute(data: st.DataObject) -> None:
    size = st.integers(1, 5)
    kernel = data.draw(st.tuples(size, size), "kernel")
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)), "padding")
    least = [max(1, k + 1 - 2 * p) for k, p in zip(kernel, padding, strict=True)]
    plane = tuple(low + data.draw(st.integers(0, 6), "more") for low in least)
    channels, outputs, samples = (data.draw(st.integers(1, 4), name) for name in "COn")
    bias = data.draw(st.booleans(), "bias")
    conv = Conv2d(channels, outputs, kernel, padding=padding, bias=bias)
    model = network(conv, plane, relu=data.draw(st.booleans(), "relu"))
    strip = data.draw(st.sampled_from([1, 2000, fused.STRIP_BYTES]), "strip")
    with patch.object(fused, "STRIP_BYTES", strip):  # one row, some or all at a time
        assert is_fused(model, samples, True)
        assert is_fused(model, samples)
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    for _ in range(2):  # the second time in memory that holds old values
        x = rng.standard_normal((samples, *model.input_shape))
        grad = rng.standard_normal((samples, *model.output_shape))
        wanted = by_layers(model, x, grad)
        np.testing.assert_allclose(model(x), wanted[0], rtol=1e-11, atol=1e-11)
        for one, other in zip(by_plan(model, x, grad), wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_a_plan_for_evaluation_has_no_backward() -> None:
    model = network(Conv2d(1, 1, 3), (6, 6))
    be, (block,) = model.backend, plan(model, 2).values()
    _, saved = block.forward(be, np.ones((2, 1, 6, 6)), TrainingPass(0))
    with pytest.raises(SettingError, match="plan for training"):
        block.backward(be, np.ones((2, 1, 2, 2)), saved)


def normalized(backend: Backend, **options: Any) -> Sequential:
    layers: dict[str, Layer] = {
        "conv": Conv2d(2, 3, 3, bias=False), "bn": BatchNorm2d(3, **options), "relu": ReLU(),
        "pool": MaxPool2d(2), "conv2": Conv2d(3, 4, 2), "bn2": BatchNorm2d(4), "relu2": ReLU(),
        "flatten": Flatten(), "fc": Linear(16, 5), "bn3": BatchNorm1d(5),
    }  # fmt: skip
    return with_other_state(Sequential(layers, (2, 8, 8), backend=backend), 0)


def with_other_state(model: Sequential, seed: int) -> Sequential:
    rng = np.random.default_rng(seed)
    model.load_state_dict({k: rng.uniform(0.2, 1, v.shape) for k, v in model.state_dict().items()})
    return model


def test_batch_norm_in_inference_is_folded_into_the_weights_of_each_call(backend: Backend) -> None:
    model = normalized(backend)
    assert list(plan(model, 3)) == [0, 4, 7, 8]
    x = backend.asarray(np.random.default_rng(1).standard_normal((3, 2, 8, 8)))
    for seed in (1, 2):
        with_other_state(model, seed)
        wanted = x
        for layer in model.layers.values():
            wanted, _ = layer.forward(backend, wanted)
        tolerance = 1e-12 if backend.dtype == np.float64 else 1e-5
        found, wanted = backend.to_numpy(model(x)), backend.to_numpy(wanted)
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_what_cannot_be_folded_is_not() -> None:
    class Subclass(BatchNorm2d):
        """May compute anything."""

    numpy = get_backend("numpy", "float64")
    assert list(plan(normalized(numpy, track_running_stats=False), 3)) == [0, 1, 4, 7, 8]
    conv = Conv2d(2, 3, 3)
    model = Sequential({"conv": conv, "bn": Subclass(3)}, (2, 8, 8), backend=numpy)
    assert list(plan(model, 3)) == [0, 1]
    assert fold(Linear(4, 3), BatchNorm1d(2), (2, 4)) is None, "channels are another axis"


def test_batch_norm_relu_and_pooling_in_training_are_one_block() -> None:
    model = normalized(get_backend("numpy", "float64"))
    assert list(plan(model, 3, training=True)) == [0, 1, 4, 5, 7, 8, 9]
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((6, 2, 8, 8)), rng.standard_normal((6, 5))
    for one, other in zip(by_plan(model, x, grad), by_layers(model, x, grad), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_padding_may_be_same() -> None:
    model = network(Conv2d(2, 3, (4, 3), padding="same"), (7, 6))
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((5, 2, 7, 6)), rng.standard_normal((5, 3, 3, 3))
    for one, other in zip(by_plan(model, x, grad), by_layers(model, x, grad), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("relu", [False, True])
def test_ties_go_to_the_first_element_in_a_fused_block(relu: bool) -> None:
    model = network(Conv2d(1, 1, 1), (4, 4), relu=relu)
    model.load_state_dict({"conv.weight": np.ones((1, 1, 1, 1)), "conv.bias": np.zeros(1)})
    for pattern in np.ndindex(2, 2, 2, 2):
        x = np.tile(np.reshape(pattern, (2, 2)) + 1.0, (2, 2))[None, None]
        grad = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
        one, other = by_plan(model, x, grad)[1], by_layers(model, x, grad)[1]
        np.testing.assert_array_equal(one, other)


def test_negative_outputs_get_no_gradient() -> None:
    model = network(Conv2d(1, 1, 1), (2, 2))
    model.load_state_dict({"conv.weight": -np.ones((1, 1, 1, 1)), "conv.bias": np.zeros(1)})
    output, input_grad, weight_grad, bias_grad = by_plan(
        model, np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))
    )
    assert not output.any()
    assert not input_grad.any()
    assert weight_grad == bias_grad == 0


def test_negative_outputs_without_relu_get_their_gradient() -> None:
    model = network(Conv2d(1, 1, 1), (2, 2), relu=False)
    model.load_state_dict({"conv.weight": -np.ones((1, 1, 1, 1)), "conv.bias": np.zeros(1)})
    assert is_fused(model, 1, True)
    output, input_grad, *grads = by_plan(model, np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1)))
    assert (output.item(), [grad.item() for grad in grads]) == (-1, [1, 1])
    np.testing.assert_array_equal(input_grad, [[[[-1, 0], [0, 0]]]])


@pytest.mark.parametrize("relu", [False, True])
def test_a_nan_passes_through_a_fused_block(relu: bool) -> None:
    model = network(Conv2d(1, 2, 3, padding=1), (6, 6), relu=relu)
    x = np.zeros((2, 1, 6, 6))
    x[1, 0, 3, 3] = np.nan
    output = model(x)
    assert np.isfinite(output[0]).all()
    assert np.isnan(output[1]).any()


class Doubled(Conv2d):
    """A custom layer that computes something else."""

    def forward(self, be: Backend, x: np.ndarray, training: object = None) -> tuple:
        output, saved = super().forward(be, x, training)
        return 2 * output, saved


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2d(2, 2, 3, stride=2), ReLU(), MaxPool2d(2)],
        [Conv2d(2, 2, 3, dilation=2), ReLU(), MaxPool2d(2)],
        [Conv2d(2, 2, 3, groups=2), ReLU(), MaxPool2d(2)],
        [Conv2d(2, 2, 3), ReLU(), MaxPool2d(3)],
        [Conv2d(2, 2, 3), ReLU(), MaxPool2d(2, stride=1)],
        [Conv2d(2, 2, 3), ReLU(), MaxPool2d(2, padding=1)],
        [Conv2d(2, 2, 3), ReLU(), MaxPool2d(2, dilation=2)],
        [Conv2d(2, 2, 2), ReLU(), MaxPool2d(2, ceil_mode=True)],
        [Conv2d(2, 2, 3), ReLU(), AvgPool2d(2)],
        [Conv2d(2, 2, 3), Tanh(), MaxPool2d(2)],
        [Conv2d(2, 2, 3), ReLU()],
        [Conv2d(2, 16, 1), ReLU(), Conv2d(16, 2, 3), ReLU(), MaxPool2d(2)],  # does not pay
        [Conv2d(2, 16, 1), Conv2d(16, 2, 3), MaxPool2d(2)],
        [Doubled(2, 2, 3), ReLU(), MaxPool2d(2)],
        [Doubled(2, 2, 3), MaxPool2d(2)],
    ],
    ids=str,
)
def test_layers_that_cannot_be_fused_are_not(layers: list[gpucnn.nn.Layer]) -> None:
    model = Sequential(layers, (2, 12, 12), backend=get_backend("numpy", "float64"))
    for block in plan(model, 3).values():
        assert not isinstance(block, FusedBlock)
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((3, 2, 12, 12)), rng.standard_normal((3, *model.output_shape))
    for one, other in zip(by_plan(model, x, grad), by_layers(model, x, grad), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("first", [Conv2d(2, 3, 3, stride=2), Linear(72, 5)], ids=str)
def test_a_relu_is_fused_with_the_layer_before_it(
    first: Conv2d | Linear, backend64: Backend
) -> None:
    """To the same bits, forward and backward, also for NaN and infinity."""
    start: list[Layer] = [Flatten()] if isinstance(first, Linear) else []
    model = Sequential([*start, first, ReLU()], (2, 6, 6), backend=backend64)
    be, rng = model.backend, np.random.default_rng(0)
    assert list(plan(model, 4)) == ([0, 1] if start else [0])
    x = rng.standard_normal((4, 2, 6, 6))
    x[0, 0, 0, 0], x[1, 0, 0, 0] = np.nan, -np.inf
    x, grad = be.asarray(x), be.asarray(rng.standard_normal((4, *model.output_shape)))
    for one, other in zip(by_plan(model, x, grad), by_layers(model, x, grad), strict=True):
        np.testing.assert_array_equal(be.to_numpy(one), be.to_numpy(other))
    assert np.isnan(be.to_numpy(model(x))[0]).any()


class OwnLoss(CrossEntropyLoss):
    """A custom loss: its class may compute anything."""


def test_gradients_are_fused_only_for_gpucnns_own_layers_and_losses() -> None:
    asked = []

    def fuse_gradients(specs: list[LayerSpec], loss: str, samples: int) -> str:
        asked.append(([spec.op for spec in specs], loss, samples))
        return "fused"

    be: Any = SimpleNamespace(fuse_gradients=fuse_gradients)
    own = {"flatten": Flatten(), "fc": Linear(64, 3)}
    custom = {"conv": Doubled(1, 2, 3)}
    loss = CrossEntropyLoss()
    assert plans.fuse_gradients(own, loss, be, (1, 8, 8), 5) == "fused"
    assert plans.fuse_gradients(own, OwnLoss(), be, (1, 8, 8), 5) is None
    assert plans.fuse_gradients(custom, loss, be, (1, 8, 8), 5) is None
    assert asked == [(["flatten", "linear"], "cross_entropy", 5)]


def test_ceil_mode_that_changes_nothing_is_fused() -> None:
    model = network(Conv2d(1, 1, 3), (6, 6), MaxPool2d((2, 2), ceil_mode=True))
    assert is_fused(model, 1)


def test_lenet_has_two_fused_blocks_on_numpy() -> None:
    blocks = plan(gpucnn.models.lenet5(), 64, training=True)
    assert list(blocks) == [0, 3, 6, 7, 9, 11]
    assert [type(block) is FusedBlock for block in blocks.values()] == [True] * 2 + [False] * 4


def test_the_first_convolution_of_digits_cnn_is_fused_with_its_pooling_on_numpy() -> None:
    blocks = plan(gpucnn.models.digits_cnn(), 64, training=True)
    assert [index for index, block in blocks.items() if isinstance(block, FusedBlock)] == [0]


def test_a_plan_is_made_once_and_few_are_kept() -> None:
    model = network(Conv2d(1, 1, 3), (6, 6))
    first = plan(model, 1, True)
    assert plan(model, 1) is not first
    for samples in range(2, 3 * MOST_PLANS):
        plan(model, samples)
        assert plan(model, 1, True) is first
    for samples in range(50, 50 + MOST_PLANS):
        plan(model, samples)
    assert plan(model, 1, True) is not first


def test_passes_one_after_the_other_use_the_same_memory() -> None:
    model = network(Conv2d(1, 1, 3), (6, 6))
    x, grad = np.ones((1, 1, 6, 6)), np.ones((1, 1, 2, 2))
    for training in (False, True):
        (block,) = plan(model, 1, training).values()
        assert isinstance(block, FusedBlock)
        (operation,) = block.free
        for _ in range(3):
            _ = by_plan(model, x, grad) if training else model(x)
            assert block.free == [operation]


def test_results_are_not_changed_by_the_next_batch() -> None:
    model = network(Conv2d(1, 2, 3, padding=1), (6, 6))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 1, 6, 6))
    grad = rng.standard_normal((4, 2, 3, 3))
    first = by_plan(model, x, grad)
    kept = [array.copy() for array in first]
    by_plan(model, y, grad)
    for one, other in zip(first, kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_passes_between_forward_and_backward_do_not_disturb_it() -> None:
    model = network(Conv2d(1, 2, 3, padding=1), (6, 6))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 1, 6, 6))
    grad = rng.standard_normal((4, 2, 3, 3))
    wanted, other = by_plan(model, x, grad), by_plan(model, y, grad)
    _, saved = model.forward(x, training=True)
    _, saved_y = model.forward(y, training=True)
    model(y)
    np.testing.assert_array_equal(model.backward(grad, saved, input_grad=True), wanted[1])
    np.testing.assert_array_equal(model.backward(grad, saved_y, input_grad=True), other[1])


def test_threads_can_share_a_model() -> None:
    model = gpucnn.models.lenet5()
    model.normalization = ((0.1307,), (0.3081,))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 28, 28), np.uint8)
    wanted = [model.predict(batch) for batch in images]
    got: dict[int, list[np.ndarray]] = {}

    def work(index: int) -> None:
        got[index] = [model.predict(images[index]) for _ in range(8)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6
    for index, answers in got.items():
        for answer in answers:
            np.testing.assert_array_equal(answer, wanted[index])


def test_moving_to_another_precision_makes_new_plans() -> None:
    model = network(Conv2d(1, 2, 3, padding=1), (6, 6))
    model(np.ones((1, 1, 6, 6)))
    model.to(get_backend("numpy", "float32"))
    assert model(np.ones((1, 1, 6, 6), np.float32)).dtype == np.float32


def test_a_fused_block_refuses_what_its_layers_refuse() -> None:
    model = network(Conv2d(1, 2, 3, padding=1), (6, 6))
    with pytest.raises(ArrayError, match="conv2d: input must be float64"):
        model(np.ones((1, 1, 6, 6), np.float32))
    _, saved = model.forward(np.ones((1, 1, 6, 6)), training=True)
    with pytest.raises(ShapeError, match="max_pool2d_backward: grad"):
        model.backward(np.ones((1, 2, 4, 4)), saved)
