"""Convolution as a matrix product (im2col) over maps that are stored as (C, H, W, N).

A column holds the pixels under the kernel at one output position of one sample, in the order
(kh, C / groups, kw), and so does a row of the weight matrix; K is the length of a column. All
columns of a layer are many times larger than its input, so they are made for a few rows of output
positions at a time, in a buffer that fits in the cache and is reused.

Shapes are those of ``windows``, and M output channels of a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from gpucnn.backends.contract.checks import Array
from gpucnn.backends.contract.window import Window
from gpucnn.backends.numpy.windows import (
    batch_first,
    batch_last,
    crop,
    kernel_indices,
    pad,
    padded_zeros,
    window_view,
)

COLUMN_BYTES = 1 << 22
"""Size of the buffer for a convolution's columns: a share of the last-level cache."""

MIN_ROW_COLUMNS = 512
"""Columns that a row of output positions needs for a matrix product of its own."""

MIN_GRADIENT_CHANNELS, MIN_EQUAL_CHANNELS = 32, 8
"""Channels per group from which an input gradient is computed as a convolution.

The second number is for layers of one group with no more outputs than inputs: the columns of their
output gradient are no more than those of the input.
"""


def columns_of(x: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Yield rows of output positions, and the columns of ``x`` (C, H, W, N) for these rows.

    The columns are (products, groups, K, positions * N), one matrix product for each of the first
    axis.
    """
    padded = pad(x, window)
    wide = window.output[1] * x.shape[3] >= MIN_ROW_COLUMNS
    if wide and window.dilation[0] == 1 and window.stride[0] < window.kernel[0]:
        return _columns_by_row(padded, window, groups)
    return _columns_by_element(padded, window, groups)


def _columns_by_element(
    padded: Array, window: Window, groups: int
) -> Iterator[tuple[slice, Array]]:
    """Copy the pixels under each kernel element; all rows of the buffer form one product."""
    view = _grouped_view(padded, window, groups)
    for rows, by_element, columns in _buffers(window, view.shape, padded.dtype):
        by_element[...] = view[..., rows, :, :]
        yield rows, columns[None]


def _columns_by_row(padded: Array, window: Window, groups: int) -> Iterator[tuple[slice, Array]]:
    """Copy the pixels under one kernel row; each row of output positions forms a product.

    The buffer holds, for each row of pixels, the pixels under each element of a kernel row. Then
    ``kh`` consecutive rows of the buffer are the columns of one row of output positions, and
    overlap with those of the next.
    """
    (kh, kw), (height, width) = window.kernel, window.output
    stride = window.stride[0]
    row_window = replace(
        window, kernel=(1, kw), stride=(1, window.stride[1]), output=(padded.shape[1], width)
    )
    # (groups, H, C / groups, kw, W', N)
    view = np.moveaxis(_grouped_view(padded, row_window, groups)[:, 0], 3, 1)
    pixel_rows = COLUMN_BYTES // (view[:, 0].size * padded.itemsize)
    count = min(max(1, (pixel_rows - kh) // stride + 1), height)
    buffer = np.empty((groups, (count - 1) * stride + kh, *view.shape[2:]), padded.dtype)
    group_step, row_step, _, element_step, _, _ = buffer.strides
    shape = groups, kh * math.prod(view.shape[2:4]), width * padded.shape[3]
    for start in range(0, height, count):
        rows = slice(start, min(start + count, height))
        first, last = start * stride, (rows.stop - 1) * stride + kh
        buffer[:, : last - first] = view[:, first:last]
        strides = (stride * row_step, group_step, element_step, padded.itemsize)
        yield rows, as_strided(buffer, (rows.stop - start, *shape), strides)


def _grouped_view(padded: Array, window: Window, groups: int) -> Array:
    """Return the view (groups, kh, C / groups, kw, H', W', N) of the pixels under each element."""
    view = window_view(padded, window)
    return view.reshape(groups, -1, *view.shape[1:]).swapaxes(1, 2)


def _buffers(
    window: Window, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield rows of output positions, and a buffer for their columns in two shapes.

    The first is ``shape``, that of ``_grouped_view``, with these rows only; the second is (groups,
    K, positions * N).
    """
    height, row_size = window.output[0], math.prod(shape) // window.output[0]
    count = min(max(1, COLUMN_BYTES // (row_size * dtype.itemsize)), height)
    buffer = np.empty(count * row_size, dtype)
    for start in range(0, height, count):
        rows = slice(start, min(start + count, height))
        used = buffer[: (rows.stop - start) * row_size]
        by_element = used.reshape(*shape[:4], rows.stop - start, *shape[5:])
        yield rows, by_element, used.reshape(shape[0], math.prod(shape[1:4]), -1)


def correlate(x: Array, matrix: Array, window: Window) -> Array:
    """Return ``matrix`` (groups, M, K) times the columns of ``x``, as (groups, M, H', W' * N)."""
    groups, outputs, _ = matrix.shape
    height, width = window.output
    output = np.empty((groups, outputs, height, width * x.shape[3]), x.dtype)
    for rows, columns in columns_of(x, window, groups):
        np.matmul(matrix, columns, out=_rows_of(output, rows, columns))
    return output


def correlate_weight_grad(x: Array, grads: Array, window: Window) -> Array:
    """Return ``grads`` (groups, M, H', W' * N) times the transposed columns of ``x``.

    The result has the shape of a weight, (groups * M, C / groups, kh, kw).
    """
    groups, outputs, _, _ = grads.shape
    length = x.shape[0] // groups * window.kernel_elements
    total: Array = np.zeros((groups, outputs, length), x.dtype)
    for rows, columns in columns_of(x, window, groups):
        products = _rows_of(grads, rows, columns) @ columns.transpose(0, 1, 3, 2)
        total += products.sum(0)
    kh, kw = window.kernel
    return total.reshape(groups * outputs, kh, -1, kw).swapaxes(1, 2)


def _rows_of(maps: Array, rows: slice, columns: Array) -> Array:
    """Return a view of ``rows`` of (groups, M, H', W' * N), one matrix for each of ``columns``."""
    groups, outputs, _, _ = maps.shape
    return np.moveaxis(maps[:, :, rows].reshape(groups, outputs, columns.shape[0], -1), 2, 0)


def correlate_input_grad(grads: Array, matrix: Array, window: Window, samples: int) -> Array:
    """Return the plane (C, H, W, N) that the transpose of ``correlate`` computes."""
    groups, outputs, length = matrix.shape
    channels, flipped = groups * length // window.kernel_elements, _flipped(window)
    widens = outputs > channels or groups > 1
    least = MIN_GRADIENT_CHANNELS if widens else MIN_EQUAL_CHANNELS
    if flipped and channels >= least * groups:
        kernel = matrix.reshape(groups, outputs, window.kernel[0], -1, window.kernel[1])
        kernel = kernel[:, :, ::-1, :, ::-1].transpose(0, 3, 2, 1, 4)
        maps = grads.reshape(groups * outputs, *window.output, samples)
        plane = correlate(maps, kernel.reshape(groups, channels // groups, -1), flipped)
        return plane.reshape(channels, *window.plane, samples)
    padded = padded_zeros(channels, samples, window, grads.dtype)
    view = _grouped_view(padded, window, groups)
    transposed = matrix.transpose(0, 2, 1)
    for rows, by_element, columns in _buffers(window, view.shape, grads.dtype):
        np.matmul(transposed, _rows_of(grads, rows, columns[None])[0], out=columns)
        for i, j in kernel_indices(window):
            view[:, i, :, j, rows] += by_element[:, i, :, j]
    return crop(padded, window)


def _flipped(window: Window) -> Window | None:
    """Return the window of the convolution of the output gradient that gives the input gradient.

    At stride 1 the input gradient is a convolution with the kernel flipped in both axes. None for
    other strides, and where padding would be a large part of the work.
    """
    pads = []
    for axis in (0, 1):
        pad_before = window.padding[axis][0]
        flipped_before = (window.kernel[axis] - 1) * window.dilation[axis] - pad_before
        pads.append((flipped_before, window.plane[axis] - window.output[axis] + pad_before))
    much = math.prod(window.plane) > 1.2 * math.prod(window.output)
    if window.stride != (1, 1) or much or min(map(min, pads)) < 0:
        return None
    return replace(window, padding=(pads[0], pads[1]), plane=window.output, output=window.plane)


def weight_matrix(weight: Array, groups: int) -> Array:
    """Return a weight as (groups, first axis / groups, K), in the order of a column."""
    first, second, kh, kw = weight.shape
    return weight.swapaxes(1, 2).reshape(groups, first // groups, kh * second * kw)


def group_rows(array: Array, groups: int) -> Array:
    """Return (N, C, H, W) as (groups, C / groups, H, W * N)."""
    samples, channels, height, width = array.shape
    return batch_last(array).reshape(groups, channels // groups, height, width * samples)


def as_map(rows: Array, samples: int, bias: Any = None) -> Array:
    """Return (groups, C / groups, H, W * N) as (N, C, H, W), with ``bias`` added in place."""
    groups, channels, height, _ = rows.shape
    if bias is not None:
        rows += bias.reshape(groups, channels, 1, 1)
    return batch_first(rows.reshape(groups * channels, height, -1, samples))


def sum_channels(rows: Array, out: Array | None) -> None:
    """Write the sum over each channel, the leading axes of ``rows``, to ``out`` unless None."""
    if out is not None:
        np.sum(rows.reshape(out.size, -1), axis=1, out=out)
