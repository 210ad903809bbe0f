"""Linear layers and flattening."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from gpucnn.backends.contract.arrays import Arrays
from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.errors import ShapeError


class Linear(Arrays):
    """Linear layers and flattening."""

    def linear(
        self, input: Array, weight: Array, bias: Array | None = None, *, relu: bool = False
    ) -> Array:
        """Return x wᵀ + b of x (..., F) and w (O, F), as (..., O); ``relu`` as in ``conv2d``."""
        self._check_linear("linear", input, weight)
        if bias is not None:
            self._check("linear", "bias", bias, (weight.shape[0],))
        if input.ndim == 1:
            return self._linear(input[None], weight, bias, bool(relu))[0]
        return self._linear(input, weight, bias, bool(relu))

    @abstractmethod
    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        """Return the output; the input has two axes or more."""

    def linear_backward(
        self,
        grad: Array,
        input: Array,
        weight: Array,
        *,
        input_grad: bool = True,
        out: ParameterGrads | None = None,
    ) -> tuple[Array | None, Array, Array | None]:
        """Return the gradients of input, weight and bias; see ``conv2d_backward``."""
        op = "linear_backward"
        self._check_linear(op, input, weight)
        self._check(op, "grad", grad, (*input.shape[:-1], weight.shape[0]))
        out = self._parameter_grads(op, out, weight.shape, weight.shape[0])
        if input.ndim == 1:
            gradient = self._linear_backward(grad[None], input[None], weight, input_grad, out)
            return None if gradient is None else gradient[0], *out
        return self._linear_backward(grad, input, weight, input_grad, out), *out

    def _check_linear(self, op: str, input: Array, weight: Array) -> None:
        self._check(op, "input", input)
        if not input.ndim:
            raise ShapeError(f"{op}: input must have shape (..., in_features), got ()")
        self._check(op, "weight", weight, (None, input.shape[-1]))

    @abstractmethod
    def _linear_backward(
        self, grad: Array, input: Array, weight: Array, input_grad: bool, out: ParameterGrads
    ) -> Array | None: ...

    def linear_transpose(self, input: Array, weight: Array) -> Array:
        """Return x W of x (N, O) and w (O, F), as (N, F): ``linear`` with the transposed weight."""
        self._check("linear_transpose", "weight", weight, (None, None))
        self._check("linear_transpose", "input", input, (None, weight.shape[0]))
        return self._linear_transpose(input, weight)

    @abstractmethod
    def _linear_transpose(self, input: Array, weight: Array) -> Array: ...

    def flatten(self, input: Array) -> Array:
        """Return (N, ...) as (N, product of the rest), as a view if the memory order permits."""
        self._check("flatten", "input", input)
        if not input.ndim:
            raise ShapeError("flatten: input must have shape (N, ...), got ()")
        return self._reshape(input, (input.shape[0], math.prod(input.shape[1:])))

    def flatten_backward(self, grad: Array, input_shape: Sequence[int]) -> Array:
        """Return ``grad`` in the shape of the input."""
        op = "flatten_backward"
        shape = self._shape(op, "input_shape", input_shape, max(len(input_shape), 1))
        self._check(op, "grad", grad, (shape[0], math.prod(shape[1:])))
        return self._reshape(grad, shape)

    @abstractmethod
    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        """Return ``input`` in ``shape``; the size of the first axis does not change."""
