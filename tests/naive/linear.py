"""Linear layers and flattening."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from naive.common import Array
from naive.convolution import add_bias_and_relu, sum_per_channel


def linear(input: Array, weight: Array, bias: Array | None = None, *, relu: bool = False) -> Array:
    output = np.zeros((input.shape[0], weight.shape[0]))
    for n, o in np.ndindex(*output.shape):
        for f in range(input.shape[1]):
            output[n, o] += float(input[n, f]) * float(weight[o, f])
    return add_bias_and_relu(output, bias, relu)


def linear_backward(grad: Array, input: Array, weight: Array) -> tuple[Array, Array, Array]:
    input_grad, weight_grad = np.zeros(input.shape), np.zeros(weight.shape)
    for n, o in np.ndindex(*grad.shape):
        for f in range(input.shape[1]):
            input_grad[n, f] += float(grad[n, o]) * float(weight[o, f])
            weight_grad[o, f] += float(grad[n, o]) * float(input[n, f])
    return input_grad, weight_grad, sum_per_channel(grad)


def flatten(input: Array) -> Array:
    rest = input.shape[1:]
    output = np.zeros((input.shape[0], math.prod(rest)))
    for n in range(input.shape[0]):
        for position, index in enumerate(np.ndindex(*rest)):
            output[n, position] = input[(n, *index)]
    return output


def flatten_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    input_grad = np.zeros(tuple(input_shape))
    for n in range(input_shape[0]):
        for position, index in enumerate(np.ndindex(*input_shape[1:])):
            input_grad[(n, *index)] = grad[n, position]
    return input_grad
