"""Linear layers and flattening."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpucnn.testing.naive import activations
from gpucnn.testing.naive.common import Array


def linear(input: Array, weight: Array, bias: Array | None = None, *, relu: bool = False) -> Array:
    """Return input @ weight.T + bias along the last axis."""
    output = np.zeros((*input.shape[:-1], weight.shape[0]))
    for *n, o in np.ndindex(*output.shape):
        for f in range(input.shape[-1]):
            output[*n, o] += float(input[*n, f]) * float(weight[o, f])
        if bias is not None:
            output[*n, o] += float(bias[o])
    return activations.relu(output) if relu else output


def linear_backward(grad: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    bias_grad = np.zeros(weight.shape[0])
    for *n, o in np.ndindex(*grad.shape):
        bias_grad[o] += float(grad[*n, o])
        for f in range(input.shape[-1]):
            input_grad[*n, f] += float(grad[*n, o]) * float(weight[o, f])
            weight_grad[o, f] += float(grad[*n, o]) * float(input[*n, f])
    return input_grad, weight_grad, bias_grad


def linear_transpose(input: Array, weight: Array) -> Array:
    """Return the sums over the outputs of input times weight."""
    output = np.zeros((input.shape[0], weight.shape[1]))
    for n, f, o in np.ndindex(*output.shape, weight.shape[0]):
        output[n, f] += float(input[n, o]) * float(weight[o, f])
    return output


def flatten(input: Array) -> Array:
    """Return all axes but the first as one."""
    rest = input.shape[1:]
    output = np.zeros((input.shape[0], math.prod(rest)))
    for n in range(input.shape[0]):
        for position, index in enumerate(np.ndindex(*rest)):
            output[n, position] = input[(n, *index)]
    return output


def flatten_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    """Return grad in the shape of the input."""
    input_grad = np.zeros(tuple(input_shape))
    for n in range(input_shape[0]):
        for position, index in enumerate(np.ndindex(*input_shape[1:])):
            input_grad[(n, *index)] = grad[n, position]
    return input_grad
