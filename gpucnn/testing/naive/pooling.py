"""Max, average, sum and Lp pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpucnn.testing.naive.common import Array, Index, IntOrPair, Padding, padding_sides, pair


def window_starts(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, ceil: bool
) -> range:
    """Return where each window starts along one axis, found by moving it.

    With ``ceil``, another window follows if the last one ended before the padded edge, provided
    that it starts inside the input or the padding before it.
    """
    before, after = padding
    span, start = dilation * (kernel - 1) + 1, -before
    while start + span <= size + after:
        start += stride
    reached = start - stride + span
    if ceil and reached < size + after and start < size:
        start += stride
    return range(-before, start, stride)


def pool_windows(
    input_shape: Index,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> tuple[Index, list[tuple[Index, list[Index], int]]]:
    """Return the output shape and, for each output element, its index and its window.

    A window is the indices of the input elements in row-major order, and the number of kernel
    elements inside the input or its padding.
    """
    samples, channels, *size = input_shape
    kernel, gap, pad = pair(kernel_size), pair(dilation), padding_sides(padding)
    step = kernel if stride is None else pair(stride)
    starts = [
        window_starts(size[axis], kernel[axis], step[axis], pad[axis], gap[axis], ceil_mode)
        for axis in (0, 1)
    ]
    shape: Index = (samples, channels, len(starts[0]), len(starts[1]))
    windows: list[tuple[Index, list[Index], int]] = []
    for n, c, y, x in np.ndindex(*shape):
        inside: list[Index] = []
        padded = 0
        for i, j in np.ndindex(*kernel):
            row, column = starts[0][y] + i * gap[0], starts[1][x] + j * gap[1]
            if 0 <= row < size[0] and 0 <= column < size[1]:
                inside.append((n, c, row, column))
            if row < size[0] + pad[0][1] and column < size[1] + pad[1][1]:
                padded += 1
        windows.append(((n, c, y, x), inside, padded))
    return shape, windows


def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Array, Array]:
    """Return the maximum of each window and its index; the first of equal elements or NaN."""
    del return_indices  # always returned
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    output, indices = np.zeros(shape), np.zeros(shape, np.int64)
    for out, inside, _ in windows:
        best = inside[0]
        for source in inside[1:]:
            value, greatest = float(input[source]), float(input[best])
            if value > greatest or (math.isnan(value) and not math.isnan(greatest)):
                best = source
        output[out] = float(input[best])
        indices[out] = best[2] * input.shape[3] + best[3]
    return output, indices


def max_pool2d_backward(
    grad: Array,
    indices: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    *,
    relu_output: Array | None = None,
) -> Array:
    """Add each output's gradient to the maximum of its window."""
    del kernel_size, stride, padding, dilation, ceil_mode  # the indices suffice
    input_grad = np.zeros(tuple(input_shape))
    for n, c, y, x in np.ndindex(*grad.shape):
        if relu_output is not None and not relu_output[n, c, y, x] > 0:
            continue
        row, column = divmod(int(indices[n, c, y, x]), input_shape[3])
        input_grad[n, c, row, column] += float(grad[n, c, y, x])
    return input_grad


def avg_divisor(inside: int, padded: int, count_include_pad: bool, override: int | None) -> int:
    """Return the number that the sum of a window is divided by."""
    if override is not None:
        return override
    return padded if count_include_pad else inside


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Return the mean of each window."""
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, 1, ceil_mode)
    output = np.zeros(shape)
    for out, inside, padded in windows:
        for source in inside:
            output[out] += float(input[source])
        output[out] /= avg_divisor(len(inside), padded, count_include_pad, divisor_override)
    return output


def avg_pool2d_backward(
    grad: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """Share each output's gradient among the elements of its window."""
    shape = tuple(input_shape)
    input_grad = np.zeros(shape)
    _, windows = pool_windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for out, inside, padded in windows:
        divisor = avg_divisor(len(inside), padded, count_include_pad, divisor_override)
        for source in inside:
            input_grad[source] += float(grad[out]) / divisor
    return input_grad


def sum_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> Array:
    """Return the sum of each window."""
    shape, windows = pool_windows(input.shape, kernel_size, stride, padding, 1, ceil_mode)
    output = np.zeros(shape)
    for out, inside, _ in windows:
        for source in inside:
            output[out] += float(input[source])
    return output


def sum_pool2d_backward(
    grad: Array,
    input_shape: Sequence[int],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> Array:
    """Add each output's gradient to all elements of its window."""
    shape = tuple(input_shape)
    input_grad = np.zeros(shape)
    _, windows = pool_windows(shape, kernel_size, stride, padding, 1, ceil_mode)
    for out, inside, _ in windows:
        for source in inside:
            input_grad[source] += float(grad[out])
    return input_grad


def lp_pool2d(
    input: Array,
    norm_type: int,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """Return (mean of x^p over the elements inside, times the kernel elements) to the power 1/p."""
    shape, windows = pool_windows(input.shape, kernel_size, stride, ceil_mode=ceil_mode)
    output = np.zeros(shape)
    for out, inside, _ in windows:
        total = 0.0
        for source in inside:
            total += float(input[source]) ** norm_type
        total *= math.prod(pair(kernel_size)) / len(inside)
        output[out] = total if norm_type == 1 else math.sqrt(total)
    return output


def lp_pool2d_backward(
    grad: Array,
    input: Array,
    output: Array,
    norm_type: int,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    ceil_mode: bool = False,
) -> Array:
    """d output / d x = scale x^(p-1) / output^(p-1); scale is kernel elements / elements inside."""
    input_grad = np.zeros(input.shape)
    _, windows = pool_windows(input.shape, kernel_size, stride, ceil_mode=ceil_mode)
    for out, inside, _ in windows:
        scale = math.prod(pair(kernel_size)) / len(inside)
        for source in inside:
            if norm_type == 1:
                input_grad[source] += float(grad[out]) * scale
            elif output[out] != 0:
                slope = float(input[source]) / float(output[out])
                input_grad[source] += float(grad[out]) * scale * slope
    return input_grad
