"""Activations and softmax."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy.arrays import NumpyArrays


class NumpyActivations(NumpyArrays, Activations):
    """Activations and softmax."""

    def _relu(self, input: Array) -> Array:
        return relu_of(input)

    def _relu_backward(self, grad: Array, output: Array) -> Array:
        return masked(grad, output > 0)

    def _leaky_relu(self, input: Array, negative_slope: float) -> Array:
        return np.where(input > 0, input, negative_slope * input)

    def _leaky_relu_backward(self, grad: Array, input: Array, negative_slope: float) -> Array:
        return np.where(input > 0, grad, negative_slope * grad)

    def _sigmoid(self, input: Array) -> Array:
        return sigmoid_of(input)

    def _sigmoid_backward(self, grad: Array, output: Array) -> Array:
        return grad * (output * (1 - output))

    def _tanh(self, input: Array) -> Array:
        return np.tanh(input)

    def _tanh_backward(self, grad: Array, output: Array) -> Array:
        return grad * ((1 - output) * (1 + output))  # y², rounded, leaves nothing near 1

    def _softmax(self, input: Array, dim: int) -> Array:
        return softmax_of(input, dim)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        # In y_i (g_i - sum of g y) the term g_m y_m of the greatest y, nearly 1, would cancel. With
        # g_m subtracted from both sides, what remains of it is g_m (y_m - 1).
        greatest = output.argmax(dim, keepdims=True)
        shift = np.take_along_axis(grad, greatest, dim)
        terms = grad * output
        certain = shift * (np.take_along_axis(output, greatest, dim) - 1)
        np.put_along_axis(terms, greatest, certain, dim)
        return output * (grad - shift - terms.sum(dim, keepdims=True))


def relu_of(x: Array, out: Array | None = None) -> Array:
    """Return max(x, 0), with NaN where x is NaN, in the memory order of ``x``.

    ``out`` may be ``x`` itself if its memory has no gaps.
    """
    result = np.empty_like(x) if out is None else out
    if x.strides != result.strides:  # gaps, zero strides or negative strides
        return np.maximum(x, 0, out=result)
    # NumPy's vectorised loop takes two arrays, not a scalar: a row of zeros that stays in cache.
    source, target, zeros = x.ravel("K"), result.ravel("K"), _zeros(x.dtype)
    size = zeros.size
    in_rows = source.size // size * size
    if in_rows:
        rows = target[:in_rows].reshape(-1, size)
        np.maximum(source[:in_rows].reshape(-1, size), zeros, out=rows)
    np.maximum(source[in_rows:], zeros[: source.size - in_rows], out=target[in_rows:])
    return result


@cache
def _zeros(dtype: np.dtype[Any]) -> Array:
    """Return a read-only row of zeros.

    Its length is that of NumPy's buffer, 8192 elements. Shorter rows are copied to the buffer
    first, which takes up to ten times as long.
    """
    zeros = np.zeros(8192, dtype)
    zeros.flags.writeable = False
    return zeros


def masked(grad: Array, kept: Array) -> Array:
    """Return ``grad`` where ``kept`` is true, and zero elsewhere even if it is NaN or infinite.

    True is -1 as an integer, whose bits are all set, so that a bitwise "and" keeps the number. This
    is as fast as a product, in which zero times infinity would be NaN, and ten times as fast as
    ``np.where``.
    """
    integers = np.dtype(f"i{grad.itemsize}")
    return np.bitwise_and(grad.view(integers), -kept.view(np.int8)).view(grad.dtype)


def sigmoid_of(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)); where exp overflows to infinity, 0 is the correct result."""
    result = np.negative(x, out=np.empty_like(x))
    with np.errstate(over="ignore"):
        np.exp(result, out=result)
    result += 1
    return np.divide(1, result, out=result)


def softmax_of(x: Array, dim: int) -> Array:
    """Return exp(x) / sum of exp(x) along axis ``dim``, without overflow."""
    exponentials = x - np.maximum.reduce(x, dim, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= np.add.reduce(exponentials, dim, keepdims=True)
    return exponentials
