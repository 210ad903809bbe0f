"""Losses."""

from __future__ import annotations

import math
from abc import abstractmethod

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, Reduction, checked_reduction, loss_scale


class Losses(Arrays):
    """Losses and their gradients."""

    # A loss is an array of shape (), or for reduction "none" the loss of each element. ``grad`` of
    # a backward is a number, the gradient of the reduced loss; "none" has the gradient of "sum".

    def cross_entropy(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return -log softmax(input)[target] of scores (N, C) and int64 classes (N,)."""
        self._check_classes("cross_entropy", "input", input, target)
        return self._cross_entropy(input, target, checked_reduction(reduction))

    @abstractmethod
    def _cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (softmax(input) - one_hot(target)) times ``grad`` (/ N for "mean")."""
        self._check_classes("cross_entropy_backward", "input", input, target)
        scale = loss_scale(reduction, grad, input.shape[0])
        return self._cross_entropy_backward(input, target, scale)

    @abstractmethod
    def _cross_entropy_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def mse_loss(self, input: Array, target: Array, reduction: Reduction = "mean") -> Array:
        """Return (x - t)²."""
        reduction = self._check_loss("mse_loss", input, target, reduction)
        return self._mse_loss(input, target, reduction)

    @abstractmethod
    def _mse_loss(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def mse_loss_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return 2 (x - t) times ``grad`` (/ the number of elements for "mean")."""
        scale = self._check_loss_backward("mse_loss_backward", input, target, reduction, grad)
        return self._mse_loss_backward(input, target, scale)

    @abstractmethod
    def _mse_loss_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def half_squared_error(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return ½ (x - t)², whose gradient is x - t."""
        reduction = self._check_loss("half_squared_error", input, target, reduction)
        return self._half_squared_error(input, target, reduction)

    @abstractmethod
    def _half_squared_error(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def half_squared_error_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) times ``grad`` (/ the number of elements for "mean")."""
        scale = self._check_loss_backward(
            "half_squared_error_backward", input, target, reduction, grad
        )
        return self._half_squared_error_backward(input, target, scale)

    @abstractmethod
    def _half_squared_error_backward(self, input: Array, target: Array, scale: float) -> Array: ...

    def binary_cross_entropy(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return -t log x - (1 - t) log(1 - x) of probabilities x.

        Logarithms are at least -100, as in PyTorch.
        """
        reduction = self._check_loss("binary_cross_entropy", input, target, reduction)
        return self._binary_cross_entropy(input, target, reduction)

    @abstractmethod
    def _binary_cross_entropy(self, input: Array, target: Array, reduction: Reduction) -> Array: ...

    def binary_cross_entropy_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (x - t) / max(x (1 - x), 1e-12) times ``grad`` (/ the number for "mean")."""
        scale = self._check_loss_backward(
            "binary_cross_entropy_backward", input, target, reduction, grad
        )
        return self._binary_cross_entropy_backward(input, target, scale)

    @abstractmethod
    def _binary_cross_entropy_backward(
        self, input: Array, target: Array, scale: float
    ) -> Array: ...

    def binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction = "mean"
    ) -> Array:
        """Return the binary cross-entropy of sigmoid(x), without overflow for any x."""
        reduction = self._check_loss("binary_cross_entropy_with_logits", input, target, reduction)
        return self._binary_cross_entropy_with_logits(input, target, reduction)

    @abstractmethod
    def _binary_cross_entropy_with_logits(
        self, input: Array, target: Array, reduction: Reduction
    ) -> Array: ...

    def binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, reduction: Reduction = "mean", grad: float = 1.0
    ) -> Array:
        """Return (sigmoid(x) - t) times ``grad`` (/ the number of elements for "mean")."""
        scale = self._check_loss_backward(
            "binary_cross_entropy_with_logits_backward", input, target, reduction, grad
        )
        return self._binary_cross_entropy_with_logits_backward(input, target, scale)

    @abstractmethod
    def _binary_cross_entropy_with_logits_backward(
        self, input: Array, target: Array, scale: float
    ) -> Array: ...

    def _check_loss(self, op: str, input: Array, target: Array, reduction: Reduction) -> Reduction:
        """Refuse arrays of different shapes and unknown reductions; return the reduction."""
        self._check_pair(op, "input", input, "target", target)
        return checked_reduction(reduction)

    def _check_loss_backward(
        self, op: str, input: Array, target: Array, reduction: Reduction, grad: float
    ) -> float:
        """Refuse what ``_check_loss`` refuses; return the factor of each element's derivative."""
        self._check_pair(op, "input", input, "target", target)
        return loss_scale(reduction, grad, math.prod(input.shape))
