"""Saliency: against finite differences and loops over squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small import blobs, small_model

from gpucnn.backends import Backend, get_backend
from gpucnn.errors import DataError, SettingError
from gpucnn.nn import (
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Softmax,
    gradient_saliency,
    occlusion_saliency,
)
from gpucnn.nn.layers import Layer, ReLU
from gpucnn.nn.sequential import Sequential

IMAGES = blobs(3, channels=2, seed=5).images
NORMALIZATION = ((0.3, 0.6), (0.2, 0.5))


def two_channels(backend: Backend | None = None) -> Sequential:
    """A model with dropout; the plan of its first layers fuses them."""
    model = small_model(channels=2).to(backend or get_backend("numpy", "float64"))
    model.normalization = NORMALIZATION
    return model


def slopes(model: Sequential, image: NDArray[np.uint8], k: int) -> NDArray[np.float64]:
    """Differences of output ``k`` by pixels from 0 to 1: absolute, the greatest of the channels."""
    pixels = image / 255
    mean, std = (np.reshape(values, (-1, 1, 1)) for values in model.normalization or ())
    found = np.zeros(pixels.shape)
    for index in np.ndindex(*pixels.shape):
        pair = np.stack([pixels, pixels])
        pair[(0, *index)] += 1e-6
        pair[(1, *index)] -= 1e-6
        high, low = model((pair - mean) / std)[:, k]
        found[index] = (high - low) / 2e-6
    return np.abs(found).max(0)


def test_gradients_are_slopes(backend: Backend) -> None:
    reference, model = two_channels(), two_channels(backend)
    scores = reference.feature_maps(IMAGES)["fc"]
    predicted = scores.argmax(1)
    tolerance = 1e-4 if backend.dtype == np.float32 else 1e-7
    for classes, chosen in ((None, predicted), (2, [2, 2, 2]), ([3, 0, 1], [3, 0, 1])):
        found = gradient_saliency(model, IMAGES, classes, batch_size=2)
        wanted = [slopes(reference, image, k) for image, k in zip(IMAGES, chosen, strict=True)]
        assert found.dtype == backend.dtype
        np.testing.assert_allclose(found, wanted, tolerance, tolerance)


def test_gradients_are_those_of_the_last_layer() -> None:
    """A Softmax layer is part of the model: the gradient is that of the probability."""
    layers = [Conv2d(2, 2, 3), MaxPool2d(2), Flatten(), Linear(18, 3), Softmax()]
    model = Sequential(layers, (2, 8, 8), backend=get_backend("numpy", "float64"))
    model.normalization = NORMALIZATION
    found = gradient_saliency(model, IMAGES, 1)
    wanted = [slopes(model, image, 1) for image in IMAGES]
    np.testing.assert_allclose(found, wanted, 1e-6, 1e-8)


def test_training_goes_on_as_without_saliency() -> None:
    """Dropout's masks do not depend on it."""
    model, other = two_channels(), two_channels()
    x = np.random.default_rng(0).normal(size=(4, 2, 8, 8))
    gradient_saliency(model, IMAGES)
    np.testing.assert_array_equal(model.forward(x, training=True)[0], other.forward(x, True)[0])


def test_occlusion_is_the_mean_fall_over_the_squares(backend32: Backend) -> None:
    model = two_channels(backend32)
    probabilities = model.predict(IMAGES)
    for size, stride, tops in ((3, 2, [0, 2, 4, 5]), (8, 8, [0]), (1, 1, range(8))):
        wanted = np.zeros((3, 8, 8))
        for n, image in enumerate(IMAGES):
            falls: list[list[list[float]]] = [[[] for _ in range(8)] for _ in range(8)]
            for top in tops:
                for left in tops:
                    covered = image.copy()
                    for channel, mean in enumerate(NORMALIZATION[0]):
                        covered[channel, top : top + size, left : left + size] = round(255 * mean)
                    k = probabilities[n].argmax()
                    fall = probabilities[n, k] - model.predict(covered[None])[0, k]
                    for row in range(top, top + size):
                        for column in range(left, left + size):
                            falls[row][column].append(fall)
            wanted[n] = [[np.mean(each) for each in row] for row in falls]
        found = occlusion_saliency(model, IMAGES, size=size, stride=stride, batch_size=50)
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_occlusion_of_given_classes() -> None:
    model = two_channels()
    found = occlusion_saliency(model, IMAGES, [3, 0, 1])
    for n, k in enumerate([3, 0, 1]):
        alone = occlusion_saliency(model, IMAGES[n : n + 1], k, size=2, stride=1)
        np.testing.assert_allclose(found[n], alone[0], atol=1e-12)


def test_what_is_refused() -> None:
    model = two_channels()
    for function in (gradient_saliency, occlusion_saliency):
        with pytest.raises(DataError, match="images must be uint8"):
            function(model, IMAGES / 255)
        with pytest.raises(SettingError, match="classes must be 0 to 3, got 4"):
            function(model, IMAGES, 4)
        for classes in (1.5, [0, 1], [[0, 1, 2]]):
            with pytest.raises(SettingError, match="an integer, or one for each of 3 images"):
                function(model, IMAGES, classes)
        with pytest.raises(SettingError, match="batch_size must be an integer >= 1"):
            function(model, IMAGES, batch_size=0)
        with pytest.raises(SettingError, match="the model has no normalization"):
            function(small_model(channels=2), IMAGES)
        maps = Sequential([ReLU()], (2, 8, 8))
        maps.normalization = NORMALIZATION
        with pytest.raises(SettingError, match=r"outputs \(K,\), got \(2, 8, 8\)"):
            function(maps, IMAGES)
    with pytest.raises(SettingError, match="size is 9, but the images are only 8x8 pixels"):
        occlusion_saliency(model, IMAGES, size=9)
    with pytest.raises(SettingError, match="stride is 3: pixels between squares of 2 would be"):
        occlusion_saliency(model, IMAGES, size=2, stride=3)

    class Doubled(Sequential):
        def forward(self, x: Any, training: bool = False) -> Any:
            return super().forward(x + x, training)

    layers: list[Layer] = [Flatten(), Linear(128, 2)]
    with pytest.raises(SettingError, match=r"\(Doubled\) has a forward or backward of its own"):
        gradient_saliency(Doubled(layers, (2, 8, 8)), IMAGES)
