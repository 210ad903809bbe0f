"""Activations, softmax and dropout."""

from __future__ import annotations

from abc import abstractmethod

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import (
    Array,
    checked_axis,
)


class Activations(Arrays):
    """Activations, softmax and dropout."""

    def relu(self, input: Array) -> Array:
        """Return max(x, 0) of each element; NaN stays NaN."""
        return self._checked_activation("relu", input)

    def relu_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` where ``output`` is above zero, and zero elsewhere."""
        return self._checked_activation_backward("relu", grad, output)

    def sigmoid(self, input: Array) -> Array:
        """Return 1 / (1 + exp(-x)) of each element."""
        return self._checked_activation("sigmoid", input)

    def sigmoid_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times y (1 - y), y being ``output``."""
        return self._checked_activation_backward("sigmoid", grad, output)

    def tanh(self, input: Array) -> Array:
        """Return the hyperbolic tangent of each element."""
        return self._checked_activation("tanh", input)

    def tanh_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times 1 - y², y being ``output``."""
        return self._checked_activation_backward("tanh", grad, output)

    def _checked_activation(self, op: str, input: Array) -> Array:
        self._check(op, "input", input)
        return self._activation(op, input)

    def _checked_activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        self._check_pair(f"{op}_backward", "grad", grad, "output", output)
        return self._activation_backward(op, grad, output)

    @abstractmethod
    def _activation(self, op: str, input: Array) -> Array:
        """Return the activation named ``op`` of each element."""

    @abstractmethod
    def _activation_backward(self, op: str, grad: Array, output: Array) -> Array:
        """Return ``grad`` times the derivative of ``op``, in terms of its output."""

    def softmax(self, input: Array, dim: int = 1) -> Array:
        """Return exp(x) / sum of exp(x) along axis ``dim``."""
        self._check("softmax", "input", input)
        return self._softmax(input, checked_axis("softmax", dim, input.ndim))

    @abstractmethod
    def _softmax(self, input: Array, dim: int) -> Array: ...

    def softmax_backward(self, grad: Array, output: Array, dim: int = 1) -> Array:
        """Return y (g - sum of g y along ``dim``), y being ``output`` and g ``grad``."""
        self._check_pair("softmax_backward", "grad", grad, "output", output)
        return self._softmax_backward(
            grad, output, checked_axis("softmax_backward", dim, output.ndim)
        )

    @abstractmethod
    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array: ...

    def dropout(self, input: Array, mask: Array) -> Array:
        """Return input times mask, which holds 0 or 1 / (1 - p) for each element.

        The mask is the caller's (``gpucnn.init.dropout_mask``), the same on every backend.
        """
        self._check_pair("dropout", "input", input, "mask", mask)
        return self._dropout(input, mask)

    @abstractmethod
    def _dropout(self, input: Array, mask: Array) -> Array: ...

    def dropout_backward(self, grad: Array, mask: Array) -> Array:
        """Return ``grad`` times mask."""
        self._check_pair("dropout_backward", "grad", grad, "mask", mask)
        return self._dropout(grad, mask)
