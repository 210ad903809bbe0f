"""Sequential: what it refuses, forward and backward, dropout, prediction, repr and config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import blobs, small_data, small_model

import gpucnn
from gpucnn import models
from gpucnn.config import describe
from gpucnn.errors import DataError, SettingError, ShapeError
from gpucnn.nn import layers
from gpucnn.nn.layers import Layer, TrainingPass
from gpucnn.nn.sequential import Sequential
from gpucnn.rng import Stream, philox_key


@pytest.mark.parametrize(
    ("stack", "shape", "error", "message"),
    [
        ([], (1, 8, 8), SettingError, "at least one layer"),
        ([3], (1, 8, 8), SettingError, "layer '0' must be a gpucnn.nn.Layer, got 3"),
        (2 * [layers.ReLU()], (1, 8, 8), SettingError, "layers '0' and '1' are the same object"),
        ([layers.ReLU()], (8, 8), ShapeError, r"input_shape must be .*, got \(8, 8\)"),
        ([layers.ReLU()], (1, 0, 8), ShapeError, r"input_shape must be .*, got \(1, 0, 8\)"),
        (
            [layers.Conv2d(3, 4, 3)],
            (1, 8, 8),
            ShapeError,
            r"layer '0' \(Conv2d\) with input \(1, 8, 8\): expected \(3, H, W\)",
        ),
        ({"c": layers.Conv2d(1, 4, 9)}, (1, 8, 8), ShapeError, r"'c'.*9 does not fit.*\(8, 8\)"),
        (
            [layers.Linear(64, 3)],
            (1, 8, 8),
            ShapeError,
            r"\(\.\.\., 64\), got \(1, 8, 8\); put a Flatten",
        ),
        ([layers.MaxPool2d(9)], (1, 8, 8), ShapeError, r"'0' \(MaxPool2d\).*9 does not fit"),
        (
            [layers.Flatten(), layers.MaxPool2d(2)],
            (1, 8, 8),
            ShapeError,
            r"'1' \(MaxPool2d\) with input \(64,\): expected \(C, H, W\)",
        ),
    ],
)
def test_networks_that_cannot_work_are_refused(
    stack: Any, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Sequential(stack, shape)


@pytest.mark.parametrize("shape", [(2, 1, 9, 8), (2, 3, 8, 8), (2, 8, 8), (0, 1, 8, 8)])
def test_batches_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"the model takes \(N, 1, 8, 8\), got \(\d, "):
        small_model()(np.zeros(shape, np.float32))


def test_backward_uses_up_what_a_training_forward_saved() -> None:
    model = small_model()
    x = np.ones((2, 1, 8, 8), np.float32)
    y, saved = model.forward(x)
    assert saved is None
    with pytest.raises(SettingError, match=r"saved = model.forward\(x, training=True\)"):
        model.backward(y, saved)
    _, saved = model.forward(x, training=True)
    assert model.backward(y, saved) is None
    with pytest.raises(SettingError, match="each saved serves one backward"):
        model.backward(y, saved)


def test_the_input_gradient_is_computed_only_if_asked_for() -> None:
    asked: list[bool] = []

    class Asked(layers.ReLU):
        def backward(self, be: Any, grad: Any, saved: Any, input_grad: bool = True) -> Any:
            asked.append(input_grad)
            return super().backward(be, grad, saved, input_grad)

    model = Sequential([Asked(), Asked()], (1, 2, 2))
    x = np.ones((1, 1, 2, 2), np.float32)
    for input_grad in (False, True):
        y, saved = model.forward(x, training=True)
        assert (model.backward(y, saved, input_grad) is not None) == input_grad
    assert asked == [True, False, True, True]


def test_a_custom_layer_that_returns_only_its_output_is_named() -> None:
    class Old(Layer):
        def forward(self, be: Any, x: Any, training: Any = None) -> Any:
            return x

    model = Sequential([Old()], (1, 2, 2))
    with pytest.raises(SettingError, match=r"Old.forward must return \(output, saved\), got nd"):
        model(np.ones((2, 1, 2, 2), np.float32))


def test_dropout_masks_are_a_function_of_seed_layer_worker_and_pass() -> None:
    """A mask comes from the key of (seed, DROPOUT, rank, layer), and the number of the pass."""
    model = Sequential([layers.ReLU(), layers.Dropout(0.25)], (1, 6, 5), seed=9)
    x = np.ones((4, 1, 6, 5), np.float32)

    def check(seed: int, rank: int, step: int, training: bool | TrainingPass = True) -> None:
        key = philox_key(seed, Stream.DROPOUT, rank, 1)
        wanted = model.backend.dropout(x, 0.25, key, np.array([step]))
        output, saved = model.forward(x, training)
        np.testing.assert_array_equal(output, wanted)
        np.testing.assert_array_equal(model.backward(x, saved, input_grad=True), wanted)

    check(9, 0, 1)
    model(x)  # inference is not a training pass
    check(9, 0, 2)
    check(7, 3, 5, TrainingPass(7, np.array([5]), rank=3))
    check(9, 0, 3)  # the model counts its own passes
    model.initialize(8)
    check(8, 0, 1)
    np.testing.assert_array_equal(model(x), x)


def test_each_saved_pass_keeps_its_mask() -> None:
    """Also where another pass comes before its backward."""
    model, x = Sequential([layers.Dropout2d()], (8, 2, 2)), np.ones((4, 8, 2, 2), np.float32)
    (first, saved), (second, _) = (model.forward(x, training=True) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(model.backward(x, saved, input_grad=True), first)


def test_predict_takes_images_as_they_are_in_the_data() -> None:
    model = small_model()
    images = blobs(5).images
    with pytest.raises(SettingError, match="the model has no normalization"):
        model.predict(images)
    model.normalization = small_data().statistics()
    probabilities = model.predict(images)
    (mean,), (std,) = model.normalization
    scores = model(((images / 255 - mean) / std).astype(np.float32))
    odds = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, odds / odds.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(model.predict(images[:, 0], batch_size=2), probabilities, rtol=1e-5)


@pytest.mark.parametrize(
    ("last", "output", "expected"),
    [
        (None, "softmax", lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)),
        (None, "sigmoid", lambda z: 1 / (1 + np.exp(-z))),
        (None, "none", lambda z: z),
        (layers.Softmax(), "softmax", lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)),
        (layers.Sigmoid(), "softmax", lambda z: 1 / (1 + np.exp(-z))),
    ],
)
def test_predictions_are_probabilities_once(last: Layer | None, output: Any, expected: Any) -> None:
    """Scores become probabilities by ``output``, unless the last layer has done so."""
    stack = [layers.Flatten(), layers.Linear(4, 3), *([last] if last else [])]
    model = Sequential(stack, (1, 2, 2))
    model.normalization, model.output = ((0.0,), (1.0,)), output
    images = np.random.default_rng(0).integers(0, 256, (5, 2, 2), np.uint8)
    state = model.state_dict()
    z = images.reshape(5, 4) / 255 @ state["1.weight"].T + state["1.bias"]
    np.testing.assert_allclose(model.predict(images), expected(z), rtol=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 8, 8)), "images must be uint8, from 0 to 255, got float64"),
        (np.zeros((2, 3, 8, 4), np.uint8), r"shape \(N, 3, 8, 8\), got \(2, 3, 8, 4\)"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(N, 3, 8, 8\), got \(3, 8, 8\)"),
        (np.zeros((0, 3, 8, 8), np.uint8), r"shape \(N, 3, 8, 8\), got \(0, 3, 8, 8\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: np.ndarray, message: str) -> None:
    model = small_model(channels=3)
    model.normalization = ((0.5,) * 3, (0.2,) * 3)
    with pytest.raises(DataError, match=message):
        model.predict(images)


@pytest.mark.parametrize("normalization", [((0.5,), (0.2,)), ((0.5,) * 3, (0.2,))])
def test_a_normalization_needs_a_value_for_each_channel(normalization: Any) -> None:
    model = small_model(channels=3)
    model.normalization = normalization
    with pytest.raises(SettingError, match="normalization must have 3 means and standard dev"):
        model.predict(np.zeros((2, 3, 8, 8), np.uint8))


def test_the_repr_of_a_model_lists_its_layers() -> None:
    assert repr(models.lenet5()).splitlines()[:4] == [
        "Sequential(input_shape=(1, 28, 28), 61,706 parameters)",
        "  (conv1): Conv2d(1, 6, 5, padding=2)",
        "  (relu1): ReLU()",
        "  (pool1): MaxPool2d(2)",
    ]
    assert repr(Sequential([Plain()], (1, 2, 2))).endswith("(0): Plain()")


class Plain(Layer):
    """A custom layer that is not a dataclass."""


def test_pairs_survive_json() -> None:
    layer = layers.Conv2d(1, 2, (3, 5), stride=[1, 2])
    model = Sequential([layer], (1, 9, 9))
    again = Sequential.from_config(json.loads(json.dumps(model.config())))
    assert again.output_shape == model.output_shape
    assert describe(layer)["kernel_size"] == (3, 5)


@pytest.mark.parametrize("name", [5, "a\0b", "a\ud800", "a" * 1001])
def test_names_that_no_file_can_hold_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match="expected a name of at most 1,000 characters"):
        Sequential({name: layers.Flatten()}, (1, 2, 2))


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a\nb", "\u202e", "a" * 1000])
def test_other_names_are_kept_in_files(name: str, tmp_path: Path) -> None:
    saved = Sequential({name: layers.Conv2d(1, 2, 3), "f": layers.Flatten()}, (1, 4, 4))
    gpucnn.save_model(saved, tmp_path / "a.npz")
    assert list(gpucnn.load_model(tmp_path / "a.npz", "numpy").layers) == [name, "f"]


def test_from_config_names_the_nearest_layer() -> None:
    config = {"input_shape": [1, 8, 8], "layers": [{"name": "a", "type": "Relu"}]}
    with pytest.raises(SettingError, match="unknown layer 'Relu': did you mean 'ReLU'"):
        Sequential.from_config(config)
