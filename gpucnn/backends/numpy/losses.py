"""Losses."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.numpy.activations import sigmoid_of
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import batch_last


class NumpyLosses(NumpyArrays, Losses):
    """Losses and their gradients."""

    def _check_labels(self, op: str, target: Array, classes: int) -> None:
        self._check_within(op, "target", target, classes, "classes")

    # Neither the loss nor the gradient is a difference of nearly equal numbers: the sum of the
    # exponentials is split into that of the target and the rest (cross_entropy.cu).

    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        scores = batch_last(input)
        scores = scores - np.maximum.reduce(scores, 0)
        own = target, np.arange(target.size)
        target_scores = scores[own]
        powers = np.exp(scores, out=scores)
        target_powers = powers[own]
        powers[own] = 0
        losses = np.log1p(np.add.reduce(powers, 0) + (target_powers - 1))
        losses -= target_scores
        return self._reduce(losses, reduction)

    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        grad = input - np.maximum.reduce(input, 1, keepdims=True)
        np.exp(grad, out=grad)
        own = np.arange(target.size), target
        target_powers = grad[own]
        grad[own] = 0
        rest = np.add.reduce(grad, 1)
        grad[own] = -rest
        grad /= (rest + target_powers)[:, None]
        grad *= scale
        return grad

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
        self, input: Array, target: Array, reduction: Reduction
    ) -> Array:
        # log(1 + exp(-|x|)), which never overflows.
        log_term = np.log1p(np.exp(-np.abs(input)))
        # Not max(x, 0) - x t: for large x that is a difference of nearly equal numbers.
        linear = np.where(input > 0, input * (1 - target), input * -target)
        return self._reduce(linear + log_term, reduction)

    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float
    ) -> Array:
        # sigmoid(x) - t, without a difference of nearly equal numbers.
        return scale * ((1 - target) * sigmoid_of(input) - target * sigmoid_of(-input))

    def _reduce(self, values: Array, reduction: Reduction) -> Array:
        if reduction == "none":
            return values
        # The overhead of the methods ``mean`` and ``sum`` is larger than the time of the sum.
        total = np.add.reduce(values, axis=None)
        return np.asarray(total / values.size if reduction == "mean" else total, self.dtype)
