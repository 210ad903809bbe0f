"""Losses."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.backends.contract.losses import LabelOptions, Losses
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.elementwise import sigmoid_of


class NumpyLosses(NumpyArrays, Losses):
    """Losses and their gradients."""

    def _check_labels(
        self, op: str, target: Array, classes: int, ignore_index: int | None = None
    ) -> None:
        if ignore_index is not None and _most(target) >= classes:
            target = np.where(target == ignore_index, 0, target)
        self._check_within(op, "target", target, classes, "classes")

    # Neither the loss nor the gradient is a difference of nearly equal numbers: the sum of the
    # exponentials is split into that of the target and the rest (cross_entropy.cu, which has the
    # formulas).

    def _cross_entropy(
        self, input: Array, target: Array, reduction: Reduction, labels: LabelOptions
    ) -> Array:
        classes, counted = input.shape[1], _counted(target, input.shape[1], labels)
        own = (target if counted is None else target * counted).reshape(-1), np.arange(target.size)
        scores = np.ascontiguousarray(input.swapaxes(0, 1)).reshape(classes, -1)
        scores = scores - np.maximum.reduce(scores, 0)
        target_scores = scores[own]
        powers = np.exp(scores)
        target_powers = powers[own]
        powers[own] = 0
        log_totals = np.log1p(np.add.reduce(powers, 0) + (target_powers - 1))
        losses = log_totals - target_scores
        if labels.weight is not None:
            losses *= labels.weight[own[0]]
        if labels.smoothing:
            every = log_totals - scores
            if labels.weight is not None:
                every *= labels.weight[:, None]
            losses *= 1 - labels.smoothing
            losses += labels.smoothing / classes * np.add.reduce(every, 0)
        losses = losses.reshape(target.shape)
        if counted is not None:
            losses = np.where(counted, losses, 0)
        if reduction != "mean":
            return self._reduce(losses, reduction)
        divisor = _sum_of_weights(target, counted, labels)
        mean = np.add.reduce(losses, None) / divisor if divisor else np.nan
        return np.asarray(mean, self.dtype)

    def _cross_entropy_backward(
        self, input: Array, target: Array, mean: bool, grad: float, labels: LabelOptions
    ) -> Array:
        counted = _counted(target, input.shape[1], labels)
        result = input - np.maximum.reduce(input, 1, keepdims=True)
        np.exp(result, out=result)
        own = _positions(target if counted is None else target * counted)
        power = result[own]
        result[own] = 0
        rest = np.add.reduce(result, 1)
        if labels.weight is None and not labels.smoothing:
            result[own] = -rest
            result /= np.expand_dims(rest + power, 1)
        else:
            result[own] = power
            _apply_options(result, own, power, rest, labels)
        divisor = _sum_of_weights(target, counted, labels) if mean else 1
        result *= grad / divisor if divisor else 0.0
        if counted is not None:
            result = np.where(np.expand_dims(counted, 1), result, 0)
        return result

    def _mse_loss(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._reduce((input - target) ** 2, reduction)

    def _mse_loss_backward(self, input: Array, target: Array, scale: float) -> Array:
        return 2.0 * scale * (input - target)

    def _half_squared_error(self, input: Array, target: Array, reduction: Reduction) -> Array:
        return self._reduce(0.5 * (input - target) ** 2, reduction)

    def _half_squared_error_backward(self, input: Array, target: Array, scale: float) -> Array:
        return scale * (input - target)

    def _binary_cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        with np.errstate(divide="ignore"):
            positive = np.maximum(np.log(input), -100) * target
            negative = np.maximum(np.log1p(-input), -100) * (1 - target)
        return self._reduce(-(positive + negative), reduction)

    def _binary_cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        return scale * (input - target) / np.maximum(input * (1 - input), 1e-12)

    def _binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction, pos_weight: Array | None
    ) -> Array:
        # log(1 + exp(-|x|)), which never overflows.
        log_term = np.log1p(np.exp(-np.abs(input)))
        positive, negative = target, 1 - target
        if pos_weight is not None:
            positive = pos_weight * target
            log_term *= positive + negative
        # Not max(x, 0) - x t: for large x that is a difference of nearly equal numbers.
        linear = np.where(input > 0, input * negative, input * -positive)
        return self._reduce(linear + log_term, reduction)

    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float, pos_weight: Array | None
    ) -> Array:
        # Without weights sigmoid(x) - t, but not as a difference of nearly equal numbers.
        positive = target if pos_weight is None else pos_weight * target
        return scale * ((1 - target) * sigmoid_of(input) - positive * sigmoid_of(-input))

    def _reduce(self, values: Array, reduction: Reduction) -> Array:
        if reduction == "none":
            return values
        # The overhead of the methods ``mean`` and ``sum`` is larger than the time of the sum.
        total = np.add.reduce(values, axis=None)
        return np.asarray(total / values.size if reduction == "mean" else total, self.dtype)


def _most(target: Array) -> int:
    """Return the greatest label, where negative ones are greater than any class."""
    return int(np.maximum.reduce(target.view(np.uint64), None))


def _counted(target: Array, classes: int, labels: LabelOptions) -> Array | None:
    """Return which targets are not ignored, or None if all of them count."""
    if not 0 <= labels.ignore_index < classes and _most(target) < classes:
        return None
    counted = target != labels.ignore_index
    return None if counted.all() else counted


def _positions(target: Array) -> tuple[Array, ...]:
    """Return the index of each target's score in (N, C, ...)."""
    if target.ndim == 1:  # building the general index takes as long as the exponentials
        return np.arange(target.size), target
    first, *others = np.indices(target.shape, sparse=True)
    return first, target, *others


def _sum_of_weights(target: Array, counted: Array | None, labels: LabelOptions) -> float:
    """Return the divisor of a mean: the sum of the weights of the targets that are not ignored."""
    if labels.weight is None:
        return float(target.size if counted is None else np.count_nonzero(counted))
    kept = target if counted is None else target[counted]
    return float(np.add.reduce(labels.weight[kept], None, np.float64))


def _apply_options(
    powers: Array, own: tuple[Array, ...], power: Array, rest: Array, labels: LabelOptions
) -> None:
    """Turn the exponentials of the scores, in place, into gradients with weights and smoothing."""
    classes, ndim = powers.shape[1], powers.ndim
    weight = np.ones(classes, powers.dtype) if labels.weight is None else labels.weight
    share, target_weight = labels.smoothing / classes, weight[own[1]]
    target_part = (1 - labels.smoothing + share) * target_weight
    # In float64: the weights of the others may be much smaller than that of the target.
    other_parts = (share * (weight.sum(dtype=np.float64) - target_weight)).astype(powers.dtype)
    factor = (target_part + other_parts) / (power + rest)
    certain = other_parts - factor * rest
    powers *= np.expand_dims(factor, 1)
    target_grads = np.where(power > rest, certain, powers[own] - target_part)
    powers -= share * weight.reshape(-1, *(1,) * (ndim - 2))
    powers[own] = target_grads
