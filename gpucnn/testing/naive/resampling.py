"""Adaptive pooling and upsampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from gpucnn.testing.naive.common import Array, Index


def output_plane(plane: Sequence[int], output_size: Any) -> tuple[int, int]:
    """Return (P, Q) of an output size that may be one integer and may be or have None."""
    both = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    height, width = (side if size is None else size for side, size in zip(plane, both, strict=True))
    return int(height), int(width)


def adaptive_pixels(size: int, outputs: int, output: int) -> list[int]:
    """Return the pixels of which a part lies in the output's share of the axis."""
    first, end = Fraction(output * size, outputs), Fraction((output + 1) * size, outputs)
    return [pixel for pixel in range(size) if pixel < end and pixel + 1 > first]


def adaptive_elements(plane: Sequence[int], size: Sequence[int], p: int, q: int) -> list[Index]:
    """Return (row, column) of the elements of a window, in row-major order."""
    rows, columns = adaptive_pixels(plane[0], size[0], p), adaptive_pixels(plane[1], size[1], q)
    return [(row, column) for row in rows for column in columns]


def adaptive_avg_pool2d(input: Array, output_size: Any) -> Array:
    """Return the mean of each window."""
    plane = input.shape[2:]
    size = output_plane(plane, output_size)
    output = np.zeros((*input.shape[:2], *size))
    for n, c, p, q in np.ndindex(*output.shape):
        elements = adaptive_elements(plane, size, p, q)
        for row, column in elements:
            output[n, c, p, q] += float(input[n, c, row, column]) / len(elements)
    return output


def adaptive_avg_pool2d_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    """Share each output's gradient among the elements of its window."""
    input_grad = np.zeros(tuple(input_shape))
    for n, c, p, q in np.ndindex(*grad.shape):
        elements = adaptive_elements(input_shape[2:], grad.shape[2:], p, q)
        for row, column in elements:
            input_grad[n, c, row, column] += float(grad[n, c, p, q]) / len(elements)
    return input_grad


def adaptive_max_pool2d(
    input: Array, output_size: Any, return_indices: bool = True
) -> tuple[Array, Array]:
    """Return the maximum of each window and its index; the first of equal elements or NaN."""
    del return_indices  # always returned
    plane = input.shape[2:]
    size = output_plane(plane, output_size)
    output = np.zeros((*input.shape[:2], *size))
    indices = np.zeros(output.shape, np.int64)
    for n, c, p, q in np.ndindex(*output.shape):
        best, *others = adaptive_elements(plane, size, p, q)
        for element in others:
            value, greatest = float(input[n, c, *element]), float(input[n, c, *best])
            if value > greatest or (math.isnan(value) and not math.isnan(greatest)):
                best = element
        output[n, c, p, q] = float(input[n, c, *best])
        indices[n, c, p, q] = best[0] * plane[1] + best[1]
    return output, indices


def adaptive_max_pool2d_backward(grad: Array, indices: Array, input_shape: Sequence[int]) -> Array:
    """Add each output's gradient to the maximum of its window."""
    input_grad = np.zeros(tuple(input_shape))
    for n, c, p, q in np.ndindex(*grad.shape):
        row, column = divmod(int(indices[n, c, p, q]), input_shape[3])
        input_grad[n, c, row, column] += float(grad[n, c, p, q])
    return input_grad


def nearest_pixel(size: int, outputs: int, output: int) -> int:
    """Return the pixel in which the output's first edge lies."""
    return math.floor(Fraction(output * size, outputs))


def upsample_nearest2d(input: Array, output_size: Any) -> Array:
    """Return the nearest pixel of each output."""
    plane = input.shape[2:]
    size = output_plane(plane, output_size)
    output = np.zeros((*input.shape[:2], *size))
    for n, c, p, q in np.ndindex(*output.shape):
        row, column = nearest_pixel(plane[0], size[0], p), nearest_pixel(plane[1], size[1], q)
        output[n, c, p, q] = float(input[n, c, row, column])
    return output


def upsample_nearest2d_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    """Add each output's gradient to its pixel."""
    input_grad = np.zeros(tuple(input_shape))
    plane, size = input_shape[2:], grad.shape[2:]
    for n, c, p, q in np.ndindex(*grad.shape):
        row, column = nearest_pixel(plane[0], size[0], p), nearest_pixel(plane[1], size[1], q)
        input_grad[n, c, row, column] += float(grad[n, c, p, q])
    return input_grad
