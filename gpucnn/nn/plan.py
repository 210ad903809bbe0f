"""A model's plan: how it goes through its layers, neighbours joined that the backend can join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gpucnn.backends import Backend
from gpucnn.backends.contract import FusedGradients, FusedLayers, LayerSpec
from gpucnn.backends.contract.checks import Array
from gpucnn.config import is_builtin
from gpucnn.nn.layers import Conv2d, Layer, Linear, MaxPool2d, ReLU
from gpucnn.nn.layers.base import Shape
from gpucnn.nn.losses import Loss


class Block(Protocol):
    """What a plan is made of: a layer, or layers that are done as one operation."""

    def forward(self, be: Backend, x: Array, training: bool = False) -> Array:
        """As ``Layer.forward``."""

    def backward(self, be: Backend, grad: Array, input_grad: bool = True) -> Array | None:
        """As ``Layer.backward``."""


class ConvReLUMaxPool:
    """A convolution, its ReLU and its max-pooling, which the backend does as one operation."""

    def __init__(self, conv: Conv2d, operation: FusedLayers) -> None:
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
        specs = layer_specs(layers, shape)
        operation = be.fuse_layers(specs, samples, training) if specs else None
        if operation is None:
            return WithReLU(first, pool), 3
        return ConvReLUMaxPool(first, operation), 3
    if kinds[:2] in ([Conv2d, ReLU], [Linear, ReLU]):
        assert isinstance(first, Conv2d | Linear)
        return WithReLU(first), 2
    return first, 1


def layer_specs(layers: Iterable[Layer], input_shape: Shape) -> list[LayerSpec] | None:
    """Return the layers as backends see them, None where one of them has no ``spec``."""
    specs, shape = [], input_shape
    for layer in layers:
        spec = layer.spec(shape)
        if spec is None:
            return None
        specs.append(spec)
        shape = spec.output_shape
    return specs


def fuse_gradients(
    layers: Mapping[str, Layer], loss: Loss, be: Backend, input_shape: Shape, samples: int
) -> FusedGradients | None:
    """Return the gradients for batches of ``samples`` as one operation, if the backend has it."""
    specs = layer_specs(layers.values(), input_shape)
    if specs is None or not is_builtin(loss):
        return None
    return be.fuse_gradients(specs, loss.op, samples)
