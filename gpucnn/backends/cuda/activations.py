"""Activations and softmax."""

from __future__ import annotations

import math

from gpucnn.backends.contract.activations import Activations
from gpucnn.backends.contract.checks import Array
from gpucnn.backends.cuda.arrays import CudaArrays
from gpucnn.backends.cuda.grids import WIDE


class CudaActivations(CudaArrays, Activations):
    """Activations and softmax."""

    def _relu(self, input: Array) -> Array:
        return self._map("relu_forward", input)

    def _relu_backward(self, grad: Array, output: Array) -> Array:
        return self._map("relu_backward", grad, output)

    def _leaky_relu(self, input: Array, negative_slope: float) -> Array:
        return self._map("leaky_relu_forward", input, scalars=(negative_slope,))

    def _leaky_relu_backward(self, grad: Array, input: Array, negative_slope: float) -> Array:
        return self._map("leaky_relu_backward", grad, input, scalars=(negative_slope,))

    def _sigmoid(self, input: Array) -> Array:
        return self._map("sigmoid_forward", input)

    def _sigmoid_backward(self, grad: Array, output: Array) -> Array:
        return self._map("sigmoid_backward", grad, output)

    def _tanh(self, input: Array) -> Array:
        return self._map("tanh_forward", input)

    def _tanh_backward(self, grad: Array, output: Array) -> Array:
        return self._map("tanh_backward", grad, output)

    def _softmax(self, input: Array, dim: int) -> Array:
        return self._map_rows("softmax_forward", dim, input)

    def _softmax_backward(self, grad: Array, output: Array, dim: int) -> Array:
        return self._map_rows("softmax_backward", dim, grad, output)

    def _map_rows(self, kernel: str, dim: int, *inputs: Array) -> Array:
        """Return the output of a kernel that processes each row along axis ``dim`` separately.

        One thread processes a row of fewer than WIDE elements, and one block a longer row.
        """
        shape = inputs[0].shape
        size, inner = shape[dim], math.prod(shape[dim + 1 :])
        output = self.empty(shape)
        rows = output.size // size
        if size < WIDE:
            self._kernels.launch_each(kernel, rows, *inputs, output, rows, size, inner)
        else:
            self._kernels.launch(f"{kernel}_wide", rows, *inputs, output, size, inner)
        return output
