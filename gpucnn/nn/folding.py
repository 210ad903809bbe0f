"""Batch normalisation in inference, folded into the weights of the layer before it."""

from __future__ import annotations

from typing import Any

from gpucnn.backends import Backend
from gpucnn.backends.contract.checks import Array
from gpucnn.nn.layers.base import Layer, Shape, TrainingPass
from gpucnn.nn.layers.convolution import Conv2d
from gpucnn.nn.layers.linear import Linear
from gpucnn.nn.layers.normalization import BatchNorm, BatchNorm1d, BatchNorm2d


class Folded(Layer, register=False):
    """A convolution or linear layer, and the batch normalisation after it, as one layer.

    For inference only. The weights are folded at every call, since both layers' may change from one
    to the next; that takes as long as reading them.
    """

    takes_relu = True

    def __init__(self, layer: Conv2d | Linear, norm: BatchNorm) -> None:
        self.layer, self.norm = layer, norm

    def output_shape(self, shape: Shape) -> Shape:
        """Return that of the layer."""
        return self.layer.output_shape(shape)

    def _spec(self, shape: Shape) -> tuple[str, dict[str, Any]] | None:
        return self.layer._spec(shape)

    def weights(self, be: Backend) -> tuple[Array, Array]:
        """Return weight and bias that include the normalisation."""
        statistics = self.norm.statistics()
        assert statistics is not None
        (weight, bias), (scale, shift) = self.layer.weights(), self.norm.weights()
        folded = be.fold_batch_norm(weight, *statistics, bias, scale, shift, eps=self.norm.eps)
        return folded.output_weight, folded.output_bias

    def forward(
        self, be: Backend, x: Array, training: TrainingPass | None = None, *, relu: bool = False
    ) -> tuple[Array, Any]:
        """As ``Layer.forward``, without training."""
        assert training is None
        return self.layer.forward(be, x, relu=relu, weights=self.weights(be))


def fold(first: Layer, second: Layer, shape: Shape) -> Folded | None:
    """Return two neighbours as one layer for inference, None if they cannot be folded.

    ``shape`` is that of the first one's input. A subclass may compute otherwise.
    """
    if type(second) not in (BatchNorm1d, BatchNorm2d) or type(first) not in (Conv2d, Linear):
        return None
    assert isinstance(first, Conv2d | Linear)
    assert isinstance(second, BatchNorm)
    # The outputs of a linear layer are on the last axis, and channels are on the first.
    by_channel = isinstance(first, Conv2d) or len(shape) == 1
    return Folded(first, second) if by_channel and second.track_running_stats else None
