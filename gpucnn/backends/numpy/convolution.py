"""Convolution as a matrix product (im2col)."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.convolution import Convolution
from gpucnn.backends.contract.window import Window
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import relu_of
from gpucnn.backends.numpy.im2col import (
    as_map,
    correlate,
    correlate_input_grad,
    correlate_weight_grad,
    group_rows,
    sum_channels,
    weight_matrix,
)
from gpucnn.backends.numpy.windows import batch_first, batch_last


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
        output = correlate(batch_last(input), weight_matrix(weight, groups), window)
        maps = as_map(output, input.shape[0], bias)
        return relu_of(maps, maps) if relu else maps

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
        matrix = weight_matrix(weight, groups)
        return batch_first(correlate_input_grad(rows, matrix, window, input.shape[0]))

    # A transposed convolution is the input gradient of a convolution, and vice versa.

    def _conv_transpose2d(
        self, input: Array, weight: Array, bias: Array | None, window: Window, groups: int
    ) -> Array:
        rows, matrix = group_rows(input, groups), weight_matrix(weight, groups)
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
        matrix = weight_matrix(weight, groups)
        return as_map(correlate(grads, matrix, window), input.shape[0])
