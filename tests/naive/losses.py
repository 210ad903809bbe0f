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
        losses[n] = sample_loss([float(x) for x in row], int(target[n]))
    return reduced(losses, reduction)


def sample_loss(scores: list[float], target: int) -> float:
    """Return log(sum of exp(x - x[target])), relative to its own size also where it is tiny."""
    own, greatest = scores[target], max(scores)
    if own == greatest:
        others = (x for c, x in enumerate(scores) if c != target)
        return math.log1p(math.fsum(math.exp(x - own) for x in others))
    return greatest - own + math.log(math.fsum(math.exp(x - greatest) for x in scores))


def cross_entropy_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    input_grad = softmax(input, 1)
    scale = grad_scale(reduction, grad, input.shape[0])
    for n in range(input.shape[0]):
        # The gradients of a row have the sum 0; that of the target is not a difference from 1.
        others = [p for c, p in enumerate(input_grad[n]) if c != target[n]]
        input_grad[n, target[n]] = -math.fsum(others)
        input_grad[n] *= scale
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
        x, t = float(input[index]), float(target[index])
        slope = (1 - t) * logistic(x) - t * logistic(-x)  # logistic(x) - t
        input_grad[index] = slope * grad_scale(reduction, grad, input.size)
    return input_grad
