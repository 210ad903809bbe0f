"""Normalisation over the batch, over groups of channels, and over the last axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.testing.naive import activations
from gpucnn.testing.naive.common import Array, Index

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "fold_batch_norm",
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "layer_norm_backward",
]


class Results(NamedTuple):
    """The results of a normalisation in training."""

    output: Array
    mean: Array
    invstd: Array


def batch_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    num_batches_tracked: Array | None = None,
    *,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    relu: bool = False,
) -> Results:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, by channel; update the running."""
    channels, count = input.shape[1], input.size // input.shape[1]
    mean, var = np.zeros(channels), np.zeros(channels)
    for n, c, *at in np.ndindex(*input.shape):
        mean[c] += float(input[n, c, *at]) / count
    for n, c, *at in np.ndindex(*input.shape):
        var[c] += (float(input[n, c, *at]) - mean[c]) ** 2 / count
    if num_batches_tracked is not None:
        num_batches_tracked += 1
    if momentum is None:
        assert num_batches_tracked is not None
        momentum = 1 / float(num_batches_tracked)
    for c in range(channels):
        if running_mean is not None and running_var is not None:
            new_mean = (1 - momentum) * running_mean[c] + momentum * mean[c]
            new_var = (1 - momentum) * running_var[c] + momentum * var[c] * count / (count - 1)
            if math.isfinite(new_mean) and math.isfinite(new_var):
                running_mean[c], running_var[c] = new_mean, new_var
    output = batch_norm_inference(input, mean, var, weight, bias, eps=eps, relu=relu)
    return Results(output, mean, 1 / np.sqrt(var + eps))


def batch_norm_inference(
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    relu: bool = False,
) -> Array:
    """Return (x - running_mean) / sqrt(running_var + eps) * weight + bias, by channel."""
    output = np.zeros(input.shape)
    for n, c, *at in np.ndindex(*input.shape):
        y = (float(input[n, c, *at]) - running_mean[c]) / np.sqrt(running_var[c] + eps)
        y *= 1.0 if weight is None else weight[c]
        output[n, c, *at] = y + (0.0 if bias is None else bias[c])
    return activations.relu(output) if relu else output


class Folded(NamedTuple):
    """Weight and bias of a layer that include a batch normalisation."""

    output_weight: Array
    output_bias: Array


def fold_batch_norm(
    input_weight: Array,
    running_mean: Array,
    running_var: Array,
    input_bias: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Folded:
    """Return weight and bias with which a layer gives what the normalisation gives after it."""
    output_weight, output_bias = np.zeros(input_weight.shape), np.zeros(input_weight.shape[0])
    for o, *at in np.ndindex(*input_weight.shape):
        factor = (1.0 if weight is None else weight[o]) / np.sqrt(running_var[o] + eps)
        output_weight[o, *at] = input_weight[o, *at] * factor
        own = 0.0 if input_bias is None else float(input_bias[o])
        output_bias[o] = (own - running_mean[o]) * factor + (0.0 if bias is None else bias[o])
    return Folded(output_weight, output_bias)


def batch_norm_backward(
    grad: Array,
    input: Array,
    mean: Array,
    invstd: Array,
    weight: Array | None = None,
    *,
    relu_output: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    if relu_output is not None:
        grad = activations.relu_backward(grad, relu_output)
    index = [(c, c) for _, c, *_ in np.ndindex(*input.shape)]
    return _backward(grad, input, mean, invstd, weight, index, (input.shape[1],))


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Results:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, by groups of channels."""
    per_group = input.shape[1] // num_groups
    index = [(n * num_groups + c // per_group, c) for n, c, *_ in np.ndindex(*input.shape)]
    return _forward(input, weight, bias, eps, index, (input.shape[0], num_groups))


def group_norm_backward(
    grad: Array,
    input: Array,
    mean: Array,
    invstd: Array,
    num_groups: int,
    weight: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    per_group = input.shape[1] // num_groups
    index = [(n * num_groups + c // per_group, c) for n, c, *_ in np.ndindex(*input.shape)]
    return _backward(grad, input, mean, invstd, weight, index, (input.shape[1],))


def layer_norm(
    input: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Results:
    """Return (x - mean) / sqrt(variance + eps) * weight + bias, by the last axes."""
    size = math.prod(normalized_shape)
    index = [divmod(i, size) for i in range(input.size)]
    return _forward(
        input, weight, bias, eps, index, input.shape[: input.ndim - len(normalized_shape)]
    )


def layer_norm_backward(
    grad: Array,
    input: Array,
    mean: Array,
    invstd: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias."""
    size = math.prod(normalized_shape)
    index = [divmod(i, size) for i in range(input.size)]
    return _backward(grad, input, mean, invstd, weight, index, tuple(normalized_shape))


def _forward(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    index: Iterable[tuple[int, int]],
    shape: Index,
) -> Results:
    """Normalise; ``index`` has the group and the parameter of each element, ``shape`` of groups."""
    groups = math.prod(shape)
    count = input.size // groups
    flat = [float(x) for x in input.reshape(-1)]
    rows: list[list[float]] = [[] for _ in range(groups)]
    for x, (g, _) in zip(flat, index, strict=True):
        rows[g].append(x)
    # The exact sum: where the mean is far from zero, every rounding of it shows in all results.
    mean = np.array([math.fsum(row) / count for row in rows])
    var, output = np.zeros(groups), np.zeros(len(flat))
    for x, (g, _) in zip(flat, index, strict=True):
        var[g] += (x - mean[g]) ** 2 / count
    for i, (g, p) in enumerate(index):
        y = (flat[i] - mean[g]) / np.sqrt(var[g] + eps)
        y *= 1.0 if weight is None else weight.reshape(-1)[p]
        output[i] = y + (0.0 if bias is None else bias.reshape(-1)[p])
    invstd = 1 / np.sqrt(var + eps)
    return Results(output.reshape(input.shape), mean.reshape(shape), invstd.reshape(shape))


def _backward(
    grad: Array,
    input: Array,
    mean: Array,
    invstd: Array,
    weight: Array | None,
    index: Iterable[tuple[int, int]],
    shape: Index,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, weight and bias; ``shape`` is that of the parameters.

    With z = (x - mean) invstd and h, the gradient of z, that of x is invstd times
    h - mean of h - z mean of (h z), where the means are over the group.
    """
    means, scales, count = mean.reshape(-1), invstd.reshape(-1), input.size // mean.size
    size = math.prod(shape)
    weight_grad, bias_grad = np.zeros(size), np.zeros(size)
    sums, products = np.zeros(mean.size), np.zeros(mean.size)
    values = list(zip(grad.reshape(-1), input.reshape(-1), index, strict=True))
    for dy, x, (g, p) in values:
        z, h = (x - means[g]) * scales[g], dy * (1.0 if weight is None else weight.reshape(-1)[p])
        weight_grad[p] += dy * z
        bias_grad[p] += dy
        sums[g] += h
        products[g] += h * z
    input_grad = np.zeros(input.size)
    for i, (dy, x, (g, p)) in enumerate(values):
        z, h = (x - means[g]) * scales[g], dy * (1.0 if weight is None else weight.reshape(-1)[p])
        input_grad[i] = scales[g] * (h - sums[g] / count - z * products[g] / count)
    return input_grad.reshape(input.shape), weight_grad.reshape(shape), bias_grad.reshape(shape)
