"""The networks that come with gpucnn. A custom network is a function like these."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import SupportsIndex

from gpucnn.errors import ShapeError
from gpucnn.nn.layers import (
    GRU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Rows,
    Tanh,
)
from gpucnn.nn.sequential import Sequential

Size = SupportsIndex | tuple[SupportsIndex, SupportsIndex]


def lenet5(channels: int = 1, size: Size = 28, classes: int = 10, seed: int = 0) -> Sequential:
    """LeNet-5 in its modern form, with ReLU and max-pooling: 61,706 parameters for MNIST.

    ``gpucnn.load_model("lenet5")`` is this network, trained on MNIST.
    """
    height, width = _pair(size, least=12)
    h, w = (height // 2 - 4) // 2, (width // 2 - 4) // 2
    layers: dict[str, Layer] = {
        "conv1": Conv2d(channels, 6, 5, padding=2),
        "relu1": ReLU(),
        "pool1": MaxPool2d(2),
        "conv2": Conv2d(6, 16, 5),
        "relu2": ReLU(),
        "pool2": MaxPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(16 * h * w, 120),
        "relu3": ReLU(),
        "fc2": Linear(120, 84),
        "relu4": ReLU(),
        "fc3": Linear(84, classes),
    }
    return Sequential(layers, (channels, height, width), seed=seed)


def lenet5_1998(channels: int = 1, size: Size = 28, classes: int = 10, seed: int = 0) -> Sequential:
    """LeNet-5 closer to LeCun et al. (1998): tanh, average pooling and their initialization.

    Unlike there, pooling has no weights, the second convolution is connected to all feature maps
    of the first stage, and the output layer is linear.
    """
    height, width = _pair(size, least=12)
    h, w = (height // 2 - 4) // 2, (width // 2 - 4) // 2
    layers: dict[str, Layer] = {
        "conv1": Conv2d(channels, 6, 5, padding=2, init="lecun_uniform"),
        "tanh1": Tanh(),
        "pool1": AvgPool2d(2),
        "conv2": Conv2d(6, 16, 5, init="lecun_uniform"),
        "tanh2": Tanh(),
        "pool2": AvgPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(16 * h * w, 120, init="lecun_uniform"),
        "tanh3": Tanh(),
        "fc2": Linear(120, 84, init="lecun_uniform"),
        "tanh4": Tanh(),
        "fc3": Linear(84, classes, init="lecun_uniform"),
    }
    return Sequential(layers, (channels, height, width), seed=seed)


def mlp(
    channels: int = 1, size: Size = 28, classes: int = 10, hidden: int = 128, seed: int = 0
) -> Sequential:
    """Two fully connected layers, with a ReLU between them."""
    height, width = _pair(size)
    layers: dict[str, Layer] = {
        "flatten": Flatten(),
        "fc1": Linear(channels * height * width, hidden),
        "relu1": ReLU(),
        "fc2": Linear(hidden, classes),
    }
    return Sequential(layers, (channels, height, width), seed=seed)


def small_cnn(channels: int = 3, size: Size = 64, classes: int = 10, seed: int = 0) -> Sequential:
    """Three 3x3 convolutions with pooling, then two linear layers with dropout: colour images."""
    height, width = _pair(size, least=8)
    layers: dict[str, Layer] = {}
    widths = (channels, 16, 32, 64)
    for stage in (1, 2, 3):
        layers[f"conv{stage}"] = Conv2d(
            widths[stage - 1], widths[stage], 3, padding=1, init="kaiming_normal"
        )
        layers[f"relu{stage}"] = ReLU()
        layers[f"pool{stage}"] = MaxPool2d(2)
    layers["flatten"] = Flatten()
    layers["fc1"] = Linear(64 * (height // 8) * (width // 8), 128, init="kaiming_normal")
    layers["relu4"] = ReLU()
    layers["dropout"] = Dropout(0.5)
    layers["fc2"] = Linear(128, classes)
    return Sequential(layers, (channels, height, width), seed=seed)


def row_rnn(
    channels: int = 1, size: Size = 28, classes: int = 10, hidden: int = 128, seed: int = 0
) -> Sequential:
    """A recurrent network that reads an image row by row: gated recurrent units, then a layer.

    The last of ``hidden`` units' states decides.
    """
    height, width = _pair(size)
    layers: dict[str, Layer] = {
        "rows": Rows(),
        "gru": GRU(channels * width, hidden),
        "fc": Linear(hidden, classes),
    }
    return Sequential(layers, (channels, height, width), seed=seed)


def resnet_small(
    channels: int = 1, size: Size = 28, classes: int = 10, width: int = 16, seed: int = 0
) -> Sequential:
    """A residual network: a convolution, and three stages of two blocks with batch normalization.

    The stages have ``width``, 2 and 4 ``width`` channels; the second and the third halve height and
    width. Of 16 channels: 174,970 parameters for MNIST. After He et al. (arXiv:1512.03385), 4.2.
    """
    height, breadth = _pair(size)
    layers: dict[str, Layer] = {
        "conv": _conv3(channels, width),
        "norm": BatchNorm2d(width),
        "relu": ReLU(),
    }
    before = width
    for number, (after, stride) in enumerate(
        [(width, 1), (width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2), (4 * width, 1)], 1
    ):
        layers[f"block{number}"] = _residual(before, after, stride)
        layers[f"relu{number}"] = ReLU()
        before = after
    layers["pool"] = AvgPool2d((-(-height // 4), -(-breadth // 4)))
    layers["flatten"] = Flatten()
    layers["fc"] = Linear(before, classes)
    return Sequential(layers, (channels, height, breadth), seed=seed)


def _residual(before: int, after: int, stride: int) -> Residual:
    """Return a block of two convolutions; its shortcut has one if it changes the shape."""
    body = {
        "conv1": _conv3(before, after, stride),
        "norm1": BatchNorm2d(after),
        "relu": ReLU(),
        "conv2": _conv3(after, after),
        "norm2": BatchNorm2d(after),
    }
    if before == after and stride == 1:
        return Residual(body)
    conv = Conv2d(before, after, 1, stride=stride, bias=False, init="kaiming_normal")
    return Residual(body, {"conv": conv, "norm": BatchNorm2d(after)})


def _conv3(before: int, after: int, stride: int = 1) -> Conv2d:
    return Conv2d(before, after, 3, stride, padding=1, bias=False, init="kaiming_normal")


def digits_cnn(channels: int = 1, size: Size = 28, classes: int = 10, seed: int = 0) -> Sequential:
    """Five convolutions with batch normalisation: 75,706 parameters for MNIST.

    For ``--recipe best``. Pooling comes before the normalisation, so that this has a quarter of the
    elements: where weights are positive, as at first, the result is that of the other order.
    """
    height, width = _pair(size, least=8)
    layers: dict[str, Layer] = {}
    widths, kernels = (channels, 16, 32, 32, 64, 64), (5, 3, 3, 3, 3)
    for stage, kernel in enumerate(kernels, 1):
        layers[f"conv{stage}"] = Conv2d(
            widths[stage - 1], widths[stage], kernel, padding=kernel // 2, bias=False
        )
        if stage % 2:
            layers[f"pool{stage}"] = MaxPool2d(2)
        layers[f"bn{stage}"] = BatchNorm2d(widths[stage])
        layers[f"relu{stage}"] = ReLU()
    layers["flatten"] = Flatten()
    layers["dropout"] = Dropout(0.3)
    layers["fc"] = Linear(64 * (height // 8) * (width // 8), classes)
    return Sequential(layers, (channels, height, width), seed=seed)


MODELS: dict[str, Callable[..., Sequential]] = {
    "lenet5": lenet5,
    "lenet5_1998": lenet5_1998,
    "mlp": mlp,
    "resnet_small": resnet_small,
    "row_rnn": row_rnn,
    "small_cnn": small_cnn,
    "digits_cnn": digits_cnn,
}
"""Models by their names on the command line."""


def _pair(size: Size, least: int = 1) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, SupportsIndex) else size
    height, width = map(operator.index, sides)
    if min(height, width) < least:
        raise ShapeError(
            f"this model needs images of at least {least}x{least} pixels, got {height}x{width}"
        )
    return height, width
