"""Convolution, bias, perhaps ReLU, and 2 by 2 max-pooling as one operation, in NumPy.

The four convolution outputs in a pooling window depend on one patch of the input of (kh + 1) by
(kw + 1) pixels, and adjacent patches are 2 pixels apart. The weight matrix contains the kernel four
times, once for each of the four positions in the patch. Its product with the patches therefore
yields the convolution's output as four quarters, and pooling is three ``np.maximum`` of whole
quarters. Bias and ReLU follow on a quarter of the data, since neither changes which element is the
maximum. For 5 by 5 kernels this takes 1.44 times the multiply-adds and copies 2.8 times less, which
is faster as long as there are few channels (``MOST_EXTRA``). The output is computed in strips of a
few rows, which stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.fused import FusedLayers, Fusion, LayerSpec
from gpucnn.backends.contract.window import Pair, Window
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_first, batch_last
from gpucnn.errors import SettingError

Slices = tuple[slice, slice, slice]

STRIP_BYTES = 1 << 21
"""Maximum size of a strip's columns, unless a single row is larger: they should stay in a cache."""

MOST_EXTRA = 96
"""The largest number of multiply-adds for each convolution output, beyond those of the convolution,
that cost less than the passes over its output: 8 channels of 3 by 3 kernels are 1.2 times as fast
as one operation, 16 channels 0.9 times, 32 channels 0.8 times."""


@dataclass
class _Strip:
    """The buffers for some rows of the output.

    Strips share the buffers that backward does not need. ``copies`` are pairs of a part of the
    columns and the pixels that are copied to it. ``grad_copies`` are the same for the gradients,
    with a pair for each patch element, because their pixels overlap.
    """

    rows: slice
    columns: Array
    quarters: Array
    pair: Array
    is_first: Array
    zero: Array
    copies: list[tuple[Array, Array]]
    grad_copies: list[tuple[Array, Array]]


class ConvMaxPool:
    """The fused operation for one input shape, with its buffers; results are new arrays.

    ``window`` is that of the convolution, with stride and dilation 1. The input is (N, C, H, W) and
    the output (N, O, H' // 2, W' // 2). The first of equal elements is the maximum, as in
    ``max_pool2d``. ``relu`` is whether a ReLU is included. ``backward`` requires ``training``.
    """

    def __init__(
        self,
        be: Arrays,
        window: Window,
        channels: int,
        outputs: int,
        samples: int,
        relu: bool,
        training: bool,
    ) -> None:
        self._be, self._relu, self._training, dtype = be, relu, training, be.dtype
        self._input_shape = (samples, channels, *window.plane)
        pooled = window.output[0] // 2, window.output[1] // 2
        # The padded input as four parts, by even and odd rows and columns: the pixels under one
        # element of adjacent patches are then adjacent. The padding is written only here.
        height, width = (_half(window, axis) for axis in (0, 1))
        self._parts = np.zeros((2, 2, channels, height, width, samples), dtype)
        self._part_grads = np.zeros_like(self._parts) if training else None
        self._part_slices = [(y, x, *_part_slices(window, y, x)) for y in (0, 1) for x in (0, 1)]

        patch = (window.kernel[0] + 1, window.kernel[1] + 1, channels)
        weights = np.zeros((4, outputs, *patch), dtype)
        self._weights = weights.reshape(4 * outputs, -1)
        self._kernel_views = _kernel_views(weights, window.kernel)
        weight_grads = np.zeros_like(weights)
        self._weight_grads = weight_grads.reshape(4 * outputs, -1)
        self._kernel_grad_views = _kernel_views(weight_grads, window.kernel)

        self._map_shape = (samples, outputs, *pooled)
        self._strips = self._make_strips(patch, outputs)
        self._output: Array = None

    def _make_strips(self, patch: tuple[int, int, int], outputs: int) -> list[_Strip]:
        samples, _, height, width = self._map_shape
        positions, length, dtype = width * samples, math.prod(patch), self._parts.dtype
        number = math.ceil(height * positions * length * dtype.itemsize / STRIP_BYTES)
        most = math.ceil(height / number)
        quarters = np.empty(4 * outputs * most * positions, dtype)
        pair = np.empty(2 * outputs * most * positions, dtype)
        zero = np.zeros(outputs * most * positions, dtype)  # np.maximum is slower with a plain 0
        columns, strips, grads = np.empty(0, dtype), [], self._part_grads
        for start in range(0, height, most):
            rows = slice(start, min(start + most, height))
            count = rows.stop - start
            if self._training or not start:  # without backward, strips share one buffer
                columns = np.empty(length * most * positions, dtype)
            by_element = _shaped(columns, (*patch, count, width, samples))
            strip = _Strip(
                rows,
                by_element.reshape(length, -1),
                _shaped(quarters, (4 * outputs, count * positions)),
                _shaped(pair, (2, outputs, count, positions)),
                np.empty((3 * self._training, outputs, count, positions), bool),
                _shaped(zero, (outputs, count, positions)),
                _copies(by_element, self._parts, start),
                [] if grads is None else _element_copies(by_element, grads, start),
            )
            strips.append(strip)
        return strips

    def forward(self, input: Array, weight: Array, bias: Array | None) -> Array:
        """Return the output of the pooling."""
        self._be._check("conv2d", "input", input, self._input_shape)
        x = batch_last(input)
        for odd_y, odd_x, part, pixels in self._part_slices:
            self._parts[odd_y, odd_x][part] = x[pixels]
        kernel = weight.transpose(0, 2, 3, 1)
        for view in self._kernel_views:
            view[...] = kernel
        samples, outputs, height, width = self._map_shape
        output = np.empty((outputs, height, width * samples), self._parts.dtype)
        for strip in self._strips:
            self._forward_strip(strip, bias, output[:, strip.rows])
        self._output = output if self._training else None
        return batch_first(output.reshape(outputs, height, width, samples))

    def _forward_strip(self, strip: _Strip, bias: Array | None, output: Array) -> None:
        for columns, pixels in strip.copies:
            columns[...] = pixels
        np.matmul(self._weights, strip.columns, out=strip.quarters)
        upper_left, upper_right, lower_left, lower_right = strip.quarters.reshape(4, *output.shape)
        upper, lower = strip.pair
        np.maximum(upper_left, upper_right, out=upper)
        np.maximum(lower_left, lower_right, out=lower)
        if self._training:
            np.greater_equal(upper_left, upper_right, out=strip.is_first[0])
            np.greater_equal(lower_left, lower_right, out=strip.is_first[1])
            np.greater_equal(upper, lower, out=strip.is_first[2])
        np.maximum(upper, lower, out=output)
        if bias is not None:
            output += bias[:, None, None]
        if self._relu:
            np.maximum(output, strip.zero, out=output)

    def backward(self, grad: Array, input_grad: bool, out: ParameterGrads) -> Array | None:
        """Write the gradients of weight and bias; return that of the input if ``input_grad``."""
        if self._part_grads is None or self._output is None:
            raise SettingError("backward needs a forward of a plan for training before it")
        self._be._check("max_pool2d_backward", "grad", grad, self._map_shape)
        grads = batch_last(grad).reshape(self._output.shape)
        self._weight_grads.fill(0)
        if input_grad:
            self._part_grads.fill(0)
        if out[1] is not None:
            out[1].fill(0)
        for strip in self._strips:
            self._backward_strip(strip, grads[:, strip.rows], out[1])
            if input_grad:
                # The columns are no longer needed: their buffer takes their gradients.
                np.matmul(self._weights.T, strip.quarters, out=strip.columns)
                for columns, pixels in strip.grad_copies:
                    pixels += columns
        kernel_grad = out[0].transpose(0, 2, 3, 1)
        first, second, third, fourth = self._kernel_grad_views
        np.add(first, second, out=kernel_grad)
        kernel_grad += third
        kernel_grad += fourth
        return self._join_parts(self._part_grads) if input_grad else None

    def _backward_strip(self, strip: _Strip, grad: Array, bias_grad: Array | None) -> None:
        """Compute the gradients of a strip's quarters, and add to those of weight and bias."""
        total, part = strip.pair
        if self._relu:
            positive = np.greater(self._output[:, strip.rows], strip.zero)
            np.multiply(grad, positive, out=total)
        else:
            total = grad
        if bias_grad is not None:
            bias_grad += total.reshape(len(total), -1).sum(1)
        # Each gradient belongs to one of the four quarters; the remainder, for the others, is 0.
        upper_left, upper_right, lower_left, lower_right = strip.quarters.reshape(4, *grad.shape)
        np.multiply(total, strip.is_first[2], out=part)
        np.multiply(part, strip.is_first[0], out=upper_left)
        np.subtract(part, upper_left, out=upper_right)
        np.subtract(total, part, out=part)
        np.multiply(part, strip.is_first[1], out=lower_left)
        np.subtract(part, lower_left, out=lower_right)
        self._weight_grads += strip.quarters @ strip.columns.T

    def _join_parts(self, parts: Array) -> Array:
        """Return the gradient of the input from its four parts."""
        samples, *map_shape = self._input_shape
        input_grad = np.empty((*map_shape, samples), parts.dtype)
        for odd_y, odd_x, part, pixels in self._part_slices:
            input_grad[pixels] = parts[odd_y, odd_x][part]
        return batch_first(input_grad)


def _shaped(memory: Array, shape: Sequence[int]) -> Array:
    """Return the first elements of a flat array in a shape."""
    return memory[: math.prod(shape)].reshape(shape)


def _half(window: Window, axis: int) -> int:
    """Return the number of even rows (axis 0) or columns (axis 1) of the padded input."""
    needed = window.output[axis] // 2 * 2 + window.kernel[axis] - 1
    return -(-max(needed, window.padding[axis][0] + window.plane[axis]) // 2)


def _part_slices(window: Window, odd_y: int, odd_x: int) -> tuple[Slices, Slices]:
    """Return the slices of a part that hold pixels of the input, and those of the input."""
    part, pixels = [slice(None)], [slice(None)]
    for axis, odd in enumerate((odd_y, odd_x)):
        pad_before, size = window.padding[axis][0], window.plane[axis]
        first = (pad_before + odd) % 2
        start, count = (pad_before + first) // 2, len(range(first, size, 2))
        part.append(slice(start, start + count))
        pixels.append(slice(first, None, 2))
    return (part[0], part[1], part[2]), (pixels[0], pixels[1], pixels[2])


def _copies(columns: Array, parts: Array, start: int) -> list[tuple[Array, Array]]:
    """Return the columns (kh + 1, kw + 1, C, rows, W', N) and their pixels, a pair for each part.

    ``start`` is the first row of the strip.
    """
    pairs = []
    for odd_y, odd_x in np.ndindex(2, 2):
        own = columns[odd_y::2, odd_x::2]
        pixels = sliding_window_view(parts[odd_y, odd_x], own.shape[3:5], axis=(1, 2))
        pixels = pixels[:, start : start + own.shape[0], : own.shape[1]]
        pairs.append((own, pixels.transpose(1, 2, 0, 4, 5, 3)))
    return pairs


def _element_copies(columns: Array, parts: Array, start: int) -> list[tuple[Array, Array]]:
    """Return the same with a pair for each patch element, as views that can be written to."""
    _, _, _, height, width, _ = columns.shape
    pairs = []
    for i, j in np.ndindex(columns.shape[:2]):
        top, left = start + i // 2, j // 2
        pixels = parts[i % 2, j % 2, :, top : top + height, left : left + width]
        pairs.append((columns[i, j], pixels))
    return pairs


def _kernel_views(weights: Array, kernel: Pair) -> list[Array]:
    """Return the view of the kernel (O, kh, kw, C) in the patch for each of the four outputs."""
    return [
        weights[2 * y + x, :, y : y + kernel[0], x : x + kernel[1]] for y in (0, 1) for x in (0, 1)
    ]


class NumpyFusion(NumpyArrays, Fusion):
    """Convolution, perhaps ReLU, and 2x2 max-pooling as one operation."""

    def fuse_layers(
        self, layers: Sequence[LayerSpec], samples: int, training: bool = True
    ) -> FusedLayers | None:
        first, *between, last = layers
        relu = [layer.op for layer in between] == ["relu"]
        if (first.op, last.op) != ("conv2d", "max_pool2d") or (between and not relu):
            return None
        conv, pool = first.window, last.window
        assert conv is not None
        assert pool is not None
        fits = conv.stride == conv.dilation == (1, 1) and first.groups == 1
        halves = pool.output == (conv.output[0] // 2, conv.output[1] // 2)
        plain = pool.kernel == pool.stride == (2, 2) and pool.padding == ((0, 0), (0, 0))
        channels, outputs = first.input_shape[0], first.output_shape[0]
        pays = channels * (sum(conv.kernel) + 1) <= MOST_EXTRA
        if fits and pays and plain and halves and pool.dilation == (1, 1):
            return ConvMaxPool(self, conv, channels, outputs, samples, relu, training)
        return None
