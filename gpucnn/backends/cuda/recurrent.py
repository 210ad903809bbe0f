"""Recurrent networks, and sequences."""

from __future__ import annotations

from gpucnn.backends.contract.checks import Array, ParameterGrads
from gpucnn.backends.contract.recurrent import Recurrent
from gpucnn.backends.cuda.linear import CudaLinear

SAMPLES = 4
"""Samples of a block, as in kernels/recurrent.cuh."""


class CudaRecurrent(CudaLinear, Recurrent):
    """Recurrent networks, and sequences."""

    def _rnn(self, input: Array, weight: Array, bias: Array | None, nonlinearity: str) -> Array:
        output, is_relu = self.empty(input.shape), nonlinearity == "relu"
        transposed = self._swapped(weight, (1, *weight.shape, 1))
        self._recur("rnn_forward", input, transposed, bias, output, *input.shape, is_relu)
        return output

    def _rnn_backward(
        self, grad: Array, output: Array, weight: Array, nonlinearity: str, out: ParameterGrads
    ) -> Array:
        input_grad, before = self.empty(grad.shape), self.empty(grad.shape)
        arrays = (grad, output, weight, input_grad, before)
        self._recur("rnn_backward", *arrays, *grad.shape, nonlinearity == "relu")
        self._write_state_gradients(input_grad, before, out)
        return input_grad

    def _gru(
        self, input: Array, weight: Array, bias: Array | None, return_gates: bool
    ) -> tuple[Array, Array | None]:
        (batch, steps, _), hidden = input.shape, weight.shape[1]
        output = self.empty((batch, steps, hidden))
        gates = self.empty((batch, steps, 4 * hidden)) if return_gates else None
        transposed = self._swapped(weight, (1, *weight.shape, 1))
        self._recur("gru_forward", input, transposed, bias, output, gates, *output.shape)
        return output, gates

    def _gru_backward(
        self, grad: Array, output: Array, gates: Array, weight: Array, out: ParameterGrads
    ) -> Array:
        batch, steps, hidden = grad.shape
        input_grad, product_grad = (self.empty((batch, steps, 3 * hidden)) for _ in range(2))
        before, through = self.empty(grad.shape), self.empty((batch, hidden))
        arrays = (grad, output, gates, weight, input_grad, product_grad, before, through)
        self._recur("gru_backward", *arrays, *grad.shape)
        self._write_state_gradients(product_grad, before, out)
        return input_grad

    def _recur(self, kernel: str, first: Array, *arguments: object) -> None:
        """Launch a kernel that takes the samples of ``first`` through all steps."""
        self._kernels.launch(kernel, -(-first.shape[0] // SAMPLES), first, *arguments)

    def _write_state_gradients(self, grad: Array, before: Array, out: ParameterGrads) -> None:
        """Write the gradients of weight and bias from those of the products with states."""
        batch, steps, hidden = before.shape
        self._linear_backward_weight(grad, before, out, (batch * steps, hidden, grad.shape[2]))

    def _rows(self, input: Array) -> Array:
        batch, channels, height, width = input.shape
        swapped = self._swapped(input, input.shape)
        return swapped.reshape((batch, height, channels * width))

    def _rows_backward(self, grad: Array, input_shape: tuple[int, int, int, int]) -> Array:
        batch, channels, height, width = input_shape
        return self._swapped(grad, (batch, height, channels, width)).reshape(input_shape)

    def _swapped(self, array: Array, shape: tuple[int, ...]) -> Array:
        """Return ``array``, seen as (batch, A, B, width), as (batch, B, A, width)."""
        batch, first, second, width = shape
        if first == 1 or second == 1:
            return array  # in memory nothing changes its place
        output = self.empty((batch, second, first, width))
        sizes = (output.size, first, second, width)
        self._kernels.launch_each("rows_forward", output.size, array, output, *sizes)
        return output

    def _last_step(self, input: Array) -> Array:
        batch, steps, features = input.shape
        output = self.empty((batch, features))
        sizes = (output.size, steps, features)
        self._kernels.launch_each("last_step_forward", output.size, input, output, *sizes)
        return output

    def _last_step_backward(self, grad: Array, input_shape: tuple[int, int, int]) -> Array:
        _, steps, features = input_shape
        input_grad = self.empty(input_shape)
        sizes = (input_grad.size, steps, features)
        self._kernels.launch_each("last_step_backward", input_grad.size, grad, input_grad, *sizes)
        return input_grad
