"""Activations and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import BACKWARD, FORWARD, in_blocks, masked, relu_of


class NumpyActivations(NumpyArrays, Activations):
    """Activations and softmax."""

    def _activation(self, op: str, input: Array, *options: Any) -> Array:
        return relu_of(input) if op == "relu" else in_blocks(FORWARD[op], input, options=options)

    def _activation_backward(self, op: str, grad: Array, saved: Array, *options: Any) -> Array:
        if op == "relu":
            return masked(grad, saved > 0)
        return in_blocks(BACKWARD[op], grad, saved, options=options)

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


def softmax_of(x: Array, dim: int) -> Array:
    """Return exp(x) / sum of exp(x) along axis ``dim``, without overflow."""
    exponentials = x - np.maximum.reduce(x, dim, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= np.add.reduce(exponentials, dim, keepdims=True)
    return exponentials
