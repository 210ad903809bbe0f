"""Losses."""

from __future__ import annotations

import math
from abc import abstractmethod

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import (
    Array,
    Reduction,
    checked_reduction,
    loss_scale,
)


class Losses(Arrays):
    """Losses and their gradients."""

    # Each returns one number as an array of shape (), or with "none" the loss of every element;
    # ``grad`` of the backward is that of the reduced loss: one number for "mean" and "sum" ("none"
    # has the gradient of "sum").

    def cross_entropy(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return -log softmax(input)[target]: scores (N, C) and classes (N,) of int64."""
        self._check_classes("cross_entropy", "input", input, target)
        return self._cross_entropy(input, target, checked_reduction(reduction))

    @abstractmethod
    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (softmax(input) - onehot(target)) times ``grad`` (/ N for "mean")."""
        self._check_classes("cross_entropy_backward", "input", input, target)
        scale = loss_scale(reduction, grad, input.shape[0])
        return self._cross_entropy_backward(input, target, scale)

    @abstractmethod
    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def mse_loss(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return (x - t)²."""
        return self._checked_loss("mse_loss", input, target, reduction)

    def mse_loss_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return 2 (x - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward("mse_loss", input, target, reduction, grad)

    def half_squared_error(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return ½ (x - t)², whose gradient is the plain difference."""
        return self._checked_loss("half_squared_error", input, target, reduction)

    def half_squared_error_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward("half_squared_error", input, target, reduction, grad)

    def binary_cross_entropy(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return -t log x - (1 - t) log(1 - x) of probabilities x; a logarithm is at least -100."""
        return self._checked_loss("binary_cross_entropy", input, target, reduction)

    def binary_cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) / max(x (1 - x), 1e-12) times ``grad`` (/ the number for "mean")."""
        return self._checked_loss_backward("binary_cross_entropy", input, target, reduction, grad)

    def binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return the binary cross-entropy of sigmoid(x), without overflow at any x."""
        return self._checked_loss("binary_cross_entropy_with_logits", input, target, reduction)

    def binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (sigmoid(x) - t) times ``grad`` (/ the number of elements for "mean")."""
        return self._checked_loss_backward(
            "binary_cross_entropy_with_logits", input, target, reduction, grad
        )

    def _checked_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        self._check_pair(op, "input", input, "target", target)
        return self._pointwise_loss(op, input, target, checked_reduction(reduction))

    def _checked_loss_backward(
        self, op: str, input: Array, target: Array, reduction: Reduction, grad: float
    ) -> Array:
        self._check_pair(f"{op}_backward", "input", input, "target", target)
        scale = loss_scale(reduction, grad, math.prod(input.shape))
        return self._pointwise_loss_backward(op, input, target, scale)

    @abstractmethod
    def _pointwise_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Array:
        """Return the loss named ``op``, which is a sum over elements, reduced."""

    @abstractmethod
    def _pointwise_loss_backward(self, op: str, input: Array, target: Array, scale: float) -> Array:
        """Return ``scale`` times the derivative of ``op`` at each element."""
