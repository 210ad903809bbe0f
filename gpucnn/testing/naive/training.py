"""Batches, metrics and optimiser steps."""

from __future__ import annotations

import math

import numpy as np

from gpucnn.testing.naive.common import Array


def one_hot(target: Array, num_classes: int) -> Array:
    """Return 1 in the column of each row's class, else 0."""
    output = np.zeros((target.shape[0], num_classes))
    for n, c in np.ndindex(*output.shape):
        output[n, c] = 1.0 if target[n] == c else 0.0
    return output


def begin_step(
    counter: Array,
    order: Array,
    labels: Array,
    table: Array,
    indices: Array,
    target: Array,
    rates: Array,
    batch_size: int,
    ring: int = 0,
) -> None:
    """Fill in the batch's indices, labels and rates; count the step."""
    first = int(counter[0]) * batch_size
    for n in range(len(indices)):
        indices[n] = (first + n) % ring if ring else order[first + n]
        target[n] = labels[order[first + n]]
    for k in range(len(rates)):
        rates[k] = table[counter[0], k]
    counter[0] += 1
    counter[1] += 1


def gather_images(images: Array, indices: Array, scale: Array, shift: Array) -> Array:
    """Return the selected images as floats: pixel * scale + shift by channel."""
    batch = np.zeros((len(indices), *images.shape[1:]))
    for n, c, y, x in np.ndindex(*batch.shape):
        pixel = float(images[indices[n], c, y, x])
        batch[n, c, y, x] = pixel * float(scale[c]) + float(shift[c])
    return batch


def gather_labels(labels: Array, indices: Array) -> Array:
    """Return the labels of the selected images."""
    batch = np.zeros((len(indices), *labels.shape[1:]), labels.dtype)
    for n in range(len(indices)):
        batch[n] = labels[indices[n]]
    return batch


def add_metrics(
    totals: Array,
    loss: Array,
    scores: Array,
    target: Array,
    reduction: str = "mean",
    ignore_index: int = -100,
) -> None:
    """Add the loss and the number of correct predictions to the totals."""
    correct = 0
    for n, row in enumerate(scores):
        best = 0
        for c in range(len(row)):
            if row[c] > row[best]:
                best = c
        if target[n] == ignore_index or any(math.isnan(score) for score in row):
            continue
        correct += best == target[n]
    totals[0] += float(loss) * (scores.shape[0] if reduction == "mean" else 1)
    totals[1] += correct


def add_errors(totals: Array, loss: Array, outputs: Array, target: Array) -> None:
    """Add the loss, and the squared and absolute errors of each column, to the totals."""
    rows, columns = outputs.shape
    totals[0] += float(loss) * rows
    for n, k in np.ndindex(rows, columns):
        error = float(outputs[n, k]) - float(target[n, k])
        totals[1 + k] += error * error
        totals[1 + columns + k] += abs(error)


def all_finite(array: Array) -> bool:
    """Return whether no element is NaN or infinite."""
    return all(math.isfinite(value) for value in array.flat)


def check_finite(failed_step: Array, loss: Array, grads: Array, step: Array) -> None:
    """Note the step if the loss or a gradient is NaN or infinite, unless one is noted."""
    if failed_step[0] == 0 and not (math.isfinite(float(loss)) and all_finite(grads)):
        failed_step[0] = step[0]


def clip_grad_norm(grads: Array, norm: Array, max_norm: float) -> None:
    """Scale the gradients so that their norm is at most max_norm, as PyTorch does."""
    if any(math.isnan(value) for value in grads):
        norm[0] = math.nan
    else:
        norm[0] = math.hypot(*grads)
    factor = max_norm / (float(norm[0]) + 1e-6)
    for n in range(len(grads)):
        grads[n] *= 1.0 if factor >= 1 else factor


def sgd_step(
    param: Array,
    grad: Array,
    velocity: Array,
    rates: Array,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    failed_step: Array | None = None,
) -> None:
    """Update parameters and velocity in place by SGD with momentum, as PyTorch does."""
    if failed_step is not None and failed_step[0] != 0:
        return
    for index in np.ndindex(*param.shape):
        slope = float(grad[index])
        slope += weight_decay * float(param[index]) if weight_decay else 0  # 0 times inf is NaN
        v = momentum * float(velocity[index]) + slope
        velocity[index] = v
        param[index] -= float(rates[0]) * (slope + momentum * v if nesterov else v)


def adam_step(
    param: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    rates: Array,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    failed_step: Array | None = None,
) -> None:
    """Update parameters and moments in place by Adam, or AdamW if rates[2] is below 1."""
    if failed_step is not None and failed_step[0] != 0:
        return
    (first, second), (step_size, correction, shrink) = betas, map(float, rates)
    for index in np.ndindex(*param.shape):
        value, slope = float(param[index]), float(grad[index])
        slope += weight_decay * value if weight_decay else 0  # 0 times inf is NaN
        exp_avg[index] = first * float(exp_avg[index]) + (1 - first) * slope
        exp_avg_sq[index] = second * float(exp_avg_sq[index]) + (1 - second) * slope**2
        mean, root = float(exp_avg[index]), math.sqrt(float(exp_avg_sq[index])) / correction
        # Without a gradient, nothing changes, even if eps is 0.
        param[index] = value * shrink - (step_size * mean / (root + eps) if mean else 0)


def ema_step(average: Array, param: Array, rates: Array, failed_step: Array | None = None) -> None:
    """Move the average towards the parameters by a fraction of the way."""
    if failed_step is not None and failed_step[0] != 0:
        return
    for index in np.ndindex(*param.shape):
        average[index] += float(rates[0]) * (float(param[index]) - float(average[index]))
