"""What joins the outputs of several layers."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.joining import Joining
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import relu_of


class NumpyJoining(NumpyArrays, Joining):
    """What joins the outputs of several layers.

    Where the batch is innermost, some channels of feature maps are one contiguous piece of memory.
    """

    def _add(self, input: Array, other: Array, relu: bool) -> Array:
        total = input + other
        return relu_of(total, total) if relu else total

    def _write_channels(self, output: Array, input: Array, start: int) -> None:
        output[:, start : start + input.shape[1]] = input

    def _read_channels(self, input: Array, start: int, channels: int) -> Array:
        return input[:, start : start + channels]
