"""Recurrent networks, and sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpucnn.testing.naive.activations import logistic
from gpucnn.testing.naive.common import Array


def rnn(
    input: Array, weight: Array, bias: Array | None = None, nonlinearity: str = "tanh"
) -> Array:
    """Return h_t = f(x_t + h_{t-1} @ weight.T + bias), one step after the other."""
    output = np.zeros(input.shape)
    for n, t, u in np.ndindex(*input.shape):
        x = float(input[n, t, u]) + _recurrent(output, weight, bias, n, t, u)
        if nonlinearity == "tanh":
            output[n, t, u] = math.tanh(x)
        else:
            output[n, t, u] = x if x > 0 or math.isnan(x) else 0.0
    return output


def rnn_backward(
    grad: Array, output: Array, weight: Array, nonlinearity: str = "tanh"
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias, from the last step to the first."""
    samples, steps, hidden = grad.shape
    input_grad = np.zeros(grad.shape)
    weight_grad, bias_grad = np.zeros(weight.shape), np.zeros(hidden)
    for n in range(samples):
        for t in reversed(range(steps)):
            for u in range(hidden):
                total = float(grad[n, t, u])
                if t + 1 < steps:
                    total += _dot(input_grad[n, t + 1], weight[:, u])
                y = float(output[n, t, u])
                if nonlinearity == "tanh":
                    input_grad[n, t, u] = total * (1 - y) * (1 + y)
                elif y > 0:
                    input_grad[n, t, u] = total
    for n, t, u in np.ndindex(*grad.shape):
        bias_grad[u] += input_grad[n, t, u]
        if t:
            weight_grad[u] += input_grad[n, t, u] * output[n, t - 1]
    return input_grad, weight_grad, bias_grad


def gru(
    input: Array, weight: Array, bias: Array | None = None, return_gates: bool = False
) -> tuple[Array, Array] | Array:
    """Return h_t = (1 - z) n + z h_{t-1}, and the gates r, z, q and n."""
    samples, steps, _ = input.shape
    hidden = weight.shape[1]
    output, gates = np.zeros((samples, steps, hidden)), np.zeros((samples, steps, 4 * hidden))
    for n, t, u in np.ndindex(*output.shape):
        x = [float(input[n, t, part * hidden + u]) for part in range(3)]
        of_state = [_recurrent(output, weight, bias, n, t, part * hidden + u) for part in range(3)]
        reset, update = logistic(x[0] + of_state[0]), logistic(x[1] + of_state[1])
        new = math.tanh(x[2] + reset * of_state[2])
        before = float(output[n, t - 1, u]) if t else 0.0
        output[n, t, u] = (1 - update) * new + update * before
        for part, value in enumerate((reset, update, of_state[2], new)):
            gates[n, t, part * hidden + u] = value
    return (output, gates) if return_gates else output


def gru_backward(
    grad: Array, output: Array, gates: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias, from the last step to the first."""
    samples, steps, hidden = grad.shape
    input_grad = np.zeros((samples, steps, 3 * hidden))
    of_state_grad, state_grad = np.zeros(input_grad.shape), np.zeros(grad.shape)
    weight_grad, bias_grad = np.zeros(weight.shape), np.zeros(3 * hidden)
    for n in range(samples):
        for t in reversed(range(steps)):
            for u in range(hidden):
                total = float(grad[n, t, u])
                if t + 1 < steps:
                    total += state_grad[n, t + 1, u] * float(gates[n, t + 1, hidden + u])
                    total += _dot(of_state_grad[n, t + 1], weight[:, u])
                state_grad[n, t, u] = total
                r, z, q, new = (float(gates[n, t, part * hidden + u]) for part in range(4))
                before = float(output[n, t - 1, u]) if t else 0.0
                new_grad = total * (1 - z) * (1 - new) * (1 + new)
                parts = (new_grad * q * r * (1 - r), total * (before - new) * z * (1 - z), new_grad)
                for part, value in enumerate(parts):
                    input_grad[n, t, part * hidden + u] = value
                    of_state_grad[n, t, part * hidden + u] = value * (r if part == 2 else 1)
    for n, t, v in np.ndindex(*input_grad.shape):
        bias_grad[v] += of_state_grad[n, t, v]
        if t:
            weight_grad[v] += of_state_grad[n, t, v] * output[n, t - 1]
    return input_grad, weight_grad, bias_grad


def _recurrent(output: Array, weight: Array, bias: Array | None, n: int, t: int, v: int) -> float:
    """Return row v of the weight times the state before step t, plus the bias."""
    product = _dot(output[n, t - 1], weight[v]) if t else 0.0
    return product + (0.0 if bias is None else float(bias[v]))


def _dot(first: Array, second: Array) -> float:
    """Return the sum of the products of the elements of two rows."""
    total = 0.0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        total += a * b
    return total


def rows(input: Array) -> Array:
    """Return the rows of images, (N, H, C W): of each row all channels, one after the other."""
    samples, channels, height, width = input.shape
    output = np.zeros((samples, height, channels * width))
    for n, c, h, w in np.ndindex(*input.shape):
        output[n, h, c * width + w] = input[n, c, h, w]
    return output


def rows_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    """Return grad in the shape of the images."""
    input_grad = np.zeros(tuple(input_shape))
    for n, c, h, w in np.ndindex(*input_grad.shape):
        input_grad[n, c, h, w] = grad[n, h, c * input_shape[3] + w]
    return input_grad


def last_step(input: Array) -> Array:
    """Return the last step of each sequence."""
    samples, steps, features = input.shape
    output = np.zeros((samples, features))
    for n, f in np.ndindex(samples, features):
        output[n, f] = input[n, steps - 1, f]
    return output


def last_step_backward(grad: Array, input_shape: Sequence[int]) -> Array:
    """Return grad as the last step of each sequence, zero before it."""
    input_grad = np.zeros(tuple(input_shape))
    for n, f in np.ndindex(*grad.shape):
        input_grad[n, input_shape[1] - 1, f] = grad[n, f]
    return input_grad
