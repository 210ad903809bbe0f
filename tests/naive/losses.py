"""Losses."""

from __future__ import annotations

import math

import numpy as np

from naive.activations import logistic, softmax
from naive.common import Array


def reduced(losses: Array, reduction: str) -> Array:
    if reduction == "none":
        return losses
    total = math.fsum(losses.flat)
    return np.array(total / losses.size if reduction == "mean" else total)


def grad_scale(reduction: str, grad: float, count: int) -> float:
    """Return the factor of each element's derivative."""
    return grad / count if reduction == "mean" else grad


def cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape[0])
    for n, row in enumerate(input):
        greatest = max(float(x) for x in row)
        total = math.fsum(math.exp(float(x) - greatest) for x in row)
        losses[n] = math.log(total) + greatest - float(row[target[n]])
    return reduced(losses, reduction)


def cross_entropy_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = softmax(input, 1)
    for n in range(input.shape[0]):
        input_grad[n, target[n]] -= 1
    for index in np.ndindex(*input.shape):
        input_grad[index] *= grad_scale(reduction, grad, input.shape[0])
    return input_grad


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2
    return reduced(losses, reduction)


def mse_loss_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = 2 * difference * grad_scale(reduction, grad, input.size)
    return input_grad


def half_squared_error(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2 / 2
    return reduced(losses, reduction)


def half_squared_error_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = difference * grad_scale(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        log_x = max(math.log(x), -100) if x > 0 else -100
        log_1_x = max(math.log1p(-x), -100) if x < 1 else -100
        losses[index] = -t * log_x - (1 - t) * log_1_x
    return reduced(losses, reduction)


def binary_cross_entropy_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        slope = (x - t) / max(x * (1 - x), 1e-12)
        input_grad[index] = slope * grad_scale(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy_with_logits(input: Array, target: Array, reduction: str = "mean") -> Array:
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        # -t log s(x) - (1 - t) log s(-x), with -log s(x) = log(1 + exp(-x)) = softplus(-x)
        losses[index] = t * softplus(-x) + (1 - t) * softplus(x)
    return reduced(losses, reduction)


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def binary_cross_entropy_with_logits_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        slope = logistic(float(input[index])) - float(target[index])
        input_grad[index] = slope * grad_scale(reduction, grad, input.size)
    return input_grad
