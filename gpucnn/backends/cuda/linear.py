"""Linear layers."""

from __future__ import annotations

import math

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.cuda.arrays import CudaArrays


class CudaLinear(CudaArrays, Linear):
    """Linear layers, and flattening."""

    # The kernels take matrices (N, F), where N is the product of all axes but the last.

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        outputs, features = weight.shape
        batch = math.prod(input.shape[:-1])
        output = self.empty((*input.shape[:-1], outputs))
        self._product(
            "linear_forward",
            batch, outputs, 1,
            input, weight, bias, output, batch, features, outputs, relu,
        )  # fmt: skip
        return output

    def _linear_backward(
        self, grad: Array, input: Array, weight: Array, input_grad: bool, out: ParameterGrads
    ) -> Array | None:
        outputs, features = weight.shape
        batch = math.prod(input.shape[:-1])
        self._linear_backward_weight(grad, input, out, (batch, features, outputs))
        return self._linear_transpose(grad, weight) if input_grad else None

    def _linear_transpose(self, input: Array, weight: Array) -> Array:
        outputs, features = weight.shape
        batch = math.prod(input.shape[:-1])
        result = self.empty((*input.shape[:-1], features))
        self._product(
            "linear_backward_input",
            batch, features, 1,
            input, weight, result, batch, features, outputs,
        )  # fmt: skip
        return result

    def _linear_backward_weight(
        self, grad: Array, input: Array, out: ParameterGrads, sizes: tuple[int, int, int]
    ) -> None:
        """Write the gradients of weight and bias; sizes are those of batch, input and output."""
        _, features, outputs = sizes
        columns = features if out[1] is None else features + 1
        self._product(
            "linear_backward_weight",
            outputs, columns, 1,
            grad, input, *out, *sizes,
        )  # fmt: skip

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return input.reshape(shape)
