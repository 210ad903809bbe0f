"""Losses."""

from __future__ import annotations

import math

import numpy as np

from gpucnn.testing.naive.activations import logistic, softmax
from gpucnn.testing.naive.common import Array


def reduced(losses: Array, reduction: str) -> Array:
    """Return the losses, their sum or their mean."""
    if reduction == "none":
        return losses
    total = math.fsum(losses.flat)
    return np.array(total / losses.size if reduction == "mean" else total)


def grad_scale(reduction: str, grad: float, count: int) -> float:
    """Return the factor of each element's derivative."""
    return grad / count if reduction == "mean" else grad


def cross_entropy(
    input: Array,
    target: Array,
    reduction: str = "mean",
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """Return minus the logarithm of the softmax of the target's class, by weight."""
    losses, counts = np.zeros(target.shape), []
    for index in np.ndindex(*target.shape):
        if target[index] == ignore_index:
            continue
        scores = [float(x) for x in input[index[0], :, *index[1:]]]
        parts = target_parts(len(scores), int(target[index]), weight, label_smoothing)
        # A part of zero stays zero however unlikely the class is.
        logs = (minus_log(scores, c) if part else 0.0 for c, part in enumerate(parts))
        losses[index] = math.fsum(part * log for part, log in zip(parts, logs, strict=True))
        counts.append(1.0 if weight is None else float(weight[target[index]]))
    if reduction != "mean":
        return reduced(losses, reduction)
    return np.array(math.fsum(losses.flat) / math.fsum(counts) if math.fsum(counts) else math.nan)


def target_parts(classes: int, target: int, weight: Array | None, smoothing: float) -> list[float]:
    """Return how much of the loss is minus the logarithm of each class's probability."""
    parts = [smoothing / classes + (1 - smoothing) * (c == target) for c in range(classes)]
    return parts if weight is None else [p * float(weight[c]) for c, p in enumerate(parts)]


def minus_log(scores: list[float], c: int) -> float:
    """Return log(sum of exp(x - x[c])), correct to its own size also where it is tiny."""
    own, greatest = scores[c], max(scores)
    if own == greatest:
        others = (x for other, x in enumerate(scores) if other != c)
        return math.log1p(math.fsum(math.exp(x - own) for x in others))
    return greatest - own + math.log(math.fsum(math.exp(x - greatest) for x in scores))


def cross_entropy_backward(
    input: Array,
    target: Array,
    reduction: str = "mean",
    grad: float = 1.0,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """Return the gradient of the scores: softmax minus target, scaled."""
    counted = [index for index in np.ndindex(*target.shape) if target[index] != ignore_index]
    weights = [1.0 if weight is None else float(weight[target[index]]) for index in counted]
    divisor = math.fsum(weights) if reduction == "mean" else 1.0
    probabilities, input_grad = softmax(input, 1), np.zeros(input.shape)
    for index in counted if divisor else []:
        row = (index[0], slice(None), *index[1:])
        p = [float(x) for x in probabilities[row]]
        q = target_parts(len(p), int(target[index]), weight, label_smoothing)
        total = math.fsum(q)
        slopes = [total * p[c] - q[c] for c in range(len(p))]
        # The gradients of a row have the sum 0: no difference for a near-certain class.
        certain = p.index(max(p))
        if p[certain] > 0.5:
            others = [c for c in range(len(p)) if c != certain]
            slopes[certain] = math.fsum(q[c] for c in others)
            slopes[certain] -= total * math.fsum(p[c] for c in others)
        input_grad[row] = [slope * grad / divisor for slope in slopes]
    return input_grad


def mse_loss(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return (x - t)^2."""
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2
    return reduced(losses, reduction)


def mse_loss_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    """Return 2 (x - t), scaled by grad and the reduction."""
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = 2 * difference * grad_scale(reduction, grad, input.size)
    return input_grad


def half_squared_error(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return (x - t)^2 / 2."""
    losses = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        losses[index] = (float(input[index]) - float(target[index])) ** 2 / 2
    return reduced(losses, reduction)


def half_squared_error_backward(
    input: Array, target: Array, reduction: str = "mean", grad: float = 1.0
) -> Array:
    """Return x - t, scaled by grad and the reduction."""
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        difference = float(input[index]) - float(target[index])
        input_grad[index] = difference * grad_scale(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return -t log(x) - (1 - t) log(1 - x), with logarithms of at least -100."""
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
    """Return (x - t) / (x (1 - x)), scaled by grad and the reduction."""
    input_grad = np.zeros(input.shape)
    for index in np.ndindex(*input.shape):
        x, t = float(input[index]), float(target[index])
        slope = (x - t) / max(x * (1 - x), 1e-12)
        input_grad[index] = slope * grad_scale(reduction, grad, input.size)
    return input_grad


def binary_cross_entropy_with_logits(
    input: Array, target: Array, reduction: str = "mean", pos_weight: Array | None = None
) -> Array:
    """Return the binary cross-entropy of sigmoid(x)."""
    losses = np.zeros(input.shape)
    weights = np.broadcast_to(1.0 if pos_weight is None else pos_weight, input.shape)
    for index in np.ndindex(*input.shape):
        x, t, p = float(input[index]), float(target[index]), float(weights[index])
        # -p t log s(x) - (1 - t) log s(-x), with -log s(x) = log(1 + exp(-x))
        losses[index] = p * t * log_one_plus_exp(-x) + (1 - t) * log_one_plus_exp(x)
    return reduced(losses, reduction)


def log_one_plus_exp(x: float) -> float:
    """Return log(1 + exp(x))."""
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def binary_cross_entropy_with_logits_backward(
    input: Array,
    target: Array,
    reduction: str = "mean",
    grad: float = 1.0,
    pos_weight: Array | None = None,
) -> Array:
    """Return sigmoid(x) - t, weighted, scaled by grad and the reduction."""
    input_grad = np.zeros(input.shape)
    weights = np.broadcast_to(1.0 if pos_weight is None else pos_weight, input.shape)
    for index in np.ndindex(*input.shape):
        x, t, p = float(input[index]), float(target[index]), float(weights[index])
        slope = (1 - t) * logistic(x) - p * t * logistic(-x)  # logistic(x) - t, if p is 1
        input_grad[index] = slope * grad_scale(reduction, grad, input.size)
    return input_grad
