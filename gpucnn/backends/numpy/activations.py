"""Activations, softmax and dropout."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import (
    masked,
    rectify,
)


class NumpyActivations(NumpyArrays, Activations):
    """Activations, softmax and dropout."""

    def _activation(self, op: str, input: Array) -> Array:
        if op == "relu":
            return rectify(input)
        return np.tanh(input) if op == "tanh" else sigmoid_of(input)

    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        if op == "relu":
            return masked(grad, output > 0)
        return grad * (1 - output * output if op == "tanh" else output * (1 - output))

    def _softmax(self, input: Array, dim: int) -> Array:
        return softmax_of(input, dim)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return output * (grad - (grad * output).sum(dim, keepdims=True))

    def _dropout(self, input: Array, mask: Array) -> Array:
        return input * mask


def sigmoid_of(x: Array) -> Array:
    """1 / (1 + exp(-x)): where the exponential overflows to infinity, 0 is the right result."""
    result = np.negative(x, out=np.empty_like(x))
    with np.errstate(over="ignore"):
        np.exp(result, out=result)
    result += 1
    return np.divide(1, result, out=result)


def softmax_of(x: Array, dim: int) -> Array:
    """exp(x) / sum of exp(x) along axis ``dim``, without overflow."""
    exponentials = x - np.maximum.reduce(x, dim, keepdims=True)
    np.exp(exponentials, out=exponentials)
    exponentials /= np.add.reduce(exponentials, dim, keepdims=True)
    return exponentials
