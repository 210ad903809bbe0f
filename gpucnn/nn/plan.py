"""A plan of layers in order: neighbours are fused where the backend has one operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, cast

from gpucnn.backends import Backend
from gpucnn.backends.contract import FusedGradients, FusedLayers, LayerSpec
from gpucnn.backends.contract.checks import Array
from gpucnn.config import is_builtin
from gpucnn.nn.folding import Folded, fold
from gpucnn.nn.layers.activations import ReLU
from gpucnn.nn.layers.base import Layer, Shape, TrainingPass
from gpucnn.nn.layers.convolution import Conv2d
from gpucnn.nn.layers.normalization import BatchNorm
from gpucnn.nn.layers.pooling import MaxPool2d
from gpucnn.nn.layers.structure import output_shapes
from gpucnn.nn.losses import Loss


class Block(Protocol):
    """An element of a plan: a layer, or several layers computed as one operation."""

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``."""

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        """As ``Layer.backward``."""


class FusedBlock:
    """A convolution and the layers after it, as one operation of the backend.

    Such an operation has memory of its own, in which it keeps what its backward needs, so each pass
    has an operation to itself until it is done: from its forward to its backward in training. Free
    ones are kept for the next pass; a thread that finds none makes one.
    """

    def __init__(
        self, conv: Conv2d | Folded, first: FusedLayers, make: Callable[[], FusedLayers | None]
    ) -> None:
        self.conv, self.free, self.make = conv, [first], make

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``."""
        try:
            operation = self.free.pop()
        except IndexError:
            operation = cast(FusedLayers, self.make())
        conv = self.conv
        weights = conv.weights(be) if isinstance(conv, Folded) else conv.weights()
        output = operation.forward(x, *weights)
        if training is None:
            self.free.append(operation)
            return output, None
        return output, operation

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        """As ``Layer.backward``."""
        assert isinstance(self.conv, Conv2d)
        result = saved.backward(grad, input_grad, self.conv.weight_grads())
        self.free.append(saved)
        return result


class WithReLU:
    """A layer that takes ``relu``: its operation also applies the ReLU that follows.

    Where max-pooling comes next, its backward applies the ReLU's too.
    """

    def __init__(self, layer: Layer, pool: MaxPool2d | None = None) -> None:
        self.layer, self.pool = layer, pool

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``."""
        forward: Callable[..., tuple[Array, Any]] = self.layer.forward
        output, saved = forward(be, x, training, relu=True)
        if self.pool is None:
            return output, [saved, output]
        output, pool_saved = self.pool.forward(be, output, training)
        return output, [saved, output, pool_saved]

    def backward(
        self, be: Backend, grad: Array, saved: Any, input_grad: bool = True
    ) -> Array | None:
        """As ``Layer.backward``; uses up ``saved``, so that its memory is free at once."""
        if self.pool is None and isinstance(self.layer, BatchNorm):
            output = saved.pop()
            return self.layer.backward(be, grad, saved.pop(), input_grad, relu_output=output)
        if self.pool is None:
            grad = be.relu_backward(grad, saved.pop())
        else:
            grad = self.pool.backward(be, grad, saved.pop(), relu_output=saved.pop())
        return self.layer.backward(be, grad, saved.pop(), input_grad)


def make_plan(
    layers: Mapping[str, Layer], be: Backend, shape: tuple[int, ...], training: bool
) -> dict[int, Block]:
    """Return the blocks for batches of ``shape`` (N, ...), by the index of their first layer."""
    samples, *input_shape = shape
    blocks: dict[int, Block] = {}
    shapes = [tuple(input_shape), *output_shapes(layers, tuple(input_shape))]
    rest, index = tuple(layers.values()), 0
    while rest:
        block, count = _first_block(rest[:4], be, shapes[index], samples, training)
        blocks[index] = block
        rest, index = rest[count:], index + count
    return blocks


def _first_block(
    layers: tuple[Layer, ...], be: Backend, shape: Shape, samples: int, training: bool
) -> tuple[Block, int]:
    """Return the block of as many layers as can be one operation, and their number."""
    folded = None if training or len(layers) == 1 else fold(layers[0], layers[1], shape)
    if folded is not None:
        block, count = _with_relu((folded, *layers[2:]), be, shape, samples, training)
        return block, count + 1
    return _with_relu(layers[:3], be, shape, samples, training)


def _with_relu(
    layers: tuple[Layer, ...], be: Backend, shape: Shape, samples: int, training: bool
) -> tuple[Block, int]:
    """Return the block of a layer and of a ReLU and a max-pooling that follow."""
    first, kinds = layers[0], [type(layer) for layer in layers]  # a subclass may compute otherwise
    if not (first.takes_relu and is_builtin(first)):
        return first, 1
    count = 2 if kinds[1:2] == [ReLU] else 1
    pooled = kinds[count : count + 1] == [MaxPool2d]
    conv = first.layer if isinstance(first, Folded) else first
    if pooled and isinstance(conv, Conv2d):
        specs = layer_specs(layers[: count + 1], shape)
        assert specs is not None
        fuse = partial(be.fuse_layers, specs, samples, training)
        operation = fuse()
        if operation is not None:
            return FusedBlock(cast(Conv2d | Folded, first), operation, fuse), count + 1
    if count == 1:
        return first, 1
    return (WithReLU(first, cast(MaxPool2d, layers[2])), 3) if pooled else (WithReLU(first), 2)


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
    if specs is None or not is_builtin(loss) or loss != type(loss)():  # with options
        return None
    return be.fuse_gradients(specs, loss.op, samples)
