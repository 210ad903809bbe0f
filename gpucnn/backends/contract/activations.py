"""Activations and softmax."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import (
    Approximation,
    Array,
    checked_approximation,
    checked_axis,
)


class Activations(Arrays):
    """Activations and softmax."""

    # Activations are element-wise and take arrays of any shape. A backward has the arguments that
    # its derivative is computed from: ``output``, or ``input`` and the options of the forward.

    @abstractmethod
    def _activation(self, op: str, input: Array, *options: Any) -> Array:
        """Return the activation named ``op`` of an array."""

    @abstractmethod
    def _activation_backward(self, op: str, grad: Array, saved: Array, *options: Any) -> Array:
        """Return ``grad`` times the derivative of ``op``, computed from what its backward takes."""

    def relu(self, input: Array) -> Array:
        """Return max(x, 0); NaN stays NaN."""
        self._check("relu", "input", input)
        return self._activation("relu", input)

    def relu_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` where ``output`` > 0, and zero elsewhere."""
        self._check_pair("relu_backward", "grad", grad, "output", output)
        return self._activation_backward("relu", grad, output)

    def leaky_relu(self, input: Array, negative_slope: float = 0.01) -> Array:
        """Return x where x > 0, and ``negative_slope`` times x elsewhere."""
        self._check("leaky_relu", "input", input)
        return self._activation("leaky_relu", input, float(negative_slope))

    def leaky_relu_backward(self, grad: Array, input: Array, negative_slope: float = 0.01) -> Array:
        """Return ``grad`` where ``input`` > 0, and ``negative_slope`` times ``grad`` elsewhere."""
        self._check_pair("leaky_relu_backward", "grad", grad, "input", input)
        return self._activation_backward("leaky_relu", grad, input, float(negative_slope))

    def elu(self, input: Array, alpha: float = 1.0) -> Array:
        """Return x where x > 0, and ``alpha`` times (exp(x) - 1) elsewhere."""
        self._check("elu", "input", input)
        return self._activation("elu", input, float(alpha))

    def elu_backward(self, grad: Array, input: Array, alpha: float = 1.0) -> Array:
        """Return ``grad`` where x > 0, and ``grad`` times ``alpha`` exp(x) elsewhere."""
        self._check_pair("elu_backward", "grad", grad, "input", input)
        return self._activation_backward("elu", grad, input, float(alpha))

    def gelu(self, input: Array, approximate: Approximation = "none") -> Array:
        """Return x P(x), where P is the distribution function of the standard normal distribution.

        With ``approximate`` "tanh", P(x) is (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) / 2.
        """
        self._check("gelu", "input", input)
        return self._activation("gelu", input, checked_approximation(approximate))

    def gelu_backward(
        self, grad: Array, input: Array, approximate: Approximation = "none"
    ) -> Array:
        """Return ``grad`` times the derivative, P(x) + x P'(x)."""
        self._check_pair("gelu_backward", "grad", grad, "input", input)
        return self._activation_backward("gelu", grad, input, checked_approximation(approximate))

    def sigmoid(self, input: Array) -> Array:
        """Return 1 / (1 + exp(-x))."""
        self._check("sigmoid", "input", input)
        return self._activation("sigmoid", input)

    def sigmoid_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times y (1 - y), where y is ``output``."""
        self._check_pair("sigmoid_backward", "grad", grad, "output", output)
        return self._activation_backward("sigmoid", grad, output)

    def silu(self, input: Array) -> Array:
        """Return x s, where s is the sigmoid of x."""
        self._check("silu", "input", input)
        return self._activation("silu", input)

    def silu_backward(self, grad: Array, input: Array) -> Array:
        """Return ``grad`` times s (1 + x (1 - s)), where s is the sigmoid of x."""
        self._check_pair("silu_backward", "grad", grad, "input", input)
        return self._activation_backward("silu", grad, input)

    def softplus(self, input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
        """Return log(1 + exp(``beta`` x)) / ``beta``; x where ``beta`` x > ``threshold``."""
        self._check("softplus", "input", input)
        return self._activation("softplus", input, float(beta), float(threshold))

    def softplus_backward(
        self, grad: Array, input: Array, beta: float = 1.0, threshold: float = 20.0
    ) -> Array:
        """Return ``grad`` times the sigmoid of ``beta`` x; ``grad`` beyond the threshold."""
        self._check_pair("softplus_backward", "grad", grad, "input", input)
        return self._activation_backward("softplus", grad, input, float(beta), float(threshold))

    def tanh(self, input: Array) -> Array:
        """Return the hyperbolic tangent."""
        self._check("tanh", "input", input)
        return self._activation("tanh", input)

    def tanh_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times 1 - y², where y is ``output``."""
        self._check_pair("tanh_backward", "grad", grad, "output", output)
        return self._activation_backward("tanh", grad, output)

    def softmax(self, input: Array, dim: int = 1) -> Array:
        """Return exp(x) / sum of exp(x) along axis ``dim``."""
        self._check("softmax", "input", input)
        return self._softmax(input, checked_axis("softmax", dim, input.ndim))

    @abstractmethod
    def _softmax(self, input: Array, dim: int) -> Array: ...

    def softmax_backward(self, grad: Array, output: Array, dim: int = 1) -> Array:
        """Return y (g - sum of g y along ``dim``), where y is ``output`` and g is ``grad``."""
        op = "softmax_backward"
        self._check_pair(op, "grad", grad, "output", output)
        return self._softmax_backward(grad, output, checked_axis(op, dim, output.ndim))

    @abstractmethod
    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array: ...
