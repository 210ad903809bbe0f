"""Convolution and transposed convolution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpucnn.testing.naive.activations import relu
from gpucnn.testing.naive.common import Array, Index, IntOrPair, Padding, padding_sides, pair


def conv_padding(
    padding: Padding | str, kernel: tuple[int, int], dilation: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return ((top, bottom), (left, right)); "same" adds an odd pixel at the bottom or right."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding == "same":
        totals = [gap * (size - 1) for size, gap in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    assert not isinstance(padding, str)
    return padding_sides(padding)


def conv_connections(
    input_shape: Index,
    weight_shape: Index,
    stride: IntOrPair,
    padding: Padding | str,
    dilation: IntOrPair,
    groups: int,
) -> tuple[Index, Iterator[tuple[Index, Index, Index]]]:
    """Return the output shape, and the (output, input, weight) indices of each product."""
    samples, channels, height, width = input_shape
    outs, _, kernel_h, kernel_w = weight_shape
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(stride), pair(dilation)
    (top, bottom), (left, right) = conv_padding(
        padding, (kernel_h, kernel_w), (dilation_h, dilation_w)
    )
    out_h = (top + height + bottom - dilation_h * (kernel_h - 1) - 1) // stride_h + 1
    out_w = (left + width + right - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
    output_shape = (samples, outs, out_h, out_w)

    def connections() -> Iterator[tuple[Index, Index, Index]]:
        for n, k, p, q in np.ndindex(*output_shape):
            first_channel = k // (outs // groups) * (channels // groups)
            for c, r, s in np.ndindex(*weight_shape[1:]):
                h = p * stride_h + r * dilation_h - top
                w = q * stride_w + s * dilation_w - left
                if 0 <= h < height and 0 <= w < width:
                    yield (n, k, p, q), (n, first_channel + c, h, w), (k, c, r, s)

    return output_shape, connections()


def add_bias_and_relu(output: Array, bias: Array | None, with_relu: bool) -> Array:
    """Add the bias, if there is one, and apply ReLU, if asked for, in place."""
    output = output if bias is None else add_bias(output, bias)
    return relu(output) if with_relu else output


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrPair = 1,
    padding: Padding | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    relu: bool = False,
) -> Array:
    """Return the cross-correlation of the input with the weight, plus the bias."""
    shape, connections = conv_connections(
        input.shape, weight.shape, stride, padding, dilation, groups
    )
    output = np.zeros(shape)
    for out, source, element in connections:
        output[out] += float(input[source]) * float(weight[element])
    return add_bias_and_relu(output, bias, relu)


def conv2d_backward(
    grad: Array,
    input: Array,
    weight: Array,
    stride: IntOrPair = 1,
    padding: Padding | str = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    _, connections = conv_connections(input.shape, weight.shape, stride, padding, dilation, groups)
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for out, source, element in connections:
        input_grad[source] += float(grad[out]) * float(weight[element])
        weight_grad[element] += float(grad[out]) * float(input[source])
    return input_grad, weight_grad, sum_per_channel(grad)


def transposed_connections(
    input_shape: Index,
    weight_shape: Index,
    stride: IntOrPair,
    padding: Padding,
    output_padding: IntOrPair,
    groups: int,
    dilation: IntOrPair,
) -> tuple[Index, Iterator[tuple[Index, Index, Index]]]:
    """Return the output shape, and the (output, input, weight) indices of each product.

    Each input pixel adds the kernel, times its value, to the output. Adjacent pixels add it
    ``stride`` pixels apart, and ``padding`` pixels are then removed at every edge.
    """
    samples, channels, height, width = input_shape
    _, outs_per_group, kernel_h, kernel_w = weight_shape
    (stride_h, stride_w), (dilation_h, dilation_w) = pair(stride), pair(dilation)
    (top, bottom), (left, right) = padding_sides(padding)
    extra_h, extra_w = pair(output_padding)
    out_h = (height - 1) * stride_h + (kernel_h - 1) * dilation_h + 1 + extra_h - top - bottom
    out_w = (width - 1) * stride_w + (kernel_w - 1) * dilation_w + 1 + extra_w - left - right

    def connections() -> Iterator[tuple[Index, Index, Index]]:
        for n, c, h, w in np.ndindex(*input_shape):
            first_out = c // (channels // groups) * outs_per_group
            for k, r, s in np.ndindex(*weight_shape[1:]):
                p, q = h * stride_h + r * dilation_h - top, w * stride_w + s * dilation_w - left
                if 0 <= p < out_h and 0 <= q < out_w:
                    yield (n, first_out + k, p, q), (n, c, h, w), (c, k, r, s)

    return (samples, outs_per_group * groups, out_h, out_w), connections()


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> Array:
    """Return the transposed convolution of the input, plus the bias."""
    shape, connections = transposed_connections(
        input.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    output = np.zeros(shape)
    for out, source, element in connections:
        output[out] += float(input[source]) * float(weight[element])
    return output if bias is None else add_bias(output, bias)


def conv_transpose2d_backward(
    grad: Array,
    input: Array,
    weight: Array,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    _, connections = transposed_connections(
        input.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for out, source, element in connections:
        input_grad[source] += float(grad[out]) * float(weight[element])
        weight_grad[element] += float(grad[out]) * float(input[source])
    return input_grad, weight_grad, sum_per_channel(grad)


def add_bias(output: Array, bias: Array) -> Array:
    """Add the bias to its channel, in place."""
    for index in np.ndindex(*output.shape):
        output[index] += float(bias[index[1]])
    return output


def sum_per_channel(grad: Array) -> Array:
    """Return the gradient of the bias."""
    sums = np.zeros(grad.shape[1])
    for index in np.ndindex(*grad.shape):
        sums[index[1]] += float(grad[index])
    return sums
