"""Activations and softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from gpucnn.testing.naive.common import Array, Index


def logistic(x: float) -> float:
    """Return 1 / (1 + exp(-x)); exp is only applied to numbers of at most zero."""
    decay = math.exp(-abs(x))
    return decay / (1 + decay) if x < 0 else 1 / (1 + decay)


def relu(input: Array) -> Array:
    """Return max(x, 0); NaN stays NaN."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x if x > 0 or math.isnan(x) else 0.0
    return output


def relu_backward(grad: Array, output: Array) -> Array:
    """Return grad where the output is positive, else 0."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        if output[index] > 0:
            input_grad[index] = grad[index]
    return input_grad


def leaky_relu(input: Array, negative_slope: float = 0.01) -> Array:
    """Return x where it is positive, else negative_slope * x."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x if x > 0 else negative_slope * x
    return output


def leaky_relu_backward(grad: Array, input: Array, negative_slope: float = 0.01) -> Array:
    """Return grad where x is positive, else negative_slope * grad."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        slope = 1.0 if input[index] > 0 else negative_slope
        input_grad[index] = slope * float(grad[index])
    return input_grad


def elu(input: Array, alpha: float = 1.0) -> Array:
    """Return x where it is positive, else alpha * (exp(x) - 1)."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x if x > 0 else alpha * math.expm1(x)
    return output


def elu_backward(grad: Array, input: Array, alpha: float = 1.0) -> Array:
    """Return grad where x is positive, else grad * alpha * exp(x)."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        x = float(input[index])
        input_grad[index] = float(grad[index]) * (1.0 if x > 0 else alpha * math.exp(x))
    return input_grad


def gelu_gate(x: float, approximate: str) -> tuple[float, float]:
    """Return the factor of x in GELU, and x times its derivative."""
    if approximate == "tanh":
        scale, cube = math.sqrt(2 / math.pi), 0.044715
        gate = logistic(2 * scale * x * (1 + cube * x * x))
        return gate, x * gate * (1 - gate) * 2 * scale * (1 + 3 * cube * x * x)
    density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return math.erfc(-x / math.sqrt(2)) / 2, x * density


def gelu(input: Array, approximate: str = "none") -> Array:
    """Return x times the normal distribution function at x, or its approximation."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x * gelu_gate(x, approximate)[0]
    return output


def gelu_backward(grad: Array, input: Array, approximate: str = "none") -> Array:
    """Return grad times the sum of the factor and of x times its derivative."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        input_grad[index] = float(grad[index]) * sum(gelu_gate(float(input[index]), approximate))
    return input_grad


def silu(input: Array) -> Array:
    """Return x / (1 + exp(-x))."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        output[index] = x * logistic(x)
    return output


def silu_backward(grad: Array, input: Array) -> Array:
    """Return grad * s * (1 + x * (1 - s)), s the sigmoid of x."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        x = float(input[index])
        s = logistic(x)
        input_grad[index] = float(grad[index]) * s * (1 + x * (1 - s))
    return input_grad


def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Return log(1 + exp(beta * x)) / beta, and x where beta * x exceeds the threshold."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x = float(input[index])
        if beta * x > threshold:
            output[index] = x
        else:
            positive = x if x > 0 or math.isnan(x) else 0.0
            output[index] = positive + math.log1p(math.exp(-abs(beta * x))) / beta
    return output


def softplus_backward(
    grad: Array, input: Array, beta: float = 1.0, threshold: float = 20.0
) -> Array:
    """Return grad times the sigmoid of beta * x, and grad where beta * x exceeds the threshold."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        z = beta * float(input[index])
        input_grad[index] = float(grad[index]) * (1.0 if z > threshold else logistic(z))
    return input_grad


def sigmoid(input: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        output[index] = logistic(float(input[index]))
    return output


def sigmoid_backward(grad: Array, output: Array) -> Array:
    """Return grad * y * (1 - y)."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        y = float(output[index])
        input_grad[index] = float(grad[index]) * y * (1 - y)
    return input_grad


def tanh(input: Array) -> Array:
    """Return the hyperbolic tangent."""
    output = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        output[index] = math.tanh(float(input[index]))
    return output


def tanh_backward(grad: Array, output: Array) -> Array:
    """Return grad * (1 - y^2)."""
    input_grad = np.zeros(grad.shape)
    for index in np.ndindex(*grad.shape):
        y = float(output[index])
        input_grad[index] = float(grad[index]) * (1 - y) * (1 + y)
    return input_grad


def rows_along(shape: Index, dim: int) -> Iterator[list[Index]]:
    """Yield the indices of each row of an array along axis ``dim``."""
    axis = dim % len(shape)
    for rest in np.ndindex(*shape[:axis], *shape[axis + 1 :]):
        yield [(*rest[:axis], i, *rest[axis:]) for i in range(shape[axis])]


def softmax(input: Array, dim: int = 1) -> Array:
    """Return exp(x_i) / (sum over k of exp(x_k)) along an axis."""
    output = np.zeros(input.shape)
    for row in rows_along(input.shape, dim):
        greatest = max(float(input[index]) for index in row)
        total = sum(math.exp(float(input[index]) - greatest) for index in row)
        for index in row:
            output[index] = math.exp(float(input[index]) - greatest) / total
    return output


def softmax_backward(grad: Array, output: Array, dim: int = 1) -> Array:
    """Return the sum over k of grad_k d y_k / d x_i; the Jacobian is y_k ((i = k) - y_i)."""
    input_grad = np.zeros(grad.shape)
    for row in rows_along(grad.shape, dim):
        for i in row:
            for k in row:
                slope = float(output[k]) * ((i == k) - float(output[i]))
                input_grad[i] += float(grad[k]) * slope
    return input_grad
