"""A model's plan: how it goes through its layers, neighbours joined that the backend can join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gpucnn.backends import Backend
from gpucnn.backends.base import JoinedConvolution
from gpucnn.backends.checks import Array
from gpucnn.layers import Conv2d, Layer, MaxPool2d, ReLU
from gpucnn.layers.base import Shape


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
        joined = _join(kinds, be, shape, samples, training)
        done = 3 if joined else 1
        blocks["+".join(names[:done])] = joined or kinds[0]
        for layer in kinds[:done]:
            shape = layer.output_shape(shape)
        del rest[:done]
    return blocks


def _join(
    layers: tuple[Layer, ...], be: Backend, shape: Shape, samples: int, training: bool
) -> ConvReLUMaxPool | None:
    """Return the block for three layers if the backend can do them as one operation."""
    # Subclasses may mean something else.
    if [type(layer) for layer in layers] != [Conv2d, ReLU, MaxPool2d]:
        return None
    conv, _, pool = layers
    assert isinstance(conv, Conv2d)
    assert isinstance(pool, MaxPool2d)
    window = conv.window(shape)
    pooling = pool.window(conv.output_shape(shape))
    operation = be.join_conv_relu_max_pool(
        window, pooling, conv.in_channels, conv.out_channels, conv.groups, samples, training
    )
    return None if operation is None else ConvReLUMaxPool(conv, operation)
