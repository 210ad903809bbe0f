"""Convolution: matrix products with columns that hold a window each."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.window import Window
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import (
    as_map,
    batch_first,
    batch_last,
    correlate,
    correlate_input_grad,
    correlate_weight_grad,
    group_rows,
    matrices,
    rectify,
    sum_channels,
)


class NumpyConvolution(NumpyArrays, Convolution):
    """Convolution and transposed convolution."""

    def _conv2d(
        self,
        input: Array,
        weight: Array,
        bias: Array | None,
        window: Window,
        groups: int,
        relu: bool,
    ) -> Array:
        output = correlate(batch_last(input), matrices(weight, groups), window)
        maps = as_map(output, input.shape[0], bias)
        return rectify(maps, maps) if relu else maps

    def _conv2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        rows = group_rows(grad, groups)
        out[0][...] = correlate_weight_grad(batch_last(input), rows, window)
        sum_channels(rows, out[1])
        if not input_grad:
            return None
        matrix = matrices(weight, groups)
        return batch_first(correlate_input_grad(rows, matrix, window, input.shape[0]))

    # A transposed convolution is the input gradient of a convolution, and the other way round.

    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        rows, matrix = group_rows(input, groups), matrices(weight, groups)
        output = correlate_input_grad(rows, matrix, window, input.shape[0])
        if bias is not None:
            output += bias[:, None, None, None]
        return batch_first(output)

    def _conv_transpose2d_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        window: Window,
        groups: int,
        input_grad: bool,
        out: ParameterGrads,
    ) -> Array | None:
        grads = batch_last(grad)
        rows = group_rows(input, groups)
        out[0][...] = correlate_weight_grad(grads, rows, window)
        sum_channels(grads, out[1])
        if not input_grad:
            return None
        matrix = matrices(weight, groups)
        return as_map(correlate(grads, matrix, window), input.shape[0])
