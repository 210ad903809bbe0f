"""Linear layers."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.linear import Linear
from gpucnn.backends.cuda.arrays import CudaArrays


class CudaLinear(CudaArrays, Linear):
    """Linear layers, and flattening."""

    def _linear(self, input: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
        (batch, features), outputs = input.shape, weight.shape[0]
        output = self.empty((batch, outputs))
        self._product(
            "linear_forward",
            batch, outputs, 1,
            input, weight, bias, output, batch, features, outputs, relu,
        )  # fmt: skip
        return output

    def _linear_backward(
        self, grad: Array, input: Array, weight: Array, input_grad: bool, out: ParameterGrads
    ) -> Array | None:
        (batch, features), outputs = input.shape, weight.shape[0]
        sizes = (batch, features, outputs)
        columns = features if out[1] is None else features + 1
        self._product(
            "linear_backward_weight",
            outputs, columns, 1,
            grad, input, *out, *sizes,
        )  # fmt: skip
        return self._linear_transpose(grad, weight) if input_grad else None

    def _linear_transpose(self, input: Array, weight: Array) -> Array:
        batch, (outputs, features) = input.shape[0], weight.shape
        result = self.empty((batch, features))
        self._product(
            "linear_backward_input",
            batch, features, 1,
            input, weight, result, batch, features, outputs,
        )  # fmt: skip
        return result

    def _reshape(self, input: Array, shape: tuple[int, ...]) -> Array:
        return input.reshape(shape)
