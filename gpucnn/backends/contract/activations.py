"""Activations and softmax."""

from __future__ import annotations

from abc import abstractmethod

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, checked_axis


class Activations(Arrays):
    """Activations and softmax."""

    # Activations are element-wise and take arrays of any shape. A backward has the arguments that
    # its derivative is computed from: ``output``, or ``input`` and the scalars of the forward.

    def relu(self, input: Array) -> Array:
        """Return max(x, 0); NaN stays NaN."""
        self._check("relu", "input", input)
        return self._relu(input)

    @abstractmethod
    def _relu(self, input: Array) -> Array: ...

    def relu_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` where ``output`` > 0, and zero elsewhere."""
        self._check_pair("relu_backward", "grad", grad, "output", output)
        return self._relu_backward(grad, output)

    @abstractmethod
    def _relu_backward(self, grad: Array, output: Array) -> Array: ...

    def leaky_relu(self, input: Array, negative_slope: float = 0.01) -> Array:
        """Return x where x > 0, and ``negative_slope`` times x elsewhere."""
        self._check("leaky_relu", "input", input)
        return self._leaky_relu(input, float(negative_slope))

    @abstractmethod
    def _leaky_relu(self, input: Array, negative_slope: float) -> Array: ...

    def leaky_relu_backward(self, grad: Array, input: Array, negative_slope: float = 0.01) -> Array:
        """Return ``grad`` where ``input`` > 0, and ``negative_slope`` times ``grad`` elsewhere."""
        self._check_pair("leaky_relu_backward", "grad", grad, "input", input)
        return self._leaky_relu_backward(grad, input, float(negative_slope))

    @abstractmethod
    def _leaky_relu_backward(self, grad: Array, input: Array, negative_slope: float) -> Array: ...

    def sigmoid(self, input: Array) -> Array:
        """Return 1 / (1 + exp(-x))."""
        self._check("sigmoid", "input", input)
        return self._sigmoid(input)

    @abstractmethod
    def _sigmoid(self, input: Array) -> Array: ...

    def sigmoid_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times y (1 - y), where y is ``output``."""
        self._check_pair("sigmoid_backward", "grad", grad, "output", output)
        return self._sigmoid_backward(grad, output)

    @abstractmethod
    def _sigmoid_backward(self, grad: Array, output: Array) -> Array: ...

    def tanh(self, input: Array) -> Array:
        """Return the hyperbolic tangent."""
        self._check("tanh", "input", input)
        return self._tanh(input)

    @abstractmethod
    def _tanh(self, input: Array) -> Array: ...

    def tanh_backward(self, grad: Array, output: Array) -> Array:
        """Return ``grad`` times 1 - y², where y is ``output``."""
        self._check_pair("tanh_backward", "grad", grad, "output", output)
        return self._tanh_backward(grad, output)

    @abstractmethod
    def _tanh_backward(self, grad: Array, output: Array) -> Array: ...

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
