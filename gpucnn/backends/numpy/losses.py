"""Losses."""

from __future__ import annotations

import numpy as np

from gpucnn.backends.contract.checks import Array, Reduction
from gpucnn.backends.contract.losses import Losses
from gpucnn.backends.numpy.activations import sigmoid_of, softmax_of
from gpucnn.backends.numpy.arrays import NumpyArrays
from gpucnn.backends.numpy.windows import (
    batch_last,
)


class NumpyLosses(NumpyArrays, Losses):
    """Losses and their gradients."""

    def _check_labels(self, op: str, target: Array, classes: int) -> None:
        self._check_within(op, "target", target, classes, "classes")

    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array:
        scores = batch_last(input)
        scores = scores - np.maximum.reduce(scores, 0)
        picked = scores[target, np.arange(target.size)]
        losses = np.log(np.add.reduce(np.exp(scores, out=scores), 0))
        losses -= picked
        return self._reduce(losses, reduction)

    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array:
        grad = softmax_of(input, 1)
        grad[np.arange(target.size), target] -= 1
        grad *= scale
        return grad

    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        if op == "binary_cross_entropy":
            with np.errstate(divide="ignore"):
                hit = np.maximum(np.log(input), -100) * target
                miss = np.maximum(np.log1p(-input), -100) * (1 - target)
            return self._reduce(-(hit + miss), reduction)
        if op == "binary_cross_entropy_with_logits":
            tail = np.log1p(np.exp(-np.abs(input)))
            return self._reduce(np.maximum(input, 0) - input * target + tail, reduction)
        factor = 1.0 if op == "mse_loss" else 0.5
        return self._reduce(factor * (input - target) ** 2, reduction)

    def _pointwise_loss_backward(self, op: str, input: Array, target: Array, scale: float) -> Array:
        if op == "binary_cross_entropy":
            return scale * (input - target) / np.maximum(input * (1 - input), 1e-12)
        if op == "binary_cross_entropy_with_logits":
            return scale * (sigmoid_of(input) - target)
        return (2.0 * scale if op == "mse_loss" else scale) * (input - target)

    def _reduce(self, values: Array, reduction: Reduction) -> Array:
        if reduction == "none":
            return values
        # The ufunc itself: the methods ``mean`` and ``sum`` take longer than a batch's losses.
        total = np.add.reduce(values, axis=None)
        return np.asarray(total / values.size if reduction == "mean" else total, self.dtype)
