"""A model's plan: how it goes through its layers, neighbours joined that the backend can join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gpucnn.backends import Backend
from gpucnn.backends.contract import JoinedConvolution, JoinedGradients
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import conv_window, pool_window
from gpucnn.backends.cuda.lenet5 import LeNet5Sizes
from gpucnn.nn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.losses import CrossEntropyLoss, Loss


class Block(Protocol):
    """What a plan is made of: a layer, or layers that are done as one operation."""

    def forward(self, be: Backend, x: Array, training: bool = False) -> Array:
        """As ``Layer.forward``."""

    def backward(self, be: Backend, grad: Array, input_grad: bool = True) -> Array | None:
        """As ``Layer.backward``."""


class ConvReLUMaxPool:
    """A convolution, its ReLU and its max-pooling, which the backend does as one operation."""

    def __init__(self, conv: Conv2d, operation: JoinedConvolution) -> None:
        self.conv, self.operation = conv, operation

    def forward(self, be: Backend, x: Array, training: bool = False) -> Array:
        """As ``Layer.forward``; ``training`` is what the plan was made for."""
        return self.operation.forward(x, *self.conv.weights())

    def backward(self, be: Backend, grad: Array, input_grad: bool = True) -> Array | None:
        """As ``Layer.backward``."""
        return self.operation.backward(grad, input_grad, self.conv.weight_grads())


class WithReLU:
    """A convolution or linear layer that puts its results through the ReLU behind it itself.

    Where max-pooling follows, its backward does the ReLU's as well.
    """

    def __init__(self, layer: Conv2d | Linear, pool: MaxPool2d | None = None) -> None:
        self.layer, self.pool = layer, pool
        self._output: Array = None

    def forward(self, be: Backend, x: Array, training: bool = False) -> Array:
        """As ``Layer.forward``."""
        output = self.layer.forward(be, x, training, relu=True)
        if self.pool is not None:
            output = self.pool.forward(be, output, training)
        self._output = output if training else None
        return output

    def backward(self, be: Backend, grad: Array, input_grad: bool = True) -> Array | None:
        """As ``Layer.backward``."""
        output, self._output = self._output, None
        if self.pool is not None:
            grad = self.pool.backward(be, grad, relu_output=output)
        else:
            grad = be.relu_backward(grad, output)
        return self.layer.backward(be, grad, input_grad)


def make_plan(
    layers: Mapping[str, Layer], be: Backend, input_shape: Shape, samples: int, training: bool
) -> dict[str, Block]:
    """Return the blocks for batches of ``samples``, by the names of their layers.

    ``training`` is whether there will be backward passes.
    """
    blocks: dict[str, Block] = {}
    shape, rest = input_shape, list(layers.items())
    while rest:
        names, kinds = zip(*rest[:3], strict=True)
        block, done = _join(kinds, be, shape, samples, training)
        blocks["+".join(names[:done])] = block
        for layer in kinds[:done]:
            shape = layer.output_shape(shape)
        del rest[:done]
    return blocks


def _join(
    layers: tuple[Layer, ...], be: Backend, shape: Shape, samples: int, training: bool
) -> tuple[Block, int]:
    """Return the block for as many of the layers as can be one operation, and their number."""
    first, kinds = layers[0], [type(layer) for layer in layers]  # subclasses may mean another thing
    if kinds == [Conv2d, ReLU, MaxPool2d]:
        _, _, pool = layers
        assert isinstance(first, Conv2d)
        assert isinstance(pool, MaxPool2d)
        operation = be.join_conv_relu_max_pool(
            first.window(shape),
            pool.window(first.output_shape(shape)),
            first.in_channels,
            first.out_channels,
            first.groups,
            samples,
            training,
        )
        if operation is None:
            return WithReLU(first, pool), 3
        return ConvReLUMaxPool(first, operation), 3
    if kinds[:2] in ([Conv2d, ReLU], [Linear, ReLU]):
        assert isinstance(first, Conv2d | Linear)
        return WithReLU(first), 2
    return first, 1


def join_gradients(
    layers: Mapping[str, Layer], loss: Loss, be: Backend, input_shape: Shape, samples: int
) -> JoinedGradients | None:
    """Return the gradients for batches of ``samples`` as one operation, if the backend has it."""
    sizes = lenet5_sizes(layers, input_shape)
    if sizes is None or type(loss) is not CrossEntropyLoss:
        return None
    return be.join_lenet5(sizes, samples)


LENET5 = [
    Conv2d, ReLU, MaxPool2d, Conv2d, ReLU, MaxPool2d, Flatten, Linear, ReLU, Linear, ReLU, Linear,
]  # fmt: skip


def lenet5_sizes(layers: Mapping[str, Layer], input_shape: Shape) -> LeNet5Sizes | None:
    """Return the sizes of a LeNet-5 for ``input_shape``, None where the layers are anything else.

    Its convolutions are 5x5, the first padded by 2, its poolings 2x2, and all its weights have a
    bias. Whether a backend has kernels for these sizes, ``Backend.join_lenet5`` says.
    """
    if [type(layer) for layer in layers.values()] != LENET5:  # subclasses may mean another thing
        return None
    conv1, _, pool1, conv2, _, pool2, _, fc1, _, fc2, _, fc3 = layers.values()
    assert isinstance(conv1, Conv2d)
    assert isinstance(conv2, Conv2d)
    assert isinstance(pool1, MaxPool2d)
    assert isinstance(pool2, MaxPool2d)
    assert isinstance(fc1, Linear)
    assert isinstance(fc2, Linear)
    assert isinstance(fc3, Linear)
    shape = input_shape
    for conv, pool, padding in ((conv1, pool1, 2), (conv2, pool2, 0)):
        window = conv.window(shape)
        if window != conv_window(window.plane, (5, 5), padding=padding) or conv.groups > 1:
            return None
        shape = conv.output_shape(shape)
        window = pool.window(shape)
        if window != pool_window(window.plane, 2):
            return None
        shape = pool.output_shape(shape)
    if not all(layer.bias for layer in (conv1, conv2, fc1, fc2, fc3)):
        return None
    channels, height, width = input_shape
    return LeNet5Sizes(
        channels, height, width, conv1.out_channels, conv2.out_channels,
        fc1.out_features, fc2.out_features, fc3.out_features,
    )  # fmt: skip
